// A matmul of the CPU backend as a model's layers run it: its weights have left the caches.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/base/weight_format.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/quantize.h"

namespace deltaserve {

// The total size of all copies of a matmul's weights, which are used in turn.
inline constexpr size_t kColdBytes = size_t{96} << 20;

struct MatmulShape {
  int64_t outputs;
  int64_t inputs;
};

// Computes out [rows, outputs] = x [rows, inputs] w^T, all uniform in [-1, 1].
class ColdMatmul {
 public:
  ColdMatmul(const MatmulShape& shape, WeightFormat format, int64_t rows, ThreadPool& threads);

  // Runs one matmul with the next copy of the weights.
  void run();
  // Returns the bytes of one copy.
  size_t weight_bytes() const { return copies_[0].bytes(); }

 private:
  MatmulShape shape_;
  int64_t rows_;
  ThreadPool& threads_;
  std::vector<float> x_;
  std::vector<float> out_;
  std::vector<cpu::PackedMatrix> copies_;
  cpu::ActivationRows scratch_;
  size_t turn_ = 0;
};

}  // namespace deltaserve
