// The added tokens of tokenizer.json, which are cut out of a text before anything else is done.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "models/tokenizer/json/byte_trie.h"
#include "models/tokenizer/json/normalizer.h"
#include "models/tokenizer/json/part_reader.h"
#include "models/tokenizer/json/piece_model.h"

namespace deltaserve::tokenizer_json {

struct AddedToken {
  std::string content;
  std::string shown;  // the text to which it decodes: the content, normalised if the token is
                      // normalized
  int32_t id = 0;
  bool single_word = false;  // no word character may be beside it
  bool strips_left = false;  // takes the white space before it
  bool strips_right = false;
  bool normalized = false;  // is searched for in normalised text
  bool special = false;     // left out of decoded text on request
};

class AddedTokens {
 public:
  // Reads the list of a file; errors go to the reader's status. A token in the model's vocabulary
  // gets the id that it has there. All others are numbered from the number of entries on, even if
  // the file has other ids. Tokens with ids of `most_ids` or more are left out with a warning.
  static AddedTokens read(PartReader* file, const PieceModel& model, int64_t most_ids);

  // Adds the names that are not in the list as special tokens, in the same way and without a
  // warning. Transformers does so with the special tokens of tokenizer_config.json.
  void add_special(const std::vector<std::string>& names, const PieceModel& model,
                   int64_t most_ids);

  // Ends loading: `normalizer` (may be null) changes the contents of normalized tokens.
  absl::Status finish(const Normalizer& normalizer);

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  // Returns null if no added token has the id or content.
  const AddedToken* with_id(int32_t id) const;
  const AddedToken* with_content(std::string_view content) const;
  // Returns a sentence if the file's ids differ from the ids that are used, and one for each token
  // that is left out.
  const std::vector<std::string>& warnings() const { return warnings_; }

  enum class Pass : uint8_t {
    kRaw,         // tokens that are not normalized
    kNormalized,  // tokens that are
    kTemplate,    // those of kRaw and every control token, in text that is not normalised yet
  };
  // Says whether a token may be found at text[begin, end).
  using Allows = absl::FunctionRef<bool(const AddedToken& token, size_t begin, size_t end)>;
  // Takes text[begin, end) and the token that it is, or null.
  using Take = absl::FunctionRef<absl::Status(size_t begin, size_t end, const AddedToken* token)>;
  // Finds the tokens of a pass: the leftmost one and, of several there, the longest that is
  // allowed.
  absl::Status split(std::string_view text, Pass pass, Allows allows, Take take) const;

  // Returns the place in an incomplete text up to which later text cannot change the result of
  // split().
  size_t settled(std::string_view text, Pass pass) const;

  // Makes the tokens with one of the names special, and marks those that untrusted text must not
  // become: special tokens, and tokens that look like a marker ("<think>").
  void mark_special(const std::vector<std::string>& names);
  bool is_control(const AddedToken& token) const;

 private:
  // Returns the id of a token that is added now, and counts it.
  int64_t take_id(const std::string& content, const PieceModel& model);
  void index_tokens();
  size_t find(const ByteTrie& trie, std::string_view text, size_t begin, Allows allows,
              size_t* end) const;

  std::vector<AddedToken> tokens_;  // special ones first
  std::vector<bool> control_;       // by index in tokens_
  absl::flat_hash_map<std::string, size_t> by_content_;
  absl::flat_hash_map<int32_t, size_t> by_id_;
  const ByteTrie& trie_of(Pass pass) const;

  ByteTrie raw_;
  ByteTrie normalized_;
  ByteTrie template_;
  size_t reach_ = 0;  // bytes of the longest content
  bool some_strip_left_ = false;
  int64_t highest_ = -1;  // of the ids so far
  bool ids_differ_ = false;
  std::vector<std::string> warnings_;
};

}  // namespace deltaserve::tokenizer_json
