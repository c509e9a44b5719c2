// The chat templates of a model folder, compiled.
#pragma once
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/tokenizer/base/tokenizer_settings.h"
#include "server/base/served_model.h"
#include "server/template/chat_template.h"
#include "server/tools/conventions.h"

namespace deltaserve {

struct ChatTemplates {
  std::unique_ptr<const ChatTemplate> of_chats;  // null: there is none, or it cannot be used
  std::unique_ptr<const ChatTemplate> of_tools;  // for chats with tools; null: the same
  std::string refusal;  // a sentence that says why the model's template cannot be used
  // The sources of the two templates, and the conventions that they show; give_to() fills in the
  // latter.
  std::string source_of_chats;
  std::string source_of_tools;
  ChatConventions conventions_of_chats;
  ChatConventions conventions_of_tools;

  // Gives the templates to `model`, which they must outlive. All other members of `model` that
  // templates see must be set before.
  void give_to(ServedModel* model);
};

// Compiles the model's templates, or that of `file` if it is not empty. If the model's template
// cannot be compiled, only chat is turned off; if the user's cannot, that is an error. A model may
// have a template only for chats with tools.
absl::StatusOr<ChatTemplates> load_chat_templates(const TokenizerSettings& settings,
                                                  const std::string& file);

}  // namespace deltaserve
