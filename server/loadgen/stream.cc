#include "server/loadgen/stream.h"

#include <algorithm>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parse.hpp>
#include <optional>

#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

// A Chunk holds what one event of a stream says.
struct Chunk {
  bool has_tokens = false;
  int64_t prompt_tokens = -1;
  int64_t output_tokens = -1;
  std::optional<std::string> error;
};

// Returns the value, or null for malformed JSON: no value of this API is null.
json::value parse_json(std::string_view text, const BenchServeLimits& limits,
                       json::storage_ptr storage) {
  json::parse_options options;
  options.max_depth = limits.json_depth;
  json::error_code ec;
  json::value value = json::parse(text, ec, std::move(storage), options);
  return ec ? json::value() : value;
}

const json::object* object_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr ? value->if_object() : nullptr;
}

bool is_filled(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return false;
  if (const json::string* text = value->if_string()) return !text->empty();
  if (const json::array* list = value->if_array()) return !list->empty();
  return false;
}

bool has_tokens(const json::object& choice) {
  if (is_filled(choice, "text") || is_filled(choice, "token_ids")) return true;
  const json::object* delta = object_at(choice, "delta");
  if (delta == nullptr) return false;
  constexpr std::string_view kKeys[] = {"content", "reasoning_content", "reasoning", "tool_calls"};
  return std::any_of(std::begin(kKeys), std::end(kKeys),
                     [&](std::string_view key) { return is_filled(*delta, key); });
}

// Returns -1 where there is no valid count.
int64_t count_at(const json::object& object, std::string_view key, const BenchServeLimits& limits) {
  const json::value* value = object.if_contains(key);
  const int64_t* count = value != nullptr ? value->if_int64() : nullptr;
  return count != nullptr && *count >= 0 && *count <= limits.token_count ? *count : -1;
}

// Returns the message of an error, in the shapes that servers give it.
std::optional<std::string> error_in(const json::object& body) {
  const json::value* error = body.if_contains("error");
  const json::object* holder = &body;
  if (error != nullptr && !error->is_null()) {
    if (const json::string* text = error->if_string()) return std::string(*text);
    holder = error->if_object();
    if (holder == nullptr) return "an error without a message";
  }
  const json::value* message = holder->if_contains("message");
  if (message != nullptr && message->is_string()) return std::string(message->get_string());
  if (holder != &body) return "an error without a message";
  return std::nullopt;
}

// Returns nullopt where the text is not a chunk.
std::optional<Chunk> read_chunk(std::string_view text, const BenchServeLimits& limits) {
  unsigned char buffer[8192];
  json::monotonic_resource storage(buffer);
  const json::value value = parse_json(text, limits, &storage);
  const json::object* body = value.if_object();
  if (body == nullptr) return std::nullopt;
  Chunk chunk;
  const json::value* choices = body->if_contains("choices");
  if (choices == nullptr || !choices->is_array()) {
    chunk.error = error_in(*body);
    if (!chunk.error) return std::nullopt;
    return chunk;
  }
  const json::value* error = body->if_contains("error");
  if (error != nullptr && !error->is_null()) chunk.error = error_in(*body);
  for (const json::value& choice : choices->get_array()) {
    if (!choice.is_object()) return std::nullopt;
    chunk.has_tokens = chunk.has_tokens || has_tokens(choice.get_object());
  }
  if (const json::object* usage = object_at(*body, "usage")) {
    chunk.prompt_tokens = count_at(*usage, "prompt_tokens", limits);
    chunk.output_tokens = count_at(*usage, "completion_tokens", limits);
    if (chunk.prompt_tokens < 0 || chunk.output_tokens < 0) return std::nullopt;
  }
  return chunk;
}

}  // namespace

std::string failure_name(FailureKind kind, int status) {
  switch (kind) {
    case FailureKind::kNone: return "none";
    case FailureKind::kConnect: return "cannot connect";
    case FailureKind::kTimeout: return "timeout";
    case FailureKind::kCutOff: return "cut off";
    case FailureKind::kHttpStatus: return absl::StrCat("http ", status);
    case FailureKind::kErrorEvent: return "error event";
    case FailureKind::kMalformed: return "malformed reply";
    case FailureKind::kInterrupted: return "interrupted";
  }
  return "unknown";
}

CompletionStream::CompletionStream(int64_t tokens, const BenchServeLimits& limits)
    : limits_(limits), max_events_(2 * tokens + limits.spare_events), parser_(limits.event_bytes) {}

bool CompletionStream::feed(std::string_view bytes, double now) {
  if (failure_) return false;
  parser_.feed(bytes, [&](const SseEvent& event) { return on_event(event, now); });
  if (parser_.too_long()) {
    return fail(FailureKind::kMalformed,
                str_cat("an event of the stream is longer than ", limits_.event_bytes, " bytes"));
  }
  return !failure_;
}

bool CompletionStream::on_event(const SseEvent& event, double now) {
  if (times_.done >= 0) return true;  // after the end
  if (event.data == "[DONE]") {
    times_.done = now;
    return true;
  }
  if (event.type == "error") {
    return fail(FailureKind::kErrorEvent, error_message_of(event.data, limits_));
  }
  const std::optional<Chunk> chunk = read_chunk(event.data, limits_);
  if (!chunk) {
    return fail(FailureKind::kMalformed, str_cat("an event is not a chunk of a completion: ",
                                                 shown_message(event.data, limits_)));
  }
  if (chunk->error) return fail(FailureKind::kErrorEvent, *chunk->error);
  if (chunk->output_tokens >= 0) {
    times_.prompt_tokens = chunk->prompt_tokens;
    times_.output_tokens = chunk->output_tokens;
  }
  return !chunk->has_tokens || on_tokens(now);
}

bool CompletionStream::on_tokens(double now) {
  if (++times_.events > max_events_) {
    return fail(FailureKind::kMalformed, "the stream has more events than tokens were asked for");
  }
  if (times_.events == 1) {
    times_.first_token = now;
  } else {
    times_.gaps.push_back(static_cast<float>(now - times_.last_token));
  }
  times_.last_token = now;
  return true;
}

void CompletionStream::finish() {
  if (failure_) return;
  if (times_.done < 0) {
    fail(FailureKind::kCutOff, "the stream ended without [DONE]");
  } else if (times_.output_tokens < 0) {
    fail(FailureKind::kMalformed,
         "the stream has no usage; the server must know stream_options.include_usage");
  }
}

bool CompletionStream::fail(FailureKind kind, std::string_view message) {
  failure_ = {kind, 0, shown_message(message, limits_)};
  return false;
}

std::string shown_message(std::string_view text, const BenchServeLimits& limits) {
  std::string shown(text.substr(0, limits.message_bytes));
  for (char& c : shown) {
    const bool space = c == '\n' || c == '\r' || c == '\t';
    if (c < ' ' || c > '~') c = space ? ' ' : '?';  // works for signed and unsigned char
  }
  if (text.size() > limits.message_bytes) shown.append("...");
  return shown;
}

std::string error_message_of(std::string_view body, const BenchServeLimits& limits) {
  const json::value value = parse_json(body, limits, {});
  std::optional<std::string> message;
  if (const json::object* object = value.if_object()) message = error_in(*object);
  return shown_message(message.has_value() ? std::string_view(*message) : body, limits);
}

absl::StatusOr<std::vector<std::string>> model_ids_of(std::string_view body,
                                                      const BenchServeLimits& limits) {
  const json::value value = parse_json(body, limits, {});
  const json::object* object = value.if_object();
  const json::value* data = object != nullptr ? object->if_contains("data") : nullptr;
  std::vector<std::string> ids;
  if (data != nullptr && data->is_array()) {
    for (const json::value& model : data->get_array()) {
      const json::object* fields = model.if_object();
      const json::value* id = fields != nullptr ? fields->if_contains("id") : nullptr;
      if (id == nullptr || !id->is_string()) {
        return invalid_argument("a model of /v1/models has no id; give --model NAME");
      }
      ids.emplace_back(id->get_string());
    }
  }
  if (ids.empty()) return invalid_argument("/v1/models lists no model; give --model NAME");
  return ids;
}

}  // namespace deltaserve
