"""Writes added_tokens.json: the ids that transformers' LlamaTokenizer gives with added tokens, and the texts
of the ids that the files call special, with and without skip_special_tokens.

Run: python3 record_added_tokens.py (pip install transformers==4.57.6 sentencepiece protobuf; the last
version whose LlamaTokenizer runs sentencepiece itself). The bundled model is taken as it is, and with a
space before every text.
"""

import json
import pathlib
import tempfile

from transformers import LlamaTokenizer

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parents[3] / "models" / "bundled" / "tokenizer.model"
SPACE_BEFORE_TEXT = b"\x1a\x02\x18\x01"  # another normalizer message; the fields of several are merged

ADDED = {
    "0": {"content": "<unk>", "special": True},
    "1": {"content": "<s>", "special": True},
    "2": {"content": "</s>", "special": True},
    "3": {"content": "<|user|>", "special": True},
    "4": {"content": "<|assistant|>", "special": True},
    "5": {"content": "<|end|>", "special": True},
    "4096": {"content": "<|im_start|>", "special": True},
    "4097": {"content": "<|im_end|>", "special": True},
    "4098": {"content": "<think>", "special": False},
    "4099": {"content": "<r>", "special": True, "rstrip": True},
    "4100": {"content": "<l>", "special": True, "lstrip": True},
}

TEXTS = [
    "<|user|>Hello there",
    "Hello there",
    "<s>Hi</s>",
    "a <think> b",
    "x <|im_start|>x <|im_end|> \n y",
    "q <r>  z",
    "q  <l>  z",
    " lead",
    "<|user|> lead",
    "x<|end|>",
    "<|user|><|end|>q",
    "one\n\n<|im_end|>\n<|user|>two  three",
    "<|user|>",
    "",
    "日本<think>語 é",
]
NAMED_IDS = range(6)


def settings(spaced, legacy):
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "legacy": legacy,
        "add_bos_token": False,
        "additional_special_tokens": ["<|user|>", "<|assistant|>", "<|end|>"],
        "added_tokens_decoder": ADDED,
    }
    if not spaced:
        config["add_prefix_space"] = False
    return config


def main():
    groups = []
    for spaced in (False, True):
        for legacy in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                model = MODEL.read_bytes() + (SPACE_BEFORE_TEXT if spaced else b"")
                (folder / "tokenizer.model").write_bytes(model)
                config = json.dumps(settings(spaced, legacy))
                (folder / "tokenizer_config.json").write_text(config)
                tokenizer = LlamaTokenizer.from_pretrained(folder, legacy=legacy)
                cases = [[text, tokenizer.encode(text, add_special_tokens=False)] for text in TEXTS]
                texts = [[id, tokenizer.decode([id], skip_special_tokens=True), tokenizer.decode([id])]
                         for id in NAMED_IDS]
            groups.append({"spaced": spaced, "tokenizer_config": config, "cases": cases, "texts": texts})
    text = json.dumps(groups, ensure_ascii=False, indent=None).replace('], ["', '],\n["')
    (HERE / "added_tokens.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
