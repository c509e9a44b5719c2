// A served model with the bundled tokenizer and a small chat template, for tests.
#pragma once
#include <memory>
#include <string>

#include "kernels/base/check.h"
#include "models/tokenizer/load_tokenizer.h"
#include "server/base/served_model.h"
#include "server/template/chat_template.h"

namespace deltaserve {

struct ChatModel {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<const ChatTemplate> chat_template;
  ServedModel served;
};

// Returns the model. Its template writes "<s>", then for each message "<|role|>" ("[role]" for
// roles without a marker) and its content; it writes tools as "[tools]".
inline const ChatModel& test_chat_model() {
  static const ChatModel* const model = [] {
    auto* made = new ChatModel;
    auto tokenizer = load_tokenizer(DELTASERVE_SOURCE_DIR "/models/bundled/tokenizer.model");
    DS_CHECK(tokenizer.ok());
    made->tokenizer = *std::move(tokenizer);
    auto parsed = ChatTemplate::parse(
        "{{ bos_token }}{% if tools %}[tools]{% endif %}{% for m in messages %}"
        "{% if m.role == 'bad' %}{{ raise_exception('no such role') }}{% endif %}"
        "{% if m.role == 'user' %}<|user|>{% elif m.role == 'assistant' %}<|assistant|>"
        "{% else %}[{{ m.role }}]{% endif %}"
        "{{ m.content }}{% if shout %}!{% endif %}"
        "{% if m.tool_calls %}{{ m.tool_calls[0].function.arguments.city }}{% endif %}"
        "{% if m.role == 'assistant' %}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}");
    DS_CHECK(parsed.ok());
    made->chat_template = *std::move(parsed);
    ServedModel& served = made->served;
    served.name = "tiny";
    served.vocab_size = 4096;
    served.slots = 8;
    served.tokenizer = made->tokenizer.get();
    served.bos_to_prepend = 1;
    served.chat_template = made->chat_template.get();
    served.special_tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
    return made;
  }();
  return *model;
}

}  // namespace deltaserve
