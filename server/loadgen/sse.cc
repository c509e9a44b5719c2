#include "server/loadgen/sse.h"

namespace deltaserve {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

}  // namespace

bool SseParser::feed(std::string_view bytes, const OnEvent& on_event) {
  while (!bytes.empty() && !stopped_) {
    if (after_cr_) {
      after_cr_ = false;
      if (bytes.front() == '\n') {
        bytes.remove_prefix(1);
        continue;
      }
    }
    const size_t end = bytes.find_first_of("\r\n");
    const std::string_view part = bytes.substr(0, end);
    if (part.size() + line_.size() + data_.size() + type_.size() > max_event_bytes_) {
      too_long_ = stopped_ = true;
      break;
    }
    bytes.remove_prefix(part.size());
    if (end == std::string_view::npos) {
      line_.append(part);
      break;
    }
    after_cr_ = bytes.front() == '\r';
    bytes.remove_prefix(1);
    if (line_.empty()) {
      stopped_ = !take_line(part, on_event);
    } else {
      line_.append(part);
      stopped_ = !take_line(line_, on_event);
      line_.clear();
    }
  }
  return !stopped_;
}

bool SseParser::take_line(std::string_view line, const OnEvent& on_event) {
  if (first_line_ && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
  first_line_ = false;
  if (line.empty()) return dispatch(on_event);
  const size_t colon = line.find(':');
  const std::string_view field = line.substr(0, colon);
  std::string_view value;
  if (colon != std::string_view::npos) value = line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "data") {
    if (has_data_) data_.push_back('\n');
    data_.append(value);
    has_data_ = true;
  } else if (field == "event") {
    type_.assign(value);
  }
  return true;
}

bool SseParser::dispatch(const OnEvent& on_event) {
  const bool go_on = !has_data_ || on_event({type_, data_});
  type_.clear();
  data_.clear();
  has_data_ = false;
  return go_on;
}

}  // namespace deltaserve
