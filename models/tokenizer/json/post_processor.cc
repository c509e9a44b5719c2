#include "models/tokenizer/json/post_processor.h"

#include <boost/json/array.hpp>

#include "models/base/limits.h"
#include "models/base/text.h"

namespace deltaserve::tokenizer_json {
namespace {

// Reads ["[SEP]", 102].
std::vector<int32_t> read_pair(std::string_view key, PartReader* part) {
  const boost::json::array& pair = part->list(key);
  const int64_t* id = pair.size() == 2 ? pair[1].if_int64() : nullptr;
  if (id == nullptr || *id < 0 || *id >= limits::kVocabSize.max) {
    part->fail(key, "must be [TOKEN, ID]");
    return {};
  }
  return {static_cast<int32_t>(*id)};
}

// Appends the ids that the template's table has for a special token.
void append_ids(const std::string& token, PartReader* part, std::vector<int32_t>* ids) {
  const boost::json::object& table = part->object("special_tokens");
  const boost::json::value* entry = table.if_contains(token);
  if (entry == nullptr) {
    part->fail("special_tokens", str_cat("lacks ", quoted(token), ", which the template has"));
    return;
  }
  PartReader reader = part->member("special_tokens", *entry);
  for (const boost::json::value& id : reader.list("ids")) {
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() >= limits::kVocabSize.max) {
      return reader.fail("ids", "must be a list of token ids");
    }
    ids->push_back(static_cast<int32_t>(id.get_int64()));
  }
  if (ids->size() > limits::kTemplateIds) {
    part->fail("single", str_cat("has more than ", limits::kTemplateIds, " ids"));
  }
}

Surroundings read_template(PartReader* part) {
  Surroundings around;
  size_t texts = 0;
  size_t index = 0;
  for (const boost::json::value& item : part->list("single")) {
    PartReader piece = part->item("single", index++, item);
    if (!part->ok()) return around;
    if (const boost::json::value* sequence = piece.find("Sequence")) {
      if (piece.member("Sequence", *sequence).text("id") != "A") {
        piece.fail("Sequence.id", "must be \"A\"");
      }
      ++texts;
    } else if (const boost::json::value* token = piece.find("SpecialToken")) {
      const std::string id = piece.member("SpecialToken", *token).text("id");
      append_ids(id, part, texts == 0 ? &around.before : &around.after);
    } else {
      piece.fail("it must have Sequence or SpecialToken");
    }
  }
  if (texts != 1) part->fail("single", str_cat("has the text ", texts, " times, not once"));
  return around;
}

Surroundings read_around(PartReader part, size_t* parts);

// Every processor puts its tokens around those of the ones before.
Surroundings read_sequence_around(PartReader* part, size_t* parts) {
  Surroundings all;
  size_t index = 0;
  for (const boost::json::value& item : part->list("processors")) {
    Surroundings around = read_around(part->item("processors", index++, item), parts);
    if (!part->ok()) break;
    all.before.insert(all.before.begin(), around.before.begin(), around.before.end());
    all.after.insert(all.after.end(), around.after.begin(), around.after.end());
  }
  return all;
}

Surroundings read_around(PartReader part, size_t* parts) {
  if (++*parts > limits::kTokenizerParts) part.fail("there are too many post-processors");
  if (!part.ok()) return {};
  const std::string type = part.text("type");
  if (type == "Sequence") return read_sequence_around(&part, parts);
  if (type == "TemplateProcessing") return read_template(&part);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    Surroundings around;
    around.before = read_pair("cls", &part);
    around.after = read_pair("sep", &part);
    return around;
  }
  // ByteLevel changes only offsets, which are not used here.
  if (type != "ByteLevel") {
    part.fail("type", str_cat(quoted(type), " is not a post-processor that is supported"));
  }
  return {};
}

}  // namespace

Surroundings read_post_processor(PartReader part) {
  size_t parts = 0;
  return read_around(std::move(part), &parts);
}

}  // namespace deltaserve::tokenizer_json
