// deltaserve bench-serve: a load generator for servers of the OpenAI API, ours or another.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/str_format.h"
#include "engine/sequence/text_emitter.h"
#include "models/base/text.h"
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
  std::string api_key_env;
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

absl::Status read_api_key(const CommandOptions& options, const BenchServeLimits& limits,
                          std::string* key) {
  if (!options.api_key_env.empty()) {
    const char* value = std::getenv(options.api_key_env.c_str());
    if (value == nullptr || *value == '\0') {
      return invalid_argument("--api-key-env: ", deltaserve::quoted(options.api_key_env),
                              " is not set");
    }
    *key = value;
  }
  const bool printable =
      std::all_of(key->begin(), key->end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!printable || key->size() > limits.credential_bytes) {
    return invalid_argument("the API key must be of printable ASCII, and of at most ",
                            limits.credential_bytes, " bytes");
  }
  return absl::OkStatus();
}

absl::Status check_finite(const BenchServeOptions& load) {
  // Range of the parser lets NaN pass.
  const std::pair<const char*, double> numbers[] = {{"--rate", load.rate},
                                                    {"--seconds", load.seconds},
                                                    {"--timeout", load.timeout},
                                                    {"--temperature", load.temperature},
                                                    {"--prompt-spread", load.prompt_spread},
                                                    {"--generate-spread", load.generate_spread}};
  for (const auto& [name, value] : numbers) {
    if (!std::isfinite(value)) return invalid_argument(name, ": not a number");
  }
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
  if (absl::Status status = read_api_key(*options, limits, &load.api_key); !status.ok()) {
    return status;
  }
  if (absl::Status status = check_finite(load); !status.ok()) return status;
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
    file.open(options.json);  // before the load: there may be no second chance
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
  command->add_option("--url", options->url, "The server: http://HOST[:PORT][/PATH]; no https")
      ->capture_default_str();
  command->add_option("--model", options->load.model,
                      "Model to ask for (default: the only one of /v1/models)");
  CLI::Option* key = command->add_option(
      "--api-key", options->load.api_key,
      "Bearer key; visible in the list of processes, unlike that of --api-key-env");
  command
      ->add_option("--api-key-env", options->api_key_env,
                   "Environment variable with the Bearer key")
      ->excludes(key);
  CLI::Option* chat = command->add_flag("--chat", options->load.chat,
                                        "Send POST /v1/chat/completions, always with text prompts");
  command
      ->add_flag("--completions", options->completions,
                 "Send POST /v1/completions, which is the default")
      ->excludes(chat);
}

void add_load_options(CLI::App* command, BenchServeOptions* load, const BenchServeLimits& limits) {
  command
      ->add_option("--clients", load->clients,
                   "Connections; each sends a request when its last one is complete")
      ->check(CLI::Range(1, limits.clients))
      ->capture_default_str();
  command
      ->add_option("--rate", load->rate,
                   "Requests a second with Poisson arrivals, whether or not replies come (open "
                   "loop); --clients is then how many may be under way")
      ->check(CLI::Range(1e-6, limits.rate));
  command
      ->add_option("--requests", load->requests,
                   "Requests in all (default: 8 for each client, if there is no --seconds)")
      ->check(CLI::Range(int64_t{1}, limits.requests));
  command
      ->add_option("--seconds", load->seconds,
                   "Seconds after which no request is started; those under way are completed")
      ->check(CLI::Range(1e-3, limits.seconds));
  command->add_option("--warmup", load->warmup, "Requests to send first, which are not measured")
      ->check(CLI::Range(int64_t{0}, limits.requests))
      ->capture_default_str();
  command
      ->add_option("--timeout", load->timeout, "Seconds after which a request is counted as failed")
      ->check(CLI::Range(1e-3, limits.seconds))
      ->capture_default_str();
  command->add_option("--seed", load->seed, "Seed for prompts, length spreads and arrival times")
      ->capture_default_str();
}

void add_request_options(CLI::App* command, CommandOptions* options,
                         const BenchServeLimits& limits) {
  BenchServeOptions* load = &options->load;
  command->add_option("--prompt", load->prompt, "Prompt tokens of a request")
      ->check(CLI::Range(int64_t{1}, limits.tokens))
      ->capture_default_str();
  command->add_option("--generate", load->generate, "Tokens that a request generates")
      ->check(CLI::Range(int64_t{1}, limits.tokens))
      ->capture_default_str();
  command
      ->add_option("--prompt-spread", load->prompt_spread,
                   "Prompt lengths are uniform in N * (1 - X) to N * (1 + X), N = --prompt")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--generate-spread", load->generate_spread, "The same for --generate")
      ->check(CLI::Range(0.0, 1.0));
  command
      ->add_option("--vocab", load->vocab, "Prompts are random token ids from 3 to below this one")
      ->check(CLI::Range(RequestPlan::kFirstId + 1, limits.vocab))
      ->capture_default_str();
  command->add_flag("--text", load->text,
                    "Prompts are text of about --prompt tokens; two requests measure the ratio");
  command->add_option("--prompt-text", options->prompt_text,
                      "File with the words of --text (default: built-in ones)");
  command->add_option("--temperature", load->temperature, "Sampling temperature; 0 = greedy")
      ->check(CLI::Range(0.0, 2.0))
      ->capture_default_str();
  command->add_flag(
      "--stop-at-eos", options->stop_at_eos,
      "Do not send ignore_eos, which OpenAI's own API does not know; replies may then "
      "be shorter");
  command->add_flag("--return-token-ids", load->return_token_ids,
                    "Send return_token_ids, so that tokens without text have events too");
}

}  // namespace

void add_bench_serve_command(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand(
      "bench-serve", "Load a server of the OpenAI API with streaming requests and measure it");
  command->footer(
      "Times count from when a request is due: its arrival, or the moment its client is free;\n"
      "so they include connecting, and with --rate the wait for a client. Time to first token: to\n"
      "the first event with text. Inter-token latency: the gaps between events with text. An\n"
      "event may carry several tokens, and events that arrive together have hardly a gap;\n"
      "`per output token` divides first event to last by the tokens that `usage` counts. Output\n"
      "of failed requests is not counted. Ctrl-C cuts the requests under way and reports what\n"
      "was measured. Exit code: 0, 1 if requests failed, 2 for a wrong command line, 130 after\n"
      "Ctrl-C.");
  auto options = std::make_shared<CommandOptions>();
  const BenchServeLimits limits;
  add_server_options(command, options.get());
  add_load_options(command, &options->load, limits);
  add_request_options(command, options.get(), limits);
  command->add_option("--json", options->json,
                      "Also write all results as JSON to this file; - = stdout, not the text");
  command->callback([run, options] { *run = [options] { return bench_serve(*options); }; });
}

}  // namespace deltaserve
