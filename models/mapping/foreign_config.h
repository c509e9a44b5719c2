// Configs of Mamba-2 that are not in the layout of Hugging Face: those of mamba_ssm (config.json
// with d_model, ssm_cfg, ...) and of Mistral (params.json with dim, n_layers, ...). Private to
// models/.
#pragma once
#include <boost/json/object.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace deltaserve {

struct ForeignConfig {
  boost::json::object keys;  // those of a mamba2 config of flash-linear-attention
  std::vector<std::string> warnings;
};

// Returns true for the two layouts above.
bool is_foreign_config(const boost::json::object& object);

// Rewrites such a config. INVALID_ARGUMENT names the key, as its author spells it, and the value
// that cannot be served. `ignored` are keys of --ignore-config-key.
absl::StatusOr<ForeignConfig> read_foreign_config(const boost::json::object& object,
                                                  std::string_view origin,
                                                  std::span<const std::string> ignored);

}  // namespace deltaserve
