#include "kernels/cpu/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/rowwise.h"
#include "kernels/random.h"

namespace deltaserve::cpu {
namespace {

// Orders tokens from the most to the least likely.
struct MoreLikely {
  const float* logits;
  float at(int32_t token) const {
    const float logit = logits[token];
    return std::isnan(logit) ? -std::numeric_limits<float>::infinity() : logit;
  }
  bool operator()(int32_t a, int32_t b) const {
    const float x = at(a);
    const float y = at(b);
    return x > y || (x == y && a < b);
  }
};

// The `count` most likely tokens in order, into `best`. One pass over the logits with a heap whose
// worst member turns almost all of them away.
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

// Candidates in order of likelihood, as far as top_k and top_p may reach, and how many they keep.
int64_t cut_candidates(const HeadRow& row, const float* logits, int64_t vocab, double total,
                       const SampleScratch& scratch) {
  const bool limited = row.top_k > 0 && row.top_k < vocab;
  const int64_t most = limited ? row.top_k : vocab;
  // How many tokens top_p needs is not known beforehand: look at ever more of the most likely.
  for (int64_t count = limited ? most : std::min<int64_t>(most, 256);;
       count = std::min(most, count * 8)) {
    most_likely(logits, vocab, count, scratch.indices);
    double all = total;
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

int32_t greedy(const float* logits, int64_t vocab) {
  int32_t best = 0;
  most_likely(logits, vocab, 1, &best);
  return best;
}

// Draws from weights[order[0..count)] (order null: ids themselves), leaving out those under
// `least`.
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
  return last;  // rounding left the threshold at the very end
}

int32_t sample(const HeadRow& row, const float* logits, int64_t vocab, float max,
               const SampleScratch& scratch) {
  if (row.temperature <= 0) return greedy(logits, vocab);
  // Weights relative to the most likely token: its own is 1.
  exp_row(logits, max, 1 / row.temperature, vocab, scratch.weights);
  double total = 0;
  for (int64_t i = 0; i < vocab; ++i) {
    if (std::isnan(logits[i])) scratch.weights[i] = 0;
    total += scratch.weights[i];
  }
  const double u = uniform(philox(row.seed, row.position, row.choice));
  if ((row.top_k <= 0 || row.top_k >= vocab) && row.top_p >= 1) {
    return draw(scratch.weights, nullptr, vocab, row.min_p, u);
  }
  const int64_t kept = cut_candidates(row, logits, vocab, total, scratch);
  return draw(scratch.weights, scratch.indices, kept, row.min_p, u);
}

}  // namespace

HeadResult evaluate_row(const HeadRow& row, const float* logits, int64_t vocab,
                        const SampleScratch& scratch) {
  HeadResult result;
  float max = 0;
  const double normaliser = log_sum_exp(logits, vocab, &max);
  const auto logprob = [&](int32_t token) {
    return static_cast<float>(static_cast<double>(logits[token]) - normaliser);
  };
  if (!std::isfinite(max)) {
    // A broken model: no distribution to speak of. Report it as certain loss, draw the argmax.
    result.token = row.sample ? greedy(logits, vocab) : -1;
    result.logprob = result.target_logprob = -std::numeric_limits<float>::infinity();
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
