// deltaserve serve: a model behind the OpenAI-compatible HTTP API.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/base/human_bytes.h"
#include "models/base/text.h"
#include "server/base/machine_memory.h"
#include "server/base/process.h"
#include "server/command_line/parse.h"
#include "server/command_line/values.h"
#include "server/commands/access_files.h"
#include "server/commands/commands.h"
#include "server/commands/model_options.h"
#include "server/commands/model_service.h"
#include "server/commands/prefix_cache_options.h"
#include "server/grpc/serve_options.h"
#include "server/http/host_policy.h"
#include "server/http/server.h"
#include "server/service/services.h"
#include "server/tools/conventions.h"

namespace deltaserve {
namespace {

struct ServeOptions {
  ModelServiceOptions service;
  HttpOptions http;
  GrpcServeOptions grpc;
  AccessFiles access;
  std::vector<std::string> cors_origins;
  std::string log_file;  // empty: standard error
  LogFormat log_format = LogFormat::kText;
  LogLevel log_level = LogLevel::kInfo;
  int64_t default_max_tokens = ServerLimits().default_chat_max_tokens;
  int drain_timeout_s = static_cast<int>(HttpOptions().drain_timeout.count());
  int write_timeout_s = static_cast<int>(ServerLimits().write_stall.count());
};

// Prints the tool format by which answers of chats are parsed, and whether it was recognised or set
// by an option.
void print_chat(const ServedModel& served) {
  const ChatConventions* const conventions = served.tool_chat_conventions != nullptr
                                                 ? served.tool_chat_conventions
                                                 : served.chat_conventions;
  if (conventions == nullptr) return;
  const AnswerMarkup& markup = *conventions->markup;
  const bool recognised = served.tool_format == kRecognisedToolFormat;
  absl::PrintF("chat: tool calls %s%s, reasoning %s\n",
               markup.tools() ? markup.tools()->name : "none", recognised ? "" : " (--tool-format)",
               markup.reasoning() ? markup.reasoning()->name : "none");
}

void print_model(const LoadedModel& loaded, const ServedModel& served) {
  const uint64_t bytes = loaded.model->layout().bytes();
  const auto slots = static_cast<uint64_t>(loaded.model->limits().max_sequences);
  absl::PrintF("model: %s (%s, %d layers, vocabulary %d), %s on %s\n", served.name,
               loaded.folder.config.model_type, loaded.folder.config.num_layers(),
               loaded.folder.config.vocab_size,
               human_bytes(static_cast<uint64_t>(loaded.backend->memory().weights)),
               loaded.backend->description());
  if (!loaded.why_cpu.empty()) absl::PrintF("device: cpu, because %s\n", loaded.why_cpu);
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
  print_chat(served);
}

// Ignores signals that have no meaning here, so that they do not end the process. The others are
// handled once the server listens.
void ignore_signals() {
  for (const int signal : {SIGPIPE, SIGXFSZ, SIGHUP, SIGUSR1, SIGUSR2}) {
    std::signal(signal, SIG_IGN);
  }
}

// Bounds the connections so that file descriptors are left for everything else: without a free one
// a port cannot accept connections.
void share_descriptors(ServeOptions* options) {
  constexpr int kReserve = 64;
  constexpr int kOfGrpc = 3;  // each connection has two more, of the socket pair to the library
  const int half = std::max(0, raise_descriptor_limit() - kReserve) / 2;
  int& http = options->service.service.limits.connections;
  int& grpc = options->grpc.grpc.limits.connections;
  const bool few = half < std::max(http, kOfGrpc * grpc);
  http = std::clamp(half, 1, http);
  grpc = std::clamp(half / kOfGrpc, 1, grpc);
  // The bound for one address keeps it from shutting out the others.
  int& http_of_one = options->service.service.limits.connections_per_address;
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
    absl::StatusOr<std::unique_ptr<Logger>> log =
        Logger::open(options.log_format, options.log_level, options.log_file);
    if (!log.ok()) return prefixed("--log-file", log.status());
    return log;
  }
  return std::make_unique<Logger>(options.log_format, options.log_level, STDERR_FILENO);
}

struct Ports {
  BoundPort http;
  std::optional<BoundPort> grpc;
};

absl::StatusOr<Ports> bind_ports(const ServeOptions& options) {
  absl::StatusOr<BoundPort> http =
      BoundPort::bind(options.http.host, options.http.port, {"--host", "--http-port"});
  if (!http.ok()) return http.status();
  absl::StatusOr<std::optional<BoundPort>> grpc = bind_grpc(options.grpc, options.http.port == 0);
  if (!grpc.ok()) return grpc.status();
  return Ports{*std::move(http), *std::move(grpc)};
}

void warn_of_strangers(const ServeOptions& options, const Ports& ports) {
  const bool on_loopback =
      ports.http.address().is_loopback() && (!ports.grpc || ports.grpc->address().is_loopback());
  if (on_loopback || !options.access.api_keys.empty()) return;
  const BoundPort& open = ports.http.address().is_loopback() ? *ports.grpc : ports.http;
  absl::FPrintF(stderr,
                "deltaserve: warning: anybody who reaches %s may use the model, because there is "
                "no --api-key-file\n",
                open.text());
}

// Fills in options whose values depend on others.
void settle(ServeOptions* options) {
  ModelServiceOptions& service = options->service;
  if (service.service.memory_limit == 0) {
    service.service.memory_limit = memory_limit().value_or(0);
  }
  service.service.limits.write_stall = std::chrono::seconds(options->write_timeout_s);
  service.service.limits.default_chat_max_tokens = options->default_max_tokens;
  options->http.drain_timeout = std::chrono::seconds(options->drain_timeout_s);
}

int serve(ServeOptions options) {
  ignore_signals();
  give_back_freed_memory();
  share_descriptors(&options);
  settle(&options);
  // Errors of files and ports are found before the model is loaded, which takes longer.
  absl::StatusOr<Access> access = read_access(options.access);
  if (!access.ok()) return report(access.status());
  options.http.tls = access->http_tls;
  options.grpc.grpc.tls = access->grpc_tls;
  absl::StatusOr<CorsPolicy> cors = CorsPolicy::parse(options.cors_origins);
  if (!cors.ok()) return report(cors.status());
  options.http.cors = *std::move(cors);
  if (absl::Status hosts = HostPolicy::only(options.http.allowed_hosts).status(); !hosts.ok()) {
    return report(hosts);
  }
  absl::StatusOr<std::unique_ptr<Logger>> log = open_log(options);
  if (!log.ok()) return report(log.status());
  absl::StatusOr<Ports> ports = bind_ports(options);
  if (!ports.ok()) return report(ports.status());
  warn_of_strangers(options, *ports);

  absl::StatusOr<std::unique_ptr<ModelService>> model =
      ModelService::start(options.service, log->get(), std::move(access->keys));
  if (!model.ok()) return report(model.status());
  print_model((*model)->loaded(), (*model)->served());
  warn_of_expiry(access->http_tls, log->get());
  Services& services = (*model)->services();
  options.http.on_hangup = [&, files = options.access] {
    (*log)->reopen();
    reload_access(files, *access, &services);
  };
  absl::StatusOr<std::unique_ptr<HttpServer>> server =
      HttpServer::listen(options.http, std::move(ports->http), services);
  if (!server.ok()) return report(server.status());
  absl::StatusOr<std::unique_ptr<GrpcServer>> grpc =
      listen_grpc(options.grpc.grpc, std::move(ports->grpc), services);
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

// Adds the options for API keys, for foreign origins and host names, and for TLS.
void add_access_options(CLI::App* command, ServeOptions* options) {
  command->option_defaults()->group("Access");
  command
      ->add_option("--api-key-file", options->access.api_keys,
                   "File with one API key on each line, as KEY or KEY NAME. Every route except /, "
                   "/page/, /health and /ready then needs one of them. Keys with the same name "
                   "belong to one owner; owners share no snapshots")
      ->type_name("FILE");
  command
      ->add_option("--cors-origin", options->cors_origins,
                   "Origin whose pages may call the server from a browser; * allows all")
      ->type_name("ORIGIN");
  command
      ->add_option("--allowed-host", options->http.allowed_hosts,
                   "Host name by which requests may call the server, besides localhost and the "
                   "loopback addresses; requests with another name get 403 (default: on a loopback "
                   "address without keys no other name, otherwise any name)")
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
      ->add_option("--chat-template", options->service.chat_template_file,
                   "File with a chat template (Jinja) to use instead of the model's")
      ->type_name("FILE");
  command
      ->add_option("--max-tokens-default", options->default_max_tokens,
                   "Maximum number of tokens of a chat answer if its request sets none")
      ->transform(whole_number_in(1, ServerLimits().max_tokens))
      ->capture_default_str()
      ->type_name("TOKENS");
  std::vector<std::pair<std::string, std::string>> formats = {
      {std::string(kRecognisedToolFormat), std::string(kRecognisedToolFormat)},
      {std::string(kNoToolFormat), std::string(kNoToolFormat)}};
  for (const std::string& name : tool_format_names()) formats.emplace_back(name, name);
  command
      ->add_option("--tool-format", options->service.tool_format,
                   "Format in which the model writes tool calls. auto takes the one that its chat "
                   "template shows; with none, answers are not searched for calls")
      ->transform(one_of(formats))
      ->capture_default_str()
      ->type_name("NAME");
  command->add_flag("--split-special-tokens", options->service.split_special_tokens,
                    "Read special tokens in text prompts (completions, tokenize) as plain text, as "
                    "the messages of a chat always are");
  command->add_flag("--allow-chat-template", options->service.allow_chat_template,
                    "Allow requests to bring their own chat template");
}

void add_embedding_options(CLI::App* command, ServeOptions* options) {
  command->option_defaults()->group("Embeddings");
  add_choice<Pooling>(command, "--embedding-pooling", &options->service.embedding_pooling,
                      "Hidden state that becomes the embedding: that of a text's last token, or "
                      "the mean over all its tokens",
                      {{"last", Pooling::kLast}, {"mean", Pooling::kMean}});
}

void add_log_options(CLI::App* command, ServeOptions* options) {
  command->option_defaults()->group("Log");
  command
      ->add_option("--log-file", options->log_file,
                   "File to which the log is appended (default: standard error). SIGHUP reopens it")
      ->type_name("FILE");
  add_choice<LogFormat>(command, "--log-format", &options->log_format, "Format of the log",
                        {{"text", LogFormat::kText}, {"json", LogFormat::kJson}});
  add_choice<LogLevel>(command, "--log-level", &options->log_level, "Minimum log level",
                       {{"debug", LogLevel::kDebug},
                        {"info", LogLevel::kInfo},
                        {"warning", LogLevel::kWarning},
                        {"error", LogLevel::kError}});
  command
      ->add_option("--otlp-endpoint", options->service.otlp_endpoint,
                   "Collector that gets a span of each request that generates, by OTLP over HTTP; "
                   "/v1/traces is added to a URL without a path")
      ->type_name("URL");
  command->add_flag("--log-prompts", options->service.service.log_prompts,
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
      ->add_option("--served-model-name", options->service.name,
                   "Name of the model in the API (default: owner/model, or the folder's name)")
      ->type_name("NAME");
}

void add_load_options(CLI::App* command, ServeOptions* options) {
  command->option_defaults()->group("Capacity");
  command
      ->add_option("--max-queue", options->service.service.max_queue,
                   "Completions (choices) that may wait for a slot; when full, 429")
      ->transform(whole_number_in(1, 1 << 20))
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option(
          "--memory-limit", options->service.service.memory_limit,
          "Memory that the process may use. Above 80 % of it, requests are refused, large "
          "ones first, and then running ones are ended one by one (default: the limit of the "
          "control group, otherwise the machine's memory)")
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
      "SIGHUP: the key file and the certificate are read again, and the log file is reopened."
      "\n\nOn a network, use --api-key-file and --tls-cert.");
  auto options = std::make_shared<ServeOptions>();
  add_model_options(command, &options->service.model);
  add_http_options(command, options.get());
  add_grpc_options(command, &options->grpc);
  add_capacity_options(command, &options->service.model);
  add_prefix_cache_options(command, &options->service.model);
  add_load_options(command, options.get());
  add_access_options(command, options.get());
  add_chat_options(command, options.get());
  add_embedding_options(command, options.get());
  add_log_options(command, options.get());
  command->callback([command, run, options] {
    require_model(command, &options->service.model.folder);
    *run = [options] { return serve(*options); };
  });
}

}  // namespace deltaserve
