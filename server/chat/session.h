// A conversation on the terminal: what is typed is sent, answers are printed as they come, and
// lines that begin with "/" are commands.
#pragma once
#include <memory>
#include <string>

#include "server/chat/answer_source.h"
#include "server/chat/conversation.h"
#include "server/chat/line_reader.h"

namespace deltaserve {

class ChatSession {
 public:
  // The objects behind the pointers must outlive the session.
  ChatSession(AnswerSource* source, LineReader* lines, ChatSettings settings,
              const std::string& system);

  // Returns the exit code: 0, 1 if a request failed or a file could not be written, 130 after
  // Ctrl-C. Ctrl-C ends an answer that is under way; twice in a row it leaves.
  int run();

 private:
  enum class Next : uint8_t { kGoOn, kLeave };

  std::optional<std::string> read_message();
  Next obey(const std::string& line);
  void answer();
  void regenerate();
  void save(const std::string& path);
  void say(const std::string& sentence);
  void print(AnswerReader::Part part, std::string_view text);

  AnswerSource& source_;
  LineReader& lines_;
  const ChatSettings settings_;
  const bool on_terminal_;  // standard output is one
  ChatHistory history_;
  AnswerReader::Part printed_ = AnswerReader::Part::kText;
  bool failed_ = false;
};

}  // namespace deltaserve
