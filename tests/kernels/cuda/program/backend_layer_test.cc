// A mixer layer between its matmuls, by the CUDA backend, against the CPU's.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/base/dtype.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cuda/program/backend.h"
#include "kernels/cuda/rule/delta_prefill.h"
#include "tests/kernels/cuda/self_test/program_builder.h"

namespace deltaserve::cuda {
namespace {

constexpr int32_t kWidth = 64;
constexpr int32_t kVocab = 70;
constexpr int32_t kMost = 96;

MixerShape layer_shape() {
  MixerShape shape;
  shape.kind = MixerKind::kQDelta;
  shape.heads = shape.q_heads = shape.k_heads = shape.v_heads = 1;
  shape.decay_heads = shape.beta_heads = 1;
  shape.decay_gate = DecayGate::kSoftplus;
  shape.key_dim = shape.value_dim = 64;
  shape.conv_width = 4;
  shape.scale = 0.125f;
  shape.lambda_bias = 0.9f;
  return shape;
}

// A layer between its matmuls, whose rows of projections have a padding: the rows that its mixer
// gives, or what they add up to with the embeddings, of a prompt in two steps, the second with a
// decode row.
std::vector<float> layer_rows(Backend& backend, WeightFormat format, bool added_up) {
  ProgramBuilder build;
  const int32_t table = build.random_matrix(kVocab, kWidth, format, 0.125f);
  const int32_t mixer = build.random_mixer(layer_shape());
  const int32_t columns = build.mixer_layer(mixer).projection.columns;
  EXPECT_EQ(columns, 259);
  EXPECT_TRUE(has_image_prefill(layer_shape()));
  const int32_t x = build.buffer(kWidth);
  const int32_t normed = build.buffer(kWidth);
  const int32_t projected = build.buffer(columns);
  const int32_t mixed = build.buffer(kWidth);
  const int32_t norm = build.random_vector(1, kWidth);
  build.embed(table, x);
  build.norm(x, norm, normed);
  build.matmul(normed, build.random_matrix(columns, kWidth, format, 0.125f), projected);
  build.mixer(mixer, projected, mixed);
  build.matmul(mixed, build.random_matrix(kWidth, kWidth, format, 0.125f), x).accumulate = true;
  const Program program = build.program(added_up ? x : mixed, norm, table);
  EXPECT_EQ(backend.load(program, {kMost, 2, kMost, 2}), "");
  std::vector<float> all;
  const auto step = [&](const std::vector<Segment>& segments, int32_t rows, int32_t first_token) {
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < rows; ++i) tokens.push_back((first_token + i * 13) % kVocab);
    const size_t before = all.size();
    all.resize(before + static_cast<size_t>(rows * kWidth), NAN);
    std::vector<Draw> draws(static_cast<size_t>(rows));
    for (int32_t i = 0; i < rows; ++i) {
      draws[static_cast<size_t>(i)].row = i;
      draws[static_cast<size_t>(i)].hidden = &all[before + static_cast<size_t>(i * kWidth)];
    }
    std::vector<DrawResult> results(draws.size());
    const Ticket ticket = backend.forward({array_of(tokens), array_of(segments)});
    backend.draw(ticket, array_of(draws));
    backend.wait(ticket, results.data());
  };
  step({{RowKind::kPrefill, 0, 0, 0, 64, 0}}, 64, 0);
  step({{RowKind::kDecode, 1, 1, 0, 1, 0}, {RowKind::kPrefill, 0, 0, 1, 50, 64}}, 51, 1);
  return all;
}

double error(const std::vector<float>& x, const std::vector<float>& truth) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    difference += std::pow(static_cast<double>(x[i]) - truth[i], 2);
    norm += std::pow(static_cast<double>(truth[i]), 2);
  }
  return std::sqrt(difference / norm);
}

std::unique_ptr<Backend> cuda_backend(MatmulKernels kernels) {
  std::string error;
  return make_cuda_backend(Runtime::create(&error), {kernels, true});
}

TEST(CudaBackendLayer, ImagesAreMadeOfPaddedProjections) {
  ThreadPool threads(1);
  for (const bool added_up : {false, true}) {
    // Weights are bf16 numbers.
    const auto truth = layer_rows(*make_cpu_backend(&threads), WeightFormat::kF32, added_up);
    for (const MatmulKernels kernels : {MatmulKernels::kTensor, MatmulKernels::kExact}) {
      const auto backend = cuda_backend(kernels);
      EXPECT_LT(error(layer_rows(*backend, WeightFormat::kBf16, added_up), truth), 1e-2);
      const std::string text = backend->description();
      EXPECT_EQ(text.find("prefill on tensor cores"), std::string::npos) << text;
#ifndef __CUDACC__
      EXPECT_EQ(text.find("by cuBLASLt") != std::string::npos, kernels == MatmulKernels::kExact);
      EXPECT_EQ(text.find("warning"), std::string::npos) << text;
#endif
    }
  }
}

}  // namespace
}  // namespace deltaserve::cuda
