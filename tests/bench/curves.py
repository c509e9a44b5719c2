#!/usr/bin/env python3
"""Measures the CPU's series of curves.json and draws the plots again.

    tests/bench/curves.py --binary build/release/bin/deltaserve [--machine TEXT]

Takes about ten minutes and wants a quiet machine. The bundled model, and gdn-303m with random weights, which
is written to a temporary folder (600 MB). Series of other machines in curves.json stay as they are.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

import plots

ROOT = plots.FOLDER.parents[1]
BUNDLED = str(ROOT / "models/bundled")
PRESET = "gdn-303m"
ROUNDS = 3  # of the batches, so that a slow minute does not make one size slow
CONTEXT = {"bundled": ["--generate", "2000", "--depth", "0,1000,10000,100000,1000000", "--repeat", "5"],
           PRESET: ["--weights", "int8", "--generate", "64", "--depth", "0,1000,10000,65536",
                    "--repeat", "5"]}
BATCHES = ["--generate", "32", "--batch", "1,2,4,8,16,32,64,128", "--repeat", "1"]


def run(command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def machine():
    with open("/proc/cpuinfo") as info:
        model = re.search(r"model name\s*:\s*(.+)", info.read())[1].strip()
    return "%d threads of an %s" % (os.cpu_count(), model)


def code():
    commit = run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]).strip()
    changed = run(["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"]).strip()
    return commit + (" with changes" if changed else "")


class Curves:
    def __init__(self, binary, where):
        self.binary = binary
        self.about = {"machine": where, "code": code()}
        self.series = []

    def decode_rows(self, model, options):
        """Returns the rows that `deltaserve bench` prints for decode, and the command as a reader would type it."""
        arguments = ["--prompt", "0", *options]
        rows = map(json.loads, run([self.binary, "bench", "--json", "--device", "cpu", "--model", model,
                                    *arguments]).splitlines())
        name = "models/bundled" if model == BUNDLED else PRESET
        return ([row for row in rows if row["test"] == "decode"],
                " ".join(["deltaserve bench --model", name, *arguments]))

    def add(self, plot, name, command, points):
        entry = {"plot": plot, "id": "cpu %s" % name, "name": name, **self.about, "command": command,
                 "points": points}
        print("%s, %s: %s" % (plot, name, points), file=sys.stderr, flush=True)
        self.series.append(entry)

    def measure_context(self, name, model, weights):
        rows, command = self.decode_rows(model, CONTEXT[name])
        self.add("context", "%s, %s weights" % (name, weights), command,
                 [[max(row["depth"], 1), row["tokens_per_s"]] for row in rows])

    def measure_batches(self, model, weights):
        speeds = {}
        for _ in range(ROUNDS):
            rows, command = self.decode_rows(model, ["--weights", weights, *BATCHES])
            for row in rows:
                speeds.setdefault(row["batch"], []).append(row["tokens_per_s"])
        self.add("batch", "%s, %s weights" % (PRESET, weights), "%s (medians of %d)" % (command, ROUNDS),
                 [[batch, statistics.median(of)] for batch, of in speeds.items()])

    def add_memory(self, model):
        report = run([self.binary, "inspect", model])
        found = re.search(r"(?s)bytes of one sequence.*?total +([\d,]+)", report)
        self.series.append({"plot": "memory", "id": "cpu " + PRESET, "name": PRESET + ", f32 state",
                            "command": "deltaserve inspect " + PRESET,
                            "bytes": int(found[1].replace(",", "")), "bytes_per_token": 0})


def written(series):
    """JSON with a series' numbers on one line, so that a change shows what changed."""
    text = json.dumps({"series": series}, indent=1)
    return re.sub(r"\[[^\[\]]*\]", lambda pair: " ".join(pair[0].split()), text) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--machine", default=machine(), help="what to call it (default: %(default)s)")
    arguments = parser.parse_args()
    curves = Curves(os.path.abspath(arguments.binary), arguments.machine)
    with tempfile.TemporaryDirectory() as folder:
        run([curves.binary, "random-model", PRESET, "--seed", "1", "--out", folder])
        curves.add_memory(folder)
        for weights in ("bf16", "int8"):
            curves.measure_batches(folder, weights)
        curves.measure_context("bundled", BUNDLED, "bf16")
        curves.measure_context(PRESET, folder, "int8")
    path = plots.FOLDER / "curves.json"
    others = [series for series in json.loads(path.read_text())["series"]
              if not series["id"].startswith("cpu ")]
    path.write_text(written(curves.series + others))
    plots.write(plots.draw_all())
    return 0


if __name__ == "__main__":
    sys.exit(main())
