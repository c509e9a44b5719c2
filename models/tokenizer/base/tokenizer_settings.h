// Reads the settings in the files beside a tokenizer: tokenizer_config.json,
// special_tokens_map.json, added_tokens.json and the chat templates.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "models/base/limits.h"

namespace deltaserve {

// A token with one fixed text, which is found outside the model of pieces.
struct AddedToken {
  int32_t id = 0;
  std::string text;
  bool special = false;      // it marks structure and has no text when it is generated
  bool strip_left = false;   // it takes the white space before it
  bool strip_right = false;  // it takes the white space after it
  bool whole_word = false;   // it is found between spaces only

  bool operator==(const AddedToken&) const = default;
};

struct TokenizerSettings {
  bool add_bos_token = false;
  // If true, each text between special tokens begins with a space of its own, where the model puts
  // one before a text. If false, only the first one does.
  bool legacy = true;
  // If this and `legacy` are false, not even the first text does.
  bool add_prefix_space = true;
  // The special tokens that have a name: "bos_token", "eos_token", "unk_token", ..., and the names
  // of a model's own ones ("image_token"). Those that the files do not set are not there.
  std::map<std::string, std::string> named_tokens;
  std::vector<std::string> additional_special_tokens;  // those without a name, in the files' order
  std::vector<std::string> special_tokens;             // all of them, sorted and distinct
  std::vector<AddedToken> added_tokens;                // by id
  std::string chat_template;                           // empty = none
  std::string tool_chat_template;    // for chats with tools; empty = as for others
  std::string chat_template_origin;  // the file and key, for messages
  std::string no_chat_template;      // says why there is none although the key is there; or empty

  // The number of ids for which the model has rows. Special tokens without an id get none beyond
  // it, and added tokens of a tokenizer.json beyond it are left out.
  int64_t most_ids = limits::kVocabSize.max;

  // Returns the named and then the other special tokens, as transformers numbers them.
  std::vector<std::string> special_tokens_in_order() const;
  // Returns the text of a named token; empty if there is none.
  std::string named(const std::string& name) const {
    const auto found = named_tokens.find(name);
    return found == named_tokens.end() ? std::string() : found->second;
  }
};

// The texts of the files; empty = there is no such file.
struct TokenizerFiles {
  std::string tokenizer_config;    // tokenizer_config.json
  std::string special_tokens_map;  // special_tokens_map.json
  std::string added_tokens;        // added_tokens.json
  std::string chat_template;       // chat_template.jinja, which wins over the key of that name
  std::string tool_chat_template;  // additional_chat_templates/tool_use.jinja
};

// Reads them as transformers does: tokenizer_config.json wins, unless it has no
// added_tokens_decoder and special_tokens_map.json sets the same token; tokens that neither sets
// have the default of tokenizer_class. From a list of named chat templates the ones called
// "default" and "tool_use" are taken; without "default" there are only chats with tools.
// INVALID_ARGUMENT names file and key.
absl::StatusOr<TokenizerSettings> parse_tokenizer_settings(const TokenizerFiles& files);

}  // namespace deltaserve
