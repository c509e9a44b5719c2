// Fuzzes sentencepiece models: a byte with the length of a text, the text, and the model's file. A
// text has the ids that the library gives to the whole of it, whoever encodes it and in whatever
// parts.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/check.h"
#include "models/tokenizer/json/utf8.h"
#include "models/tokenizer/sentencepiece/encoder.h"
#include "models/tokenizer/sentencepiece/sentencepiece_tokenizer.h"
#include "models/tokenizer/sentencepiece/text_splitter.h"
#include "models/tokenizer/sentencepiece/wrapper.h"

namespace {

using namespace deltaserve;
using Ids = std::vector<int32_t>;

void check_parts(const std::string& file, const SentencePieceModel& model, std::string_view text,
                 const Ids& whole) {
  const TextSplitter splitter(file, model);
  for (const size_t bytes : {1, 2, 5, 20}) {
    Ids joined;
    for (const std::string_view part : splitter.split(text, bytes)) {
      const Ids ids = model.encode(part);
      joined.insert(joined.end(), ids.begin(), ids.end());
    }
    DS_CHECK(joined == whole);
  }
}

void check_encoder(const std::string& file, const SentencePieceModel& model, std::string_view text,
                   const Ids& whole) {
  const auto encoder = SentencePieceEncoder::make(file, model);
  if (encoder == nullptr) return;
  Ids ids;
  const absl::Status encoded = encoder->encode(text, &ids);
  DS_CHECK(encoded.ok() ? ids == whole : absl::IsResourceExhausted(encoded));
}

void check_tokenizer(const std::string& file, std::string_view text, const Ids& whole) {
  const auto loaded = load_sentencepiece_tokenizer(file, "t.model", {});
  if (!loaded.ok()) return;
  const Tokenizer& tokenizer = **loaded;
  const auto ids = tokenizer.encode(text);
  if (!ids.ok()) return;
  DS_CHECK(*ids == whole);
  for (const int32_t id : *ids) DS_CHECK(id >= 0 && id < tokenizer.size());
  for (const SpecialTokens special : {SpecialTokens::kKeep, SpecialTokens::kSkip}) {
    const auto back = tokenizer.decode(*ids, special);
    DS_CHECK(!back.ok() || tokenizer_json::is_utf8(*back));
  }
  const TextPart parts[] = {{"<s>", true}, {text, false}, {"</s>", true}};
  (void)tokenizer.encode_parts(parts);
  const std::string_view half = text.substr(0, text.size() / 2);
  if (!tokenizer_json::is_utf8(text) || !tokenizer_json::is_utf8(half)) return;
  const auto final_ids = tokenizer.final_ids(half);
  const auto begun = tokenizer.encode(half);
  if (!final_ids.ok() || !begun.ok()) return;
  DS_CHECK(*final_ids <= std::min(ids->size(), begun->size()));
  DS_CHECK(
      std::equal(begun->begin(), begun->begin() + static_cast<int64_t>(*final_ids), ids->begin()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string_view text = input.substr(0, data[0]);
  const std::string file(input.substr(text.size()));
  std::string error;
  const auto model = SentencePieceModel::parse(file, &error);
  if (model == nullptr) {
    DS_CHECK(!error.empty());
    return 0;
  }
  const Ids whole = model->encode(text);
  check_parts(file, *model, text, whole);
  check_encoder(file, *model, text, whole);
  check_tokenizer(file, text, whole);
  return 0;
}
