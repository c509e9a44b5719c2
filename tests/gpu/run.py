#!/usr/bin/env python3
"""Tests and measures the CUDA backend on the GPU of this machine, within ten minutes.

    tests/gpu/run.py [--bin DIR] [--out FILE.json]

DIR (default build/cuda/bin) holds cuda_gpu_test and gpu_bench, which need a driver and cuBLASLt, nothing else:

    cmake --preset cuda && cmake --build --preset cuda --target cuda_gpu_test gpu_bench

In this order: self-tests against float64, compute-sanitizer on small shapes, decode, prefill, whole
models, and the peers that Python can import. A short table is printed, every cell goes to FILE as
JSON. No time is measured when a self-test fails.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# gtest filter: few small cases of every kernel
SANITIZED = ":".join(["*EqualsTheRecurrence/*QDelta*_random", "*CudaDecodeLayer.EqualsReference/*_24_20",
                      "*CudaDecodeLayer.EqualsReference/*_64_150", "*CudaRowwise*",
                      "*Product.EqualsDouble/3x70*", "*CudaMixerLayerSteps*gdn*"])


def run(command, limit):
    """The command's exit code, its output and its seconds; 124 when it ran longer than `limit`."""
    start = time.time()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
        code, out = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as expired:
        code, out = 124, (expired.stdout or b"").decode()
    return code, out, time.time() - start


def lines_of_json(text):
    """The cells among the lines of `text`."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def self_test(folder):
    """Whether every kernel gives what float64 gives on this GPU."""
    code, out, seconds = run([folder / "cuda_gpu_test", "--gtest_brief=1"], 120)
    print(f"self-tests: {'passed' if code == 0 else 'FAILED'} in {seconds:.0f} s")
    if code != 0:
        print(out[-6000:])
    return code == 0


def sanitize(folder):
    """Out-of-bounds accesses and races of the kernels on small shapes."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not pathlib.Path(tool).exists():
        print("compute-sanitizer: absent")
        return
    for check in ("memcheck", "racecheck"):
        code, out, seconds = run([tool, "--tool", check, "--error-exitcode", "9",
                                  folder / "cuda_gpu_test", f"--gtest_filter={SANITIZED}"], 30)
        ran = re.search(r"(\d+) tests? from", out)
        if code == 0 and (ran is None or ran[1] == "0"):
            verdict = "NO TEST RAN"
        else:
            verdict = {0: "clean", 124: "ran out of time"}.get(code, "FOUND ERRORS")
        print(f"compute-sanitizer {check}: {verdict}, {ran[1] if ran else 0} tests in {seconds:.0f} s")
        if code not in (0, 124):
            print(out[-3000:])


def row(cell):
    """A cell as one line of the table."""
    sizes = " ".join(str(cell[key]) for key in ("mixer", "model", "path", "heads", "key_dim", "value_dim",
                                                "state", "batch", "prompts", "tokens", "prompt")
                     if key in cell)
    figures = []
    for key, text in (("us", "{:.1f} us"), ("ms", "{:.1f} ms"), ("tb_per_s", "{:.2f} TB/s"),
                      ("of_copy", "{:.0%} of copy"), ("ntf", "{:.1f} nTF"),
                      ("tokens_per_s", "{:.0f} tok/s"), ("tflops", "{:.0f} TF")):
        if key in cell:
            figures.append(text.format(cell[key]))
    return f"{cell['bench']:18s} {cell.get('name', sizes):58s} {', '.join(figures)}"


def measure(folder, what, limit):
    """The cells of one part of gpu_bench."""
    code, out, seconds = run([folder / "gpu_bench", what], limit)
    cells = lines_of_json(out)
    for cell in cells:
        print(row(cell))
    if code != 0:
        print(f"gpu_bench {what}: exit code {code} after {seconds:.0f} s")
        print(out[-2000:])
    return cells


def measure_peers(limit):
    """The cells of the peers that can be imported here."""
    code, out, _ = run([sys.executable, ROOT / "tests/gpu/peers.py"], limit)
    cells = lines_of_json(out)
    for cell in cells:
        print(row(cell))
    if code != 0:
        print(f"peers: {out.strip().splitlines()[-1] if out.strip() else code}")
    return cells


def main():
    """Runs everything in order; the exit code tells whether the self-tests passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/cuda/bin")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu.json"))
    args = parser.parse_args()
    if not self_test(args.bin):
        sys.exit(1)
    sanitize(args.bin)
    cells = []
    for what, limit in (("decode", 90), ("prefill", 90), ("model", 120)):
        cells += measure(args.bin, what, limit)
        args.out.write_text(json.dumps(cells, indent=1), encoding="utf-8")
    cells += measure_peers(90)
    args.out.write_text(json.dumps(cells, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
