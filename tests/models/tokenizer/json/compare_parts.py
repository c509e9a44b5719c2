#!/usr/bin/env python3
"""Compares our reading of tokenizer.json with the library `tokenizers` on random parts: normalizers,
pre-tokenizers with random expressions, decoders, added tokens. The model shows where pieces end: the last
character of each is a token of its own. Run as compare.py is run:

    compare_parts.py --tool build/release/bin/tokenizer_tool --files 300
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

import compare

BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
ATOMS = [r"\p{L}", r"\p{N}", r"\p{Lu}", r"\p{M}", r"\p{P}", r"\p{S}", r"\p{Han}", r"\p{Latin}", r"\p{^L}", r"\P{N}", r"\s", r"\S", r"\w", r"\W",
         r"\d", r"\D", r"\h", ".", "a", "b", " ", "é", "ß", r"\n", r"\r\n", r"[a-f]", r"[^\s\p{L}\p{N}]", r"[\p{L}\p{M}]", r"[[:punct:]]", r"[[:^alpha:]]",
         r"[[:alnum:]]", r"[a-z&&[^aeiou]]", r"[^\r\n]", r"[\w&&\D]", r"[一-龥]", r"\u00e9", r"\x41", r"\x{1F600}", r"\R", r"\b", r"\B", "^", "$", r"\A",
         r"\z", r"\Z", r"(?=a)", r"(?!\S)", r"(?<=a)", r"(?<!\s)", r"(?i:ss)", r"(?i:k)", r"(?i:'s|'t)", r"(?i)s", r"(?m:.)", r"(?>a+)", r"(?<n>a)", r"[[a-c][x-z]]",
         r"\p{Alphabetic}", r"\p{Greek}", r"\p{Letter}", r"\p{Nd}", r"\p{Emoji}", r"[\p{Word}]", r"\p{Word}", "[-a]", "[a-]", "[]a]", r"[\]a]", r"(?i:[k-s])", r"(?i:ﬁ)", r"(?i:st)"]
QUANTIFIERS = ["", "", "", "+", "*", "?", "{2}", "{1,3}", "{2,}", "{,2}", "+?", "*?", "??", "++", "?+", "*+", "{1,3}+", "{2}?", "{1,2}?", "+*", "{2}{3}"]
WORDS = ["a", "b", "ab", "aab", "Hello", "world", "ss", "SS", "ß", "ẞ", "ſ", "K", "k", "\u212a", "ﬁ", "fi", "st", "ﬆ", "İ", "i̇", "é", "e\u0301", "가", "\u1100\u1161\u11a8", "日本", "ひら",
         "カタ", "ー", "я", "Ω", "ω", "1", "23", "²", "½", "Ⅷ", "٣", ".", "!!", "-", "—", "«", "$", "+", "_", "▁", "'s", "'S", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2028", "\u200b", "\ufeff",
         "\u0085", "\x1c", "\x00", "\u00ad", "\ufffd", "😀", "👍🏽", "ﷺ", "①", "ｶﾞ", "\u0344", "कि", "ก\u0e33", "\u0600", "zz", "<s>", "x</w>", "<0x41>", "##b", "zq", "12345"]


def expression(source):
    parts = []
    for _ in range(source.randrange(1, 4)):
        parts.append("".join(source.choice(ATOMS) + source.choice(QUANTIFIERS) for _ in range(source.randrange(1, 4))))
    return "|".join(parts)


def pattern(source):
    if source.randrange(3):
        return dict(Regex=expression(source))
    return dict(String=source.choice([" ", "a", "ab", "-", "", "é", "▁", "\n"]))


def normalizer(source, depth=0):
    kind = source.choice(["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "Nmt", "Prepend", "Replace", "BertNormalizer", "ByteLevel", "Sequence"])
    flag = lambda: bool(source.randrange(2))
    if kind == "Sequence":
        return dict(type=kind, normalizers=[normalizer(source, 1) for _ in range(source.randrange(3))]) if depth == 0 else dict(type="NFC")
    more = {"Strip": dict(strip_left=flag(), strip_right=flag()), "Prepend": dict(prepend=source.choice(["▁", "ab", " ", ""])),
            "Replace": dict(pattern=pattern(source), content=source.choice(["", "▁", "x", "ab\\1"])),
            "BertNormalizer": dict(clean_text=flag(), handle_chinese_chars=flag(), strip_accents=source.choice([None, True, False]), lowercase=flag())}
    return dict(type=kind, **more.get(kind, {}))


def pre_tokenizer(source, depth=0):
    kind = source.choice(["ByteLevel", "Split", "Split", "Split", "Metaspace", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit", "BertPreTokenizer", "CharDelimiterSplit", "UnicodeScripts", "FixedLength", "Sequence"])
    flag = lambda: bool(source.randrange(2))
    if kind == "Sequence":
        return dict(type=kind, pretokenizers=[pre_tokenizer(source, 1) for _ in range(source.randrange(4))]) if depth == 0 else dict(type="Whitespace")
    more = {"ByteLevel": dict(add_prefix_space=flag(), trim_offsets=True, use_regex=flag()), "Split": dict(pattern=pattern(source), behavior=source.choice(BEHAVIORS), invert=flag()),
            "Metaspace": dict(replacement=source.choice(["▁", "_"]), prepend_scheme=source.choice(["always", "first", "never"]), split=flag()), "Digits": dict(individual_digits=flag()),
            "Punctuation": dict(behavior=source.choice(BEHAVIORS)), "CharDelimiterSplit": dict(delimiter=source.choice("a -")), "FixedLength": dict(length=source.randrange(1, 5))}
    return dict(type=kind, **more.get(kind, {}))


def decoder(source, depth=0):
    kind = source.choice(["ByteLevel", "ByteFallback", "Fuse", "WordPiece", "BPEDecoder", "Metaspace", "CTC", "Strip", "Replace", "Sequence", "Sequence"])
    if kind == "Sequence":
        return dict(type=kind, decoders=[decoder(source, 1) for _ in range(source.randrange(4))]) if depth == 0 else dict(type="Fuse")
    flag = lambda: bool(source.randrange(2))
    more = {"ByteLevel": dict(add_prefix_space=True, trim_offsets=True, use_regex=True), "WordPiece": dict(prefix=source.choice(["##", "a"]), cleanup=flag()), "BPEDecoder": dict(suffix=source.choice(["</w>", "b"])),
            "Metaspace": dict(replacement="▁", prepend_scheme=source.choice(["always", "first", "never"]), split=True), "CTC": dict(pad_token="a", word_delimiter_token="b", cleanup=flag()),
            "Strip": dict(content=source.choice(" ab"), start=source.randrange(3), stop=0), "Replace": dict(pattern=pattern(source), content=source.choice(["", " ", "x"]))}
    return dict(type=kind, **more.get(kind, {}))


def added_tokens(source):
    flag = lambda: bool(source.randrange(2))
    contents = source.sample(["<s>", "zz", "ab", "Hello", " ", "日本", "é", "a b", "\n", "aab", "SS", "b"], source.randrange(5))
    return [dict(id=5000 + i, content=c, single_word=flag(), lstrip=flag(), rstrip=flag(), normalized=flag(), special=flag()) for i, c in enumerate(contents)]


def piece_model():
    chars = sorted(set("".join(WORDS)) | {chr(c) for c in range(0x20, 0x180)} | set("".join(w.lower() + w.upper() for w in WORDS)))
    entries = ["<unk>"] + chars + [c + "</w>" for c in chars] + ["<unk></w>"]
    return dict(type="BPE", vocab={w: i for i, w in enumerate(dict.fromkeys(entries))}, merges=[], unk_token="<unk>", end_of_word_suffix="</w>")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", required=True)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    source = random.Random(options.seed)
    model, counts = piece_model(), dict(equal=0, refused_by_both=0, refused_by_us=0, refused_by_them=0, different=0)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "t.json")
        for _ in range(options.files):
            part = source.randrange(4)
            file = dict(version="1.0", truncation=None, padding=None, added_tokens=added_tokens(source) if part == 3 or not source.randrange(4) else [],
                        normalizer=normalizer(source) if part in (0, 3) else None, pre_tokenizer=pre_tokenizer(source) if part in (1, 3) else None,
                        post_processor=None, decoder=decoder(source) if part == 2 else None, model=model)
            shown = json.dumps({k: v for k, v in file.items() if v and k != "model"}, ensure_ascii=True)
            with open(path, "w") as out:
                json.dump(file, out)
            texts = ["".join(source.choices(WORDS, k=source.randrange(0, 12))) for _ in range(options.texts)]
            lists = [source.choices(range(len(model["vocab"])), k=source.randrange(0, 8)) for _ in range(options.texts)]
            try:
                t = Tokenizer.from_file(path)
                wanted = [t.encode(x, add_special_tokens=False).ids for x in texts], [t.decode(x, skip_special_tokens=False) for x in lists]
            except BaseException as error:
                wanted = str(error)
            try:
                got = compare.ask(options.tool, path, "encode", texts), compare.ask(options.tool, path, "decode", lists)
            except RuntimeError as error:
                got = str(error)
            theirs, ours = isinstance(wanted, str), isinstance(got, str)
            if theirs or ours:
                counts["refused_by_both" if theirs and ours else "refused_by_us" if ours else "refused_by_them"] += 1
                if ours != theirs:
                    print("refused:", shown[:700], got if ours else wanted)
                continue
            wrong = [(x, w, g) for x, w, g in zip(texts + lists, wanted[0] + wanted[1], got[0] + got[1], strict=True) if w != g]
            counts["different" if wrong else "equal"] += 1
            back = {i: w for w, i in model["vocab"].items()}
            for x, w, g in wrong[:1]:
                text = lambda ids: ids if not isinstance(ids, list) else "".join(back.get(i, "[%d]" % i).replace("</w>", "|") for i in ids)
                print("different:", shown[:700], "\n  ", json.dumps(x), "\n   wanted", json.dumps(text(w)), "\n   got   ", json.dumps(text(g)))
    print(counts)
    sys.exit(1 if counts["different"] else 0)


if __name__ == "__main__":
    main()
