// Config keys that several families share. Private to models/.
#pragma once
#include <string_view>

#include "models/config.h"
#include "models/config_reader.h"

namespace deltaserve {

// Checks that heads * dim is within the limit of a projection.
void check_columns(ConfigReader& reader, std::string_view key, int64_t heads, int64_t dim);

struct HeadDefaults {
  int64_t num_heads;
  int64_t head_dim;
  double expand_v;
};
// Reads num_heads, num_v_heads, head_dim and expand_v: query and key heads have head_dim, value
// heads head_dim * expand_v. The scale of the query is head_dim^-1/2.
void read_sized_heads(ConfigReader& reader, const HeadDefaults& defaults, MixerShape* mixer);

// Reads num_heads, expand_k and expand_v: the heads share hidden_size * expand_k and * expand_v
// columns. With `grouped` also reads num_kv_heads, the number of key and value heads.
void read_divided_heads(ConfigReader& reader, int64_t hidden_size, int64_t default_heads,
                        double default_expand_k, bool grouped, MixerShape* mixer);

// Reads use_short_conv and conv_size.
void read_short_conv(ConfigReader& reader, bool on_by_default, MixerShape* mixer);
// Reads allow_neg_eigval.
void read_gate_factor(ConfigReader& reader, MixerShape* mixer);
// Reads squash_x and squash_eps, and accepts the keys that only training uses.
void read_squash(ConfigReader& reader, MixerShape* mixer);

// Reads "ccq", which only some families support. The mixer must have been read.
void read_conditioning(ConfigReader& reader, bool family_takes_it, LayerConfig* config);

}  // namespace deltaserve
