#include "tests/engine/fake_runner.h"

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

int32_t FakeRunner::hashed_letter(const std::vector<int32_t>& tokens, const Draw& row) {
  uint64_t hash = row.seed * 0x9E3779B97F4A7C15u + row.choice * 31u + row.position;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint64_t>(token)) * 0x100000001B3u;
  return 'a' + static_cast<int32_t>((hash >> 32) % 26);
}

FakeRunner::NextToken FakeRunner::script(std::string_view text, int64_t num_prompt_tokens) {
  return [text = std::string(text), num_prompt_tokens](const auto&, const Draw& row) -> int32_t {
    const size_t index = row.position - static_cast<uint64_t>(num_prompt_tokens);
    return index < text.size() ? static_cast<uint8_t>(text[index]) : kTestEos;
  };
}

FakeRunner::FakeRunner(int max_rows, int max_sequences, NextToken next_token)
    : max_rows_(max_rows), next_token_(std::move(next_token)), slots_(max_sequences) {}

void FakeRunner::check(const StepView& step, const std::vector<Draw>& rows) const {
  EXPECT_GT(step.num_rows, 0);
  EXPECT_LE(step.num_rows, max_rows_);
  EXPECT_LE(step.num_decode, step.num_segments);
  std::set<int32_t> read;
  std::set<int32_t> written;
  int32_t next_row = 0;
  for (int i = 0; i < step.num_segments; ++i) {
    const Segment& segment = step.segments[i];
    EXPECT_EQ(segment.first_row, next_row);
    next_row += segment.num_rows;
    for (const int32_t slot : {segment.read_slot, segment.write_slot}) {
      EXPECT_GE(slot, 0);
      EXPECT_LT(slot, max_sequences());
    }
    EXPECT_TRUE(written.insert(segment.write_slot).second)
        << "slot " << segment.write_slot << " written twice in a step";
    if (segment.position > 0 && segment.read_slot != segment.write_slot) {
      read.insert(segment.read_slot);
    }
    if (i < step.num_decode) {
      EXPECT_EQ(segment.num_rows, 1);
    } else {
      EXPECT_EQ(segment.position % kChunkTokens, 0) << "off the grid";
    }
    if (segment.position != 0) {
      EXPECT_EQ(segment.position, static_cast<int64_t>(slots_[segment.read_slot].size()));
    }
  }
  for (const int32_t slot : read) {
    EXPECT_FALSE(written.contains(slot)) << "slot " << slot << " is another segment's";
  }
  EXPECT_EQ(next_row, step.num_rows);
  EXPECT_LE(rows.size(), static_cast<size_t>(max_rows_));
  int32_t last_row = 0;
  for (const Draw& row : rows) {
    EXPECT_GE(row.row, last_row);
    EXPECT_LT(row.row, step.num_rows);
    EXPECT_TRUE(row.sample || row.target >= 0);
    last_row = row.row;
  }
}

namespace {

int32_t allowed_from(int32_t token, const Draw& row) {
  if (row.allowed == nullptr) return token;
  for (int32_t i = 0; i < kTestVocabSize; ++i) {
    const int32_t next = (token + i) % kTestVocabSize;
    if ((row.allowed[next / 32] >> (next % 32) & 1) != 0) return next;
  }
  ADD_FAILURE() << "a row allows no token";
  return token;
}

}  // namespace

DrawResult FakeRunner::result(const Draw& row, const std::vector<int32_t>& tokens) const {
  DrawResult result;
  if (row.sample) {
    EXPECT_EQ(row.position, tokens.size());
    result.token = allowed_from(next_token_(tokens, row), row);
    result.logprob = -1.0f;
  }
  if (row.target >= 0) result.target_logprob = -static_cast<float>(row.target);
  result.num_top = row.num_top;
  for (int i = 0; i < row.num_top; ++i) {
    result.top_tokens[i] = i;
    result.top_logprobs[i] = -static_cast<float>(i);
  }
  return result;
}

Ticket FakeRunner::submit(const StepView& step, const std::vector<Draw>& rows) {
  check(step, rows);
  pending_.clear();
  size_t head = 0;
  for (int i = 0; i < step.num_segments; ++i) {
    const Segment& segment = step.segments[i];
    std::vector<int32_t>& tokens = slots_[segment.write_slot];
    if (segment.position == 0) {
      tokens.clear();  // a zero state
    } else if (segment.read_slot != segment.write_slot) {
      tokens = slots_[segment.read_slot];
    }
    for (int32_t row = segment.first_row; row < segment.first_row + segment.num_rows; ++row) {
      tokens.push_back(step.token_ids[row]);
      while (head < rows.size() && rows[head].row == row) {
        pending_.push_back(result(rows[head++], tokens));
      }
    }
  }
  Step record{{step.segments, step.segments + step.num_segments}, step.num_decode, 0, {}};
  for (const Draw& row : rows) {
    record.num_draws += row.sample ? 1 : 0;
    record.adjustments.insert(record.adjustments.end(), row.adjustments,
                              row.adjustments + row.num_adjustments);
  }
  std::lock_guard lock(mutex_);
  steps_.push_back(std::move(record));
  return {steps_.size()};
}

void FakeRunner::copy_state(int from, int to) {
  EXPECT_NE(from, to);
  slots_.at(to) = slots_.at(from);
  std::lock_guard lock(mutex_);
  ++num_copies_;
}

void FakeRunner::wait(Ticket, std::vector<DrawResult>* results) {
  std::unique_lock lock(mutex_);
  at_gate_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return !held_; });
  at_gate_ = false;
  *results = pending_;
}

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

int FakeRunner::num_copies() const {
  std::lock_guard lock(mutex_);
  return num_copies_;
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

TokenUpdate read_all(TokenStream& stream) {
  TokenUpdate all;
  while (std::optional<TokenUpdate> next = stream.wait()) {
    all.text += next->text;
    all.tokens.insert(all.tokens.end(), next->tokens.begin(), next->tokens.end());
    all.logprobs.insert(all.logprobs.end(), next->logprobs.begin(), next->logprobs.end());
    all.prompt_logprobs.insert(all.prompt_logprobs.end(), next->prompt_logprobs.begin(),
                               next->prompt_logprobs.end());
    EXPECT_GE(next->prompt_tokens_read, all.prompt_tokens_read);
    EXPECT_GE(next->tokens_generated, all.tokens_generated);
    all.prompt_tokens_read = next->prompt_tokens_read;
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
