// Runs the CUDA backend with small programs, step by step, for its tests.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/program/backend.h"
#include "tests/kernels/cuda/device/logged_runtime.h"
#include "tests/kernels/cuda/self_test/layer_shapes.h"
#include "tests/kernels/cuda/self_test/program_builder.h"

namespace deltaserve::cuda {

inline constexpr int kVocab = 70;
inline constexpr int32_t kHidden = 24;
inline constexpr int32_t kWide = 48;
inline constexpr int32_t kMaxRows = 24;

// Which buffer draws read.
enum class Reads { kX, kWideX };

// A program without mixers: embeddings, a matmul onto columns of a wider buffer, and the operations
// around them. Weights are exact in bf16.
class TinyProgram {
 public:
  explicit TinyProgram(WeightFormat format, Reads reads = Reads::kX) {
    const int32_t x = build_.buffer(kHidden);
    const int32_t normed = build_.buffer(kHidden);
    const int32_t wide = build_.buffer(kWide);
    const int32_t half = build_.buffer(kWide / 2);
    const int32_t table = build_.random_matrix(kVocab, kHidden, format);
    const int32_t up = build_.random_matrix(kWide / 2, kHidden, format);
    // An inner size that is no multiple of 8, from columns that are not aligned.
    const int32_t odd = build_.random_matrix(7, 5, format);
    const int32_t down = build_.random_matrix(kHidden, kWide / 2, format);
    const int32_t norm = build_.random_vector(1, kHidden);
    build_.embed(table, x);
    build_.norm(x, norm, normed);
    build_.matmul(normed, up, wide);
    build_.matmul(normed, up, wide).out_column = kWide / 2;
    Op& inner = build_.matmul(wide, odd, wide);
    inner.in_column = 3;
    inner.out_column = 11;
    inner.bias = build_.random_vector(1, 7);
    build_.gate(Activation::kSilu, wide, half);
    build_.matmul(half, down, x).accumulate = true;
    program_ = reads == Reads::kX ? build_.program(x, norm, table)
                                  : build_.program(wide, build_.random_vector(1, kWide),
                                                   build_.random_matrix(kVocab, kWide, format));
  }
  const Program& program() const { return program_; }

 private:
  ProgramBuilder build_;
  Program program_;
};

// A backend with a program, and the inputs and results of a step.
class Driver {
 public:
  Driver(std::unique_ptr<Backend> backend, const Program& program,
         const Limits& limits = {kMaxRows, kMaxRows, kMaxRows, kMaxRows})
      : backend_(std::move(backend)), hidden_(program.hidden), vocab_(program.vocab) {
    EXPECT_EQ(backend_->refusal(program, limits), "");
    EXPECT_EQ(backend_->load(program, limits), "");
  }

  Backend* operator->() { return backend_.get(); }

  Ticket forward(const std::vector<int32_t>& tokens, const std::vector<Segment>& segments) {
    return backend_->forward({array_of(tokens), array_of(segments)});
  }
  // Rows of as many sequences, of which the last are prefill rows.
  Ticket forward(const std::vector<int32_t>& tokens, int32_t num_prefill = 0) {
    std::vector<Segment> segments;
    const auto rows = static_cast<int32_t>(tokens.size());
    for (int32_t i = 0; i < rows; ++i) {
      const bool decodes = i < rows - num_prefill;
      segments.push_back(
          {decodes ? RowKind::kDecode : RowKind::kPrefill, i, i, i, 1, decodes ? 5 : 0});
    }
    return forward(tokens, segments);
  }
  std::vector<DrawResult> finish(Ticket ticket, size_t count) {
    std::vector<DrawResult> results(count);
    backend_->wait(ticket, results.data());
    return results;
  }
  std::vector<DrawResult> draw(Ticket ticket, const std::vector<Draw>& draws) {
    backend_->draw(ticket, array_of(draws));
    return finish(ticket, draws.size());
  }
  std::vector<DrawResult> step(const std::vector<int32_t>& tokens, const std::vector<Draw>& draws) {
    return draw(forward(tokens), draws);
  }

  // The results of the draws of all rows of a step.
  struct Rows {
    std::vector<DrawResult> results;
    std::vector<float> hidden, logits;
  };
  Rows draw_rows(Ticket ticket, std::vector<Draw> draws) {
    Rows rows;
    rows.hidden.assign(draws.size() * static_cast<size_t>(hidden_), NAN);
    rows.logits.assign(draws.size() * static_cast<size_t>(vocab_), NAN);
    for (size_t i = 0; i < draws.size(); ++i) {
      draws[i].hidden = &rows.hidden[i * static_cast<size_t>(hidden_)];
      draws[i].logits = &rows.logits[i * static_cast<size_t>(vocab_)];
    }
    rows.results = draw(ticket, draws);
    return rows;
  }

  std::vector<float> slot(int index, int64_t bytes) {
    std::vector<float> values(static_cast<size_t>(bytes) / sizeof(float));
    backend_->wait(backend_->export_slot(index, values.data()), nullptr);
    return values;
  }

 private:
  std::unique_ptr<Backend> backend_;
  int32_t hidden_, vocab_;
};

inline std::unique_ptr<Backend> cuda_backend(const BackendOptions& options = {}) {
  std::string error;
  return make_cuda_backend(Runtime::create(&error), options);
}
inline std::unique_ptr<Backend> logged_backend(RuntimeLog* log,
                                               const BackendOptions& options = {}) {
  return make_cuda_backend(std::make_unique<LoggedRuntime>(log), options);
}

inline double error(const std::vector<float>& x, const std::vector<float>& truth) {
  EXPECT_EQ(x.size(), truth.size());
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    difference += std::pow(static_cast<double>(x[i]) - truth[i], 2);
    norm += std::pow(static_cast<double>(truth[i]), 2);
  }
  return std::sqrt(difference / norm);
}

inline std::vector<Draw> greedy_rows(int count) {
  std::vector<Draw> rows(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    rows[static_cast<size_t>(i)].row = i;
    rows[static_cast<size_t>(i)].sample = true;
    rows[static_cast<size_t>(i)].temperature = 0;
    rows[static_cast<size_t>(i)].num_top = 2;
  }
  return rows;
}

inline std::vector<int32_t> tokens_of(int count, int seed = 0) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back((seed + i * 13) % kVocab);
  return tokens;
}

inline bool same(const DrawResult& a, const DrawResult& b) {
  return a.token == b.token && a.logprob == b.logprob && a.target_logprob == b.target_logprob &&
         a.num_top == b.num_top &&
         std::memcmp(a.top_tokens, b.top_tokens, sizeof a.top_tokens) == 0 &&
         std::memcmp(a.top_logprobs, b.top_logprobs, sizeof a.top_logprobs) == 0;
}
inline bool same(const std::vector<DrawResult>& a, const std::vector<DrawResult>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const DrawResult& x, const DrawResult& y) { return same(x, y); });
}
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace deltaserve::cuda
