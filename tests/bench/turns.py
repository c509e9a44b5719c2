#!/usr/bin/env python3
"""Does the first token of a turn come later when the conversation is longer?

    tests/bench/turns.py --binary build/release/bin/deltaserve [--model DIR | --preset qdelta-340m]
                         [--turns 100] [--first 1000] [--asked 50] [--answer 100] [--weights int8]
                         [--prefix-cache-memory SIZE] [--json FILE]

Starts a server and holds one conversation in token ids over /v1/completions: a prompt of --first tokens,
then every turn sends the whole history with --asked new tokens and takes --answer tokens. Between two
turns it waits until the server has read ahead, as a reader's pause would let it.

Prints the mean time to the first token of turns 2 to 33 and of the last 32 (32 turns pass through every
place of the 64-token grid), their ratio, and how many prompt tokens were reused. --prefix-cache-memory 0
shows the same without reuse.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROUND = 32  # turns


class Server:
    def __init__(self, binary, model, options):
        command = [binary, "serve", "--model", model, "--http-port", "0", "--device", "cpu", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if found := re.match(r"listening on (\S+)", line):
                self.url = found[1]
                return
        raise SystemExit("%s does not listen" % " ".join(command))

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        return urllib.request.urlopen(request, timeout=3600)

    def metric(self, name):
        with urllib.request.urlopen(self.url + "/metrics") as reply:
            found = re.findall(r"^%s(?:\{[^}]*\})? (\S+)$" % name, reply.read().decode(), re.M)
        return sum(map(float, found))

    def stop(self):
        self.process.terminate()
        self.process.wait()


def turn(server, prompt, count):
    """Seconds to the first token, the answer's token ids, and usage."""
    body = {"prompt": prompt, "max_tokens": count, "temperature": 1, "seed": len(prompt),
            "ignore_eos": True, "stream": True, "return_token_ids": True,
            "stream_options": {"include_usage": True}}
    first, tokens, usage = None, [], None
    began = time.monotonic()
    for line in server.post("/v1/completions", body):
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        for choice in event.get("choices", []):
            new = choice.get("token_ids") or []
            if new and first is None:
                first = time.monotonic() - began
            tokens += new
    return first, tokens, usage


def wait_for_read_ahead(server, before):
    """Read-aheads end soon; a server that reads nothing ahead is waited for no longer than a second."""
    for _ in range(600):
        if server.metric("deltaserve_read_aheads_total") > before:
            return
        time.sleep(0.05)
        if server.metric("deltaserve_prefix_cache_limit_bytes") == 0:
            return


def converse(server, arguments, vocabulary):
    randomly = random.Random(1)

    def ids(count):
        return [randomly.randrange(3, vocabulary) for _ in range(count)]

    history = ids(arguments.first - arguments.asked)
    rows = []
    for number in range(arguments.turns):
        history += ids(arguments.asked)
        before = server.metric("deltaserve_read_aheads_total")
        seconds, answer, usage = turn(server, history, arguments.answer)
        reused = usage["prompt_tokens_details"]["cached_tokens"]
        rows.append({"turn": number + 1, "prompt": len(history), "reused": reused, "first_s": seconds})
        print("turn %d: %d tokens, %d reused, first token after %.1f ms"
              % (number + 1, len(history), reused, 1000 * seconds), file=sys.stderr, flush=True)
        history += answer
        wait_for_read_ahead(server, before)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model")
    parser.add_argument("--preset", default="qdelta-340m")
    parser.add_argument("--weights", default="int8")
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--asked", type=int, default=50)
    parser.add_argument("--answer", type=int, default=100)
    parser.add_argument("--prefix-cache-memory")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    if arguments.turns < 2 * ROUND + 1:
        parser.error("--turns must be at least %d" % (2 * ROUND + 1))
    binary = os.path.abspath(arguments.binary)
    options = ["--weights", arguments.weights]
    if arguments.prefix_cache_memory is not None:
        options += ["--prefix-cache-memory", arguments.prefix_cache_memory]
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model
        if model is None:
            model = folder
            subprocess.run([binary, "random-model", arguments.preset, "--seed", "1", "--out", model],
                           check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(model, "config.json")) as config:
            vocabulary = json.load(config)["vocab_size"]
        server = Server(binary, model, options)
        try:
            rows = converse(server, arguments, vocabulary)
        finally:
            server.stop()
    early = statistics.mean(row["first_s"] for row in rows[1:1 + ROUND])
    late = statistics.mean(row["first_s"] for row in rows[-ROUND:])
    reused, prompts = sum(r["reused"] for r in rows), sum(r["prompt"] for r in rows)
    print("first token, turns 2 to %d: %.1f ms; the last %d: %.1f ms; ratio %.3f; %d of %d prompt "
          "tokens reused (%.3f)" % (1 + ROUND, 1000 * early, ROUND, 1000 * late, late / early, reused,
                                    prompts, reused / prompts))
    if arguments.json:
        with open(arguments.json, "w") as out:
            json.dump(rows, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
