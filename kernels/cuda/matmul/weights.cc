#include "kernels/cuda/matmul/weights.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/matmul/matmul.h"

namespace deltaserve::cuda {
namespace {

constexpr int64_t kStagingBytes = int64_t{8} << 20;

void convert_row(const HostMatrix& from, int64_t row, Dtype dtype, unsigned char* to) {
  const int64_t first = row * from.columns;
  if (from.dtype == dtype) {
    const auto size = static_cast<int64_t>(dtype_size(dtype));
    std::memcpy(to, static_cast<const unsigned char*>(from.data) + first * size,
                static_cast<size_t>(from.columns * size));
    return;
  }
  for (int64_t i = 0; i < from.columns; ++i) {
    const float value = load_as_f32(from.data, from.dtype, static_cast<size_t>(first + i));
    if (dtype == Dtype::kF32) {
      std::memcpy(to + 4 * i, &value, 4);
    } else {
      const uint16_t half = f32_to_bf16(value);
      std::memcpy(to + 2 * i, &half, 2);
    }
  }
}

Dtype stored_dtype(const HostMatrix* blocks, int num_blocks, WeightFormat format) {
  if (format == WeightFormat::kF32) return Dtype::kF32;
  if (format == WeightFormat::kBf16) return Dtype::kBf16;
  const bool bf16 = std::all_of(blocks, blocks + num_blocks,
                                [](const HostMatrix& b) { return b.dtype == Dtype::kBf16; });
  return bf16 ? Dtype::kBf16 : Dtype::kF32;
}

}  // namespace

template <class Fill>
bool WeightLoader::copy_in(unsigned char* to, int64_t units, int64_t unit_bytes, const Fill& fill) {
  const int64_t bytes = std::max(kStagingBytes, unit_bytes);
  if (staging_.size() < bytes) staging_ = HostMemory<unsigned char>(runtime_, bytes);
  if (staging_.empty()) return false;
  const int64_t piece = staging_.size() / unit_bytes;
  for (int64_t first = 0; first < units; first += piece) {
    const int64_t count = std::min(piece, units - first);
    fill(first, count, staging_.get());
    runtime_.copy_in(to + first * unit_bytes, staging_.get(),
                     static_cast<size_t>(count * unit_bytes));
    runtime_.synchronize();
  }
  return true;
}

LoadedMatrix WeightLoader::load_matrix(const HostMatrix* blocks, int num_blocks,
                                       WeightFormat format) {
  LoadedMatrix loaded;
  if (format == WeightFormat::kInt8 || format == WeightFormat::kInt4) return loaded;
  DeviceMatrix& matrix = loaded.matrix;
  matrix.dtype = stored_dtype(blocks, num_blocks, format);
  matrix.columns = blocks[0].columns;
  matrix.stride = padded_to_8(matrix.columns);
  for (int i = 0; i < num_blocks; ++i) matrix.rows += blocks[i].rows;
  if (matrix.dtype == Dtype::kBf16) matrix.padding = padded_to_64(matrix.rows) - matrix.rows;
  loaded.memory = Memory<unsigned char>(runtime_, static_cast<int64_t>(loaded.bytes()));
  if (loaded.memory.empty()) return loaded;

  const auto row_bytes = matrix.stride * static_cast<int64_t>(dtype_size(matrix.dtype));
  unsigned char* to = loaded.memory.get();
  for (int i = 0; i < num_blocks; to += blocks[i++].rows * row_bytes) {
    const auto fill = [&](int64_t first, int64_t count, unsigned char* staging) {
      std::memset(staging, 0, static_cast<size_t>(count * row_bytes));
      for (int64_t r = 0; r < count; ++r) {
        convert_row(blocks[i], first + r, matrix.dtype, staging + r * row_bytes);
      }
    };
    if (!copy_in(to, blocks[i].rows, row_bytes, fill)) return LoadedMatrix();
  }
  runtime_.fill_zero(to, static_cast<size_t>(matrix.padding * row_bytes));
  matrix.data = loaded.memory.get();
  return loaded;
}

Memory<float> WeightLoader::load_vector(const HostMatrix& values) {
  Memory<float> vector(runtime_, values.rows * values.columns);
  if (vector.empty()) return vector;
  const auto fill = [&](int64_t first, int64_t count, unsigned char* staging) {
    for (int64_t i = 0; i < count; ++i) {
      const float value = load_as_f32(values.data, values.dtype, static_cast<size_t>(first + i));
      std::memcpy(staging + 4 * i, &value, 4);
    }
  };
  const bool copied =
      copy_in(reinterpret_cast<unsigned char*>(vector.get()), vector.size(), sizeof(float), fill);
  return copied ? std::move(vector) : Memory<float>();
}

}  // namespace deltaserve::cuda
