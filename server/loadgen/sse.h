// The reader's side of server-sent events (WHATWG HTML, 9.2), for bytes cut anywhere.
#pragma once
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace deltaserve {

struct SseEvent {
  std::string_view type;  // empty: "message"
  std::string_view data;  // of all its data lines, joined by '\n'
};

// Ignores comments, the fields `id` and `retry`, and events without data. It holds at most one
// event and one line, which together stay below the limit.
class SseParser {
 public:
  // The views end with the call. Returns false to read no further.
  using OnEvent = std::function<bool(const SseEvent&)>;

  explicit SseParser(size_t max_event_bytes) : max_event_bytes_(max_event_bytes) {}

  // Calls `on_event` for each event that these bytes complete. Returns false if an event is longer
  // than the limit, or on_event said so; every further call then returns false too.
  bool feed(std::string_view bytes, const OnEvent& on_event);

  bool too_long() const { return too_long_; }

 private:
  bool take_line(std::string_view line, const OnEvent& on_event);
  bool dispatch(const OnEvent& on_event);

  const size_t max_event_bytes_;
  std::string line_;  // begun, not ended
  std::string type_;
  std::string data_;
  bool has_data_ = false;
  bool first_line_ = true;
  bool after_cr_ = false;  // a '\n' that follows belongs to the same line end
  bool stopped_ = false;
  bool too_long_ = false;
};

}  // namespace deltaserve
