// A mixer layer between its products, by the CUDA backend, against the CPU's.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/base/dtype.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/delta_prefill.h"

namespace deltaserve::cuda {
namespace {

// A layer between its products, whose rows of projections have a padding: the rows that it adds up
// to, of a prompt in two steps, the second with a decode row.
std::vector<float> layer_rows(Backend& backend, WeightFormat format) {
  constexpr int64_t kWidth = 64;
  constexpr int32_t kVocab = 70;
  constexpr int32_t kMost = 96;
  MixerLayer layer;
  MixerShape& shape = layer.shape;
  shape.kind = MixerKind::kQDelta;
  shape.heads = shape.q_heads = shape.k_heads = shape.v_heads = 1;
  shape.decay_heads = shape.beta_heads = 1;
  shape.decay_gate = DecayGate::kSoftplus;
  shape.key_dim = shape.value_dim = 64;
  shape.conv_width = 4;
  shape.scale = 0.125f;
  shape.lambda_bias = 0.9f;
  ProjectionLayout& at = layer.projection;
  at.q = 0;
  at.k = 64;
  at.v = 128;
  at.gate = 192;
  at.decay = 256;
  at.beta = 257;
  at.lambda = 258;
  at.columns = 259;
  EXPECT_TRUE(has_image_prefill(layer.shape));
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> kept;
  const auto numbers = [&](int64_t count, float scale) {
    std::vector<float>& values = kept.emplace_back(static_cast<size_t>(count));
    for (float& x : values) x = bf16_to_f32(f32_to_bf16(scale * normal(random)));
    return kept.back().data();
  };
  const auto matrix = [&](int64_t rows, int64_t columns) {
    const HostMatrix host = {numbers(rows * columns, 0.125f), Dtype::kF32, rows, columns};
    return backend.load_matrix(&host, 1, format);
  };
  const auto vector = [&](int64_t rows, int64_t columns, float scale) {
    return backend.load_vector({numbers(rows * columns, scale), Dtype::kF32, rows, columns});
  };
  const MatrixHandle table = matrix(kVocab, kWidth);
  const MatrixHandle in = matrix(at.columns, kWidth);
  const MatrixHandle out = matrix(kWidth, kWidth);
  const VectorHandle norm = vector(1, kWidth, 1);
  layer.conv = vector(layer.shape.conv_width, layer.shape.channels(), 0.5f);
  layer.a_log = vector(1, 1, 1);
  layer.dt_bias = vector(1, 1, 1);
  layer.norm = vector(1, kWidth, 1);
  const BufferHandle x = backend.allocate(kMost, kWidth);
  const BufferHandle normed = backend.allocate(kMost, kWidth);
  const BufferHandle projected = backend.allocate(kMost, at.columns);
  const BufferHandle mixed = backend.allocate(kMost, kWidth);
  EXPECT_TRUE(backend.reserve(layer.shape, kMost, 1, 2, kWidth, kVocab));
  EXPECT_TRUE(backend.allocate_states(StateLayout::of(layer.shape, 1), 2));
  std::vector<float> all;
  const auto step = [&](const std::vector<Segment>& segments, int32_t rows, int32_t num_decode) {
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < rows; ++i) tokens.push_back((num_decode + i * 13) % kVocab);
    backend.begin_step(
        {tokens.data(), rows, segments.data(), static_cast<int32_t>(segments.size()), num_decode});
    backend.embed(table, x);
    backend.rms_norm(x, norm, 1e-5f, normed);
    backend.matmul({normed, 0}, in, {projected, 0});
    backend.mixer_layer(layer, projected, mixed);
    backend.matmul_add({mixed, 0}, out, {x, 0});
    backend.wait(backend.end_step(), nullptr);
    for (const BufferHandle buffer : {mixed, x}) {
      std::vector<float> values(static_cast<size_t>(rows * kWidth));
      backend.read_buffer(buffer, rows, values.data());
      all.insert(all.end(), values.begin(), values.end());
    }
  };
  step({{0, 0, 0, 90, 0}}, 90, 0);
  step({{1, 1, 0, 1, 0}, {0, 0, 1, 50, 90}}, 51, 1);
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

std::unique_ptr<Backend> cuda_backend(Products products) {
  std::string error;
  return make_cuda_backend(Runtime::create(&error), {products, true});
}

TEST(CudaBackendLayer, ImagesAreMadeOfPaddedProjections) {
  ThreadPool threads(1);
  // Weights are bf16 numbers.
  const auto truth = layer_rows(*make_cpu_backend(&threads), WeightFormat::kF32);
  for (const Products products : {Products::kTensor, Products::kExact}) {
    const auto backend = cuda_backend(products);
    EXPECT_LT(error(layer_rows(*backend, WeightFormat::kBf16), truth), 1e-2);
    const std::string text = backend->description();
    EXPECT_EQ(text.find("prefill on tensor cores"), std::string::npos) << text;
#ifndef __CUDACC__
    EXPECT_EQ(text.find("by cuBLASLt") != std::string::npos, products == Products::kExact);
    EXPECT_EQ(text.find("warning"), std::string::npos) << text;
#endif
  }
}

}  // namespace
}  // namespace deltaserve::cuda
