#!/usr/bin/env python3
"""What following a schema costs: decode at batch 8 over HTTP, with and without one.

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


class Figures:
    def __init__(self, server, tokens):
        self.server = server
        self.tokens = tokens
        self.next_name = 0

    def new_schema(self):
        self.next_name += 1
        return schema("p%d" % self.next_name)

    def run(self, schemas):
        """(seconds of the wall, of the processor) a token"""
        bodies = []
        for seed, one in enumerate(schemas):
            extra = {"ignore_eos": True} if one is None else {"structured_outputs": {"json": one}}
            bodies.append({"prompt": harness.PROMPT, "max_tokens": self.tokens, "seed": seed,
                           **extra})
        counts = []
        threads = [threading.Thread(target=self.post, args=(body, counts)) for body in bodies]
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

    def post(self, body, counts):
        status, reply = self.server.post("/v1/completions", body)
        assert status == 200, reply
        counts.append(reply["usage"]["completion_tokens"])

    def cases(self):
        """Warm last of those with one schema: it is what the one before has left."""
        one = self.new_schema()
        return {"no schema": [None] * BATCH,
                "one schema, met first": [one] * BATCH,
                "the same, warm": [one] * BATCH,
                "eight schemas, met first": [self.new_schema() for _ in range(BATCH)]}


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
            for name, schemas in figures.cases().items():
                result = figures.run(schemas)
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
    pairs = zip(results["no schema"], results[name])
    return "%+.1f %%" % (100 * statistics.median(run[column] / plain[column] - 1
                                                 for plain, run in pairs))


if __name__ == "__main__":
    sys.exit(main())
