// A self-test at load, on the present device, chooses the library's algorithm that multiplies
// prefill rows by weights of one shape.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "kernels/cuda/matmul/matmul_library.h"

namespace deltaserve::cuda {

// The self-test uses these strides of prefill matmuls: whole buffers of the backend.
constexpr int64_t library_x_stride(const DeviceMatrix& w) {
  return padded_to_64(w.columns);
}
constexpr int64_t library_out_stride(const DeviceMatrix& w) {
  return w.rows + w.padding;
}

// Returns the first of the library's candidates for these weights and up to `max_rows` rows that
// supports every number of rows, gives a row the same bits for every number of rows and at every
// place among them, with and without adding to the output, and agrees with launch_tensor_matmul. It
// does not measure times, so that the choice is the same at every start. If there is none, `reason`
// says why.
std::optional<LibraryAlgorithm> self_test_library(Runtime& runtime, MatmulLibrary& library,
                                                  const DeviceMatrix& w, int64_t max_rows,
                                                  std::string* reason);

// hashes[r] = a hash of the bits of rows[r][0 .. columns) and of their places.
void launch_hash_rows(simt::Stream stream, const float* rows, int64_t stride, int64_t columns,
                      int num_rows, uint64_t* hashes);

}  // namespace deltaserve::cuda
