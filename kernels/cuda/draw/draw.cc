#include "kernels/cuda/draw/draw.h"

#include "kernels/base/check.h"
#include "kernels/cuda/draw/parts.h"
#include "kernels/cuda/draw/ranking.h"

namespace deltaserve::cuda {
namespace logits_head {
namespace {

// A block does one row of an EvaluateCall.
class RowEvaluation {
 public:
  DS_DEVICE RowEvaluation(const EvaluateCall& call, int row, DrawShared& shared, uint64_t* list)
      : call_(call),
        row_(call.rows[row]),
        logits_(call.logits + row * call.logits_stride),
        changed_(call.scratch + row * call.vocab),
        parts_(call.parts + row * num_parts(call.vocab)),
        vocab_(static_cast<int>(call.vocab)),
        shared_(shared),
        list_(list) {}

  DS_DEVICE void run(DrawResult* result) {
    find_leaders();
    const float max = value_at(leader_);
    if (!is_finite(max)) {
      // If logits are not finite, there is no distribution: report a logprob that is not finite,
      // and draw the argmax.
      if (simt::thread_index() == 0) {
        store_token(row_.sample ? token_at(drawn_leader_) : -1, result);
        result->logprob = result->target_logprob = minus_infinity();
        result->num_top = 0;
      }
      return clear_top(result, 0);
    }
    const int token = row_.sample ? draw() : -1;
    const double mass = sum_parts(part_items(false, max, 1), all_parts(), shared_);
    const double normaliser = static_cast<double>(max) + log(mass);
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

  // Finds the most likely token of all, and the most likely one that may be drawn.
  DS_DEVICE void find_leaders() {
    drawn_ = {row_.num_adjustments > 0 && row_.sample ? changed_ : logits_,
              row_.allowed < 0 || !row_.sample ? nullptr : call_.allowed + row_.allowed, vocab_};
    const bool changed = drawn_.values != logits_;
    uint64_t leaders[2] = {kNoPlace, kNoPlace};
    const auto lead = [&](int which, uint64_t place) {
      leaders[which] = place < leaders[which] ? place : leaders[which];
    };
    for (int i = simt::thread_index(); i < all_parts().end; i += simt::block_threads()) {
      lead(0, parts_[i].leader);
    }
    if (changed) copy_and_adjust();
    if (changed || drawn_.allowed != nullptr) {
      each_value<8>(drawn_.values, simt::thread_index(), vocab_, simt::block_threads(),
                    [&](int token, float raw) {
                      if (drawn_.may(token)) lead(1, place_of(without_nan(raw), token));
                    });
    } else {
      leaders[1] = leaders[0];
    }
    block_least(leaders, shared_);
    leader_ = leaders[0];
    drawn_leader_ = leaders[1];
  }

  DS_DEVICE void copy_and_adjust() {
    each_value<8>(logits_, simt::thread_index(), vocab_, simt::block_threads(),
                  [&](int token, float raw) { changed_[token] = raw; });
    simt::sync_block();
    adjust();
    simt::sync_block();
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

  DS_DEVICE Run all_parts() const { return {0, static_cast<int>(num_parts(vocab_)), 0}; }
  DS_DEVICE PartItems part_items(bool weighs, float max, float temperature) const {
    return {parts_, {logits_, nullptr, vocab_, max, temperature, 1 / temperature}, weighs};
  }

  DS_DEVICE int draw() {
    drawn_.max = value_at(drawn_leader_);
    drawn_.temperature = row_.temperature;
    drawn_.inverse = 1 / row_.temperature;
    if (!is_warm(row_.temperature) || !is_finite(drawn_.max)) return token_at(drawn_leader_);
    if (draws_from_parts(row_, vocab_)) return draw_from_parts();
    const bool limited = row_.top_k > 0 && row_.top_k < vocab_;
    if (!limited && row_.top_p >= 1) return draw_of_all();
    Ranking ranking(drawn_, drawn_leader_, shared_, list_);
    uint64_t end = limited ? ranking.behind_most_likely(row_.top_k) : ranking.all_end();
    if (row_.top_p < 1) end = ranking.at_weight(row_.top_p, true, 0, end) + 1;
    return token_at(ranking.at_weight(row_.uniform, false, row_.min_p, end));
  }

  // This function and the next draw in the order of ids.
  DS_DEVICE int draw_from_parts() {
    const PartItems parts = part_items(true, drawn_.max, row_.temperature);
    const double total = sum_parts(parts, all_parts(), shared_);
    const Goal goal = {row_.uniform * total, false};
    const Run part = locate(parts, all_parts(), goal, shared_);
    const int begin = part.begin * kPartTokens;
    const int end = begin + kPartTokens < vocab_ ? begin + kPartTokens : vocab_;
    const RowItems items = {drawn_, 0};
    const Run tokens = {begin, end, part.before};
    sum_parts(items, tokens, shared_);
    return locate(items, tokens, goal, shared_).begin;
  }
  DS_DEVICE int draw_of_all() {
    const RowItems items = {drawn_, row_.min_p};
    const Run all = {0, vocab_, 0};
    const double total = sum_parts(items, all, shared_);
    if (!(total > 0)) return token_at(drawn_leader_);  // min_p is beyond 1
    return locate(items, all, {row_.uniform * total, false}, shared_).begin;
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
  const LogitsPart* parts_;
  int vocab_;
  DrawShared& shared_;
  uint64_t* list_;
  Candidates drawn_;
  uint64_t leader_ = kNoPlace;
  uint64_t drawn_leader_ = kNoPlace;
};

int part_blocks(int64_t vocab) {
  return static_cast<int>((num_parts(vocab) + kBlockParts - 1) / kBlockParts);
}

// grid [rows * blocks]: `blocks` blocks per row
DS_KERNEL void DS_BOUNDS(kPartThreads, 4) parts_kernel(EvaluateCall call, int blocks) {
  simt::await_launches_before();
  const int block = simt::block_index().x;
  const int first = block % blocks * kBlockParts + simt::warp_index() * kWarpParts;
  WarpParts(call, block / blocks, first).run();
  if (simt::thread_index() == 0) ask_for_weights(call, block);
}

// grid [rows]
DS_KERNEL void DS_BOUNDS(kMaxDrawThreads, 1) evaluate_kernel(EvaluateCall call) {
  simt::await_launches_before();
  auto* shared = static_cast<DrawShared*>(simt::shared_memory());
  const int row = simt::block_index().x;
  RowEvaluation(call, row, *shared, reinterpret_cast<uint64_t*>(shared + 1))
      .run(call.results + row);
}

// Depends only on the vocabulary, because the order of sums depends on the number of threads.
int block_threads(int64_t vocab) {
  return vocab <= 4096 ? 128 : kMaxDrawThreads;
}

}  // namespace
}  // namespace logits_head

void launch_evaluate(simt::Stream stream, const EvaluateCall& call) {
  DS_CHECK(call.vocab > 0 && call.vocab <= int64_t{1} << 30);
  const int blocks = logits_head::part_blocks(call.vocab);
  simt::launch(stream, {call.num_rows * blocks, 1, 1}, logits_head::kPartThreads, 0,
               logits_head::parts_kernel, call, blocks);
  const int threads = logits_head::block_threads(call.vocab);
  const auto shared_bytes =
      static_cast<int>(sizeof(logits_head::DrawShared) +
                       sizeof(uint64_t) * logits_head::Ranking::list_capacity(threads));
  simt::launch(stream, {call.num_rows, 1, 1}, threads, shared_bytes, logits_head::evaluate_kernel,
               call);
}

}  // namespace deltaserve::cuda
