#include "models/tokenizer/json/added_tokens.h"

#include <algorithm>
#include <boost/json/array.hpp>

#include "models/base/cancellation.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/json/unicode.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

constexpr size_t kNotFound = SIZE_MAX;

bool looks_like_marker(std::string_view content) {
  return content.size() >= 3 && content.starts_with('<') && content.ends_with('>');
}

AddedToken read_token(PartReader part) {
  AddedToken token;
  token.id = static_cast<int32_t>(part.integer("id", {0, UINT32_MAX}) & INT32_MAX);
  token.content = part.text("content");
  token.single_word = part.boolean("single_word");
  token.strips_left = part.boolean("lstrip");
  token.strips_right = part.boolean("rstrip");
  token.normalized = part.boolean("normalized");
  token.special = part.boolean("special");
  if (token.content.size() > limits::kTokenBytes) {
    part.fail("content", str_cat("has more than ", limits::kTokenBytes, " bytes"));
  }
  return token;
}

size_t space_before(std::string_view text, size_t end) {
  while (end > 0) {
    const Character c = character_before(text, end);
    if (!is_space(c.code)) break;
    end -= c.bytes;
  }
  return end;
}

size_t space_after(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const Character c = character_at(text, begin);
    if (!is_space(c.code)) break;
    begin += c.bytes;
  }
  return begin;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && is_word(character_before(text, begin).code)) return false;
  return end == text.size() || !is_word(character_at(text, end).code);
}

}  // namespace

int64_t AddedTokens::take_id(const std::string& content, const PieceModel& model) {
  const auto entries = static_cast<int64_t>(model.entries());
  const int32_t known = model.vocabulary().id(content);
  const int64_t next =
      highest_ >= entries || (highest_ >= 0 && entries == 0) ? highest_ + 1 : entries;
  const int64_t id = known >= 0 ? known : next;
  highest_ = std::max(highest_, id);
  return id;
}

AddedTokens AddedTokens::read(PartReader* file, const PieceModel& model, int64_t most_ids) {
  AddedTokens added;
  if (file->find("added_tokens") == nullptr) return added;
  size_t index = 0;
  for (const boost::json::value& item : file->list("added_tokens")) {
    AddedToken token = read_token(file->item("added_tokens", index++, item));
    if (!file->ok()) return added;
    if (token.content.empty() || added.by_content_.contains(token.content)) continue;
    const int32_t written = token.id;
    const int64_t id = added.take_id(token.content, model);
    if (id >= limits::kVocabSize.max) {
      file->fail("added_tokens", str_cat("need ids above ", limits::kVocabSize.max - 1));
      return added;
    }
    if (written != id && !std::exchange(added.ids_differ_, true)) {
      added.warnings_.push_back(str_cat("added_tokens gives ", quoted(token.content), " the id ",
                                        written, ", but by its place it has ", id));
    }
    if (id >= most_ids) {
      added.warnings_.push_back(str_cat("the added token ", quoted(token.content), " has the id ",
                                        id, ", which is outside the model's vocab_size ", most_ids,
                                        ", and is left out"));
      continue;
    }
    token.id = static_cast<int32_t>(id);
    added.by_content_[token.content] = 0;
    added.tokens_.push_back(std::move(token));
  }
  added.index_tokens();
  return added;
}

void AddedTokens::add_special(const std::vector<std::string>& names, const PieceModel& model,
                              int64_t most_ids) {
  for (const std::string& name : names) {
    if (name.empty() || by_content_.contains(name)) continue;
    const int64_t id = take_id(name, model);
    if (id >= std::min<int64_t>(most_ids, limits::kVocabSize.max)) continue;
    AddedToken token;
    token.content = name;
    token.id = static_cast<int32_t>(id);
    token.special = true;
    by_content_[name] = 0;
    tokens_.push_back(std::move(token));
  }
  index_tokens();
}

void AddedTokens::index_tokens() {
  std::stable_partition(tokens_.begin(), tokens_.end(),
                        [](const AddedToken& token) { return token.special; });
  for (size_t i = 0; i < tokens_.size(); ++i) {
    by_content_[tokens_[i].content] = i;
    by_id_[tokens_[i].id] = i;
  }
  control_.resize(tokens_.size());
}

void AddedTokens::mark_special(const std::vector<std::string>& names) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    AddedToken& token = tokens_[i];
    token.special =
        token.special || std::find(names.begin(), names.end(), token.content) != names.end();
    control_[i] = token.special || looks_like_marker(token.content);
  }
}

bool AddedTokens::is_control(const AddedToken& token) const {
  return control_[static_cast<size_t>(&token - tokens_.data())];
}

absl::Status AddedTokens::finish(const Normalizer& normalizer) {
  std::vector<std::pair<std::string, int32_t>> raw;
  std::vector<std::pair<std::string, int32_t>> normalized;
  std::vector<std::pair<std::string, int32_t>> templates;
  // The first of equal contents counts, and a trie keeps the last.
  for (size_t i = tokens_.size(); i-- > 0;) {
    AddedToken& token = tokens_[i];
    token.shown = token.content;
    some_strip_left_ = some_strip_left_ || token.strips_left;
    const auto index = static_cast<int32_t>(i);
    if (!token.normalized || control_[i]) templates.emplace_back(token.content, index);
    if (!token.normalized) {
      raw.emplace_back(token.content, index);
      continue;
    }
    if (normalizer != nullptr) {
      const absl::Status status = normalizer(&token.shown);
      if (!status.ok()) return prefixed(str_cat("the added token ", quoted(token.content)), status);
    }
    normalized.emplace_back(token.shown, index);
  }
  for (const AddedToken& token : tokens_) {
    reach_ = std::max({reach_, token.content.size(), token.shown.size()});
  }
  raw_ = ByteTrie(std::move(raw));
  normalized_ = ByteTrie(std::move(normalized));
  template_ = ByteTrie(std::move(templates));
  return absl::OkStatus();
}

const AddedToken* AddedTokens::with_id(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::with_content(std::string_view content) const {
  const auto found = by_content_.find(as_piece(content));
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

size_t AddedTokens::find(const ByteTrie& trie, std::string_view text, size_t begin, Allows allows,
                         size_t* end) const {
  size_t found = kNotFound;
  uint32_t node = ByteTrie::kRoot;
  for (size_t i = begin; i < text.size();) {
    node = trie.step(node, text[i++]);
    if (node == ByteTrie::kNowhere) break;
    const int32_t index = trie.value(node);
    if (index < 0 || !allows(tokens_[static_cast<size_t>(index)], begin, i)) continue;
    found = static_cast<size_t>(index);
    *end = i;
  }
  return found;
}

const ByteTrie& AddedTokens::trie_of(Pass pass) const {
  if (pass == Pass::kRaw) return raw_;
  return pass == Pass::kNormalized ? normalized_ : template_;
}

size_t AddedTokens::settled(std::string_view text, Pass pass) const {
  if (trie_of(pass).empty()) return text.size();
  // With more text, a token at the end of this text may turn out to be part of a word, or the
  // beginning of a longer token.
  size_t at = text.size() - std::min(text.size(), reach_);
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
  return some_strip_left_ ? space_before(text, at) : at;
}

absl::Status AddedTokens::split(std::string_view text, Pass pass, Allows allows, Take take) const {
  const ByteTrie& trie = trie_of(pass);
  size_t done = 0;
  for (size_t at = 0; at < text.size() && !trie.empty();) {
    size_t match_end = 0;
    const size_t index = find(trie, text, at, allows, &match_end);
    if (index == kNotFound) {
      if (absl::Status status = check_wanted(1); !status.ok()) return status;
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[index];
    const size_t match = std::exchange(at, match_end);
    if (token.single_word && !stands_alone(text, match, match_end)) continue;
    const size_t begin = token.strips_left ? std::max(space_before(text, match), done) : match;
    const size_t end = token.strips_right ? space_after(text, match_end) : match_end;
    absl::Status status;
    if (done < begin) status = take(done, begin, nullptr);
    // The token before may have taken the white space, so that nothing is left of this token.
    if (status.ok() && begin < end) status = take(begin, end, &token);
    if (!status.ok()) return status;
    done = end;
  }
  return done < text.size() ? take(done, text.size(), nullptr) : absl::OkStatus();
}

}  // namespace deltaserve::tokenizer_json
