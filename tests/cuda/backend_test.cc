// The CUDA backend, on the emulation or a GPU, against the CPU's, operation by operation, and what
// only it has: steps that are filled up, recorded and played, steps under way together, a head in
// several passes. Whole models: golden_test.cc.
#include "kernels/cuda/backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/base/dtype.h"
#include "kernels/base/thread_pool.h"
#include "kernels/cuda/layer_proof.h"
#ifndef __CUDACC__
#include "kernels/cuda/matmul_library_host.h"
#endif
#include "kernels/cuda/step_memory.h"
#include "tests/cuda/logged_runtime.h"

namespace deltaserve::cuda {
namespace {

constexpr int kVocab = 70;
constexpr int64_t kHidden = 24;
constexpr int64_t kMaxRows = 24;

std::vector<float> normals(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// A model without layers on one backend: embeddings, a product onto columns of a wider buffer,
// what surrounds them, the head. `numbers` is what its weights are rounded to before.
class TinyModel {
 public:
  TinyModel(std::unique_ptr<Backend> backend, WeightFormat format)
      : TinyModel(std::move(backend), format, format) {}
  TinyModel(std::unique_ptr<Backend> backend, WeightFormat format, WeightFormat numbers)
      : backend_(std::move(backend)), numbers_(numbers) {
    table_ = matrix(kVocab, kHidden, 1, format);
    up_ = matrix(kWide / 2, kHidden, 2, format);
    // An inner size that is no multiple of 8, from columns that are not aligned.
    odd_ = matrix(7, 5, 3, format);
    down_ = matrix(kHidden, kWide / 2, 4, format);
    norm_ = vector(kHidden, 5);
    bias_ = vector(7, 6);
    x_ = backend_->allocate(kMaxRows, kHidden);
    normed_ = backend_->allocate(kMaxRows, kHidden);
    wide_ = backend_->allocate(kMaxRows, kWide);
    half_ = backend_->allocate(kMaxRows, kWide / 2);
    MixerShape mixer;
    mixer.kind = MixerKind::kLinearAttention;
    mixer.heads = mixer.q_heads = mixer.k_heads = mixer.v_heads = 1;
    mixer.key_dim = mixer.value_dim = 16;
    EXPECT_TRUE(backend_->reserve(mixer, kMaxRows, kMaxRows, kMaxRows, kHidden, kVocab));
    EXPECT_TRUE(backend_->allocate_states(StateLayout::of(mixer, 2), 3));
  }

  Backend* operator->() { return backend_.get(); }
  BufferHandle x() const { return x_; }
  BufferHandle wide() const { return wide_; }

  // Starts a step of rows, token by token, of which the last are prefill rows.
  Ticket start(const std::vector<int32_t>& tokens, const std::vector<Draw>& head,
               float eps = 1e-5f, int32_t num_prefill = 0) {
    segments_.clear();
    for (size_t i = 0; i < tokens.size(); ++i) {
      segments_.push_back({0, 0, static_cast<int32_t>(i), 1, 0});
    }
    const auto rows = static_cast<int32_t>(tokens.size());
    backend_->begin_step({tokens.data(), rows, segments_.data(), rows, rows - num_prefill});
    backend_->embed(table_, x_);
    backend_->rms_norm(x_, norm_, eps, normed_);
    backend_->matmul({normed_, 0}, up_, {wide_, 0});
    backend_->matmul({normed_, 0}, up_, {wide_, kWide / 2});
    backend_->matmul({wide_, 3}, odd_, {wide_, 11});
    backend_->add_bias(bias_, {wide_, 11});
    backend_->swiglu(wide_, half_);
    backend_->matmul_add({half_, 0}, down_, {x_, 0});
    if (!head.empty()) {
      backend_->head(x_, norm_, eps, table_, head.data(), static_cast<int>(head.size()));
    }
    return backend_->end_step();
  }
  std::vector<DrawResult> finish(Ticket ticket, size_t count) {
    std::vector<DrawResult> results(count);
    backend_->wait(ticket, results.data());
    return results;
  }
  std::vector<DrawResult> step(const std::vector<int32_t>& tokens, const std::vector<Draw>& head,
                               float eps = 1e-5f) {
    return finish(start(tokens, head, eps), head.size());
  }
  std::vector<float> read(BufferHandle buffer, int64_t rows) {
    std::vector<float> values(
        static_cast<size_t>(rows * (buffer.id == wide_.id ? kWide : kHidden)));
    backend_->read_buffer(buffer, rows, values.data());
    return values;
  }

 private:
  static constexpr int32_t kWide = 48;

  MatrixHandle matrix(int64_t rows, int64_t columns, uint32_t seed, WeightFormat format) {
    std::vector<float> values = normals(rows * columns, seed);
    if (numbers_ == WeightFormat::kBf16) {
      for (float& value : values) value = bf16_to_f32(f32_to_bf16(value));
    }
    const int64_t first = rows / 3;
    const HostMatrix blocks[] = {
        {values.data(), Dtype::kF32, first, columns},
        {values.data() + first * columns, Dtype::kF32, rows - first, columns}};
    const MatrixHandle handle = backend_->load_matrix(blocks, 2, format);
    EXPECT_GE(handle.id, 0);
    return handle;
  }
  VectorHandle vector(int64_t size, uint32_t seed) {
    const std::vector<float> values = normals(size, seed);
    return backend_->load_vector({values.data(), Dtype::kF32, 1, size});
  }

  std::unique_ptr<Backend> backend_;
  WeightFormat numbers_;
  MatrixHandle table_, up_, odd_, down_;
  VectorHandle norm_, bias_;
  BufferHandle x_, normed_, wide_, half_;
  std::vector<Segment> segments_;
};

std::unique_ptr<Backend> cuda_backend(const BackendOptions& options = {}) {
  std::string error;
  return make_cuda_backend(Runtime::create(&error), options);
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

class AgainstCpu : public testing::TestWithParam<std::pair<WeightFormat, Products>> {};

TEST_P(AgainstCpu, OperationsAgree) {
  const auto [format, products] = GetParam();
  ThreadPool threads(1);
  // As f32 the same weights, with which no processor rounds activations.
  TinyModel cpu(make_cpu_backend(&threads), WeightFormat::kF32, format);
  TinyModel gpu(cuda_backend({products, true}), format);
  // Activations are rounded to bf16 for tensor cores only.
  const bool rounds = format == WeightFormat::kBf16 && products != Products::kPlain;
  const double tolerance = rounds ? 6e-3 : 1e-6;
  for (const int rows : {1, 3, 20}) {
    std::vector<Draw> head = greedy_rows(rows);
    std::vector<float> logits[2];
    for (auto* own : {&logits[0], &logits[1]}) own->assign(static_cast<size_t>(rows * kVocab), NAN);
    const auto ask = [&](int which) {
      for (int i = 0; i < rows; ++i) {
        head[static_cast<size_t>(i)].logits = logits[which].data() + i * kVocab;
      }
      return head;
    };
    cpu.step(tokens_of(rows), ask(0));
    gpu.step(tokens_of(rows), ask(1));
    EXPECT_LT(error(gpu.read(gpu.wide(), rows), cpu.read(cpu.wide(), rows)), tolerance);
    EXPECT_LT(error(gpu.read(gpu.x(), rows), cpu.read(cpu.x(), rows)), tolerance);
    EXPECT_LT(error(logits[1], logits[0]), tolerance);
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
  for (const Products products : {Products::kExact, Products::kLibraryForRows}) {
    TinyModel own(cuda_backend({Products::kTensor, true}), WeightFormat::kBf16);
    TinyModel library(cuda_backend({products, true}), WeightFormat::kBf16);
    for (const int32_t num_prefill : {0, 1, 4, 9}) {
      const auto head = greedy_rows(9);
      for (TinyModel* model : {&own, &library}) {
        model->finish(model->start(tokens_of(9), head, 1e-5f, num_prefill), head.size());
      }
      // The same numbers, rounded to bf16 between products: a neighbour here and there.
      EXPECT_LT(error(library.read(library.wide(), 9), own.read(own.wide(), 9)), 1e-3);
      EXPECT_LT(error(library.read(library.x(), 9), own.read(own.x(), 9)), 1e-3);
    }
  }
}

TEST(CudaBackend, RefusesIntegerWeights) {
  const auto backend = cuda_backend();
  const std::vector<float> values(16, 1.0f);
  const HostMatrix matrix = {values.data(), Dtype::kF32, 4, 4};
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    EXPECT_FALSE(supports(format));
    EXPECT_LT(backend->load_matrix(&matrix, 1, format).id, 0);
  }
  for (const WeightFormat format : {WeightFormat::kAuto, WeightFormat::kF32, WeightFormat::kBf16}) {
    EXPECT_TRUE(supports(format));
    EXPECT_GE(backend->load_matrix(&matrix, 1, format).id, 0);
  }
}

TEST(CudaBackend, CountsAndNamesItsWeights) {
  const auto backend = cuda_backend();
  const std::vector<uint16_t> halves(40'000 * 24);
  const HostMatrix bf16 = {halves.data(), Dtype::kBf16, 40'000, 24};
  const HostMatrix f16 = {halves.data(), Dtype::kF16, 40'000, 20};
  const MatrixHandle a = backend->load_matrix(&bf16, 1, WeightFormat::kAuto);
  const MatrixHandle b = backend->load_matrix(&f16, 1, WeightFormat::kAuto);
  EXPECT_EQ(backend->matrix_bytes(a), 40'000u * 24 * 2);
  EXPECT_EQ(backend->matrix_bytes(b), 40'000u * 24 * 4);  // rows are padded to 8
  EXPECT_EQ(backend->load_vector({halves.data(), Dtype::kBf16, 1, 10}).id, 0);
  EXPECT_EQ(backend->weight_bytes(), 40'000u * 24 * 6 + 40);
  const std::string text = backend->description();
  EXPECT_TRUE(text.starts_with("cuda ") &&
              text.ends_with(", 4 MB of f32 weights, 2 MB of bf16 weights"))
      << text;
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
  TinyModel plain(cuda_backend({Products::kPlain, true}), WeightFormat::kBf16);
  const auto expected = plain.step(tokens_of(3), greedy_rows(3));
  for (int kernel = 1; kernel <= 6; ++kernel) {
    RuntimeLog log;
    log.wrong_copy = 2 * kernel;  // in front of it the plain product
    TinyModel model(make_cuda_backend(std::make_unique<LoggedRuntime>(&log)), WeightFormat::kBf16);
    EXPECT_NE(model->description().find("warning: products on tensor cores"), std::string::npos);
    EXPECT_TRUE(same(model.step(tokens_of(3), greedy_rows(3)), expected));
  }
}

TEST(CudaBackend, StatesAreCopiedInOrder) {
  TinyModel model(cuda_backend(), WeightFormat::kF32);
  const size_t floats = static_cast<size_t>(2 * 16 * 16);
  const std::vector<float> values = normals(floats, 9);
  std::vector<float> read(floats, NAN);
  model->import_state(0, values.data());
  model->copy_state(0, 2);
  model->copy_state(2, 2);
  model->import_state(0, std::vector<float>(floats, 7.0f).data());
  model->export_state(2, read.data());
  EXPECT_EQ(read, values);
  model->export_state(1, read.data());
  EXPECT_EQ(read, std::vector<float>(floats, 0.0f));
}

// Each size several times: launched, recorded, played.
TEST(CudaBackend, RecordedStepsGiveTheSameBits) {
  TinyModel recorded(cuda_backend({Products::kTensor, true}), WeightFormat::kBf16);
  TinyModel direct(cuda_backend({Products::kTensor, false}), WeightFormat::kBf16);
  for (const int rows : {1, 2, 3, 5, 17, 24}) {
    for (int seed = 0; seed < 4; ++seed) {
      const auto tokens = tokens_of(rows, seed);
      std::vector<Draw> head = greedy_rows(rows);
      if (seed == 3) head.pop_back();  // another recording: fewer rows of the head
      EXPECT_TRUE(same(recorded.step(tokens, head), direct.step(tokens, head))) << rows;
      EXPECT_EQ(recorded.read(recorded.x(), rows), direct.read(direct.x(), rows)) << rows;
    }
  }
}

TEST(CudaBackend, OtherArgumentsAreAnotherRecording) {
  RuntimeLog log;
  TinyModel recorded(make_cuda_backend(std::make_unique<LoggedRuntime>(&log)), WeightFormat::kF32);
  log.recorded = log.played = 0;  // what is proved at load
  TinyModel direct(cuda_backend({Products::kTensor, false}), WeightFormat::kF32);
  for (const float eps : {1e-5f, 1e-5f, 1e-5f, 0.5f, 1e-5f, 0.5f, 0.5f, 1e-5f}) {
    const auto head = greedy_rows(2);
    EXPECT_TRUE(same(recorded.step(tokens_of(2), head, eps), direct.step(tokens_of(2), head, eps)))
        << eps;
  }
  EXPECT_EQ(log.recorded, 2);
  EXPECT_EQ(log.played, 6);  // all but the first of each
}

TEST(CudaBackend, PaddedSizesShareARecording) {
  RuntimeLog log;
  TinyModel model(make_cuda_backend(std::make_unique<LoggedRuntime>(&log)), WeightFormat::kF32);
  log.recorded = log.played = 0;  // what is proved at load
  for (const int rows : {5, 8, 6, 7, 5}) model.step(tokens_of(rows), greedy_rows(rows));
  EXPECT_EQ(log.recorded, 1);
  EXPECT_EQ(log.played, 4);
  for (const int rows : {9, 16, 17, 24}) model.step(tokens_of(rows), greedy_rows(rows));
  EXPECT_EQ(log.recorded, 3);
  EXPECT_EQ(log.played, 6);
  // Nothing to draw is another step; logits that are asked for are never recorded.
  model.step(tokens_of(8), {});
  std::vector<Draw> head = greedy_rows(8);
  std::vector<float> logits(kVocab);
  head[2].logits = logits.data();
  for (int i = 0; i < 3; ++i) model.step(tokens_of(8), head);
  EXPECT_EQ(log.played, 6);
}

TEST(CudaBackend, RunsWhereNothingCanBeRecorded) {
  TinyModel direct(cuda_backend({Products::kTensor, false}), WeightFormat::kF32);
  for (const bool can_record : {false, true}) {
    RuntimeLog log = {can_record, /*recording_fails=*/true};
    TinyModel model(make_cuda_backend(std::make_unique<LoggedRuntime>(&log)), WeightFormat::kF32);
    log.recorded = log.played = 0;  // what is proved at load
    for (int i = 0; i < 4; ++i) {
      EXPECT_TRUE(same(model.step(tokens_of(3, i), greedy_rows(3)),
                       direct.step(tokens_of(3, i), greedy_rows(3))));
    }
    EXPECT_EQ(log.recorded, can_record ? 1 : 0);
    EXPECT_EQ(log.played, 0);
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

// Nobody waits for more than the step whose results are asked for.
TEST(CudaBackend, TwoStepsAreUnderWayTogether) {
  for (const bool recordings : {false, true}) {
    RuntimeLog log;
    TinyModel together(
        make_cuda_backend(std::make_unique<LoggedRuntime>(&log), {Products::kTensor, recordings}),
        WeightFormat::kF32);
    const int synchronized = log.synchronized;
    TinyModel alone(cuda_backend({Products::kTensor, false}), WeightFormat::kF32);
    std::vector<DrawResult> expected[6];
    for (int i = 0; i < 6; ++i)
      expected[i] = alone.step(tokens_of(i % 2 + 1, i), greedy_rows(i % 2 + 1));
    Ticket last = {};
    for (int i = 0; i < 6; ++i) {
      const auto count = static_cast<size_t>(i % 2 + 1);
      // Arguments that are gone before the step runs.
      const Ticket ticket = together.start(tokens_of(static_cast<int>(count), i),
                                           greedy_rows(static_cast<int>(count)));
      if (i > 0) {
        EXPECT_TRUE(same(together.finish(last, 3 - count), expected[i - 1])) << i;
      }
      last = ticket;
    }
    EXPECT_TRUE(same(together.finish(last, 2), expected[5]));
    EXPECT_EQ(log.synchronized, synchronized);
  }
}

// Room for the adjustments and the mask of one row at a time.
TEST(CudaBackend, TheHeadTakesSeveralPasses) {
  BackendOptions options;
  options.head_extra_bytes = 0;
  TinyModel passes(cuda_backend(options), WeightFormat::kF32);
  TinyModel at_once(cuda_backend(), WeightFormat::kF32);
  std::vector<LogitAdjustment> adjustments;
  for (int32_t t = 0; t < kVocab; ++t) adjustments.push_back({t, 1.5f, t % 3 == 1 ? 50.0f : 0.0f});
  const std::vector<uint32_t> allowed = {~0u << 20, 0x0f0f0f0f, 1};
  std::vector<Draw> head = greedy_rows(6);
  head[3].row = 0;
  for (size_t i : {0, 1, 4}) {
    head[i].adjustments = adjustments.data() + i;
    head[i].num_adjustments = static_cast<int32_t>(adjustments.size() - i);
  }
  for (size_t i : {1, 2, 5}) head[i].allowed = allowed.data();
  for (int seed = 0; seed < 3; ++seed) {
    const auto expected = at_once.step(tokens_of(6, seed), head);
    EXPECT_TRUE(same(passes.step(tokens_of(6, seed), head), expected)) << seed;
    EXPECT_EQ(expected[0].token % 3, 1);
    for (size_t i : {1, 2, 5}) {
      const auto token = static_cast<uint32_t>(expected[i].token);
      EXPECT_EQ(allowed[token / 32] >> token % 32 & 1, 1u);
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

TEST(LayerProof, TakesFastKernelsThatAgree) {
  RuntimeLog log;
  LoggedRuntime runtime(&log);
  std::string warning;
  const LayerPaths paths = prove_paths(runtime, provable_shape(), &warning);
  EXPECT_TRUE(paths.one_launch_decode);
  EXPECT_EQ(paths.prefill, PrefillPath::kTensor);
  EXPECT_EQ(warning, "");
  // Rows of both kinds and states, by plain and fast kernels, with states of both types.
  EXPECT_EQ(log.copies, 12);
  EXPECT_LT(paths.most_one_launch_rows, INT32_MAX);
}

TEST(LayerProof, LeavesOffWhatDiffers) {
  for (const int wrong_copy : {4, 5}) {  // of the fast kernels: decode, prefill
    RuntimeLog log;
    log.wrong_copy = wrong_copy;
    LoggedRuntime runtime(&log);
    std::string warning;
    const LayerPaths paths = prove_paths(runtime, provable_shape(), &warning);
    EXPECT_EQ(paths.one_launch_decode, wrong_copy != 4);
    EXPECT_EQ(paths.prefill, wrong_copy == 5 ? PrefillPath::kPlain : PrefillPath::kTensor);
    EXPECT_EQ(warning, wrong_copy == 4
                           ? "one-launch decode failed its comparison and stays off"
                           : "prefill on tensor cores failed its comparison and stays off");
  }
}

// States of the plain kernels, of the fast ones, and of these in bf16.
TEST(LayerProof, WithOtherBitsOneLaunchTakesAllRows) {
  for (const int wrong_copy : {3, 6, 12}) {
    RuntimeLog log;
    log.wrong_copy = wrong_copy;
    LoggedRuntime runtime(&log);
    std::string warning;
    const LayerPaths paths = prove_paths(runtime, provable_shape(), &warning);
    EXPECT_TRUE(paths.one_launch_decode);
    EXPECT_EQ(paths.most_one_launch_rows, INT32_MAX);
    EXPECT_EQ(warning, "one-launch decode has other bits than its passes and takes all rows");
  }
}

TEST(LayerProof, LeavesOffWhatCannotBeLaunched) {
  RuntimeLog log;
  log.failed_launches = 2;
  LoggedRuntime runtime(&log);
  std::string warning;
  const LayerPaths paths = prove_paths(runtime, provable_shape(), &warning);
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
  const LayerPaths paths = prove_paths(runtime, shape, &warning);
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
    prove_overlap(runtime, provable_shape(), {}, true, &warning);
    const bool expected = runtime.can_overlap();  // some GPUs cannot
    EXPECT_EQ(log.overlaps, expected);
    EXPECT_EQ(log.copies > 0, expected);
    EXPECT_EQ(log.played, expected ? 2 : 0);
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
    prove_overlap(runtime, provable_shape(), {}, true, &warning);
    EXPECT_FALSE(log.overlaps);
    EXPECT_EQ(warning, "overlapping launches failed their comparison and stay off");
  }
}

TEST(CudaBackend, RefusesHeadsThatNoKernelHolds) {
  const std::unique_ptr<Backend> backend = cuda_backend();
  MixerShape shape = provable_shape();
  shape.key_dim = kMaxCudaKeyDim + 1;
  EXPECT_FALSE(backend->reserve(shape, 1, 1, 1, kHidden, kVocab));
}

}  // namespace
}  // namespace deltaserve::cuda
