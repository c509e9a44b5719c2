#include "server/commands/model_service.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/grammar/grammar_cache.h"
#include "models/base/text.h"
#include "models/fingerprint.h"
#include "server/commands/tokenizer_info.h"

namespace deltaserve {
namespace {

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
  model.hidden_size = loaded.folder.config.hidden_size;
  model.tokenizer = loaded.folder.tokenizer.get();
  model.bos_to_prepend = bos_to_prepend(loaded.folder);
  model.slots = loaded.model->limits().max_sequences;
  model.snapshots = loaded.share_prefixes ? loaded.model->limits().max_snapshots : 0;
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

}  // namespace

absl::StatusOr<std::unique_ptr<ModelService>> ModelService::start(ModelServiceOptions options,
                                                                  Logger* log, KeyRing keys) {
  absl::StatusOr<std::string> collector = otlp_url(options.otlp_endpoint);
  if (!collector.ok()) return collector.status();
  absl::StatusOr<LoadedModel> loaded = load_model(options.model);
  if (!loaded.ok()) return loaded.status();
  auto model = std::unique_ptr<ModelService>(new ModelService(*std::move(loaded)));
  if (absl::Status status = model->prepare(options); !status.ok()) return status;

  const absl::StatusOr<NumericFingerprint> fingerprint =
      numeric_fingerprint(model->loaded_.folder, model->loaded_.model.get());
  if (!fingerprint.ok()) return fingerprint.status();
  model->served_.fingerprint = absl::StrCat("fp_", to_hex(*fingerprint));
  model->runner_.emplace(model->loaded_.model.get());
  EngineOptions engine = engine_options(model->loaded_);
  engine.fingerprint = *fingerprint;
  engine.unread = options.service.limits.write_stall;
  engine.max_queued_requests = options.service.max_queue;
  engine.max_prompt_tokens = options.service.limits.prompt_tokens;
  model->engine_ =
      std::make_unique<Engine>(&*model->runner_, vocabulary_of(model->loaded_.folder), engine);
  options.service.version = DELTASERVE_VERSION;
  if (!collector->empty()) {
    model->spans_ = std::make_unique<OtlpExporter>(*std::move(collector), DELTASERVE_VERSION,
                                                   &model->metrics_, log);
    options.service.spans = model->spans_.get();
  }
  model->services_ =
      std::make_unique<Services>(std::move(options.service), &model->served_, model->engine_.get(),
                                 &model->metrics_, log, std::move(keys));
  return model;
}

ModelService::~ModelService() {
  if (services_ != nullptr) services_->stop();
}

absl::Status ModelService::prepare(const ModelServiceOptions& options) {
  absl::StatusOr<ChatTemplates> templates =
      load_chat_templates(loaded_.folder.settings, options.chat_template_file);
  if (!templates.ok()) {
    return options.chat_template_file.empty() ? templates.status()
                                              : prefixed("--chat-template", templates.status());
  }
  templates_ = *std::move(templates);
  if (!templates_.refusal.empty()) absl::FPrintF(stderr, "deltaserve: %s\n", templates_.refusal);
  served_ = served_model(loaded_, options.name, options.service.limits);
  served_.tool_format = options.tool_format;
  templates_.give_to(&served_);
  served_.allow_request_template = options.allow_chat_template;
  served_.split_special_tokens = options.split_special_tokens;
  served_.embedding_pooling = options.embedding_pooling;
  return absl::OkStatus();
}

}  // namespace deltaserve
