#!/usr/bin/env python3
"""Runs compute-sanitizer over the CUDA backend on the GPU of this machine, with small shapes, within two minutes.

    tests/gpu/sanitize.py [--bin DIR] [--logs DIR]

DIR of --bin is that of run.py. memcheck and initcheck watch the benchmarks' small round, where every array is an
allocation of its own; the tests' arrays lie in one. racecheck watches tests of every kernel. Each may run for 35
seconds. A line of JSON says what each found; the exit code is 1 unless all are clean.
"""

import argparse
import json
import pathlib
import shutil
import sys

import run

LIMIT = 35  # seconds, of each check
# gtest filter: few small cases of every kernel
SANITIZED = ":".join(["*EqualsTheRecurrence/*QDelta*_random", "*CudaDecodeLayer.EqualsReference/*_24_20",
                      "*CudaDecodeLayer.EqualsReference/*_64_150", "*CudaRowwise*",
                      "*CudaMatmul.EqualsDouble/3x70*", "*CudaMixerLayerSteps*gdn*", "CudaDraw.*"])


def find_tool():
    """compute-sanitizer's path, or None."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    return tool if pathlib.Path(tool).exists() else None


def verdict(check, code, cut, out):
    """A word about one check. A check in which nothing ran is not clean."""
    ran = "Running" in out and "Running 0 tests" not in out if check == "racecheck" else '"bench"' in out
    if cut:
        return "ran out of time"
    if code != 0:
        return "found errors"
    return "clean" if ran else "nothing ran"


def main():
    """The three checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, default=run.ROOT / "build/cuda/bin")
    parser.add_argument("--logs", type=pathlib.Path, default=pathlib.Path("."))
    args = parser.parse_args()
    folder = args.bin.resolve()
    tool = find_tool()
    if tool is None:
        sys.exit("there is no compute-sanitizer")
    tiny = [folder / "gpu_bench", "--tiny"]
    clean = True
    for check, command in (("memcheck", tiny), ("initcheck", tiny),
                           ("racecheck", [folder / "cuda_gpu_test", f"--gtest_filter={SANITIZED}"])):
        child = run.Command([tool, "--tool", check, "--error-exitcode", "9", *command], LIMIT,
                            args.logs / f"{check}.log")
        out = "".join(child.lines())
        (args.logs / f"{check}.out").write_text(out, encoding="utf-8")
        said = verdict(check, child.code, child.cut, out)
        print(json.dumps({"bench": "sanitizer", "check": check, "verdict": said,
                          "seconds": round(child.seconds, 1)}), flush=True)
        clean = clean and said == "clean"
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()
