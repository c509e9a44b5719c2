// Fuzzes tokenizer.json: a file, and after a byte 01 a text that the tokenizer encodes, as a whole
// and as parts of a conversation.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/base/check.h"
#include "models/tokenizer/json/json_tokenizer.h"
#include "models/tokenizer/json/utf8.h"

namespace {

constexpr std::string_view kText =
    "Hi  <s>there</s> d\xC3\xA9j\xC3\xA0 a\xCC\x81 \xE4\xB8\xAD\xE6\x96\x87 12345 "
    "'S\n\n\t\xF0\x9F\x99\x82 aaaa";

// Checks what holds for every tokenizer.
void follow(const deltaserve::Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text);
  if (ids.ok()) {
    for (const int32_t id : *ids) DS_CHECK(id >= 0 && id < tokenizer.size());
    const auto again = tokenizer.encode(text);
    DS_CHECK(again.ok() && *again == *ids);
    const auto back = tokenizer.decode(*ids, deltaserve::SpecialTokens::kKeep);
    DS_CHECK(!back.ok() || deltaserve::tokenizer_json::is_utf8(*back));
  }
  const size_t half = text.size() / 2;
  if (deltaserve::tokenizer_json::is_utf8(text) && ids.ok() &&
      deltaserve::tokenizer_json::is_utf8(text.substr(0, half))) {
    const auto final_ids = tokenizer.final_ids(text.substr(0, half));
    const auto begun = tokenizer.encode(text.substr(0, half));
    if (final_ids.ok() && begun.ok()) {
      DS_CHECK(*final_ids <= ids->size() && *final_ids <= begun->size());
      DS_CHECK(std::equal(ids->begin(), ids->begin() + *final_ids, begun->begin()));
    }
  }
  const deltaserve::TextPart parts[] = {{"<s>", true}, {text, false}, {"</s>", true}};
  const auto mixed = tokenizer.encode_parts(parts);
  if (!mixed.ok()) return;
  for (const int32_t id : *mixed) DS_CHECK(id >= 0 && id < tokenizer.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(bytes), size);
  const size_t end = input.find('\x01');
  const auto tokenizer = deltaserve::load_json_tokenizer(input.substr(0, end), "t.json", {});
  if (!tokenizer.ok()) return 0;
  follow(**tokenizer, kText);
  if (end != std::string_view::npos) follow(**tokenizer, input.substr(end + 1));
  return 0;
}
