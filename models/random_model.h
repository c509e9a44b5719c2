// Models with random weights, for benchmarks and tests at sizes that cannot be bundled.
#pragma once
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/dtype.h"

namespace deltaserve {

// Writes config.json and model.safetensors into `out_dir`, which is made if it is absent; there is
// no tokenizer. `preset_or_config_path` is a name of random_model_presets() or the path of a
// config.json. Weights are stored in `dtype`, A_log, dt_bias, log_atk_scale and D in f32. The same
// arguments give the same bytes on any machine.
absl::Status write_random_model(const std::string& preset_or_config_path, uint64_t seed,
                                Dtype dtype, const std::string& out_dir);

// The config.json that a name of random_model_presets() or a path means.
absl::StatusOr<std::string> random_model_config(const std::string& preset_or_config_path);

// "qdelta-340m, qdelta-1b, ...", for messages and help.
std::string random_model_presets();

}  // namespace deltaserve
