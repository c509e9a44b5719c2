#!/usr/bin/env python3
"""Measures what a schema to follow, or the freedom to call a tool, costs: decode at batch 8 over HTTP.

    python structured_figures.py --binary build/release/bin/deltaserve --model models/bundled \\
        [--runs 30] [--tokens 200] [--threads 1]

Each run takes the cases in turn, so that a noisy machine is noisy for all of them; the cost is the
median over pairs of neighbours. `wall` is what eight clients see, from the first request to the
last reply. `cpu` is what the process has computed for a token, on all threads, compiling included:
where others load the machine, it is what can be measured, with --threads 1, as threads that wait
for each other compute, too.
"""

import argparse
import copy
import os
import statistics
import sys
import threading
import time

import harness

BATCH = 8
PLAIN, NO_CALLS, FREE_CALLS = "no schema", "tool_choice none", "tool_choice auto"
ITEM = {"type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12},
                       "age": {"type": "integer", "minimum": 0, "maximum": 99},
                       "kind": {"enum": ["dog", "cat"]},
                       "tags": {"type": "array", "items": {"type": "string", "maxLength": 4},
                                "maxItems": 3},
                       "weight": {"type": "number"}},
        "required": ["name", "age", "kind", "tags", "weight"], "additionalProperties": False}


def schema(name):
    """A list that is longer than the answers; equal but for the name of a property."""
    item = copy.deepcopy(ITEM)
    item["properties"][name] = {"type": "boolean"}
    item["required"].append(name)
    return {"type": "array", "items": item, "minItems": 40}


TOOLS = [{"type": "function", "function": {"name": name, "description": "Does it.", "parameters": ITEM}}
         for name in ("get_weather", "add", "find_child", "open_door")]


def completion(one):
    extra = {"ignore_eos": True} if one is None else {"structured_outputs": {"json": one}}
    return "/v1/completions", {"prompt": harness.PROMPT, **extra}


def chat(choice):
    """A chat that has tools and no reason to call them."""
    messages = [{"role": "user", "content": "Tell me a long story about a dog."}]
    return "/v1/chat/completions", {"messages": messages, "tools": TOOLS, "tool_choice": choice, "ignore_eos": True}


class Figures:
    def __init__(self, server, tokens):
        self.server = server
        self.tokens = tokens
        self.next_name = 0

    def new_schema(self):
        self.next_name += 1
        return schema("p%d" % self.next_name)

    def run(self, requests):
        """(seconds of the wall, of the processor) a token"""
        counts = []
        threads = [threading.Thread(target=self.post, args=(path, {**body, "max_tokens": self.tokens, "seed": seed},
                                                            counts))
                   for seed, (path, body) in enumerate(requests)]
        processor, start = self.processor_seconds(), time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.monotonic() - start
        assert counts == [self.tokens] * BATCH, counts
        return wall / sum(counts), (self.processor_seconds() - processor) / sum(counts)

    def processor_seconds(self):
        folder = "/proc/%d/task" % self.server.process.pid
        nanoseconds = 0
        for thread in os.listdir(folder):
            with open("%s/%s/schedstat" % (folder, thread)) as file:
                nanoseconds += int(file.read().split()[0])
        return nanoseconds / 1e9

    def post(self, path, body, counts):
        status, reply = self.server.post(path, body)
        assert status == 200, reply
        counts.append(reply["usage"]["completion_tokens"])

    def cases(self):
        """The requests of each. Warm last of those with one schema: it is what the one before has left."""
        one = completion(self.new_schema())
        return {PLAIN: [completion(None)] * BATCH,
                "one schema, met first": [one] * BATCH,
                "the same, warm": [one] * BATCH,
                "eight schemas, met first": [completion(self.new_schema()) for _ in range(BATCH)],
                NO_CALLS: [chat("none")] * BATCH,
                FREE_CALLS: [chat("auto")] * BATCH}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=200)
    options = parser.parse_args()
    harness.BINARY, harness.MODEL = os.path.abspath(options.binary), options.model
    results = {}
    with harness.Server("--max-sequences", str(BATCH), "--threads",
                        str(options.threads)) as server:
        figures = Figures(server, options.tokens)
        for run in range(options.runs + 1):
            for name, requests in figures.cases().items():
                result = figures.run(requests)
                if run > 0:  # the first one warms the machine
                    results.setdefault(name, []).append(result)
    print("load average %.1f, %d threads; medians of %d runs [quartiles], %d tokens of %d answers" % (
        os.getloadavg()[0], options.threads, options.runs, options.tokens, BATCH))
    for name, runs in results.items():
        print("%-26s wall %s tokens/s, %s   cpu %s us a token, %s" % (
            name, quartiles([1 / wall for wall, _ in runs]), cost(results, name, 0),
            quartiles([1e6 * cpu for _, cpu in runs]), cost(results, name, 1)))


def quartiles(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return "%.0f [%.0f to %.0f]" % (middle, low, high)


def cost(results, name, column):
    plain = NO_CALLS if name in (NO_CALLS, FREE_CALLS) else PLAIN
    pairs = zip(results[plain], results[name])
    return "%+.1f %%" % (100 * statistics.median(run[column] / before[column] - 1 for before, run in pairs))


if __name__ == "__main__":
    sys.exit(main())
