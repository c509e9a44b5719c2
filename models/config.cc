#include "models/config.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "models/config_reader.h"
#include "models/json.h"
#include "models/limits.h"
#include "models/mapping/family.h"
#include "models/mapping/mixer_keys.h"
#include "models/text.h"

namespace deltaserve {
namespace {

// Keys that training or other software uses. They do not affect the model's computation.
constexpr std::string_view kIgnoredKeys[] = {"_name_or_path",
                                             "architectures",
                                             "auto_map",
                                             "dtype",
                                             "fuse_cross_entropy",
                                             "fuse_linear_cross_entropy",
                                             "fuse_norm",
                                             "fuse_swiglu",
                                             "initializer_range",
                                             "max_position_embeddings",
                                             "pad_token_id",
                                             "torch_dtype",
                                             "transformers_version",
                                             "use_cache",
                                             "use_l2warp"};

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
                 ModelConfig* config) {
  const int64_t count = reader.integer("num_hidden_layers", limits::kLayers, family.num_layers);
  config->vocab_size = reader.integer("vocab_size", limits::kVocabSize, 32000);
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

// Reads the special token ids. Absent ids get the family's defaults, 1 and 2, if the vocabulary has
// them.
void read_tokens(ConfigReader& reader, ModelConfig* config) {
  const auto in_vocabulary = [config](int32_t id) { return id < config->vocab_size; };
  if (reader.has("bos_token_id")) {
    const auto bos = reader.optional_integer("bos_token_id", {0, config->vocab_size - 1});
    config->bos_token_id = static_cast<int32_t>(bos.value_or(-1));
  } else {
    config->bos_token_id = in_vocabulary(1) ? 1 : -1;
  }
  if (auto eos = reader.token_ids("eos_token_id", config->vocab_size); eos.has_value()) {
    config->eos_token_ids = *std::move(eos);
  } else if (in_vocabulary(2)) {
    config->eos_token_ids = {2};
  }
}

// Reads a string, or HF's list of {"name", "template"}, from which it takes "default".
std::string read_chat_template(ConfigReader& reader, const boost::json::object& object) {
  const boost::json::value* value = object.if_contains("chat_template");
  if (value == nullptr || value->is_null()) return "";
  if (!value->is_array()) return reader.word("chat_template", "");
  for (const boost::json::value& entry : value->get_array()) {
    const boost::json::object* named = entry.if_object();
    const boost::json::value* name = named == nullptr ? nullptr : named->if_contains("name");
    const boost::json::value* text = named == nullptr ? nullptr : named->if_contains("template");
    if (name == nullptr || text == nullptr || !name->is_string() || !text->is_string()) {
      reader.fail("chat_template", "is a list with an entry that has no name and template");
      return "";
    }
    if (name->get_string() == "default") {
      return std::string(text->get_string().data(), text->get_string().size());
    }
  }
  reader.fail("chat_template", "is a list without an entry named 'default'");
  return "";
}

// Returns the text of a token, which is a string or an object with a string member `content`;
// nullopt if it is neither.
std::optional<std::string> token_text(const boost::json::value& value) {
  const boost::json::value* text = &value;
  if (value.is_object()) text = value.get_object().if_contains("content");
  if (text == nullptr || !text->is_string() || text->get_string().empty()) return std::nullopt;
  return std::string(text->get_string().data(), text->get_string().size());
}

std::string read_token(ConfigReader& reader, const boost::json::object& object,
                       std::string_view key) {
  const boost::json::value* value = object.if_contains(key);
  if (value == nullptr || value->is_null()) return "";
  const std::optional<std::string> text = token_text(*value);
  if (!text) reader.fail(key, "is neither a token nor null");
  return text.value_or("");
}

void read_special_tokens(ConfigReader& reader, const boost::json::object& object,
                         GenerationDefaults* defaults) {
  defaults->bos_token = read_token(reader, object, "bos_token");
  defaults->eos_token = read_token(reader, object, "eos_token");
  std::set<std::string> all = {defaults->bos_token, defaults->eos_token};
  const boost::json::value* more = object.if_contains("additional_special_tokens");
  if (more != nullptr && more->is_array()) {
    for (const boost::json::value& value : more->get_array()) {
      all.insert(token_text(value).value_or(""));
    }
  }
  const boost::json::value* added = object.if_contains("added_tokens_decoder");
  if (added != nullptr && added->is_object()) {
    for (const auto& [id, value] : added->get_object()) {
      const boost::json::value* special =
          value.is_object() ? value.get_object().if_contains("special") : nullptr;
      const bool marked = special != nullptr && special->is_bool() && special->get_bool();
      if (marked) all.insert(token_text(value).value_or(""));
    }
  }
  all.erase("");
  defaults->special_tokens.assign(all.begin(), all.end());
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

absl::StatusOr<ModelConfig> parse_model_config(std::string_view json, std::string_view origin) {
  absl::StatusOr<boost::json::object> object = parse_json_object(infinity_as_null(json), origin);
  if (!object.ok()) return object.status();
  ConfigReader reader(*object, origin);
  ModelConfig config;
  const ModelFamily* family = read_type(reader, &config.model_type);
  if (family == nullptr) return reader.status();
  for (const auto& [key, feature] : kKeysThatMustBeNull) reader.refuse_unless_null(key, feature);
  for (const std::string_view key : kIgnoredKeys) reader.ignore(key);
  config.hidden_size = reader.integer("hidden_size", limits::kHiddenSize, 2048);
  read_layers(reader, *object, *family, &config);
  config.norm_eps = static_cast<float>(reader.real("norm_eps", limits::kNormEps, family->norm_eps));
  for (LayerConfig& layer : config.layers) layer.mixer.norm_eps = config.norm_eps;
  config.tie_word_embeddings = reader.boolean("tie_word_embeddings", false);
  read_tokens(reader, &config);
  if (!reader.status().ok()) return reader.status();
  config.warnings = reader.warnings();
  for (std::string& warning : reader.unknown_key_warnings()) {
    config.warnings.push_back(std::move(warning));
  }
  return config;
}

absl::StatusOr<GenerationDefaults> parse_generation_defaults(std::string_view generation_json,
                                                             std::string_view tokenizer_json) {
  GenerationDefaults defaults;
  if (!generation_json.empty()) {
    constexpr std::string_view kOrigin = "generation_config.json";
    absl::StatusOr<boost::json::object> object = parse_json_object(generation_json, kOrigin);
    if (!object.ok()) return object.status();
    ConfigReader reader(*object, kOrigin);
    defaults.eos_token_ids =
        reader.token_ids("eos_token_id", limits::kVocabSize.max).value_or(std::vector<int32_t>());
    if (!reader.status().ok()) return reader.status();
  }
  if (!tokenizer_json.empty()) {
    constexpr std::string_view kOrigin = "tokenizer_config.json";
    absl::StatusOr<boost::json::object> object = parse_json_object(tokenizer_json, kOrigin);
    if (!object.ok()) return object.status();
    ConfigReader reader(*object, kOrigin);
    // The Llama tokenizer classes add BOS unless told otherwise.
    const boost::json::value* tokenizer_class = object->if_contains("tokenizer_class");
    const bool llama = tokenizer_class != nullptr && tokenizer_class->is_string() &&
                       tokenizer_class->get_string().starts_with("LlamaTokenizer");
    const boost::json::value* add_bos = object->if_contains("add_bos_token");
    const bool absent = add_bos == nullptr || add_bos->is_null();
    defaults.add_bos_token = absent ? llama : reader.boolean("add_bos_token", false);
    defaults.chat_template = read_chat_template(reader, *object);
    read_special_tokens(reader, *object, &defaults);
    if (!reader.status().ok()) return reader.status();
  }
  return defaults;
}

}  // namespace deltaserve
