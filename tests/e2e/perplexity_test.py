#!/usr/bin/env python3
"""Held-out perplexity of the bundled model through `echo`, against the reference reader's numbers.

    python3 perplexity_test.py --binary build/release/bin/deltaserve --model models/bundled \
        --reference tests/data/heldout_reference.json
"""

import argparse
import hashlib
import json
import pathlib
import re
import subprocess
import urllib.request


def score(url, token_ids):
    """Log-probabilities of token_ids[1:] as the server computes them."""
    body = {"prompt": token_ids, "echo": True, "logprobs": 0, "max_tokens": 0}
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        logprobs = json.load(reply)["choices"][0]["logprobs"]["token_logprobs"]
    assert logprobs[0] is None and len(logprobs) == len(token_ids)
    return logprobs[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--reference", required=True)
    options = parser.parse_args()

    reference = json.loads(pathlib.Path(options.reference).read_text())
    weights = pathlib.Path(options.model, "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == reference["model_sha256"], (
        "the reference was made for other weights: run models/training/make_heldout_reference.py")

    for weights in ("auto", "f32"):
        check(options, weights, reference)


def check(options, weights, reference):
    server = subprocess.Popen([options.binary, "serve", "--model", options.model, "--http-port", "0",
                               "--weights", weights], stdout=subprocess.PIPE, text=True)
    banner = ""
    try:
        for line in server.stdout:
            banner += line
            if found := re.match(r"listening on (http://\S+)", line):
                url = found[1]
                break
        total = count = 0
        worst = 0.0
        for document in reference["documents"]:
            got = score(url, document["token_ids"])
            assert len(got) == len(document["logprobs"])
            worst = max(worst, *(abs(a - b) for a, b in zip(got, document["logprobs"])))
            total -= sum(got)
            count += len(got)
    finally:
        server.terminate()
        server.wait(30)

    nats = total / count
    print(f"{weights}: {count} tokens: {nats:.6f} nats a token, "
          f"reference {reference['nats_per_token']:.6f}, "
          f"largest difference of one token {worst:.2e}")
    assert count == reference["tokens"]
    assert abs(nats - reference["nats_per_token"]) < 1e-3
    # The weights are bf16 and exact in both; the activations are on most processors.
    assert worst < (0.1 if "activations rounded to bf16" in banner else 3e-4)


if __name__ == "__main__":
    main()
