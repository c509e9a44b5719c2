// A loaded model with everything that is needed to answer requests, except a front.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/loop/model_runner.h"
#include "server/commands/chat_templates.h"
#include "server/commands/model_options.h"
#include "server/observe/otlp_exporter.h"
#include "server/service/services.h"
#include "server/tools/conventions.h"

namespace deltaserve {

struct ModelServiceOptions {
  ModelOptions model;
  ServiceOptions service;
  std::string name;                // the model's name in the API; empty: that of the Hub or of the
                                   // folder
  std::string chat_template_file;  // empty: the model's template is used
  std::string tool_format{kRecognisedToolFormat};
  bool allow_chat_template = false;
  bool split_special_tokens = false;
  Pooling embedding_pooling = Pooling::kLast;
  std::string otlp_endpoint = {};  // empty: no spans are sent
};

// Its members depend on those above them.
class ModelService {
 public:
  // Loads the model and starts its engine. Prints warnings on stderr. `log` outlives the service.
  static absl::StatusOr<std::unique_ptr<ModelService>> start(ModelServiceOptions options,
                                                             Logger* log, KeyRing keys);
  ~ModelService();
  ModelService(const ModelService&) = delete;
  ModelService& operator=(const ModelService&) = delete;

  const LoadedModel& loaded() const { return loaded_; }
  const ServedModel& served() const { return served_; }
  Services& services() { return *services_; }

 private:
  explicit ModelService(LoadedModel loaded) : loaded_(std::move(loaded)) {}
  absl::Status prepare(const ModelServiceOptions& options);

  LoadedModel loaded_;
  ChatTemplates templates_;
  ServedModel served_;
  Metrics metrics_;
  std::unique_ptr<OtlpExporter> spans_;  // null: none are sent
  std::optional<ModelRunner> runner_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Services> services_;
};

}  // namespace deltaserve
