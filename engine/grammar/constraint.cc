// The TokenConstraint of a compiled grammar. It keeps the stacks that the tokens so far lead to.
#include <algorithm>

#include "engine/grammar/compiled_grammar.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/stack_walker.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

using grammar::Pushdown;
using grammar::Stack;
using grammar::StackArena;
using grammar::StackWalker;
using grammar::StateMask;

bool has_bit(std::span<const uint32_t> words, int32_t token) {
  const auto word = static_cast<size_t>(token / 32);
  return word < words.size() && (words[word] >> (token % 32) & 1) != 0;
}

void set_bit(std::span<uint32_t> words, int32_t token, bool value) {
  const auto word = static_cast<size_t>(token / 32);
  if (token < 0 || word >= words.size()) return;
  const uint32_t bit = 1u << (token % 32);
  words[word] = value ? words[word] | bit : words[word] & ~bit;
}

class GrammarConstraint : public TokenConstraint {
 public:
  GrammarConstraint(std::shared_ptr<const CompiledGrammar> grammar,
                    std::shared_ptr<const TokenTable> table, std::vector<int32_t> end_tokens)
      : grammar_(std::move(grammar)),
        masks_(grammar_->masks(table)),
        end_tokens_(std::move(end_tokens)),
        walker_(grammar_->pushdown(), &arena_, StackWalker::Keys::kCompare) {
    const Pushdown& pushdown = grammar_->pushdown();
    complete_ = pushdown.accepting(pushdown.start());
    if (pushdown.goes_on(pushdown.start())) {
      stacks_.push_back({pushdown.start(), StackArena::kBottom, 0});
    }
  }

  GrammarConstraint(const GrammarConstraint& other)
      : grammar_(other.grammar_),
        masks_(other.masks_),
        end_tokens_(other.end_tokens_),
        arena_(other.arena_),
        walker_(grammar_->pushdown(), &arena_, StackWalker::Keys::kCompare),
        stacks_(other.stacks_),
        complete_(other.complete_),
        ended_(other.ended_) {}

  void allowed(std::span<uint32_t> words) const override {
    std::fill(words.begin(), words.end(), 0);
    if (finished()) return allow_end(words);
    for (const Stack& stack : stacks_) {
      std::unique_ptr<StateMask> own;
      const uint32_t depth = arena_.depth(stack.parent);
      const StateMask& mask = masks_.mask(stack, depth, &own);
      add_sure_tokens(mask, words);
      if (stack.parent != StackArena::kBottom) add_suffix_tokens(mask, stack.parent, words);
      add_unsure_tokens(mask, stack, words);
    }
    allow_end(words);
  }

  void accept(int32_t token) override {
    const bool ends = std::find(end_tokens_.begin(), end_tokens_.end(), token) != end_tokens_.end();
    const std::string_view bytes = masks_.table().bytes(token);
    StackWalker::Result result;
    if (!ends && !bytes.empty()) {
      for (const Stack& stack : stacks_) walker_.read(stack, bytes, &result);
    }
    ended_ = ended_ || (result.stacks.empty() && !result.complete);
    complete_ = result.complete;
    stacks_ = std::move(result.stacks);
    arena_.compact(grammar_->pushdown(), &stacks_);
  }

  bool finished() const override {
    return ended_ || (complete_ && (stacks_.empty() || end_tokens_.empty()));
  }

  std::unique_ptr<TokenConstraint> clone() const override {
    return std::make_unique<GrammarConstraint>(*this);
  }

 private:
  void add_sure_tokens(const StateMask& mask, std::span<uint32_t> words) const {
    const size_t count = std::min(mask.words.size(), words.size());
    for (size_t i = 0; i < count; ++i) words[i] |= mask.words[i];
    for (const int32_t token : mask.tokens) set_bit(words, token, true);
  }

  void add_suffix_tokens(const StateMask& mask, uint32_t frame, std::span<uint32_t> words) const {
    for (const StateMask::Suffix& suffix : mask.suffixes) {
      const std::span<const int32_t> tokens =
          std::span(mask.suffix_tokens).subspan(suffix.first, suffix.past - suffix.first);
      const auto is_set = [&](int32_t token) { return has_bit(words, token); };
      if (std::all_of(tokens.begin(), tokens.end(), is_set)) continue;
      const StackArena::Mark mark = arena_.mark();
      const bool readable = walker_.read_after(frame, suffix.bytes, nullptr);
      arena_.rewind(mark);
      if (!readable) continue;
      for (const int32_t token : tokens) set_bit(words, token, true);
    }
  }

  void add_unsure_tokens(const StateMask& mask, const Stack& stack,
                         std::span<uint32_t> words) const {
    for (const int32_t token : mask.unsure) {
      if (has_bit(words, token)) continue;
      const StackArena::Mark mark = arena_.mark();
      const bool readable = walker_.read(stack, masks_.table().bytes(token), nullptr);
      arena_.rewind(mark);
      if (readable) set_bit(words, token, true);
    }
  }

  void allow_end(std::span<uint32_t> words) const {
    for (const int32_t token : end_tokens_) set_bit(words, token, complete_ || ended_);
  }

  std::shared_ptr<const CompiledGrammar> grammar_;
  grammar::StateMaskCache& masks_;
  std::vector<int32_t> end_tokens_;
  mutable StackArena arena_;  // allowed() adds entries and removes them again
  mutable StackWalker walker_;
  std::vector<Stack> stacks_;
  bool complete_ = false;  // the answer may end here
  bool ended_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TokenConstraint>> make_constraint(
    std::shared_ptr<const CompiledGrammar> grammar, std::shared_ptr<const TokenTable> table,
    std::vector<int32_t> end_tokens) {
  for (int byte = 0; byte < 256; ++byte) {
    if (!grammar->pushdown().alphabet()[byte]) continue;
    const auto tokens = table->tokens_of_byte(static_cast<uint8_t>(byte));
    const auto is_text = [&](int32_t token) {
      return std::find(end_tokens.begin(), end_tokens.end(), token) == end_tokens.end();
    };
    if (std::none_of(tokens.begin(), tokens.end(), is_text)) {
      const char character = static_cast<char>(byte);
      return invalid_argument("the vocabulary has no token for the byte ",
                              quoted(std::string_view(&character, 1)), " alone");
    }
  }
  return std::make_unique<GrammarConstraint>(std::move(grammar), std::move(table),
                                             std::move(end_tokens));
}

}  // namespace deltaserve
