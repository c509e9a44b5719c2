#include "models/mapping/config.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>

#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/config_reader.h"
#include "models/checkpoint/json.h"
#include "models/mapping/config_keys.h"
#include "models/mapping/family.h"
#include "models/mapping/foreign_config.h"
#include "models/mapping/mixer_keys.h"

namespace deltaserve {
namespace {

// Keys that would change the model, and the features that they would turn on.
constexpr std::pair<std::string_view, std::string_view> kKeysThatMustBeNull[] = {
    {"attn", "hybrid models with attention layers"},
    {"attnres_block_size", "attention residuals"},
    {"quantization_config", "quantized checkpoints"}};

// Keys that apply to the whole model and cannot differ by layer.
constexpr std::string_view kModelKeys[] = {
    "hidden_size", "num_hidden_layers",   "vocab_size",   "norm_eps",
    "layers",      "tie_word_embeddings", "bos_token_id", "eos_token_id"};

// Reads the type first, because it decides which other keys are known.
const ModelFamily* read_type(ConfigReader& reader, std::string* model_type) {
  *model_type = reader.word("model_type", "");
  const ModelFamily* family = find_family(*model_type);
  if (!reader.has("model_type")) {
    reader.fail("model_type", str_cat("is absent; supported are ", supported_model_types()));
  } else if (family == nullptr) {
    reader.fail("model_type",
                str_cat("is ", quoted(*model_type), "; supported are ", supported_model_types()));
  }
  return family;
}

void read_mlp(ConfigReader& reader, LayerConfig* config) {
  reader.choice("hidden_act", {"swish", "silu"}, "swish");
  const double ratio = reader.optional_real("hidden_ratio", limits::kHiddenRatio).value_or(4);
  const auto given = reader.optional_integer("intermediate_size", limits::kIntermediateSize);
  if (given.has_value()) {
    config->intermediate_size = *given;
    return;
  }
  const auto wanted =
      static_cast<int64_t>(static_cast<double>(config->hidden_size) * ratio * 2 / 3);
  config->intermediate_size = (wanted + 255) / 256 * 256;
  if (config->intermediate_size < limits::kIntermediateSize.min ||
      config->intermediate_size > limits::kIntermediateSize.max) {
    reader.fail("hidden_ratio", str_cat("is ", ratio, ", which makes an intermediate size of ",
                                        config->intermediate_size, ", not from 1 to ",
                                        limits::kIntermediateSize.max));
  }
}

LayerConfig read_layer(ConfigReader& reader, const ModelFamily& family, int64_t hidden_size) {
  LayerConfig layer;
  layer.model_type = family.model_type;
  layer.hidden_size = hidden_size;
  family.read_mixer(reader, &layer);
  read_conditioning(reader, family.takes_ccq, &layer);
  if (family.has_mlp) read_mlp(reader, &layer);
  return layer;
}

// Reads a layer whose keys are those of the config, except for `overrides`.
LayerConfig read_own_layer(ConfigReader& model, const boost::json::object& config,
                           const boost::json::object& overrides, const std::string& origin,
                           int64_t hidden_size) {
  ConfigReader reader(config, overrides, origin);
  LayerConfig layer;
  if (const ModelFamily* family = read_type(reader, &layer.model_type); family != nullptr) {
    layer = read_layer(reader, *family, hidden_size);
    layer.has_mixer = reader.boolean("mixer", true);
    if (!reader.boolean("mlp", family->has_mlp)) {
      layer.intermediate_size = 0;
    } else if (!family->has_mlp) {
      read_mlp(reader, &layer);
    }
    if (!layer.has_mixer && layer.intermediate_size == 0) {
      reader.fail("mixer", "is false, and so is mlp: the layer would do nothing");
    }
  }
  for (const auto& member : overrides) {
    const std::string_view key(member.key().data(), member.key().size());
    if (std::find(std::begin(kModelKeys), std::end(kModelKeys), key) != std::end(kModelKeys)) {
      reader.fail(quoted(key), "cannot differ by layer");
    } else if (!reader.is_known(key)) {
      reader.fail(quoted(key), "is not a key of this layer");
    }
  }
  model.merge(reader);
  return layer;
}

void read_layers(ConfigReader& reader, const boost::json::object& object, const ModelFamily& family,
                 const ModelDefaults& defaults, ModelConfig* config) {
  const int64_t count = reader.integer("num_hidden_layers", limits::kLayers, defaults.num_layers);
  config->vocab_size = reader.integer("vocab_size", limits::kVocabSize, defaults.vocab_size);
  if (reader.is_null("layers")) {
    config->layers.assign(static_cast<size_t>(count),
                          read_layer(reader, family, config->hidden_size));
    return;
  }
  const boost::json::value& list = object.at("layers");
  if (!list.is_array() || static_cast<int64_t>(list.get_array().size()) != count) {
    reader.fail("layers", str_cat("must be a list of ", count, " objects, one for each layer"));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const std::string origin = str_cat(reader.origin(), ": layers[", i, "]");
    const boost::json::value& entry = list.get_array()[static_cast<size_t>(i)];
    if (!entry.is_object()) return reader.fail(str_cat("layers[", i, "]"), "is not an object");
    config->layers.push_back(
        read_own_layer(reader, object, entry.get_object(), origin, config->hidden_size));
  }
}

// Reads the special token ids. Absent ids get the defaults if the vocabulary has them.
void read_tokens(ConfigReader& reader, const ModelDefaults& defaults, ModelConfig* config) {
  constexpr int32_t kDefaultEos = 2;
  const auto in_vocabulary = [config](int32_t id) { return id < config->vocab_size; };
  config->bos_is_said = reader.has("bos_token_id");
  if (config->bos_is_said) {
    const auto bos = reader.optional_integer("bos_token_id", {0, config->vocab_size - 1});
    config->bos_token_id = static_cast<int32_t>(bos.value_or(-1));
  } else {
    config->bos_token_id = in_vocabulary(defaults.bos_token_id) ? defaults.bos_token_id : -1;
  }
  if (auto eos = reader.token_ids("eos_token_id", config->vocab_size); eos.has_value()) {
    config->eos_is_said = true;
    config->eos_token_ids = *std::move(eos);
  } else if (in_vocabulary(kDefaultEos)) {
    config->eos_token_ids = {kDefaultEos};
  }
}

absl::StatusOr<ModelConfig> read_config(const boost::json::object& object, std::string_view origin,
                                        std::span<const std::string> ignored_keys) {
  ConfigReader reader(object, origin);
  ModelConfig config;
  const ModelFamily* family = read_type(reader, &config.model_type);
  if (family == nullptr) return reader.status();
  const ModelDefaults defaults = defaults_of(*family, reader);
  for (const auto& [key, feature] : kKeysThatMustBeNull) reader.refuse_unless_null(key, feature);
  accept_neutral_keys(reader);
  config.hidden_size = reader.integer("hidden_size", limits::kHiddenSize, defaults.hidden_size);
  read_layers(reader, object, *family, defaults, &config);
  config.norm_eps =
      static_cast<float>(reader.real(defaults.norm_eps_key, limits::kNormEps, defaults.norm_eps));
  for (LayerConfig& layer : config.layers) layer.mixer.norm_eps = config.norm_eps;
  config.tie_word_embeddings = reader.boolean("tie_word_embeddings", false);
  read_tokens(reader, defaults, &config);
  reader.check_unknown_keys(ignored_keys, is_default_of_older_code);
  if (!reader.status().ok()) return reader.status();
  config.warnings = reader.warnings();
  return config;
}

}  // namespace

bool layers_are_alike(const ModelConfig& config) {
  return std::all_of(config.layers.begin(), config.layers.end(),
                     [&](const LayerConfig& layer) { return layer == config.layers.front(); });
}

StateLayout state_layout(const ModelConfig& config, StateFormat format) {
  StateLayout layout;
  for (const LayerConfig& layer : config.layers) {
    layer.has_mixer ? layout.add_mixer(layer.mixer, format) : layout.add_empty();
  }
  return layout;
}

absl::StatusOr<ModelConfig> parse_model_config(std::string_view json, std::string_view origin,
                                               std::span<const std::string> ignored_keys) {
  absl::StatusOr<boost::json::object> object = parse_json_object(json, origin);
  if (!object.ok()) return object.status();
  if (!is_foreign_config(*object)) return read_config(*object, origin, ignored_keys);
  const absl::StatusOr<ForeignConfig> foreign = read_foreign_config(*object, origin, ignored_keys);
  if (!foreign.ok()) return foreign.status();
  absl::StatusOr<ModelConfig> config = read_config(foreign->keys, origin, {});
  if (!config.ok()) return config;
  config->warnings.insert(config->warnings.end(), foreign->warnings.begin(),
                          foreign->warnings.end());
  return config;
}

absl::StatusOr<std::vector<int32_t>> parse_generation_eos(std::string_view json) {
  constexpr std::string_view kOrigin = "generation_config.json";
  const absl::StatusOr<boost::json::object> object = parse_json_object(json, kOrigin);
  if (!object.ok()) return object.status();
  ConfigReader reader(*object, kOrigin);
  std::vector<int32_t> ids =
      reader.token_ids("eos_token_id", limits::kVocabSize.max).value_or(std::vector<int32_t>());
  if (!reader.status().ok()) return reader.status();
  return ids;
}

}  // namespace deltaserve
