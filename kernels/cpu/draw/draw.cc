#include "kernels/cpu/draw/draw.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cpu/draw/sample.h"
#include "kernels/cpu/layer/rowwise.h"

namespace deltaserve::cpu {

bool DrawRunner::reserve(int64_t hidden, int64_t vocab, int64_t max_draws, int num_threads) {
  hidden_ = hidden;
  vocab_ = vocab;
  results_.reserve(static_cast<size_t>(max_draws));
  input_ = allocate_aligned<float>(static_cast<size_t>(kBlock * hidden));
  logits_ = allocate_aligned<float>(static_cast<size_t>(kBlock * vocab));
  weights_ = allocate_aligned<float>(static_cast<size_t>(num_threads * vocab));
  indices_ = allocate_aligned<int32_t>(static_cast<size_t>(num_threads * vocab));
  const int64_t numbers = kBlock * (hidden + vocab) + 2 * num_threads * vocab;
  bytes_ = numbers * static_cast<int64_t>(sizeof(float));
  return input_ != nullptr && logits_ != nullptr && weights_ != nullptr && indices_ != nullptr;
}

void DrawRunner::run(const LogitsHead& head, const float* hidden, Array<Draw> draws,
                     IntegerPath path, ActivationRows& activations, ThreadPool& threads) {
  DS_CHECK(static_cast<size_t>(draws.count) <= results_.capacity());
  results_.resize(static_cast<size_t>(draws.count));
  for (int64_t begin = 0; begin < draws.count; begin += kBlock) {
    const int64_t count = std::min(kBlock, draws.count - begin);
    const bool needed =
        std::any_of(draws.begin() + begin, draws.begin() + begin + count, needs_logits);
    if (needed) {
      for (int64_t i = 0; i < count; ++i) {
        const float* row = hidden + draws[begin + i].row * hidden_;
        rms_norm_row(row, head.norm, head.eps, hidden_, input_.get() + i * hidden_);
      }
      matmul(input_.get(), hidden_, *head.output, count, false, logits_.get(), vocab_, path,
             activations, threads);
    }
    threads.parallel_for(count, [&](int64_t i, int thread) {
      const Draw& draw = draws[begin + i];
      DrawResult& result = results_[static_cast<size_t>(begin + i)];
      result =
          needs_logits(draw) ? evaluate(draw, logits_.get() + i * vocab_, thread) : DrawResult();
      if (draw.hidden != nullptr) std::copy_n(hidden + draw.row * hidden_, hidden_, draw.hidden);
    });
  }
}

DrawResult DrawRunner::evaluate(const Draw& draw, const float* logits, int thread) {
  if (draw.logits != nullptr) std::copy_n(logits, vocab_, draw.logits);
  return evaluate_row(draw, logits, vocab_,
                      {weights_.get() + thread * vocab_, indices_.get() + thread * vocab_});
}

}  // namespace deltaserve::cpu
