// The CUDA backend, on the emulation or a GPU, against the CPU's: its operations, what it refuses,
// its memory, its slots. Its steps: backend_steps_test.cc. Whole models: golden_test.cc.
#include "kernels/cuda/program/backend.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "kernels/base/human_bytes.h"
#include "kernels/base/thread_pool.h"
#ifndef __CUDACC__
#include "kernels/cuda/matmul/matmul_library_host.h"
#endif
#include "tests/kernels/cuda/program/backend_driver.h"

namespace deltaserve::cuda {
namespace {

class AgainstCpu : public testing::TestWithParam<std::pair<WeightFormat, MatmulKernels>> {};

TEST_P(AgainstCpu, OperationsAgree) {
  const auto [format, kernels] = GetParam();
  ThreadPool threads(1);
  for (const Reads reads : {Reads::kX, Reads::kWideX}) {
    for (const bool ends : {false, true}) {
      // The CPU takes the same weights as f32, because then no processor rounds activations.
      Driver cpu(make_cpu_backend(&threads), TinyProgram(WeightFormat::kF32, reads).program());
      BackendOptions options = {kernels, true};
      options.matmul_ends = ends;
      Driver gpu(cuda_backend(options), TinyProgram(format, reads).program());
      // Activations are rounded to bf16 for tensor cores only; in other places with ends.
      const bool rounds = format == WeightFormat::kBf16 && kernels != MatmulKernels::kPlain;
      const double tolerance = !rounds ? 1e-6 : ends ? 8e-3 : 6e-3;
      for (const int rows : {1, 3, 20}) {
        const auto truth = cpu.draw_rows(cpu.forward(tokens_of(rows)), greedy_rows(rows));
        const auto found = gpu.draw_rows(gpu.forward(tokens_of(rows)), greedy_rows(rows));
        EXPECT_LT(error(found.hidden, truth.hidden), tolerance);
        EXPECT_LT(error(found.logits, truth.logits), tolerance);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, AgainstCpu,
                         testing::Values(std::pair(WeightFormat::kF32, MatmulKernels::kTensor),
                                         std::pair(WeightFormat::kBf16, MatmulKernels::kTensor),
                                         std::pair(WeightFormat::kBf16, MatmulKernels::kPlain)),
                         [](const auto& test) {
                           return std::string(weight_format_name(test.param.first)) +
                                  (test.param.second == MatmulKernels::kPlain ? "_plain"
                                                                              : "_tensor");
                         });

// Columns of a wider buffer, inner sizes that are not aligned, activations that nobody rounded.
TEST(CudaBackend, PrefillRowsByTheLibraryAgree) {
  for (const Reads reads : {Reads::kX, Reads::kWideX}) {
    const TinyProgram tiny(WeightFormat::kBf16, reads);
    Driver own(cuda_backend({MatmulKernels::kTensor, true}), tiny.program());
    Driver library(cuda_backend({MatmulKernels::kExact, true}), tiny.program());
    for (const int32_t num_prefill : {0, 1, 4, 9}) {
      const auto expected = own.draw_rows(own.forward(tokens_of(9), num_prefill), greedy_rows(9));
      const auto found =
          library.draw_rows(library.forward(tokens_of(9), num_prefill), greedy_rows(9));
      // The same numbers, rounded to bf16 between matmuls: a neighbour here and there.
      EXPECT_LT(error(found.hidden, expected.hidden), 1e-3);
    }
  }
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
  const TestModel model(kHidden, kVocab, {{}}, WeightFormat::kF32);
  StateLayout layout = StateLayout::of(plain_shape(), 1);
  layout.add_for_each_token("keys", StateFormat::kBf16, 4, 32);
  Program program = model.program();
  program.parts = array_of(layout.parts);
  EXPECT_EQ(backend->refusal(program, limits),
            "each token has 256 bytes of keys of its own in layer 0; there is only memory of a "
            "fixed size for each sequence");
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
  EXPECT_NE(text.find(", 3.7 MiB of f32 weights, 3.7 MiB of bf16 weights"), std::string::npos)
      << text;
}

// Refuses one allocation after the other.
TEST(CudaBackend, SaysWhatThereWasNotEnoughMemoryFor) {
  const TestModel model(kHidden, kVocab, {{plain_shape()}, {{}, StateFormat::kF32, 16}},
                        WeightFormat::kF32);
  std::vector<std::string> reasons;
  for (int refused = 1;; ++refused) {
    RuntimeLog log;
    const auto backend = logged_backend(&log, {MatmulKernels::kPlain, true, /*overlap=*/false});
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
                                human_bytes(static_cast<uint64_t>(model.program().slot_bytes)));
}

#ifndef __CUDACC__
TEST(CudaBackend, SaysThatThereIsNoLibrary) {
  pretended_library.is_there = false;
  const std::string text = cuda_backend({MatmulKernels::kExact, true})->description();
  pretended_library = {};
  EXPECT_NE(text.find("warning"), std::string::npos) << text;
  EXPECT_NE(text.find("cuBLASLt"), std::string::npos) << text;
}
#endif

// Makes the comparison of one kernel after the other go wrong.
TEST(CudaBackend, MatmulsThatAreWrongAreNotUsed) {
  const TinyProgram tiny(WeightFormat::kBf16);
  Driver plain(cuda_backend({MatmulKernels::kPlain, true}), tiny.program());
  const auto expected = plain.step(tokens_of(3), greedy_rows(3));
  for (int kernel = 1; kernel <= 6; ++kernel) {
    RuntimeLog log;
    log.wrong_copy = 2 * kernel;  // in front of it the plain matmul
    Driver driver(logged_backend(&log), tiny.program());
    EXPECT_NE(driver->description().find("warning: matmuls on tensor cores"), std::string::npos);
    EXPECT_TRUE(same(driver.step(tokens_of(3), greedy_rows(3)), expected));
  }
}

// Returns the numbers of a state of the program, which depend on the seed.
std::vector<float> state_of(const Program& program, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> floats(static_cast<size_t>(program.slot_bytes) / sizeof(float));
  for (float& x : floats) x = normal(random);
  return floats;
}

TEST(CudaBackend, SlotsAreCopiedInOrder) {
  const TestModel model(kHidden, kVocab, {{plain_shape()}, {plain_shape()}}, WeightFormat::kF32);
  RuntimeLog log;
  Driver driver(logged_backend(&log), model.program(), {8, 8, 8, 3});
  const int synchronized = log.synchronized;
  const std::vector<float> first = state_of(model.program(), 1);
  const std::vector<float> second = state_of(model.program(), 2);
  std::vector<float> read[2] = {std::vector<float>(first.size(), NAN),
                                std::vector<float>(first.size(), NAN)};
  const Ticket in = driver->import_slot(0, first.data());
  driver->copy_slot(0, 2);
  driver->copy_slot(2, 2);
  driver->import_slot(0, second.data());
  const Ticket out = driver->export_slot(2, read[0].data());
  // A step after it, which nobody waits for yet, writes the slot.
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

// Transfers to and from the host's memory run as late as they may, between slots that other work
// writes before and after them.
class HostSlots : public testing::Test {
 protected:
  std::vector<float> state(uint32_t seed) const { return state_of(model_.program(), seed); }
  std::vector<float> slot(int index) {
    std::vector<float> read = state(0);
    driver_->wait(driver_->export_slot(index, read.data()), nullptr);
    return read;
  }
  // Runs a step that decodes a token in a slot, and returns what was drawn.
  std::vector<DrawResult> decode(int slot) {
    const Segment segment{.kind = RowKind::kDecode,
                          .read_slot = slot,
                          .write_slot = slot,
                          .num_rows = 1,
                          .position = 5};
    const Ticket ticket = driver_.forward({3}, {segment});
    Draw draw;
    draw.slot = slot;
    draw.sample = true;
    driver_->draw(ticket, {&draw, 1});
    std::vector<DrawResult> results(1);
    driver_->wait(ticket, results.data());
    return results;
  }

  const TestModel model_{kHidden, kVocab, {{plain_shape()}, {plain_shape()}}, WeightFormat::kF32};
  RuntimeLog log_;
  Driver driver_{logged_backend(&log_),
                 model_.program(),
                 {.rows = 8, .segments = 8, .draws = 8, .slots = 4, .host_slots = 3}};
};

TEST_F(HostSlots, AreCounted) {
  EXPECT_EQ(driver_->memory().host_slots, 3 * model_.program().slot_bytes);
}

TEST_F(HostSlots, WhatOverwritesASlotRunsAfterItIsStored) {
  const std::vector<float> first = state(1);
  const std::vector<float> second = state(2);
  driver_->import_slot(0, first.data());
  driver_->store_slot(0, 2);
  driver_->import_slot(0, second.data());
  driver_->store_slot(0, 1);
  driver_->copy_slot(3, 0);
  driver_->load_slot(2, 1);
  driver_->load_slot(1, 2);
  driver_->load_slot(1, 3);
  driver_->store_slot(3, 2);
  EXPECT_EQ(slot(1), first);
  EXPECT_EQ(slot(2), second);
  EXPECT_EQ(slot(3), second);
  driver_->load_slot(2, 1);
  EXPECT_EQ(slot(1), second);
}

TEST_F(HostSlots, OnlyStepsThatUseTheSlotRunAfterATransfer) {
  const std::vector<float> first = state(1);
  driver_->import_slot(0, first.data());
  driver_->import_slot(2, first.data());
  const std::vector<DrawResult> expected = decode(2);
  driver_->store_slot(0, 1);
  driver_->load_slot(1, 3);
  decode(1);
  EXPECT_EQ(log_.transfers_awaited, 0);
  EXPECT_TRUE(same(decode(3), expected));
  EXPECT_EQ(log_.transfers_awaited, 1);
  // The store lies in front of the load, so that it is awaited already.
  decode(0);
  EXPECT_EQ(log_.transfers_awaited, 1);
}

TEST_F(HostSlots, ASlotSaysWhenItIsLoaded) {
  driver_->store_slot(0, 1);
  EXPECT_TRUE(driver_->slot_is_loaded(0));
  const std::vector<float> first = state(1);
  const Ticket ticket = driver_->import_slot(2, first.data());
  driver_->load_slot(1, 3);
  EXPECT_FALSE(driver_->slot_is_loaded(3));
  driver_->wait(ticket, nullptr);
  EXPECT_TRUE(driver_->slot_is_loaded(3));
  decode(3);
  EXPECT_EQ(log_.transfers_awaited, 0);
}

// More of them than there are events.
TEST_F(HostSlots, TakeManyTransfers) {
  const std::vector<float> first = state(1);
  driver_->import_slot(0, first.data());
  driver_->store_slot(0, 0);
  driver_->load_slot(0, 1);
  for (int i = 0; i < 3 * Runtime::kTransferEvents; ++i) driver_->store_slot(0, 1 + i % 2);
  EXPECT_EQ(slot(1), first);
  driver_->load_slot(2, 3);
  EXPECT_EQ(slot(3), first);
}

TEST(CudaBackend, SaysThatTooLittleOfTheHostsMemoryCanBePinned) {
  const TestModel model(kHidden, kVocab, {{plain_shape()}}, WeightFormat::kF32);
  Limits limits{.rows = 8, .segments = 8, .draws = 8, .slots = 2};
  RuntimeLog log;
  ASSERT_EQ(logged_backend(&log)->load(model.program(), limits), "");
  log.refused_allocation = log.allocations + 1;
  log.allocations = 0;
  limits.host_slots = 1;
  EXPECT_EQ(logged_backend(&log)->load(model.program(), limits),
            "not enough memory of the host that can be pinned for 1 states of " +
                human_bytes(static_cast<uint64_t>(model.program().slot_bytes)));
}

}  // namespace
}  // namespace deltaserve::cuda
