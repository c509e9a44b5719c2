#include "engine/loop/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace deltaserve {
namespace {

constexpr SequenceDemand kDecoding{0, false};
constexpr SequenceDemand kPausedDecoding{0, true};
SequenceDemand prompt(int64_t left, int num_draws = 1) {
  return {left, false, num_draws};
}
SequenceDemand paused_prompt(int64_t left, int num_draws = 1) {
  return {left, true, num_draws};
}

// Formats a schedule as "0 1 | 2:64 3:100": decoding sequences, then prompt pieces.
std::string shown(const StepSchedule& schedule) {
  std::string text;
  for (int i = 0; i < static_cast<int>(schedule.pieces.size()); ++i) {
    const StepPiece& piece = schedule.pieces[i];
    if (i == schedule.num_decode) text += "| ";
    text += std::to_string(piece.sequence);
    if (i >= schedule.num_decode) {
      text += ':' + std::to_string(piece.num_tokens);
    } else {
      EXPECT_EQ(piece.num_tokens, 1);
    }
    text += ' ';
  }
  if (!text.empty()) text.pop_back();
  return text;
}

struct Case {
  const char* name;
  int max_step_tokens;
  std::vector<SequenceDemand> demands;
  uint64_t turn;
  const char* expected;
};

class SchedulerTable : public testing::TestWithParam<Case> {};

TEST_P(SchedulerTable, Schedules) {
  const Case& c = GetParam();
  Scheduler scheduler(c.max_step_tokens);
  EXPECT_EQ(shown(scheduler.schedule(c.demands, c.turn)), c.expected);
}

INSTANTIATE_TEST_SUITE_P(
    All, SchedulerTable,
    testing::Values(
        Case{"Nothing", 512, {}, 0, ""}, Case{"DecodeOnly", 512, {kDecoding, kDecoding}, 0, "0 1"},
        Case{"PausedIsLeftOut", 512, {kDecoding, kPausedDecoding, paused_prompt(9)}, 0, "0"},
        Case{"AllPaused", 512, {kPausedDecoding, paused_prompt(100)}, 0, ""},
        Case{"WholePromptWithItsTail", 512, {prompt(100)}, 0, "| 0:100"},
        Case{"ShortPromptIsOnePiece", 512, {prompt(5)}, 0, "| 0:5"},
        Case{"LongPromptIsCutOnTheGrid", 512, {prompt(1000)}, 0, "| 0:512"},
        Case{"BudgetIsRoundedDown", 500, {prompt(1000)}, 0, "| 0:448"},
        Case{"DecodeRowsComeFirst", 512, {prompt(1000), kDecoding}, 0, "1 | 0:448"},
        Case{"ExactFit", 128, {prompt(128)}, 0, "| 0:128"},
        Case{"TailIsNotCut", 96, {prompt(100)}, 0, "| 0:64"},
        Case{"ShortNeedNotWaitForLong", 512, {prompt(1 << 20), prompt(100)}, 0, "| 0:384 1:100"},
        Case{"HalfByAgeHalfBySize",
             512,
             {prompt(5000), prompt(4000), prompt(300), prompt(200)},
             0,
             "| 0:256 3:200"},
        Case{"SmallOnesShareTheHalf",
             512,
             {prompt(5000), prompt(60), prompt(70), prompt(80)},
             0,
             "| 0:256 1:60 2:70 3:80"},
        Case{"WhatTheOldestLeavesGoesOn",
             512,
             {prompt(20), prompt(9000), prompt(8000)},
             0,
             "| 0:20 1:192 2:256"},
        Case{"OneChunkEvenTurnBySize", 64, {prompt(5000), prompt(64)}, 0, "| 1:64"},
        Case{"OneChunkOddTurnByAge", 64, {prompt(5000), prompt(64)}, 1, "| 0:64"},
        Case{"OneChunkEqualSizesOldestFirst", 64, {prompt(640), prompt(640)}, 0, "| 0:64"},
        Case{"PromptsKeepOneChunk", 64, {kDecoding, kDecoding, prompt(1000)}, 0, "0 1 | 2:64"},
        Case{"TinyBudgetKeepsOneChunk", 1, {kDecoding, prompt(63)}, 0, "0 | 1:63"},
        Case{"PausedOldestGivesItsHalf",
             128,
             {paused_prompt(5000), prompt(900), prompt(64)},
             0,
             "| 1:64 2:64"},
        Case{"DrawsTakeRows", 512, {kDecoding, prompt(1000, 65)}, 0, "0 | 1:384"},
        Case{"DrawsLeaveOneChunk", 128, {prompt(1000, 128)}, 0, "| 0:64"},
        Case{"PausedDrawsTakeNothing", 512, {paused_prompt(9, 128), prompt(1000)}, 0, "| 1:512"}),
    [](const testing::TestParamInfo<Case>& param_info) {
      return std::string(param_info.param.name);
    });

TEST(Scheduler, IsAFunctionOfItsArguments) {
  Scheduler used(256), fresh(256);
  const std::vector<SequenceDemand> demands{prompt(700), kDecoding, prompt(100), prompt(300)};
  used.schedule(std::vector<SequenceDemand>{prompt(9), kDecoding}, 7);
  EXPECT_EQ(shown(used.schedule(demands, 3)), shown(fresh.schedule(demands, 3)));
}

TEST(Scheduler, RandomDemandsKeepTheRules) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    const int max_step_tokens = 1 + static_cast<int>(random() % 600);
    std::vector<SequenceDemand> demands(random() % 12);
    for (SequenceDemand& demand : demands) {
      demand.prompt_left = random() % 2 ? 0 : 1 + random() % 700;
      demand.paused = random() % 5 == 0;
      if (demand.prompt_left > 0 && random() % 3 == 0) demand.num_draws = 1 + random() % 128;
    }
    Scheduler scheduler(max_step_tokens);
    const StepSchedule& schedule = scheduler.schedule(demands, random());
    std::map<int, int> tokens;
    int rows = 0, results = 0, draws = 0;
    for (const SequenceDemand& demand : demands) draws += demand.num_draws;
    for (const StepPiece& piece : schedule.pieces) {
      ASSERT_TRUE(tokens.emplace(piece.sequence, piece.num_tokens).second);
      rows += piece.num_tokens;
      results += piece.num_tokens + demands[piece.sequence].num_draws - 1;
    }
    ASSERT_LE(rows, std::max(max_step_tokens, schedule.num_decode + kChunkTokens));
    ASSERT_LE(results, std::max(max_step_tokens, draws + kChunkTokens));
    bool wants_prompt = false, reads_prompt = false;
    for (int i = 0; i < static_cast<int>(demands.size()); ++i) {
      const SequenceDemand& demand = demands[i];
      const int n = tokens.count(i) ? tokens[i] : 0;
      if (demand.paused) {
        ASSERT_EQ(n, 0);
      } else if (demand.prompt_left == 0) {
        ASSERT_EQ(n, 1);
      } else {
        ASSERT_TRUE(n % kChunkTokens == 0 || n == demand.prompt_left);
        wants_prompt = true;
        reads_prompt |= n > 0;
      }
    }
    ASSERT_EQ(wants_prompt, reads_prompt);
  }
}

// Short prompts arrive in every step; the long one must still be read at half the full speed.
TEST(Scheduler, ALongPromptIsNotStarved) {
  for (const int chunks : {1, 2, 3, 8}) {
    Scheduler scheduler(chunks * kChunkTokens);
    const int64_t length = 100 * kChunkTokens;
    int64_t left = length;
    uint64_t turn = 0;
    for (; left > 0 && turn < 1000; ++turn) {
      std::vector<SequenceDemand> demands{prompt(left)};
      for (int i = 0; i < 10; ++i) demands.push_back(prompt(kChunkTokens));
      for (const StepPiece& piece : scheduler.schedule(demands, turn).pieces) {
        if (piece.sequence == 0) left -= piece.num_tokens;
      }
    }
    EXPECT_LE(turn, 2u * 100 / chunks + 2) << chunks << " chunks a step";
  }
}

}  // namespace
}  // namespace deltaserve
