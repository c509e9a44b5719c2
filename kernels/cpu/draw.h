// The draws of a step on the CPU: final norm, logits, log-probabilities and token of each row.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/matmul_support.h"
#include "kernels/program/step.h"

namespace deltaserve::cpu {

// The weights that turn hidden states into logits.
struct LogitsHead {
  const float* norm = nullptr;  // [hidden]
  float eps = 0;
  const PackedMatrix* output = nullptr;  // [vocab, hidden]
};

class DrawRunner {
 public:
  // Number of rows whose logits exist at one time.
  static constexpr int64_t kBlock = 32;

  // Allocates the working memory. Returns false if there is not enough.
  bool reserve(int64_t hidden, int64_t vocab, int64_t max_draws, int num_threads);
  // Returns the bytes that reserve() took.
  int64_t bytes() const { return bytes_; }

  // Computes the draws from the step's rows in `hidden`. `activations` must have room for kBlock
  // rows.
  void run(const LogitsHead& head, const float* hidden, Array<Draw> draws, IntegerPath path,
           ActivationRows& activations, ThreadPool& threads);
  // Returns the results of the last run(), in the order of its draws.
  const std::vector<DrawResult>& results() const { return results_; }

 private:
  DrawResult evaluate(const Draw& draw, const float* logits, int thread);

  int64_t hidden_ = 0;
  int64_t vocab_ = 0;
  int64_t bytes_ = 0;
  AlignedArray<float> input_;      // [kBlock, hidden]
  AlignedArray<float> logits_;     // [kBlock, vocab]
  AlignedArray<float> weights_;    // [threads, vocab]
  AlignedArray<int32_t> indices_;  // [threads, vocab]
  std::vector<DrawResult> results_;
};

}  // namespace deltaserve::cpu
