// Tests the trie of tokens.
#include "engine/grammar/token_table.h"

#include <gtest/gtest.h>

#include <string>

namespace deltaserve {
namespace {

// Reads the tokens under each node from the trie alone and compares them with the vocabulary.
void expect_same_as_vocabulary(const TokenTable& table, const std::vector<std::string>& tokens) {
  std::string path;
  size_t found = 0;
  for (uint32_t i = 0; i < table.nodes().size(); ++i) {
    const TokenTable::Node& node = table.nodes()[i];
    ASSERT_GE(node.depth, 1);
    ASSERT_LE(node.depth, path.size() + 1);
    path.resize(node.depth - 1);
    path += static_cast<char>(node.byte);
    ASSERT_GT(node.end, i);
    ASSERT_LE(node.end, table.nodes().size());
    if (node.end < table.nodes().size()) {
      EXPECT_LE(table.nodes()[node.end].depth, node.depth);
    }
    for (uint32_t t = node.first_token; t < node.past_token; ++t, ++found) {
      EXPECT_EQ(tokens[table.sorted_tokens()[t]], path);
    }
  }
  EXPECT_EQ(found, table.sorted_tokens().size());
}

TEST(TokenTable, HoldsAllTokensWithBytes) {
  std::vector<std::string> tokens{
      "b", "", "abc", "a", "ab", "a", "abd", "\xfe", std::string("\0x", 2), "b"};
  const TokenTable table(Vocabulary(tokens), static_cast<int32_t>(tokens.size()));
  EXPECT_EQ(table.size(), 10);
  EXPECT_EQ(table.depth(), control_name(1).size());
  EXPECT_EQ(table.sorted_tokens().size(), 10u);
  tokens[1] = control_name(1);
  expect_same_as_vocabulary(table, tokens);
  EXPECT_EQ(table.bytes(2), "abc");
  EXPECT_EQ(table.bytes(-1), "");
  EXPECT_EQ(table.bytes(10), "");
}

TEST(TokenTable, FindsTokensOfOneByte) {
  const std::vector<std::string> tokens{"b", "", "abc", "a", "b", "\xfe"};
  const TokenTable table(Vocabulary(tokens), 6);
  const auto found = table.tokens_of_byte('b');
  EXPECT_EQ(std::vector<int32_t>(found.begin(), found.end()), (std::vector<int32_t>{0, 4}));
  EXPECT_EQ(table.tokens_of_byte(0xfe).size(), 1u);
  EXPECT_TRUE(table.tokens_of_byte('c').empty());
}

TEST(TokenTable, LeavesOutWhatIsTooLong) {
  const std::vector<std::string> tokens{std::string(TokenTable::kTokenBytes + 1, 'x'),
                                        std::string(TokenTable::kTokenBytes, 'x')};
  const TokenTable table(Vocabulary(tokens), 2);
  EXPECT_EQ(table.bytes(0), "");
  EXPECT_EQ(table.bytes(1).size(), TokenTable::kTokenBytes);
  EXPECT_EQ(table.sorted_tokens().size(), 1u);
}

TEST(TokenTable, NamesTokensWithoutText) {
  const TokenTable table(Vocabulary({"a", "", "\xff", "x\xff"}), 5);
  EXPECT_EQ(table.size(), 5);
  for (const int32_t token : {1, 4}) EXPECT_EQ(table.bytes(token), control_name(token));
  for (const int32_t token : {2, 3, 5}) EXPECT_EQ(table.bytes(token), "");
  EXPECT_NE(control_name(1), control_name(1 + (1 << 18)));
  EXPECT_NE(control_name(1), control_name(64));
}

}  // namespace
}  // namespace deltaserve
