// deltaserve serve: a model behind the OpenAI-compatible HTTP API.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/grammar/grammar_cache.h"
#include "engine/loop/model_runner.h"
#include "models/fingerprint.h"
#include "server/base/machine_memory.h"
#include "server/base/process.h"
#include "server/command_line/parse.h"
#include "server/command_line/values.h"
#include "server/commands/access_files.h"
#include "server/commands/chat_templates.h"
#include "server/commands/commands.h"
#include "server/commands/human_bytes.h"
#include "server/commands/model_options.h"
#include "server/commands/prefix_cache_options.h"
#include "server/commands/tokenizer_info.h"
#include "server/grpc/serve_options.h"
#include "server/http/server.h"
#include "server/service/services.h"
#include "server/tools/conventions.h"

namespace deltaserve {
namespace {

struct ServeOptions {
  ModelOptions model;
  ServiceOptions service;
  HttpOptions http;
  GrpcServeOptions grpc;
  std::string name;
  std::string chat_template_file;
  std::string tool_format{kRecognisedToolFormat};
  bool allow_chat_template = false;
  bool split_special_tokens = false;
  AccessFiles access;
  std::vector<std::string> cors_origins;
  std::string log_file;  // empty: standard error
  LogFormat log_format = LogFormat::kText;
  LogLevel log_level = LogLevel::kInfo;
  int64_t default_max_tokens = ServerLimits().default_chat_max_tokens;
  int drain_timeout_s = static_cast<int>(HttpOptions().drain_timeout.count());
  int write_timeout_s = static_cast<int>(ServerLimits().write_stall.count());
};

std::shared_ptr<GrammarCache> grammar_cache(const Vocabulary& vocabulary, int64_t size,
                                            const ServerLimits& limits) {
  auto table = std::make_shared<const TokenTable>(vocabulary, static_cast<int32_t>(size));
  return std::make_shared<GrammarCache>(
      std::move(table), GrammarCacheLimits{limits.cached_grammars, limits.cached_grammar_bytes,
                                           limits.grammar_bytes});
}

uint64_t transformer_bytes_per_token(const ModelConfig& config) {
  constexpr int64_t kKeyAndValue = 2, kBytesOfBf16 = 2;
  return static_cast<uint64_t>(kKeyAndValue * kBytesOfBf16 * config.num_layers() *
                               config.hidden_size);
}

ServedModel served_model(const LoadedModel& loaded, const std::string& name,
                         const ServerLimits& limits) {
  ServedModel model;
  model.name = name.empty() ? loaded.hub_name : name;
  if (model.name.empty()) {
    // The name is that of the real folder, so that "." and a link to a version have one.
    std::error_code ec;
    const std::filesystem::path path = std::filesystem::canonical(loaded.folder.path, ec);
    model.name = ec || path.filename().empty() ? "model" : path.filename().string();
  }
  model.created = std::chrono::duration_cast<std::chrono::seconds>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count();
  model.vocab_size = loaded.folder.config.vocab_size;
  model.tokenizer = loaded.folder.tokenizer.get();
  model.bos_to_prepend = bos_to_prepend(loaded.folder);
  model.slots = loaded.model->limits().max_sequences;
  model.snapshots = loaded.model->limits().max_snapshots;
  model.state_bytes = loaded.model->layout().bytes();
  model.transformer_bytes_per_token = transformer_bytes_per_token(loaded.folder.config);
  model.eos_token_ids = loaded.folder.config.eos_token_ids;
  model.tokenizer_info = tokenizer_info(loaded.folder);
  model.special_tokens = loaded.folder.settings.named_tokens;
  model.additional_special_tokens = loaded.folder.settings.additional_special_tokens;
  if (model.tokenizer != nullptr) {
    model.grammars = grammar_cache(model.tokenizer->vocabulary(), model.vocab_size, limits);
  }
  return model;
}

void print_model(const LoadedModel& loaded, const ServedModel& served) {
  const uint64_t bytes = loaded.model->layout().bytes();
  const auto slots = static_cast<uint64_t>(loaded.model->limits().max_sequences);
  absl::PrintF("model: %s (%s, %d layers, vocabulary %d), %s on %s\n", served.name,
               loaded.folder.config.model_type, loaded.folder.config.num_layers(),
               loaded.folder.config.vocab_size,
               human_bytes(static_cast<uint64_t>(loaded.backend->memory().weights)),
               loaded.backend->description());
  if (!loaded.why_cpu.empty()) absl::PrintF("no CUDA: %s\n", loaded.why_cpu);
  absl::PrintF("state: %s per sequence, %d slots, %s in all\n", human_bytes(bytes), slots,
               human_bytes(bytes * slots));
  if (served.snapshots > 0) {
    absl::PrintF("prefix cache: %d snapshots, %s in all\n", served.snapshots,
                 human_bytes(bytes * static_cast<uint64_t>(served.snapshots)));
    const auto in_host = static_cast<uint64_t>(loaded.model->limits().max_host_snapshots);
    if (in_host > 0) {
      absl::PrintF("prefix cache: %d more in the host's memory, %s in all\n", in_host,
                   human_bytes(bytes * in_host));
    }
  } else {
    absl::PrintF("prefix cache: off\n");
  }
  absl::PrintF("fingerprint: %s\n", served.fingerprint);
  if (served.tokenizer == nullptr) absl::PrintF("no tokenizer: prompts must be token ids\n");
}

// Signals that have no meaning here end nothing; those that have one are handled once the server
// listens.
void ignore_signals() {
  for (const int signal : {SIGPIPE, SIGXFSZ, SIGHUP, SIGUSR1, SIGUSR2}) {
    std::signal(signal, SIG_IGN);
  }
}

// Bounds the connections so that file descriptors are left for everything else: a port that has
// none to accept with is deaf.
void share_descriptors(ServeOptions* options) {
  constexpr int kReserve = 64;
  constexpr int kOfGrpc = 3;  // each connection has two more, between us and the library
  const int half = std::max(0, raise_descriptor_limit() - kReserve) / 2;
  int& http = options->service.limits.connections;
  int& grpc = options->grpc.grpc.limits.connections;
  const bool few = half < std::max(http, kOfGrpc * grpc);
  http = std::clamp(half, 1, http);
  grpc = std::clamp(half / kOfGrpc, 1, grpc);
  // No address shuts out the others.
  int& http_of_one = options->service.limits.connections_per_address;
  int& grpc_of_one = options->grpc.grpc.limits.connections_per_address;
  http_of_one = std::clamp(http - http / 8, 1, http_of_one);
  grpc_of_one = std::clamp(grpc / 2, 1, grpc_of_one);
  if (!few) return;
  absl::FPrintF(
      stderr,
      "deltaserve: few file descriptors (ulimit -n): at most %d connections over HTTP and "
      "%d over gRPC\n",
      http, grpc);
}

absl::StatusOr<std::unique_ptr<Logger>> open_log(const ServeOptions& options) {
  if (!options.log_file.empty()) {
    return Logger::open(options.log_format, options.log_level, options.log_file);
  }
  return std::make_unique<Logger>(options.log_format, options.log_level, STDERR_FILENO);
}

int serve(ServeOptions options) {
  ignore_signals();
  give_back_freed_memory();
  share_descriptors(&options);
  // The small files come before the model, which takes longer.
  absl::StatusOr<Access> access = read_access(options.access);
  if (!access.ok()) return report(access.status());
  options.http.tls = access->http_tls;
  options.grpc.grpc.tls = access->grpc_tls;
  absl::StatusOr<CorsPolicy> cors = CorsPolicy::parse(options.cors_origins);
  if (!cors.ok()) return report(cors.status());
  options.http.cors = *std::move(cors);
  absl::StatusOr<std::unique_ptr<Logger>> log = open_log(options);
  if (!log.ok()) return report(log.status());
  absl::StatusOr<LoadedModel> loaded = load_model(options.model);
  if (!loaded.ok()) return report(loaded.status());
  absl::StatusOr<ChatTemplates> templates =
      load_chat_templates(loaded->folder.settings, options.chat_template_file);
  if (!templates.ok()) return report(templates.status());
  if (!templates->refusal.empty()) absl::FPrintF(stderr, "deltaserve: %s\n", templates->refusal);
  const absl::StatusOr<NumericFingerprint> fingerprint =
      numeric_fingerprint(loaded->folder, loaded->model.get());
  if (!fingerprint.ok()) return report(fingerprint.status());
  ServedModel served = served_model(*loaded, options.name, options.service.limits);
  served.fingerprint = absl::StrCat("fp_", to_hex(*fingerprint));
  served.tool_format = options.tool_format;
  templates->give_to(&served);
  served.allow_request_template = options.allow_chat_template;
  served.split_special_tokens = options.split_special_tokens;
  print_model(*loaded, served);

  warn_of_expiry(access->http_tls, log->get());
  Metrics metrics;
  ModelRunner runner(loaded->model.get());
  EngineOptions engine_settings = engine_options(*loaded);
  engine_settings.fingerprint = *fingerprint;
  engine_settings.unread = std::chrono::seconds(options.write_timeout_s);
  engine_settings.max_queued_requests = options.service.max_queue;
  engine_settings.max_prompt_tokens = options.service.limits.prompt_tokens;
  Engine engine(&runner, vocabulary_of(loaded->folder), engine_settings);
  options.service.version = DELTASERVE_VERSION;
  if (options.service.memory_limit == 0) {
    options.service.memory_limit = memory_limit().value_or(0);
  }
  options.service.limits.default_chat_max_tokens = options.default_max_tokens;
  options.service.limits.write_stall = std::chrono::seconds(options.write_timeout_s);
  Services services(options.service, &served, &engine, &metrics, log->get(),
                    std::move(access->keys));
  options.http.drain_timeout = std::chrono::seconds(options.drain_timeout_s);
  options.http.on_hangup = [&, files = options.access] {
    (*log)->reopen();
    reload_access(files, *access, &services);
  };
  absl::StatusOr<std::unique_ptr<HttpServer>> server = HttpServer::listen(options.http, services);
  if (!server.ok()) return report(server.status());
  options.grpc.any_port = options.http.port == 0;
  absl::StatusOr<std::unique_ptr<GrpcServer>> grpc = listen_grpc(options.grpc, services);
  if (!grpc.ok()) return report(grpc.status());
  services.overload.start();
  if (*grpc != nullptr) absl::PrintF("gRPC on %s\n", (*grpc)->address());
  absl::PrintF("listening on %s\n", (*server)->url());
  std::fflush(stdout);
  (*server)->run();
  if (*grpc != nullptr) (*grpc)->shut_down();
  services.stop();
  return 0;
}

// Adds the options that say who may use the server, and over what.
void add_access_options(CLI::App* command, ServeOptions* options) {
  command->option_defaults()->group("Access");
  command
      ->add_option("--api-key-file", options->access.api_keys,
                   "File with one API key on each line, as KEY or KEY NAME. Every route but /, "
                   "/health and /ready then needs one of them. Keys with the same name belong to "
                   "one owner; owners share no snapshots")
      ->type_name("FILE");
  command
      ->add_option("--cors-origin", options->cors_origins,
                   "Origin whose pages may call the server from a browser; * allows all")
      ->type_name("ORIGIN");
  command
      ->add_option("--allowed-host", options->http.allowed_hosts,
                   "Host name that requests may use beside those of the loopback; others get 403 "
                   "(default: on a loopback address without keys none, else any)")
      ->type_name("NAME");
  auto* certificate = command
                          ->add_option("--tls-cert", options->access.certificate,
                                       "PEM file with the certificate chain. HTTP becomes HTTPS, "
                                       "and gRPC uses TLS")
                          ->type_name("FILE");
  auto* key = command
                  ->add_option("--tls-key", options->access.private_key,
                               "PEM file with the private key of the certificate")
                  ->type_name("FILE");
  certificate->needs(key);
  key->needs(certificate);
}

void add_chat_options(CLI::App* command, ServeOptions* options) {
  command->option_defaults()->group("Chat");
  command
      ->add_option("--chat-template", options->chat_template_file,
                   "File with a chat template (Jinja) to use instead of the model's")
      ->type_name("FILE");
  command
      ->add_option("--max-tokens-default", options->default_max_tokens,
                   "Most tokens of a chat answer whose request sets no maximum")
      ->transform(whole_number_in(1, ServerLimits().max_tokens))
      ->capture_default_str()
      ->type_name("TOKENS");
  std::vector<std::pair<std::string, std::string>> formats = {
      {std::string(kRecognisedToolFormat), std::string(kRecognisedToolFormat)},
      {std::string(kNoToolFormat), std::string(kNoToolFormat)}};
  for (const std::string& name : tool_format_names()) formats.emplace_back(name, name);
  command
      ->add_option("--tool-format", options->tool_format,
                   "Format in which the model writes tool calls. auto takes the one that its chat "
                   "template shows; with none, answers are not searched for calls")
      ->transform(one_of(formats))
      ->capture_default_str()
      ->type_name("NAME");
  command->add_flag("--split-special-tokens", options->split_special_tokens,
                    "Read special tokens in text prompts (completions, tokenize) as plain text, as "
                    "the messages of a chat always are");
  command->add_flag("--allow-chat-template", options->allow_chat_template,
                    "Allow requests to bring their own chat template");
}

void add_log_options(CLI::App* command, ServeOptions* options) {
  command->option_defaults()->group("Log");
  command
      ->add_option("--log-file", options->log_file,
                   "File to which the log is appended (default: standard error). SIGHUP opens it "
                   "anew")
      ->type_name("FILE");
  add_choice<LogFormat>(command, "--log-format", &options->log_format, "Format of the log",
                        {{"text", LogFormat::kText}, {"json", LogFormat::kJson}});
  add_choice<LogLevel>(command, "--log-level", &options->log_level, "Minimum log level",
                       {{"debug", LogLevel::kDebug},
                        {"info", LogLevel::kInfo},
                        {"warning", LogLevel::kWarning},
                        {"error", LogLevel::kError}});
  command->add_flag("--log-prompts", options->service.log_prompts,
                    "Log the bodies of requests; without this no prompt is logged");
}

void add_http_options(CLI::App* command, ServeOptions* options) {
  command->option_defaults()->group("HTTP");
  command->add_option("--host", options->http.host, "Address on which HTTP listens")
      ->capture_default_str()
      ->type_name("HOST");
  command
      ->add_option("--http-port,--port", options->http.port,
                   "Port for HTTP; 0 takes any free one, which is printed")
      ->transform(whole_number_in(0, 65535))
      ->capture_default_str()
      ->type_name("PORT");
  command
      ->add_option("--served-model-name", options->name,
                   "Name of the model in the API (default: owner/model, or the folder's name)")
      ->type_name("NAME");
}

void add_load_options(CLI::App* command, ServeOptions* options) {
  command->option_defaults()->group("Capacity");
  command
      ->add_option("--max-queue", options->service.max_queue,
                   "Completions (choices) that may wait for a slot; when full, 429")
      ->transform(whole_number_in(1, 1 << 20))
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("--memory-limit", options->service.memory_limit,
                   "Memory that the process may use. Above 80 % of it, requests are refused, large "
                   "ones first, and then running ones are ended one by one (default: that of the "
                   "control group, else of the machine)")
      ->transform(size_from(0))
      ->type_name("SIZE");
  command
      ->add_option("--write-timeout", options->write_timeout_s,
                   "Seconds after which a client that does not read its reply is disconnected")
      ->transform(whole_number_in(1, 3600))
      ->capture_default_str()
      ->type_name("SECONDS");
  command
      ->add_option("--drain-timeout", options->drain_timeout_s,
                   "Seconds that running requests get after SIGTERM before their streams end with "
                   "an error; 0 sets no limit")
      ->transform(whole_number_in(0, 86400))
      ->capture_default_str()
      ->type_name("SECONDS");
}

}  // namespace

void add_serve_command(CLI::App* app, Run* run) {
  CLI::App* command = add_command(app, "serve", "Serve a model over HTTP (OpenAI API) and gRPC");
  command->footer(
      "SIGTERM or SIGINT: new requests get 503, running ones finish within --drain-timeout, and "
      "the exit code is 0. A second signal ends the server at once.\n\n"
      "SIGHUP: the key file and the certificate are read again, and the log file is opened anew."
      "\n\nOn a network, use --api-key-file and --tls-cert.");
  auto options = std::make_shared<ServeOptions>();
  add_model_options(command, &options->model);
  add_http_options(command, options.get());
  add_grpc_options(command, &options->grpc);
  add_capacity_options(command, &options->model);
  options->model.prefix_cache_memory.reset();
  add_prefix_cache_options(command, &options->model);
  add_load_options(command, options.get());
  add_access_options(command, options.get());
  add_chat_options(command, options.get());
  add_log_options(command, options.get());
  command->callback([command, run, options] {
    require_model(command, &options->model.folder);
    *run = [options] { return serve(*options); };
  });
}

}  // namespace deltaserve
