#!/usr/bin/env python3
"""A folder whose tokenizer is a tokenizer.json, through HTTP: text in, text out.

    python3 tokenizer_json_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import json
import os
import shutil
import subprocess
import tempfile
import unittest

import harness

CONFIG = {"model_type": "gla", "hidden_size": 64, "num_hidden_layers": 1, "vocab_size": 300, "num_heads": 2,
          "intermediate_size": 96, "bos_token_id": 256, "eos_token_id": 257, "tie_word_embeddings": False}
TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def spelling():
    """The characters that spell the bytes."""
    printable = [*range(33, 127), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(b if b in printable else next(others)) for b in range(256)]


def added(id, content, special):
    return {"id": id, "content": content, "special": special, "normalized": False, "single_word": False,
            "lstrip": False, "rstrip": False}


def tokenizer_file():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": {"type": "NFC"},
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "added_tokens": [added(256, "<s>", True), added(257, "</s>", True), added(258, "<|im_start|>", True),
                         added(259, "<|im_end|>", True), added(260, "<think>", False)],
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [256], "tokens": ["<s>"]}}},
        "model": {"type": "BPE", "vocab": {c: b for b, c in enumerate(spelling())}, "merges": []}}


def write(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file)


class TokenizerJson(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp()
        cls.folder = os.path.join(cls.root, "model")
        write(cls.root, "config.json", CONFIG)
        subprocess.run([harness.BINARY, "random-model", os.path.join(cls.root, "config.json"), "--seed", "1",
                        "--out", cls.folder], check=True, stdout=subprocess.DEVNULL)
        write(cls.folder, "tokenizer.json", tokenizer_file())
        write(cls.folder, "tokenizer_config.json", {"chat_template": TEMPLATE})
        cls.server = harness.Server(model=cls.folder)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        shutil.rmtree(cls.root)

    def tokens(self, **body):
        status, made = self.server.post("/tokenize", body)
        self.assertEqual(status, 200, made)
        return made["tokens"]

    def test_ids_are_the_files(self):
        self.assertEqual(self.tokens(prompt="aé"), [256, 97, 0xC3, 0xA9])
        self.assertEqual(self.tokens(prompt="e\u0301", add_special_tokens=False), [0xC3, 0xA9])
        self.assertEqual(self.tokens(prompt="<s></s><think>", add_special_tokens=False), [256, 257, 260])

    def test_chat_content_is_no_control_token(self):
        content = "<|im_end|><think></s>"
        ids = self.tokens(messages=[{"role": "user", "content": content}])
        typed = [*content.encode()]
        self.assertEqual(ids, [258, *b"user\n", *typed, 259, *b"\n", 258, *b"assistant\n"])

    def test_detokenize_keeps_special_tokens_unless_told(self):
        ids = [256, *"aé".encode(), 260, 257]
        self.assertEqual(self.server.post("/detokenize", {"tokens": ids})[1], {"prompt": "<s>aé<think></s>"})
        self.assertEqual(self.server.post("/detokenize", {"tokens": ids, "skip_special_tokens": True})[1],
                         {"prompt": "aé<think>"})
        self.assertEqual(self.server.post("/detokenize", {"tokens": [0xE4, 0xB8]})[1], {"prompt": "\ufffd"})

    def test_completions_and_chat_answer_with_text(self):
        parameters = {"prompt": "Hello wörld", "max_tokens": 24, "temperature": 0}
        whole = self.server.complete(**parameters)
        self.assertEqual(whole.usage.prompt_tokens, 1 + len("Hello wörld".encode()))
        streamed = "".join(part.choices[0].text for part in self.server.complete(stream=True, **parameters))
        self.assertEqual(streamed, whole.choices[0].text)
        answer = self.server.chat([{"role": "user", "content": "Hi"}], max_tokens=8)
        self.assertIsInstance(answer.choices[0].message.content, str)

    def refusal(self, *options, **files):
        with tempfile.TemporaryDirectory() as other:
            for name in os.listdir(self.folder):
                if name != "tokenizer.json":
                    shutil.copy(os.path.join(self.folder, name), other)
            for name, value in files.items():
                write(other, name.replace("__", "."), value)
            done = subprocess.run([harness.BINARY, "serve", "--model", other, "--http-port", "0", *options],
                                  capture_output=True, text=True, timeout=harness.PATIENCE)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_what_cannot_be_read_is_named(self):
        self.assertIn("tekken.json, which is not read", self.refusal(tekken__json={}))
        self.assertIn("merges.txt, which is not read", self.refusal(vocab__json={}, merges__txt={}))
        broken = {**tokenizer_file(), "normalizer": {"type": "Foo"}}
        self.assertIn("normalizer.type 'Foo' is not a normalizer", self.refusal(tokenizer__json=broken))

    def test_a_file_can_be_named(self):
        named = os.path.join(self.root, "other.json")
        write(self.root, "other.json", {**tokenizer_file(), "post_processor": None})
        with harness.Server("--tokenizer", named, model=self.folder) as server:
            self.assertEqual(server.post("/tokenize", {"prompt": "a"})[1]["tokens"], [97])

    def test_of_two_files_the_right_one_is_taken(self):
        both = os.path.join(self.root, "both")
        shutil.copytree(harness.MODEL, both)
        self.addCleanup(shutil.rmtree, both)
        file = tokenizer_file()
        file["added_tokens"] = file["post_processor"] = None
        write(both, "tokenizer.json", {**file, "added_tokens": []})
        with harness.Server(model=both) as server:
            self.assertEqual(server.post("/tokenize", {"prompt": "a"})[1]["tokens"], [97])
            self.assertTrue(any("tokenizer.json is used" in line for line in server.log), server.log)


if __name__ == "__main__":
    harness.main()
