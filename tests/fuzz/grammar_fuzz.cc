// Fuzzes the sources of constrained decoding. The first byte chooses the kind and options, the last
// ones choose tokens of an accepted grammar: no draw may lead into a dead end, and a token must be
// allowed exactly when its bytes are.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/grammar/grammar.h"
#include "kernels/base/check.h"
#include "models/base/json_numbers.h"

namespace {

using deltaserve::CompiledGrammar;
using deltaserve::TokenConstraint;
using deltaserve::TokenTable;

constexpr size_t kSource = 8192;  // longer sources are only slower
constexpr size_t kDraws = 24;

using CompiledOr = absl::StatusOr<std::shared_ptr<const CompiledGrammar>>;

// Makes a table in which token 0 ends and token 1 + b is byte b.
std::shared_ptr<const TokenTable> make_table() {
  std::vector<std::string> tokens{""};
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* token :
       {"{\"", "\":",  "\",\"", "\"}", "[[", "]]",  "}}", "aa",       "ab",     "a\"", "1,",
        "10",  "true", "null}", "(a",  ")",  "a)b", " a", "\xc3\xa9", "\xa9\"", "\\n", "\\u00"}) {
    tokens.emplace_back(token);
  }
  return std::make_shared<const TokenTable>(deltaserve::Vocabulary(tokens),
                                            static_cast<int32_t>(tokens.size()));
}

CompiledOr compile(uint8_t kind, std::string_view source) {
  switch (kind % 4) {
    case 0: return deltaserve::compile_regex(source);
    case 1: return deltaserve::compile_ebnf(source);
    case 2: {
      std::vector<std::string> choices;
      for (size_t begin = 0; begin <= source.size();) {
        const size_t end = std::min(source.find('\n', begin), source.size());
        choices.emplace_back(source.substr(begin, end - begin));
        begin = end + 1;
      }
      return deltaserve::compile_choice(choices);
    }
    default: {
      const std::optional<boost::json::value> schema = deltaserve::parse_json_exactly(source, 32);
      if (!schema.has_value()) return absl::InvalidArgumentError("no JSON");
      // The options of tools have members in any order and more white space.
      const bool of_tools = kind >= 128;
      return deltaserve::compile_json_schema(
          *schema, nullptr,
          {.space = of_tools ? deltaserve::JsonSpace::kLines : deltaserve::JsonSpace::kCompact,
           .any_order = of_tools,
           .lenient = kind >= 192});
    }
  }
}

using Mask = std::vector<uint32_t>;

Mask mask_of(const TokenConstraint& constraint, const TokenTable& table) {
  Mask words((table.size() + 31) / 32);
  constraint.allowed(words);
  return words;
}

bool has(const Mask& words, int32_t token) {
  return words[token / 32] >> (token % 32) & 1;
}

// Returns true if `bytes` may come one by one, read by a copy of `constraint`.
bool readable(const TokenConstraint& constraint, const TokenTable& table, std::string_view bytes) {
  const std::unique_ptr<TokenConstraint> copy = constraint.clone();
  for (const char c : bytes) {
    const int32_t token = 1 + static_cast<uint8_t>(c);
    if (!has(mask_of(*copy, table), token)) return false;
    copy->accept(token);
  }
  return true;
}

void draw(const std::shared_ptr<const CompiledGrammar>& grammar, std::string_view draws) {
  static const std::shared_ptr<const TokenTable> table = make_table();
  auto made = deltaserve::make_constraint(grammar, table, {0});
  DS_CHECK(made.ok());
  TokenConstraint& constraint = **made;
  for (const char choice : draws) {
    if (constraint.finished()) return;
    const Mask words = mask_of(constraint, *table);
    std::vector<int32_t> allowed;
    for (int32_t token = 0; token < table->size(); ++token) {
      if (has(words, token)) allowed.push_back(token);
    }
    DS_CHECK(!allowed.empty());
    const int32_t probe = 257 + static_cast<uint8_t>(choice) % (table->size() - 257);
    // A reading that the limit on stacks drops may differ; small texts are far from the limit.
    DS_CHECK(has(words, probe) == readable(constraint, *table, table->bytes(probe)));
    const int32_t token = allowed[static_cast<uint8_t>(choice) % allowed.size()];
    if (token == 0) return;
    constraint.accept(token);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 1 || size > kSource) return 0;
  const std::string_view source(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  const CompiledOr grammar = compile(bytes[0], source);
  if (!grammar.ok()) {
    DS_CHECK(grammar.status().code() == absl::StatusCode::kInvalidArgument);
    DS_CHECK(!grammar.status().message().empty());
    return 0;
  }
  draw(*grammar, source.substr(source.size() - std::min(source.size(), kDraws)));
  return 0;
}
