// A StepRunner without a model: the next token is a function of the tokens that a slot has seen, so
// that a mistake in what is fed or copied where changes the text. It checks every step against the
// contract of StepView.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/request.h"
#include "engine/step_runner.h"
#include "engine/token_constraint.h"
#include "engine/token_stream.h"
#include "models/vocabulary.h"

namespace deltaserve {

inline constexpr int32_t kTestEos = 256;
inline constexpr int32_t kTestVocabSize = 257;

// Token t < 256 is the byte t; kTestEos has none.
Vocabulary byte_vocabulary();
std::vector<int32_t> tokens_of(std::string_view bytes);

class FakeRunner final : public StepRunner {
 public:
  // `tokens`: all of the sequence so far. A token that the row does not allow is replaced by the
  // next one that it does.
  using NextToken = std::function<int32_t(const std::vector<int32_t>& tokens, const Draw& row)>;

  // A letter that depends on every token, the seed, the choice and the position.
  static int32_t hashed_letter(const std::vector<int32_t>& tokens, const Draw& row);
  // The tokens of `text`, one for each position after a prompt of `num_prompt_tokens`.
  static NextToken script(std::string_view text, int64_t num_prompt_tokens);

  FakeRunner(int max_rows, int max_sequences, NextToken next_token = hashed_letter);

  int max_rows() const override { return max_rows_; }
  int max_sequences() const override { return static_cast<int>(slots_.size()); }
  int32_t vocab_size() const override { return kTestVocabSize; }
  Ticket submit(const StepView& step, const std::vector<Draw>& rows) override;
  void wait(Ticket ticket, std::vector<DrawResult>* results) override;
  void copy_state(int from, int to) override;

  struct Step {
    std::vector<Segment> segments;
    int num_decode = 0;
    int num_draws = 0;
    std::vector<LogitAdjustment> adjustments;  // of all draws, one after the other
  };

  // While held, no step ends. Any thread.
  void hold();
  void release();
  // Returns when a step stands at the gate.
  void wait_until_held();
  std::vector<Step> steps() const;
  int num_copies() const;

 private:
  void check(const StepView& step, const std::vector<Draw>& rows) const;
  DrawResult result(const Draw& row, const std::vector<int32_t>& tokens) const;

  const int max_rows_;
  const NextToken next_token_;
  std::vector<std::vector<int32_t>> slots_;  // tokens seen
  std::vector<DrawResult> pending_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  bool at_gate_ = false;
  std::vector<Step> steps_;
  int num_copies_ = 0;
};

// A constraint that a table gives: after n tokens those of allowed[n] may come; after the last
// entry it is finished.
class TableConstraint final : public TokenConstraint {
 public:
  explicit TableConstraint(std::vector<std::vector<int32_t>> allowed)
      : allowed_(std::move(allowed)) {}

  void allowed(std::span<uint32_t> words) const override;
  void accept(int32_t token) override;
  bool finished() const override { return num_accepted_ == allowed_.size(); }
  std::unique_ptr<TokenConstraint> clone() const override;

 private:
  std::vector<std::vector<int32_t>> allowed_;
  size_t num_accepted_ = 0;
};

// Reads to the end and merges everything.
TokenUpdate read_all(TokenStream& stream);

}  // namespace deltaserve
