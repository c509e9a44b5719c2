// Programs for tests and benchmarks of the CUDA backend: their arrays, and weights of random
// numbers.
#pragma once
#include <cmath>
#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "kernels/cuda/self_test/layer_self_test.h"
#include "kernels/program/program.h"

namespace deltaserve {

class ProgramBuilder {
 public:
  explicit ProgramBuilder(uint32_t seed = 1) : random_(seed) {}
  ProgramBuilder(const ProgramBuilder&) = delete;
  ProgramBuilder& operator=(const ProgramBuilder&) = delete;

  // ---- These add what operations work on. Each returns its index.

  int32_t buffer(int32_t columns, RowsOf rows = RowsOf::kStep) {
    buffers_.push_back({"a buffer", rows, columns});
    return last(buffers_);
  }
  // Floats that outlive the builder's programs.
  int32_t matrix(std::vector<HostMatrix> blocks, WeightFormat format) {
    blocks_.push_back(std::move(blocks));
    weights_.push_back({"a matrix", WeightKind::kMatrix, format, array_of(blocks_.back())});
    return last(weights_);
  }
  // Normal numbers, times `scale`, that bf16 has; in two blocks.
  int32_t random_matrix(int64_t rows, int64_t columns, WeightFormat format, float scale = 1) {
    const float* values = numbers(rows * columns, scale, 0);
    const int64_t first = rows / 3;
    return matrix({{values, Dtype::kF32, first, columns},
                   {values + first * columns, Dtype::kF32, rows - first, columns}},
                  format);
  }
  int32_t random_vector(int64_t rows, int64_t columns, float scale = 1, float offset = 0) {
    blocks_.push_back({{numbers(rows * columns, scale, offset), Dtype::kF32, rows, columns}});
    weights_.push_back(
        {"a vector", WeightKind::kVector, WeightFormat::kF32, array_of(blocks_.back())});
    return last(weights_);
  }
  // A mixer whose projection is packed_projection(), with all vectors that its shape asks for.
  int32_t random_mixer(const MixerShape& shape, StateFormat format = StateFormat::kF32) {
    MixerLayer layer = {};
    layer.shape = shape;
    layer.projection = cuda::packed_projection(shape);
    layer.vectors = map_vectors<int32_t>(layer.vectors, [](int32_t) { return -1; });
    MixerVectors<int32_t>& vectors = layer.vectors;
    if (shape.conv_width > 0) {
      vectors.conv = random_vector(shape.conv_width, shape.channels(), 0.25f);
    }
    if (shape.decay_heads > 0) {
      vectors.a_log = random_vector(1, shape.decay_heads, 0.1f);
      vectors.dt_bias = random_vector(1, shape.decay_heads * shape.decay_width(), 0.1f, -4);
    }
    if (shape.precond_heads > 0) {
      vectors.precond_a_log = random_vector(1, shape.precond_heads, 0.1f);
      vectors.precond_dt_bias = random_vector(1, shape.precond_heads, 0.1f);
      vectors.precond_center = random_vector(1, shape.precond_heads, 0.1f);
    }
    if (shape.conditioning.on) {
      vectors.conditioning = random_vector(1, shape.key_dim, 0.1f);
      vectors.conditioning_bias = random_vector(1, 1, 0.1f);
    }
    const bool by_head = shape.output_norm == OutputNorm::kHead;
    vectors.norm = random_vector(1, by_head ? shape.value_dim : shape.value_columns(), 0.1f, 1);
    layout_.add_mixer(shape, format);
    layer.state = layout_.layers.back();
    mixers_.push_back(layer);
    return last(mixers_);
  }
  // Begins the next layer: what is added from here on belongs to it.
  void begin_layer() { ++layer_; }
  // Adds a layer that carries no state.
  void no_mixer() { layout_.add_empty(); }
  const MixerLayer& mixer_layer(int32_t mixer) const { return mixers_[static_cast<size_t>(mixer)]; }

  // ---- Operations

  Op& add(OpKind kind, int32_t in, int32_t out) {
    ops_.emplace_back();
    ops_.back().kind = kind;
    ops_.back().layer = layer_;
    ops_.back().in = in;
    ops_.back().out = out;
    return ops_.back();
  }
  void embed(int32_t weight, int32_t out) { add(OpKind::kEmbed, -1, out).weight = weight; }
  void norm(int32_t in, int32_t weight, int32_t out, float eps = 1e-5f) {
    Op& op = add(OpKind::kNorm, in, out);
    op.weight = weight;
    op.eps = eps;
  }
  Op& matmul(int32_t in, int32_t weight, int32_t out) {
    Op& op = add(OpKind::kMatmul, in, out);
    op.weight = weight;
    return op;
  }
  void gate(Activation activation, int32_t in, int32_t out) {
    add(OpKind::kGate, in, out).activation = activation;
  }
  void mixer(int32_t mixer, int32_t in, int32_t out) { add(OpKind::kMixer, in, out).mixer = mixer; }

  // ---- The whole, which points into the builder. Draws read `last_hidden`.
  Program program(int32_t last_hidden, int32_t final_norm, int32_t output,
                  float final_eps = 1e-5f) {
    Program program;
    program.last_hidden = last_hidden;
    program.final_norm = final_norm;
    program.output = output;
    program.final_eps = final_eps;
    program.hidden = buffers_[static_cast<size_t>(last_hidden)].columns;
    program.vocab = static_cast<int32_t>(weights_[static_cast<size_t>(output)].rows());
    program.drawn_hidden = buffer(program.hidden, RowsOf::kDraws);
    program.logits = buffer(program.vocab, RowsOf::kDraws);
    program.slot_bytes = static_cast<int64_t>(layout_.bytes());
    program.buffers = array_of(buffers_);
    program.weights = array_of(weights_);
    program.ops = array_of(ops_);
    program.mixers = array_of(mixers_);
    program.parts = array_of(layout_.parts);
    return program;
  }

 private:
  template <class T>
  static int32_t last(const std::vector<T>& entries) {
    return static_cast<int32_t>(entries.size()) - 1;
  }
  const float* numbers(int64_t count, float scale, float offset) {
    std::normal_distribution<float> normal;
    std::vector<float>& values = numbers_.emplace_back(static_cast<size_t>(count));
    for (float& x : values) x = bf16_to_f32(f32_to_bf16(offset + scale * normal(random_)));
    return values.data();
  }

  int16_t layer_ = -1;
  std::mt19937 random_;
  std::deque<std::vector<float>> numbers_;
  std::deque<std::vector<HostMatrix>> blocks_;
  std::vector<Buffer> buffers_;
  std::vector<Weight> weights_;
  std::vector<Op> ops_;
  std::vector<MixerLayer> mixers_;
  StateLayout layout_;
};

// A layer of a TestModel.
struct TestLayer {
  MixerShape mixer;  // of 0 heads: none
  StateFormat format = StateFormat::kF32;
  int32_t intermediate = 0;  // of the MLP; 0: none
};

// A model of layers that may differ: embeddings, then each layer adds its mixer's and its MLP's
// result. Layers share buffers of the same width.
class TestModel {
 public:
  TestModel(int32_t hidden, int32_t vocab, const std::vector<TestLayer>& layers,
            WeightFormat format)
      : hidden_(hidden), format_(format) {
    x_ = build_.buffer(hidden);
    normed_ = build_.buffer(hidden);
    const int32_t table = matrix(vocab, hidden, 1);
    build_.embed(table, x_);
    for (const TestLayer& layer : layers) {
      build_.begin_layer();
      if (layer.mixer.heads > 0) {
        add_mixer(layer);
      } else {
        build_.no_mixer();
      }
      if (layer.intermediate > 0) add_mlp(layer.intermediate);
    }
    program_ = build_.program(x_, build_.random_vector(1, hidden, 0.1f, 1), table);
  }

  const Program& program() const { return program_; }

 private:
  int32_t matrix(int64_t rows, int64_t columns, float scale) {
    return build_.random_matrix(rows, columns, format_, scale);
  }
  int32_t buffer(int32_t columns) {
    const auto [found, is_new] = wide_.try_emplace(columns, 0);
    if (is_new) found->second = build_.buffer(columns);
    return found->second;
  }
  void norm() { build_.norm(x_, build_.random_vector(1, hidden_, 0.1f, 1), normed_); }

  void add_mixer(const TestLayer& layer) {
    norm();
    const int32_t mixer = build_.random_mixer(layer.mixer, layer.format);
    const int32_t columns = build_.mixer_layer(mixer).projection.columns;
    const int32_t projected = buffer(columns);
    const int32_t values = layer.mixer.value_columns();
    const int32_t mixed = buffer(values);
    const float unit = 1 / std::sqrt(static_cast<float>(hidden_));
    build_.matmul(normed_, matrix(columns, hidden_, unit), projected);
    build_.mixer(mixer, projected, mixed);
    build_.matmul(mixed, matrix(hidden_, values, unit), x_).accumulate = true;
  }
  void add_mlp(int32_t intermediate) {
    norm();
    const int32_t wide = buffer(2 * intermediate);
    const int32_t gated = buffer(intermediate);
    const float unit = 1 / std::sqrt(static_cast<float>(hidden_));
    build_.matmul(normed_, matrix(2 * intermediate, hidden_, unit), wide);
    build_.gate(Activation::kSilu, wide, gated);
    build_.matmul(gated, matrix(hidden_, intermediate, unit), x_).accumulate = true;
  }

  ProgramBuilder build_;
  int32_t hidden_;
  WeightFormat format_;
  int32_t x_ = -1, normed_ = -1;
  std::map<int32_t, int32_t> wide_;  // buffers by their columns
  Program program_;
};

}  // namespace deltaserve
