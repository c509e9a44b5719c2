// Fuzzes the scheduler as a state machine: sequences come, read their prompts, decode, pause and
// leave, as the bytes say, and every step keeps what the header promises.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "engine/loop/scheduler.h"
#include "kernels/base/check.h"

namespace {

using namespace deltaserve;

constexpr size_t kMostSequences = 64;

// Checks a step against the demands that it was planned for.
void check(const StepSchedule& step, const std::vector<SequenceDemand>& demands,
           int max_step_tokens) {
  std::set<int> seen;
  int64_t rows = 0;
  int64_t draws = 0;
  int64_t asked = kChunkTokens;
  bool wanted = false;
  for (const SequenceDemand& demand : demands) {
    asked += demand.paused ? 0 : demand.num_draws;
    wanted = wanted || !demand.paused;
  }
  for (size_t i = 0; i < step.pieces.size(); ++i) {
    const StepPiece& piece = step.pieces[i];
    DS_CHECK(piece.sequence >= 0 && static_cast<size_t>(piece.sequence) < demands.size());
    const SequenceDemand& demand = demands[static_cast<size_t>(piece.sequence)];
    DS_CHECK(seen.insert(piece.sequence).second && !demand.paused);
    const bool decodes = i < static_cast<size_t>(step.num_decode);
    DS_CHECK(decodes == (demand.prompt_left == 0));
    DS_CHECK(piece.num_tokens > 0);
    if (decodes) {
      DS_CHECK(piece.num_tokens == 1);
    } else {
      DS_CHECK(piece.num_tokens <= demand.prompt_left);
      const bool ends = piece.num_tokens == demand.prompt_left;
      DS_CHECK(ends || piece.num_tokens % kChunkTokens == 0);
      draws += ends ? demand.num_draws : 0;
    }
    draws += decodes ? 1 : 0;
    rows += piece.num_tokens;
  }
  const int64_t most = std::max<int64_t>(max_step_tokens, asked);
  DS_CHECK(rows <= most && draws <= most);
  DS_CHECK(!wanted || !step.pieces.empty());
  // Whoever decodes is in every step.
  for (size_t i = 0; i < demands.size(); ++i) {
    if (demands[i].paused || demands[i].prompt_left > 0) continue;
    DS_CHECK(seen.contains(static_cast<int>(i)));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const int max_step_tokens = 1 + data[0] * 8;
  Scheduler scheduler(max_step_tokens);
  std::vector<SequenceDemand> demands;
  ptrdiff_t oldest_place = -1;  // of the oldest prompt, two steps ago
  int64_t oldest_left = 0;      // what was left of it then
  for (size_t at = 1; at + 1 < size; at += 2) {
    const uint8_t value = data[at + 1];
    const size_t place = demands.empty() ? 0 : value % demands.size();
    switch (data[at] % 5) {
      case 0:
        if (demands.size() == kMostSequences) break;
        demands.push_back({1 + int64_t{value} * value, false, 1 + value % 8});
        break;
      case 1:
        if (!demands.empty()) demands[place].paused = !demands[place].paused;
        break;
      case 2:
        if (!demands.empty()) demands.erase(demands.begin() + static_cast<ptrdiff_t>(place));
        break;
      default: break;
    }
    const StepSchedule& step = scheduler.schedule(demands, at / 2);
    check(step, demands, max_step_tokens);
    for (const StepPiece& piece : step.pieces) {
      SequenceDemand& demand = demands[static_cast<size_t>(piece.sequence)];
      if (demand.prompt_left > 0) demand.prompt_left -= piece.num_tokens;
    }
  }
  // From here on nobody comes or pauses: every prompt is read to its end, the oldest first in turn.
  for (SequenceDemand& demand : demands) demand.paused = false;
  for (uint64_t turn = 0;; ++turn) {
    const auto oldest = std::find_if(demands.begin(), demands.end(),
                                     [](const auto& demand) { return demand.prompt_left > 0; });
    if (oldest == demands.end()) break;
    if (turn % 2 == 0) {
      const auto place = oldest - demands.begin();
      DS_CHECK(place != oldest_place || oldest->prompt_left < oldest_left);
      oldest_place = place;
      oldest_left = oldest->prompt_left;
    }
    const StepSchedule& step = scheduler.schedule(demands, turn);
    check(step, demands, max_step_tokens);
    for (const StepPiece& piece : step.pieces) {
      SequenceDemand& demand = demands[static_cast<size_t>(piece.sequence)];
      if (demand.prompt_left > 0) demand.prompt_left -= piece.num_tokens;
    }
  }
  return 0;
}
