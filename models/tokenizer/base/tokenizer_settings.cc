#include "models/tokenizer/base/tokenizer_settings.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>
#include <set>

#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/config_reader.h"
#include "models/checkpoint/json.h"
#include "models/tokenizer/base/tokenizer_class.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr std::string_view kConfigFile = "tokenizer_config.json";
constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                  "pad_token", "cls_token", "mask_token"};

std::string_view view(json::string_view text) {
  return {text.data(), text.size()};
}

// Returns the text of a token, which is a string or an object with a string member `content`;
// nullopt if it is neither.
std::optional<std::string> token_text(const json::value& value) {
  const json::value* text = &value;
  if (value.is_object()) text = value.get_object().if_contains("content");
  if (text == nullptr || !text->is_string()) return std::nullopt;
  return std::string(view(text->get_string()));
}

// Collects the settings of several files, and the first error.
class SettingsReader {
 public:
  absl::Status read_config(const std::string& text);
  absl::Status read_map(const std::string& text);
  absl::Status read_added(const std::string& text);
  // Gives the tokens that no file has set the defaults of the tokenizer's class.
  void add_class_defaults();
  TokenizerSettings take();

 private:
  // Reads the named tokens and the lists of others. `wins` says whether the file replaces what is
  // there.
  void read_tokens(ConfigReader& reader, const json::object& object, bool wins);
  void read_name(ConfigReader& reader, const json::value& value, const std::string& name,
                 bool wins);
  void read_list(ConfigReader& reader, std::string_view key, const json::array& list);
  void read_decoder(ConfigReader& reader, const json::object& decoder);
  void read_templates(ConfigReader& reader, const json::object& object);
  bool is_special(const std::string& text) const;

  TokenizerSettings settings_;
  std::set<std::string, std::less<>> decided_;  // names that a file has set, perhaps to null
  std::map<int32_t, AddedToken> added_;
  bool has_decoder_ = false;
  std::string class_name_;
};

void SettingsReader::read_name(ConfigReader& reader, const json::value& value,
                               const std::string& name, bool wins) {
  if (!wins && decided_.contains(name)) return;
  decided_.insert(name);
  settings_.named_tokens.erase(name);
  if (value.is_null()) return;
  const std::optional<std::string> text = token_text(value);
  if (!text) return reader.fail(name, "is neither a token nor null");
  if (!text->empty()) settings_.named_tokens[name] = *text;
}

void SettingsReader::read_list(ConfigReader& reader, std::string_view key,
                               const json::array& list) {
  std::vector<std::string>& all = settings_.additional_special_tokens;
  for (const json::value& value : list) {
    const std::optional<std::string> text = token_text(value);
    if (!text) return reader.fail(key, "lists something that is no token");
    if (!text->empty() && std::find(all.begin(), all.end(), *text) == all.end()) {
      all.push_back(*text);
    }
  }
}

void SettingsReader::read_tokens(ConfigReader& reader, const json::object& object, bool wins) {
  for (const char* name : kNames) {
    const json::value* value = object.if_contains(name);
    if (value != nullptr) read_name(reader, *value, name, wins);
  }
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const json::value* value = object.if_contains(key);
    if (value == nullptr || value->is_null()) continue;
    if (const json::array* list = value->if_array()) {
      read_list(reader, key, *list);
    } else if (const json::object* named = value->if_object()) {
      for (const auto& member : *named) {
        read_name(reader, member.value(), std::string(view(member.key())), wins);
      }
    } else {
      reader.fail(key, "must be a list or an object of tokens");
    }
  }
}

bool flag(const json::object& object, const char* name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_bool() && value->get_bool();
}

void SettingsReader::read_decoder(ConfigReader& reader, const json::object& decoder) {
  has_decoder_ = true;
  for (const auto& member : decoder) {
    const std::string_view key = view(member.key());
    const std::string place = str_cat("added_tokens_decoder: ", quoted(key));
    AddedToken token;
    const auto end = std::from_chars(key.data(), key.data() + key.size(), token.id);
    const bool is_id = end.ec == std::errc() && end.ptr == key.data() + key.size();
    if (!is_id || token.id < 0 || token.id >= limits::kVocabSize.max) {
      return reader.fail(place, str_cat("must be an id from 0 to ", limits::kVocabSize.max - 1));
    }
    const json::object* object = member.value().if_object();
    const std::optional<std::string> text = token_text(member.value());
    if (object == nullptr || !text) return reader.fail(place, "must be an object with a content");
    if (text->empty()) continue;
    token.text = *text;
    token.special = flag(*object, "special");
    token.strip_left = flag(*object, "lstrip");
    token.strip_right = flag(*object, "rstrip");
    token.whole_word = flag(*object, "single_word");
    added_[token.id] = std::move(token);
  }
}

// Reads a string, or a list of {"name", "template"}.
void SettingsReader::read_templates(ConfigReader& reader, const json::object& object) {
  constexpr const char* kKey = "chat_template";
  settings_.chat_template_origin = str_cat(kConfigFile, ": ", kKey);
  const json::value* value = object.if_contains(kKey);
  if (value == nullptr || value->is_null()) return;
  if (!value->is_array()) {
    settings_.chat_template = reader.word(kKey, "");
    return;
  }
  bool has_default = false;
  for (const json::value& entry : value->get_array()) {
    const json::object* named = entry.if_object();
    const json::value* name = named == nullptr ? nullptr : named->if_contains("name");
    const json::value* text = named == nullptr ? nullptr : named->if_contains("template");
    if (name == nullptr || text == nullptr || !name->is_string() || !text->is_string()) {
      return reader.fail(kKey, "is a list with an entry that has no name and template");
    }
    has_default = has_default || name->get_string() == "default";
    if (name->get_string() == "default") settings_.chat_template = view(text->get_string());
    if (name->get_string() == "tool_use") settings_.tool_chat_template = view(text->get_string());
  }
  if (!has_default) {
    settings_.no_chat_template =
        str_cat(settings_.chat_template_origin, " is a list without an entry named 'default'");
  }
}

absl::Status SettingsReader::read_config(const std::string& text) {
  const absl::StatusOr<json::object> object = parse_json_object(text, kConfigFile);
  if (!object.ok()) return object.status();
  ConfigReader reader(*object, kConfigFile);
  class_name_ = reader.is_null("tokenizer_class") ? "" : reader.word("tokenizer_class", "");
  const TokenizerClass* known = find_tokenizer_class(class_name_);
  const bool adds_bos = known != nullptr && known->adds_bos;
  settings_.add_bos_token = reader.optional_boolean("add_bos_token").value_or(adds_bos);
  settings_.legacy = reader.optional_boolean("legacy").value_or(true);
  settings_.add_prefix_space = reader.optional_boolean("add_prefix_space").value_or(true);
  read_templates(reader, *object);
  read_tokens(reader, *object, true);
  if (const json::object* decoder = reader.object("added_tokens_decoder")) {
    read_decoder(reader, *decoder);
  }
  return reader.status();
}

absl::Status SettingsReader::read_map(const std::string& text) {
  constexpr std::string_view kOrigin = "special_tokens_map.json";
  const absl::StatusOr<json::object> object = parse_json_object(text, kOrigin);
  if (!object.ok()) return object.status();
  ConfigReader reader(*object, kOrigin);
  read_tokens(reader, *object, !has_decoder_);
  return reader.status();
}

bool SettingsReader::is_special(const std::string& text) const {
  const auto& more = settings_.additional_special_tokens;
  if (std::find(more.begin(), more.end(), text) != more.end()) return true;
  return std::any_of(settings_.named_tokens.begin(), settings_.named_tokens.end(),
                     [&](const auto& entry) { return entry.second == text; });
}

// Reads {"text": id}, which older versions wrote instead of added_tokens_decoder.
absl::Status SettingsReader::read_added(const std::string& text) {
  constexpr std::string_view kOrigin = "added_tokens.json";
  if (has_decoder_) return absl::OkStatus();
  const absl::StatusOr<json::object> object = parse_json_object(text, kOrigin);
  if (!object.ok()) return object.status();
  ConfigReader reader(*object, kOrigin);
  for (const auto& member : *object) {
    const std::string token(view(member.key()));
    const auto id = static_cast<int32_t>(reader.integer(token, {0, limits::kVocabSize.max - 1}, 0));
    if (token.empty()) continue;
    AddedToken& added = added_[id];
    added.id = id;
    added.text = token;
    added.special = is_special(token);
  }
  return reader.status();
}

void SettingsReader::add_class_defaults() {
  const TokenizerClass* known = find_tokenizer_class(class_name_);
  if (known == nullptr) return;
  const std::pair<const char*, const char*> tokens[] = {
      {"bos_token", known->bos}, {"eos_token", known->eos}, {"unk_token", known->unk}};
  for (const auto& [name, text] : tokens) {
    if (*text != '\0' && !decided_.contains(name)) settings_.named_tokens[name] = text;
  }
}

TokenizerSettings SettingsReader::take() {
  std::set<std::string> all(settings_.additional_special_tokens.begin(),
                            settings_.additional_special_tokens.end());
  for (const auto& [name, text] : settings_.named_tokens) all.insert(text);
  for (auto& [id, token] : added_) {
    token.special = token.special || all.contains(token.text);
    if (token.special) all.insert(token.text);
    settings_.added_tokens.push_back(token);
  }
  settings_.special_tokens.assign(all.begin(), all.end());
  return std::move(settings_);
}

}  // namespace

std::vector<std::string> TokenizerSettings::special_tokens_in_order() const {
  std::vector<std::string> tokens;
  for (const char* name : kNames) {
    if (const std::string text = named(name); !text.empty()) tokens.push_back(text);
  }
  tokens.insert(tokens.end(), additional_special_tokens.begin(), additional_special_tokens.end());
  return tokens;
}

absl::StatusOr<TokenizerSettings> parse_tokenizer_settings(const TokenizerFiles& files) {
  SettingsReader reader;
  absl::Status status;
  if (!files.tokenizer_config.empty()) status = reader.read_config(files.tokenizer_config);
  if (status.ok() && !files.special_tokens_map.empty()) {
    status = reader.read_map(files.special_tokens_map);
  }
  reader.add_class_defaults();
  if (status.ok() && !files.added_tokens.empty()) status = reader.read_added(files.added_tokens);
  if (!status.ok()) return status;
  TokenizerSettings settings = reader.take();
  if (!files.chat_template.empty()) {
    settings.chat_template = files.chat_template;
    settings.tool_chat_template.clear();
    settings.no_chat_template.clear();
    settings.chat_template_origin = "chat_template.jinja";
  }
  if (!files.tool_chat_template.empty()) settings.tool_chat_template = files.tool_chat_template;
  return settings;
}

}  // namespace deltaserve
