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
  const std::vector<std::string> tokens{
      "b", "", "abc", "a", "ab", "a", "abd", "\xff", std::string("\0x", 2), "b"};
  const TokenTable table(Vocabulary(tokens), static_cast<int32_t>(tokens.size()));
  EXPECT_EQ(table.size(), 10);
  EXPECT_EQ(table.depth(), 3u);
  EXPECT_EQ(table.sorted_tokens().size(), 9u);
  expect_same_as_vocabulary(table, tokens);
  EXPECT_EQ(table.bytes(2), "abc");
  EXPECT_EQ(table.bytes(1), "");
  EXPECT_EQ(table.bytes(-1), "");
  EXPECT_EQ(table.bytes(10), "");
}

TEST(TokenTable, FindsTokensOfOneByte) {
  const std::vector<std::string> tokens{"b", "", "abc", "a", "b", "\xff"};
  const TokenTable table(Vocabulary(tokens), 6);
  const auto found = table.tokens_of_byte('b');
  EXPECT_EQ(std::vector<int32_t>(found.begin(), found.end()), (std::vector<int32_t>{0, 4}));
  EXPECT_EQ(table.tokens_of_byte(0xff).size(), 1u);
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

TEST(TokenTable, IdsBeyondTheTokenizerAreEmpty) {
  const TokenTable table(Vocabulary({"a"}), 4);
  EXPECT_EQ(table.size(), 4);
  EXPECT_EQ(table.bytes(3), "");
}

}  // namespace
}  // namespace deltaserve
