#!/usr/bin/env python3
"""Loads model folders that the reference libraries wrote themselves, and compares log-probabilities.

    python published_folders.py --binary build/release/bin/deltaserve [--family mamba2 ...] [--count 20] [--seed 1]

For each recipe of folder_recipes.py the library makes a model with random weights and writes its folder with
`save_pretrained`, and folder_tokenizers.py a tokenizer of a published kind. The server loads the folder in f32 and
must read a text as the same ids, give the model's log-probabilities to 3e-4, and continue with the most likely
tokens and with the text that the tokenizer makes of them. A folder that the server refuses is listed with the
refusal, and counts as an error unless the recipe's key is refused by its name in models/README.md.

It needs tests/reference/requirements.txt and takes about two seconds a folder, so it is not part of CI.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

import fla_on_cpu  # before fla
import fla.models
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

import folder_recipes
import folder_tokenizers

TOLERANCE = 3e-4
CONTINUED_TOKENS = 8

CLASSES = {
    "gla": (fla.models.GLAConfig, fla.models.GLAForCausalLM),
    "delta_net": (fla.models.DeltaNetConfig, fla.models.DeltaNetForCausalLM),
    "gated_deltanet": (fla.models.GatedDeltaNetConfig, fla.models.GatedDeltaNetForCausalLM),
    "kda": (fla.models.KDAConfig, fla.models.KDAForCausalLM),
    "linear_attn": (fla.models.LinearAttentionConfig, fla.models.LinearAttentionForCausalLM),
    "precond_gated_deltanet": (fla.models.PrecondGatedDeltaNetConfig, fla.models.PrecondGatedDeltaNetForCausalLM),
    "precond_kda": (fla.models.PrecondKDAConfig, fla.models.PrecondKDAForCausalLM),
    "fla_mamba2": (fla.models.Mamba2Config, fla.models.Mamba2ForCausalLM),
    "mamba2": (transformers.Mamba2Config, transformers.Mamba2ForCausalLM),
}
for layout in ("mamba_ssm", "mistral"):
    CLASSES[layout] = CLASSES["mamba2"]


def random_weights(model, seed):
    """Gives every parameter a size that keeps activations near one."""
    random = torch.Generator().manual_seed(seed)

    def uniform(low, high, like):
        return low + (high - low) * torch.rand(like.shape, generator=random)

    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=random)
            last = name.rsplit(".", 1)[-1]
            if "norm" in name:
                value = 1 + 0.1 * noise if last == "weight" else 0.1 * noise
            elif last.startswith("A_log"):
                value = uniform(0.5, 8, weight).log()
            elif last == "dt_bias":
                value = uniform(-5, -1, weight)
            elif last == "D" or "conv1d" in name:
                value = 1 + 0.1 * noise if last == "D" else 0.5 * noise
            elif last == "bias" or weight.dim() < 2:
                value = 0.1 * noise
            elif "embedding" in name:
                value = noise
            else:
                value = noise / weight.shape[-1] ** 0.5
            weight.copy_(value)
    model.tie_weights()


def take_tensors(folder):
    """Removes the files of the weights, and returns the tensors."""
    tensors = {}
    for name in sorted(os.listdir(folder)):
        if ".safetensors" not in name:
            continue
        if name.endswith(".safetensors"):
            tensors.update(load_file(os.path.join(folder, name)))
        os.remove(os.path.join(folder, name))
    return {name: tensor.clone() for name, tensor in tensors.items()}


def write_fused_mlp(folder):
    """Writes the folder as fla did before its MLPs had an `up_proj`."""
    tensors = take_tensors(folder)
    for name in [name for name in tensors if name.endswith("mlp.up_proj.weight")]:
        gate = name.replace("up_proj", "gate_proj")
        tensors[gate] = torch.cat([tensors[gate], tensors.pop(name)])
    save_file(tensors, os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    config.pop("fuse_swiglu", None)
    write_json(folder, "config.json", {**config, "share_conv_kernel": True, "torch_dtype": config.pop("dtype", None)})


def write_base_alone(folder):
    tensors = take_tensors(folder)
    tensors.pop("lm_head.weight", None)
    save_file({name.removeprefix("model."): tensor for name, tensor in tensors.items()},
              os.path.join(folder, "model.safetensors"))


def rename_tensors(folder, prefix, file):
    """Writes transformers' tensors under mamba_ssm's names."""
    tensors = take_tensors(folder)
    renamed = {prefix + name.replace("backbone.embeddings.", "backbone.embedding."): tensor
               for name, tensor in tensors.items()}
    shutil.rmtree(folder)
    os.mkdir(folder)
    save_file(renamed, os.path.join(folder, file))


def padded_vocabulary(config):
    multiple = config["pad_vocab_size_multiple"]
    return -(-config["vocab_size"] // multiple) * multiple


def write_mamba_ssm(folder, config):
    rename_tensors(folder, "", "model.safetensors")
    ssm = {"layer": "Mamba2", "d_state": config["state_size"], "headdim": config["head_dim"],
           "expand": config["expand"], "d_conv": config["conv_kernel"], "ngroups": config["n_groups"],
           "chunk_size": config["chunk_size"], "bias": config["use_bias"], "conv_bias": config["use_conv_bias"],
           "dt_limit": config["time_step_limit"]}
    defaults = {"d_state": 128, "headdim": 64, "expand": 2, "d_conv": 4, "ngroups": 1, "chunk_size": 256,
                "bias": False, "conv_bias": True, "dt_limit": (0.0, float("inf"))}
    said = {key: value for key, value in ssm.items() if defaults.get(key) != value}
    write_json(folder, "config.json", {
        "d_model": config["hidden_size"], "d_intermediate": 0, "n_layer": config["num_hidden_layers"],
        "vocab_size": config["vocab_size"], "ssm_cfg": said, "attn_layer_idx": [], "attn_cfg": {},
        "rms_norm": True, "residual_in_fp32": config["residual_in_fp32"], "fused_add_norm": True,
        "pad_vocab_size_multiple": config["pad_vocab_size_multiple"],
        "tie_embeddings": config["tie_word_embeddings"]})


def write_mistral(folder, config):
    rename_tensors(folder, "model.", "consolidated.safetensors")
    write_json(folder, "params.json", {
        "dim": config["hidden_size"], "n_layers": config["num_hidden_layers"], "vocab_size": config["vocab_size"],
        "n_groups": config["n_groups"], "rms_norm": True, "residual_in_fp32": config["residual_in_fp32"],
        "fused_add_norm": True, "pad_vocab_size_multiple": config["pad_vocab_size_multiple"],
        "tie_embeddings": config["tie_word_embeddings"], "model_type": "mamba"})


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w") as file:
        json.dump(value, file)


def make_folder(family, config, dtype, shard, layout, folder, seed):
    """Returns the model, with the weights that the folder has, in f32."""
    make_config, make_model = CLASSES[family]
    model_config = dict(config)
    if "pad_vocab_size_multiple" in model_config:
        model_config["vocab_size"] = padded_vocabulary(config)
        del model_config["pad_vocab_size_multiple"]
    model = make_model(make_config(**model_config)).eval()
    random_weights(model, seed)
    model.to(getattr(torch, dtype))
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    if family == "mamba_ssm":
        write_mamba_ssm(folder, config)
    if family == "mistral":
        write_mistral(folder, config)
    if layout == "fused_mlp":
        write_fused_mlp(folder)
    if layout == "base_alone":
        write_base_alone(folder)
    return model.float()


def reference(model, prompt, continued):
    """Returns the log-probabilities of prompt[1:], and by how much `continued` misses the greedy choice."""
    ids = prompt + continued
    with torch.no_grad():
        rows = torch.log_softmax(model(torch.tensor([ids])).logits[0].float(), -1)[:-1]
    said = rows[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
    first = len(prompt) - 1
    return said[:first].numpy(), float((rows[first:].max(-1).values - said[first:]).max())


class Refused(Exception):
    pass


@contextlib.contextmanager
def serving(binary, folder):
    process = subprocess.Popen(
        [binary, "serve", "--model", folder, "--weights", "f32", "--http-port", "0", "--no-grpc", "--threads", "1",
         "--max-sequences", "2", "--prefix-cache-memory", "0", "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if line.startswith("listening on "):
                yield line.split()[-1]
                break
        else:
            raise Refused(process.stderr.read().strip().replace(folder, "DIR"))
    finally:
        process.terminate()
        process.communicate()


def ask(url, **body):
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)["choices"][0]


def served(binary, folder, prompt):
    """Returns the prompt's ids, their log-probabilities, and the ids and the text of the continuation."""
    with serving(binary, folder) as url:
        echo = ask(url, prompt=prompt, max_tokens=0, echo=True, logprobs=0, return_token_ids=True)
        more = ask(url, prompt=prompt, max_tokens=CONTINUED_TOKENS, temperature=0, ignore_eos=True,
                   return_token_ids=True)
    return echo["prompt_token_ids"], np.array(echo["logprobs"]["token_logprobs"][1:]), more["token_ids"], more["text"]


class Differs(Exception):
    pass


def expect(what, ours, theirs):
    if ours != theirs:
        raise Differs(f"{what}: {ours!r}, the reference has {theirs!r}")


def bytes_replaced(text):
    """Returns `text` with U+FFFD for each byte of the runs without ASCII that contain a U+FFFD."""
    def replaced(run):
        count = sum(1 if character == "\ufffd" else len(character.encode()) for character in run[0])
        return "\ufffd" * count if "\ufffd" in run[0] else run[0]
    return re.sub("[^\0-\x7f]+", replaced, text)


def expect_text(ours, theirs, tokenizer_kind):
    """The decoder ByteFallback writes U+FFFD for each byte of a run of byte tokens that is no UTF-8. The server does,
    too, but it shows the characters that are complete in the run, because a stream cannot wait for its end."""
    if ours != theirs and tokenizer_kind in folder_tokenizers.WITH_BYTE_FALLBACK:
        ours, theirs = bytes_replaced(ours), bytes_replaced(theirs)
    expect("the answer", ours, theirs)


def compare(binary, family, config, dtype, shard, layout, tokenizer_kind, seed):
    """Returns the largest difference between log-probabilities."""
    with tempfile.TemporaryDirectory() as folder:
        model = make_folder(family, config, dtype, shard, layout, folder, seed)
        tokenizer = folder_tokenizers.write(tokenizer_kind, folder, config["vocab_size"])
        text = folder_tokenizers.random_text(seed)
        while len(tokenizer.encode(text)) > fla_on_cpu.LONGEST_PROMPT - CONTINUED_TOKENS:
            text = text[:-1]
        prompt = tokenizer.encode(text)
        ids, ours, continued, answer = served(binary, folder, text)
    expect(f"the ids of {text!r}", ids, prompt)
    logprobs, missed = reference(model, prompt, continued)
    whole = tokenizer.decode(prompt + continued)
    expect_text(answer, whole[len(tokenizer.decode(prompt)):], tokenizer_kind)
    return max(float(np.abs(logprobs - ours).max()), missed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--family", action="append", choices=sorted(CLASSES))
    parser.add_argument("--count", type=int, default=20, help="random mixtures of each family")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="an expression that the names of recipes must match")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    same = wrong = refused = skipped = 0
    for family in arguments.family or CLASSES:
        for number, (name, config, dtype, shard, layout, tokenizer) in enumerate(
                folder_recipes.recipes(family, arguments.count, arguments.seed)):
            name += f" {tokenizer}"
            if not re.search(arguments.only, name):
                continue
            try:
                difference = compare(arguments.binary, family, config, dtype, shard, layout, tokenizer, number)
            except Refused as refusal:
                refused += 1
                print(f"refused  {name}: {refusal}", flush=True)
                continue
            except Differs as difference:
                wrong += 1
                print(f"DIFFERS  {name}: {difference} {config} {dtype}", flush=True)
                continue
            except Exception as error:
                skipped += 1
                print(f"skipped  {name}: the library says {type(error).__name__}: {str(error)[:300]}", flush=True)
                continue
            is_same = difference <= TOLERANCE
            same, wrong = same + is_same, wrong + (not is_same)
            print(f"{'same    ' if is_same else 'DIFFERS '} {name}: {difference:.1e}"
                  + ("" if is_same else f" {config} {dtype}"), flush=True)
    print(f"{same} same, {wrong} differ, {refused} refused, {skipped} that the library itself cannot run")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
