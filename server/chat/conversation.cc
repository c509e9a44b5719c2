#include "server/chat/conversation.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr size_t kMaxEventBytes = size_t{16} << 20;
constexpr size_t kMaxAnswerBytes = size_t{64} << 20;

// Returns null where there is nothing.
const json::value* value_at(const json::value& value, const char* pointer) {
  boost::system::error_code ec;
  return value.find_pointer(pointer, ec);
}

const json::string* string_at(const json::value& value, const char* pointer) {
  const json::value* found = value_at(value, pointer);
  return found != nullptr ? found->if_string() : nullptr;
}

std::optional<int64_t> count_at(const json::value& value, const char* pointer) {
  const json::value* found = value_at(value, pointer);
  if (found == nullptr || !found->is_number()) return std::nullopt;
  boost::system::error_code ec;
  const auto count = found->to_number<int64_t>(ec);
  return ec ? std::nullopt : std::optional(count);
}

}  // namespace

void ChatHistory::set_system(const std::string& text) {
  system_ = text;
}

void ChatHistory::add_user(const std::string& text) {
  messages_.push_back(json::object{{"role", "user"}, {"content", text}});
}

void ChatHistory::add_answer(const std::string& text, const std::string& reasoning) {
  json::object message = {{"role", "assistant"}, {"content", text}};
  if (!reasoning.empty()) message["reasoning_content"] = reasoning;
  messages_.push_back(std::move(message));
}

bool ChatHistory::ends_with(std::string_view role) const {
  return !messages_.empty() && messages_.back().at("role").as_string() == role;
}

bool ChatHistory::remove_last_answer() {
  if (ends_with("assistant")) messages_.pop_back();
  return ends_with("user");
}

bool ChatHistory::remove_last_turn() {
  if (!remove_last_answer()) return false;
  messages_.pop_back();
  return true;
}

json::array ChatHistory::all_messages() const {
  json::array all;
  if (!system_.empty()) all.push_back(json::object{{"role", "system"}, {"content", system_}});
  all.insert(all.end(), messages_.begin(), messages_.end());
  return all;
}

std::string ChatHistory::request(const std::string& model, const ChatSettings& settings) const {
  json::object body = {{"model", model},
                       {"messages", all_messages()},
                       {"stream", true},
                       {"stream_options", {{"include_usage", true}}}};
  const auto add = [&](const char* name, const auto& value) {
    if (value) body[name] = *value;
  };
  add("max_tokens", settings.max_tokens);
  add("temperature", settings.temperature);
  add("top_p", settings.top_p);
  add("seed", settings.seed);
  return json::serialize(body);
}

std::string ChatHistory::saved(const std::string& model) const {
  return json::serialize(json::object{{"model", model}, {"messages", all_messages()}}) + "\n";
}

AnswerReader::AnswerReader(Print print) : print_(std::move(print)), parser_(kMaxEventBytes) {}

bool AnswerReader::feed(std::string_view bytes) {
  const bool goes_on =
      parser_.feed(bytes, [this](const SseEvent& event) { return take_event(event.data); });
  if (parser_.too_long() && status_.ok()) status_ = invalid_argument("an event is too long");
  return goes_on;
}

bool AnswerReader::take_event(std::string_view data) {
  if (data == "[DONE]") return true;
  boost::system::error_code ec;
  const json::value event = json::parse(json::string_view(data.data(), data.size()), ec);
  if (ec) {
    status_ = invalid_argument("the server sends an event that is not JSON");
    return false;
  }
  if (const json::string* message = string_at(event, "/error/message")) {
    status_ = invalid_argument(std::string_view(message->data(), message->size()));
    return false;
  }
  if (const json::value* delta = value_at(event, "/choices/0/delta")) take_delta(*delta);
  if (const json::string* reason = string_at(event, "/choices/0/finish_reason")) {
    finish_reason_ = *reason;
  }
  if (const json::value* usage = value_at(event, "/usage")) take_usage(*usage);
  if (const json::value* decode = value_at(event, "/timings/decode_ms"); decode != nullptr) {
    if (decode->is_number()) decode_ms_ = decode->to_number<double>();
  }
  if (text_.size() + reasoning_.size() <= kMaxAnswerBytes) return true;
  status_ = invalid_argument("the answer is too long");
  return false;
}

void AnswerReader::take_delta(const json::value& delta) {
  for (const char* name : {"/reasoning_content", "/reasoning"}) {
    if (const json::string* piece = string_at(delta, name)) {
      grow(Part::kReasoning, &reasoning_, std::string_view(piece->data(), piece->size()));
      break;
    }
  }
  if (const json::string* piece = string_at(delta, "/content")) {
    grow(Part::kText, &text_, std::string_view(piece->data(), piece->size()));
  }
}

void AnswerReader::take_usage(const json::value& usage) {
  if (!usage.is_object()) return;
  prompt_tokens_ = count_at(usage, "/prompt_tokens");
  answer_tokens_ = count_at(usage, "/completion_tokens");
  reused_tokens_ = count_at(usage, "/prompt_tokens_details/cached_tokens");
}

void AnswerReader::grow(Part part, std::string* whole, std::string_view piece) {
  if (piece.empty()) return;
  ++pieces_;
  last_ = Clock::now();
  whole->append(piece);
  print_(part, piece);
}

std::string AnswerReader::figures() const {
  const int64_t tokens = answer_tokens_.value_or(pieces_);
  std::string line =
      absl::StrCat(answer_tokens_ ? "" : "about ", tokens, tokens == 1 ? " token" : " tokens");
  if (decode_ms_.value_or(0) > 0 && tokens > 1) {
    absl::StrAppendFormat(&line, ", %.1f tokens/s",
                          1e3 * static_cast<double>(tokens - 1) / *decode_ms_);
  } else if (!decode_ms_ && last_ && tokens > 0) {
    const auto seconds = std::chrono::duration<double>(*last_ - begin_);
    absl::StrAppendFormat(&line, ", %.1f tokens/s with the prompt's time",
                          static_cast<double>(tokens) / seconds.count());
  }
  if (prompt_tokens_) absl::StrAppend(&line, "; prompt: ", *prompt_tokens_, " tokens");
  if (reused_tokens_) absl::StrAppend(&line, ", ", *reused_tokens_, " reused");
  if (finish_reason_ == "length") absl::StrAppend(&line, "; cut off at the maximum length");
  return line;
}

}  // namespace deltaserve
