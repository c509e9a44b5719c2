#include "server/tools/answer_markup.h"

#include <algorithm>
#include <vector>

#include "engine/grammar/token_table.h"

namespace deltaserve {
namespace {

std::vector<std::string*> markers_of(ToolFormat* format) {
  std::vector<std::string*> markers = {
      &format->section_begin,   &format->section_end, &format->call_begin, &format->call_end,
      &format->name_open,       &format->name_close,  &format->id_open,    &format->arguments_open,
      &format->arguments_close, &format->key_open,    &format->key_close,  &format->value_open,
      &format->value_close};
  for (std::string& other : format->other_begins) markers.push_back(&other);
  for (std::string& other : format->other_ends) markers.push_back(&other);
  return markers;
}

std::vector<std::string*> markers_of(ReasoningFormat* format) {
  std::vector<std::string*> markers;
  for (auto* list : {&format->opens, &format->closes, &format->answer_marks}) {
    for (std::string& marker : *list) markers.push_back(&marker);
  }
  return markers;
}

}  // namespace

std::string without_control_codes(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == kControlCode) {
      i += kControlCodeBytes - 1;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

AnswerMarkup::AnswerMarkup(const ToolFormat* tools, const ReasoningFormat* reasoning,
                           const Tokenizer* tokenizer)
    : spelled_reasoning_(reasoning) {
  if (tools != nullptr) tools_ = *tools;
  if (reasoning != nullptr) reasoning_ = *reasoning;
  if (tokenizer == nullptr) return;
  if (tools_) {
    for (std::string* marker : markers_of(&*tools_)) encode(*tokenizer, marker);
  }
  if (reasoning_) {
    for (std::string* marker : markers_of(&*reasoning_)) encode(*tokenizer, marker);
  }
}

// A marker may have a word before the part that can be a token: "function<｜tool▁sep｜>". If the
// token has a text, the marker is that text: in a sentencepiece model U+2581 becomes a space.
void AnswerMarkup::encode(const Tokenizer& tokenizer, std::string* marker) {
  const size_t begin = marker->find_first_of("<[");
  if (begin == marker->npos) return;
  const int32_t id = tokenizer.piece_id(marker->substr(begin));
  if (id < 0) return;
  const std::string_view text = tokenizer.vocabulary().bytes(id);
  if (!text.empty()) {
    marker->replace(begin, marker->npos, text);
    return;
  }
  const auto [code, is_new] = codes_.try_emplace(id);
  if (is_new) code->second = {kControlCode, static_cast<char>(codes_.size())};
  marker->replace(begin, marker->npos, code->second);
}

std::string AnswerMarkup::in_grammar(std::string_view marker) const {
  std::string out;
  for (size_t i = 0; i < marker.size(); ++i) {
    const auto is_here = [&](const auto& entry) {
      return marker.substr(i).starts_with(entry.second);
    };
    const auto found = marker[i] == kControlCode
                           ? std::find_if(codes_.begin(), codes_.end(), is_here)
                           : codes_.end();
    if (found == codes_.end()) {
      out += marker[i];
    } else {
      out += control_name(found->first);
      i += found->second.size() - 1;
    }
  }
  return out;
}

std::string_view AnswerMarkup::code(int32_t token) const {
  const auto found = codes_.find(token);
  return found == codes_.end() ? std::string_view() : found->second;
}

}  // namespace deltaserve
