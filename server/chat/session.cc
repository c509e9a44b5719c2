#include "server/chat/session.h"

#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <optional>
#include <vector>

#include "absl/strings/str_format.h"
#include "models/base/text.h"
#include "server/base/suggestion.h"

namespace deltaserve {
namespace {

constexpr int kLeftByInterrupt = 130;  // as shells have it for SIGINT
constexpr const char* kHelp =
    "/regenerate    ask for another answer to the last message\n"
    "/system TEXT   set the system message; without TEXT, remove it\n"
    "/save FILE     write the conversation as JSON\n"
    "/help          show this list\n"
    "/quit          leave, as Ctrl-D does\n"
    "Ctrl-C stops an answer. A line that ends with \\ continues on the next one.\n"
    "To send a line that begins with /, write //.\n";

// Counts Ctrl-C since the last line was read; the handler sets them.
std::atomic<int> interrupts{0};
std::atomic<bool> interrupted{false};

void on_interrupt(int /*signal*/) {
  interrupted = true;
  // The third Ctrl-C leaves even if the program is stuck.
  if (++interrupts > 2) ::_exit(kLeftByInterrupt);
}

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: reading a line ends
  ::sigaction(SIGINT, &action, nullptr);
}

// Returns the text without characters that would command the terminal.
std::string printable(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool is_control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
    const bool begins_c1 =
        c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (begins_c1) ++i;
    if (!is_control && !begins_c1) out.push_back(text[i]);
  }
  return out;
}

}  // namespace

ChatSession::ChatSession(AnswerSource* source, LineReader* lines, ChatSettings settings,
                         const std::string& system)
    : source_(*source),
      lines_(*lines),
      settings_(settings),
      on_terminal_(isatty(STDOUT_FILENO) != 0) {
  history_.set_system(system);
}

int ChatSession::run() {
  catch_interrupts();
  for (;;) {
    const std::optional<std::string> line = read_message();
    if (!line && lines_.end() == LineReader::End::kInput) {
      if (isatty(STDIN_FILENO) != 0) std::fputc('\n', stderr);
      return failed_ ? 1 : 0;
    }
    if (!line) {
      if (interrupts > 1) return kLeftByInterrupt;
      say("Ctrl-C again leaves.");
      continue;
    }
    interrupts = 0;
    if (line->starts_with('/') && !line->starts_with("//")) {
      if (obey(*line) == Next::kLeave) return failed_ ? 1 : 0;
    } else if (!line->empty()) {
      history_.add_user(line->starts_with('/') ? line->substr(1) : *line);
      answer();
      if (interrupts > 1) return kLeftByInterrupt;
    }
  }
}

std::optional<std::string> ChatSession::read_message() {
  std::string message;
  const char* prompt = "> ";
  for (;;) {
    const std::optional<std::string> line = lines_.read(prompt);
    if (!line) return std::nullopt;
    message += *line;
    if (!message.ends_with('\\')) return message;
    message.back() = '\n';
    prompt = "| ";
  }
}

ChatSession::Next ChatSession::obey(const std::string& line) {
  static const std::vector<std::string> kCommands = {"/regenerate", "/system", "/save", "/help",
                                                     "/quit"};
  const size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
  if (name == "/quit") return Next::kLeave;
  if (name == "/help") {
    std::fputs(kHelp, stderr);
  } else if (name == "/regenerate") {
    regenerate();
  } else if (name == "/system") {
    history_.set_system(rest);
    say(rest.empty() ? "There is no system message now." : "The system message is set.");
  } else if (name == "/save") {
    save(rest);
  } else {
    failed_ = failed_ || isatty(STDIN_FILENO) == 0;
    say(str_cat("unknown command '", name, "'", did_you_mean(name, kCommands),
                " (/help lists the commands)"));
  }
  return Next::kGoOn;
}

void ChatSession::regenerate() {
  if (history_.remove_last_answer()) return answer();
  say("There is no message to answer again.");
}

void ChatSession::save(const std::string& path) {
  if (path.empty()) return say("/save needs the name of a file.");
  std::ofstream file(path, std::ios::binary);
  file << history_.saved(source_.model()) << std::flush;
  if (file) return say(str_cat("The conversation is in ", path, "."));
  failed_ = true;
  say(str_cat("cannot write ", quoted(path)));
}

void ChatSession::say(const std::string& sentence) {
  absl::FPrintF(stderr, "%s\n", sentence);
}

void ChatSession::print(AnswerReader::Part part, std::string_view text) {
  if (part != printed_) std::fputs("\n", stdout);
  printed_ = part;
  const std::string shown = on_terminal_ ? printable(text) : std::string(text);
  std::fwrite(shown.data(), 1, shown.size(), stdout);
  std::fflush(stdout);
}

void ChatSession::answer() {
  interrupted = false;
  std::optional<AnswerReader> reader;
  reader.emplace([&](AnswerReader::Part part, std::string_view text) {
    if (reader->text().size() + reader->reasoning().size() == text.size()) printed_ = part;
    print(part, text);
  });
  absl::Status status =
      source_.ask(history_.request(source_.model(), settings_), interrupted,
                  [&](std::string_view bytes) { return reader->feed(bytes) && !interrupted; });
  if (!reader->status().ok()) status = reader->status();
  const bool has_answer = !reader->text().empty() || !reader->reasoning().empty();
  if (has_answer) std::fputs("\n", stdout);
  std::fflush(stdout);
  if (!status.ok() && !absl::IsCancelled(status)) {
    failed_ = true;
    absl::FPrintF(stderr, "deltaserve: %s\n", printable(std::string(status.message())));
  }
  // A message that got no answer is not sent again with the next one.
  if (!status.ok() && !has_answer) {
    history_.remove_last_turn();
    if (absl::IsCancelled(status)) say("[stopped]");
    return;
  }
  history_.add_answer(reader->text(), reader->reasoning());
  say(str_cat("[", reader->figures(), absl::IsCancelled(status) ? "; stopped" : "", "]"));
}

}  // namespace deltaserve
