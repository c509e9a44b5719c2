#include "tests/bench/cold_matmul.h"

#include <algorithm>
#include <cstdlib>
#include <random>

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/matmul_support.h"

namespace deltaserve {

ColdMatmul::ColdMatmul(const MatmulShape& shape, WeightFormat format, int64_t rows,
                       ThreadPool& threads)
    : shape_(shape),
      rows_(rows),
      threads_(threads),
      x_(static_cast<size_t>(rows * shape.inputs)),
      out_(static_cast<size_t>(rows * shape.outputs)) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> weights(static_cast<size_t>(shape.outputs * shape.inputs));
  for (float& value : weights) value = uniform(random);
  for (float& value : x_) value = uniform(random);
  const HostMatrix source = {weights.data(), Dtype::kF32, shape.outputs, shape.inputs};
  copies_.push_back(cpu::pack_matrix(&source, 1, format, threads, cpu::matmul_support().bf16));
  const size_t bytes = weight_bytes();
  while (copies_.size() * bytes < kColdBytes) {
    copies_.push_back({copies_[0].format, copies_[0].bf16_panels, copies_[0].rows,
                       copies_[0].columns, cpu::allocate_aligned<unsigned char>(bytes)});
    std::copy_n(copies_[0].data.get(), bytes, copies_.back().data.get());
  }
  const bool there = copies_[0].rounds_activations() ? scratch_.reserve(rows, shape.inputs)
                                                     : scratch_.reserve_floats(rows, shape.inputs);
  if (!there) std::abort();
}

void ColdMatmul::run() {
  cpu::matmul(x_.data(), shape_.inputs, copies_[turn_], rows_, false, out_.data(), shape_.outputs,
              cpu::matmul_support().integers, scratch_, threads_);
  turn_ = (turn_ + 1) % copies_.size();
}

}  // namespace deltaserve
