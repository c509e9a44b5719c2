#include "models/random_model.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/file.h"
#include "models/checkpoint/safetensors.h"
#include "models/mapping/config.h"
#include "models/mapping/weights.h"

namespace deltaserve {
namespace {

struct Preset {
  const char* name;
  const char* members;  // members of config.json
  int vocab_size = 32000;
};

// The sizes of the papers' models. The names are the papers' too. They round the number of
// parameters with this vocabulary, with or without the output matrix.
constexpr Preset kPresets[] = {
    {"qdelta-340m", R"("model_type": "qdelta", "lamb_bias": 0.9, "hidden_size": 1024,
 "num_hidden_layers": 21, "num_heads": 6, "head_dim": 128, "expand_v": 2)"},
    {"qdelta-1b", R"("model_type": "qdelta", "lamb_bias": 0.9, "hidden_size": 2048,
 "num_hidden_layers": 21, "num_heads": 6, "head_dim": 256, "expand_v": 2)"},
    {"gdn-303m", R"("model_type": "gated_deltanet", "hidden_size": 1024,
 "num_hidden_layers": 21, "num_heads": 8, "head_dim": 128, "expand_v": 1,
 "intermediate_size": 2816, "use_gate": false, "tie_word_embeddings": true)"},
    {"gdn-340m", R"("model_type": "gated_deltanet", "hidden_size": 1024,
 "num_hidden_layers": 24, "num_heads": 8, "head_dim": 128, "expand_v": 1,
 "use_gate": false, "tie_word_embeddings": true)"},
    {"gdn-1b", R"("model_type": "gated_deltanet", "hidden_size": 1792,
 "num_hidden_layers": 24, "num_heads": 14, "head_dim": 128, "expand_v": 1,
 "use_gate": false, "tie_word_embeddings": true)"},
    {"pgdn-340m", R"("model_type": "precond_gated_deltanet", "hidden_size": 1024,
 "num_hidden_layers": 24, "num_heads": 8, "head_dim": 128, "expand_v": 1,
 "use_gate": false, "tie_word_embeddings": true)"},
    {"pgdn-1b", R"("model_type": "precond_gated_deltanet", "hidden_size": 1792,
 "num_hidden_layers": 24, "num_heads": 14, "head_dim": 128, "expand_v": 1,
 "use_gate": false, "tie_word_embeddings": true)"},
    {"kda-340m", R"("model_type": "kda", "hidden_size": 1024, "num_hidden_layers": 24,
 "num_heads": 8, "head_dim": 128, "tie_word_embeddings": true)"},
    {"kda-1b", R"("model_type": "kda", "hidden_size": 1792, "num_hidden_layers": 24,
 "num_heads": 14, "head_dim": 120, "tie_word_embeddings": true)"},
    {"pkda-340m", R"("model_type": "precond_kda", "hidden_size": 1024, "num_hidden_layers": 24,
 "num_heads": 8, "head_dim": 128, "tie_word_embeddings": true)"},
    {"pkda-1b", R"("model_type": "precond_kda", "hidden_size": 1792, "num_hidden_layers": 24,
 "num_heads": 14, "head_dim": 120, "tie_word_embeddings": true)"},
    {"gla-340m", R"("model_type": "gla", "hidden_size": 1024, "num_hidden_layers": 24,
 "num_heads": 4, "expand_k": 0.5, "tie_word_embeddings": true)"},
    {"delta-net-340m", R"("model_type": "delta_net", "hidden_size": 1024,
 "num_hidden_layers": 24, "num_heads": 8, "tie_word_embeddings": true)"},
    {"mamba2-370m", R"("model_type": "mamba2", "hidden_size": 1024, "num_hidden_layers": 48,
 "state_size": 128, "head_dim": 64, "expand": 2, "tie_word_embeddings": true)",
     50288},
};

std::string preset_config(const Preset& preset) {
  return str_cat("{\n ", preset.members, ",\n \"vocab_size\": ", preset.vocab_size,
                 ", \"bos_token_id\": 1, \"eos_token_id\": 2\n}\n");
}

// Returns "weight" for "a.b.weight".
std::string last_word(const std::string& name) {
  return name.substr(name.rfind('.') + 1);
}

// Returns true for parameters of decays, which the layers' own code keeps in f32.
bool always_f32(const TensorSpec& spec) {
  const std::string name = last_word(spec.name);
  return absl::StartsWith(name, "A_log") || absl::StartsWith(name, "dt_bias") ||
         name == "log_atk_scale" || name == "D";
}

// The finalizer of splitmix64: every bit of the result depends on every bit of `x`.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Computes the elements of a tensor: element i is a function of (seed, name, i) alone. Each value
// is one exact integer times one constant. There is no libm and no sum that a compiler might fuse,
// so the values are the same on any machine.
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
  // The standard deviation of sum_of_four(): 65536 * sqrt(4 / 12).
  static constexpr double kDeviation = 37837.227;

  // Returns a nearly normal number within 3.5 standard deviations: the sum of four 16-bit numbers
  // minus its mean.
  static int64_t sum_of_four(uint64_t bits) {
    const uint64_t sum =
        (bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) + (bits >> 48);
    return static_cast<int64_t>(sum) - 131070;
  }

  void choose_distribution(const TensorSpec& spec) {
    const std::string name = last_word(spec.name);
    if (absl::StartsWith(name, "A_log")) {
      set_uniform(-0.6931471805599453, 2.0794415416798357);  // log 0.5, log 8
    } else if (absl::StartsWith(name, "dt_bias")) {
      set_uniform(-5, -1);
    } else if (name == "log_atk_scale") {
      set_normal(-0.2, 0.2);
    } else if (name == "bias") {
      set_normal(0, 0.1);
    } else if (spec.part == "norms" || name == "D") {
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
    tensors.push_back({spec.name, always_f32(spec) ? Dtype::kF32 : dtype, spec.shape});
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

absl::StatusOr<std::string> random_model_config(const std::string& name) {
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

std::string random_model_presets() {
  return absl::StrJoin(kPresets, ", ",
                       [](std::string* out, const Preset& preset) { out->append(preset.name); });
}

absl::Status write_random_model(const std::string& preset_or_config_path, uint64_t seed,
                                Dtype dtype, const std::string& out_dir) {
  if (dtype == Dtype::kF16) {
    return invalid_argument("random weights are written as bf16 or f32, not f16");
  }
  const absl::StatusOr<std::string> text = random_model_config(preset_or_config_path);
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
