#include "tests/engine/grammar/grammar_test_util.h"

#include <gtest/gtest.h>

#include "models/base/json_numbers.h"

namespace deltaserve {

std::vector<std::string> test_tokens(const std::vector<std::string>& extra) {
  std::vector<std::string> tokens{""};
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  tokens.insert(tokens.end(), extra.begin(), extra.end());
  return tokens;
}

std::shared_ptr<const TokenTable> table_of(const std::vector<std::string>& tokens) {
  return std::make_shared<const TokenTable>(Vocabulary(tokens),
                                            static_cast<int32_t>(tokens.size()));
}

std::vector<std::string> random_tokens(size_t count, std::mt19937* random) {
  const std::vector<std::string> pieces{"\"", "{", "}",  "[",  "]", ":",   ",", " ",    "a",
                                        "b",  "c", "1",  "0",  "-", ".",   "e", "true", "null",
                                        "id", "é", "日", "\\", "n", "u00", "(", ")",    "+"};
  std::vector<std::string> tokens;
  while (tokens.size() < count) {
    std::string token;
    const size_t parts = 2 + (*random)() % 4;
    for (size_t i = 0; i < parts; ++i) token += pieces[(*random)() % pieces.size()];
    tokens.push_back(token);
  }
  return tokens;
}

Walk::Walk(const CompiledOr& grammar, std::shared_ptr<const TokenTable> table)
    : table_(std::move(table)), words_((table_->size() + 31) / 32) {
  absl::StatusOr<std::unique_ptr<TokenConstraint>> constraint =
      make_constraint(grammar.value(), table_, {kTestEnd});
  constraint_ = std::move(constraint.value());
  refresh();
}

Walk::Walk(const Walk& other)
    : table_(other.table_), constraint_(other.constraint_->clone()), words_(other.words_) {}

void Walk::refresh() {
  constraint_->allowed(words_);
  bool any = false;
  for (const uint32_t word : words_) any = any || word != 0;
  EXPECT_TRUE(any || constraint_->finished()) << "a dead end";
}

bool Walk::allowed(int32_t token) const {
  return words_[token / 32] >> (token % 32) & 1;
}

std::vector<int32_t> Walk::allowed_tokens() const {
  std::vector<int32_t> tokens;
  for (int32_t token = 0; token < table_->size(); ++token) {
    if (allowed(token)) tokens.push_back(token);
  }
  return tokens;
}

void Walk::accept(int32_t token) {
  constraint_->accept(token);
  refresh();
}

bool Walk::read(std::string_view bytes) {
  for (const char c : bytes) {
    const int32_t token = 1 + static_cast<uint8_t>(c);
    if (!allowed(token)) return false;
    accept(token);
  }
  return true;
}

bool matches(const CompiledOr& grammar, std::string_view text) {
  Walk walk(grammar, table_of(test_tokens()));
  return walk.read(text) && walk.may_end();
}

bool matches_prefix(const CompiledOr& grammar, std::string_view text) {
  return Walk(grammar, table_of(test_tokens())).read(text);
}

std::string error_of(const CompiledOr& grammar) {
  if (grammar.ok()) return "";
  EXPECT_EQ(grammar.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(grammar.status().message());
}

boost::json::value parsed(std::string_view json) {
  constexpr size_t kDepth = 1000;
  std::optional<boost::json::value> value = parse_json_exactly(json, kDepth);
  EXPECT_TRUE(value.has_value()) << json;
  return value.value_or(nullptr);
}

CompiledOr schema(std::string_view json) {
  return compile_json_schema(parsed(json));
}

}  // namespace deltaserve
