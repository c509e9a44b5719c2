#include <algorithm>

#include "absl/strings/ascii.h"
#include "server/base/json_text.h"
#include "server/tools/answer_markup.h"
#include "server/tools/call_reader.h"

namespace deltaserve {
namespace {

constexpr size_t kMostKeyBytes = 1024;

// Appends the text as a part of a JSON string.
void append_escaped(std::string_view text, std::string* out) {
  std::string quoted_text;
  append_json_string(&quoted_text, text);
  out->append(quoted_text, 1, quoted_text.size() - 2);
}

// Reads a name and arguments between tags. Values are raw text: a string is passed on as it comes,
// a value of another type when it is complete.
class TaggedCallReader final : public CallReader {
 public:
  explicit TaggedCallReader(const CallContext& context) : context_(context) {}

  Status take(std::string_view text, size_t* taken) override {
    text_.append(text);
    *taken = text.size();
    const Status status = read();
    if (status != Status::kGoing) *taken -= std::min(text_.size(), *taken);
    return status;
  }

  void finish(bool cut) override {
    if (!context_.writer.open() || cut) return;
    ended_ = true;
    if (place_ == Place::kValue) {
      step();
      if (place_ == Place::kValue) end_value(text_.size());
    }
    if (place_ == Place::kBetween) end_call();
  }

 private:
  enum class Place : uint8_t { kOpen, kName, kBetween, kKey, kValueOpen, kValue };
  // The result of a step: it needs more text, can be followed by another at once, or was the last.
  enum class Step : uint8_t { kMore, kAgain, kDone, kFailed };

  Status read() {
    while (true) {
      switch (step()) {
        case Step::kAgain: break;
        case Step::kMore: return Status::kGoing;
        case Step::kDone: return Status::kDone;
        case Step::kFailed: return Status::kFailed;
      }
    }
  }

  Step step() {
    switch (place_) {
      case Place::kOpen: return read_open();
      case Place::kName: return read_name();
      case Place::kBetween: return read_between();
      case Place::kKey: return read_key();
      case Place::kValueOpen: return read_value_open();
      case Place::kValue: break;
    }
    return read_value();
  }

  void skip_space() {
    const size_t first = text_.find_first_not_of(" \t\r\n");
    text_.erase(0, std::min(first, text_.size()));
  }

  // Takes a tag if the text begins with it. Sets *may_come if more text may complete the tag.
  bool take_tag(std::string_view tag, bool* may_come) {
    if (tag.empty()) return false;
    if (text_.starts_with(tag)) {
      text_.erase(0, tag.size());
      return true;
    }
    *may_come = *may_come || tag.starts_with(text_);
    return false;
  }

  Step read_open() {
    skip_space();
    place_ = Place::kName;
    if (context_.format.name_open.empty()) return Step::kAgain;
    bool may_come = false;
    if (take_tag(context_.format.name_open, &may_come)) return Step::kAgain;
    place_ = Place::kOpen;
    return may_come ? Step::kMore : Step::kFailed;
  }

  Step read_name() {
    size_t size = 0;
    while (size < text_.size() && is_name_character(text_[size])) ++size;
    name_.append(text_, 0, size);
    text_.erase(0, size);
    if (text_.empty()) return Step::kMore;
    const std::string& close = context_.format.name_close;
    if (name_.empty() || !(close.empty() || text_.starts_with(close))) return Step::kFailed;
    text_.erase(0, close.size());
    place_ = Place::kBetween;
    return Step::kAgain;
  }

  Step read_between() {
    skip_space();
    if (text_.empty()) return Step::kMore;
    const ToolFormat& format = context_.format;
    bool may_come = false;
    if (take_tag(format.key_open, &may_come)) {
      begin_call();
      place_ = Place::kKey;
      return Step::kAgain;
    }
    if (take_tag(format.arguments_close, &may_come) || take_tag(format.call_end, &may_come)) {
      begin_call();
      end_call();
      return Step::kDone;
    }
    if (may_come) return Step::kMore;
    if (!context_.writer.open()) return Step::kFailed;
    text_.erase(0, 1);  // no text is expected here
    return Step::kAgain;
  }

  Step read_key() {
    const std::string& close = context_.format.key_close;
    const size_t end = text_.find(close);
    if (end > kMostKeyBytes) {  // the key is too long, or has no end
      const size_t certain = kMostKeyBytes + close.size();
      return text_.size() < certain ? Step::kMore : broken(certain);
    }
    std::string key = text_.substr(0, end);
    absl::StripAsciiWhitespace(&key);
    text_.erase(0, end + close.size());
    type_ = context_.tools.type_of(name_, key);
    std::string json = num_arguments_++ == 0 ? "{" : ", ";
    append_json_string(&json, key);
    json += type_.only_string() ? ": \"" : ": ";
    context_.writer.arguments(json);
    place_ = Place::kValueOpen;
    return Step::kAgain;
  }

  Step read_value_open() {
    const ToolFormat& format = context_.format;
    if (!format.value_open.empty()) {
      skip_space();
      bool may_come = false;
      if (!take_tag(format.value_open, &may_come)) {
        const std::string& tag = format.value_open;
        const auto other = std::mismatch(text_.begin(), text_.end(), tag.begin(), tag.end()).first;
        return may_come ? Step::kMore : broken(static_cast<size_t>(other - text_.begin()));
      }
    }
    if (format.value_in_lines) {
      if (text_.empty() || text_ == "\r") return Step::kMore;
      const size_t line = text_.starts_with("\r\n") ? 2 : text_.starts_with('\n') ? 1 : 0;
      text_.erase(0, line);
    }
    searched_ = 0;
    place_ = Place::kValue;
    return Step::kAgain;
  }

  // A tag closes the value only if another tag follows, because a string may contain the text of
  // the tag.
  Step read_value() {
    const std::string& close = context_.format.value_close;
    while (true) {
      const size_t end = text_.find(close, searched_);
      if (end == text_.npos) return pass_on();
      const size_t next = text_.find_first_not_of(" \t\r\n", end + close.size());
      if (next == text_.npos && !ended_) return Step::kMore;
      if (next == text_.npos || text_[next] == '<' || text_[next] == kControlCode) {
        end_value(end);
        return Step::kAgain;
      }
      searched_ = end + close.size();
    }
  }

  // Passes on the text that is certainly part of a string, and keeps what may be the closing tag
  // and the line break before it.
  Step pass_on() {
    const std::string& close = context_.format.value_close;
    size_t keep = std::min(text_.size(), close.size() - 1);
    while (
        !std::string_view(close).starts_with(std::string_view(text_).substr(text_.size() - keep))) {
      --keep;
    }
    size_t end = text_.size() - keep;
    if (context_.format.value_in_lines && end > 0 && text_[end - 1] == '\n') --end;
    if (context_.format.value_in_lines && end > 0 && text_[end - 1] == '\r') --end;
    if (type_.only_string()) {
      std::string json;
      append_escaped(without_control_codes(std::string_view(text_).substr(0, end)), &json);
      context_.writer.arguments(json);
      text_.erase(0, end);
      end = 0;
    }
    searched_ = end;
    return Step::kMore;
  }

  void end_value(size_t end) {
    std::string_view value = std::string_view(text_).substr(0, end);
    if (context_.format.value_in_lines && value.ends_with('\n')) {
      value.remove_suffix(value.ends_with("\r\n") ? 2 : 1);
    }
    std::string json;
    if (type_.only_string()) {
      append_escaped(without_control_codes(value), &json);
      json.push_back('"');
    } else {
      json = argument_to_json(type_, without_control_codes(value));
    }
    context_.writer.arguments(json);
    text_.erase(0, end + context_.format.value_close.size());
    place_ = Place::kBetween;
  }

  // Handles text that is not an argument: the part of the call that was read stays. Drops the first
  // `bytes`, up to the place where that became certain, so that the result does not depend on how
  // the text was cut.
  Step broken(size_t bytes) {
    text_.erase(0, bytes);
    return Step::kDone;
  }

  void begin_call() {
    if (!context_.writer.open()) context_.writer.begin(name_);
  }

  void end_call() {
    context_.writer.arguments(num_arguments_ == 0 ? "{}" : "}");
    context_.writer.end();
  }

  const CallContext context_;
  Place place_ = Place::kOpen;
  std::string text_;  // what is not read yet
  std::string name_;
  ArgumentType type_;
  int num_arguments_ = 0;
  size_t searched_ = 0;  // no closing tag of the value begins before
  bool ended_ = false;   // no more text comes
};

}  // namespace

std::unique_ptr<CallReader> tagged_call_reader(const CallContext& context) {
  return std::make_unique<TaggedCallReader>(context);
}

}  // namespace deltaserve
