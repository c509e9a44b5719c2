// Writes models with random weights, for benchmarks and tests at sizes that cannot be bundled.
#pragma once
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/dtype.h"

namespace deltaserve {

// Writes config.json and model.safetensors to `out_dir`, which is created if it is absent; there is
// no tokenizer. `preset_or_config_path` is a name from random_model_presets() or the path of a
// config.json. Weights are stored in `dtype`, but A_log, dt_bias, log_atk_scale and D in f32. The
// same arguments give the same bytes on any machine.
absl::Status write_random_model(const std::string& preset_or_config_path, uint64_t seed,
                                Dtype dtype, const std::string& out_dir);

// Returns the config.json of a name from random_model_presets() or of a path.
absl::StatusOr<std::string> random_model_config(const std::string& preset_or_config_path);

// Returns "qdelta-340m, qdelta-1b, ..." for messages and help.
std::string random_model_presets();

}  // namespace deltaserve
