#include "models/mapping/mixer_keys.h"

#include <cmath>

#include "models/base/limits.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

float inverse_root(int64_t dim) {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(dim)));
}

// Returns int(hidden_size * expand) / heads, which must be a whole number.
int32_t divided_dim(ConfigReader& reader, std::string_view key, double absent, int64_t hidden_size,
                    int64_t heads, limits::IntRange range) {
  const double expand = reader.real(key, limits::kExpand, absent);
  const auto columns = static_cast<int64_t>(static_cast<double>(hidden_size) * expand);
  const int64_t dim = columns / heads;
  if (columns % heads != 0) {
    reader.fail(key, str_cat("is ", expand, ", which makes ", columns,
                             " columns: not a multiple of num_heads ", heads));
  } else if (dim < range.min || dim > range.max) {
    reader.fail(key, str_cat("is ", expand, ", which makes heads of ", dim, ", not from ",
                             range.min, " to ", range.max));
  }
  return static_cast<int32_t>(dim);
}

}  // namespace

void check_columns(ConfigReader& reader, std::string_view key, int64_t heads, int64_t dim) {
  if (heads * dim > limits::kProjectionColumns.max) {
    reader.fail(key, str_cat("makes ", heads, " heads of ", dim, ", together more than ",
                             limits::kProjectionColumns.max, " columns"));
  }
}

void read_sized_heads(ConfigReader& reader, const HeadDefaults& defaults, MixerShape* mixer) {
  const int64_t heads = reader.integer("num_heads", limits::kHeads, defaults.num_heads);
  const int64_t value_heads =
      reader.optional_integer("num_v_heads", limits::kHeads).value_or(heads);
  if (value_heads % heads != 0) {
    reader.fail("num_v_heads",
                str_cat("is ", value_heads, ", must be a multiple of num_heads ", heads));
  }
  const int64_t key_dim = reader.integer("head_dim", limits::kHeadDim, defaults.head_dim);
  const double expand_v = reader.real("expand_v", limits::kExpand, defaults.expand_v);
  const double wanted = static_cast<double>(key_dim) * expand_v;
  const auto value_dim = static_cast<int64_t>(wanted);
  // The tolerance is that of the checkpoints: 1.1 * 120 is not an integer in binary.
  if (wanted - std::floor(wanted) > 1e-5 * wanted) {
    reader.fail("expand_v",
                str_cat("is ", expand_v, ", which times head_dim ", key_dim, " is not an integer"));
  } else if (value_dim < limits::kValueDim.min || value_dim > limits::kValueDim.max) {
    reader.fail("expand_v", str_cat("is ", expand_v, ", which makes value heads of ", value_dim,
                                    ", more than ", limits::kValueDim.max));
  }
  check_columns(reader, "num_heads", heads, key_dim);
  check_columns(reader, "num_v_heads", value_heads, value_dim);
  check_columns(reader, "num_v_heads", value_heads, key_dim);  // for a decay per channel
  mixer->heads = mixer->v_heads = static_cast<int32_t>(value_heads);
  mixer->q_heads = mixer->k_heads = static_cast<int32_t>(heads);
  mixer->key_dim = static_cast<int32_t>(key_dim);
  mixer->value_dim = static_cast<int32_t>(value_dim);
  mixer->scale = inverse_root(key_dim);
}

void read_divided_heads(ConfigReader& reader, int64_t hidden_size, int64_t default_heads,
                        double default_expand_k, bool grouped, MixerShape* mixer) {
  const int64_t heads = reader.integer("num_heads", limits::kHeads, default_heads);
  int64_t kv_heads = heads;
  if (grouped) {
    kv_heads = reader.optional_integer("num_kv_heads", limits::kHeads).value_or(heads);
    if (heads % kv_heads != 0) {
      reader.fail("num_kv_heads", str_cat("is ", kv_heads, ", must divide num_heads ", heads));
    }
  }
  mixer->key_dim =
      divided_dim(reader, "expand_k", default_expand_k, hidden_size, heads, limits::kHeadDim);
  mixer->value_dim = divided_dim(reader, "expand_v", 1.0, hidden_size, heads, limits::kValueDim);
  check_columns(reader, "expand_k", heads, mixer->key_dim);
  check_columns(reader, "expand_v", heads, mixer->value_dim);
  mixer->heads = mixer->q_heads = static_cast<int32_t>(heads);
  mixer->k_heads = mixer->v_heads = static_cast<int32_t>(kv_heads);
  mixer->scale = inverse_root(mixer->key_dim);
}

void read_short_conv(ConfigReader& reader, bool on_by_default, MixerShape* mixer) {
  const bool on = reader.boolean("use_short_conv", on_by_default);
  const int64_t taps = reader.integer("conv_size", limits::kConvSize, 4);
  mixer->conv_width = on ? static_cast<int32_t>(taps) : 0;
}

void read_gate_factor(ConfigReader& reader, MixerShape* mixer) {
  mixer->gate_factor = reader.boolean("allow_neg_eigval", false) ? 2.0f : 1.0f;
}

void read_squash(ConfigReader& reader, MixerShape* mixer) {
  mixer->squash = static_cast<float>(reader.real("squash_x", limits::kSquash, 1.5));
  mixer->squash_eps = static_cast<float>(reader.real("squash_eps", limits::kSquashEps, 1e-6));
  reader.ignore("log_atk_scale_init");  // the tensors of these names are used instead
  reader.ignore("a_log_init_lower");
}

}  // namespace deltaserve
