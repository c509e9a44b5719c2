// Reads what somebody types, or the lines of a file or pipe.
#pragma once
#include <memory>
#include <optional>
#include <string>

namespace deltaserve {

class LineReader {
 public:
  enum class End : uint8_t { kNone, kInput, kInterrupted };

  virtual ~LineReader() = default;

  // Returns a line without its end. Returns nullopt if there is none; end() says why.
  virtual std::optional<std::string> read(const char* prompt) = 0;
  End end() const { return end_; }

 protected:
  End end_ = End::kNone;
};

// Edits lines, with a history, if standard input is a terminal; the prompt is on standard error.
// A signal without SA_RESTART interrupts reading.
std::unique_ptr<LineReader> standard_input();

}  // namespace deltaserve
