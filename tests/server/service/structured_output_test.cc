// Forms of answers and the grammars that are kept for them.
#include "server/service/structured_output.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

#include "engine/grammar/grammar_cache.h"
#include "tests/server/service/chat_model.h"

namespace deltaserve {
namespace {

using Kind = StructuredOutput::Kind;

// A model with an empty cache.
ServedModel model_with(GrammarCacheLimits limits) {
  ServedModel model = test_chat_model().served;
  model.eos_token_ids = {2};
  auto table = std::make_shared<const TokenTable>(model.tokenizer->vocabulary(), 4096);
  model.grammars = std::make_shared<GrammarCache>(std::move(table), limits);
  return model;
}

constexpr GrammarCacheLimits kRoomy{64, 64 << 20, 64 << 20};

StructuredOutput schema(const char* text) {
  StructuredOutput output;
  output.kind = Kind::kJsonSchema;
  output.schema = boost::json::parse(text);
  return output;
}

StructuredOutput form(Kind kind, std::string text, std::vector<std::string> choices = {}) {
  StructuredOutput output;
  output.kind = kind;
  output.param = "structured_outputs";
  output.text = std::move(text);
  output.choices = std::move(choices);
  return output;
}

absl::StatusOr<std::unique_ptr<TokenConstraint>> constraint_for(const StructuredOutput& output,
                                                                const ServedModel& model) {
  return make_constraint_for(&output, nullptr, model);
}

// Whether the model had the grammar already.
bool is_kept(const ServedModel& model, const StructuredOutput& output) {
  const uint64_t hits = model.grammars->stats().hits;
  const auto constraint = constraint_for(output, model);
  EXPECT_TRUE(constraint.ok()) << constraint.status();
  return model.grammars->stats().hits > hits;
}

TEST(StructuredOutput, EqualFormsShareAGrammar) {
  const ServedModel model = model_with(kRoomy);
  const char* const kSchema = R"({"properties":{"a":{"type":"null"},"b":{"const":1}}})";
  const std::vector<StructuredOutput> forms = {
      form(Kind::kJsonObject, ""),
      schema(kSchema),
      // Other documents, or the same ones in another order: properties come as they are listed.
      schema(R"({"properties":{"b":{"const":1},"a":{"type":"null"}}})"),
      schema(R"({"properties":{"a":{"type":"null"},"b":{"const":"1"}}})"),
      form(Kind::kRegex, "a"),
      form(Kind::kRegex, "b"),
      form(Kind::kGrammar, "root ::= \"a\""),
      form(Kind::kChoice, "", {"a", "b"}),
      form(Kind::kChoice, "", {"b", "a"}),
      form(Kind::kChoice, "", {"a 1:b"}),
      form(Kind::kChoice, "", {"a", "1:b"}),
  };
  for (const StructuredOutput& one : forms) EXPECT_FALSE(is_kept(model, one));
  for (const StructuredOutput& one : forms) EXPECT_TRUE(is_kept(model, one));
  EXPECT_TRUE(is_kept(model, schema(R"( { "properties" : {"a": {"type":"null"}, "b":
                                        { "const" : 1 } } } )")));
}

// The engine's thread finds the first mask made.
TEST(StructuredOutput, TheFirstMaskIsMadeAtOnce) {
  const ServedModel model = model_with(kRoomy);
  ASSERT_FALSE(is_kept(model, form(Kind::kRegex, "[a-z]*")));
  const size_t bytes = model.grammars->stats().bytes;
  auto constraint = constraint_for(form(Kind::kRegex, "[a-z]*"), model);
  ASSERT_TRUE(constraint.ok());
  std::vector<uint32_t> words(4096 / 32);
  (*constraint)->allowed(words);
  EXPECT_EQ(model.grammars->stats().bytes, bytes);
}

TEST(StructuredOutput, ErrorsNameTheParameter) {
  const ServedModel model = model_with(kRoomy);
  const auto wrong = constraint_for(form(Kind::kRegex, "(a"), model).status();
  EXPECT_TRUE(absl::IsInvalidArgument(wrong));
  EXPECT_EQ(wrong.message().find("structured_outputs: "), 0u) << wrong;
  const ServedModel full = model_with({64, 64 << 20, 100});
  EXPECT_TRUE(absl::IsUnavailable(constraint_for(form(Kind::kRegex, "a"), full).status()));
  ServedModel bare = test_chat_model().served;
  EXPECT_TRUE(absl::IsInvalidArgument(constraint_for(form(Kind::kRegex, "a"), bare).status()));
}

}  // namespace
}  // namespace deltaserve
