// The CUDA backend, on the emulation or a GPU, against the CPU's, and what only it has: steps that
// are filled up and launched as a graph, steps that are queued ahead, draws in several passes.
// Whole models: golden_test.cc.
#include "kernels/cuda/program/backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/base/dtype.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cuda/self_test/layer_proof.h"
#ifndef __CUDACC__
#include "kernels/cuda/matmul/matmul_library_host.h"
#endif
#include "kernels/cuda/program/step_memory.h"
#include "tests/cuda/logged_runtime.h"
#include "tests/cuda/program_builder.h"

namespace deltaserve::cuda {
namespace {

constexpr int kVocab = 70;
constexpr int32_t kHidden = 24;
constexpr int32_t kWide = 48;
constexpr int32_t kMaxRows = 24;

// Which buffer draws read.
enum class Reads { kX, kWideX };

// A program without mixers: embeddings, a matmul onto columns of a wider buffer, what surrounds
// them. Weights are numbers of bf16.
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

// A backend with a program, and what goes in and out of a step.
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

  // What draws of all rows of the step give.
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

std::unique_ptr<Backend> cuda_backend(const BackendOptions& options = {}) {
  std::string error;
  return make_cuda_backend(Runtime::create(&error), options);
}
std::unique_ptr<Backend> logged_backend(RuntimeLog* log, const BackendOptions& options = {}) {
  return make_cuda_backend(std::make_unique<LoggedRuntime>(log), options);
}

double error(const std::vector<float>& x, const std::vector<float>& truth) {
  EXPECT_EQ(x.size(), truth.size());
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    difference += std::pow(static_cast<double>(x[i]) - truth[i], 2);
    norm += std::pow(static_cast<double>(truth[i]), 2);
  }
  return std::sqrt(difference / norm);
}

std::vector<Draw> greedy_rows(int count) {
  std::vector<Draw> rows(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    rows[static_cast<size_t>(i)].row = i;
    rows[static_cast<size_t>(i)].sample = true;
    rows[static_cast<size_t>(i)].temperature = 0;
    rows[static_cast<size_t>(i)].num_top = 2;
  }
  return rows;
}

std::vector<int32_t> tokens_of(int count, int seed = 0) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back((seed + i * 13) % kVocab);
  return tokens;
}

bool same(const DrawResult& a, const DrawResult& b) {
  return a.token == b.token && a.logprob == b.logprob && a.target_logprob == b.target_logprob &&
         a.num_top == b.num_top &&
         std::memcmp(a.top_tokens, b.top_tokens, sizeof a.top_tokens) == 0 &&
         std::memcmp(a.top_logprobs, b.top_logprobs, sizeof a.top_logprobs) == 0;
}
bool same(const std::vector<DrawResult>& a, const std::vector<DrawResult>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const DrawResult& x, const DrawResult& y) { return same(x, y); });
}
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class AgainstCpu : public testing::TestWithParam<std::pair<WeightFormat, Products>> {};

TEST_P(AgainstCpu, OperationsAgree) {
  const auto [format, products] = GetParam();
  ThreadPool threads(1);
  for (const Reads reads : {Reads::kX, Reads::kWideX}) {
    // As f32 the same weights, with which no processor rounds activations.
    Driver cpu(make_cpu_backend(&threads), TinyProgram(WeightFormat::kF32, reads).program());
    Driver gpu(cuda_backend({products, true}), TinyProgram(format, reads).program());
    // Activations are rounded to bf16 for tensor cores only.
    const bool rounds = format == WeightFormat::kBf16 && products != Products::kPlain;
    const double tolerance = rounds ? 6e-3 : 1e-6;
    for (const int rows : {1, 3, 20}) {
      const auto truth = cpu.draw_rows(cpu.forward(tokens_of(rows)), greedy_rows(rows));
      const auto found = gpu.draw_rows(gpu.forward(tokens_of(rows)), greedy_rows(rows));
      EXPECT_LT(error(found.hidden, truth.hidden), tolerance);
      EXPECT_LT(error(found.logits, truth.logits), tolerance);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, AgainstCpu,
                         testing::Values(std::pair(WeightFormat::kF32, Products::kTensor),
                                         std::pair(WeightFormat::kBf16, Products::kTensor),
                                         std::pair(WeightFormat::kBf16, Products::kPlain)),
                         [](const auto& test) {
                           return std::string(weight_format_name(test.param.first)) +
                                  (test.param.second == Products::kPlain ? "_plain" : "_tensor");
                         });

// Columns of a wider buffer, inner sizes that are not aligned, activations that nobody rounded.
TEST(CudaBackend, PrefillRowsByTheLibraryAgree) {
  for (const Reads reads : {Reads::kX, Reads::kWideX}) {
    const TinyProgram tiny(WeightFormat::kBf16, reads);
    for (const Products products : {Products::kExact, Products::kLibraryForRows}) {
      Driver own(cuda_backend({Products::kTensor, true}), tiny.program());
      Driver library(cuda_backend({products, true}), tiny.program());
      for (const int32_t num_prefill : {0, 1, 4, 9}) {
        const auto expected = own.draw_rows(own.forward(tokens_of(9), num_prefill), greedy_rows(9));
        const auto found =
            library.draw_rows(library.forward(tokens_of(9), num_prefill), greedy_rows(9));
        // The same numbers, rounded to bf16 between matmuls: a neighbour here and there.
        EXPECT_LT(error(found.hidden, expected.hidden), 1e-3);
      }
    }
  }
}

// A layer for which both fast kernels are there.
MixerShape provable_shape() {
  MixerShape shape;
  shape.kind = MixerKind::kQDelta;
  shape.heads = shape.q_heads = shape.k_heads = shape.v_heads = 1;
  shape.decay_heads = shape.beta_heads = 1;
  shape.decay_gate = DecayGate::kSoftplus;
  shape.key_dim = shape.value_dim = 64;
  shape.conv_width = 4;
  shape.scale = 0.125f;
  return shape;
}
// One for which there is none.
MixerShape plain_shape(int32_t key_dim = 16) {
  MixerShape shape;
  shape.kind = MixerKind::kLinearAttention;
  shape.heads = shape.q_heads = shape.k_heads = shape.v_heads = 1;
  shape.key_dim = shape.value_dim = key_dim;
  shape.normalised = true;
  return shape;
}

TEST(CudaBackend, SaysWhatItCannotDo) {
  const auto backend = cuda_backend();
  const Limits limits = {8, 8, 8, 2};
  const auto refusal = [&](WeightFormat format, const MixerShape& shape, const Limits& of) {
    const TestModel model(kHidden, kVocab, {{}, {shape}}, format);
    return backend->refusal(model.program(), of);
  };
  for (const WeightFormat format : {WeightFormat::kAuto, WeightFormat::kF32, WeightFormat::kBf16}) {
    EXPECT_EQ(refusal(format, plain_shape(kMaxKeyDim), limits), "");
  }
  EXPECT_EQ(refusal(WeightFormat::kInt8, plain_shape(), limits),
            "weights in int8 are for the CPU; on CUDA they are auto, f32 or bf16");
  EXPECT_EQ(refusal(WeightFormat::kInt4, plain_shape(), limits),
            "weights in int4 are for the CPU; on CUDA they are auto, f32 or bf16");
  EXPECT_EQ(refusal(WeightFormat::kF32, plain_shape(kMaxKeyDim + 1), limits),
            "heads of 513 key channels, as layer 1 has them, are for the CPU; CUDA's kernels take "
            "512");
  EXPECT_EQ(refusal(WeightFormat::kF32, plain_shape(), {8, 1 << 16, 8, 2}),
            "steps of 65536 sequences are for the CPU; CUDA's kernels take 65535");
}

TEST(CudaBackend, CountsAndNamesItsMemory) {
  ProgramBuilder build;
  const std::vector<uint16_t> halves(40'000 * 24);
  const auto matrix = [&](Dtype dtype, int64_t columns) {
    return build.matrix({{halves.data(), dtype, 40'000, columns}}, WeightFormat::kAuto);
  };
  const int32_t x = build.buffer(24);
  const int32_t narrow = build.buffer(20);
  const int32_t other = build.buffer(40'000);
  build.embed(matrix(Dtype::kBf16, 24), x);
  build.matmul(narrow, matrix(Dtype::kF16, 20), other);  // rows are padded to 8
  const Program program = build.program(x, build.random_vector(1, 24), matrix(Dtype::kBf16, 24));
  Driver driver(cuda_backend(), program, {2, 2, 2, 3});
  const int64_t bf16 = int64_t{40'000} * 24 * 2;
  const int64_t f32 = int64_t{40'000} * 24 * 4;
  const deltaserve::Memory memory = driver->memory();
  EXPECT_EQ(memory.weights, 2 * bf16 + f32 + 24 * 4);
  EXPECT_EQ(memory.step_weights, bf16 + f32 + 24 * 4);  // not the embeddings
  EXPECT_EQ(memory.slots, 3 * 4);                       // what each drew last
  EXPECT_GT(memory.scratch, 2 * 40'000 * 4);
  const std::string text = driver->description();
  EXPECT_TRUE(text.starts_with("cuda ")) << text;
  EXPECT_NE(text.find(", 4 MB of f32 weights, 4 MB of bf16 weights"), std::string::npos) << text;
}

// Wherever the memory ends.
TEST(CudaBackend, SaysWhatThereWasNotEnoughMemoryFor) {
  const TestModel model(kHidden, kVocab, {{plain_shape()}, {{}, StateFormat::kF32, 16}},
                        WeightFormat::kF32);
  std::vector<std::string> reasons;
  for (int refused = 1;; ++refused) {
    RuntimeLog log;
    const auto backend = logged_backend(&log, {Products::kPlain, true, /*overlap=*/false});
    log.allocations = 0;
    log.refused_allocation = refused;
    const std::string failure = backend->load(model.program(), {8, 8, 8, 2});
    if (log.allocations < refused) {
      EXPECT_EQ(failure, "");
      break;
    }
    EXPECT_TRUE(failure.starts_with("not enough memory ")) << failure;
    if (reasons.empty() || reasons.back() != failure) reasons.push_back(failure);
  }
  EXPECT_GE(reasons.size(), 5u);
  EXPECT_EQ(reasons.front(), "not enough memory to load the a matrix");
  EXPECT_EQ(reasons.back(), "not enough memory for 2 states of " +
                                std::to_string(model.program().slot_bytes) + " bytes");
}

#ifndef __CUDACC__
TEST(CudaBackend, SaysThatThereIsNoLibrary) {
  pretended_library.is_there = false;
  const std::string text = cuda_backend({Products::kExact, true})->description();
  pretended_library = {};
  EXPECT_NE(text.find("warning"), std::string::npos) << text;
  EXPECT_NE(text.find("cuBLASLt"), std::string::npos) << text;
}
#endif

// Wherever the first comparison goes wrong, of the kernels in turn.
TEST(CudaBackend, ProductsThatAreWrongAreNotUsed) {
  const TinyProgram tiny(WeightFormat::kBf16);
  Driver plain(cuda_backend({Products::kPlain, true}), tiny.program());
  const auto expected = plain.step(tokens_of(3), greedy_rows(3));
  for (int kernel = 1; kernel <= 6; ++kernel) {
    RuntimeLog log;
    log.wrong_copy = 2 * kernel;  // in front of it the plain product
    Driver driver(logged_backend(&log), tiny.program());
    EXPECT_NE(driver->description().find("warning: products on tensor cores"), std::string::npos);
    EXPECT_TRUE(same(driver.step(tokens_of(3), greedy_rows(3)), expected));
  }
}

TEST(CudaBackend, SlotsAreCopiedInOrder) {
  const TestModel model(kHidden, kVocab, {{plain_shape()}, {plain_shape()}}, WeightFormat::kF32);
  const int64_t bytes = model.program().slot_bytes;
  RuntimeLog log;
  Driver driver(logged_backend(&log), model.program(), {8, 8, 8, 3});
  const int synchronized = log.synchronized;
  const auto values = [&](uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> floats(static_cast<size_t>(bytes) / sizeof(float));
    for (float& x : floats) x = normal(random);
    return floats;
  };
  const std::vector<float> first = values(1);
  const std::vector<float> second = values(2);
  std::vector<float> read[2] = {std::vector<float>(first.size(), NAN),
                                std::vector<float>(first.size(), NAN)};
  const Ticket in = driver->import_slot(0, first.data());
  driver->copy_slot(0, 2);
  driver->copy_slot(2, 2);
  driver->import_slot(0, second.data());
  const Ticket out = driver->export_slot(2, read[0].data());
  // A step behind it, which nobody waits for yet, writes the slot.
  const Ticket step = driver.forward({3, 4, 5});
  driver->draw(step, {});
  EXPECT_NE(in.transfer, 0u);
  EXPECT_EQ(in.step, 0u);
  driver->wait(out, nullptr);
  EXPECT_EQ(read[0], first);
  // More of them than there are events.
  std::vector<Ticket> tickets;
  for (int i = 0; i < 2 * Runtime::kEvents; ++i) {
    tickets.push_back(driver->export_slot(2, read[i % 2].data()));
  }
  driver->wait(tickets[0], nullptr);
  driver->wait(tickets.back(), nullptr);
  EXPECT_NE(read[1], first);
  EXPECT_EQ(read[1], read[0]);
  driver->wait(step, nullptr);
  EXPECT_EQ(log.synchronized, synchronized);
}

// Each size several times: launched, made a graph, launched as one.
TEST(CudaBackend, GraphsGiveTheSameBits) {
  const TinyProgram tiny(WeightFormat::kBf16);
  Driver graphs(cuda_backend({Products::kTensor, true}), tiny.program());
  Driver direct(cuda_backend({Products::kTensor, false}), tiny.program());
  for (const int rows : {1, 2, 3, 5, 17, 24}) {
    for (int seed = 0; seed < 4; ++seed) {
      const auto tokens = tokens_of(rows, seed);
      std::vector<Draw> draws = greedy_rows(rows);
      if (seed == 3) draws.pop_back();
      const auto found = graphs.draw_rows(graphs.forward(tokens), draws);
      const auto expected = direct.draw_rows(direct.forward(tokens), draws);
      EXPECT_TRUE(same(found.results, expected.results)) << rows;
      EXPECT_EQ(found.hidden, expected.hidden) << rows;
    }
  }
}

TEST(CudaBackend, EachPaddedSizeHasOneGraph) {
  const TinyProgram tiny(WeightFormat::kF32);
  RuntimeLog log;
  Driver driver(logged_backend(&log), tiny.program());
  log.graphs_made = log.graphs_launched = 0;  // of self-tests at load
  for (const int rows : {5, 8, 6, 7, 5}) driver.step(tokens_of(rows), greedy_rows(rows));
  EXPECT_EQ(log.graphs_made, 1);
  EXPECT_EQ(log.graphs_launched, 4);  // all but the first
  for (const int rows : {9, 16, 17, 24}) driver.step(tokens_of(rows), greedy_rows(rows));
  EXPECT_EQ(log.graphs_made, 3);
  EXPECT_EQ(log.graphs_launched, 6);
  // Whatever is drawn: nothing, fewer rows, logits, adjusted.
  driver.step(tokens_of(8), {});
  driver.step(tokens_of(8), greedy_rows(2));
  std::vector<Draw> draws = greedy_rows(8);
  std::vector<float> logits(kVocab);
  const LogitAdjustment adjustment = {3, 1, 10};
  draws[2].logits = logits.data();
  draws[3].adjustments = &adjustment;
  draws[3].num_adjustments = 1;
  driver.step(tokens_of(8), draws);
  EXPECT_EQ(log.graphs_made, 3);
  EXPECT_EQ(log.graphs_launched, 9);
  // Rows of prefill, and segments of several rows, are no work for one.
  driver.draw(driver.forward(tokens_of(8), 1), {});
  driver.draw(driver.forward(tokens_of(8), {{RowKind::kDecode, 0, 0, 0, 8, 5}}), {});
  EXPECT_EQ(log.graphs_made, 3);
  EXPECT_EQ(log.graphs_launched, 9);
}

TEST(CudaBackend, RunsWhereNoGraphCanBeMade) {
  const TinyProgram tiny(WeightFormat::kF32);
  Driver direct(cuda_backend({Products::kTensor, false}), tiny.program());
  for (const bool has_graphs : {false, true}) {
    RuntimeLog log = {has_graphs, /*graphs_fail=*/true};
    Driver driver(logged_backend(&log), tiny.program());
    log.graphs_made = log.graphs_launched = 0;  // of self-tests at load
    for (int i = 0; i < 4; ++i) {
      EXPECT_TRUE(same(driver.step(tokens_of(3, i), greedy_rows(3)),
                       direct.step(tokens_of(3, i), greedy_rows(3))));
    }
    EXPECT_EQ(log.graphs_made, has_graphs ? 1 : 0);
    EXPECT_EQ(log.graphs_launched, 0);
  }
}

TEST(PaddedBatch, Sizes) {
  std::vector<int32_t> sizes;
  for (int32_t rows = 1; rows <= 512; rows = sizes.back() + 1) {
    EXPECT_EQ(padded_batch(padded_batch(rows)), padded_batch(rows));
    sizes.push_back(padded_batch(rows));
  }
  EXPECT_EQ(sizes,
            (std::vector<int32_t>{1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512}));
}

// Nobody waits for more than the step whose results are asked for, and what a step was given may be
// gone before it runs.
TEST(CudaBackend, AForwardPassIsQueuedAhead) {
  const TinyProgram tiny(WeightFormat::kF32);
  for (const bool graphs : {false, true}) {
    RuntimeLog log;
    Driver ahead(logged_backend(&log, {Products::kTensor, graphs}), tiny.program());
    EXPECT_EQ(ahead->steps_ahead(), 1);
    const int synchronized = log.synchronized;
    Driver alone(cuda_backend({Products::kTensor, false}), tiny.program());
    std::vector<DrawResult> expected[6];
    for (int i = 0; i < 6; ++i) {
      expected[i] = alone.step(tokens_of(i % 2 + 1, i), greedy_rows(i % 2 + 1));
    }
    Ticket last = {};
    for (int i = 0; i < 6; ++i) {
      const int count = i % 2 + 1;
      const Ticket ticket = ahead.forward(tokens_of(count, i));
      if (i > 0) {
        const int waited = log.waited;
        EXPECT_TRUE(same(ahead.finish(last, static_cast<size_t>(3 - count)), expected[i - 1])) << i;
        EXPECT_EQ(log.waited, waited + 1);
      }
      ahead->draw(ticket, array_of(greedy_rows(count)));
      last = ticket;
    }
    EXPECT_TRUE(same(ahead.finish(last, 2), expected[5]));
    EXPECT_EQ(log.synchronized, synchronized);
  }
}

// Two mixers with heads of two sizes, their states in two formats, a layer without MLP and one
// without mixer.
std::vector<TestLayer> mixed_layers(StateFormat second) {
  MixerShape gated;
  gated.kind = MixerKind::kGatedDeltaNet;
  gated.heads = gated.q_heads = gated.k_heads = gated.v_heads = 2;
  gated.decay_heads = gated.beta_heads = 2;
  gated.decay_gate = DecayGate::kSoftplus;
  gated.key_dim = 24;
  gated.value_dim = 20;
  gated.conv_width = 4;
  gated.scale = 0.2f;
  MixerShape channels = gated;
  channels.kind = MixerKind::kKimiDelta;
  channels.heads = channels.v_heads = channels.decay_heads = channels.beta_heads = 2;
  channels.q_heads = channels.k_heads = 1;
  channels.key_dim = 40;
  channels.value_dim = 16;
  channels.conv_width = 3;
  return {{gated, StateFormat::kF32, 32},
          {channels, second, 0},
          {{}, StateFormat::kF32, 48},
          {plain_shape(), StateFormat::kF32, 32}};
}

// A prompt of 70 tokens for one sequence and 3 for another, then tokens for both.
std::vector<float> mixed_logits(Driver& driver, std::vector<DrawResult>* results) {
  std::vector<float> logits;
  const auto step = [&](const std::vector<int32_t>& tokens, const std::vector<Segment>& segments) {
    std::vector<Draw> draws = greedy_rows(static_cast<int>(tokens.size()));
    const auto rows = driver.draw_rows(driver.forward(tokens, segments), draws);
    logits.insert(logits.end(), rows.logits.begin(), rows.logits.end());
    results->insert(results->end(), rows.results.begin(), rows.results.end());
  };
  step(tokens_of(73), {{RowKind::kPrefill, 0, 0, 0, 70, 0}, {RowKind::kPrefill, 1, 1, 70, 3, 0}});
  for (int i = 0; i < 3; ++i) {
    step(tokens_of(2, i),
         {{RowKind::kDecode, 0, 0, 0, 1, 70 + i}, {RowKind::kDecode, 1, 1, 1, 1, 3 + i}});
  }
  return logits;
}

TEST(CudaBackend, LayersMayDiffer) {
  ThreadPool threads(1);
  for (const StateFormat format : {StateFormat::kF32, StateFormat::kBf16}) {
    const TestModel model(kHidden, kVocab, mixed_layers(format), WeightFormat::kF32);
    const Limits limits = {80, 4, 80, 3};
    Driver cpu(make_cpu_backend(&threads), model.program(), limits);
    Driver gpu(cuda_backend(), model.program(), limits);
    std::vector<DrawResult> expected, found;
    const std::vector<float> truth = mixed_logits(cpu, &expected);
    const std::vector<float> logits = mixed_logits(gpu, &found);
    EXPECT_LT(error(logits, truth), format == StateFormat::kF32 ? 1e-5 : 1e-3);
    for (int slot = 0; slot < 2; ++slot) {
      const auto own = gpu.slot(slot, model.program().slot_bytes);
      EXPECT_FALSE(std::all_of(own.begin(), own.end(), [](float x) { return x == 0; }));
    }
    const auto untouched = gpu.slot(2, model.program().slot_bytes);
    EXPECT_TRUE(std::all_of(untouched.begin(), untouched.end(), [](float x) { return x == 0; }));
    const std::string text = gpu->description();
    EXPECT_EQ(text.find("warning"), std::string::npos) << text;
  }
}

std::vector<Draw> drawn_for_slots(const std::vector<int>& slots, uint64_t position) {
  std::vector<Draw> draws;
  for (const int slot : slots) {
    Draw draw;
    draw.row = static_cast<int32_t>(draws.size());
    draw.slot = slot;
    draw.sample = true;
    draw.seed = static_cast<uint64_t>(slot);
    draw.position = position;
    draws.push_back(draw);
  }
  return draws;
}

// The token of a slot is the one that was drawn for it last, before the host has seen it.
TEST(CudaBackend, AStepAheadDrawsTheSameTokens) {
  constexpr int kSteps = 6;
  const TestModel model(kHidden, kVocab, mixed_layers(StateFormat::kBf16), WeightFormat::kBf16);
  const Limits limits = {8, 8, 8, 5};
  const std::vector<int> slots = {3, 0, 4};
  const auto segments = [&](int64_t position) {
    std::vector<Segment> all;
    for (const int slot : slots) {
      all.push_back({position == 0 ? RowKind::kPrefill : RowKind::kDecode, slot, slot,
                     static_cast<int32_t>(all.size()), 1, position});
    }
    return all;
  };
  Driver waits(cuda_backend({Products::kExact, false}), model.program(), limits);
  std::vector<int32_t> tokens = {5, 6, 7};
  std::vector<std::vector<DrawResult>> expected;
  for (int i = 0; i < kSteps; ++i) {
    const auto position = static_cast<uint64_t>(i);
    expected.push_back(
        waits.draw(waits.forward(tokens, segments(i)), drawn_for_slots(slots, position)));
    for (size_t s = 0; s < slots.size(); ++s) tokens[s] = expected.back()[s].token;
  }
  Driver ahead(cuda_backend(), model.program(), limits);
  const std::vector<int32_t> of_slots(slots.size(), kTokenOfSlot);
  Ticket ticket = ahead.forward({5, 6, 7}, segments(0));
  for (int i = 0; i < kSteps; ++i) {
    // It copies the array.
    ahead->draw(ticket, array_of(drawn_for_slots(slots, static_cast<uint64_t>(i))));
    const Ticket next = i + 1 < kSteps ? ahead.forward(of_slots, segments(i + 1)) : Ticket{};
    EXPECT_TRUE(same(ahead.finish(ticket, slots.size()), expected[static_cast<size_t>(i)])) << i;
    ticket = next;
  }
  for (const int slot : slots) {
    EXPECT_TRUE(same_bits(ahead.slot(slot, model.program().slot_bytes),
                          waits.slot(slot, model.program().slot_bytes)));
  }
}

// One segment of three rows, beside other rows, against three steps.
TEST(CudaBackend, DecodeSegmentsOfSeveralRowsAreSingleSteps) {
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kBf16}) {
    const TestModel model(kHidden, kVocab, mixed_layers(StateFormat::kBf16), format);
    const int64_t bytes = model.program().slot_bytes;
    const Limits limits = {16, 8, 16, 3};
    Driver single(cuda_backend(), model.program(), limits);
    Driver several(cuda_backend(), model.program(), limits);
    for (Driver* driver : {&single, &several}) {
      driver->draw(driver->forward({1, 2, 3, 4, 5}, {{RowKind::kPrefill, 0, 0, 0, 5, 0}}), {});
    }
    std::vector<float> logits;
    for (int i = 0; i < 3; ++i) {
      const auto rows = single.draw_rows(
          single.forward({10 + i}, {{RowKind::kDecode, 0, 0, 0, 1, 5 + i}}), greedy_rows(1));
      logits.insert(logits.end(), rows.logits.begin(), rows.logits.end());
    }
    const auto rows = several.draw_rows(
        several.forward({10, 11, 12, 7, 8, 9}, {{RowKind::kDecode, 0, 0, 0, 3, 5},
                                                {RowKind::kDecode, 1, 1, 3, 1, 0},
                                                {RowKind::kPrefill, 2, 2, 4, 2, 0}}),
        greedy_rows(3));
    EXPECT_TRUE(same_bits(rows.logits, logits));
    EXPECT_TRUE(same_bits(several.slot(0, bytes), single.slot(0, bytes)));
  }
}

// Room for the adjustments and the mask of one row at a time.
TEST(CudaBackend, DrawsTakeSeveralPasses) {
  const TinyProgram tiny(WeightFormat::kF32);
  BackendOptions options;
  options.draw_extra_bytes = 0;
  RuntimeLog log;
  Driver passes(logged_backend(&log, options), tiny.program());
  Driver at_once(cuda_backend(), tiny.program());
  std::vector<LogitAdjustment> adjustments;
  for (int32_t t = 0; t < kVocab; ++t) adjustments.push_back({t, 1.5f, t % 3 == 1 ? 50.0f : 0.0f});
  const std::vector<uint32_t> allowed = {~0u << 20, 0x0f0f0f0f, 1};
  std::vector<Draw> draws = greedy_rows(6);
  draws[3].row = 0;
  for (size_t i : {0, 1, 4}) {
    draws[i].adjustments = adjustments.data() + i;
    draws[i].num_adjustments = static_cast<int32_t>(adjustments.size() - i);
  }
  for (size_t i : {1, 2, 5}) draws[i].allowed = allowed.data();
  const int synchronized = log.synchronized;
  for (int seed = 0; seed < 3; ++seed) {
    const auto expected = at_once.draw_rows(at_once.forward(tokens_of(6, seed)), draws);
    const auto found = passes.draw_rows(passes.forward(tokens_of(6, seed)), draws);
    EXPECT_TRUE(same(found.results, expected.results)) << seed;
    EXPECT_EQ(found.logits, expected.logits);
    EXPECT_EQ(expected.results[0].token % 3, 1);
    for (size_t i : {1, 2, 5}) {
      const auto token = static_cast<uint32_t>(expected.results[i].token);
      EXPECT_EQ(allowed[token / 32] >> token % 32 & 1, 1u);
    }
  }
  EXPECT_GT(log.synchronized, synchronized);
}

TEST(LayerProof, TakesFastKernelsThatAgree) {
  RuntimeLog log;
  LoggedRuntime runtime(&log);
  std::string warning;
  for (const StateFormat format : {StateFormat::kF32, StateFormat::kBf16}) {
    log.copies = 0;
    const LayerPaths paths = prove_paths(runtime, provable_shape(), format, &warning);
    EXPECT_TRUE(paths.one_launch_decode);
    EXPECT_EQ(paths.prefill, PrefillPath::kTensor);
    EXPECT_EQ(warning, "");
    // Rows of both kinds and states, by plain and fast kernels.
    EXPECT_EQ(log.copies, 6);
    EXPECT_LT(paths.most_one_launch_rows, INT32_MAX);
  }
}

TEST(LayerProof, LeavesOffWhatDiffers) {
  for (const int wrong_copy : {4, 5}) {  // of the fast kernels: decode, prefill
    RuntimeLog log;
    log.wrong_copy = wrong_copy;
    LoggedRuntime runtime(&log);
    std::string warning;
    const LayerPaths paths = prove_paths(runtime, provable_shape(), StateFormat::kF32, &warning);
    EXPECT_EQ(paths.one_launch_decode, wrong_copy != 4);
    EXPECT_EQ(paths.prefill, wrong_copy == 5 ? PrefillPath::kPlain : PrefillPath::kTensor);
    EXPECT_EQ(warning, wrong_copy == 4
                           ? "one-launch decode failed its comparison and stays off"
                           : "prefill on tensor cores failed its comparison and stays off");
  }
}

// States of the plain kernels and of the fast ones, in both formats.
TEST(LayerProof, WithOtherBitsOneLaunchStaysOff) {
  for (const StateFormat format : {StateFormat::kF32, StateFormat::kBf16}) {
    for (const int wrong_copy : {3, 6}) {
      RuntimeLog log;
      log.wrong_copy = wrong_copy;
      LoggedRuntime runtime(&log);
      std::string warning;
      const LayerPaths paths = prove_paths(runtime, provable_shape(), format, &warning);
      EXPECT_FALSE(paths.one_launch_decode);
      EXPECT_EQ(paths.prefill, PrefillPath::kTensor);
      EXPECT_EQ(warning, "one-launch decode has other bits than its passes and stays off");
    }
  }
}

TEST(LayerProof, LeavesOffWhatCannotBeLaunched) {
  RuntimeLog log;
  log.failed_launches = 2;
  LoggedRuntime runtime(&log);
  std::string warning;
  const LayerPaths paths = prove_paths(runtime, provable_shape(), StateFormat::kF32, &warning);
  EXPECT_FALSE(paths.one_launch_decode);
  EXPECT_EQ(paths.prefill, PrefillPath::kPlain);
  EXPECT_EQ(warning,
            "one-launch decode failed its comparison and stays off, "
            "prefill on tensor cores failed its comparison and stays off");
}

TEST(LayerProof, NothingToProveTakesThePlainKernels) {
  RuntimeLog log;
  LoggedRuntime runtime(&log);
  MixerShape shape = provable_shape();
  shape.key_dim = 300;
  std::string warning;
  const LayerPaths paths = prove_paths(runtime, shape, StateFormat::kF32, &warning);
  EXPECT_FALSE(paths.one_launch_decode);
  EXPECT_EQ(paths.prefill, PrefillPath::kPlain);
  EXPECT_EQ(log.copies, 0);
}

TEST(OverlapProof, LaunchesOverlapWhereThatChangesNothing) {
  for (const bool can_overlap : {false, true}) {
    RuntimeLog log;
    log.can_overlap = can_overlap;
    LoggedRuntime runtime(&log);
    std::string warning;
    prove_overlap(runtime, {{provable_shape()}}, true, &warning);
    const bool expected = runtime.can_overlap();  // some GPUs cannot
    EXPECT_EQ(log.overlaps, expected);
    EXPECT_EQ(log.copies > 0, expected);
    EXPECT_EQ(log.graphs_launched, expected ? 2 : 0);
    EXPECT_EQ(warning, "");
  }
}

// Rows of both kinds and states of each try, then products.
TEST(OverlapProof, LeavesOffWhatDiffers) {
  for (const int wrong_copy : {4, 8, 12, 14}) {
    RuntimeLog log;
    log.wrong_copy = wrong_copy;
    LoggedRuntime runtime(&log);
    if (!runtime.can_overlap()) GTEST_SKIP() << "this GPU's launches cannot overlap";
    std::string warning;
    prove_overlap(runtime, {{provable_shape()}}, true, &warning);
    EXPECT_FALSE(log.overlaps);
    EXPECT_EQ(warning, "overlapping launches failed their comparison and stay off");
  }
}

// Of two variants, the second.
TEST(OverlapProof, AllVariantsMustAgree) {
  MixerShape wide = provable_shape();
  wide.value_dim = 128;
  RuntimeLog log;
  log.wrong_copy = 12 + 4;
  LoggedRuntime runtime(&log);
  if (!runtime.can_overlap()) GTEST_SKIP() << "this GPU's launches cannot overlap";
  std::string warning;
  prove_overlap(runtime, {{provable_shape()}, {wide}}, false, &warning);
  EXPECT_FALSE(log.overlaps);
  EXPECT_EQ(warning, "overlapping launches failed their comparison and stay off");
  log.wrong_copy = 0;
  warning.clear();
  prove_overlap(runtime, {{provable_shape()}, {wide}}, false, &warning);
  EXPECT_TRUE(log.overlaps);
  EXPECT_EQ(warning, "");
}

}  // namespace
}  // namespace deltaserve::cuda
