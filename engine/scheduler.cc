#include "engine/scheduler.h"

#include <algorithm>

#include "kernels/base/check.h"

namespace deltaserve {
namespace {

// Returns the longest piece of a prompt with `left` tokens that fits into `budget`; 0 = none.
int piece_within(int64_t left, int budget) {
  if (left <= budget) return static_cast<int>(left);
  return budget / kChunkTokens * kChunkTokens;
}

}  // namespace

Scheduler::Scheduler(int max_step_tokens) : max_step_tokens_(max_step_tokens) {
  DS_CHECK(max_step_tokens > 0);
}

const StepSchedule& Scheduler::schedule(std::span<const SequenceDemand> demands, uint64_t turn) {
  schedule_.pieces.clear();
  const int num_demands = static_cast<int>(demands.size());
  int more_draws = 0;
  for (int i = 0; i < num_demands; ++i) {
    if (demands[i].paused) continue;
    if (demands[i].prompt_left == 0) {
      schedule_.pieces.push_back({i, 1});
    } else {
      more_draws += demands[i].num_draws - 1;
    }
  }
  schedule_.num_decode = static_cast<int>(schedule_.pieces.size());
  const int budget = max_step_tokens_ - schedule_.num_decode - more_draws;
  grant_prompts(demands, std::max(budget, kChunkTokens), turn);
  for (int i = 0; i < num_demands; ++i) {
    if (grants_[i] > 0) schedule_.pieces.push_back({i, grants_[i]});
  }
  return schedule_;
}

void Scheduler::grant_prompts(std::span<const SequenceDemand> demands, int budget, uint64_t turn) {
  grants_.assign(demands.size(), 0);
  by_size_.clear();
  int by_age = (budget / kChunkTokens + static_cast<int>(turn % 2)) / 2 * kChunkTokens;
  for (size_t i = 0; i < demands.size(); ++i) {
    if (demands[i].paused || demands[i].prompt_left == 0) continue;
    by_size_.push_back(static_cast<int>(i));
    grants_[i] = piece_within(demands[i].prompt_left, by_age);
    by_age -= grants_[i];
    budget -= grants_[i];
  }
  const auto left = [&](int i) { return demands[i].prompt_left - grants_[i]; };
  std::sort(by_size_.begin(), by_size_.end(), [&](int a, int b) {
    return left(a) != left(b) ? left(a) < left(b) : a < b;  // ties: the older
  });
  for (int i : by_size_) {
    // This changes left(i), but i is not used again.
    const int more = piece_within(left(i), budget);
    grants_[i] += more;
    budget -= more;
  }
}

}  // namespace deltaserve
