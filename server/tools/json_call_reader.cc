#include <boost/json/parse.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "server/tools/answer_markup.h"
#include "server/tools/call_reader.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

// Returns the value of a JSON string; empty if `text` is not one.
std::string string_of(std::string_view text) {
  boost::system::error_code ec;
  const json::value value = json::parse({text.data(), text.size()}, ec);
  if (ec || !value.is_string()) return {};
  return {value.get_string().data(), value.get_string().size()};
}

class JsonCallReader final : public CallReader {
 public:
  JsonCallReader(const CallContext& context, bool bare, bool known_only)
      : context_(context), bare_(bare), known_only_(known_only) {}

  Status take(std::string_view text, size_t* taken) override {
    Status status = Status::kGoing;
    size_t at = 0;
    while (at < text.size() && status == Status::kGoing) {
      if (text[at] != kControlCode) {
        status = take_character(text[at++]);
      } else if (end_.in_string()) {
        at += kControlCodeBytes;
      } else {
        status = end_or_fail();
      }
    }
    pass_on();
    *taken = at;
    return status;
  }

  void finish(bool cut) override {
    if (!cut || call_.begun || call_.name.empty() || !call_.has_arguments) return;
    context_.writer.begin(call_.name, call_.id);
    context_.writer.arguments(call_.arguments);
  }

 private:
  enum class Place : uint8_t {
    kStart,
    kObject,
    kKey,
    kInKey,
    kColon,
    kValue,
    kInValue,
    kScalar,
    kBehindValue,
    kBehindObject
  };
  enum class Member : uint8_t { kName, kArguments, kId, kOther };

  // The call of the object that is being read.
  struct Call {
    std::string name;
    std::string id;
    std::string arguments;  // the part that is not passed on yet
    bool has_arguments = false;
    bool begun = false;  // the writer has begun it
  };

  Status end_or_fail() const { return call_.begun ? Status::kDone : Status::kFailed; }

  void pass_on() {
    if (call_.begun) context_.writer.arguments(std::exchange(call_.arguments, {}));
  }

  Status take_character(char c) {
    const bool space = absl::ascii_isspace(c);
    switch (place_) {
      case Place::kInKey:
      case Place::kInValue: return take_inside(c);
      case Place::kScalar:
        if (!space && c != ',' && c != '}') {
          value_.push_back(c);
          return Status::kGoing;
        }
        place_ = Place::kBehindValue;
        if (const Status status = take_value(); status != Status::kGoing) return status;
        break;
      default: break;
    }
    return space ? Status::kGoing : take_mark(c);
  }

  // Takes a character between keys and values.
  Status take_mark(char c) {
    switch (place_) {
      case Place::kStart:
        in_list_ = c == '[' && !bare_;
        if (in_list_) return go_to(Place::kObject);
        [[fallthrough]];
      case Place::kObject:
        if (in_list_ && c == ']') return end_of_list();
        call_ = {};
        return c == '{' ? go_to(Place::kKey) : end_or_fail();
      case Place::kKey:
        if (c == '}') return end_of_object();
        return c == '"' ? begin_value(c, Place::kInKey) : end_or_fail();
      case Place::kColon: return c == ':' ? go_to(Place::kValue) : end_or_fail();
      case Place::kValue: return begin_member(c);
      case Place::kBehindValue:
        if (c == '}') return end_of_object();
        return c == ',' ? go_to(Place::kKey) : end_or_fail();
      case Place::kBehindObject:
        if (c == ']') return end_of_list();
        return c == ',' ? go_to(Place::kObject) : Status::kDone;
      default: return end_or_fail();
    }
  }

  Status go_to(Place place) {
    place_ = place;
    return Status::kGoing;
  }

  Status begin_value(char c, Place place) {
    value_.clear();
    end_ = {};
    place_ = place;
    return take_inside(c);
  }

  Status begin_member(char c) {
    const bool nested = c == '{' || c == '[';
    if (member_ == Member::kName && c != '"') return end_or_fail();
    if (member_ == Member::kArguments) {
      if (bare_ && c != '{') return Status::kFailed;
      call_.has_arguments = true;
      const bool at_once = c == '{' && !call_.name.empty() && !context_.format.id_in_object;
      if (at_once) begin_call();
      is_object_ = c == '{';
    }
    if (nested || c == '"') return begin_value(c, Place::kInValue);
    value_ = c;
    return go_to(Place::kScalar);
  }

  // Takes a character of a key, a string, a list or an object.
  Status take_inside(char c) {
    const bool passed = place_ == Place::kInValue && member_ == Member::kArguments && is_object_;
    (passed ? call_.arguments : value_).push_back(c);
    if (!end_.take(c)) return Status::kGoing;
    if (place_ == Place::kInKey) return take_key();
    place_ = Place::kBehindValue;
    return passed ? Status::kGoing : take_value();
  }

  Status take_key() {
    const std::string key = string_of(value_);
    member_ = Member::kOther;
    if (key == "name") member_ = Member::kName;
    if (key == "arguments" || key == "parameters") member_ = Member::kArguments;
    if (key == "id") member_ = Member::kId;
    if (bare_ && member_ == Member::kOther && key != "type") return end_or_fail();
    return go_to(Place::kColon);
  }

  Status take_value() {
    std::string text = string_of(value_);
    switch (member_) {
      case Member::kName:
        if (text.empty() || (known_only_ && !context_.tools.has_tool(text))) return end_or_fail();
        call_.name = std::move(text);
        break;
      case Member::kId: call_.id = std::move(text); break;
      case Member::kArguments:
        // Some models write the object as a string, and write nothing for no arguments.
        call_.arguments = value_.starts_with('"') ? std::move(text)
                          : value_ == "null"      ? ""
                                                  : value_;
        break;
      case Member::kOther: break;
    }
    return Status::kGoing;
  }

  void begin_call() {
    context_.writer.begin(call_.name, call_.id);
    call_.begun = true;
  }

  Status end_of_object() {
    if (!call_.begun) {
      if (call_.name.empty() || (bare_ && !call_.has_arguments)) return Status::kFailed;
      begin_call();
      if (call_.arguments.empty()) call_.arguments = "{}";
    }
    pass_on();
    context_.writer.end();
    return in_list_ ? go_to(Place::kBehindObject) : Status::kDone;
  }

  Status end_of_list() const {
    return context_.writer.num_calls() > 0 ? Status::kDone : Status::kFailed;
  }

  const CallContext context_;
  const bool bare_;
  const bool known_only_;
  Place place_ = Place::kStart;
  Member member_ = Member::kOther;
  bool in_list_ = false;
  bool is_object_ = false;  // the arguments are an object
  Call call_;
  std::string value_;  // the key or the value that is being read
  JsonValueEnd end_;
};

}  // namespace

std::unique_ptr<CallReader> json_call_reader(const CallContext& context, bool bare,
                                             bool known_only) {
  return std::make_unique<JsonCallReader>(context, bare, known_only);
}

}  // namespace deltaserve
