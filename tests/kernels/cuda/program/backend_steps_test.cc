// Steps of the CUDA backend, on the emulation or a GPU: filled up and launched as a graph, queued
// ahead, of layers that differ, with segments of several rows, with draws in several passes.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/cuda/program/step_memory.h"
#include "tests/kernels/cuda/program/backend_driver.h"

namespace deltaserve::cuda {
namespace {

// Each size several times: launched, made a graph, launched as one.
TEST(CudaBackend, GraphsGiveTheSameBits) {
  const TinyProgram tiny(WeightFormat::kBf16);
  Driver graphs(cuda_backend({MatmulKernels::kTensor, true}), tiny.program());
  Driver direct(cuda_backend({MatmulKernels::kTensor, false}), tiny.program());
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
  Driver direct(cuda_backend({MatmulKernels::kTensor, false}), tiny.program());
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

#ifndef __CUDACC__
// The draws of a step are four launches after its forward pass, whatever it draws: the last norm,
// the logits, their parts, the tokens.
TEST(CudaBackend, DrawsTakeFourLaunches) {
  const TinyProgram tiny(WeightFormat::kBf16);
  std::string error;
  std::unique_ptr<Runtime> owned = Runtime::create(&error);
  const Runtime& runtime = *owned;
  Driver driver(make_cuda_backend(std::move(owned)), tiny.program());
  const auto launches = [&] {
    return std::count_if(runtime.stream().queue->begin(), runtime.stream().queue->end(),
                         [](const simt::host::Work& work) { return work.launch.threads > 0; });
  };
  for (const int rows : {1, 5, 24}) {
    std::vector<Draw> draws = greedy_rows(rows);
    draws[0].temperature = 1;
    draws[0].top_p = 0.5f;
    const Ticket ticket = driver.forward(tokens_of(rows));
    const auto before = launches();
    driver->draw(ticket, array_of(draws));
    EXPECT_EQ(launches() - before, 4) << rows;
    driver.finish(ticket, draws.size());
  }
}
#endif

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
    Driver ahead(logged_backend(&log, {MatmulKernels::kTensor, graphs}), tiny.program());
    EXPECT_EQ(ahead->steps_ahead(), 1);
    const int synchronized = log.synchronized;
    Driver alone(cuda_backend({MatmulKernels::kTensor, false}), tiny.program());
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
  for (const StateFormat format : kAllStateFormats) {
    const TestModel model(kHidden, kVocab, mixed_layers(format), WeightFormat::kF32);
    const Limits limits = {80, 4, 80, 3};
    Driver cpu(make_cpu_backend(&threads), model.program(), limits);
    Driver gpu(cuda_backend(), model.program(), limits);
    std::vector<DrawResult> expected, found;
    const std::vector<float> truth = mixed_logits(cpu, &expected);
    const std::vector<float> logits = mixed_logits(gpu, &found);
    EXPECT_LT(error(logits, truth), state_format_is_exact(format) ? 1e-5 : 1e-3);
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
  Driver waits(cuda_backend({MatmulKernels::kExact, false}), model.program(), limits);
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

}  // namespace
}  // namespace deltaserve::cuda
