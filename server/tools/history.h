// Adapts the messages of a conversation to a chat template. Requests have them in one form, but
// published templates read different forms.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "server/template/chat_template.h"
#include "server/tools/answer_delta.h"
#include "server/tools/tool_format.h"

namespace deltaserve {

struct HistoryRules {
  CallIdShape ids = CallIdShape::kAny;
  bool none_for_no_content = false;     // no content beside calls is none; else the empty text
  bool arguments_as_text = false;       // arguments are text; else an object
  bool calls_as_text = false;           // also as the text of Python calls, in `function_calls`
  bool results_of_environment = false;  // a result has the role "environment", not "tool"
};

// Finds the rules by rendering conversations with a call in each form; the form that shows the call
// unchanged decides them. `format` may be null.
HistoryRules find_history_rules(const ChatTemplate& chat_template, const TrustedVariables& trusted,
                                const ToolFormat* format);

// Brings the messages of one conversation, in their order, into the form of the rules.
class HistoryShaper {
 public:
  explicit HistoryShaper(const HistoryRules& rules) : rules_(rules) {}

  void shape(boost::json::object* message);
  // Returns how many calls the messages had so far.
  int64_t num_calls() const { return num_calls_; }

 private:
  void shape_call(boost::json::object* call);
  void shape_reasoning(boost::json::object* message) const;
  std::string id_for(std::string_view id, std::string_view name);

  HistoryRules rules_;
  int64_t num_calls_ = 0;
  std::map<std::string, std::string, std::less<>> ids_;  // ids of calls, by the ids in the request
};

// Returns the message of an assistant that gave the answer, as a client sends it back.
boost::json::object message_of(const ParsedAnswer& answer);

}  // namespace deltaserve
