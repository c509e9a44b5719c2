#include "models/tokenizer/json/piece_model.h"

#include <boost/json/array.hpp>

#include "models/base/limits.h"
#include "models/base/text.h"

namespace deltaserve::tokenizer_json {

void ModelVocabulary::read(std::string_view key, PartReader* part) {
  const boost::json::object& entries = part->object(key);
  ids_.reserve(entries.size());
  for (const auto& [content, value] : entries) {
    const int64_t* id = value.if_int64();
    if (id == nullptr || *id < 0 || *id >= limits::kVocabSize.max) {
      part->fail(key, str_cat("has ", quoted(std::string_view(content)),
                              " with an id that is not "
                              "an integer from 0 to ",
                              limits::kVocabSize.max - 1));
      return;
    }
    if (content.size() > limits::kTokenBytes) {
      part->fail(key, str_cat("has a token of more than ", limits::kTokenBytes, " bytes"));
      return;
    }
    add(std::string_view(content), static_cast<int32_t>(*id));
  }
}

void ModelVocabulary::add(std::string_view content, int32_t id) {
  ids_[as_piece(content)] = id;
  const size_t index = static_cast<size_t>(id);
  if (index >= contents_.size()) {
    contents_.resize(index + 1);
    has_.resize(index + 1);
    special_.resize(index + 1);
  }
  contents_[index] = content;
  has_[index] = true;
}

int32_t ModelVocabulary::id(std::string_view content) const {
  const auto found = ids_.find(as_piece(content));
  return found == ids_.end() ? -1 : found->second;
}

std::string_view ModelVocabulary::content(int32_t id) const {
  return has(id) ? std::string_view(contents_[static_cast<size_t>(id)]) : std::string_view();
}

bool ModelVocabulary::has(int32_t id) const {
  return id >= 0 && id < end() && has_[static_cast<size_t>(id)];
}

void ModelVocabulary::mark_special(int32_t id) {
  if (has(id)) special_[static_cast<size_t>(id)] = true;
}

absl::Status PieceModel::encode_open(std::string_view, PieceTrust, std::vector<int32_t>*) const {
  return absl::OkStatus();
}

std::string piece_model_type(const PartReader& part) {
  if (part.find("type") != nullptr) return PartReader(part).text("type");
  if (part.find("merges") != nullptr) return "BPE";
  const boost::json::value* vocab = part.find("vocab");
  if (vocab != nullptr && vocab->is_array()) return "Unigram";
  return part.find("continuing_subword_prefix") != nullptr ? "WordPiece" : "WordLevel";
}

std::unique_ptr<PieceModel> read_piece_model(PartReader part, bool bytes) {
  const std::string type = piece_model_type(part);
  if (type == "BPE") return read_bpe(&part, bytes);
  if (type == "Unigram") return read_unigram(&part);
  if (type == "WordPiece") return read_word_piece(&part);
  if (type == "WordLevel") return read_word_level(&part);
  part.fail("type", str_cat(quoted(type), " is not a model that is supported"));
  return nullptr;
}

}  // namespace deltaserve::tokenizer_json
