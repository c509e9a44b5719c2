#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>

#include "absl/strings/str_cat.h"
#include "models/file.h"
#include "models/safetensors.h"
#include "models/text.h"

namespace deltaserve {
namespace {

constexpr uint64_t kBlockBytes = 1 << 20;

const char* format_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32: return "F32";
    case Dtype::kBf16: return "BF16";
    case Dtype::kF16: return "F16";
  }
  return "?";
}

uint64_t tensor_bytes(const TensorToWrite& tensor) {
  uint64_t bytes = dtype_size(tensor.dtype);
  for (const int64_t size : tensor.shape) bytes *= static_cast<uint64_t>(size);
  return bytes;
}

// Returns the length and the JSON, padded so that the data begins at a multiple of 8.
std::string make_header(const std::vector<TensorToWrite>& tensors) {
  std::string json = "{\"__metadata__\":{\"format\":\"pt\"}";
  uint64_t begin = 0;
  for (const TensorToWrite& tensor : tensors) {
    const uint64_t end = begin + tensor_bytes(tensor);
    absl::StrAppend(&json, ",", boost::json::serialize(boost::json::string(tensor.name)),
                    ":{\"dtype\":\"", format_name(tensor.dtype),
                    "\",\"shape\":", shape_text(tensor.shape), ",\"data_offsets\":[", begin, ",",
                    end, "]}");
    begin = end;
  }
  json += '}';
  json.append((8 - json.size() % 8) % 8, ' ');
  std::string header;
  for (int byte = 0; byte < 8; ++byte) {
    header += static_cast<char>((json.size() >> (8 * byte)) & 0xff);
  }
  return header + json;
}

bool write_contents(int file, const std::vector<TensorToWrite>& tensors, const FillTensor& fill) {
  const std::string header = make_header(tensors);
  if (!write_all(file, header.data(), header.size())) return false;
  std::string block(kBlockBytes, '\0');
  for (size_t tensor = 0; tensor < tensors.size(); ++tensor) {
    const uint64_t bytes = tensor_bytes(tensors[tensor]);
    for (uint64_t begin = 0; begin < bytes; begin += kBlockBytes) {
      const uint64_t size = std::min(kBlockBytes, bytes - begin);
      fill(tensor, begin, size, block.data());
      if (!write_all(file, block.data(), size)) return false;
    }
  }
  return true;
}

}  // namespace

absl::Status write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                               const FillTensor& fill) {
  return replace_file(path, [&](int file) { return write_contents(file, tensors, fill); });
}

}  // namespace deltaserve
