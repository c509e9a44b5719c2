#include "models/checkpoint/safetensors.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/file.h"
#include "models/checkpoint/json.h"

namespace deltaserve {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

namespace json = boost::json;

bool has_torch_weights(const std::string& folder) {
  for (const char* name : {"/pytorch_model.bin", "/pytorch_model.bin.index.json"}) {
    if (::access((folder + name).c_str(), F_OK) == 0) return true;
  }
  return false;
}

constexpr uint64_t kLengthBytes = 8;  // length field of the header, at the start of the file

// Returns an error about one tensor.
absl::Status tensor_error(std::string_view name, std::string_view problem) {
  return invalid_argument("tensor ", quoted(name), " ", problem);
}

absl::Status parse_dtype(std::string_view name, const json::value& value, Dtype* dtype) {
  const json::string* word = value.if_string();
  if (word != nullptr && *word == "F32") {
    *dtype = Dtype::kF32;
  } else if (word != nullptr && *word == "BF16") {
    *dtype = Dtype::kBf16;
  } else if (word != nullptr && *word == "F16") {
    *dtype = Dtype::kF16;
  } else {
    return tensor_error(
        name, str_cat("has dtype ", json_text(value), ", supported are F32, BF16 and F16"));
  }
  return absl::OkStatus();
}

// Parses a shape and stores the tensor's bytes in `*bytes`; an overflow of that size is an error.
absl::Status parse_shape(std::string_view name, const json::value& value, Dtype dtype,
                         std::vector<int64_t>* shape, uint64_t* bytes) {
  const json::array* list = value.if_array();
  if (list == nullptr || list->size() > limits::kTensorRank) {
    return tensor_error(
        name, str_cat("has a shape that is not a list of at most ", limits::kTensorRank, " sizes"));
  }
  constexpr uint64_t kMaxElements = uint64_t{1} << 60;
  uint64_t elements = 1;
  for (const json::value& size : *list) {
    if (!size.is_int64() || size.get_int64() < 0) {
      return tensor_error(name, str_cat("has a shape with the size ", json_text(size)));
    }
    const auto factor = static_cast<uint64_t>(size.get_int64());
    if (factor != 0 && elements > kMaxElements / factor) {
      return tensor_error(name, "has a shape with more than 2^60 elements");
    }
    elements *= factor;
    shape->push_back(size.get_int64());
  }
  *bytes = elements * dtype_size(dtype);
  return absl::OkStatus();
}

absl::Status parse_offsets(std::string_view name, const json::value& value, uint64_t data_bytes,
                           TensorInfo* info) {
  const json::array* pair = value.if_array();
  if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_int64() || !(*pair)[1].is_int64() ||
      (*pair)[0].get_int64() < 0 || (*pair)[1].get_int64() < (*pair)[0].get_int64()) {
    return tensor_error(name, "has data_offsets that are not [begin, end] with begin <= end");
  }
  info->begin = static_cast<uint64_t>((*pair)[0].get_int64());
  info->end = static_cast<uint64_t>((*pair)[1].get_int64());
  if (info->end > data_bytes) {
    return tensor_error(name, str_cat("ends at byte ", info->end, " of the data, which has ",
                                      data_bytes, " bytes"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorInfo> parse_tensor(std::string_view name, const json::value& value,
                                        uint64_t data_bytes) {
  const json::object* object = value.if_object();
  if (object == nullptr || object->size() != 3 || !object->contains("dtype") ||
      !object->contains("shape") || !object->contains("data_offsets")) {
    return tensor_error(name, "is not described by exactly dtype, shape and data_offsets");
  }
  TensorInfo info;
  uint64_t bytes = 0;
  absl::Status status = parse_dtype(name, *object->if_contains("dtype"), &info.dtype);
  if (status.ok()) {
    status = parse_shape(name, *object->if_contains("shape"), info.dtype, &info.shape, &bytes);
  }
  if (status.ok()) {
    status = parse_offsets(name, *object->if_contains("data_offsets"), data_bytes, &info);
  }
  if (!status.ok()) return status;
  if (info.end - info.begin != bytes) {
    return tensor_error(
        name, str_cat("occupies ", info.end - info.begin, " bytes, its shape ",
                      shape_text(info.shape), " in ", dtype_name(info.dtype), " needs ", bytes));
  }
  return info;
}

// Checks that the ranges cover every byte of the data exactly once.
absl::Status check_layout(const std::map<std::string, TensorInfo>& tensors, uint64_t data_bytes) {
  std::vector<const std::pair<const std::string, TensorInfo>*> sorted;
  sorted.reserve(tensors.size());
  for (const auto& tensor : tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t end = 0;
  for (const auto* tensor : sorted) {
    if (tensor->second.begin != end) {
      const char* fault = tensor->second.begin < end ? "overlaps another: it" : "leaves a hole: it";
      return tensor_error(tensor->first, str_cat(fault, " begins at byte ", tensor->second.begin,
                                                 ", not at ", end));
    }
    end = tensor->second.end;
  }
  if (end != data_bytes) {
    return invalid_argument("the tensors end at byte ", end, " of the data, which has ", data_bytes,
                            " bytes");
  }
  return absl::OkStatus();
}

// Returns true if the name is a file in the folder itself and not a path, as a shard's must be.
bool is_plain_file_name(std::string_view name) {
  return name.ends_with(".safetensors") && name[0] != '.' && name.size() <= 255 &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

// Parses the weight_map of an index: tensor -> file.
absl::StatusOr<std::map<std::string, std::string>> parse_index(std::string_view text) {
  // An entry has two strings, so the number of quotes bounds the number of entries before anything
  // is parsed. The rest of the file says little.
  constexpr int64_t kQuotesOfTheRest = 256;
  if (std::count(text.begin(), text.end(), '"') > 4 * limits::kTensors + kQuotesOfTheRest) {
    return invalid_argument("the index has more than ", limits::kTensors, " tensors");
  }
  absl::StatusOr<json::object> index = parse_json_object(text, "index");
  if (!index.ok()) return index.status();
  const json::value* value = index->if_contains("weight_map");
  const json::object* weight_map = value == nullptr ? nullptr : value->if_object();
  if (weight_map == nullptr) return invalid_argument("weight_map is not an object");
  std::map<std::string, std::string> file_of;
  for (const auto& [tensor, file] : *weight_map) {
    const std::string name(tensor.data(), tensor.size());
    if (!file.is_string() || !is_plain_file_name(std::string_view(file.get_string()))) {
      return tensor_error(name, str_cat("is said to be in ", json_text(file),
                                        ", which is not the name of a .safetensors file"));
    }
    file_of[name] = std::string(file.get_string().data(), file.get_string().size());
  }
  return file_of;
}

// Returns the files of a weight_map.
absl::StatusOr<std::set<std::string>> shards_of(const std::map<std::string, std::string>& file_of) {
  std::set<std::string> files;
  for (const auto& [tensor, file] : file_of) files.insert(file);
  if (files.size() <= limits::kShards) return files;
  return invalid_argument(files.size(), " shards, at most ", limits::kShards, " are allowed");
}

}  // namespace

int64_t TensorInfo::num_elements() const {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements;
}

// PyTorch's own format (pickle) is a program for an interpreter, which is never run here.
const char kConvertTorchWeights[] =
    "pytorch_model.bin must become safetensors: python -c \"from glob import*;from "
    "safetensors.torch "
    "import*;save_file({k:v+0 for f in glob('p*.bin')for k,v in torch.load(f).items()},"
    "'model.safetensors')\"";

absl::StatusOr<std::map<std::string, TensorInfo>> parse_safetensors_header(std::string_view json,
                                                                           uint64_t data_bytes) {
  // Every tensor is an object, so the number of braces bounds the number of tensors before anything
  // is parsed.
  if (std::count(json.begin(), json.end(), '{') > limits::kTensors + 2) {
    return invalid_argument("the header has more than ", limits::kTensors, " tensors");
  }
  absl::StatusOr<json::object> header = parse_json_object(json, "header");
  if (!header.ok()) return header.status();
  std::map<std::string, TensorInfo> tensors;
  for (const auto& [key, value] : *header) {
    const std::string name(key.data(), key.size());
    if (name == "__metadata__") continue;
    absl::StatusOr<TensorInfo> info = parse_tensor(name, value, data_bytes);
    if (!info.ok()) return info.status();
    tensors.emplace(name, *std::move(info));
  }
  absl::Status status = check_layout(tensors, data_bytes);
  if (!status.ok()) return status;
  return tensors;
}

absl::StatusOr<std::set<std::string>> parse_shard_names(std::string_view index) {
  const auto file_of = parse_index(index);
  if (!file_of.ok()) return file_of.status();
  return shards_of(*file_of);
}

// Maps a whole file read-only.
class Checkpoint::Map {
 public:
  static absl::StatusOr<std::unique_ptr<Map>> open(const std::string& path) {
    uint64_t bytes = 0;
    const absl::StatusOr<int> file = open_regular_file(path, &bytes);
    if (!file.ok()) return file.status();
    if (bytes < kLengthBytes) {
      ::close(*file);
      return invalid_argument(path, ": ", bytes, " bytes are too few for a safetensors file");
    }
    void* data = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, *file, 0);
    const int error = errno;
    ::close(*file);
    if (data == MAP_FAILED) return absl::ErrnoToStatus(error, str_cat("cannot map ", path));
    return std::unique_ptr<Map>(new Map(static_cast<const char*>(data), bytes));
  }
  ~Map() { ::munmap(const_cast<char*>(data_), bytes_); }
  Map(const Map&) = delete;
  Map& operator=(const Map&) = delete;

  const char* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  Map(const char* data, uint64_t bytes) : data_(data), bytes_(bytes) {}

  const char* data_;
  uint64_t bytes_;
};

Checkpoint::Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

absl::StatusOr<Checkpoint> Checkpoint::open(const std::string& folder) {
  const std::string single = str_cat(folder, "/model.safetensors");
  const std::string index = str_cat(folder, "/model.safetensors.index.json");
  Checkpoint checkpoint;
  absl::Status status = checkpoint.add_file(single, nullptr);
  if (absl::IsNotFound(status)) status = checkpoint.add_shards(folder, index);
  if (absl::IsNotFound(status) && checkpoint.maps_.empty()) {
    const absl::Status consolidated =
        checkpoint.add_file(str_cat(folder, "/consolidated.safetensors"), nullptr);
    if (!absl::IsNotFound(consolidated)) {
      status = consolidated;
    } else if (has_torch_weights(folder)) {
      status = absl::InvalidArgumentError(kConvertTorchWeights);
    } else {
      status = absl::NotFoundError(str_cat(
          folder, " has no model.safetensors and no complete set of shards: ", status.message()));
    }
  }
  if (!status.ok()) return status;
  return checkpoint;
}

absl::Status Checkpoint::add_file(const std::string& path, std::vector<std::string>* names) {
  absl::StatusOr<std::unique_ptr<Map>> map = Map::open(path);
  if (!map.ok()) return map.status();
  const char* const file = (*map)->data();
  const uint64_t rest = (*map)->bytes() - kLengthBytes;
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file, sizeof header_bytes);
  if (header_bytes > rest || header_bytes > limits::kSafetensorsHeaderBytes) {
    return invalid_argument(path, ": the header is said to have ", header_bytes, " bytes, ", rest,
                            " follow, and at most ", limits::kSafetensorsHeaderBytes,
                            " are allowed");
  }
  const char* const data = file + kLengthBytes + header_bytes;
  auto tensors = parse_safetensors_header({file + kLengthBytes, header_bytes}, rest - header_bytes);
  if (!tensors.ok()) return prefixed(path, tensors.status());
  for (auto& [name, info] : *tensors) {
    if (names != nullptr) names->push_back(name);
    const char* const begin = data + info.begin;
    if (!tensors_.emplace(name, Tensor{std::move(info), begin}).second) {
      return prefixed(path, tensor_error(name, "is also in another shard"));
    }
  }
  maps_.push_back(*std::move(map));
  return absl::OkStatus();
}

absl::Status Checkpoint::add_shards(const std::string& folder, const std::string& index_path) {
  absl::StatusOr<std::string> text = read_file(index_path, limits::kIndexBytes);
  if (!text.ok()) return text.status();
  const auto file_of = parse_index(*text);
  if (!file_of.ok()) return prefixed(index_path, file_of.status());
  const absl::StatusOr<std::set<std::string>> files = shards_of(*file_of);
  if (!files.ok()) return prefixed(index_path, files.status());
  size_t found = 0;
  for (const std::string& file : *files) {
    std::vector<std::string> names;
    absl::Status status = add_file(str_cat(folder, "/", file), &names);
    if (!status.ok()) return status;
    for (const std::string& name : names) {
      const auto entry = file_of->find(name);
      if (entry == file_of->end() || entry->second != file) {
        return prefixed(index_path,
                        tensor_error(name, str_cat("is in ", file, ", the index differs")));
      }
    }
    found += names.size();
  }
  if (found == file_of->size()) return absl::OkStatus();
  for (const auto& [name, file] : *file_of) {
    if (tensors_.find(name) == tensors_.end()) {
      return prefixed(index_path, tensor_error(name, str_cat("is not in ", file)));
    }
  }
  return absl::OkStatus();
}

}  // namespace deltaserve
