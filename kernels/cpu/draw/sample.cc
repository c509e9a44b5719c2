#include "kernels/cpu/draw/sample.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/base/check.h"
#include "kernels/base/random.h"
#include "kernels/cpu/layer/rowwise.h"

namespace deltaserve::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float without_nan(float logit) {
  return std::isnan(logit) ? -kInfinity : logit;
}

// Orders tokens from the most to the least likely.
struct MoreLikely {
  const float* logits;
  bool operator()(int32_t a, int32_t b) const {
    const float x = without_nan(logits[a]);
    const float y = without_nan(logits[b]);
    return x > y || (x == y && a < b);
  }
};

// Writes the `count` most likely tokens in order to `best`. Makes one pass over the logits with a
// heap; almost all logits are below the heap's least member, so the heap seldom changes.
void most_likely(const float* logits, int64_t vocab, int64_t count, int32_t* best) {
  const MoreLikely before{logits};
  for (int32_t i = 0; i < count; ++i) best[i] = i;
  std::make_heap(best, best + count, before);
  for (auto token = static_cast<int32_t>(count); token < vocab; ++token) {
    if (!before(token, best[0])) continue;
    std::pop_heap(best, best + count, before);
    best[count - 1] = token;
    std::push_heap(best, best + count, before);
  }
  std::sort_heap(best, best + count, before);
}

bool is_allowed(const Draw& row, int64_t token) {
  return row.allowed == nullptr || (row.allowed[token / 32] >> (token % 32) & 1) != 0;
}

// Copies the logits without NaN and with the row's adjustments.
void adjust(const Draw& row, const float* logits, int64_t vocab, float* changed) {
  for (int64_t i = 0; i < vocab; ++i) changed[i] = without_nan(logits[i]);
  for (int32_t i = 0; i < row.num_adjustments; ++i) {
    const LogitAdjustment& adjustment = row.adjustments[i];
    DS_CHECK(adjustment.token >= 0 && adjustment.token < vocab);
    float& logit = changed[adjustment.token];
    logit = logit > 0 ? logit / adjustment.factor : logit * adjustment.factor;
    logit = std::min(without_nan(logit + adjustment.add), std::numeric_limits<float>::max());
  }
}

// Returns the logits that the draw uses: the model's own if the row changes none, otherwise a copy
// in `changed`, without NaN and with -infinity for tokens that may not be drawn.
const float* drawn_logits(const Draw& row, const float* logits, int64_t vocab, float* changed) {
  if (row.num_adjustments == 0 && row.allowed == nullptr) return logits;
  adjust(row, logits, vocab, changed);
  if (row.allowed == nullptr) return changed;
  for (int64_t begin = 0; begin < vocab; begin += 32) {
    if (row.allowed[begin / 32] == ~uint32_t{0}) continue;
    for (int64_t i = begin; i < std::min(begin + 32, vocab); ++i) {
      if (!is_allowed(row, i)) changed[i] = -kInfinity;
    }
  }
  return changed;
}

// Returns the most likely allowed token. It checks the mask too: if all logits are -infinity, they
// do not show which tokens may be drawn.
int32_t greedy(const Draw& row, const float* logits, int64_t vocab) {
  int32_t best = -1;
  for (int32_t token = 0; token < vocab; ++token) {
    if (!is_allowed(row, token)) continue;
    if (best < 0 || without_nan(logits[token]) > without_nan(logits[best])) best = token;
  }
  DS_CHECK(best >= 0);
  return best;
}

// Computes weights relative to the most likely token, whose own is 1, and returns their sum.
// `weights` may be `logits`.
double weigh(const float* logits, float max, float temperature, int64_t vocab, float* weights) {
  exp_row(logits, max, 1 / temperature, vocab, weights);
  double total = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    if (std::isnan(logits[i])) weights[i] = 0;
    total += weights[i];
  }
  return total;
}

// Finds the candidates that top_k and top_p may keep, the most likely first, and returns how many
// remain. Their weights are in the scratch memory, too.
int64_t cut_candidates(const Draw& row, const float* logits, int64_t vocab, float max,
                       const SampleScratch& scratch) {
  const bool limited = row.top_k > 0 && row.top_k < vocab;
  const int64_t most = limited ? row.top_k : vocab;
  // The number of tokens that top_p needs is not known in advance, so each round takes more of the
  // most likely.
  for (int64_t count = limited ? most : std::min<int64_t>(most, 256);;
       count = std::min(most, count * 8)) {
    // Changed logits are computed again in each round, because the weights overwrite them.
    const float* drawn = drawn_logits(row, logits, vocab, scratch.weights);
    most_likely(drawn, vocab, count, scratch.indices);
    double all = weigh(drawn, max, row.temperature, vocab, scratch.weights);
    if (limited) {
      all = 0;
      for (int64_t i = 0; i < count; ++i) all += scratch.weights[scratch.indices[i]];
    }
    double kept = 0;
    for (int64_t i = 0; i < count; ++i) {
      if (row.top_p < 1 && kept >= static_cast<double>(row.top_p) * all && i > 0) return i;
      kept += scratch.weights[scratch.indices[i]];
    }
    if (count == most) return count;
  }
}

// Draws from weights[order[0..count)] (order null: ids themselves), without those below `least`.
int32_t draw(const float* weights, const int32_t* order, int64_t count, float least,
             double uniform01) {
  double total = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float w = weights[order == nullptr ? i : order[i]];
    if (w >= least) total += w;
  }
  const double threshold = uniform01 * total;
  double sum = 0;
  int32_t last = order == nullptr ? 0 : order[0];
  for (int64_t i = 0; i < count; ++i) {
    const auto token = order == nullptr ? static_cast<int32_t>(i) : order[i];
    const float w = weights[token];
    if (w < least || w <= 0) continue;
    last = token;
    sum += w;
    if (sum > threshold) return token;
  }
  return last;  // because of rounding the threshold was not reached
}

// Gathers the tokens that may be drawn, ascending, in the scratch's indices and their logits in its
// weights; returns how many there are.
int64_t gather_allowed(const Draw& row, const float* logits, int64_t vocab,
                       const SampleScratch& scratch) {
  if (row.num_adjustments > 0) {
    adjust(row, logits, vocab, scratch.weights);
    logits = scratch.weights;  // a write is never ahead of the reads
  }
  int64_t count = 0;
  for (int64_t begin = 0; begin < vocab; begin += 32) {
    uint32_t bits = row.allowed[begin / 32];
    if (vocab - begin < 32) bits &= (uint32_t{1} << (vocab - begin)) - 1;
    if (bits == ~uint32_t{0}) {  // a shortcut for words with all bits set
      for (int64_t i = 0; i < 32; ++i) {
        scratch.indices[count + i] = static_cast<int32_t>(begin + i);
        scratch.weights[count + i] = without_nan(logits[begin + i]);
      }
      count += 32;
      continue;
    }
    for (; bits != 0; bits &= bits - 1) {
      const int64_t token = begin + std::countr_zero(bits);
      scratch.indices[count] = static_cast<int32_t>(token);
      scratch.weights[count++] = without_nan(logits[token]);
    }
  }
  return count;
}

// Draws the same token as from all logits with -infinity for tokens that are not allowed, but only
// spends time on allowed ones. Returns -1 if none of the logits is finite.
int32_t sample_allowed(const Draw& row, const float* logits, int64_t vocab, double uniform01,
                       const SampleScratch& scratch) {
  const int64_t count = gather_allowed(row, logits, vocab, scratch);
  const float max = largest_of(scratch.weights, count);
  if (!std::isfinite(max)) return -1;
  weigh(scratch.weights, max, row.temperature, count, scratch.weights);
  return scratch.indices[draw(scratch.weights, nullptr, count, row.min_p, uniform01)];
}

// Draws a token. `max` is the largest of `logits`.
int32_t sample(const Draw& row, const float* logits, int64_t vocab, float max,
               const SampleScratch& scratch) {
  const double u = uniform(philox(row.seed, row.position, row.choice));
  // A temperature so small that its inverse is not finite counts as 0.
  const bool warm = row.temperature > 0 && std::isfinite(1 / row.temperature);
  const bool whole = (row.top_k <= 0 || row.top_k >= vocab) && row.top_p >= 1;
  if (row.allowed != nullptr && warm && whole) {
    const int32_t token = sample_allowed(row, logits, vocab, u, scratch);
    if (token >= 0) return token;
  }
  const float* drawn = drawn_logits(row, logits, vocab, scratch.weights);
  if (drawn != logits) max = largest_of(drawn, vocab);
  if (!std::isfinite(max)) return greedy(row, drawn, vocab);
  if (!warm) return static_cast<int32_t>(std::find(drawn, drawn + vocab, max) - drawn);
  if (whole) {
    weigh(drawn, max, row.temperature, vocab, scratch.weights);
    return draw(scratch.weights, nullptr, vocab, row.min_p, u);
  }
  const int64_t kept = cut_candidates(row, logits, vocab, max, scratch);
  return draw(scratch.weights, scratch.indices, kept, row.min_p, u);
}

}  // namespace

DrawResult evaluate_row(const Draw& row, const float* logits, int64_t vocab,
                        const SampleScratch& scratch) {
  DrawResult result;
  float max = 0;
  const double normaliser = log_sum_exp(logits, vocab, &max);
  const auto logprob = [&](int32_t token) {
    return static_cast<float>(static_cast<double>(without_nan(logits[token])) - normaliser);
  };
  if (!std::isfinite(max)) {
    // The logits are not finite, so there is no distribution. Report a logprob that is not finite
    // and draw the argmax.
    if (row.sample) {
      result.token = greedy(row, drawn_logits(row, logits, vocab, scratch.weights), vocab);
    }
    result.logprob = result.target_logprob = -kInfinity;
    return result;
  }
  if (row.sample) {
    result.token = sample(row, logits, vocab, max, scratch);
    result.logprob = logprob(result.token);
  }
  if (row.target >= 0) result.target_logprob = logprob(row.target);
  if (row.num_top > 0) {
    result.num_top = static_cast<int32_t>(std::min<int64_t>(row.num_top, vocab));
    most_likely(logits, vocab, result.num_top, scratch.indices);
    for (int32_t i = 0; i < result.num_top; ++i) {
      result.top_tokens[i] = scratch.indices[i];
      result.top_logprobs[i] = logprob(scratch.indices[i]);
    }
  }
  return result;
}

}  // namespace deltaserve::cpu
