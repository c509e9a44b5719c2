// The messages of a conversation, and the requests and answers that carry them.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/loadgen/sse.h"

namespace deltaserve {

// These are sent with every request.
struct ChatSettings {
  std::optional<int64_t> max_tokens;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<int64_t> seed;
};

class ChatHistory {
 public:
  // Sets the system message; an empty text removes it.
  void set_system(const std::string& text);
  void add_user(const std::string& text);
  // A reasoning that is empty is left out.
  void add_answer(const std::string& text, const std::string& reasoning);
  // Removes the last message of the user with all messages after it, or only the messages after it.
  // Returns false if there is none.
  bool remove_last_turn();
  bool remove_last_answer();

  // Returns the body of a request that streams, with its usage.
  std::string request(const std::string& model, const ChatSettings& settings) const;
  // Returns {"model", "messages"} as JSON.
  std::string saved(const std::string& model) const;

 private:
  boost::json::array all_messages() const;
  bool ends_with(std::string_view role) const;

  std::string system_;
  boost::json::array messages_;  // of the user and the assistant
};

// Reads the events of one answer. Its figures are those of the server. One that sends no times gets
// the time from the request to the last text: an event may have any number of tokens, so the times
// between events say nothing about the time between tokens.
class AnswerReader {
 public:
  enum class Part : uint8_t { kReasoning, kText };
  using Print = std::function<void(Part part, std::string_view text)>;

  // `print` gets the answer as it arrives.
  explicit AnswerReader(Print print);

  // Takes bytes of the event stream. Returns false if they are not an answer, or if it is too long;
  // see status().
  bool feed(std::string_view bytes);
  const absl::Status& status() const { return status_; }

  const std::string& text() const { return text_; }
  const std::string& reasoning() const { return reasoning_; }
  // Returns a line such as "12 tokens, 40.1 tokens/s; prompt: 80 tokens, 64 reused".
  std::string figures() const;

 private:
  using Clock = std::chrono::steady_clock;

  bool take_event(std::string_view data);
  void take_delta(const boost::json::value& delta);
  void take_usage(const boost::json::value& usage);
  void grow(Part part, std::string* whole, std::string_view piece);

  const Print print_;
  SseParser parser_;
  absl::Status status_;
  std::string text_, reasoning_;
  int64_t pieces_ = 0;
  const Clock::time_point begin_ = Clock::now();
  std::optional<Clock::time_point> last_;  // when text came
  std::optional<double> decode_ms_;        // from the first token to the last
  std::string finish_reason_;
  std::optional<int64_t> prompt_tokens_, answer_tokens_, reused_tokens_;
};

}  // namespace deltaserve
