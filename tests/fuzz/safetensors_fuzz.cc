// Fuzzes the header of a safetensors file; the first byte is the size of the data part in words.
#include <cstdint>
#include <string_view>

#include "kernels/base/check.h"
#include "models/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0) return 0;
  const uint64_t data_bytes = uint64_t{bytes[0]} * 4;
  const std::string_view json(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  const auto tensors = deltaserve::parse_safetensors_header(json, data_bytes);
  if (!tensors.ok()) {
    DS_CHECK(!tensors.status().message().empty());
    return 0;
  }
  // Accepted tensors cover the data exactly.
  uint64_t covered = 0;
  for (const auto& [name, info] : *tensors) {
    DS_CHECK(info.begin <= info.end && info.end <= data_bytes);
    DS_CHECK(info.end - info.begin ==
             static_cast<uint64_t>(info.num_elements()) * deltaserve::dtype_size(info.dtype));
    covered += info.end - info.begin;
  }
  DS_CHECK(covered == data_bytes);
  return 0;
}
