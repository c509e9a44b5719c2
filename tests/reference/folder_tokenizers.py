"""Tokenizers of the kinds that published folders have, trained on the spot, and what they make of texts."""

import functools
import glob
import io
import json
import os
import random

import sentencepiece
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
BYTES = ["<0x%02X>" % b for b in range(256)]
BOS, EOS, UNK = "<s>", "</s>", "<unk>"
WORDS = ("the a dog ran  and said: 1234567 it's Über naïve 汉字 かな 🙂 é e\u0301 \n\n \t x=y+z; don't HELLO "
         "мир ไทย <think> ünd 3.14 ... ▁ ﬁ").split(" ")


@functools.cache
def corpus():
    texts = []
    for path in sorted(glob.glob(os.path.join(HERE, "../../*.md"))):
        with open(path, encoding="utf-8") as file:
            texts += file.read().split("\n\n")
    return texts


def random_text(seed):
    source = random.Random(seed)
    return " ".join(source.choices(WORDS, k=source.randrange(8, 24)))


class Library:
    """A tokenizer.json, read by the library `tokenizers`."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def encode(self, text):
        return self.tokenizer.encode(text).ids

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=True)


class SentencePiece:
    """A tokenizer.model whose tokenizer_config.json says `legacy: false` and that a BOS comes first."""

    def __init__(self, processor):
        self.processor = processor

    def encode(self, text):
        return [self.processor.bos_id()] + self.processor.encode(text)

    def decode(self, ids):
        return self.processor.decode([id for id in ids if not self.processor.is_control(id)])


def byte_level(size, pattern):
    """Returns one like GPT-NeoX's (no pattern) or Llama 3's."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=pattern is not None))
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    split = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, last])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=size, show_progress=False, special_tokens=[EOS, BOS], initial_alphabet=last.alphabet()))
    return tokenizer


def spaced(size, model):
    """Returns one like Llama 2's and Mistral's: spaces are a character, unknown characters are bytes."""
    options = {"vocab_size": size, "show_progress": False, "special_tokens": [UNK, BOS, EOS, *BYTES]}
    if model == "bpe":
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token=UNK))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        trainer = trainers.BpeTrainer(limit_alphabet=64, max_token_length=12, **options)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        trainer = trainers.UnigramTrainer(unk_token=UNK, **options)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.train_from_iterator([text.replace("\n", " ") for text in corpus()[:100]], trainer)
    return without_special_bytes(tokenizer)


def without_special_bytes(tokenizer):
    """Makes the bytes, which only as special tokens get into a vocabulary, ordinary ones, and lets both models use
    them."""
    file = json.loads(tokenizer.to_str())
    file["added_tokens"] = [token for token in file["added_tokens"] if token["content"] not in BYTES]
    file["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(file))


def add_bos(tokenizer):
    place = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=BOS + " $A", pair=BOS + " $A $B", special_tokens=[(BOS, place)])


def write_library(tokenizer, folder):
    """Writes tokenizer.json and what transformers writes beside it."""
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS,
                                                clean_up_tokenization_spaces=False)
    fast.add_tokens([AddedToken("<think>", normalized=False)])
    fast.save_pretrained(folder)
    return Library(Tokenizer.from_file(os.path.join(folder, "tokenizer.json")))


def write_sentencepiece(folder, size):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text.replace("\n", " ") for text in corpus()]), model_writer=model, vocab_size=size,
        model_type="bpe", byte_fallback=True, character_coverage=0.99, normalization_rule_name="identity",
        remove_extra_whitespaces=False, add_dummy_prefix=True, minloglevel=2, unk_id=0, bos_id=1, eos_id=2, pad_id=-1)
    with open(os.path.join(folder, "tokenizer.model"), "wb") as file:
        file.write(model.getvalue())
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump({"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True, "add_eos_token": False,
                   "bos_token": BOS, "eos_token": EOS, "unk_token": UNK}, file)
    return SentencePiece(sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()))


KINDS = {
    "gpt_neox": lambda size: byte_level(size, None),
    "llama3": lambda size: byte_level(size, LLAMA3),
    "llama2": lambda size: spaced(size, "bpe"),
    "unigram": lambda size: spaced(size, "unigram"),
}
WITH_BYTE_FALLBACK = ("llama2", "unigram")


@functools.cache
def trained(kind, size):
    return KINDS[kind](size).to_str()


def write(kind, folder, size):
    """Writes the files of a tokenizer with at most `size` ids, and returns the reference that reads them."""
    if kind == "sentencepiece":
        return write_sentencepiece(folder, size)
    tokenizer = Tokenizer.from_str(trained(kind, size - 1))
    if kind != "gpt_neox":
        add_bos(tokenizer)
    return write_library(tokenizer, folder)
