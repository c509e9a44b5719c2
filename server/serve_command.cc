// deltaserve serve: a model behind the OpenAI-compatible HTTP API.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "engine/model_runner.h"
#include "server/commands.h"
#include "server/http_server.h"
#include "server/model_options.h"

namespace deltaserve {
namespace {

struct Options {
  ModelOptions model;
  HttpOptions http;
  std::string name;
  int max_queue = EngineOptions().max_queued_requests;
  int write_timeout_s = static_cast<int>(ServerLimits().write_stall.count());
};

ServedModel served_model(const LoadedModel& loaded, const std::string& name) {
  ServedModel model;
  model.name = name;
  if (model.name.empty()) {
    // Of the real folder, so that "." and a link to a version have a name.
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
  return model;
}

void print_model(const LoadedModel& loaded, const ServedModel& served) {
  const uint64_t bytes = loaded.model->layout().bytes();
  const auto slots = static_cast<uint64_t>(loaded.model->limits().max_sequences);
  absl::PrintF("model: %s (%s, %d layers, vocabulary %d), %s on %s\n", served.name,
               loaded.folder.config.model_type, loaded.folder.config.num_layers,
               loaded.folder.config.vocab_size, human_bytes(loaded.backend->weight_bytes()),
               loaded.backend->description());
  absl::PrintF("state: %s per sequence, %d slots, %s in all\n", human_bytes(bytes), slots,
               human_bytes(bytes * slots));
  if (served.tokenizer == nullptr) absl::PrintF("no tokenizer: prompts must be token ids\n");
}

int serve(Options options) {
  absl::StatusOr<LoadedModel> loaded = load_model(options.model);
  if (!loaded.ok()) return report(loaded.status());
  const ServedModel served = served_model(*loaded, options.name);
  print_model(*loaded, served);

  ModelRunner runner(loaded->model.get());
  EngineOptions engine_settings = engine_options(*loaded);
  engine_settings.max_queued_requests = options.max_queue;
  engine_settings.max_prompt_tokens = options.http.limits.prompt_tokens;
  Engine engine(&runner, vocabulary_of(loaded->folder), engine_settings);
  options.http.limits.write_stall = std::chrono::seconds(options.write_timeout_s);
  absl::StatusOr<std::unique_ptr<HttpServer>> server =
      HttpServer::listen(options.http, served, &engine);
  if (!server.ok()) return report(server.status());
  absl::PrintF("listening on %s\n", (*server)->url());
  std::fflush(stdout);
  (*server)->run();
  engine.stop();  // before the server goes: it notifies connections
  return 0;
}

}  // namespace

void add_serve_command(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand("serve", "Serve a model over HTTP (OpenAI completions)");
  command->footer(
      "SIGTERM or SIGINT: new requests get 503, those that run finish, then the exit code is 0.\n"
      "A second signal cuts them off. There is no authentication: beyond this machine, put a "
      "proxy\n"
      "in front.");
  auto options = std::make_shared<Options>();
  add_model_options(command, &options->model);
  add_capacity_options(command, &options->model);
  command->add_option("--host", options->http.host, "Address to listen on")
      ->capture_default_str()
      ->type_name("HOST");
  command->add_option("--http-port", options->http.port, "Port; 0 = any free one, which is printed")
      ->capture_default_str()
      ->type_name("PORT");
  command
      ->add_option("--max-queue", options->max_queue,
                   "Requests that may wait for a slot; a further one gets 429")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("--served-model-name", options->name,
                   "Name of the model in the API (default: the folder's name)")
      ->type_name("NAME");
  command
      ->add_option("--write-timeout", options->write_timeout_s,
                   "Seconds after which a client that does not read its reply is dropped")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str()
      ->type_name("S");
  command->callback([run, options] { *run = [options] { return serve(*options); }; });
}

}  // namespace deltaserve
