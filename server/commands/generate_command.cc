// deltaserve generate: one prompt, streamed to the terminal.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "engine/loop/model_runner.h"
#include "engine/sequence/text_emitter.h"
#include "server/base/random.h"
#include "server/command_line/parse.h"
#include "server/command_line/values.h"
#include "server/commands/commands.h"
#include "server/commands/model_options.h"
#include "server/commands/terminal_progress.h"

namespace deltaserve {
namespace {

struct GenerateOptions {
  ModelOptions model;
  std::string prompt;
  GenerateRequest request;
  int64_t seed = 0;
  bool has_seed = false;
};

// Prints how long the answer took, if stderr is a terminal.
void print_speed(const TokenUpdate& last, size_t prompt_tokens) {
  if (isatty(STDERR_FILENO) == 0) return;
  const int64_t drawn = std::max<int64_t>(last.tokens_generated - 1, 0);  // the first is prefill's
  absl::FPrintF(stderr, "prompt: %d tokens in %.2f s; answer: %d tokens in %.2f s", prompt_tokens,
                last.prefill_seconds, last.tokens_generated, last.decode_seconds);
  if (drawn > 0 && last.decode_seconds > 0) {
    absl::FPrintF(stderr, ", %.1f tokens/s", static_cast<double>(drawn) / last.decode_seconds);
  }
  std::fputc('\n', stderr);
}

// Prints until the request ends. The first token wipes the progress of the prompt.
int print_stream(TokenStream* stream, size_t prompt_tokens) {
  TerminalProgress progress("reading the prompt", TerminalProgress::Unit::kTokens);
  while (std::optional<TokenUpdate> update = stream->wait()) {
    if (update->tokens_generated > 0 || update->finish != FinishReason::kNone) {
      progress.end();
    } else {
      progress.reach(static_cast<uint64_t>(update->prompt_tokens_read), prompt_tokens);
    }
    std::fwrite(update->text.data(), 1, update->text.size(), stdout);
    std::fflush(stdout);
    if (update->finish == FinishReason::kError) {
      return report(absl::InternalError("the model failed to compute a step"));
    }
    if (update->finish == FinishReason::kNotFinite) {
      return report(absl::InternalError("the model computed numbers that are not finite"));
    }
    if (update->finish == FinishReason::kNone) continue;
    std::fputc('\n', stdout);
    std::fflush(stdout);
    print_speed(*update, prompt_tokens);
    return 0;
  }
  return report(absl::InternalError("the request ended without a reason"));
}

int generate(const GenerateOptions& options) {
  absl::StatusOr<LoadedModel> loaded = load_model(options.model);
  if (!loaded.ok()) return report(loaded.status());
  if (loaded->cuda_is_unusable) {
    absl::FPrintF(stderr, "deltaserve: the CPU is used, because %s\n", loaded->why_cpu);
  }
  const Tokenizer* tokenizer = loaded->folder.tokenizer.get();
  if (tokenizer == nullptr) {
    return report(absl::InvalidArgumentError("the model has no tokenizer: it cannot read text"));
  }
  std::string text = options.prompt;
  if (text == "-") text.assign(std::istreambuf_iterator<char>(std::cin), {});
  if (!is_valid_utf8(text)) {
    return report(absl::InvalidArgumentError("the prompt is not valid UTF-8"));
  }

  GenerateRequest request = options.request.clone();
  request.id = "generate";
  absl::StatusOr<std::vector<int32_t>> prompt = tokenizer->encode(text);
  if (!prompt.ok()) return report(prompt.status());
  request.prompt = *std::move(prompt);
  surround(*tokenizer, bos_to_prepend(loaded->folder), &request.prompt);
  request.sampling.seed = options.has_seed ? static_cast<uint64_t>(options.seed) : random_bits();

  ModelRunner runner(loaded->model.get());
  Engine engine(&runner, vocabulary_of(loaded->folder), engine_options(*loaded));
  const size_t prompt_tokens = request.prompt.size();
  absl::StatusOr<std::shared_ptr<TokenStream>> stream = engine.submit(std::move(request));
  if (!stream.ok()) return report(stream.status());
  return print_stream(stream->get(), prompt_tokens);
}

}  // namespace

void add_generate_command(CLI::App* app, Run* run) {
  CLI::App* command = add_command(app, "generate", "Continue a text and print it as it comes");
  command->footer(
      "If standard error is a terminal, work of more than a second shows its progress there, and "
      "the last line shows the number of tokens and their speed.");
  auto options = std::make_shared<GenerateOptions>();
  options->request.max_tokens = 256;
  options->model.max_sequences = 1;
  SamplingParams& sampling = options->request.sampling;
  add_model_options(command, &options->model);
  command->option_defaults()->group("Generation");
  command
      ->add_option("--prompt", options->prompt, "Text to continue; - reads it from standard input")
      ->required()
      ->type_name("TEXT");
  command
      ->add_option("--max-tokens", options->request.max_tokens,
                   "Maximum number of tokens to generate")
      ->transform(whole_number_in(0, 1 << 24))
      ->capture_default_str()
      ->type_name("TOKENS");
  command
      ->add_option("--temperature", sampling.temperature,
                   "Sampling temperature; 0 always takes the most likely token")
      ->transform(number_in(0, 2))
      ->capture_default_str()
      ->type_name("X");
  command
      ->add_option("--top-k", sampling.top_k, "Draw among the K most likely tokens; 0 = among all")
      ->transform(whole_number_in(0, 1 << 30))
      ->capture_default_str()
      ->type_name("K");
  command
      ->add_option("--top-p", sampling.top_p,
                   "Draw among the most likely tokens that together have this probability")
      ->transform(number_in(1e-6, 1))
      ->capture_default_str()
      ->type_name("X");
  command
      ->add_option("--min-p", sampling.min_p,
                   "Drop tokens below this share of the most likely one's probability")
      ->transform(number_in(0, 1))
      ->capture_default_str()
      ->type_name("X");
  CLI::Option* seed =
      command
          ->add_option("--seed", options->seed,
                       "The same seed and options give the same text (default: random)")
          ->transform(any_number<int64_t>())
          ->type_name("N");
  command->add_option("--stop", options->request.stop, "Stop before this text")
      ->allow_extra_args(false)
      ->type_name("TEXT");
  command->callback([command, run, options, seed] {
    require_model(command, &options->model.folder);
    options->has_seed = seed->count() > 0;
    *run = [options] { return generate(*options); };
  });
}

}  // namespace deltaserve
