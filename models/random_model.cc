#include "models/random_model.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "models/config.h"
#include "models/file.h"
#include "models/limits.h"
#include "models/safetensors.h"
#include "models/text.h"
#include "models/weights.h"

namespace deltaserve {
namespace {

struct Preset {
  const char* name;
  const char* type;  // model_type, with what only this type has
  int hidden_size, layers, heads, head_dim, expand_v;
  int intermediate_size;  // 0 = the family's rule
  bool gate, tied;
};

constexpr char kQDelta[] = R"("qdelta", "lamb_bias": 0.9)";
constexpr char kGatedDeltaNet[] = R"("gated_deltanet")";

constexpr Preset kPresets[] = {
    {"qdelta-340m", kQDelta, 1024, 21, 6, 128, 2, 0, true, false},
    {"qdelta-1b", kQDelta, 2048, 21, 6, 256, 2, 0, true, false},
    {"gdn-335m", kGatedDeltaNet, 1024, 21, 8, 128, 1, 2816, false, true},
};

const char* json_bool(bool value) {
  return value ? "true" : "false";
}

std::string preset_config(const Preset& preset) {
  return str_cat("{\n \"model_type\": ", preset.type, ",\n \"hidden_size\": ", preset.hidden_size,
                 ",\n \"num_hidden_layers\": ", preset.layers, ",\n \"num_heads\": ", preset.heads,
                 ",\n \"head_dim\": ", preset.head_dim, ",\n \"expand_v\": ", preset.expand_v,
                 ",\n \"intermediate_size\": ",
                 preset.intermediate_size > 0 ? str_cat(preset.intermediate_size) : "null",
                 ",\n \"use_gate\": ", json_bool(preset.gate),
                 ",\n \"tie_word_embeddings\": ", json_bool(preset.tied),
                 ",\n \"vocab_size\": 32000,\n \"bos_token_id\": 1,\n \"eos_token_id\": 2\n}\n");
}

// The text of the config that `name` means.
absl::StatusOr<std::string> config_text(const std::string& name) {
  for (const Preset& preset : kPresets) {
    if (name == preset.name) return preset_config(preset);
  }
  absl::StatusOr<std::string> text = read_file(name, limits::kConfigBytes);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(str_cat(name, " is neither a preset (", random_model_presets(),
                                       ") nor the path of a config.json"));
  }
  return text;
}

// The finalizer of splitmix64: every bit of the result depends on every bit of `x`.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Element i of a tensor is a function of (seed, name, i) alone. Each value is one integer, exact,
// times one constant: no libm and no sum that a compiler might fuse, hence the same on any machine.
class ElementSource {
 public:
  ElementSource(uint64_t seed, const TensorSpec& spec) {
    uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a of the name
    for (const char c : spec.name) {
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    }
    key_ = mix(mix(seed + kStep) ^ hash);
    choose_distribution(spec);
  }

  float at(uint64_t index) const {
    const uint64_t bits = mix(key_ + (index + 1) * kStep);
    const int64_t drawn = uniform_ ? static_cast<int64_t>(bits >> 40) : sum_of_four(bits);
    return static_cast<float>(static_cast<double>(drawn + offset_) * scale_);
  }

 private:
  static constexpr uint64_t kStep = 0x9e3779b97f4a7c15u;
  static constexpr double kUniformSteps = 1 << 24;
  // Standard deviation of sum_of_four: 65536 * sqrt(4 / 12).
  static constexpr double kDeviation = 37837.227;

  // Nearly normal, within 3.5 standard deviations: four 16-bit numbers, their mean subtracted.
  static int64_t sum_of_four(uint64_t bits) {
    const uint64_t sum =
        (bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) + (bits >> 48);
    return static_cast<int64_t>(sum) - 131070;
  }

  void choose_distribution(const TensorSpec& spec) {
    if (absl::EndsWith(spec.name, "A_log")) {
      set_uniform(-0.6931471805599453, 2.0794415416798357);  // log 0.5, log 8
    } else if (absl::EndsWith(spec.name, "dt_bias")) {
      set_uniform(-5, -1);
    } else if (spec.part == "norms") {
      set_normal(1, 0.1);
    } else if (absl::StrContains(spec.name, "conv1d")) {
      set_normal(0, 0.5);
    } else if (spec.part == "embeddings") {
      set_normal(0, 1);
    } else {
      set_normal(0, 1 / std::sqrt(static_cast<double>(spec.shape.back())));
    }
  }
  void set_uniform(double low, double high) {
    uniform_ = true;
    scale_ = (high - low) / kUniformSteps;
    offset_ = std::llround(low / scale_);
  }
  void set_normal(double mean, double deviation) {
    scale_ = deviation / kDeviation;
    offset_ = std::llround(mean / scale_);
  }

  uint64_t key_ = 0;
  bool uniform_ = false;
  int64_t offset_ = 0;
  double scale_ = 1;
};

void fill_block(const ElementSource& source, Dtype dtype, uint64_t first, uint64_t count,
                char* out) {
  for (uint64_t i = 0; i < count; ++i) {
    const float value = source.at(first + i);
    if (dtype == Dtype::kF32) {
      std::memcpy(out + i * sizeof value, &value, sizeof value);
    } else {
      const uint16_t half = f32_to_bf16(value);
      std::memcpy(out + i * sizeof half, &half, sizeof half);
    }
  }
}

absl::Status write_weights(const ModelConfig& config, uint64_t seed, Dtype dtype,
                           const std::string& path) {
  const std::vector<TensorSpec> specs = tensor_specs(config);
  std::vector<TensorToWrite> tensors;
  std::vector<ElementSource> sources;
  for (const TensorSpec& spec : specs) {
    const bool always_f32 =
        absl::EndsWith(spec.name, "A_log") || absl::EndsWith(spec.name, "dt_bias");
    tensors.push_back({spec.name, always_f32 ? Dtype::kF32 : dtype, spec.shape});
    sources.emplace_back(seed, spec);
  }
  return write_safetensors(path, tensors,
                           [&](size_t tensor, uint64_t first_byte, uint64_t num_bytes, char* out) {
                             const uint64_t size = dtype_size(tensors[tensor].dtype);
                             fill_block(sources[tensor], tensors[tensor].dtype, first_byte / size,
                                        num_bytes / size, out);
                           });
}

}  // namespace

std::string random_model_presets() {
  return absl::StrJoin(kPresets, ", ",
                       [](std::string* out, const Preset& preset) { out->append(preset.name); });
}

absl::Status write_random_model(const std::string& preset_or_config_path, uint64_t seed,
                                Dtype dtype, const std::string& out_dir) {
  if (dtype == Dtype::kF16) {
    return invalid_argument("random weights are written as bf16 or f32, not f16");
  }
  const absl::StatusOr<std::string> text = config_text(preset_or_config_path);
  if (!text.ok()) return text.status();
  const absl::StatusOr<ModelConfig> config = parse_model_config(*text, preset_or_config_path);
  if (!config.ok()) return config.status();
  std::error_code error;
  std::filesystem::create_directories(out_dir, error);
  if (error) {
    return absl::ErrnoToStatus(error.value(), str_cat("cannot make the folder ", out_dir));
  }
  absl::Status status = write_weights(*config, seed, dtype, out_dir + "/model.safetensors");
  if (status.ok()) status = write_file(out_dir + "/config.json", *text);
  return status;
}

}  // namespace deltaserve
