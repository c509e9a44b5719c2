#include "server/tools/reasoning_format.h"

#include <algorithm>

namespace deltaserve {
namespace {

bool ends_with_any(std::string_view text, const std::vector<std::string>& markers) {
  return std::any_of(markers.begin(), markers.end(),
                     [&](const std::string& marker) { return text.ends_with(marker); });
}

// Returns the place after the last of the markers, 0 if there is none.
size_t behind_last(std::string_view text, const std::vector<std::string>& markers) {
  size_t place = 0;
  for (const std::string& marker : markers) {
    const size_t at = text.rfind(marker);
    if (at != text.npos) place = std::max(place, at + marker.size());
  }
  return place;
}

}  // namespace

const ReasoningFormat* recognise_reasoning_format(std::string_view template_source) {
  static const ReasoningFormat kBrackets = {"brackets", {"[THINK]"}, {"[/THINK]"}};
  static const ReasoningFormat kTags = {"tags", {"<think>"}, {"</think>"}};
  static const ReasoningFormat kResponse = {
      "tags_and_response", {"<think>"}, {"</think>"}, {"<response>", "</response>"}};
  static const ReasoningFormat kSentences = {
      "sentences",
      {"Here is my thought process:", "Here's my thought process:"},
      {"Here is my response:", "Here's my response:"}};
  const auto has = [&](std::string_view text) { return template_source.find(text) != text.npos; };
  if (has("[THINK]")) return &kBrackets;
  if (has("<think>") && has("<response>") && has("<|start_of_role|>")) return &kResponse;
  if (has("<think>") || has("</think>")) return &kTags;
  if (has("Here is my thought process")) return &kSentences;
  if (has("<|start_of_role|>") && has("<|tool_call|>")) return &kSentences;
  return nullptr;
}

ReasoningStart reasoning_start(const ReasoningFormat& format, std::string_view prompt) {
  const size_t last = prompt.find_last_not_of(" \t\r\n");
  prompt = prompt.substr(0, last == prompt.npos ? 0 : last + 1);
  if (ends_with_any(prompt, format.opens)) return ReasoningStart::kOpen;
  if (ends_with_any(prompt, format.closes)) return ReasoningStart::kNone;
  return ReasoningStart::kByModel;
}

ReasoningStart reasoning_within(const ReasoningFormat& format, std::string_view content) {
  const bool open = behind_last(content, format.opens) > behind_last(content, format.closes);
  return open ? ReasoningStart::kOpen : ReasoningStart::kNone;
}

}  // namespace deltaserve
