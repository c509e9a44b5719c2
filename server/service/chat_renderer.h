// Renders a chat through its template, and variations of it: with fewer messages, with other tools,
// with its answer. Also encodes the template's output.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/served_model.h"
#include "server/service/chat_prompt.h"
#include "server/template/chat_template.h"
#include "server/tools/answer_parser.h"
#include "server/tools/call_grammar.h"
#include "server/tools/conventions.h"

namespace deltaserve {

// Thread safety: one thread at a time.
class ChatRenderer {
 public:
  using Parts = std::vector<RenderedPart>;

  // `prompt` is valid, `model` outlives the renderer. Returns INVALID_ARGUMENT if the template that
  // the prompt brings cannot be parsed.
  static absl::StatusOr<std::unique_ptr<ChatRenderer>> make(const ServedModel& model,
                                                            ChatPrompt prompt);

  // Renders the prompt itself. Each of the functions below renders a variation of it and leaves it
  // as it was. Returns INVALID_ARGUMENT if the template refuses the messages.
  absl::StatusOr<Parts> render();

  // Returns how the answer to the prompt is read, given what render() returned; null: all of it is
  // content.
  std::shared_ptr<const AnswerRules> answer_rules(const Parts& prompt) const;

  // Returns what the grammar of such an answer must demand.
  std::shared_ptr<const AnswerDemand> answer_demand(const AnswerRules& rules) const;

  bool has_generation_prompt() const { return options_.add_generation_prompt; }
  absl::StatusOr<Parts> render_without_generation_prompt();
  // Renders only the first messages, without generation prompt. `content_bytes` cuts the content of
  // the last one to that many bytes.
  absl::StatusOr<Parts> render_first(size_t messages, std::optional<size_t> content_bytes = {});
  // Renders the first tools only, and a made-up one after them.
  absl::StatusOr<Parts> render_first_tools(size_t tools);

  // Puts an answer of the assistant after the messages, or after the content of a final message
  // that is continued. Nothing above may be called afterwards.
  void add_answer(const ParsedAnswer& answer);
  // Renders the messages and one more: of a user, or the result of the first call of the answer.
  absl::StatusOr<Parts> render_with_next(std::string_view content);

  // Returns how many messages at the beginning are the system's or the developer's.
  size_t num_system_messages() const;
  size_t num_messages() const { return messages().size(); }
  size_t num_tools() const;
  // Returns the bytes of text that the last rendering had.
  size_t text_bytes() const { return text_bytes_; }

 private:
  explicit ChatRenderer(const ServedModel& model) : model_(model) {}
  absl::Status find_template(const ChatPrompt& prompt);
  void set_reasoning_effort(const std::optional<std::string>& effort);
  void set_verbosity(const std::optional<std::string>& verbosity);
  const ChatTemplate& chat_template() const;
  absl::StatusOr<Parts> render_variables(bool generation_prompt);
  // Says what the name of a role does in a prompt: nothing, because the template treats it as any
  // other name; it is only written; or more.
  enum class RoleUse { kNone, kShown, kKnown };
  RoleUse use_of_role(const std::string& role, const Parts& whole);
  // Returns INVALID_ARGUMENT for a role that is without effect, or a misspelt one.
  absl::Status check_roles(const Parts& whole);
  boost::json::array& messages() { return variables_.at("messages").get_array(); }
  const boost::json::array& messages() const { return variables_.at("messages").get_array(); }

  const ServedModel& model_;
  std::unique_ptr<const ChatTemplate> own_template_;  // null: the model's is used
  ChatConventions own_conventions_;                   // of own_template_
  const ChatConventions* conventions_ = nullptr;
  std::optional<HistoryShaper> shaper_;
  ChatOptions options_;
  boost::json::object result_;  // of a call of the answer that was added, without its content
  boost::json::object variables_;
  size_t text_bytes_ = 0;
};

// Returns the token ids of a template's output. Text of the template itself may become control
// tokens, text of the request never does; no BOS is added. Errors are those of
// Tokenizer::encode_parts().
absl::StatusOr<std::vector<int32_t>> encode_parts(const Tokenizer& tokenizer,
                                                  const ChatRenderer::Parts& parts);

// Renders and encodes a valid prompt. Returns INVALID_ARGUMENT if the template refuses the
// messages, or there is none. Errors of the tokenizer are those of Tokenizer::encode_parts().
absl::StatusOr<std::vector<int32_t>> encode_chat(const ServedModel& model, ChatPrompt prompt);

}  // namespace deltaserve
