#include "models/config.h"

#include <cmath>
#include <optional>
#include <set>
#include <string_view>

#include "models/config_reader.h"
#include "models/json.h"
#include "models/limits.h"
#include "models/text.h"

namespace deltaserve {
namespace {

constexpr std::string_view kSupportedTypes = "qdelta and gated_deltanet";
constexpr double kDefaultLambdaBias = 0.9;

// Keys that training or other software uses, without effect on what the model computes.
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

// Keys that would change the model: hybrid attention layers, other residuals, quantized weights.
constexpr std::string_view kKeysThatMustBeNull[] = {"attn", "attnres_block_size", "ccq",
                                                    "quantization_config"};

// The type decides which other keys are known, so it is read first.
void read_type(ConfigReader& reader, ModelConfig* config) {
  config->model_type = reader.word("model_type", "");
  if (config->model_type == "gated_deltanet") {
    config->mixer = MixerKind::kGatedDeltaNet;
    reader.ignore("attn_mode");  // its modes are the same function
  } else if (config->model_type == "qdelta") {
    const std::string semantics = reader.word("qdelta_semantics", "released");
    if (semantics != "released" && semantics != "canonical") {
      reader.fail("qdelta_semantics",
                  str_cat("is ", quoted(semantics), ", must be 'released' or 'canonical'"));
    }
    config->mixer = semantics == "canonical" ? MixerKind::kQDelta : MixerKind::kQDeltaReleased;
    // The authors' 'fused_recurrent' leaves out lambda and the norm of q and k.
    const std::string mode = reader.word("attn_mode", "chunk");
    if (mode != "chunk") {
      reader.fail("attn_mode", str_cat("is ", quoted(mode), ", only 'chunk' is supported"));
    }
  } else if (!reader.has("model_type")) {
    reader.fail("model_type", str_cat("is absent; supported are ", kSupportedTypes));
  } else {
    reader.fail("model_type",
                str_cat("is ", quoted(config->model_type), "; supported are ", kSupportedTypes));
  }
}

// heads * dim must stay within the limit of a projection.
void check_columns(ConfigReader& reader, std::string_view key, int64_t heads, int64_t dim) {
  if (heads * dim > limits::kProjectionColumns.max) {
    reader.fail(key, str_cat("makes ", heads, " heads of ", dim, ", together more than ",
                             limits::kProjectionColumns.max, " columns"));
  }
}

void read_heads(ConfigReader& reader, ModelConfig* config) {
  config->heads = reader.integer("num_heads", limits::kHeads, 6);
  config->value_heads =
      reader.optional_integer("num_v_heads", limits::kHeads).value_or(config->heads);
  if (config->value_heads % config->heads != 0) {
    reader.fail("num_v_heads", str_cat("is ", config->value_heads,
                                       ", must be a multiple of num_heads ", config->heads));
  }
  config->key_dim = reader.integer("head_dim", limits::kHeadDim, 256);
  const double expand_v = reader.real("expand_v", limits::kExpandV, 2.0);
  const double value_dim = static_cast<double>(config->key_dim) * expand_v;
  config->value_dim = static_cast<int64_t>(value_dim);
  // The tolerance is the checkpoints' own: 1.1 * 120 is not an integer in binary.
  if (value_dim - std::floor(value_dim) > 1e-5 * value_dim) {
    reader.fail("expand_v", str_cat("is ", expand_v, ", which times head_dim ", config->key_dim,
                                    " is not an integer"));
  } else if (config->value_dim < limits::kValueDim.min ||
             config->value_dim > limits::kValueDim.max) {
    reader.fail("expand_v", str_cat("is ", expand_v, ", which makes value heads of ",
                                    config->value_dim, ", more than ", limits::kValueDim.max));
  }
  check_columns(reader, "num_heads", config->heads, config->key_dim);
  check_columns(reader, "num_v_heads", config->value_heads, config->value_dim);
}

void read_mixer(ConfigReader& reader, ModelConfig* config) {
  read_heads(reader, config);
  config->output_gate = reader.boolean("use_gate", true);
  const bool short_conv = reader.boolean("use_short_conv", true);
  const int64_t conv_size = reader.integer("conv_size", limits::kConvSize, 4);
  config->conv_width = short_conv ? conv_size : 0;
  config->allow_neg_eigval = reader.boolean("allow_neg_eigval", false);
  if (config->mixer == MixerKind::kGatedDeltaNet) return;
  if (!reader.has("lamb_bias")) {
    config->warnings.push_back(str_cat("lamb_bias is absent from the config; ", kDefaultLambdaBias,
                                       " is assumed, and a wrong value harms the output"));
  }
  config->lambda_bias =
      static_cast<float>(reader.real("lamb_bias", limits::kLambdaBias, kDefaultLambdaBias));
}

void read_mlp(ConfigReader& reader, ModelConfig* config) {
  const std::string activation = reader.word("hidden_act", "swish");
  if (activation != "swish" && activation != "silu") {
    reader.fail("hidden_act", str_cat("is ", quoted(activation), ", must be 'swish' or 'silu'"));
  }
  const double ratio = reader.real("hidden_ratio", limits::kHiddenRatio, 4);
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

// Absent ids are the family's defaults, 1 and 2, where the vocabulary has them.
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

// A string, or HF's list of {"name", "template"}, of which "default" is taken.
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

// A token: a string, or an object with a member `content` that is one. nullopt: neither.
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

absl::StatusOr<ModelConfig> parse_model_config(std::string_view json, std::string_view origin) {
  absl::StatusOr<boost::json::object> object = parse_json_object(json, origin);
  if (!object.ok()) return object.status();
  ConfigReader reader(*object, origin);
  ModelConfig config;
  read_type(reader, &config);
  for (const std::string_view key : kKeysThatMustBeNull) reader.refuse_unless_null(key);
  for (const std::string_view key : kIgnoredKeys) reader.ignore(key);
  config.hidden_size = reader.integer("hidden_size", limits::kHiddenSize, 2048);
  config.num_layers = reader.integer("num_hidden_layers", limits::kLayers, 21);
  config.vocab_size = reader.integer("vocab_size", limits::kVocabSize, 32000);
  read_mixer(reader, &config);
  read_mlp(reader, &config);
  config.norm_eps = static_cast<float>(reader.real("norm_eps", limits::kNormEps, 1e-6));
  config.tie_word_embeddings = reader.boolean("tie_word_embeddings", false);
  read_tokens(reader, &config);
  if (!reader.status().ok()) return reader.status();
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
