#include "server/chat/line_reader.h"

#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstring>
#include <cwchar>

namespace deltaserve {
namespace {

constexpr size_t kMaxLineBytes = size_t{16} << 20;
constexpr int kRememberedLines = 1000;

// Lines of a terminal, by libedit.
class EditedLines final : public LineReader {
 public:
  EditedLines() : history_(history_init()) {
    // Without a locale libedit shows and takes only ASCII.
    const char* locale = std::setlocale(LC_CTYPE, "");
    if (locale == nullptr || std::strstr(locale, "UTF-8") == nullptr) {
      std::setlocale(LC_CTYPE, "C.UTF-8");
    }
    HistEvent event;
    ::history(history_, &event, H_SETSIZE, kRememberedLines);
    editor_ = el_init("deltaserve", stdin, stderr, stderr);
    el_set(editor_, EL_CLIENTDATA, this);
    el_set(editor_, EL_PROMPT, &EditedLines::prompt_of);
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_SIGNAL, 0);
    el_set(editor_, EL_GETCFN, &EditedLines::read_character);
    el_set(editor_, EL_HIST, ::history, history_);
  }
  ~EditedLines() override {
    el_end(editor_);
    history_end(history_);
  }
  EditedLines(const EditedLines&) = delete;
  EditedLines& operator=(const EditedLines&) = delete;

  std::optional<std::string> read(const char* prompt) override {
    prompt_ = prompt;
    int count = 0;
    errno = 0;
    const char* line = el_gets(editor_, &count);
    if (line == nullptr || count <= 0) {
      end_ = errno == EINTR ? End::kInterrupted : End::kInput;
      if (end_ == End::kInterrupted) el_reset(editor_);
      return std::nullopt;
    }
    std::string text(line);
    while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
    HistEvent event;
    if (!text.empty()) ::history(history_, &event, H_ENTER, line);
    return text;
  }

 private:
  // Reads one character. libedit's own function goes on after a signal. A Ctrl-D that was typed
  // before libedit had set the terminal arrives as a NUL, which libedit takes for "insert the next
  // character as it is": the next Ctrl-D would become text, and no further one could end the
  // conversation.
  static int read_character(EditLine* /*editor*/, wchar_t* character) {
    std::mbstate_t state{};
    for (;;) {
      char byte = 0;
      const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
      if (count <= 0) return static_cast<int>(count);
      if (byte == '\0') continue;
      const size_t length = std::mbrtowc(character, &byte, 1, &state);
      if (length == static_cast<size_t>(-2)) continue;  // the character is not complete yet
      if (length == static_cast<size_t>(-1)) *character = L'?';
      return 1;
    }
  }

  static char* prompt_of(EditLine* editor) {
    EditedLines* self = nullptr;
    el_get(editor, EL_CLIENTDATA, &self);
    return const_cast<char*>(self->prompt_);  // libedit only reads it
  }

  History* const history_;
  EditLine* editor_;
  const char* prompt_ = "";
};

class PlainLines final : public LineReader {
 public:
  std::optional<std::string> read(const char* /*prompt*/) override {
    std::string line;
    int c = 0;
    while ((c = std::getc(stdin)) != EOF && c != '\n' && line.size() < kMaxLineBytes) {
      line.push_back(static_cast<char>(c));
    }
    if (c == EOF && line.empty()) {
      end_ = std::ferror(stdin) != 0 && errno == EINTR ? End::kInterrupted : End::kInput;
      std::clearerr(stdin);
      return std::nullopt;
    }
    if (line.ends_with('\r')) line.pop_back();
    return line;
  }
};

}  // namespace

std::unique_ptr<LineReader> standard_input() {
  if (isatty(STDIN_FILENO) != 0) return std::make_unique<EditedLines>();
  return std::make_unique<PlainLines>();
}

}  // namespace deltaserve
