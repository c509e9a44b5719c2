#include "kernels/cuda/draw/draw.h"

#include "kernels/base/check.h"
#include "kernels/cuda/draw/ranking.h"

namespace deltaserve::cuda {
namespace logits_head {
namespace {

// The first pass of a draw: the candidates' weights, and the mass of the model's own softmax.
struct FirstItems {
  RowItems items;
  const float* logits;
  float max;     // of logits
  double* mass;  // += e^{logit - max} of this lane's tokens

  DS_DEVICE double lane_sum(int begin, int end) const {
    const Candidates own = {logits, nullptr, 0, max};
    double sum = 0;
    each_value<8>(items.from.values, begin + simt::lane_index(), end, simt::kWarp,
                  [&](int token, float raw) {
                    sum += items.item_weight(token, raw);
                    const float logit = items.from.values == logits ? raw : logits[token];
                    *mass += own.weight(without_nan(logit));
                  });
    return sum;
  }
};

// A block does one row of an EvaluateCall.
class RowEvaluation {
 public:
  DS_DEVICE RowEvaluation(const EvaluateCall& call, int row, DrawShared& shared, uint64_t* list)
      : call_(call),
        row_(call.rows[row]),
        logits_(call.logits + row * call.logits_stride),
        changed_(call.scratch + row * call.vocab),
        vocab_(static_cast<int>(call.vocab)),
        shared_(shared),
        list_(list) {}

  DS_DEVICE void run(DrawResult* result) {
    find_leaders();
    const float max = value_at(leader_);
    if (!is_finite(max)) {
      // A broken model has no distribution to speak of: certain loss, and the argmax.
      if (simt::thread_index() == 0) {
        store_token(row_.sample ? token_at(drawn_leader_) : -1, result);
        result->logprob = result->target_logprob = minus_infinity();
        result->num_top = 0;
      }
      return clear_top(result, 0);
    }
    double mass[1] = {0};
    const int token = row_.sample ? draw(max, mass) : -1;
    if (!has_mass_) add_mass(max, mass);
    block_sums(mass, shared_);
    const double normaliser = static_cast<double>(max) + log(shared_.totals[0]);
    const int num_top = row_.num_top < vocab_ ? row_.num_top : vocab_;
    if (simt::thread_index() == 0) {
      store_token(token, result);
      result->logprob = token < 0 ? 0.0f : logprob(logits_[token], normaliser);
      result->target_logprob = row_.target < 0 ? 0.0f : logprob(logits_[row_.target], normaliser);
      result->num_top = num_top;
    }
    if (num_top > 0) report_top(max, normaliser, num_top, result);
    clear_top(result, num_top);
  }

 private:
  DS_DEVICE void store_token(int token, DrawResult* result) const {
    result->token = token;
    if (row_.slot >= 0) call_.last_tokens[row_.slot] = token;
  }
  static DS_DEVICE float logprob(float logit, double normaliser) {
    return static_cast<float>(static_cast<double>(without_nan(logit)) - normaliser);
  }

  // The most likely tokens: of the model, and of what may be drawn.
  DS_DEVICE void find_leaders() {
    drawn_ = {row_.num_adjustments > 0 && row_.sample ? changed_ : logits_,
              row_.allowed < 0 || !row_.sample ? nullptr : call_.allowed + row_.allowed, vocab_};
    const bool changed = drawn_.values != logits_;
    uint64_t leaders[2] = {kNoPlace, kNoPlace};
    const auto lead = [&](int which, uint64_t place) {
      leaders[which] = place < leaders[which] ? place : leaders[which];
    };
    each_value<8>(logits_, simt::thread_index(), vocab_, simt::block_threads(),
                  [&](int token, float raw) {
                    const uint64_t place = place_of(without_nan(raw), token);
                    lead(0, place);
                    if (changed) {
                      changed_[token] = raw;
                    } else if (drawn_.may(token)) {
                      lead(1, place);
                    }
                  });
    if (changed) {
      simt::sync_block();
      adjust();
      simt::sync_block();
      each_value<8>(drawn_.values, simt::thread_index(), vocab_, simt::block_threads(),
                    [&](int token, float raw) {
                      if (drawn_.may(token)) lead(1, place_of(without_nan(raw), token));
                    });
    }
    block_least(leaders, shared_);
    leader_ = leaders[0];
    drawn_leader_ = leaders[1];
  }

  DS_DEVICE void adjust() {
    for (int i = simt::thread_index(); i < row_.num_adjustments; i += simt::block_threads()) {
      const LogitAdjustment adjustment = call_.adjustments[row_.adjustments + i];
      float logit = without_nan(logits_[adjustment.token]);
      logit =
          logit > 0 ? logit / adjustment.factor : simt::rounded_product(logit, adjustment.factor);
      logit = without_nan(logit + adjustment.add);
      const float largest = std::numeric_limits<float>::max();
      changed_[adjustment.token] = logit < largest ? logit : largest;
    }
  }

  // Adds the weights that this thread visits; the block's sum is the mass of the softmax.
  DS_DEVICE void add_mass(float max, double (&mass)[1]) const {
    const Candidates own = {logits_, nullptr, vocab_, max};
    each_value<8>(logits_, simt::thread_index(), vocab_, simt::block_threads(),
                  [&](int, float raw) { mass[0] += own.weight(without_nan(raw)); });
  }

  DS_DEVICE int draw(float max, double (&mass)[1]) {
    drawn_.max = value_at(drawn_leader_);
    drawn_.temperature = row_.temperature;
    drawn_.inverse = 1 / row_.temperature;
    // A temperature so small that its inverse is no number any more is as good as 0.
    const bool warm = row_.temperature > 0 && is_finite(drawn_.inverse);
    if (!warm || !is_finite(drawn_.max)) return token_at(drawn_leader_);
    const bool limited = row_.top_k > 0 && row_.top_k < vocab_;
    if (!limited && row_.top_p >= 1) return draw_of_all(max, mass);
    Ranking ranking(drawn_, drawn_leader_, shared_, list_);
    uint64_t end = limited ? ranking.behind_most_likely(row_.top_k) : ranking.all_end();
    if (row_.top_p < 1) end = ranking.at_weight(row_.top_p, true, 0, end) + 1;
    return token_at(ranking.at_weight(row_.uniform, false, row_.min_p, end));
  }

  // Draws in the order of ids; adds up the softmax's mass on the way.
  DS_DEVICE int draw_of_all(float max, double (&mass)[1]) {
    const RowItems items = {drawn_, row_.min_p};
    const Run all = {0, vocab_, 0};
    has_mass_ = true;
    const double total = sum_parts(FirstItems{items, logits_, max, &mass[0]}, all, shared_);
    if (!(total > 0)) return token_at(drawn_leader_);  // min_p is beyond 1
    return locate(items, all, {row_.uniform * total, false}, shared_);
  }

  DS_DEVICE void report_top(float max, double normaliser, int num_top, DrawResult* result) {
    const Candidates own = {logits_, nullptr, vocab_, max, 1, 1, true};
    Ranking ranking(own, leader_, shared_, list_);
    ranking.behind_most_likely(num_top);
    const int i = simt::thread_index();
    if (i >= num_top) return;
    result->top_tokens[i] = token_at(ranking.listed(i));
    result->top_logprobs[i] = logprob(logits_[result->top_tokens[i]], normaliser);
  }

  DS_DEVICE void clear_top(DrawResult* result, int num_top) const {
    const int i = simt::thread_index();
    if (i < num_top || i >= kMaxTopLogprobs) return;
    result->top_tokens[i] = 0;
    result->top_logprobs[i] = 0;
  }

  const EvaluateCall& call_;
  const DeviceDraw& row_;
  const float* logits_;
  float* changed_;  // with the row's adjustments
  int vocab_;
  DrawShared& shared_;
  uint64_t* list_;
  Candidates drawn_;
  uint64_t leader_ = kNoPlace;
  uint64_t drawn_leader_ = kNoPlace;
  bool has_mass_ = false;
};

// grid [rows]
DS_KERNEL void DS_BOUNDS(kMaxDrawThreads, 1) evaluate_kernel(EvaluateCall call) {
  simt::await_launches_before();
  auto* shared = static_cast<DrawShared*>(simt::shared_memory());
  const int row = simt::block_index().x;
  RowEvaluation(call, row, *shared, reinterpret_cast<uint64_t*>(shared + 1))
      .run(call.results + row);
}

// It follows from the vocabulary alone, because the order of sums depends on it.
int block_threads(int64_t vocab) {
  return vocab <= 4096 ? 128 : kMaxDrawThreads;
}

}  // namespace
}  // namespace logits_head

void launch_evaluate(simt::Stream stream, const EvaluateCall& call) {
  DS_CHECK(call.vocab > 0 && call.vocab <= int64_t{1} << 30);
  const int threads = logits_head::block_threads(call.vocab);
  const auto shared_bytes =
      static_cast<int>(sizeof(logits_head::DrawShared) +
                       sizeof(uint64_t) * logits_head::Ranking::list_capacity(threads));
  simt::launch(stream, {call.num_rows, 1, 1}, threads, shared_bytes, logits_head::evaluate_kernel,
               call);
}

}  // namespace deltaserve::cuda
