#include "server/commands/chat_templates.h"

#include "models/base/text.h"
#include "models/checkpoint/file.h"

namespace deltaserve {
namespace {

constexpr size_t kTemplateBytes = 256 * 1024;

using Parsed = absl::StatusOr<std::unique_ptr<const ChatTemplate>>;

// Compiles a template of the model; an empty source counts as no template.
void compile(const std::string& origin, const std::string& source,
             std::unique_ptr<const ChatTemplate>* compiled, std::string* refusal) {
  if (source.empty()) return;
  Parsed parsed = ChatTemplate::parse(source);
  if (parsed.ok()) {
    *compiled = *std::move(parsed);
  } else if (refusal->empty()) {
    *refusal = str_cat("chat is off: ", origin, ": ", parsed.status().message());
  }
}

}  // namespace

void ChatTemplates::give_to(ServedModel* model) {
  const auto learn = [&](const std::string& source, const ChatTemplate* one,
                         ChatConventions* conventions) -> const ChatConventions* {
    if (one == nullptr) return nullptr;
    *conventions = find_conventions(source, *one, *model);
    return conventions;
  };
  model->chat_conventions = learn(source_of_chats, of_chats.get(), &conventions_of_chats);
  model->tool_chat_conventions = learn(source_of_tools, of_tools.get(), &conventions_of_tools);
  model->chat_template = of_chats.get();
  model->tool_chat_template = of_tools.get();
  model->chat_refusal = refusal;
}

absl::StatusOr<ChatTemplates> load_chat_templates(const TokenizerSettings& settings,
                                                  const std::string& file) {
  ChatTemplates templates;
  if (file.empty()) {
    const std::string& origin = settings.chat_template_origin;
    templates.source_of_chats = settings.chat_template;
    templates.source_of_tools = settings.tool_chat_template;
    compile(origin, settings.chat_template, &templates.of_chats, &templates.refusal);
    compile(str_cat(origin, " tool_use"), settings.tool_chat_template, &templates.of_tools,
            &templates.refusal);
    if (!templates.refusal.empty()) {
      templates.of_chats = nullptr;
      templates.of_tools = nullptr;
    } else if (!settings.no_chat_template.empty()) {
      const bool none = templates.of_tools == nullptr;
      templates.refusal = str_cat(none ? "chat is off: " : "chat without tools is off: ",
                                  settings.no_chat_template);
    }
    return templates;
  }
  const absl::StatusOr<std::string> source = read_file(file, kTemplateBytes);
  if (!source.ok()) return source.status();
  Parsed parsed = ChatTemplate::parse(*source);
  if (!parsed.ok()) return prefixed(file, parsed.status());
  templates.of_chats = *std::move(parsed);
  templates.source_of_chats = *source;
  return templates;
}

}  // namespace deltaserve
