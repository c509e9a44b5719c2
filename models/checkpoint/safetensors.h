// Reads model.safetensors, or the shards named by model.safetensors.index.json, by memory map. The
// files are not trusted: every name, shape, offset and size is checked before use.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/dtype.h"

namespace deltaserve {

struct TensorInfo {
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // byte offsets into the data part of the file
  uint64_t end = 0;

  int64_t num_elements() const;
};

// Parses the JSON header of a safetensors file whose data part has `data_bytes` bytes. Refuses
// duplicate names, unsupported dtypes, overflowing shapes, sizes that do not match, ranges outside
// the data, overlaps and holes. It is a pure function, for tests and fuzzers.
absl::StatusOr<std::map<std::string, TensorInfo>> parse_safetensors_header(std::string_view json,
                                                                           uint64_t data_bytes);

// Returns the names of the shards in the text of a model.safetensors.index.json. Each is the name
// of a file and never a path.
absl::StatusOr<std::set<std::string>> parse_shard_names(std::string_view index);

// A sentence that says how to convert weights in PyTorch's own format, which is not read, to
// safetensors.
extern const char kConvertTorchWeights[];

struct Tensor {
  TensorInfo info;
  const void* data = nullptr;  // points into the map; any alignment
};

// All tensors of a model folder. The maps live as long as this object.
class Checkpoint {
 public:
  // Opens model.safetensors if it exists, else the shards that the index names, else Mistral's
  // consolidated.safetensors. NOT_FOUND if the folder has none of them; INVALID_ARGUMENT names the
  // file, tensor and value that cannot be right, or how to convert a pytorch_model.bin.
  //
  // If a mapped file shrinks, the process ends (SIGBUS): do not write to the files of a model that
  // is served, but rename a new file over them.
  static absl::StatusOr<Checkpoint> open(const std::string& folder);
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const std::map<std::string, Tensor>& tensors() const { return tensors_; }

 private:
  class Map;
  Checkpoint();
  // Maps a file and adds its tensors; `*names`, if given, receives their names.
  absl::Status add_file(const std::string& path, std::vector<std::string>* names);
  absl::Status add_shards(const std::string& folder, const std::string& index_path);

  std::vector<std::unique_ptr<Map>> maps_;
  std::map<std::string, Tensor> tensors_;
};

// The header entry of a tensor that is to be written.
struct TensorToWrite {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
};

// Fills `out` with `num_bytes` of the data of tensors[tensor], starting at `first_byte`; both are
// multiples of the element size. It is called in file order.
using FillTensor =
    std::function<void(size_t tensor, uint64_t first_byte, uint64_t num_bytes, char* out)>;

// Writes one safetensors file with the tensors in the given order. It writes block by block, so
// that no tensor is ever in memory as a whole. The file appears under its name only when it is
// complete.
absl::Status write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                               const FillTensor& fill);

}  // namespace deltaserve
