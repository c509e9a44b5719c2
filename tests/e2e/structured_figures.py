#!/usr/bin/env python3
"""What following a schema costs: decode at batch 8 over HTTP, with and without one.

    python structured_figures.py --binary build/release/bin/deltaserve --model models/bundled \\
        [--runs 7] [--tokens 400]

Each run takes the cases in turn, so that a noisy machine is noisy for all of them. `wall` is
what eight clients see, from the first request to the last reply; `busy` is the engine's time in
steps, masks included, by /metrics.
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
    """A list that is longer than any answer; equal but for the name of a property."""
    item = copy.deepcopy(ITEM)
    item["properties"][name] = {"type": "boolean"}
    item["required"].append(name)
    return {"type": "array", "items": item, "minItems": 1000, "maxItems": 2000}


class Figures:
    def __init__(self, server, tokens):
        self.server = server
        self.tokens = tokens
        self.next_name = 0

    def new_schema(self):
        self.next_name += 1
        return schema("p%d" % self.next_name)

    def run(self, schemas):
        """(tokens/s of the wall, of the engine's busy time, ms a step)"""
        names = ("deltaserve_step_busy_seconds_total", "deltaserve_decode_rows_total",
                 "deltaserve_steps_total")
        before = [self.server.metric(name) for name in names]
        bodies = []
        for seed, one in enumerate(schemas):
            extra = {"ignore_eos": True} if one is None else {"structured_outputs": {"json": one}}
            bodies.append({"prompt": harness.PROMPT, "max_tokens": self.tokens, "seed": seed,
                           **extra})
        counts = []
        threads = [threading.Thread(target=self.post, args=(body, counts)) for body in bodies]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.monotonic() - start
        assert counts == [self.tokens] * BATCH, counts
        busy, rows, steps = (self.server.metric(name) - old for name, old in zip(names, before))
        return sum(counts) / wall, rows / busy, 1e3 * busy / steps

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
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=400)
    options = parser.parse_args()
    harness.BINARY, harness.MODEL = os.path.abspath(options.binary), options.model
    results = {}
    with harness.Server("--max-sequences", str(BATCH)) as server:
        figures = Figures(server, options.tokens)
        for run in range(options.runs + 1):
            for name, schemas in figures.cases().items():
                result = figures.run(schemas)
                if run > 0:  # the first one warms the machine
                    results.setdefault(name, []).append(result)
    print("load average %.1f; median of %d runs [lowest to highest]; %d tokens of %d answers" % (
        os.getloadavg()[0], options.runs, options.tokens, BATCH))
    base = results["no schema"]
    for name, runs in results.items():
        wall, busy, step = (sorted(column) for column in zip(*runs))
        # Of pairs that were neighbours in time.
        cost = statistics.median(b[1] / r[1] - 1 for b, r in zip(base, runs))
        print("%-26s wall %6.0f tok/s [%.0f to %.0f]  busy %6.0f tok/s [%.0f to %.0f]  "
              "%.3f ms a step  cost %+.1f %%" % (
                  name, statistics.median(wall), wall[0], wall[-1], statistics.median(busy),
                  busy[0], busy[-1], statistics.median(step), 100 * cost))


if __name__ == "__main__":
    sys.exit(main())
