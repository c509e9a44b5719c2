// deltaserve chat: a conversation on the terminal, with a model in this process or a server.
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/base/machine_memory.h"
#include "server/chat/session.h"
#include "server/command_line/parse.h"
#include "server/command_line/values.h"
#include "server/commands/api_key.h"
#include "server/commands/commands.h"
#include "server/commands/model_service.h"
#include "server/commands/prefix_cache_options.h"

namespace deltaserve {
namespace {

constexpr int kSequences = 2;  // one for the answer, one for the read-ahead of the next prompt

struct TerminalOptions {
  ModelServiceOptions service;
  std::string url;  // empty: the model runs in this process
  ApiKeyOptions key;
  ChatSettings settings;
  std::string system;
};

int talk(AnswerSource* source, const TerminalOptions& options) {
  if (isatty(STDIN_FILENO) != 0) {
    absl::FPrintF(stderr, "%s. /help lists the commands; Ctrl-D leaves.\n", source->model());
  }
  const std::unique_ptr<LineReader> lines = standard_input();
  return ChatSession(source, lines.get(), options.settings, options.system).run();
}

int chat_with_server(const TerminalOptions& options) {
  absl::StatusOr<std::string> key = read_api_key(options.key);
  if (!key.ok()) return report(key.status());
  absl::StatusOr<std::unique_ptr<AnswerSource>> source =
      remote_answers({options.url, *std::move(key), options.service.model.folder});
  if (!source.ok()) return report(source.status());
  return talk(source->get(), options);
}

int chat_with_model(TerminalOptions options) {
  options.service.model.max_sequences = kSequences;
  options.service.service.memory_limit = memory_limit().value_or(0);
  Logger log(LogFormat::kText, LogLevel::kError, STDERR_FILENO);
  absl::StatusOr<std::unique_ptr<ModelService>> model =
      ModelService::start(options.service, &log, KeyRing());
  if (!model.ok()) return report(model.status());
  const ServedModel& served = (*model)->served();
  if (served.chat_template == nullptr) {
    return report(absl::InvalidArgumentError(
        "the model has no chat template: use --chat-template, or 'deltaserve generate'"));
  }
  const std::unique_ptr<AnswerSource> source = local_answers(&(*model)->services());
  return talk(source.get(), options);
}

void add_conversation_options(CLI::App* command, TerminalOptions* options) {
  command->option_defaults()->group("Conversation");
  command->add_option("--system", options->system, "System message of the conversation")
      ->type_name("TEXT");
  command
      ->add_option("--max-tokens", options->settings.max_tokens,
                   "Maximum number of tokens of an answer (default: the server's)")
      ->transform(whole_number_in(1, 1 << 24))
      ->type_name("TOKENS");
  command
      ->add_option("--temperature", options->settings.temperature,
                   "Sampling temperature; 0 always takes the most likely token (default: the "
                   "server's)")
      ->transform(number_in(0, 2))
      ->type_name("X");
  command
      ->add_option("--top-p", options->settings.top_p,
                   "Draw among the most likely tokens that together have this probability "
                   "(default: the server's)")
      ->transform(number_in(1e-6, 1))
      ->type_name("X");
  command
      ->add_option("--seed", options->settings.seed,
                   "The same seed and messages give the same answers (default: random)")
      ->transform(any_number<int64_t>())
      ->type_name("N");
}

void add_server_options(CLI::App* command, TerminalOptions* options) {
  command->option_defaults()->group("Server");
  command
      ->add_option("--url", options->url,
                   "Talk to this server of the OpenAI API instead: http(s)://HOST[:PORT][/PATH]. "
                   "MODEL is then the name of a model on that server (default: its first one)")
      ->type_name("URL");
  add_api_key_options(command, &options->key);
}

// A server has its own model, where options of a model that the user types would change nothing.
// Options that come from the environment or from a file may be meant for other commands, so they
// are ignored.
void refuse_options_of_the_model(const CLI::App& command) {
  for (const CLI::Option* option : command.parse_order()) {
    const bool is_of_model = option->get_group() == "Model" || option->get_group() == "Compute";
    const bool names_a_model = option->get_positional() || option->check_name("--model");
    if (!is_of_model || names_a_model) continue;
    throw CLI::ValidationError(option->get_name(), "cannot be used together with --url");
  }
}

}  // namespace

void add_chat_command(CLI::App* app, Run* run) {
  CLI::App* command = add_command(app, "chat", "Talk to a model on the terminal");
  command->footer(
      "Answers appear as they are generated. After each, a line shows its number of tokens, their "
      "speed, and how many tokens of the prompt were reused. Lines that begin with / are commands: "
      "/regenerate, /system TEXT, /save FILE, /help, /quit. Ctrl-C stops an answer; a second one "
      "leaves.\n\nIf standard input is not a terminal, each line is a message. Answers go to "
      "standard output, everything else to standard error.");
  auto options = std::make_shared<TerminalOptions>();
  add_conversation_options(command, options.get());
  add_server_options(command, options.get());
  add_model_options(command, &options->service.model);
  add_prefix_cache_options(command, &options->service.model);
  command
      ->add_option("--chat-template", options->service.chat_template_file,
                   "File with a chat template (Jinja) to use instead of the model's")
      ->type_name("FILE");
  command->callback([command, run, options] {
    const bool has_model = settle_model(command, &options->service.model.folder);
    const std::string& address = options->url;
    if (!address.empty()) refuse_options_of_the_model(*command);
    if (!address.empty() && !address.starts_with("http://") && !address.starts_with("https://")) {
      throw CLI::ValidationError(
          "--url", absl::StrCat("'", address, "' does not begin with http:// or https://"));
    }
    if (!has_model && options->url.empty()) {
      throw CLI::ValidationError("a model or --url is missing, as in 'deltaserve chat bundled'");
    }
    *run = [options] {
      return options->url.empty() ? chat_with_model(*options) : chat_with_server(*options);
    };
  });
}

}  // namespace deltaserve
