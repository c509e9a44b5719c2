#include "models/mapping/config_keys.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <iterator>

namespace deltaserve {
namespace {

constexpr std::string_view kNeutralKeys[] = {
    // ---- The file itself
    "_name_or_path", "architectures", "auto_map", "transformers_version", "model_type", "dtype",
    "torch_dtype", "unsloth_fixed", "unsloth_version", "use_bfloat16", "torchscript",
    // ---- Training, initialisation, kernels, caches
    "_attn_implementation", "_attn_implementation_autoset", "attn_implementation", "chunk_size",
    "fuse_cross_entropy", "fuse_linear_cross_entropy", "fuse_norm", "fuse_swiglu",
    "gradient_checkpointing", "initializer_range", "layer_types", "max_position_embeddings",
    "model_max_length", "pad_token_id", "seq_length", "use_cache", "use_l2warp",
    // ---- Every config of transformers 4 has these, and causal language models do not read them
    "add_cross_attention", "bad_words_ids", "begin_suppress_tokens", "chunk_size_feed_forward",
    "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty", "do_sample",
    "early_stopping", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty",
    "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "id2label", "is_decoder",
    "is_encoder_decoder", "label2id", "length_penalty", "max_length", "min_length",
    "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_labels", "num_return_sequences",
    "output_attentions", "output_hidden_states", "output_scores", "prefix", "problem_type",
    "pruned_heads", "remove_invalid_values", "repetition_penalty", "return_dict",
    "return_dict_in_generate", "sep_token_id", "suppress_tokens", "task_specific_params",
    "temperature", "tf_legacy_loss", "tie_encoder_decoder", "tokenizer_class", "top_k", "top_p",
    "typical_p"};

// Keys of earlier revisions of flash-linear-attention that its present code no longer has.
struct OldDefault {
  std::string_view key;
  std::string_view value;  // as JSON
};
constexpr OldDefault kOldDefaults[] = {
    {"gate_fn", "\"swish\""},       {"gate_logit_normalizer", "16"}, {"gate_low_rank_dim", "16"},
    {"output_norm", "\"rmsnorm\""}, {"share_conv_kernel", "true"},   {"use_mamba_gate", "true"},
};

}  // namespace

void accept_neutral_keys(ConfigReader& reader) {
  for (const std::string_view key : kNeutralKeys) reader.ignore(key);
}

bool is_default_of_older_code(std::string_view key, const boost::json::value& value) {
  return std::any_of(std::begin(kOldDefaults), std::end(kOldDefaults), [&](const OldDefault& old) {
    return old.key == key && boost::json::serialize(value) == old.value;
  });
}

}  // namespace deltaserve
