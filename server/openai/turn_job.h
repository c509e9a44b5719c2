// A turn of the assistant, for the APIs that show an answer as a list of blocks: text, reasoning
// and tool calls, in the order in which they were generated. A stream has events for the beginning,
// the growth and the end of each block; a whole reply has the same blocks.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/openai/answer_job.h"
#include "server/service/generation.h"

namespace deltaserve {

struct TurnBlock {
  enum class Kind : uint8_t { kText, kReasoning, kCall };
  Kind kind = Kind::kText;
  std::string text = {};     // kCall: the arguments
  std::string call_id = {};  // kCall, like the next
  std::string name = {};
};

struct Turn {
  std::string id;
  int64_t created = 0;  // Unix seconds
  std::vector<TurnBlock> blocks = {};
  Usage usage = {};
  FinishReason finish = FinishReason::kNone;
  std::string stop_string = {};  // that ended it
};

// A TurnFormat writes a turn as one of the APIs does. One object writes one turn; places are
// indices into its blocks.
class TurnFormat {
 public:
  virtual ~TurnFormat() = default;

  // These append the events of a stream.
  virtual void begin(const Turn& turn, std::string* out) = 0;
  virtual void begin_block(const Turn& turn, size_t place, std::string* out) = 0;
  virtual void grow_block(const Turn& turn, size_t place, std::string_view piece,
                          std::string* out) = 0;
  virtual void end_block(const Turn& turn, size_t place, std::string* out) = 0;
  virtual void end(const Turn& turn, std::string* out) = 0;
  virtual void fail(const Turn& turn, const ApiError& error, std::string* out) = 0;
  // Returns the whole reply.
  virtual std::string whole(const Turn& turn) = 0;
};

// A request of such an API, read: a chat with one answer.
struct TurnRequest {
  GenerationRequest generation;
  std::string id_prefix;  // such as "resp_"
  std::unique_ptr<TurnFormat> format;
};

// The same for all requests of an API.
using ReadTurn = std::optional<ApiError> (*)(std::string_view body, const ServedModel& model,
                                             const ServerLimits& limits, TurnRequest* request);

// Reads `body`. Heavy for large bodies: never on an I/O thread.
std::variant<std::unique_ptr<AnswerJob>, ApiError> read_turn(Services& services, ReadTurn read,
                                                             std::string body, Arrival arrival);

}  // namespace deltaserve
