#include "server/openai/text_offsets.h"

#include <algorithm>

#include "server/base/json_text.h"

namespace deltaserve {
namespace {

bool is_inside_character(std::string_view text, size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
}

// Follows tokens through a text.
class Follower {
 public:
  explicit Follower(std::string_view text) : text_(text) {}

  // Returns the offset of a token and steps over its bytes. A tokenizer may put a space before a
  // text, or change it. Bytes of the token that are not in the text are counted as they are.
  int64_t step(std::string_view bytes) {
    const int64_t offset = characters_ - (is_inside_character(text_, at_) ? 1 : 0);
    if (!stands_here(bytes) && bytes.starts_with(' ') && stands_here(bytes.substr(1))) {
      bytes.remove_prefix(1);
    }
    const std::string_view passed = text_.substr(at_, bytes.size());
    characters_ += utf8_characters(passed);
    at_ += passed.size();
    return offset;
  }

  bool stands_here(std::string_view bytes) const { return text_.substr(at_).starts_with(bytes); }

 private:
  const std::string_view text_;
  size_t at_ = 0;           // byte
  int64_t characters_ = 0;  // that begin before it
};

}  // namespace

int64_t OffsetCounter::next(std::string_view bytes) {
  if (bytes.empty()) return characters_;
  append(bytes.substr(0, 1));
  const int64_t offset = repair_.holds_bytes() ? characters_ : characters_ - 1;
  append(bytes.substr(1));
  return offset;
}

void OffsetCounter::append(std::string_view bytes) {
  scratch_.clear();
  repair_.append(bytes, &scratch_);
  characters_ += utf8_characters(scratch_);
}

std::vector<int64_t> offsets_in_text(std::string_view text, const std::vector<int32_t>& ids,
                                     const Tokenizer& tokenizer) {
  Follower follower(text);
  std::vector<int64_t> offsets;
  offsets.reserve(ids.size());
  for (const int32_t id : ids) {
    const std::string_view bytes = tokenizer.vocabulary().bytes(id);
    const std::string_view name = tokenizer.vocabulary().name(id);
    const bool is_spelled = bytes.empty() && !name.empty() && follower.stands_here(name);
    offsets.push_back(follower.step(is_spelled ? name : bytes));
  }
  return offsets;
}

absl::StatusOr<EchoedPrompt> echo_ids(const std::vector<int32_t>& ids, SpecialTokens special,
                                      const Tokenizer& tokenizer) {
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  const auto bytes_of = [&](int32_t id) {
    const std::string_view bytes = vocabulary.bytes(id);
    return bytes.empty() && special == SpecialTokens::kKeep ? vocabulary.name(id) : bytes;
  };
  absl::StatusOr<std::string> decoded = tokenizer.decode(ids, special);
  if (!decoded.ok()) return decoded.status();
  std::string bytes;
  for (const int32_t id : ids) bytes.append(bytes_of(id));
  EchoedPrompt prompt;
  prompt.offsets.reserve(ids.size());
  if (is_valid_utf8(bytes)) {
    prompt.text = *std::move(decoded);
    Follower follower(prompt.text);
    for (const int32_t id : ids) prompt.offsets.push_back(follower.step(bytes_of(id)));
    return prompt;
  }
  // The text is that of an answer with these tokens, without a space that the tokenizer adds.
  const bool has_space = bytes.starts_with(' ') && !decoded->starts_with(' ');
  Utf8Repair repair(vocabulary.ill_formed());
  repair.append(std::string_view(bytes).substr(has_space ? 1 : 0), &prompt.text);
  repair.flush(&prompt.text);
  OffsetCounter counter(has_space ? -1 : 0, vocabulary.ill_formed());
  for (const int32_t id : ids) {
    prompt.offsets.push_back(std::max<int64_t>(counter.next(bytes_of(id)), 0));
  }
  return prompt;
}

}  // namespace deltaserve
