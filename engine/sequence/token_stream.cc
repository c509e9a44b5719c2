#include "engine/sequence/token_stream.h"

#include <chrono>
#include <iterator>
#include <utility>

#include "engine/base/limits.h"
#include "kernels/base/check.h"

namespace deltaserve {
namespace {

template <typename T>
void append(std::vector<T>&& from, std::vector<T>* to) {
  to->insert(to->end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

void merge(TokenUpdate&& next, TokenUpdate* into) {
  into->text += next.text;
  append(std::move(next.controls), &into->controls);
  append(std::move(next.tokens), &into->tokens);
  append(std::move(next.logprobs), &into->logprobs);
  append(std::move(next.prompt_logprobs), &into->prompt_logprobs);
  into->prompt_tokens_read = next.prompt_tokens_read;
  into->prompt_tokens_reused = next.prompt_tokens_reused;
  into->tokens_generated = next.tokens_generated;
  into->finish = next.finish;
  into->stop_string = std::move(next.stop_string);
  into->stop_token = next.stop_token;
  into->queue_seconds = next.queue_seconds;
  into->prefill_seconds = next.prefill_seconds;
  into->decode_seconds = next.decode_seconds;
}

bool is_progress_only(const TokenUpdate& update) {
  return update.finish == FinishReason::kNone && update.text.empty() && update.tokens.empty() &&
         update.prompt_logprobs.empty();
}

}  // namespace

TokenStream::TokenStream(size_t capacity, std::function<void()> notify,
                         std::shared_ptr<Doorbell> engine)
    : capacity_(capacity), notify_(std::move(notify)), engine_(std::move(engine)) {}

std::optional<TokenUpdate> TokenStream::take() {
  return take_all(std::unique_lock(mutex_));
}

std::optional<TokenUpdate> TokenStream::wait() {
  std::unique_lock lock(mutex_);
  ready_.wait(lock, [this] { return finished_ || !queue_.empty(); });
  return take_all(std::move(lock));
}

std::optional<TokenUpdate> TokenStream::take_all(std::unique_lock<std::mutex> lock) {
  if (queue_.empty()) return std::nullopt;
  const bool was_full = is_full();
  std::vector<TokenUpdate> taken;
  taken.swap(queue_);
  queue_bytes_ = 0;
  finished_ = taken.back().finish != FinishReason::kNone;
  lock.unlock();
  if (was_full && engine_) engine_->ring();
  TokenUpdate update = std::move(taken.front());
  for (size_t i = 1; i < taken.size(); ++i) merge(std::move(taken[i]), &update);
  return update;
}

void TokenStream::cancel() {
  const bool already = cancelled_.exchange(true, std::memory_order_acq_rel);
  if (!already && engine_) engine_->ring();
}

bool TokenStream::full() const {
  std::lock_guard lock(mutex_);
  return is_full();
}

// Requires mutex_.
bool TokenStream::is_full() const {
  return queue_.size() >= capacity_ || queue_bytes_ >= engine_limits::kStreamBytes;
}

std::optional<SteadyTime> TokenStream::unread_since() const {
  std::lock_guard lock(mutex_);
  return queue_.empty() ? std::nullopt : std::optional(unread_since_);
}

void TokenStream::push(TokenUpdate update) {
  DS_CHECK(!finished_pushed_);
  finished_pushed_ = update.finish != FinishReason::kNone;
  bool was_empty;
  {
    std::lock_guard lock(mutex_);
    was_empty = queue_.empty();
    if (was_empty) unread_since_ = std::chrono::steady_clock::now();
    if (!was_empty && is_progress_only(update)) {
      merge(std::move(update), &queue_.back());
    } else {
      queue_bytes_ += held_bytes(update);
      queue_.push_back(std::move(update));
    }
  }
  if (was_empty) {
    ready_.notify_one();
    if (notify_) notify_();
  }
  if (finished_pushed_) notify_ = nullptr;
}

}  // namespace deltaserve
