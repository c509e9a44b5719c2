// The chat templates of a model folder, compiled.
#pragma once
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/tokenizer/tokenizer_settings.h"
#include "server/base/served_model.h"
#include "server/template/chat_template.h"
#include "server/tools/conventions.h"

namespace deltaserve {

struct ChatTemplates {
  std::unique_ptr<const ChatTemplate> of_chats;  // null: there is none, or it cannot be used
  std::unique_ptr<const ChatTemplate> of_tools;  // for chats with tools; null: the same
  std::string refusal;  // a sentence that says why the model's template cannot be used
  // The sources of the two, and what they show; give_to() fills the latter.
  std::string source_of_chats;
  std::string source_of_tools;
  ChatConventions conventions_of_chats;
  ChatConventions conventions_of_tools;

  // Tells the fronts about the templates, which must outlive the model. All else that templates
  // see of the model must be known.
  void give_to(ServedModel* model);
};

// Compiles the model's templates, or that of `file` if it is not empty. A template of the model
// that cannot be compiled turns off chat only; one of the user is an error. A model may have a
// template for chats with tools alone.
absl::StatusOr<ChatTemplates> load_chat_templates(const TokenizerSettings& settings,
                                                  const std::string& file);

}  // namespace deltaserve
