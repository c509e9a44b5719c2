// Helpers for tests of constrained decoding: vocabularies, reading a text byte by byte, errors.
#pragma once
#include <boost/json/value.hpp>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/grammar.h"

namespace deltaserve {

using CompiledOr = absl::StatusOr<std::shared_ptr<const CompiledGrammar>>;

// Token 0 is the end token, token 1 + b is byte b, and the `extra` tokens follow.
inline constexpr int32_t kTestEnd = 0;
std::vector<std::string> test_tokens(const std::vector<std::string>& extra = {});
std::shared_ptr<const TokenTable> table_of(const std::vector<std::string>& tokens);
// Returns `count` tokens made of two to five pieces of JSON and words.
std::vector<std::string> random_tokens(size_t count, std::mt19937* random);

// A constraint and the words of its mask.
class Walk {
 public:
  Walk(const CompiledOr& grammar, std::shared_ptr<const TokenTable> table);
  Walk(const Walk& other);

  bool allowed(int32_t token) const;
  std::vector<int32_t> allowed_tokens() const;
  void accept(int32_t token);
  // Reads the bytes one by one; stops and returns false at the first that is not allowed.
  bool read(std::string_view bytes);
  bool may_end() const { return allowed(kTestEnd); }
  bool finished() const { return constraint_->finished(); }

 private:
  void refresh();

  std::shared_ptr<const TokenTable> table_;
  std::unique_ptr<TokenConstraint> constraint_;
  std::vector<uint32_t> words_;
};

// Returns true if `text` is in the language.
bool matches(const CompiledOr& grammar, std::string_view text);
// Returns true if some text of the language begins with `text`.
bool matches_prefix(const CompiledOr& grammar, std::string_view text);
// Returns the message of an error, which must be INVALID_ARGUMENT; "" if there is none.
std::string error_of(const CompiledOr& grammar);

// Parses JSON of any depth.
boost::json::value parsed(std::string_view json);
CompiledOr schema(std::string_view json);

}  // namespace deltaserve
