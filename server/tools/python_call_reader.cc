#include <utility>

#include "absl/strings/ascii.h"
#include "server/base/json_text.h"
#include "server/tools/answer_markup.h"
#include "server/tools/call_reader.h"

namespace deltaserve {
namespace {

constexpr std::string_view kMethod = ".call";  // of built-in tools: NAME.call(...)

class PythonCallReader final : public CallReader {
 public:
  explicit PythonCallReader(const CallContext& context) : context_(context) {}

  Status take(std::string_view text, size_t* taken) override {
    Status status = Status::kGoing;
    size_t at = 0;
    for (; at < text.size(); ++at) {
      status = text[at] == kControlCode ? end_or_fail() : take_character(text[at]);
      if (status != Status::kGoing) break;
    }
    *taken = at;
    return status;
  }

 private:
  enum class Place : uint8_t { kBetween, kName, kKey, kValue };

  Status end_or_fail() const {
    return num_calls_ > 0 || context_.writer.open() ? Status::kDone : Status::kFailed;
  }

  Status take_character(char c) {
    switch (place_) {
      case Place::kBetween:
        if (absl::ascii_isspace(c)) return Status::kGoing;
        if (!is_name_character(c)) return end_or_fail();
        place_ = Place::kName;
        name_.clear();
        [[fallthrough]];
      case Place::kName: return take_name(c);
      case Place::kKey: return take_key(c);
      case Place::kValue: break;
    }
    return take_value(c);
  }

  Status take_name(char c) {
    if (is_name_character(c)) {
      name_.push_back(c);
      return Status::kGoing;
    }
    if (c != '(') return end_or_fail();
    if (name_.ends_with(kMethod)) name_.resize(name_.size() - kMethod.size());
    context_.writer.begin(name_);
    num_arguments_ = 0;
    key_.clear();
    place_ = Place::kKey;
    return Status::kGoing;
  }

  Status take_key(char c) {
    if (c == ')') {
      end_call();
    } else if (c == '=') {
      value_.clear();
      place_ = Place::kValue;
    } else if (!absl::ascii_isspace(c) && c != ',') {
      key_.push_back(c);
    }
    return Status::kGoing;
  }

  Status take_value(char c) {
    const bool inside = quote_ != '\0' || depth_ > 0;
    if (!inside && (c == ',' || c == ')')) {
      end_value();
      if (c == ')') end_call();
      return Status::kGoing;
    }
    value_.push_back(c);
    if (quote_ != '\0') {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == quote_) {
        quote_ = '\0';
      }
    } else if (c == '"' || c == '\'') {
      quote_ = c;
    } else if (c == '(' || c == '[' || c == '{') {
      ++depth_;
    } else if (c == ')' || c == ']' || c == '}') {
      --depth_;
    }
    return Status::kGoing;
  }

  // An argument that is not a literal is passed on as a string.
  void end_value() {
    std::string json = num_arguments_++ == 0 ? "{" : ", ";
    append_json_string(&json, key_);
    json += ": ";
    if (const std::optional<std::string> literal = literal_to_json(value_)) {
      json += *literal;
    } else {
      absl::StripAsciiWhitespace(&value_);
      append_json_string(&json, value_);
    }
    context_.writer.arguments(json);
    key_.clear();
    place_ = Place::kKey;
  }

  void end_call() {
    context_.writer.arguments(num_arguments_ == 0 ? "{}" : "}");
    context_.writer.end();
    ++num_calls_;
    place_ = Place::kBetween;
  }

  const CallContext context_;
  Place place_ = Place::kBetween;
  std::string name_;
  std::string key_;
  std::string value_;
  char quote_ = '\0';  // the value is inside a string with this mark
  bool escaped_ = false;
  int depth_ = 0;
  int num_arguments_ = 0;
  int num_calls_ = 0;
};

}  // namespace

std::unique_ptr<CallReader> python_call_reader(const CallContext& context) {
  return std::make_unique<PythonCallReader>(context);
}

}  // namespace deltaserve
