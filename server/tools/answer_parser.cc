#include "server/tools/answer_parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"

namespace deltaserve {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kBrace = "{";

// A text that begins like a call is held back up to this many bytes.
constexpr size_t kMostHeldBytes = 64 * 1024;

std::string_view stripped(const std::string& text) {
  const size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return std::string_view(text).substr(first, text.find_last_not_of(kSpace) - first + 1);
}

bool begins_any(std::string_view text, const std::vector<std::string>& markers) {
  return std::any_of(markers.begin(), markers.end(), [&](const std::string& marker) {
    return text.size() < marker.size() && marker.starts_with(text);
  });
}

const std::string* marker_at_front(std::string_view text, const std::vector<std::string>& markers) {
  for (const std::string& marker : markers) {
    if (text.starts_with(marker)) return &marker;
  }
  return nullptr;
}

}  // namespace

AnswerParser::AnswerParser(std::shared_ptr<const AnswerRules> rules)
    : rules_(std::move(rules)),
      writer_(rules_->markup->tools() ? rules_->markup->tools()->ids : CallIdShape::kAny,
              rules_->calls_before, rules_->only_first_call) {
  list_markers();
  if (!rules_->reads_reasoning || !rules_->markup->reasoning()) return;
  switch (rules_->start) {
    case ReasoningStart::kByModel: mode_ = Mode::kLead; break;
    case ReasoningStart::kOpen:
      mode_ = Mode::kReasoning;
      reasoning_may_repeat_ = true;
      break;
    case ReasoningStart::kNone: break;
  }
}

void AnswerParser::add_begin(const std::string& marker, Begin::Reader reader, bool takes_marker) {
  if (!marker.empty()) begins_.push_back({marker, reader, takes_marker});
}

void AnswerParser::list_markers() {
  using Reader = Begin::Reader;
  if (const auto& format = rules_->markup->tools(); format && rules_->reads_calls) {
    switch (format->syntax) {
      case CallSyntax::kJsonObject: add_begin(format->call_begin, Reader::kJson); break;
      case CallSyntax::kJsonList: add_begin(format->section_begin, Reader::kJson); break;
      case CallSyntax::kBareJson:
        add_begin(format->call_begin, Reader::kPythonOrJson);
        add_begin(std::string(kBrace), Reader::kBareJson, true);
        closers_.emplace_back(stripped(format->between));
        break;
      case CallSyntax::kHeader:
        add_begin(format->section_begin, Reader::kHeader);
        add_begin(format->call_begin, Reader::kHeader);
        break;
      case CallSyntax::kTags:
        add_begin(format->call_begin, Reader::kTagged);
        add_begin(format->name_open, Reader::kTagged, true);
        break;
      case CallSyntax::kPythonCalls: add_begin(format->section_begin, Reader::kPython); break;
    }
    for (const std::string& marker : format->other_begins) add_begin(marker, Reader::kJson);
    closers_.insert(closers_.end(), format->other_ends.begin(), format->other_ends.end());
    for (const std::string* end :
         {&format->call_end, &format->section_end, &format->arguments_close}) {
      if (!end->empty()) closers_.emplace_back(stripped(*end));
    }
  }
  for (const Begin& begin : begins_) content_markers_.push_back(begin.marker);
  if (const auto& reasoning = rules_->markup->reasoning(); reasoning && rules_->reads_reasoning) {
    reasoning_markers_ = reasoning->closes;
    content_markers_.insert(content_markers_.end(), reasoning->answer_marks.begin(),
                            reasoning->answer_marks.end());
  }
  for (const Begin& begin : begins_) {
    if (begin.marker != kBrace) reasoning_markers_.push_back(begin.marker);
  }
}

void AnswerParser::append(std::string_view text, std::span<const ControlToken> controls,
                          std::vector<AnswerDelta>* out) {
  out_ = out;
  writer_.write_to(out);
  controls_.insert(controls_.end(), controls.begin(), controls.end());
  while (true) {
    const auto place = controls_.empty() ? static_cast<int64_t>(text.size())
                                         : controls_.front().text_bytes - text_bytes_;
    const size_t before = std::min(text.size(), static_cast<size_t>(std::max<int64_t>(place, 0)));
    held_.append(text.substr(0, before));
    text.remove_prefix(before);
    text_bytes_ += static_cast<int64_t>(before);
    if (controls_.empty() || controls_.front().text_bytes > text_bytes_) break;
    held_.append(rules_->markup->code(controls_.front().token));
    controls_.pop_front();
  }
  read_all();
}

void AnswerParser::finish(bool cut, std::vector<AnswerDelta>* out) {
  out_ = out;
  writer_.write_to(out);
  read_all();
  while (mode_ == Mode::kCall) end_call_text(cut);
  if (mode_ == Mode::kBehindCall && begins_any(held_, closers_)) held_.clear();
  if (cut) drop_cut_marker();
  if (mode_ != Mode::kReasoning) mode_ = Mode::kContent;
  say(held_.size());
  if (mode_ == Mode::kContent && !drops_space_ && !space_.empty()) {
    append_delta({AnswerDelta::Kind::kContent, std::exchange(space_, {})}, out_);
  }
}

// Ends the reading of a call at the end of the answer.
void AnswerParser::end_call_text(bool cut) {
  if (reader_ != nullptr) reader_->finish(cut);
  if (!reported() && !cut) {
    give_back();
    return read_all();
  }
  writer_.end();
  held_.clear();
  drops_space_ = true;
  mode_ = Mode::kContent;
}

// Drops the beginning of a marker that was cut by the length of the answer. A single character is
// kept.
void AnswerParser::drop_cut_marker() {
  const std::string_view text = stripped(held_);
  const auto is_beginning_of = [&](const std::vector<std::string>& markers) {
    return text.size() > 1 && begins_any(text, markers);
  };
  const auto& reasoning = rules_->markup->reasoning();
  const bool lead = mode_ == Mode::kLead && is_beginning_of(reasoning->opens);
  if (lead || is_beginning_of(mode_ == Mode::kReasoning ? reasoning_markers_ : content_markers_)) {
    held_.clear();
  }
}

void AnswerParser::read_all() {
  while (step()) {
  }
}

// Reads a part of the held text. Returns false if more text is needed.
bool AnswerParser::step() {
  if (held_.empty()) return false;
  switch (mode_) {
    case Mode::kLead: return read_lead();
    case Mode::kReasoning: return read_reasoning();
    case Mode::kContent: return read_content();
    case Mode::kBehindCall: return read_behind_call();
    case Mode::kCall: break;
  }
  return read_call();
}

// Finds the first of the markers in the held text; of several at one place the longest.
AnswerParser::Match AnswerParser::find(const std::vector<std::string>& markers) const {
  Match match{held_.size()};
  for (size_t i = 0; i < markers.size(); ++i) {
    const size_t at = held_.find(markers[i]);
    if (at == held_.npos) continue;
    const bool longer = match.marker >= 0 && at == match.at &&
                        markers[i].size() > markers[static_cast<size_t>(match.marker)].size();
    if (at < match.at || longer) match = {at, static_cast<int>(i)};
  }
  size_t longest = 0;
  for (const std::string& marker : markers) longest = std::max(longest, marker.size());
  const size_t from = held_.size() - std::min(held_.size(), longest);
  for (size_t at = from; at < match.at; ++at) {
    if (begins_any(std::string_view(held_).substr(at), markers)) return {at};
  }
  return match;
}

bool AnswerParser::read_lead() {
  const ReasoningFormat& format = *rules_->markup->reasoning();
  const size_t first = held_.find_first_not_of(kSpace);
  if (first == held_.npos) return false;
  const std::string_view text = std::string_view(held_).substr(first);
  if (const std::string* open = marker_at_front(text, format.opens)) {
    held_.erase(0, first + open->size());
    mode_ = Mode::kReasoning;
    return true;
  }
  if (begins_any(text, format.opens)) return false;
  mode_ = Mode::kContent;
  return true;
}

bool AnswerParser::read_reasoning() {
  const ReasoningFormat& format = *rules_->markup->reasoning();
  if (reasoning_may_repeat_) {
    const size_t first = held_.find_first_not_of(kSpace);
    if (first == held_.npos) return false;
    const std::string_view text = std::string_view(held_).substr(first);
    if (begins_any(text, format.opens)) return false;
    reasoning_may_repeat_ = false;
    if (const std::string* open = marker_at_front(text, format.opens)) {
      held_.erase(0, first + open->size());
      return true;
    }
  }
  const Match match = find(reasoning_markers_);
  say(match.at);
  if (match.marker < 0) return false;
  const auto marker = static_cast<size_t>(match.marker);
  if (marker < format.closes.size()) {
    held_.erase(0, format.closes[marker].size());
    space_.clear();
    drops_space_ = true;
    mode_ = Mode::kContent;
    return true;
  }
  const auto begin = std::find_if(begins_.begin(), begins_.end(), [&](const Begin& one) {
    return one.marker == reasoning_markers_[marker];
  });
  begin_call(*begin);
  return true;
}

bool AnswerParser::read_content() {
  const Match match = find(content_markers_);
  say(match.at);
  if (match.marker < 0) return false;
  const auto marker = static_cast<size_t>(match.marker);
  if (marker < begins_.size()) {
    begin_call(begins_[marker]);
  } else {
    held_.erase(0, content_markers_[marker].size());
  }
  return true;
}

bool AnswerParser::read_behind_call() {
  const size_t first = std::min(held_.find_first_not_of(kSpace), held_.size());
  space_.append(held_, 0, first);
  held_.erase(0, first);
  if (held_.empty()) return false;
  if (const std::string* closer = marker_at_front(held_, closers_)) {
    held_.erase(0, closer->size());
    return true;
  }
  if (begins_any(held_, closers_)) return false;
  mode_ = Mode::kContent;
  return true;
}

void AnswerParser::begin_call(const Begin& begin) {
  mode_before_call_ = mode_;
  mode_ = Mode::kCall;
  begin_ = &begin;
  reader_ = nullptr;
  calls_at_marker_ = writer_.num_calls();
  call_text_ = begin.marker;
  held_.erase(0, begin.marker.size());
}

// `first` is the first character after the marker.
std::unique_ptr<CallReader> AnswerParser::make_reader(char first) {
  const CallContext context{*rules_->markup->tools(), rules_->tools, writer_};
  switch (begin_->reader) {
    case Begin::Reader::kJson: break;
    case Begin::Reader::kBareJson: return json_call_reader(context, true, content_begun_);
    case Begin::Reader::kPythonOrJson:
      if (first == '{') return json_call_reader(context, true, false);
      return python_call_reader(context);
    case Begin::Reader::kHeader:
      if (first == '[' || first == '{') break;
      return header_call_reader(context);
    case Begin::Reader::kTagged: return tagged_call_reader(context);
    case Begin::Reader::kPython: return python_call_reader(context);
  }
  return json_call_reader(context, false, false);
}

bool AnswerParser::read_call() {
  CallReader::Status status = CallReader::Status::kGoing;
  size_t taken = 0;
  if (reader_ == nullptr) {
    const size_t first = held_.find_first_not_of(kSpace);
    if (first == held_.npos) return false;
    reader_ = make_reader(held_[first]);
    if (begin_->reader_takes_marker) status = reader_->take(begin_->marker, &taken);
  }
  taken = 0;
  if (status == CallReader::Status::kGoing) status = reader_->take(held_, &taken);
  if (!reported()) call_text_.append(held_, 0, taken);
  held_.erase(0, taken);
  if (status == CallReader::Status::kGoing) {
    if (!reported() && call_text_.size() > kMostHeldBytes) give_back();
    return true;
  }
  if (!reported()) {
    give_back();
    return true;
  }
  writer_.end();
  if (mode_before_call_ == Mode::kReasoning) space_.clear();
  drops_space_ = true;
  mode_ = Mode::kBehindCall;
  return true;
}

// Handles a text that began like a call and is none: its marker becomes text, and the rest is read
// again.
void AnswerParser::give_back() {
  held_.insert(0, call_text_);
  call_text_.clear();
  mode_ = mode_before_call_;
  say(begin_->marker.size());
}

// Emits the first bytes of the held text.
void AnswerParser::say(size_t bytes) {
  const std::string text = without_control_codes(std::string_view(held_).substr(0, bytes));
  held_.erase(0, bytes);
  if (mode_ == Mode::kReasoning) {
    say(AnswerDelta::Kind::kReasoning, text, &reasoning_begun_);
  } else {
    say(AnswerDelta::Kind::kContent, text, &content_begun_);
  }
}

// Emits text; white space at its end waits for more text.
void AnswerParser::say(AnswerDelta::Kind kind, std::string_view text, bool* begun) {
  const size_t last = text.find_last_not_of(kSpace);
  if (last == text.npos) {
    space_ += text;
    return;
  }
  std::string said = std::exchange(space_, std::string(text.substr(last + 1)));
  said += text.substr(0, last + 1);
  const bool reasoning = kind == AnswerDelta::Kind::kReasoning;
  if (!*begun && (reasoning || drops_space_)) said.erase(0, said.find_first_not_of(kSpace));
  *begun = true;
  if (!reasoning || rules_->tells_reasoning) append_delta({kind, std::move(said)}, out_);
}

}  // namespace deltaserve
