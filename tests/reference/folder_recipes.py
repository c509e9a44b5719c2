"""Configs of model folders as published ones have them, scaled down: for each family the values that its
options take, of which a recipe draws some."""

import itertools
import random

# The values of each option. The first is the library's default, scaled down.
COMMON = {
    "vocab_size": [512, 389, 640],
    "num_hidden_layers": [2, 1, 3],
    "norm_eps": [1e-6, 1e-5, 1e-3],
    "tie_word_embeddings": [False, True],
    "fuse_norm": [True, False],
    "fuse_swiglu": [True, False],
    "fuse_cross_entropy": [True, False],
    "hidden_ratio": [4, 2, 3],
    "intermediate_size": [None, 96, 64],
    "initializer_range": [0.02, 0.006],
    "use_cache": [True, False],
    "max_position_embeddings": [2048, 8192],
    "use_l2warp": [False, True],
    "bos_token_id": [1, None, 0],
    "eos_token_id": [2, 5],
    "pad_token_id": [None, 3],
}
GATED_DELTA = {
    "hidden_size": [64, 48, 96],
    "head_dim": [16, 32, 24],
    "num_heads": [2, 3, 4],
    "num_v_heads": [None, "twice", "same"],
    "expand_v": [2.0, 1.0, 1.5],
    "use_short_conv": [True],
    "allow_neg_eigval": [False, True],
    "conv_size": [4, 2, 3],
    "attn_mode": ["chunk", "fused_recurrent"],
}

FAMILIES = {
    "gla": {**COMMON, "hidden_size": [64, 96], "num_heads": [2, 4, 1], "num_kv_heads": [None, "half"],
            "expand_k": [0.5, 1.0], "expand_v": [1.0, 2.0], "feature_map": [None, "relu", "swish", "sigmoid"],
            "use_short_conv": [False, True], "conv_size": [4, 2, 3], "use_output_gate": [True, False],
            "clamp_min": [None, -0.5], "elementwise_affine": [True, False],
            "attn_mode": ["chunk", "fused_recurrent", "fused_chunk"], "use_gv": [False]},
    "delta_net": {**COMMON, "hidden_size": [64, 96], "num_heads": [2, 4, 1], "expand_k": [1.0, 0.5],
                  "expand_v": [1.0, 2.0], "use_gate": [False, True], "use_short_conv": [True, False],
                  "use_beta": [True, False], "allow_neg_eigval": [False, True], "conv_size": [4, 2, 3],
                  "qk_norm": ["l2", "sum"], "qk_activation": ["silu", "relu", "elu", "identity"],
                  "use_output_norm": [True, False], "attn_mode": ["chunk", "fused_recurrent"]},
    "gated_deltanet": {**COMMON, **GATED_DELTA, "use_gate": [True, False],
                       "output_gate_activation": ["swish", "silu", "sigmoid"]},
    "kda": {**COMMON, **GATED_DELTA, "expand_v": [1.0, 2.0, 0.5], "bounded": [None, -5.0, -2.0]},
    "linear_attn": {**COMMON, "hidden_size": [64, 96], "num_heads": [2, 4, 1], "num_kv_heads": [None, "half"],
                    "expand_k": [1.0, 0.5], "expand_v": [1.0, 2.0],
                    "feature_map": ["elementwise_product", "relu", "elu", "identity"],
                    "tie_feature_map_qk": [False, True], "norm_q": [False, True], "norm_k": [False, True],
                    "norm_feature_map": [False, True], "elementwise_affine": [True, False],
                    "attn_mode": ["fused_chunk", "fused_recurrent"]},
    "precond_gated_deltanet": {**COMMON, **GATED_DELTA, "use_gate": [True, False], "squash_x": [1.5, 2.0],
                               "squash_eps": [1e-6, 1e-4]},
    "precond_kda": {**COMMON, **GATED_DELTA, "expand_v": [1.0, 2.0], "bounded": [None, -5.0],
                    "squash_x": [1.5, 2.0]},
    "fla_mamba2": {"vocab_size": [512, 389], "num_hidden_layers": [2, 1], "norm_eps": [1e-5, 1e-3],
                   "hidden_size": [64, 32], "head_dim": [16, 32, 8], "state_size": [16, 32], "expand": [2, 1],
                   "conv_kernel": [4, 2], "n_groups": [1], "use_bias": [False, True],
                   "use_conv_bias": [True, False], "rmsnorm": [True], "norm_before_gate": [False, True],
                   "dt_limit": [(0.0, float("inf")), (0.01, 0.1)], "tie_word_embeddings": [False, True],
                   "residual_in_fp32": [True, False], "fuse_norm": [True, False], "chunk_size": [256, 64]},
    "mamba2": {"vocab_size": [512, 389], "num_hidden_layers": [2, 3], "layer_norm_epsilon": [1e-5, 1e-3],
               "hidden_size": [64, 32, 128], "head_dim": [16, 32, 8], "state_size": [16, 32, 128],
               "expand": [2, 1, 4], "conv_kernel": [4, 2], "n_groups": [1, 2, 4], "use_bias": [False, True],
               "use_conv_bias": [True, False], "hidden_act": ["silu"],
               "time_step_limit": [(0.0, float("inf")), (0.01, 0.1)], "time_step_rank": ["auto", 8],
               "norm_before_gate": [None, True, False], "rms_norm": [None, True],
               "tie_word_embeddings": [False, True], "residual_in_fp32": [True, False],
               "chunk_size": [256, 64]},
}

# The folders of these two layouts are made from transformers' by renaming the tensors.
for layout in ("mamba_ssm", "mistral"):
    FAMILIES[layout] = {**{key: values for key, values in FAMILIES["mamba2"].items()
                           if key not in ("norm_before_gate", "rms_norm", "layer_norm_epsilon")},
                        "pad_vocab_size_multiple": [16, 8, 1]}
# Mistral's config cannot say these, so each folder has their defaults.
FAMILIES["mistral"].update({"head_dim": [64], "state_size": [128], "expand": [2], "conv_kernel": [4],
                            "hidden_size": [64, 128], "use_bias": [False], "use_conv_bias": [True],
                            "time_step_limit": [(0.0, float("inf"))]})

# A folder is written as the library does, as its revisions before `up_proj` did, or as a base model that was
# saved alone, which has no logits head of its own.
LAYOUTS = ["library", "library", "fused_mlp", "base_alone"]
HAS_MLP = ("gla", "delta_net", "gated_deltanet", "kda", "linear_attn", "precond_gated_deltanet", "precond_kda")
DTYPES = ["float32", "float32", "bfloat16", "float16"]
SHARDS = [None, None, 40_000]
# The kinds of folder_tokenizers.py.
TOKENIZERS = ["gpt_neox", "llama3", "llama2", "unigram", "sentencepiece"]


def settle(family, config):
    """Puts numbers in the place of words that depend on other options."""
    if config.get("num_v_heads") is not None:
        config["num_v_heads"] = config["num_heads"] * (2 if config["num_v_heads"] == "twice" else 1)
    if config.get("num_kv_heads") is not None:
        config["num_kv_heads"] = max(1, config["num_heads"] // 2)
    bound = config.pop("bounded", None)
    if bound is not None:
        config.update(safe_gate=True, lower_bound=bound)
    if family in ("mamba2", "mamba_ssm", "mistral", "fla_mamba2"):
        inner = config["expand"] * config["hidden_size"]
        config["num_heads"] = inner // config["head_dim"]
        config["n_groups"] = min(config["n_groups"], config["num_heads"])
    return {key: value for key, value in config.items()
            if value is not None or key not in ("norm_before_gate", "rms_norm")}


def recipes(family, count, seed):
    """Yields (name, config, dtype, shard size, layout, tokenizer): the defaults, each other value alone, then random
    mixtures."""
    options = FAMILIES[family]
    defaults = {key: values[0] for key, values in options.items()}
    tokenizer = itertools.cycle(TOKENIZERS)
    yield family + " defaults", settle(family, dict(defaults)), "float32", None, "library", next(tokenizer)
    for key, values in options.items():
        for value in values[1:]:
            config = settle(family, {**defaults, key: value})
            yield f"{family} {key}={value}", config, "float32", None, "library", next(tokenizer)
    draw = random.Random(f"{family} {seed}")
    for number in range(count):
        config = {key: draw.choice(values) if draw.random() < 0.6 else values[0]
                  for key, values in options.items()}
        dtype, shard = draw.choice(DTYPES), draw.choice(SHARDS)
        layout = draw.choice(LAYOUTS) if family in HAS_MLP else "library"
        if layout == "base_alone":
            config["tie_word_embeddings"] = True
        yield f"{family} {number} {layout}", settle(family, config), dtype, shard, layout, next(tokenizer)
