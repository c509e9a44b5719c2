#!/usr/bin/env python3
"""Measures how much of the prompts of agents a server reuses.

    reuse_trace --requests 500 --conversations 6 --vocabulary 4096 --write trace.jsonl
    tests/bench/trace.py trace.jsonl --binary build/release/bin/deltaserve --model DIR
                         [--snapshots 64] [--slots 8] [--answers] [--least SHARE]
    tests/bench/trace.py trace.jsonl --url http://localhost:8080 [--answers]

Sends the prompts of a trace, one after the other, as token ids to /v1/completions, and takes one token
of each answer. The server is deltaserve, started here with room for --snapshots states beside its slots,
or whatever listens at --url and says in usage.prompt_tokens_details.cached_tokens what it has reused, as
llama.cpp's llama-server does.

The answers in a trace are made up, so a next prompt never holds what the server has answered. With
--answers every prompt is therefore sent again with its answer behind it and no token is taken; that
stands for the answer, is not counted, and shows the server what the next prompt may begin with.

Prints the prompt tokens, those that were computed, the share that was reused, and this share over that of
an unlimited cache, which has the state behind every 64th token that was ever sent. Exit code 1: it is
below --least.
"""

import argparse
import hashlib
import json
import sys
import urllib.request

import turns

GRID = 64  # tokens between the states of the unlimited cache


class UnlimitedCache:
    def __init__(self):
        self.states = set()

    def read(self, prompt):
        """Returns how many tokens of the prompt need not be computed, and keeps its states."""
        chain, reused = hashlib.blake2b(digest_size=16), 0
        for end in range(GRID, len(prompt), GRID):  # at least one token is always computed
            chain.update(json.dumps(prompt[end - GRID:end]).encode())
            state = chain.digest()
            if state in self.states:
                reused = end
            self.states.add(state)
        return reused


class Peer:
    """A server that somebody else has started."""

    def __init__(self, url):
        self.url = url.rstrip("/")

    def read(self, prompt, max_tokens):
        """Returns how many tokens of the prompt the server says that it has reused."""
        body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
        request = urllib.request.Request(self.url + "/v1/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=3600) as reply:
            usage = json.load(reply)["usage"]
        if usage["prompt_tokens"] != len(prompt):
            raise SystemExit("%d tokens were sent, but the server has read %d"
                             % (len(prompt), usage["prompt_tokens"]))
        return usage["prompt_tokens_details"]["cached_tokens"]

    def stop(self):
        pass


class Deltaserve(Peer):
    """A server with room for exactly so many snapshots."""

    def __init__(self, arguments):
        def start(memory):
            options = ["--max-sequences", str(arguments.slots), "--log-level", "error",
                       "--prefix-cache-memory", str(memory)]
            return turns.Server(arguments.binary, arguments.model, options)

        probe = start(0)
        state = int(probe.metric("deltaserve_sequence_state_bytes"))
        probe.stop()
        self.server = start(arguments.snapshots * state)
        super().__init__(self.server.url)
        room = self.server.metric("deltaserve_prefix_cache_limit_bytes") / state
        if room != arguments.snapshots:
            raise SystemExit("the server has room for %g snapshots, not %d" % (room, arguments.snapshots))

    def read(self, prompt, max_tokens):
        before = self.server.metric("deltaserve_read_aheads_total")
        reused = super().read(prompt, max_tokens)
        if max_tokens > 0:
            turns.wait_for_read_ahead(self.server, before)
        return reused

    def stop(self):
        self.server.stop()


def replay(lines, server, with_answers):
    """Returns the numbers of prompt tokens, of those reused, and of those an unlimited cache reuses."""
    unlimited = UnlimitedCache()
    tokens = reused = most = 0
    for line in lines:
        request = json.loads(line)
        prompt = request["prompt"]
        tokens += len(prompt)
        reused += server.read(prompt, 1)
        most += unlimited.read(prompt)
        if with_answers:
            server.read(prompt + request["answer"], 0)
            unlimited.read(prompt + request["answer"])
    return tokens, reused, most


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace")
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--binary", help="the program deltaserve, to be started with --model")
    server.add_argument("--url", help="a server that runs already")
    parser.add_argument("--model")
    parser.add_argument("--snapshots", type=int, default=64)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--answers", action="store_true")
    parser.add_argument("--least", type=float, default=0)
    arguments = parser.parse_args()
    if arguments.binary and not arguments.model:
        parser.error("--binary needs --model")
    server = Deltaserve(arguments) if arguments.binary else Peer(arguments.url)
    try:
        with open(arguments.trace) as lines:
            tokens, reused, most = replay(lines, server, arguments.answers)
    finally:
        server.stop()
    if most == 0:
        raise SystemExit("no prompt of the trace begins like one before it")
    share = reused / most
    print("%d prompt tokens, %d computed; %.3f reused, an unlimited cache %.3f; share %.3f"
          % (tokens, tokens - reused, reused / tokens, most / tokens, share))
    return 0 if share >= arguments.least else 1


if __name__ == "__main__":
    sys.exit(main())
