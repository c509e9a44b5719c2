#!/usr/bin/env python3
"""Tests and measures the CUDA backend on the GPU of this machine, within ten minutes.

    tests/gpu/run.py [--bin DIR] [--out FILE.json]

DIR (default build/cuda/bin) holds cuda_gpu_test and gpu_bench, which need a driver and cuBLASLt, nothing else:

    cmake --preset cuda && cmake --build --preset cuda --target cuda_gpu_test gpu_bench

For another machine: with -DDELTASERVE_CUDA_ARCHITECTURES=90a (its GPU's) and stripped, the two and the
libhwy.so.1 beside them make a .tar.xz of 3.4 MB.

In this order: self-tests against float64, products, decode, whole models, prefill, its layers launch by launch,
the peers that Python can import, compute-sanitizer on small shapes. A short table is printed, every cell goes to FILE as JSON,
what the programs print to files beside it. Where a self-test fails, the cells say so and the exit
code is 1. --parts names some of them, for a machine that is lent in turns.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import signal
import site
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHARDS = 8  # of the self-tests, which wait for the reference on the CPU more than for the GPU
# What each part may take, in seconds.
LIMITS = {"products": 90, "decode": 90, "model": 120, "prefill": 90, "layer": 60, "peers": 90}
SELF_TEST_LIMIT = 90
SANITIZER_LIMIT = 35
PARTS = ["test", *LIMITS, "sanitize"]
# gtest filter: few small cases of every kernel
SANITIZED = ":".join(["*EqualsTheRecurrence/*QDelta*_random", "*CudaDecodeLayer.EqualsReference/*_24_20",
                      "*CudaDecodeLayer.EqualsReference/*_64_150", "*CudaRowwise*",
                      "*Product.EqualsDouble/3x70*", "*CudaMixerLayerSteps*gdn*"])


def environment(**more):
    """Ours, and where cuBLASLt may be: in the toolkit or in a Python package."""
    folders = ["/usr/local/cuda/lib64", "/usr/local/cuda/lib"]
    for packages in site.getsitepackages():
        folders += sorted(str(path) for path in pathlib.Path(packages).glob("nvidia/*/lib"))
    folders.insert(0, os.environ.get("LD_LIBRARY_PATH", ""))
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, folders)), **more}


def run(command, limit, log, **variables):
    """The command's exit code, its output and its seconds; 124 when it ran longer than `limit`.

    The output also goes to the file `log`. Of a command that ran too long, no child is left.
    """
    start = time.time()
    with open(log, "w", encoding="utf-8") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT,
                                 env=environment(**variables), start_new_session=True)
        try:
            code = child.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            code = 124
    return code, log.read_text(encoding="utf-8", errors="replace"), time.time() - start


def lines_of_json(text):
    """The cells among the lines of `text`."""
    return [json.loads(line) for line in text.splitlines()
            if line.startswith("{") and line.endswith("}")]


def missing_libraries(folder):
    """Lines of ldd about libraries that are not here."""
    lines = []
    for program in ("cuda_gpu_test", "gpu_bench"):
        listed = subprocess.run(["ldd", folder / program], capture_output=True, text=True, check=False,
                                env=environment())
        lines += [f"{program}: {line.strip()}" for line in
                  (listed.stdout + listed.stderr).splitlines() if "not found" in line]
    return lines


def self_test(folder, logs):
    """Whether every kernel gives what float64 gives on this GPU."""
    def shard(i):
        return run([folder / "cuda_gpu_test", "--gtest_brief=1"], SELF_TEST_LIMIT,
                   logs / f"self_test_{i}.log", GTEST_TOTAL_SHARDS=str(SHARDS),
                   GTEST_SHARD_INDEX=str(i))

    start = time.time()
    with concurrent.futures.ThreadPoolExecutor(SHARDS) as pool:
        results = list(pool.map(shard, range(SHARDS)))
    failed = [f"shard {i}: exit code {code}" for i, (code, _, _) in enumerate(results) if code != 0]
    print(f"self-tests: {'FAILED' if failed else 'passed'} in {time.time() - start:.0f} s "
          f"{', '.join(failed)}")
    for code, out, _ in results:
        if code != 0:
            print("\n".join(re.findall(r"^.*(?:FAILED|CUDA:|Failure|failed).*$", out, re.MULTILINE)[:12]))
            print(out[-600:])
    return not failed


def sanitize(folder, logs):
    """Out-of-bounds accesses, uninitialised memory and races of the kernels on small shapes.

    memcheck and initcheck watch the benchmarks' small round, where every array is an allocation of
    its own; the tests' arrays lie in one.
    """
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not pathlib.Path(tool).exists():
        print("compute-sanitizer: absent")
        return
    tiny = [folder / "gpu_bench", "--tiny"]
    for check, command in (("memcheck", tiny), ("initcheck", tiny),
                           ("racecheck", [folder / "cuda_gpu_test", f"--gtest_filter={SANITIZED}"])):
        code, out, seconds = run([tool, "--tool", check, "--error-exitcode", "9", *command],
                                 SANITIZER_LIMIT, logs / f"{check}.log")
        ran = "Running" in out if check == "racecheck" else '"bench"' in out
        if code == 0 and (not ran or "Running 0 tests" in out):
            verdict = "NOTHING RAN"
        else:
            verdict = {0: "clean", 124: "ran out of time"}.get(code, "FOUND ERRORS")
        print(f"compute-sanitizer {check}: {verdict} in {seconds:.0f} s")
        if code not in (0, 124):
            print(out[:2000])


def print_clocks():
    """The device's clocks and power now, where nvidia-smi tells."""
    if shutil.which("nvidia-smi") is None:
        return
    told = subprocess.run(["nvidia-smi", "--format=csv,noheader",
                           "--query-gpu=clocks.sm,clocks.mem,power.draw,temperature.gpu"],
                          capture_output=True, text=True, check=False)
    print(f"clocks: {told.stdout.strip()}")


def row(cell):
    """A cell as one line of the table."""
    sizes = " ".join(str(cell[key]) for key in ("mixer", "model", "part", "path", "heads", "key_dim", "value_dim",
                                                "state", "batch", "launches", "prompts", "tokens", "prompt", "rows", "kernel")
                     if key in cell)
    figures = []
    for key, text in (("us", "{:.1f} us"), ("us_ahead", "{:.1f} us ahead"), ("ms", "{:.1f} ms"), ("tb_per_s", "{:.2f} TB/s"),
                      ("of_update", "{:.0%} of updates"), ("ntf", "{:.1f} nTF"),
                      ("tokens_per_s", "{:.0f} tok/s"), ("tflops", "{:.0f} TF"),
                      ("from_plain", "{:.1e} from plain"), ("from_passes", "{:.1e} from passes")):
        if key in cell:
            figures.append(text.format(cell[key]))
    label = f"{cell['name']} {sizes}" if "name" in cell else sizes
    return f"{cell['bench']:18s} {label:58s} {', '.join(figures)}"


def measure(part, folder, logs):
    """The cells of a part of gpu_bench, or of the peers."""
    command = [folder / "gpu_bench", part]
    if part == "peers":
        command = [sys.executable, ROOT / "tests/gpu/peers.py"]
    print_clocks()
    code, out, seconds = run(command, LIMITS[part], logs / f"{part}.log")
    cells = lines_of_json(out)
    for cell in cells:
        print(row(cell), flush=True)
    for description in sorted({cell["backend"] for cell in cells if "backend" in cell}):
        print(description)
    if code != 0 or not cells:
        print(f"{part}: exit code {code} after {seconds:.0f} s")
        print(out[-2000:])
    return cells


def main():
    """Runs the parts in order; the exit code tells whether the self-tests passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/cuda/bin")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu.json"))
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    args = parser.parse_args()
    parts = args.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--parts: there is no {', '.join(sorted(unknown))}")
    folder = args.bin.resolve()
    logs = args.out.resolve().parent
    if missing := missing_libraries(folder):
        print("\n".join(missing))
        sys.exit(1)
    passed = self_test(folder, logs) if "test" in parts else None
    cells = []
    for part in LIMITS:
        if part not in parts:
            continue
        cells += [{**cell, "self_tests": passed} for cell in measure(part, folder, logs)]
        args.out.write_text(json.dumps(cells, indent=1), encoding="utf-8")
    if "sanitize" in parts:
        sanitize(folder, logs)
    sys.exit(1 if passed is False else 0)


if __name__ == "__main__":
    main()
