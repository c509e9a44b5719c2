#include "tests/engine/sequence/fake_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "kernels/mixer/delta_rule.h"

namespace deltaserve {

Vocabulary byte_vocabulary() {
  std::vector<std::string> bytes;
  for (int i = 0; i < 256; ++i) bytes.emplace_back(1, static_cast<char>(i));
  bytes.emplace_back();  // kTestEos
  return Vocabulary(std::move(bytes));
}

std::vector<int32_t> tokens_of(std::string_view bytes) {
  std::vector<int32_t> tokens;
  for (const char c : bytes) tokens.push_back(static_cast<uint8_t>(c));
  return tokens;
}

int32_t FakeRunner::hashed_letter(const std::vector<int32_t>& tokens, const Draw& draw) {
  uint64_t hash = draw.seed * 0x9E3779B97F4A7C15u + draw.choice * 31u + draw.position;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint64_t>(token)) * 0x100000001B3u;
  return 'a' + static_cast<int32_t>((hash >> 32) % 26);
}

std::vector<float> FakeRunner::hidden_state(std::span<const int32_t> tokens) {
  uint64_t hash = 1;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint64_t>(token)) * 0x100000001B3u;
  std::vector<float> state;
  for (int i = 0; i < 4; ++i)
    state.push_back(static_cast<float>(hash >> (16 * i) & 0xffff) - 32768);
  return state;
}

FakeRunner::NextToken FakeRunner::script(std::string_view text, int64_t num_prompt_tokens) {
  return [text = std::string(text), num_prompt_tokens](const auto&, const Draw& draw) -> int32_t {
    const size_t index = draw.position - static_cast<uint64_t>(num_prompt_tokens);
    return index < text.size() ? static_cast<uint8_t>(text[index]) : kTestEos;
  };
}

FakeRunner::FakeRunner(int steps_ahead, int max_rows, int max_sequences, NextToken next_token,
                       int max_snapshots)
    : steps_ahead_(steps_ahead),
      max_rows_(max_rows),
      max_sequences_(max_sequences),
      next_token_(std::move(next_token)),
      loading_(max_sequences + max_snapshots),
      slots_(max_sequences + max_snapshots),
      slot_writes_(max_sequences + max_snapshots),
      drawn_(max_sequences + max_snapshots) {
  if (steps_ahead_ > 0) thread_ = std::thread([this] { compute(); });
}

FakeRunner::~FakeRunner() {
  EXPECT_TRUE(queued_.empty()) << "a step was not waited for";
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void FakeRunner::set_durations(std::chrono::microseconds forward, std::chrono::microseconds draw) {
  forward_time_ = forward;
  draw_time_ = draw;
}

// ---- The engine's calls

void FakeRunner::check(const deltaserve::Step& step) const {
  EXPECT_LE(queued_.size(), static_cast<size_t>(steps_ahead_)) << "a step too far ahead";
  if (!queued_.empty()) {
    EXPECT_TRUE(queued_.back()->drawn) << "the step before has no draws";
  }
  EXPECT_FALSE(step.tokens.empty());
  EXPECT_LE(step.tokens.count, max_rows_);
  std::set<int32_t> read;
  std::set<int32_t> written;
  int32_t next_row = 0;
  bool prefill = false;
  for (const Segment& segment : step.segments) {
    EXPECT_EQ(segment.first_row, next_row);
    EXPECT_GT(segment.num_rows, 0);
    next_row += segment.num_rows;
    EXPECT_GE(segment.read_slot, 0);
    EXPECT_LT(segment.read_slot, static_cast<int>(slots_.size()));
    EXPECT_GE(segment.write_slot, 0);
    EXPECT_LT(segment.write_slot, max_sequences()) << "a sequence runs in a slot that is kept";
    if (segment.keep_slot >= 0) {
      EXPECT_EQ(segment.kind, RowKind::kPrefill);
      EXPECT_GE(segment.keep_slot, max_sequences()) << "a state is kept in a running slot";
      EXPECT_LT(segment.keep_slot, static_cast<int>(slots_.size()));
      EXPECT_GE(segment.num_rows, kChunkTokens) << "no row ends on the grid";
      EXPECT_TRUE(written.insert(segment.keep_slot).second)
          << "slot " << segment.keep_slot << " written twice in a step";
    }
    EXPECT_TRUE(written.insert(segment.write_slot).second)
        << "slot " << segment.write_slot << " written twice in a step";
    if (segment.position > 0 && segment.read_slot != segment.write_slot) {
      read.insert(segment.read_slot);
    }
    if (segment.kind == RowKind::kDecode) {
      EXPECT_FALSE(prefill) << "decode segments come first";
      EXPECT_EQ(segment.num_rows, 1);
      EXPECT_GT(segment.position, 0);
    } else {
      prefill = true;
      EXPECT_EQ(segment.position % kChunkTokens, 0) << "off the grid";
    }
    for (int32_t row = segment.first_row; row < next_row; ++row) {
      const int32_t token = step.tokens[row];
      if (token == kTokenOfSlot && segment.kind == RowKind::kDecode) continue;
      EXPECT_GE(token, 0);
      EXPECT_LT(token, kTestVocabSize);
    }
  }
  for (const int32_t slot : read) {
    EXPECT_FALSE(written.contains(slot)) << "slot " << slot << " is another segment's";
  }
  EXPECT_EQ(next_row, step.tokens.count);
}

void FakeRunner::check(const Queued& step, std::span<const Draw> draws) const {
  EXPECT_FALSE(step.drawn) << "draws come once";
  EXPECT_EQ(queued_.size(), 1u) << "draws come after the step before was waited for";
  EXPECT_LE(draws.size(), static_cast<size_t>(max_rows_));
  int32_t last_row = 0;
  std::set<int32_t> drawn_for;
  for (const Draw& draw : draws) {
    EXPECT_GE(draw.row, last_row);
    EXPECT_LT(draw.row, static_cast<int32_t>(step.tokens.size()));
    EXPECT_TRUE(draw.sample || draw.target >= 0 || draw.hidden != nullptr);
    if (draw.sample) {
      EXPECT_GE(draw.slot, 0);
      EXPECT_LT(draw.slot, max_sequences());
      EXPECT_TRUE(drawn_for.insert(draw.slot).second) << "two draws for slot " << draw.slot;
    }
    last_row = draw.row;
  }
}

namespace {

// Returns a hash of everything that the draw's pointers refer to.
uint64_t hash_of_pointed_to(const Draw& draw) {
  uint64_t hash = 1;
  const auto add = [&hash](const void* data, size_t size) {
    for (size_t i = 0; i < size; ++i) {
      hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001B3u;
    }
  };
  for (int32_t i = 0; i < draw.num_adjustments; ++i) {
    add(&draw.adjustments[i].token, sizeof(int32_t));
    add(&draw.adjustments[i].factor, sizeof(float));
    add(&draw.adjustments[i].add, sizeof(float));
  }
  if (draw.allowed != nullptr) add(draw.allowed, (kTestVocabSize + 31) / 32 * sizeof(uint32_t));
  return hash;
}

int32_t allowed_from(int32_t token, const Draw& draw) {
  if (draw.allowed == nullptr) return token;
  for (int32_t i = 0; i < kTestVocabSize; ++i) {
    const int32_t next = (token + i) % kTestVocabSize;
    if ((draw.allowed[next / 32] >> (next % 32) & 1) != 0) return next;
  }
  ADD_FAILURE() << "a draw allows no token";
  return token;
}

}  // namespace

void FakeRunner::record(Call::Kind kind, uint64_t step) {
  std::lock_guard lock(mutex_);
  calls_.push_back({kind, step});
}

Ticket FakeRunner::forward(const deltaserve::Step& step) {
  check(step);
  auto queued = std::make_unique<Queued>();
  queued->number = ++num_steps_;
  queued->tokens.assign(step.tokens.begin(), step.tokens.end());
  queued->segments.assign(step.segments.begin(), step.segments.end());
  Step recorded;
  recorded.segments = queued->segments;
  for (const Segment& segment : step.segments) {
    recorded.num_decode += segment.kind == RowKind::kDecode ? 1 : 0;
  }
  recorded.num_tokens_of_slot =
      static_cast<int>(std::count(step.tokens.begin(), step.tokens.end(), kTokenOfSlot));
  {
    std::lock_guard lock(mutex_);
    steps_.push_back(std::move(recorded));
  }
  Queued* const raw = queued.get();
  queued_.push_back(std::move(queued));
  record(Call::kForward, raw->number);
  enqueue([this, raw] { run_forward(raw); });
  return {raw->number, 0};
}

void FakeRunner::draw(Ticket ticket, std::span<const Draw> draws) {
  ASSERT_FALSE(queued_.empty());
  Queued& step = *queued_.back();
  EXPECT_EQ(ticket.step, step.number) << "not the step that was queued last";
  check(step, draws);
  step.draws.assign(draws.begin(), draws.end());
  for (const Draw& draw : draws) step.pointed_to.push_back(hash_of_pointed_to(draw));
  record(Call::kDraw, step.number);
  {
    std::lock_guard lock(mutex_);
    Step& recorded = steps_.at(step.number - 1);
    for (const Draw& draw : draws) {
      recorded.num_draws += draw.sample ? 1 : 0;
      recorded.adjustments.insert(recorded.adjustments.end(), draw.adjustments,
                                  draw.adjustments + draw.num_adjustments);
    }
    step.drawn = true;
    changed_.notify_all();
  }
  enqueue([this, &step] { run_draws(&step); });
}

void FakeRunner::wait(Ticket ticket, std::span<DrawResult> results) {
  ASSERT_FALSE(queued_.empty());
  const std::unique_ptr<Queued> step = std::move(queued_.front());
  queued_.pop_front();
  EXPECT_EQ(ticket.step, step->number) << "not the oldest step";
  EXPECT_TRUE(step->drawn) << "nothing was drawn";
  {
    std::unique_lock lock(mutex_);
    at_gate_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return step->done && !held_; });
    at_gate_ = false;
  }
  for (size_t i = 0; i < step->draws.size(); ++i) {
    EXPECT_EQ(hash_of_pointed_to(step->draws[i]), step->pointed_to[i])
        << "what a draw points to has changed before wait()";
  }
  ASSERT_EQ(results.size(), step->results.size());
  std::copy(step->results.begin(), step->results.end(), results.begin());
  record(Call::kWait, step->number);
}

void FakeRunner::copy_slot(int from, int to) {
  EXPECT_NE(from, to);
  record(Call::kCopy, num_steps_);
  {
    std::lock_guard lock(mutex_);
    ++num_copies_;
  }
  enqueue([this, from, to] { run_copy(from, to); });
}

// A dropped slot loses its contents: a step that read it would find tokens that no test uses.
void FakeRunner::drop_slots(int first, int count) {
  EXPECT_GE(first, max_sequences()) << "the slot of a sequence";
  EXPECT_LE(first + count, static_cast<int>(slots_.size()));
  for (int slot = first; slot < first + count; ++slot) {
    enqueue([this, slot] { slots_.at(slot).assign(slots_.at(slot).size(), -1); });
    std::lock_guard lock(mutex_);
    dropped_.push_back(slot);
  }
}

void FakeRunner::store_slot(int from, int to) {
  enqueue([this, from, to] { host_slots_.at(to) = slots_.at(from); });
}

void FakeRunner::load_slot(int from, int to) {
  loading_.at(to) = loads_slowly_;
  enqueue([this, from, to] {
    slots_.at(to) = host_slots_.at(from);
    drawn_.at(to) = {};
    ++slot_writes_.at(to);
  });
}

// ---- Computation, on its own thread or within the calls

void FakeRunner::enqueue(std::function<void()> work) {
  if (steps_ahead_ == 0) return work();
  std::lock_guard lock(mutex_);
  work_.push_back(std::move(work));
  changed_.notify_all();
}

void FakeRunner::compute() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return closing_ || !work_.empty(); });
    if (work_.empty()) return;
    const std::function<void()> work = std::move(work_.front());
    work_.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
}

void FakeRunner::run_segment(const Queued& step, const Segment& segment) {
  std::vector<int32_t>& tokens = slots_.at(segment.write_slot);
  Drawn& drawn = drawn_.at(segment.write_slot);
  if (segment.position == 0) {
    tokens.clear();  // a zero state
    drawn = {};
  } else {
    EXPECT_EQ(segment.position, static_cast<int64_t>(slots_.at(segment.read_slot).size()));
    if (segment.read_slot != segment.write_slot) {
      tokens = slots_[segment.read_slot];
      drawn = drawn_[segment.read_slot];
    }
  }
  for (int32_t row = segment.first_row; row < segment.first_row + segment.num_rows; ++row) {
    int32_t token = step.tokens[row];
    if (segment.kind == RowKind::kDecode) {
      // This is the token that was drawn for this sequence, whether the engine knows it or not.
      if (token == kTokenOfSlot) token = drawn.token;
      EXPECT_TRUE(token >= 0 && token == drawn.token &&
                  drawn.position == static_cast<uint64_t>(segment.position))
          << "not the token that was drawn: " << token << " for slot " << segment.read_slot;
    }
    tokens.push_back(token);
    if (segment.keep_slot >= 0 && tokens.size() % kChunkTokens == 0) {
      slots_.at(segment.keep_slot) = tokens;
    }
  }
  ++slot_writes_[segment.write_slot];
}

void FakeRunner::run_forward(Queued* step) {
  std::this_thread::sleep_for(forward_time_);
  for (const Segment& segment : step->segments) {
    run_segment(*step, segment);
    step->slot_writes.push_back(slot_writes_[segment.write_slot]);
  }
  if (!forward_until_drawn_) return;
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [&] { return step->drawn; }))
      << "the draws of step " << step->number << " wait for its forward pass";
}

void FakeRunner::run_copy(int from, int to) {
  slots_.at(to) = slots_.at(from);
  drawn_.at(to) = {};
  ++slot_writes_.at(to);
}

DrawResult FakeRunner::result(const Queued& step, const Draw& draw) {
  DrawResult result;
  size_t index = 0;
  while (draw.row >= step.segments[index].first_row + step.segments[index].num_rows) ++index;
  const Segment& segment = step.segments[index];
  if (draw.hidden != nullptr) {
    EXPECT_EQ(slot_writes_[segment.write_slot], step.slot_writes[index]) << "somebody else's slot";
    const std::span<const int32_t> tokens = slots_[segment.write_slot];
    const auto seen = static_cast<size_t>(segment.position + draw.row - segment.first_row + 1);
    const std::vector<float> state = hidden_state(tokens.first(seen));
    std::copy(state.begin(), state.end(), draw.hidden);
  }
  if (draw.sample) {
    EXPECT_EQ(draw.row, segment.first_row + segment.num_rows - 1);
    if (segment.kind == RowKind::kDecode) {
      EXPECT_EQ(draw.slot, segment.write_slot);
    }
    EXPECT_EQ(slot_writes_[segment.write_slot], step.slot_writes[index]) << "somebody else's slot";
    const std::vector<int32_t>& tokens = slots_[segment.write_slot];
    EXPECT_EQ(draw.position, tokens.size());
    result.token = allowed_from(next_token_(tokens, draw), draw);
    result.logprob = -1.0f;
    drawn_[draw.slot] = {result.token, draw.position};
  }
  if (draw.target >= 0) result.target_logprob = -static_cast<float>(draw.target);
  result.num_top = draw.num_top;
  for (int i = 0; i < draw.num_top; ++i) {
    result.top_tokens[i] = i;
    result.top_logprobs[i] = -static_cast<float>(i);
  }
  return result;
}

void FakeRunner::run_draws(Queued* step) {
  std::this_thread::sleep_for(draw_time_);
  for (const Draw& draw : step->draws) step->results.push_back(result(*step, draw));
  std::lock_guard lock(mutex_);
  step->done = true;
  changed_.notify_all();
}

// ---- Tests

void FakeRunner::hold() {
  std::lock_guard lock(mutex_);
  held_ = true;
}

void FakeRunner::release() {
  std::lock_guard lock(mutex_);
  held_ = false;
  changed_.notify_all();
}

void FakeRunner::wait_until_held() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return held_ && at_gate_; });
}

std::vector<FakeRunner::Step> FakeRunner::steps() const {
  std::lock_guard lock(mutex_);
  return steps_;
}

std::vector<FakeRunner::Call> FakeRunner::calls() const {
  std::lock_guard lock(mutex_);
  return calls_;
}

int FakeRunner::num_copies() const {
  std::lock_guard lock(mutex_);
  return num_copies_;
}

std::vector<int> FakeRunner::dropped() const {
  std::lock_guard lock(mutex_);
  return dropped_;
}

void TableConstraint::allowed(std::span<uint32_t> words) const {
  std::fill(words.begin(), words.end(), 0);
  if (finished()) return;
  for (const int32_t token : allowed_[num_accepted_]) words[token / 32] |= 1u << (token % 32);
}

void TableConstraint::accept(int32_t token) {
  ASSERT_FALSE(finished());
  const std::vector<int32_t>& now = allowed_[num_accepted_++];
  EXPECT_NE(std::find(now.begin(), now.end(), token), now.end()) << token;
}

std::unique_ptr<TokenConstraint> TableConstraint::clone() const {
  return std::make_unique<TableConstraint>(*this);
}

TokenUpdate read_all(TokenStream& stream, int cancel_after) {
  TokenUpdate all;
  if (cancel_after == 0) stream.cancel();
  while (std::optional<TokenUpdate> next = stream.wait()) {
    if (--cancel_after == 0) stream.cancel();
    all.text += next->text;
    all.tokens.insert(all.tokens.end(), next->tokens.begin(), next->tokens.end());
    all.logprobs.insert(all.logprobs.end(), next->logprobs.begin(), next->logprobs.end());
    all.prompt_logprobs.insert(all.prompt_logprobs.end(), next->prompt_logprobs.begin(),
                               next->prompt_logprobs.end());
    all.embedding.insert(all.embedding.end(), next->embedding.begin(), next->embedding.end());
    EXPECT_GE(next->prompt_tokens_read, all.prompt_tokens_read);
    EXPECT_GE(next->tokens_generated, all.tokens_generated);
    all.prompt_tokens_read = next->prompt_tokens_read;
    all.prompt_tokens_reused = next->prompt_tokens_reused;
    all.tokens_generated = next->tokens_generated;
    all.finish = next->finish;
    all.stop_string = next->stop_string;
    all.stop_token = next->stop_token;
    all.queue_seconds = next->queue_seconds;
    all.prefill_seconds = next->prefill_seconds;
    all.decode_seconds = next->decode_seconds;
  }
  return all;
}

}  // namespace deltaserve
