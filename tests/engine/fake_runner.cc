#include "tests/engine/fake_runner.h"

#include <gtest/gtest.h>

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

int32_t FakeRunner::hashed_letter(const std::vector<int32_t>& tokens, const HeadRow& row) {
  uint64_t hash = row.seed * 0x9E3779B97F4A7C15u + row.choice * 31u + row.position;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint64_t>(token)) * 0x100000001B3u;
  return 'a' + static_cast<int32_t>((hash >> 32) % 26);
}

FakeRunner::NextToken FakeRunner::script(std::string_view text, int64_t num_prompt_tokens) {
  return [text = std::string(text), num_prompt_tokens](const auto&, const HeadRow& row) -> int32_t {
    const size_t index = row.position - static_cast<uint64_t>(num_prompt_tokens);
    return index < text.size() ? static_cast<uint8_t>(text[index]) : kTestEos;
  };
}

FakeRunner::FakeRunner(int max_rows, int max_sequences, NextToken next_token)
    : max_rows_(max_rows), next_token_(std::move(next_token)), slots_(max_sequences) {}

void FakeRunner::check(const StepView& step, const std::vector<HeadRow>& rows) const {
  EXPECT_GT(step.num_rows, 0);
  EXPECT_LE(step.num_rows, max_rows_);
  EXPECT_LE(step.num_decode, step.num_segments);
  std::set<int32_t> used;
  int32_t next_row = 0;
  for (int i = 0; i < step.num_segments; ++i) {
    const Segment& segment = step.segments[i];
    EXPECT_EQ(segment.first_row, next_row);
    next_row += segment.num_rows;
    EXPECT_GE(segment.slot, 0);
    EXPECT_LT(segment.slot, max_sequences());
    EXPECT_TRUE(used.insert(segment.slot).second) << "slot " << segment.slot << " twice in a step";
    if (i < step.num_decode) {
      EXPECT_EQ(segment.num_rows, 1);
    } else {
      EXPECT_EQ(segment.position % kChunkTokens, 0) << "off the grid";
    }
    if (segment.position != 0) {
      EXPECT_EQ(segment.position, static_cast<int64_t>(slots_[segment.slot].size()));
    }
  }
  EXPECT_EQ(next_row, step.num_rows);
  int32_t last_row = -1;
  for (const HeadRow& row : rows) {
    EXPECT_GT(row.row, last_row);
    EXPECT_LT(row.row, step.num_rows);
    EXPECT_TRUE(row.sample || row.target >= 0);
    last_row = row.row;
  }
}

HeadResult FakeRunner::result(const HeadRow& row, const std::vector<int32_t>& tokens) const {
  HeadResult result;
  if (row.sample) {
    EXPECT_EQ(row.position, tokens.size());
    result.token = next_token_(tokens, row);
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

Ticket FakeRunner::submit(const StepView& step, const std::vector<HeadRow>& rows) {
  check(step, rows);
  pending_.clear();
  size_t head = 0;
  for (int i = 0; i < step.num_segments; ++i) {
    const Segment& segment = step.segments[i];
    std::vector<int32_t>& tokens = slots_[segment.slot];
    if (segment.position == 0) tokens.clear();  // a zero state
    for (int32_t row = segment.first_row; row < segment.first_row + segment.num_rows; ++row) {
      tokens.push_back(step.token_ids[row]);
      if (head < rows.size() && rows[head].row == row) {
        pending_.push_back(result(rows[head++], tokens));
      }
    }
  }
  std::lock_guard lock(mutex_);
  steps_.push_back({{step.segments, step.segments + step.num_segments}, step.num_decode});
  return {steps_.size()};
}

void FakeRunner::wait(Ticket, std::vector<HeadResult>* results) {
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
  }
  return all;
}

}  // namespace deltaserve
