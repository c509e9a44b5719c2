// Fuzzes config.json, generation_config.json and the settings of a tokenizer: one text, read as
// each.
#include <cstdint>
#include <string_view>

#include "kernels/base/check.h"
#include "models/mapping/weights.h"
#include "models/model.h"

namespace {

void follow(const deltaserve::MixerShape& mixer) {
  DS_CHECK(mixer.heads > 0 && mixer.key_dim > 0 && mixer.value_dim > 0);
  for (const int32_t count : {mixer.q_heads, mixer.k_heads, mixer.v_heads}) {
    DS_CHECK(count > 0 && mixer.heads % count == 0);
  }
  for (const int32_t count : {mixer.decay_heads, mixer.beta_heads, mixer.precond_heads}) {
    DS_CHECK(count == 0 || mixer.heads % count == 0);
  }
  DS_CHECK((mixer.decay_heads == 0) == (mixer.decay_gate == deltaserve::DecayGate::kNone));
  DS_CHECK(mixer.q_columns() <= 1 << 20 && mixer.k_columns() <= 1 << 20);
  DS_CHECK(mixer.value_columns() > 0 && mixer.value_columns() <= 1 << 20);
}

// Checks that the sizes of an accepted config are sane.
void follow(const deltaserve::ModelConfig& config) {
  DS_CHECK(config.num_layers() > 0);
  for (const deltaserve::LayerConfig& layer : config.layers) {
    DS_CHECK(layer.has_mixer || layer.intermediate_size > 0);
    if (layer.has_mixer) follow(layer.mixer);
  }
  DS_CHECK(config.bos_token_id < config.vocab_size);
  for (const int32_t id : config.eos_token_ids) DS_CHECK(id >= 0 && id < config.vocab_size);
  const int64_t floats = deltaserve::state_layout(config).floats;
  DS_CHECK(floats >= 0 && floats < int64_t{1} << 44);
  for (const deltaserve::TensorSpec& spec : deltaserve::tensor_specs(config)) {
    int64_t elements = 1;
    for (const int64_t size : spec.shape) {
      DS_CHECK(size > 0);
      DS_CHECK(!__builtin_mul_overflow(elements, size, &elements));
    }
    DS_CHECK(elements <= int64_t{1} << 39);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(bytes), size);
  const auto config = deltaserve::parse_model_config(json, "config.json");
  if (config.ok()) follow(*config);
  (void)deltaserve::parse_generation_eos(json);
  deltaserve::TokenizerFiles files;
  files.tokenizer_config = files.special_tokens_map = files.added_tokens = json;
  (void)deltaserve::parse_tokenizer_settings(files);
  return 0;
}
