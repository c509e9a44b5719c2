// Reads model.safetensors, or shards named by model.safetensors.index.json, by memory map. These
// are foreign files: every name, shape, offset and size is checked before use.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
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
// the data, overlaps and holes. Pure, for tests and fuzzers.
absl::StatusOr<std::map<std::string, TensorInfo>> parse_safetensors_header(std::string_view json,
                                                                           uint64_t data_bytes);

struct Tensor {
  TensorInfo info;
  const void* data = nullptr;  // into the map; any alignment
};

// All tensors of a model folder. The maps live as long as this object.
class Checkpoint {
 public:
  // model.safetensors where there is one, else the shards that the index names. NOT_FOUND when the
  // folder has neither; INVALID_ARGUMENT names the file, tensor and value that cannot be right.
  // A file that shrinks while it is mapped ends the process (SIGBUS): do not write into a model
  // that is served, rename a new one over it.
  static absl::StatusOr<Checkpoint> open(const std::string& folder);
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  uint64_t file_bytes() const { return file_bytes_; }

 private:
  class Map;
  Checkpoint();
  // Maps a file and adds its tensors; `*names`, where given, receives theirs.
  absl::Status add_file(const std::string& path, std::vector<std::string>* names);
  absl::Status add_shards(const std::string& folder, const std::string& index_path);

  std::vector<std::unique_ptr<Map>> maps_;
  std::map<std::string, Tensor> tensors_;
  uint64_t file_bytes_ = 0;
};

// What a file to be written says of one tensor.
struct TensorToWrite {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
};

// Fills `out` with `num_bytes` of the data of tensors[tensor], from `first_byte` on; both are
// multiples of the element size. Called in file order.
using FillTensor =
    std::function<void(size_t tensor, uint64_t first_byte, uint64_t num_bytes, char* out)>;

// Writes one safetensors file, tensors in the given order, block by block: no tensor is ever whole
// in memory. The file appears under its name only when it is complete.
absl::Status write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                               const FillTensor& fill);

}  // namespace deltaserve
