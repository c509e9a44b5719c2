#include "models/checkpoint/finite.h"

#include <algorithm>
#include <cstring>

#include "models/base/text.h"

namespace deltaserve {
namespace {

// The exponents of numbers that are not finite have all bits set.
template <class Bits>
struct FloatFormat {
  Bits exponent;  // the bits of the exponent
  Bits fraction;
};
constexpr FloatFormat<uint32_t> kF32Bits{0x7f800000, 0x007fffff};
constexpr FloatFormat<uint16_t> kBf16Bits{0x7f80, 0x007f};
constexpr FloatFormat<uint16_t> kF16Bits{0x7c00, 0x03ff};

constexpr int64_t kBlock = 4096;  // elements that are checked without a branch between them

template <class Bits>
Bits element(const char* data, int64_t i) {
  Bits bits;  // a tensor in a file may have any alignment
  std::memcpy(&bits, data + i * static_cast<int64_t>(sizeof bits), sizeof bits);
  return bits;
}

template <class Bits>
std::optional<int64_t> first_in(const Tensor& tensor, FloatFormat<Bits> format) {
  const char* data = static_cast<const char*>(tensor.data);
  const int64_t elements = tensor.info.num_elements();
  for (int64_t begin = 0; begin < elements; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, elements);
    unsigned found = 0;
    for (int64_t i = begin; i < end; ++i) {
      found |= static_cast<unsigned>((element<Bits>(data, i) & format.exponent) == format.exponent);
    }
    if (found == 0) continue;
    for (int64_t i = begin; i < end; ++i) {
      if ((element<Bits>(data, i) & format.exponent) == format.exponent) return i;
    }
  }
  return std::nullopt;
}

template <class Bits>
const char* name_of(const Tensor& tensor, int64_t i, FloatFormat<Bits> format) {
  const Bits bits = element<Bits>(static_cast<const char*>(tensor.data), i);
  if ((bits & format.fraction) != 0) return "NaN";
  return (bits >> (8 * sizeof bits - 1)) != 0 ? "-Infinity" : "Infinity";
}

uint64_t bytes_of(const Tensor& tensor) {
  const uint64_t element_bytes = tensor.info.dtype == Dtype::kF32 ? 4 : 2;
  return element_bytes * static_cast<uint64_t>(tensor.info.num_elements());
}

// Calls `use` with the format of the tensor's elements.
template <class Use>
auto with_format(const Tensor& tensor, Use use) {
  switch (tensor.info.dtype) {
    case Dtype::kBf16: return use(kBf16Bits);
    case Dtype::kF16: return use(kF16Bits);
    case Dtype::kF32: break;
  }
  return use(kF32Bits);
}

}  // namespace

std::optional<int64_t> first_not_finite(const Tensor& tensor) {
  return with_format(tensor, [&](auto format) { return first_in(tensor, format); });
}

absl::Status check_finite(const Checkpoint& checkpoint, const ReadProgress& progress) {
  uint64_t all = 0, done = 0;
  for (const auto& entry : checkpoint.tensors()) all += bytes_of(entry.second);
  for (const auto& entry : checkpoint.tensors()) {
    const Tensor& tensor = entry.second;
    const std::optional<int64_t> found = first_not_finite(tensor);
    done += bytes_of(tensor);
    if (progress) progress(done, all);
    if (!found) continue;
    const char* value =
        with_format(tensor, [&](auto format) { return name_of(tensor, *found, format); });
    return invalid_argument("tensor ", quoted(entry.first), ": element ", *found, " of ",
                            shape_text(tensor.info.shape), " is ", value,
                            ": the weights of a model must be finite");
  }
  return absl::OkStatus();
}

}  // namespace deltaserve
