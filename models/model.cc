#include "models/model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/base/text.h"
#include "models/checkpoint/safetensors.h"
#include "models/mapping/weights.h"
#include "models/program_builder.h"

namespace deltaserve {
namespace {

absl::Status check_state_format(const ModelConfig& config, StateFormat format) {
  if (state_format_is_exact(format)) return absl::OkStatus();
  for (const LayerConfig& layer : config.layers) {
    if (!layer.has_mixer || layer.mixer.decay() != Decay::kNone) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "'", layer.model_type, "' has no decay, so rounding errors of a ",
        state_format_name(format), " state would accumulate; its state type must be f32"));
  }
  return absl::OkStatus();
}

Limits backend_limits(const ModelLimits& limits) {
  Limits room;
  room.rows = room.draws = limits.max_rows;
  room.segments = limits.max_sequences;
  room.slots = limits.max_sequences + limits.max_snapshots;
  room.snapshots = limits.max_snapshots;
  room.host_slots = limits.max_host_snapshots;
  return room;
}

}  // namespace

Model::Model(ModelConfig config, const ModelProgram& program, const ModelLimits& limits,
             WeightFormat format, Backend* backend)
    : config_(std::move(config)),
      layout_(program.layout()),
      final_norm_(program.final_norm()),
      limits_(limits),
      weight_format_(format),
      backend_(backend) {}

absl::StatusOr<std::unique_ptr<Model>> Model::load(const ModelFolder& folder, Backend* backend,
                                                   const ModelLimits& limits, WeightFormat format,
                                                   const ReadProgress& progress) {
  absl::StatusOr<Checkpoint> checkpoint = Checkpoint::open(folder.path);
  if (!checkpoint.ok()) return checkpoint.status();
  ModelConfig config = settled_config(folder.config, *checkpoint);
  absl::StatusOr<Weights> weights = bind_weights(config, *checkpoint);
  if (!weights.ok()) return weights.status();
  absl::Status status = check_state_format(config, limits.state_format);
  if (!status.ok()) return status;

  ModelProgram program(config, *weights, format, limits.state_format);
  const Limits room = backend_limits(limits);
  if (std::string refusal = backend->refusal(program.program(), room); !refusal.empty()) {
    return absl::UnimplementedError(refusal);
  }
  status = check_finite(*checkpoint, progress);
  if (!status.ok()) return prefixed(folder.path, status);
  program.read_vectors();
  if (std::string error = backend->load(program.program(), room); !error.empty()) {
    return absl::ResourceExhaustedError(error);
  }
  return std::unique_ptr<Model>(new Model(std::move(config), program, limits, format, backend));
}

uint64_t Model::decode_bytes(int decode_rows) const {
  return static_cast<uint64_t>(backend_->memory().step_weights) +
         2 * uint64_t{layout_.bytes()} * static_cast<uint64_t>(decode_rows);
}

}  // namespace deltaserve
