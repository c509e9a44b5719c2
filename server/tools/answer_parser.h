// Parses an answer while it is generated: reasoning, content and tool calls.
//
// Text that may be the beginning of a marker is held back until it is one or cannot become one. The
// result does not depend on how the answer was cut into pieces. White space at the borders of
// reasoning and calls belongs to the markup.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sequence/request.h"
#include "server/tools/answer_delta.h"
#include "server/tools/answer_markup.h"
#include "server/tools/call_reader.h"
#include "server/tools/literals.h"

namespace deltaserve {

// The options of a request that the parser needs.
struct AnswerRules {
  std::shared_ptr<const AnswerMarkup> markup;
  bool reads_calls = false;       // false: markers of calls are content
  bool reads_reasoning = false;   // false: markers of reasoning are content
  bool tells_reasoning = true;    // false: the reasoning is read, and dropped
  bool streams_reasoning = true;  // false: it is sent in one piece, when it is complete
  bool only_first_call = false;
  bool calls_decide_finish = true;  // false: an answer with calls ends like any other
  ReasoningStart start = ReasoningStart::kByModel;
  ToolArguments tools = {};
  int64_t calls_before = 0;  // in the conversation
};

// Thread safety: one thread at a time.
class AnswerParser {
 public:
  explicit AnswerParser(std::shared_ptr<const AnswerRules> rules);
  AnswerParser(const AnswerParser&) = delete;
  AnswerParser& operator=(const AnswerParser&) = delete;

  // Appends what became certain to *out. `text` has whole characters; the places of `controls` are
  // in the text of the whole answer.
  void append(std::string_view text, std::span<const ControlToken> controls,
              std::vector<AnswerDelta>* out);
  // Ends the answer. With `cut` its length or a stop string ended it, and markup that is incomplete
  // is dropped. Without `cut` such text was no markup and is shown.
  void finish(bool cut, std::vector<AnswerDelta>* out);

  // Returns true if a tool was called.
  bool called() const { return writer_.num_calls() > 0; }
  // Returns true if an answer that the model ended is reported to have ended because of its calls.
  bool finishes_for_calls() const { return called() && rules_->calls_decide_finish; }

 private:
  enum class Mode : uint8_t {
    kLead,       // the answer may begin with a block of reasoning
    kReasoning,  // inside the block
    kContent,
    kBehindCall,  // closing markers may follow
    kCall,        // `reader_` reads
  };
  // A marker that begins calls.
  struct Begin {
    std::string marker;
    enum class Reader : uint8_t { kJson, kBareJson, kPythonOrJson, kHeader, kTagged, kPython };
    Reader reader = Reader::kJson;
    bool reader_takes_marker = false;
  };
  struct Match {
    size_t at = 0;    // where it begins, or the end of the text that certainly has none
    int marker = -1;  // which one, -1: none
  };

  void list_markers();
  void add_begin(const std::string& marker, Begin::Reader reader, bool takes_marker = false);
  Match find(const std::vector<std::string>& markers) const;
  void read_all();
  bool step();
  bool read_lead();
  bool read_reasoning();
  bool read_content();
  bool read_behind_call();
  bool read_call();
  void begin_call(const Begin& begin);
  std::unique_ptr<CallReader> make_reader(char first);
  // Returns true if a call was reported since the marker.
  bool reported() const { return writer_.num_calls() > calls_at_marker_; }
  void give_back();
  void end_call_text(bool cut);
  void drop_cut_marker();
  void say(size_t bytes);
  void say(AnswerDelta::Kind kind, std::string_view text, bool* begun);

  const std::shared_ptr<const AnswerRules> rules_;
  std::vector<Begin> begins_;
  std::vector<std::string> reasoning_markers_;  // `closes`, then the markers of begins_ that are
                                                // not a brace
  std::vector<std::string> content_markers_;    // those of begins_, then marks of the answer
  std::vector<std::string> closers_;            // after calls
  CallWriter writer_;

  Mode mode_ = Mode::kContent;
  std::string held_;                   // not read yet
  std::deque<ControlToken> controls_;  // those whose places the text has not reached
  int64_t text_bytes_ = 0;             // of the answer so far

  // While a call is read.
  const Begin* begin_ = nullptr;
  std::unique_ptr<CallReader> reader_;  // null until the text after the marker decides the reader
  std::string call_text_;               // with its marker, until a call is reported
  int calls_at_marker_ = 0;
  Mode mode_before_call_ = Mode::kContent;

  std::string space_;  // white space that is emitted only if more text follows
  bool content_begun_ = false;
  bool reasoning_begun_ = false;
  bool reasoning_may_repeat_ = false;  // the marker that opens the block may come once more
  bool drops_space_ = false;           // around the content: there was a block or a call
  std::vector<AnswerDelta>* out_ = nullptr;
};

}  // namespace deltaserve
