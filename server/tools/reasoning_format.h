// A ReasoningFormat describes how a family of models writes its reasoning: as a block before the
// answer, between markers.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve {

struct ReasoningFormat {
  std::string name = {};
  std::vector<std::string> opens = {};   // any of them begins the block
  std::vector<std::string> closes = {};  // any of them ends it
  // Markers around the answer itself, which are not part of it.
  std::vector<std::string> answer_marks = {};
};

// Returns the format that the source of a chat template shows, or null.
const ReasoningFormat* recognise_reasoning_format(std::string_view template_source);

// Says how an answer begins, which depends on the end of its prompt.
enum class ReasoningStart {
  kByModel,  // the model may open a block
  kOpen,     // the prompt has opened one
  kNone,     // the prompt has closed it: there is none
};

// Returns how the answer to a prompt begins; `prompt` is the template's output, or its end.
ReasoningStart reasoning_start(const ReasoningFormat& format, std::string_view prompt);
// Returns the same for an answer that continues `content`, with which the prompt ends.
ReasoningStart reasoning_within(const ReasoningFormat& format, std::string_view content);

}  // namespace deltaserve
