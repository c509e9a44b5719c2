// deltaserve serve: a model behind the OpenAI-compatible HTTP API.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "engine/grammar/grammar_cache.h"
#include "engine/loop/model_runner.h"
#include "server/commands/chat_templates.h"
#include "server/commands/commands.h"
#include "server/commands/human_bytes.h"
#include "server/commands/model_options.h"
#include "server/grpc/serve_options.h"
#include "server/http/server.h"
#include "server/service/services.h"

namespace deltaserve {
namespace {

struct ServeOptions {
  ModelOptions model;
  ServiceOptions service;
  HttpOptions http;
  GrpcServeOptions grpc;
  std::string name;
  std::string chat_template_file;
  bool allow_chat_template = false;
  bool split_special_tokens = false;
  std::string api_key_file;
  std::string tls_certificate, tls_key;
  std::vector<std::string> cors_origins;
  LogFormat log_format = LogFormat::kText;
  LogLevel log_level = LogLevel::kInfo;
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
  model.eos_token_ids = loaded.folder.config.eos_token_ids;
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
  } else {
    absl::PrintF("prefix cache: off\n");
  }
  if (served.tokenizer == nullptr) absl::PrintF("no tokenizer: prompts must be token ids\n");
}

// Reads the small files before the model is loaded, which takes longer.
absl::Status read_files(ServeOptions* options, KeyRing* keys) {
  if (!options->api_key_file.empty()) {
    absl::StatusOr<KeyRing> loaded = KeyRing::load(options->api_key_file);
    if (!loaded.ok()) return loaded.status();
    *keys = *std::move(loaded);
  }
  if (!options->tls_certificate.empty()) {
    absl::StatusOr<TlsContext> tls = load_tls(options->tls_certificate, options->tls_key);
    if (!tls.ok()) return tls.status();
    options->http.tls = *std::move(tls);
  }
  absl::StatusOr<CorsPolicy> cors = CorsPolicy::parse(options->cors_origins);
  if (!cors.ok()) return cors.status();
  options->http.cors = *std::move(cors);
  return absl::OkStatus();
}

int serve(ServeOptions options) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader of our output that goes away ends nothing
  KeyRing keys;
  if (const absl::Status status = read_files(&options, &keys); !status.ok()) return report(status);
  absl::StatusOr<LoadedModel> loaded = load_model(options.model);
  if (!loaded.ok()) return report(loaded.status());
  const absl::StatusOr<ChatTemplates> templates =
      load_chat_templates(loaded->folder.settings, options.chat_template_file);
  if (!templates.ok()) return report(templates.status());
  if (!templates->refusal.empty()) absl::FPrintF(stderr, "deltaserve: %s\n", templates->refusal);
  ServedModel served = served_model(*loaded, options.name, options.service.limits);
  templates->give_to(&served);
  served.allow_request_template = options.allow_chat_template;
  served.split_special_tokens = options.split_special_tokens;
  print_model(*loaded, served);

  Logger log(options.log_format, options.log_level, STDERR_FILENO);
  Metrics metrics;
  ModelRunner runner(loaded->model.get());
  EngineOptions engine_settings = engine_options(*loaded);
  engine_settings.max_queued_requests = options.service.max_queue;
  engine_settings.max_prompt_tokens = options.service.limits.prompt_tokens;
  Engine engine(&runner, vocabulary_of(loaded->folder), engine_settings);
  options.service.version = DELTASERVE_VERSION;
  options.service.limits.write_stall = std::chrono::seconds(options.write_timeout_s);
  Services services(options.service, &served, &engine, &metrics, &log, &keys);
  options.http.drain_timeout = std::chrono::seconds(options.drain_timeout_s);
  absl::StatusOr<std::unique_ptr<HttpServer>> server = HttpServer::listen(options.http, services);
  if (!server.ok()) return report(server.status());
  options.grpc.any_port = options.http.port == 0;
  options.grpc.tls_certificate_path = options.tls_certificate;
  options.grpc.tls_key_path = options.tls_key;
  absl::StatusOr<std::unique_ptr<GrpcServer>> grpc = listen_grpc(options.grpc, services);
  if (!grpc.ok()) return report(grpc.status());
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
  command
      ->add_option(
          "--api-key-file", options->api_key_file,
          "File with one API key a line, as KEY or KEY NAME; then every route but /, "
          "/health and /ready needs one of them. Keys of one name are one owner, and owners "
          "share no snapshots")
      ->type_name("FILE");
  command
      ->add_option("--cors-origin", options->cors_origins,
                   "Origin whose pages may call the server from a browser, or *; repeatable")
      ->type_name("ORIGIN");
  auto* certificate =
      command
          ->add_option("--tls-cert", options->tls_certificate,
                       "PEM file with the certificate chain: serve HTTPS, and gRPC over TLS")
          ->type_name("FILE");
  auto* key = command->add_option("--tls-key", options->tls_key, "PEM file with its private key")
                  ->type_name("FILE");
  certificate->needs(key);
  key->needs(certificate);
}

void add_chat_options(CLI::App* command, ServeOptions* options) {
  command
      ->add_option("--chat-template", options->chat_template_file,
                   "File with a chat template (Jinja) to use instead of the model's")
      ->type_name("FILE");
  command->add_flag("--split-special-tokens", options->split_special_tokens,
                    "Read special tokens in text prompts (completions, tokenize) as text; in "
                    "messages of a chat they always are");
  command->add_flag("--allow-chat-template", options->allow_chat_template,
                    "Let requests bring a chat template of their own");
}

void add_log_options(CLI::App* command, ServeOptions* options) {
  const std::map<std::string, LogFormat> formats = {{"text", LogFormat::kText},
                                                    {"json", LogFormat::kJson}};
  const std::map<std::string, LogLevel> levels = {{"debug", LogLevel::kDebug},
                                                  {"info", LogLevel::kInfo},
                                                  {"warning", LogLevel::kWarning},
                                                  {"error", LogLevel::kError}};
  command->add_option("--log-format", options->log_format, "Format of the log on stderr")
      ->transform(CLI::Transformer(formats))
      ->default_str("text")
      ->type_name("text|json");
  command->add_option("--log-level", options->log_level, "Minimum log level")
      ->transform(CLI::Transformer(levels))
      ->default_str("info")
      ->type_name("debug|info|warning|error");
  command->add_flag("--log-prompts", options->service.log_prompts,
                    "Log the bodies of requests; without it no prompt is logged");
}

}  // namespace

void add_serve_command(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand("serve", "Serve a model over HTTP (OpenAI API) and gRPC");
  command->footer(
      "SIGTERM or SIGINT: new requests get 503, those that run finish within --drain-timeout, "
      "then\n"
      "the exit code is 0. A second signal cuts them off.\n"
      "Beyond this machine, use --api-key-file and --tls-cert.");
  auto options = std::make_shared<ServeOptions>();
  add_model_options(command, &options->model);
  add_capacity_options(command, &options->model);
  options->model.prefix_cache_memory.reset();
  add_prefix_cache_options(command, &options->model);
  add_access_options(command, options.get());
  add_chat_options(command, options.get());
  add_log_options(command, options.get());
  command->add_option("--host", options->http.host, "Address to listen on")
      ->capture_default_str()
      ->type_name("HOST");
  add_grpc_options(command, &options->grpc);
  command->add_option("--http-port", options->http.port, "Port; 0 = any free one, which is printed")
      ->capture_default_str()
      ->type_name("PORT");
  command
      ->add_option("--max-queue", options->service.max_queue,
                   "Completions (choices) that may wait for a slot; when full, 429")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("--served-model-name", options->name,
                   "Name of the model in the API (default: owner/model, or the folder's name)")
      ->type_name("NAME");
  command
      ->add_option("--write-timeout", options->write_timeout_s,
                   "Seconds after which a client that does not read its reply is dropped")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str()
      ->type_name("S");
  command
      ->add_option(
          "--drain-timeout", options->drain_timeout_s,
          "Seconds that running requests get after SIGTERM; then their streams end with an "
          "error. 0 = as long as they take")
      ->check(CLI::Range(0, 86400))
      ->capture_default_str()
      ->type_name("S");
  command->callback([run, options] { *run = [options] { return serve(*options); }; });
}

}  // namespace deltaserve
