// Tests the contract of states: the bits of a sequence depend on its tokens alone, not on
// neighbours, on where a prompt is cut (on the grid), on the thread count, or on the slot.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/models/loaded_model.h"
#include "tests/models/model_cases.h"

namespace deltaserve {
namespace {

class Invariance : public testing::TestWithParam<ModelCase> {
 protected:
  static LoadedModel load(int num_threads) {
    return LoadedModel(GetParam().folder, num_threads, 8, std::nullopt, GetParam().format,
                       GetParam().state_format);
  }
};

// The logits of the prompt and of five decoded tokens, then the state.
struct Trace {
  std::vector<float> prompt, decoded, state;
};

// Returns the logits of tokens[from] and of all tokens after it, decoded one by one.
std::vector<float> decode_from(LoadedModel& model, int slot, const std::vector<int32_t>& tokens,
                               int from) {
  std::vector<float> decoded;
  for (int t = from; t < static_cast<int>(tokens.size()); ++t) {
    const std::vector<float> logits = model.decode(slot, tokens[static_cast<size_t>(t)], t);
    decoded.insert(decoded.end(), logits.begin(), logits.end());
  }
  return decoded;
}

Trace run_alone(LoadedModel& model, int slot, const std::vector<int32_t>& tokens, int prompt,
                int piece) {
  Trace trace;
  for (int t = 0; t < prompt; t += piece) {
    const std::vector<float> logits = model.prefill(slot, tokens, t, std::min(t + piece, prompt));
    trace.prompt.insert(trace.prompt.end(), logits.begin(), logits.end());
  }
  trace.decoded = decode_from(model, slot, tokens, prompt);
  trace.state = model.state(slot);
  return trace;
}

void expect_same(const Trace& a, const Trace& b) {
  EXPECT_TRUE(same_bits(a.prompt, b.prompt));
  EXPECT_TRUE(same_bits(a.decoded, b.decoded));
  EXPECT_TRUE(same_bits(a.state, b.state));
}

TEST_P(Invariance, CutsOnTheGridChangeNoBit) {
  LoadedModel model = load(2);
  const std::vector<int32_t> tokens = random_tokens(305, model.vocab(), 1);
  const Trace whole = run_alone(model, 0, tokens, 300, 300);
  for (const int piece : {64, 128, 256}) {
    expect_same(run_alone(model, 0, tokens, 300, piece), whole);
  }
}

TEST_P(Invariance, ThreadsAndSlotsChangeNoBit) {
  LoadedModel one = load(1);
  const std::vector<int32_t> tokens = random_tokens(150, one.vocab(), 2);
  const Trace trace = run_alone(one, 0, tokens, 145, 512);
  for (const int threads : {2, 3, 5}) {
    LoadedModel many = load(threads);
    expect_same(run_alone(many, threads, tokens, 145, 512), trace);
  }
}

TEST_P(Invariance, NeighboursChangeNoBit) {
  LoadedModel model = load(2);
  const int lengths[] = {1, 3, 64, 65, 70, 130};
  std::vector<std::vector<int32_t>> tokens;
  std::vector<Trace> alone;
  for (int s = 0; s < 6; ++s) {
    tokens.push_back(random_tokens(lengths[s] + 5, model.vocab(), static_cast<uint32_t>(10 + s)));
    alone.push_back(run_alone(model, 0, tokens.back(), lengths[s], 512));
  }
  const auto vocab = static_cast<size_t>(model.vocab());
  // This step has all prompts.
  std::vector<int32_t> ids;
  std::vector<Segment> segments;
  for (int s = 0; s < 6; ++s) {
    segments.push_back({RowKind::kPrefill, s, s, static_cast<int32_t>(ids.size()), lengths[s], 0});
    ids.insert(ids.end(), tokens[s].begin(), tokens[s].begin() + lengths[s]);
  }
  const std::vector<float> prompts = model.step(ids, segments);
  for (int s = 0; s < 6; ++s) {
    EXPECT_TRUE(same_bits(&prompts[static_cast<size_t>(segments[s].first_row) * vocab],
                          alone[s].prompt.data(), alone[s].prompt.size()))
        << s;
  }
  // They are decoded together, while a stranger's prompt is read in the same steps.
  const std::vector<int32_t> stranger = random_tokens(5 * 64, model.vocab(), 99);
  for (int t = 0; t < 5; ++t) {
    ids.clear();
    segments.clear();
    for (int s = 0; s < 6; ++s) {
      segments.push_back({RowKind::kDecode, s, s, s, 1, lengths[s] + t});
      ids.push_back(tokens[s][static_cast<size_t>(lengths[s] + t)]);
    }
    segments.push_back({RowKind::kPrefill, 7, 7, 6, 64, t * 64});
    ids.insert(ids.end(), stranger.begin() + t * 64, stranger.begin() + (t + 1) * 64);
    const std::vector<float> logits = model.step(ids, segments);
    for (size_t s = 0; s < 6; ++s) {
      EXPECT_TRUE(
          same_bits(&logits[s * vocab], &alone[s].decoded[static_cast<size_t>(t) * vocab], vocab))
          << s << " " << t;
    }
  }
  for (int s = 0; s < 6; ++s) EXPECT_TRUE(same_bits(model.state(s), alone[s].state)) << s;
}

TEST_P(Invariance, AReusedSlotRemembersNothing) {
  LoadedModel model = load(2);
  const std::vector<int32_t> tokens = random_tokens(75, model.vocab(), 4);
  const Trace fresh = run_alone(model, 0, tokens, 70, 512);
  std::vector<float> poison(static_cast<size_t>(model->layout().floats), NAN);
  model->backend().import_slot(1, poison.data());
  const Trace reused = run_alone(model, 1, tokens, 70, 512);
  EXPECT_TRUE(same_bits(fresh.prompt, reused.prompt));
  EXPECT_TRUE(same_bits(fresh.decoded, reused.decoded));
}

TEST_P(Invariance, CopiedAndRestoredStatesGoOnWithTheSameBits) {
  LoadedModel model = load(2);
  const std::vector<int32_t> tokens = random_tokens(75, model.vocab(), 5);
  const Trace whole = run_alone(model, 0, tokens, 70, 512);
  model.prefill(1, tokens, 0, 70);
  const std::vector<float> saved = model.state(1);
  model->backend().copy_slot(1, 2);
  model->backend().import_slot(3, saved.data());
  for (const int slot : {1, 2, 3}) {
    EXPECT_TRUE(same_bits(decode_from(model, slot, tokens, 70), whole.decoded)) << slot;
  }
}

// Two sequences continue from one state in one step; it stays unchanged for a third.
TEST_P(Invariance, ManyGoOnFromOneState) {
  LoadedModel model = load(2);
  const std::vector<int32_t> tokens = random_tokens(75, model.vocab(), 6);
  const Trace whole = run_alone(model, 0, tokens, 70, 512);
  model.prefill(1, tokens, 0, 70);
  const std::vector<float> before = model.state(1);
  const std::vector<float> logits =
      model.step({tokens[70], tokens[70]},
                 {{RowKind::kDecode, 1, 2, 0, 1, 70}, {RowKind::kDecode, 1, 3, 1, 1, 70}});
  EXPECT_TRUE(same_bits(model.state(1), before));
  EXPECT_TRUE(same_bits(model.state(2), model.state(3)));
  for (const int slot : {2, 3}) {
    const auto first = logits.begin() + (slot - 2) * model.vocab();
    std::vector<float> decoded(first, first + model.vocab());
    const std::vector<float> rest = decode_from(model, slot, tokens, 71);
    decoded.insert(decoded.end(), rest.begin(), rest.end());
    EXPECT_TRUE(same_bits(decoded, whole.decoded)) << slot;
    EXPECT_TRUE(same_bits(model.state(slot), whole.state)) << slot;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Invariance, testing::ValuesIn(model_cases()),
                         [](const auto& test) { return case_name(test.param); });

TEST(StateDtype, RoundingNeedsADecay) {
  for (const char* type : {"delta_net", "linear_attn", "precond_delta_net", "delta_net_ccq"}) {
    ThreadPool threads(1);
    const std::unique_ptr<Backend> backend = make_cpu_backend(&threads);
    const auto folder = open_model_folder(std::string(DELTASERVE_GOLDEN "/") + type);
    ASSERT_TRUE(folder.ok()) << folder.status();
    for (const StateFormat format : rounding_state_formats()) {
      ModelLimits limits;
      limits.state_format = format;
      const absl::Status status = Model::load(*folder, backend.get(), limits).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_NE(status.message().find(state_format_name(format)), std::string::npos) << status;
      EXPECT_NE(status.message().find(folder->config.model_type), std::string::npos) << status;
    }
  }
}

TEST(StateDtype, Bf16HalvesTheState) {
  LoadedModel wide(DELTASERVE_BUNDLED_MODEL, 1);
  LoadedModel narrow(DELTASERVE_BUNDLED_MODEL, 1, 8, std::nullopt, WeightFormat::kAuto,
                     StateFormat::kBf16);
  for (size_t i = 0; i < wide->layout().layers.size(); ++i) {
    const LayerStateLayout& f32 = wide->layout().layers[i];
    const LayerStateLayout& bf16 = narrow->layout().layers[i];
    EXPECT_EQ(2 * bf16.state.floats, f32.state.floats);
    EXPECT_EQ(bf16.conv_rows.floats, f32.conv_rows.floats);
  }
}

}  // namespace
}  // namespace deltaserve
