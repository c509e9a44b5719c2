#include "server/tools/call_reader.h"

#include <string>

#include "absl/strings/ascii.h"
#include "server/tools/call_ids.h"

namespace deltaserve {

void CallWriter::begin(std::string_view name, std::string_view id) {
  end();
  ++num_calls_;
  open_ = true;
  if (dropped()) return;
  AnswerDelta delta{AnswerDelta::Kind::kCallBegin, std::string(name), num_calls_ - 1};
  const bool own = !id.empty() && ids_ != CallIdShape::kAny && has_shape(ids_, id);
  delta.id = own ? std::string(id) : new_call_id(ids_, name, calls_before_ + num_calls_ - 1);
  append_delta(std::move(delta), out_);
}

void CallWriter::arguments(std::string_view json) {
  if (!open_ || dropped()) return;
  append_delta({AnswerDelta::Kind::kArguments, std::string(json), num_calls_ - 1}, out_);
}

void CallWriter::end() {
  if (!open_) return;
  open_ = false;
  if (!dropped()) append_delta({AnswerDelta::Kind::kCallEnd, "", num_calls_ - 1}, out_);
}

bool is_name_character(char c) {
  return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.' || c == ':' || c == '/';
}

bool JsonValueEnd::take(char c) {
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      return depth_ == 0;
    }
    return false;
  }
  switch (c) {
    case '"': in_string_ = true; return false;
    case '{':
    case '[': ++depth_; return false;
    case '}':
    case ']': return --depth_ <= 0;
    default: return false;
  }
}

}  // namespace deltaserve
