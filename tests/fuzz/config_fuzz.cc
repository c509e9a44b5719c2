// config.json, and generation_config.json with tokenizer_config.json: one text, read as each.
#include <cstdint>
#include <string_view>

#include "kernels/base/check.h"
#include "models/model.h"

namespace {

// Sizes that an accepted config leads to must be sane.
void follow(const deltaserve::ModelConfig& config) {
  DS_CHECK(config.value_heads % config.heads == 0);
  DS_CHECK(config.key_columns() <= 1 << 20 && config.value_columns() <= 1 << 20);
  DS_CHECK(config.key_columns() > 0 && config.value_columns() > 0);
  DS_CHECK(config.bos_token_id < config.vocab_size);
  for (const int32_t id : config.eos_token_ids) DS_CHECK(id >= 0 && id < config.vocab_size);
  DS_CHECK(deltaserve::state_layout(config).floats > 0);
  for (const deltaserve::TensorSpec& spec : deltaserve::tensor_specs(config)) {
    int64_t elements = 1;
    for (const int64_t size : spec.shape) {
      DS_CHECK(size > 0);
      DS_CHECK(!__builtin_mul_overflow(elements, size, &elements));
    }
    DS_CHECK(elements <= int64_t{1} << 37);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(bytes), size);
  const auto config = deltaserve::parse_model_config(json, "config.json");
  if (config.ok()) follow(*config);
  (void)deltaserve::parse_generation_defaults(json, json);
  return 0;
}
