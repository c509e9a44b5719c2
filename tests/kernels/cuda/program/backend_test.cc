// The CUDA backend, on the emulation or a GPU, against the CPU's: its operations, what it refuses,
// its memory, its slots. Its steps: backend_steps_test.cc. Whole models: golden_test.cc.
#include "kernels/cuda/program/backend.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "kernels/base/thread_pool.h"
#ifndef __CUDACC__
#include "kernels/cuda/matmul/matmul_library_host.h"
#endif
#include "tests/kernels/cuda/program/backend_driver.h"

namespace deltaserve::cuda {
namespace {

class AgainstCpu : public testing::TestWithParam<std::pair<WeightFormat, MatmulKernels>> {};

TEST_P(AgainstCpu, OperationsAgree) {
  const auto [format, products] = GetParam();
  ThreadPool threads(1);
  for (const Reads reads : {Reads::kX, Reads::kWideX}) {
    // The CPU takes the same weights as f32, because then no processor rounds activations.
    Driver cpu(make_cpu_backend(&threads), TinyProgram(WeightFormat::kF32, reads).program());
    Driver gpu(cuda_backend({products, true}), TinyProgram(format, reads).program());
    // Activations are rounded to bf16 for tensor cores only.
    const bool rounds = format == WeightFormat::kBf16 && products != MatmulKernels::kPlain;
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
    for (const MatmulKernels products : {MatmulKernels::kExact, MatmulKernels::kLibraryForRows}) {
      Driver own(cuda_backend({MatmulKernels::kTensor, true}), tiny.program());
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
                                std::to_string(model.program().slot_bytes) + " bytes");
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
TEST(CudaBackend, ProductsThatAreWrongAreNotUsed) {
  const TinyProgram tiny(WeightFormat::kBf16);
  Driver plain(cuda_backend({MatmulKernels::kPlain, true}), tiny.program());
  const auto expected = plain.step(tokens_of(3), greedy_rows(3));
  for (int kernel = 1; kernel <= 6; ++kernel) {
    RuntimeLog log;
    log.wrong_copy = 2 * kernel;  // in front of it the plain product
    Driver driver(logged_backend(&log), tiny.program());
    EXPECT_NE(driver->description().find("warning: matmuls on tensor cores"), std::string::npos);
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

}  // namespace
}  // namespace deltaserve::cuda
