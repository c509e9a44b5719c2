#!/usr/bin/env python3
"""Is a build slower than another? Both are measured in neighbouring runs on this machine.

    tests/bench/compare_builds.py --before BINARY --after BINARY [--model DIR] [--rounds 21]
                                  [--weights int8] [--json FILE] [--cells decode_1,serve_8]

A round measures every cell once with each build, one directly after the other; which build goes first
changes from round to round. Each pair gives a ratio, after / before, where more is faster. The result
of a cell is the median of its ratios, because a median of pairs is not moved by the minutes in which
the machine is busy with something else.

    prefill   tokens per second of prompts of 512 tokens (`deltaserve bench`)
    decode_N  tokens per second of N sequences together (`deltaserve bench`)
    serve_8   requests per second of 8 clients (`deltaserve bench-serve` against `deltaserve serve`)
    first     1 / seconds to the first token of a single client, prompts of 512 tokens

The load of serve_8 and first always comes from the build of --before, so that only the server differs.
Exit code: 0, or 1 where the median of a cell is below --least.
"""

import argparse
import contextlib
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
PROMPT = 512  # tokens
CELLS = ("prefill", "decode_1", "decode_8", "decode_32", "serve_8", "first")
MAX_REPEATS = 1000  # what `bench` takes
MAX_STEPS = 1 << 20


class Failure(Exception):
    """A command that does not do what is needed; the message names it."""


def run(command):
    """The output of a command that must succeed."""
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise Failure("%s: exit code %d\n%s" % (" ".join(command), result.returncode,
                                                result.stderr.strip()))
    return result.stdout


def bench_rate(binary, options, test):
    """Tokens per second that `deltaserve bench` prints for `test`."""
    output = run([binary, "bench", "--json", *options])
    for line in output.splitlines():
        row = json.loads(line)
        if row["test"] == test:
            return row["tokens_per_s"]
    raise Failure("%s bench prints no line of the test %s" % (binary, test))


class Server:
    """`deltaserve serve` of one build; a context manager."""

    def __init__(self, binary, options):
        self.log = tempfile.TemporaryFile("w+")
        command = [binary, "serve", "--http-port", "0", "--no-grpc", "--log-level", "error", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.process.stdout:
            if found := re.match(r"listening on (http://\S+)", line):
                self.url = found[1]
                return
        self.process.wait()
        self.log.seek(0)
        raise Failure("%s: the server did not start\n%s" % (" ".join(command), self.log.read().strip()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


class Measurements:
    """Measures any cell with either build. Sizes are chosen once, with the build of --before, so that a
    measurement takes about `seconds`; both builds then do the same work."""

    def __init__(self, binaries, servers, model_options, vocabulary, seconds):
        self.binaries = binaries  # {"before": path, "after": path}
        self.servers = servers
        self.model_options = model_options
        self.vocabulary = vocabulary
        self.seconds = seconds
        self.sizes = {}

    def measure(self, cell, build):
        """A rate; more is faster."""
        if cell not in self.sizes:
            self.sizes[cell] = self.size_of(cell)
        return self.rate(cell, build, self.sizes[cell])

    def size_of(self, cell):
        """Repeats of a prompt, decode steps, or requests."""
        if cell == "prefill":
            rate = self.rate(cell, "before", 1) / PROMPT
            return clamp(self.seconds * rate, 1, MAX_REPEATS)
        if cell.startswith("decode_"):
            rate = self.rate(cell, "before", 8) / int(cell.removeprefix("decode_"))
            return clamp(self.seconds * rate, 8, MAX_STEPS)
        if cell == "serve_8":
            return clamp(self.seconds * self.rate(cell, "before", 8), 16, 1024)
        return clamp(self.seconds * self.rate(cell, "before", 1), 3, 256)

    def rate(self, cell, build, size):
        binary = self.binaries[build]
        if cell == "prefill":
            return bench_rate(binary, [*self.model_options, "--prompt", str(PROMPT), "--generate", "0",
                                       "--batch", "1", "--repeat", str(size)], "prefill")
        if cell.startswith("decode_"):
            return bench_rate(binary, [*self.model_options, "--prompt", "0", "--generate", str(size),
                                       "--batch", cell.removeprefix("decode_"), "--repeat", "1"],
                              "decode")
        if cell == "serve_8":
            return self.load(build, 8, size, 64)["requests_per_second"]
        return 1 / self.load(build, 1, size, 2)["time_to_first_token"]["p50"]

    def load(self, build, clients, requests, generate):
        """The report of bench-serve."""
        command = [self.binaries["before"], "bench-serve", "--url", self.servers[build].url,
                   "--clients", str(clients), "--requests", str(requests), "--warmup", "1",
                   "--prompt", str(PROMPT), "--generate", str(generate),
                   "--vocab", str(self.vocabulary), "--return-token-ids", "--json", "-"]
        return json.loads(run(command))


def clamp(value, least, most):
    return max(least, min(most, math.ceil(value)))


def measure_rounds(measurements, cells, rounds, progress):
    """{cell: {"before": [rate of each round], "after": [...]}}"""
    rates = {cell: {"before": [], "after": []} for cell in cells}
    for number in range(rounds):
        order = ("before", "after") if number % 2 == 0 else ("after", "before")
        for cell in cells:
            for build in order:
                rates[cell][build].append(measurements.measure(cell, build))
        progress("round %d of %d" % (number + 1, rounds))
    return rates


def summary_of(rates):
    """{cell: median rates, and the median and quartiles of the ratios of neighbours}"""
    summary = {}
    for cell, of in rates.items():
        ratios = sorted(after / before for before, after in zip(of["before"], of["after"], strict=True))
        quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
        summary[cell] = {"before": statistics.median(of["before"]),
                         "after": statistics.median(of["after"]),
                         "ratio": statistics.median(ratios),
                         "first_quartile": quartiles[0], "third_quartile": quartiles[2]}
    return summary


def slower_cells(summary, least):
    return [cell for cell, of in summary.items() if of["ratio"] < least]


def print_summary(summary, least):
    print("%-10s %12s %12s %14s %20s" % ("cell", "before", "after", "after / before", "half of the ratios"))
    for cell, of in summary.items():
        print("%-10s %12.2f %12.2f %14.3f %9.3f to %7.3f%s" % (
            cell, of["before"], of["after"], of["ratio"], of["first_quartile"], of["third_quartile"],
            "   slower" if of["ratio"] < least else ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="the binary that is the measure")
    parser.add_argument("--after", required=True, help="the binary that must not be slower")
    parser.add_argument("--model", default=os.path.join(ROOT, "models/bundled"))
    parser.add_argument("--weights", help="passed to bench and serve")
    parser.add_argument("--state-dtype", help="passed to bench and serve")
    parser.add_argument("--threads", help="passed to bench and serve")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one measurement, about")
    parser.add_argument("--least", type=float, default=0.98, help="the least ratio that passes")
    parser.add_argument("--cells", default=",".join(CELLS), help="a list of: " + " ".join(CELLS))
    parser.add_argument("--json", help="a file for everything that was measured")
    arguments = parser.parse_args()
    cells = arguments.cells.split(",")
    if unknown := [cell for cell in cells if cell not in CELLS]:
        parser.error("--cells: there is no %s" % unknown[0])
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    binaries = {"before": os.path.abspath(arguments.before), "after": os.path.abspath(arguments.after)}
    options = ["--model", arguments.model]
    for name in ("weights", "state_dtype", "threads"):
        if value := getattr(arguments, name):
            options += ["--" + name.replace("_", "-"), value]
    with open(os.path.join(arguments.model, "config.json")) as config:
        vocabulary = json.load(config)["vocab_size"]

    def progress(text):
        print(text, file=sys.stderr, flush=True)

    try:
        with contextlib.ExitStack() as stack:
            servers = {}
            if "serve_8" in cells or "first" in cells:
                servers = {build: stack.enter_context(Server(binary, options))
                           for build, binary in binaries.items()}
            measurements = Measurements(binaries, servers, options, vocabulary, arguments.seconds)
            rates = measure_rounds(measurements, cells, arguments.rounds, progress)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 2
    summary = summary_of(rates)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"binaries": binaries, "options": options, "sizes": measurements.sizes,
                       "rates": rates, "summary": summary}, file, indent=1)
    print_summary(summary, arguments.least)
    return 1 if slower_cells(summary, arguments.least) else 0


if __name__ == "__main__":
    sys.exit(main())
