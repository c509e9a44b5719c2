#!/usr/bin/env python3
"""Every golden model through HTTP: prompt log-probabilities, greedy text and embeddings, against float64, and
requests that come together, against the same alone.

    python3 mixers_test.py --binary build/release/bin/deltaserve --golden tests/golden \\
        [--module build/release/tests/modules/libemulated_module.so] [-k NAME]
"""

import argparse
import array
import concurrent.futures
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys
import unittest
import urllib.request

BINARY = ""
GOLDEN = pathlib.Path()
MODULE = ""  # of CUDA; without, the CPU computes
TOLERANCE = 3e-4  # of one log-probability
PROMPT_TOKENS = (200, 130)  # of which a model has the first or the second
# Heads as large as those that CUDA's fast kernels take. Their weights are numbers of bf16, and are multiplied as such
# there, by activations and with prefill operands that are rounded to bf16.
LARGE_HEADS = ("gated_deltanet_heads_256", "qdelta_heads_128")
ROUNDED_TOLERANCE = 3e-2
ROUNDED_EMBEDDING_TOLERANCE = 5e-3
GREEDY_PROMPT = 10
MEAN_POOLED = ("gated_deltanet", "layers_differ")
EMBEDDING_TOLERANCE = 1e-5  # of a vector of length 1
TOGETHER_PROMPTS = (1, 70, 3, 64, 10)  # tokens


def read_safetensors(path):
    """{name: (shape, flat list of numbers)} of a file of F32 tensors."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    tensors = {}
    for name, entry in json.loads(raw[8:8 + size]).items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", name
        begin, end = entry["data_offsets"]
        values = array.array("f")
        values.frombytes(raw[8 + size + begin:8 + size + end])
        if sys.byteorder == "big":
            values.byteswap()
        tensors[name] = (entry["shape"], values.tolist())
    return tensors


def log_probability(logits, token):
    largest = max(logits)
    return logits[token] - largest - math.log(sum(math.exp(x - largest) for x in logits))


def is_rounded(folder):
    """Whether the model is computed with operands in bf16."""
    return bool(MODULE) and pathlib.Path(folder).name in LARGE_HEADS


class Server:
    """A server process; a context manager."""

    def __init__(self, model, *options):
        device = "cuda" if MODULE else "cpu"
        if is_rounded(model):
            options += ("--weights", "bf16")
        command = [BINARY, "serve", "--model", str(model), "--http-port", "0", "--device", device]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        self.banner = ""
        for line in self.process.stdout:
            found = re.match(r"listening on (http://\S+)", line)
            if found:
                self.url = found[1]
                return
            self.banner += line
        raise RuntimeError("the server did not start")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.process.stdout.close()

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.load(reply)

    def ask(self, **body):
        return self.post("/v1/completions", body)

    def complete(self, **body):
        return self.ask(**body)["choices"][0]

    def embed(self, *inputs):
        return [one["embedding"] for one in self.post("/v1/embeddings", {"input": inputs})["data"]]

    def metric(self, name):
        with urllib.request.urlopen(self.url + "/metrics", timeout=30) as reply:
            return int(re.search(r"(?m)^deltaserve_%s (\d+)$" % name, reply.read().decode())[1])

    def steps(self):
        return self.metric("steps_total")


class Mixers(unittest.TestCase):
    """One test a golden folder, made by add_tests()."""

    def check(self, folder):
        expected = read_safetensors(folder / "expected" / "model.safetensors")
        config = json.loads((folder / "config.json").read_text())
        self.tolerance = ROUNDED_TOLERANCE if is_rounded(folder) else TOLERANCE
        with Server(folder) as server:
            self.assertNotIn("warning", server.banner)
            whole = self.check_prompt(server, expected, config)
            self.check_greedy(server, expected)
            self.check_together(server, expected)
            self.check_embedding(server, folder, expected, config, mean=False)
        if folder.name in LARGE_HEADS:
            with Server(folder, "--step-tokens", "64") as server:
                steps = server.steps()
                self.assertEqual(self.check_prompt(server, expected, config), whole)
                self.assertGreater(server.steps() - steps, 1, "the prompt was not cut")
        if folder.name in MEAN_POOLED:
            with Server(folder, "--embedding-pooling", "mean") as server:
                self.check_embedding(server, folder, expected, config, mean=True)

    def prompt(self, expected, config):
        """The prompt's ids, and the logits of each of its rows."""
        # A model that may be read by either semantics names one.
        semantics = "_" + config.get("qdelta_semantics", "released")
        case = next(case for tokens in PROMPT_TOKENS for case in (f"T{tokens}", f"T{tokens}{semantics}")
                    if case + ".ids" in expected)
        (rows, vocabulary), logits = expected[case + ".prefill_logits"]
        self.assertIn(rows, PROMPT_TOKENS)
        ids = [int(i) for i in expected[case + ".ids"][1][:rows]]
        return ids, [logits[i * vocabulary:(i + 1) * vocabulary] for i in range(rows)]

    def check_embedding(self, server, folder, expected, config, mean):
        """The output matrix turns an embedding into the prompt's logits, or their mean, but for its length."""
        ids, logits = self.prompt(expected, config)
        weights = read_safetensors(folder / "model.safetensors")
        (vocabulary, hidden), output = weights.get("lm_head.weight") or next(
            weights[name] for name in weights if "embeddings.weight" in name or "embedding.weight" in name)
        pooled = [sum(column) for column in zip(*logits)] if mean else logits[-1]
        length = math.sqrt(sum(x * x for x in pooled))
        first, embedding, shorter = server.embed(ids[:70], ids, ids[:64])
        self.assertAlmostEqual(sum(x * x for x in embedding), 1, delta=1e-6)
        product = [sum(output[v * hidden + i] * embedding[i] for i in range(hidden)) for v in range(vocabulary)]
        scale = math.sqrt(sum(x * x for x in product))
        tolerance = ROUNDED_EMBEDDING_TOLERANCE if is_rounded(folder) else EMBEDDING_TOLERANCE
        for mine, theirs in zip(product, pooled, strict=True):
            self.assertAlmostEqual(mine / scale, theirs / length, delta=tolerance)
        for tokens, together in ((ids[:70], first), (ids, embedding), (ids[:64], shorter)):
            self.assertEqual(server.embed(tokens), [together])

    def check_prompt(self, server, expected, config):
        """The log-probability of every prompt token after the first; returns what the server says of them."""
        ids, logits = self.prompt(expected, config)
        choice = server.complete(prompt=ids, echo=True, logprobs=0, max_tokens=0)
        logprobs = choice["logprobs"]["token_logprobs"]
        self.assertEqual(len(logprobs), len(ids))
        self.assertIsNone(logprobs[0])
        for t in range(1, len(ids)):
            self.assertAlmostEqual(logprobs[t], log_probability(logits[t - 1], ids[t]), delta=self.tolerance)
        return logprobs

    def check_greedy(self, server, expected):
        """The most likely tokens and their log-probabilities."""
        ids = [int(i) for i in expected["greedy.ids"][1]]
        truth = expected["greedy.logprobs"][1]
        choice = server.complete(prompt=ids[:GREEDY_PROMPT], temperature=0, logprobs=0,
                                 max_tokens=len(truth), ignore_eos=True, return_token_ids=True)
        self.assertEqual(choice["token_ids"], ids[GREEDY_PROMPT:])
        for mine, theirs in zip(choice["logprobs"]["token_logprobs"], truth, strict=True):
            self.assertAlmostEqual(mine, theirs, delta=self.tolerance)

    def check_together(self, server, expected):
        """Text drawn from random seeds, bit for bit."""
        ids = [int(i) for i in expected["greedy.ids"][1]]
        max_tokens = 6 if MODULE else 200  # enough to meet: the CPU is fast

        def complete(seed):
            prompt = (ids * TOGETHER_PROMPTS[seed])[:TOGETHER_PROMPTS[seed]]
            return server.complete(prompt=prompt, seed=seed, logprobs=2,
                                   max_tokens=max_tokens, ignore_eos=True, return_token_ids=True)

        seeds = range(len(TOGETHER_PROMPTS))
        begin = server.steps()
        alone = [complete(seed) for seed in seeds]
        steps_alone = server.steps() - begin
        with concurrent.futures.ThreadPoolExecutor(len(seeds)) as pool:
            self.assertEqual(list(pool.map(complete, seeds)), alone)
        self.assertLess(server.steps() - begin, 2 * steps_alone, "no two met in a step")


class TwoMemories(unittest.TestCase):
    """Kept states of a device with memory of its own, and of the host beside it."""

    def setUp(self):
        if not MODULE:
            self.skipTest("the CPU has no memory beside the host's")

    def test_by_default_half_of_what_is_free_on_the_device_keeps_states(self):
        with Server(GOLDEN / "qdelta") as server:
            found = re.search(r"(?m)^prefix cache: (\d+) snapshots, ", server.banner)
            self.assertGreater(int(found[1]), 100, server.banner)

    def test_states_go_to_the_hosts_memory_and_come_back(self):
        with Server(GOLDEN / "qdelta", "--prefix-cache-memory", "64KiB",
                    "--prefix-cache-host-memory", "1MiB") as server:
            self.assertRegex(server.banner, r"(?m)^prefix cache: \d+ more in the host's memory, ")
            slots = int(re.search(r"(?m)^prefix cache: (\d+) snapshots", server.banner)[1])
            prompts = [[10 + i] * 70 for i in range(slots + 3)]
            asked = [server.ask(prompt=prompt, max_tokens=2, seed=1, logprobs=1) for prompt in prompts]
            for prompt, cold in zip(prompts, asked, strict=True):
                warm = server.ask(prompt=prompt, max_tokens=2, seed=1, logprobs=1)
                self.assertEqual(warm["choices"], cold["choices"])
                self.assertEqual(warm["usage"]["prompt_tokens_details"]["cached_tokens"], 64)
            self.assertGreater(server.metric("snapshots_stored_total"), 2)
            self.assertGreater(server.metric("snapshots_loaded_total"), 2)
            self.assertEqual(server.metric("snapshots"), slots + 3)


def add_tests():
    folders = sorted(path.parent for path in GOLDEN.glob("*/config.json"))
    assert folders, f"no golden models in {GOLDEN}"
    for folder in folders:
        setattr(Mixers, "test_" + folder.name, lambda self, folder=folder: self.check(folder))


def main():
    global BINARY, GOLDEN, MODULE
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--golden", required=True, type=pathlib.Path)
    parser.add_argument("--module", default="")
    arguments, rest = parser.parse_known_args()
    BINARY = arguments.binary
    GOLDEN = arguments.golden
    MODULE = arguments.module
    if MODULE:
        os.environ["DELTASERVE_CUDA_MODULE"] = os.path.abspath(MODULE)
    add_tests()
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
