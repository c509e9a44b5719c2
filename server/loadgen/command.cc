// deltaserve bench-serve: a load generator for servers of the OpenAI API, ours or another.
#include <algorithm>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/str_format.h"
#include "engine/sequence/text_emitter.h"
#include "models/base/text.h"
#include "server/command_line/parse.h"
#include "server/command_line/values.h"
#include "server/commands/api_key.h"
#include "server/commands/commands.h"
#include "server/commands/model_options.h"
#include "server/loadgen/run.h"

namespace deltaserve {
namespace {

constexpr int kUsageError = 2;
constexpr int kInterruptedExit = 130;  // as a shell has it for SIGINT
constexpr int64_t kRequestsPerClient = 8;

struct CommandOptions {
  BenchServeOptions load;
  std::string url = "http://127.0.0.1:8080";
  ApiKeyOptions key;
  std::string prompt_text;  // a file
  std::string json;         // a file, or "-"
  bool completions = false;
  bool stop_at_eos = false;
};

absl::Status read_words(const std::string& path, const BenchServeLimits& limits,
                        std::vector<std::string>* words) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return invalid_argument("--prompt-text: cannot read ", deltaserve::quoted(path));
  const std::streamoff size = file.tellg();
  if (size < 0 || static_cast<uint64_t>(size) > limits.text_file_bytes) {
    return invalid_argument("--prompt-text: ", deltaserve::quoted(path), " has more than ",
                            limits.text_file_bytes, " bytes");
  }
  std::string text(static_cast<size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(text.data(), size)) {
    return invalid_argument("--prompt-text: cannot read ", deltaserve::quoted(path));
  }
  absl::StatusOr<std::vector<std::string>> found = split_words(text, limits);
  if (!found.ok())
    return prefixed(str_cat("--prompt-text: ", deltaserve::quoted(path)), found.status());
  *words = *std::move(found);
  return absl::OkStatus();
}

// Checks and completes the options where the parser of the command line cannot.
absl::Status complete(CommandOptions* options, const BenchServeLimits& limits) {
  BenchServeOptions& load = options->load;
  if (options->url.size() > limits.credential_bytes) return invalid_argument("--url is too long");
  absl::StatusOr<ServerUrl> url = parse_server_url(options->url);
  if (!url.ok()) return url.status();
  load.url = *std::move(url);
  if (load.model.size() > limits.credential_bytes || !is_valid_utf8(load.model)) {
    return invalid_argument("--model is too long, or not UTF-8");
  }
  absl::StatusOr<std::string> key = read_api_key(options->key);
  if (!key.ok()) return key.status();
  load.api_key = *std::move(key);
  if (!options->prompt_text.empty()) {
    load.text = true;
    absl::Status status = read_words(options->prompt_text, limits, &load.words);
    if (!status.ok()) return status;
  }
  load.text = load.text || load.chat;
  load.ignore_eos = !options->stop_at_eos;
  if (load.requests == 0 && load.seconds == 0) load.requests = kRequestsPerClient * load.clients;
  return absl::OkStatus();
}

int exit_code(const LoadRun& run) {
  if (run.interrupted) return kInterruptedExit;
  return run.measured.failed > 0 || run.measured.succeeded == 0 ? 1 : 0;
}

int bench_serve(CommandOptions options) {
  const BenchServeLimits limits;
  if (absl::Status status = complete(&options, limits); !status.ok()) {
    report(status);
    return kUsageError;
  }
  const bool json_file = !options.json.empty() && options.json != "-";
  std::ofstream file;
  if (json_file) {
    file.open(options.json);  // opened before the load, so that an error is found before the
                              // measurement
    if (!file) {
      return report(invalid_argument("--json: cannot write ", deltaserve::quoted(options.json)));
    }
  }
  const absl::StatusOr<LoadRun> run = run_load(&options.load, limits);
  if (!run.ok()) return report(run.status());
  if (options.json == "-") {
    absl::PrintF("%s", json_report(options.load, run->measured));
  } else {
    absl::PrintF("%s", text_report(options.load, run->measured));
  }
  std::fflush(stdout);
  if (json_file) {
    file << json_report(options.load, run->measured) << std::flush;
    if (!file) return report(absl::DataLossError("--json: cannot write " + options.json));
  }
  return exit_code(*run);
}

void add_server_options(CLI::App* command, CommandOptions* options) {
  command->option_defaults()->group("Server");
  command->add_option("--url", options->url, "The server: http://HOST[:PORT][/PATH]; no https")
      ->capture_default_str()
      ->type_name("URL");
  command
      ->add_option("--model", options->load.model,
                   "Model to ask for (default: the only one of /v1/models)")
      ->type_name("NAME");
  add_api_key_options(command, &options->key);
  CLI::Option* chat = command->add_flag("--chat", options->load.chat,
                                        "Send POST /v1/chat/completions, always with text prompts");
  command
      ->add_flag("--completions", options->completions,
                 "Send POST /v1/completions, which is the default")
      ->excludes(chat);
}

void add_load_options(CLI::App* command, BenchServeOptions* load, const BenchServeLimits& limits) {
  command->option_defaults()->group("Load");
  command
      ->add_option("--clients", load->clients,
                   "Connections; each sends a request when its last one is complete")
      ->transform(whole_number_in(1, limits.clients))
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("--rate", load->rate,
                   "Requests per second, with Poisson arrivals that do not wait for replies (open "
                   "loop). --clients then bounds how many run at once")
      ->transform(number_in(1e-6, limits.rate))
      ->type_name("X");
  command
      ->add_option("--requests", load->requests,
                   "Requests in all (default: 8 for each client, if there is no --seconds)")
      ->transform(whole_number_in(1, limits.requests))
      ->type_name("N");
  command
      ->add_option("--seconds", load->seconds,
                   "Seconds after which no request is started; running ones are completed")
      ->transform(number_in(1e-3, limits.seconds))
      ->type_name("SECONDS");
  command->add_option("--warmup", load->warmup, "Requests that are sent first and are not measured")
      ->transform(whole_number_in(0, limits.requests))
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--timeout", load->timeout, "Seconds after which a request counts as failed")
      ->transform(number_in(1e-3, limits.seconds))
      ->capture_default_str()
      ->type_name("SECONDS");
  command->add_option("--seed", load->seed, "Seed for prompts, length spreads and arrival times")
      ->transform(any_number<decltype(load->seed)>())
      ->capture_default_str()
      ->type_name("N");
}

void add_request_options(CLI::App* command, CommandOptions* options,
                         const BenchServeLimits& limits) {
  BenchServeOptions* load = &options->load;
  command->option_defaults()->group("Requests");
  command->add_option("--prompt", load->prompt, "Prompt tokens of a request")
      ->transform(whole_number_in(1, limits.tokens))
      ->capture_default_str()
      ->type_name("TOKENS");
  command->add_option("--generate", load->generate, "Tokens that a request generates")
      ->transform(whole_number_in(1, limits.tokens))
      ->capture_default_str()
      ->type_name("TOKENS");
  command
      ->add_option("--prompt-spread", load->prompt_spread,
                   "Spread of prompt lengths: uniform from N * (1 - X) to N * (1 + X), where N is "
                   "--prompt")
      ->transform(number_in(0, 1))
      ->type_name("X");
  command->add_option("--generate-spread", load->generate_spread, "The same for --generate")
      ->transform(number_in(0, 1))
      ->type_name("X");
  command
      ->add_option("--vocab", load->vocab,
                   "Prompts are random token ids from 3 up to, but not including, this one")
      ->transform(whole_number_in(RequestPlan::kFirstId + 1, limits.vocab))
      ->capture_default_str()
      ->type_name("ID");
  command->add_flag("--text", load->text,
                    "Send text prompts of about --prompt tokens; two requests first measure how "
                    "many tokens a word has");
  command
      ->add_option("--prompt-text", options->prompt_text,
                   "File with the words for --text (default: built-in words)")
      ->type_name("FILE");
  command->add_option("--temperature", load->temperature, "Sampling temperature; 0 = greedy")
      ->transform(number_in(0, 2))
      ->capture_default_str()
      ->type_name("X");
  command->add_flag(
      "--stop-at-eos", options->stop_at_eos,
      "Do not send ignore_eos, which OpenAI's own API does not know. Replies may then "
      "be shorter");
  command->add_flag("--return-token-ids", load->return_token_ids,
                    "Send return_token_ids, so that tokens without text have events, too");
}

}  // namespace

void add_bench_serve_command(CLI::App* app, Run* run) {
  CLI::App* command = add_command(
      app, "bench-serve", "Send streaming requests to a server of the OpenAI API and measure it");
  command->footer(
      "Times begin when a request is due: at its arrival, or when its client is free. So "
      "they include connecting and, with --rate, the wait for a client. The time to first token "
      "ends with the first event that has text. Inter-token latencies are the gaps between events "
      "with text. An event may have several tokens, and events that arrive together have almost no "
      "gap; `per output token` divides the time from the first to the last event by the tokens "
      "that `usage` counts. Output of failed requests is not counted.\n\n"
      "Ctrl-C ends the running requests and reports what was measured. The exit code is 0, 1 if "
      "requests failed, 2 for a wrong command line, 130 after Ctrl-C.");
  auto options = std::make_shared<CommandOptions>();
  const BenchServeLimits limits;
  add_server_options(command, options.get());
  add_load_options(command, &options->load, limits);
  add_request_options(command, options.get(), limits);
  command
      ->add_option("--json", options->json,
                   "File for all results as JSON; - prints them instead of the text")
      ->type_name("FILE");
  command->callback([run, options] { *run = [options] { return bench_serve(*options); }; });
}

}  // namespace deltaserve
