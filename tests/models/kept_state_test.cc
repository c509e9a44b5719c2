// Tests that a prefill leaves its state at a grid point in a second slot, with the bits of a step
// that ends there, and that whoever goes on from it has the bits of the uncut prompt. Before every
// step all slots that hold no state of a sequence are filled with NaN.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/models/loaded_model.h"
#include "tests/models/model_cases.h"

namespace deltaserve {
namespace {

constexpr int kSequences = 3;
constexpr int kSnapshots = 4;
constexpr int kSlots = kSequences + kSnapshots;
constexpr int kPrompt = 200;
constexpr int kDecoded = 3;

class PoisonedModel {
 public:
  explicit PoisonedModel(const ModelCase& c)
      : model_(c.folder, 2, kSequences, std::nullopt, c.format, c.state_format, kSnapshots),
        poison_(model_->layout().bytes(), 0xff) {}

  int64_t vocab() const { return model_.vocab(); }
  void release_all() { owned_.clear(); }

  // Runs a step and returns the logits of its rows.
  std::vector<float> step(const std::vector<int32_t>& tokens,
                          const std::vector<Segment>& segments) {
    std::set<int> read;
    for (const Segment& segment : segments) {
      if (segment.position > 0) read.insert(segment.read_slot);
      owned_.erase(segment.write_slot);
      owned_.erase(segment.keep_slot);
    }
    for (int slot = 0; slot < kSlots; ++slot) {
      if (owned_.contains(slot) || read.contains(slot)) continue;
      model_->wait(model_->backend().import_slot(slot, poison_.data()), nullptr);
    }
    owned_.insert(read.begin(), read.end());
    for (const Segment& segment : segments) {
      owned_.insert(segment.write_slot);
      if (segment.keep_slot >= 0) owned_.insert(segment.keep_slot);
    }
    return model_.step(tokens, segments);
  }

  // Reads tokens [from, to) of the sequence in `read`, if from > 0, and leaves it in `write`.
  std::vector<float> prefill(int read, int write, int keep, const std::vector<int32_t>& tokens,
                             int from, int to) {
    return step({tokens.begin() + from, tokens.begin() + to},
                {{RowKind::kPrefill, read, write, 0, to - from, from, keep}});
  }
  // Decodes tokens [from, ..) one by one.
  std::vector<float> decode(int slot, const std::vector<int32_t>& tokens, int from) {
    std::vector<float> all;
    for (int t = from; t < static_cast<int>(tokens.size()); ++t) {
      const auto logits = step({tokens[static_cast<size_t>(t)]},
                               {{RowKind::kDecode, slot, slot, 0, 1, int64_t{t}}});
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  }

  // Returns the bytes of all parts of a slot, their padding included.
  std::vector<unsigned char> state(int slot) {
    const std::vector<float> floats = model_.state(slot);
    const auto* bytes = reinterpret_cast<const unsigned char*>(floats.data());
    std::vector<unsigned char> state;
    for (const StatePart& part : model_->layout().parts) {
      state.insert(state.end(), bytes + part.offset, bytes + part.offset + part.bytes());
    }
    return state;
  }

 private:
  LoadedModel model_;
  std::vector<unsigned char> poison_;
  std::set<int> owned_;  // slots with a state
};

// A prompt and the tokens decoded behind it, read without a cut.
struct Whole {
  Whole(PoisonedModel& model, uint32_t seed, int prompt = kPrompt)
      : tokens(random_tokens(prompt + kDecoded, model.vocab(), seed)) {
    model.release_all();
    logits = model.prefill(0, 0, -1, tokens, 0, prompt);
    state = model.state(0);
    decoded = model.decode(0, tokens, prompt);
    decoded_state = model.state(0);
    for (int point = kChunkTokens; point <= prompt; point += kChunkTokens) {
      model.release_all();
      model.prefill(0, 0, -1, tokens, 0, point);
      at_point[point] = model.state(0);
    }
    model.release_all();
  }

  // Compares logits of the prompt's rows from `row` on.
  bool has_rows(int row, const std::vector<float>& rows, int64_t vocab) const {
    const size_t first = static_cast<size_t>(row * vocab);
    return first + rows.size() <= logits.size() &&
           same_bits(rows.data(), logits.data() + first, rows.size());
  }

  std::vector<int32_t> tokens;
  std::vector<float> logits, decoded;
  std::vector<unsigned char> state, decoded_state;     // behind the prompt, and the decoded tokens
  std::map<int, std::vector<unsigned char>> at_point;  // of the grid
};

class KeptState : public testing::TestWithParam<ModelCase> {
 protected:
  PoisonedModel model_{GetParam()};

  // Reads the prompt in random pieces, of which most keep their state in a random snapshot. Returns
  // the grid point in each snapshot.
  std::map<int, int> read_in_pieces(const Whole& whole, std::mt19937& rng) {
    std::map<int, int> kept;
    for (int from = 0; from < kPrompt;) {
      const int chunks = 1 + static_cast<int>(rng() % 3);
      const int to = std::min(kPrompt, from + chunks * kChunkTokens);
      const int point = to / kChunkTokens * kChunkTokens;
      const bool keeps = point > from && rng() % 4 > 0;
      const int keep = keeps ? kSequences + static_cast<int>(rng() % kSnapshots) : -1;
      const auto rows = model_.prefill(0, 0, keep, whole.tokens, from, to);
      EXPECT_TRUE(whole.has_rows(from, rows, model_.vocab())) << from << " to " << to;
      if (keeps) kept[keep] = point;
      from = to;
    }
    return kept;
  }
};

TEST_P(KeptState, IsThatOfAStepThatEndsThereAndGoesOnLikeTheWholePrompt) {
  const Whole whole(model_, 1);
  std::mt19937 rng(7);
  size_t continued = 0;
  for (int trial = 0; trial < 3; ++trial) {
    SCOPED_TRACE(trial);
    model_.release_all();
    const std::map<int, int> kept = read_in_pieces(whole, rng);
    EXPECT_EQ(model_.state(0), whole.state);
    for (const auto& [slot, point] : kept) {
      SCOPED_TRACE(testing::Message() << "slot " << slot << " has " << point << " tokens");
      EXPECT_EQ(model_.state(slot), whole.at_point.at(point));
      const auto rows = model_.prefill(slot, 1, -1, whole.tokens, point, kPrompt);
      EXPECT_TRUE(whole.has_rows(point, rows, model_.vocab()));
      EXPECT_EQ(model_.state(1), whole.state);
      EXPECT_TRUE(same_bits(model_.decode(1, whole.tokens, kPrompt), whole.decoded));
      EXPECT_EQ(model_.state(1), whole.decoded_state);
      EXPECT_EQ(model_.state(slot), whole.at_point.at(point));
      ++continued;
    }
  }
  EXPECT_GE(continued, 3u);
}

// A snapshot moves on: a segment goes on from it and keeps its state at a later point in its place.
TEST_P(KeptState, MayReplaceTheStateThatItsSegmentRead) {
  const Whole whole(model_, 2);
  model_.prefill(0, 0, kSequences, whole.tokens, 0, kChunkTokens);
  const auto rows = model_.prefill(kSequences, 1, kSequences, whole.tokens, kChunkTokens, kPrompt);
  EXPECT_TRUE(whole.has_rows(kChunkTokens, rows, model_.vocab()));
  EXPECT_EQ(model_.state(1), whole.state);
  EXPECT_EQ(model_.state(kSequences), whole.at_point.at(kPrompt / kChunkTokens * kChunkTokens));
}

// One sequence decodes, one goes on from a snapshot and one is whole chunks; the others keep.
TEST_P(KeptState, NeighboursChangeNoBit) {
  const Whole decoding(model_, 3, 5), going_on(model_, 4), whole_chunk(model_, 5, kChunkTokens);
  model_.prefill(0, 0, -1, decoding.tokens, 0, 5);
  model_.prefill(1, 1, kSequences, going_on.tokens, 0, kChunkTokens);
  std::vector<int32_t> ids = {decoding.tokens[5]};
  ids.insert(ids.end(), going_on.tokens.begin() + kChunkTokens, going_on.tokens.begin() + kPrompt);
  ids.insert(ids.end(), whole_chunk.tokens.begin(), whole_chunk.tokens.begin() + kChunkTokens);
  constexpr int kRest = kPrompt - kChunkTokens;
  const std::vector<float> logits =
      model_.step(ids, {{RowKind::kDecode, 0, 0, 0, 1, 5},
                        {RowKind::kPrefill, kSequences, 1, 1, kRest, kChunkTokens, kSequences + 1},
                        {RowKind::kPrefill, 2, 2, 1 + kRest, kChunkTokens, 0, kSequences + 2}});
  const auto vocab = static_cast<size_t>(model_.vocab());
  EXPECT_TRUE(same_bits(logits.data(), decoding.decoded.data(), vocab));
  const std::vector<float> rest(logits.begin() + model_.vocab(),
                                logits.begin() + model_.vocab() * (1 + kRest));
  EXPECT_TRUE(going_on.has_rows(kChunkTokens, rest, model_.vocab()));
  EXPECT_EQ(model_.state(1), going_on.state);
  EXPECT_EQ(model_.state(kSequences), going_on.at_point.at(kChunkTokens));
  EXPECT_EQ(model_.state(kSequences + 1),
            going_on.at_point.at(kPrompt / kChunkTokens * kChunkTokens));
  EXPECT_EQ(model_.state(2), whole_chunk.state);
  EXPECT_EQ(model_.state(kSequences + 2), whole_chunk.state);
}

INSTANTIATE_TEST_SUITE_P(Models, KeptState, testing::ValuesIn(model_cases()),
                         [](const auto& test) { return case_name(test.param); });

}  // namespace
}  // namespace deltaserve
