#include "models/mapping/foreign_config.h"

#include <limits>

#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/config_reader.h"
#include "models/mapping/config_keys.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr limits::IntRange kPaddingMultiple{1, 1 << 16};

bool no_key_is_a_default(std::string_view, const json::value&) {
  return false;
}

// Sets an error unless the key is absent or has the only value that is served.
void require(ConfigReader& reader, std::string_view key, bool absent, bool wanted,
             std::string_view feature) {
  if (reader.boolean(key, absent) != wanted) {
    reader.fail(key,
                str_cat("is ", wanted ? "false" : "true", ", but ", feature, " are not supported"));
  }
}

// Reads the vocabulary, which the matrices have padded to a multiple. The padded rows take part in
// the softmax.
int64_t padded_vocabulary(ConfigReader& reader, int64_t default_multiple) {
  const int64_t size = reader.integer("vocab_size", limits::kVocabSize, 50277);
  const int64_t multiple =
      reader.integer("pad_vocab_size_multiple", kPaddingMultiple, default_multiple);
  return (size + multiple - 1) / multiple * multiple;
}

// Reads the keys that both layouts have in common.
void read_common_keys(ConfigReader& reader, json::object* keys) {
  require(reader, "rms_norm", true, true, "layer norms");
  reader.ignore("residual_in_fp32");
  reader.ignore("fused_add_norm");
  (*keys)["model_type"] = "mamba2";
  (*keys)["tie_word_embeddings"] = reader.boolean("tie_embeddings", true);
  (*keys)["rmsnorm"] = true;
  (*keys)["norm_eps"] = 1e-5;  // fixed in the layer's code; no config key
  (*keys)["bos_token_id"] = nullptr;
  (*keys)["eos_token_id"] = nullptr;
}

// Reads the keys of one layer's mixer, with the defaults of mamba_ssm's Mamba2.
void read_mixer_keys(ConfigReader& reader, int64_t hidden_size, json::object* keys) {
  const std::string layer = reader.word("layer", "Mamba1");
  if (layer != "Mamba2") {
    reader.fail("layer", str_cat("is ", quoted(layer), ", only 'Mamba2' is supported"));
  }
  const double expand = reader.real("expand", limits::kExpand, 2);
  const auto inner = static_cast<int64_t>(static_cast<double>(hidden_size) * expand);
  const auto part = reader.optional_integer("d_ssm", {1, std::numeric_limits<int64_t>::max()});
  if (part.has_value() && *part != inner) {
    reader.fail("d_ssm", str_cat("is ", *part, ", but only layers whose ", inner,
                                 " channels all go through the rule are supported"));
  }
  const auto [least, most] =
      reader.bounds("dt_limit", limits::kTimeStep, {0, std::numeric_limits<double>::infinity()});
  (*keys)["dt_limit"] = json::array{least, most};
  (*keys)["expand"] = expand;
  (*keys)["state_size"] = reader.integer("d_state", limits::kHeadDim, 128);
  (*keys)["head_dim"] = reader.integer("headdim", limits::kValueDim, 64);
  (*keys)["conv_kernel"] = reader.integer("d_conv", limits::kConvSize, 4);
  (*keys)["n_groups"] = reader.integer("ngroups", limits::kHeads, 1);
  (*keys)["D_has_hdim"] = reader.boolean("D_has_hdim", false);
  (*keys)["rmsnorm"] = reader.boolean("rmsnorm", true);
  (*keys)["norm_before_gate"] = reader.boolean("norm_before_gate", false);
  (*keys)["use_bias"] = reader.boolean("bias", false);
  (*keys)["use_conv_bias"] = reader.boolean("conv_bias", true);
  for (const char* key : {"A_init_range", "chunk_size", "conv_init", "dt_init_floor", "dt_max",
                          "dt_min", "use_mem_eff_path", "process_group", "sequence_parallel"}) {
    reader.ignore(key);  // initial weights and kernels
  }
  reader.check_unknown_keys({}, no_key_is_a_default);
}

void read_mamba_ssm(ConfigReader& reader, std::string_view origin, json::object* keys) {
  const int64_t hidden = reader.integer("d_model", limits::kHiddenSize, 2560);
  (*keys)["hidden_size"] = hidden;
  (*keys)["num_hidden_layers"] = reader.integer("n_layer", limits::kLayers, 64);
  if (reader.integer("d_intermediate", {0, limits::kIntermediateSize.max}, 0) != 0) {
    reader.fail("d_intermediate", "is not 0, but Mamba-2 with MLPs is not supported");
  }
  for (const char* key : {"attn_layer_idx", "attn_cfg"}) {
    if (!reader.is_empty(key)) reader.fail(key, "is set, but attention layers are not supported");
  }
  (*keys)["vocab_size"] = padded_vocabulary(reader, 8);
  const json::object* mixer = reader.object("ssm_cfg");
  static const json::object kNone;
  ConfigReader part(mixer == nullptr ? kNone : *mixer, str_cat(origin, ": ssm_cfg"));
  read_mixer_keys(part, hidden, keys);
  reader.fail(part.status());
}

// mistral-inference makes a mamba_ssm model with these keys and its defaults for all others.
void read_mistral(ConfigReader& reader, json::object* keys) {
  (*keys)["hidden_size"] = reader.integer("dim", limits::kHiddenSize, 4096);
  (*keys)["num_hidden_layers"] = reader.integer("n_layers", limits::kLayers, 64);
  (*keys)["n_groups"] = reader.integer("n_groups", limits::kHeads, 1);
  const std::string type = reader.word("model_type", "");
  if (type != "mamba") {
    reader.fail("model_type", str_cat("is ", quoted(type), ", only 'mamba' is supported"));
  }
  (*keys)["vocab_size"] = padded_vocabulary(reader, 1);
}

}  // namespace

bool is_foreign_config(const json::object& object) {
  const bool mistral = object.contains("dim") && object.contains("n_layers");
  const bool mamba_ssm = object.contains("d_model") && object.contains("n_layer");
  return (mistral || mamba_ssm) && !object.contains("hidden_size");
}

absl::StatusOr<ForeignConfig> read_foreign_config(const json::object& object,
                                                  std::string_view origin,
                                                  std::span<const std::string> ignored) {
  ForeignConfig config;
  ConfigReader reader(object, origin);
  const bool is_mistral = object.contains("dim");
  accept_neutral_keys(reader);
  read_common_keys(reader, &config.keys);
  if (is_mistral) {
    read_mistral(reader, &config.keys);
  } else {
    read_mamba_ssm(reader, origin, &config.keys);
  }
  reader.check_unknown_keys(ignored, no_key_is_a_default);
  if (!reader.status().ok()) return reader.status();
  config.warnings = reader.warnings();
  return config;
}

}  // namespace deltaserve
