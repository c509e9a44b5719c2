#!/usr/bin/env python3
"""Tests and measures the CUDA backend on the GPU of this machine, within three minutes.

    tests/gpu/run.py [--bin DIR] [--out FILE.jsonl] [--compare EARLIER.json] [--parts NAME,...]

DIR (default build/cuda/bin) holds cuda_gpu_test and gpu_bench, which need a driver and cuBLASLt, nothing else:

    cmake --preset cuda && cmake --build --preset cuda --target cuda_gpu_test gpu_bench

For another machine: with -DDELTASERVE_CUDA_ARCHITECTURES=90a (its GPU's) and stripped, the two and the
libhwy.so.1 beside them make a .tar.xz of 3.4 MB.

In this order: self-tests against float64, the machine's limits, decode of the rule and of a layer, matmuls (ours,
cuBLASLt's, and the floor of bytes and operations), the prefill rule, decode of whole models with each fused piece
switched off in turn, the launches of steps one by one, first tokens. Each part has a limit of time, and
the limits add up to less than three minutes. Each cell is printed as a line of JSON at once and appended to FILE, so a
run that is cut off still tells what it measured. What the programs say beside it goes to files beside FILE.

--compare prints, for each cell that EARLIER has, too, both times and their ratio. The exit code is 1 where a
self-test failed. Two more commands take longer: tests/gpu/sanitize.py (compute-sanitizer) and tests/gpu/peers.py
(flash-linear-attention). --tiny runs everything at sizes for the emulation.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import signal
import site
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHARDS = 8  # of the self-tests, which wait for the reference on the CPU more than for the GPU
WHOLE = 180  # seconds, of which some are Python's own
# Each part may take this many seconds. They run in this order.
LIMITS = {"test": 36, "limits": 6, "decode": 26, "matmuls": 26, "prefill": 16, "model": 36, "launches": 10, "first": 20}
START_SECONDS = 2  # of a program that stops to begin cells so long before its limit


def both(*words):
    """The words, once with each size of the official models' heads."""
    return [" ".join([*words, sizes]) for sizes in ("heads=6 key_dim=128", "heads=6 key_dim=256")]


# The cells of a part that are worth their time, as filters of gpu_bench.
CELLS = {
    "decode": [f"{name} batch={batch}" for batch in (1, 32, 128, 512) for name in both("decode-rule")]
              + [f"decode-rule heads=32 mixer={mixer} state=f32 batch=128" for mixer in ("Gated", "KDA")]
              + [f"decode-layer heads=6 key_dim=128 batch={batch}" for batch in (1, 8, 32, 128)],
    "matmuls": [f"matmul {name} rows={rows} kernel={kernel}"
                for kernel, counts in (("auto", (1, 8, 32, 128, 512)), ("library", (512, 8192)),
                                       ("for-rows", (64, 512, 8192)))
                for rows in counts
                for name in ("name=q340-in", "name=q340-gate_up", "name=q340-down", "name=head", "name=q1b-gate_up")],
    "prefill": [f"prefill-rule path=tensor {case}" for case in
                ("heads=6 key_dim=128 tokens=131072", "heads=6 key_dim=256 tokens=131072", "heads=16 tokens=32768",
                 "heads=32 tokens=4096", "heads=32 tokens=8192")],
    "model": ["model-decode state=f32 without=nothing", "model-decode model=qdelta-340m state=f32",
              "model-decode model=qdelta-340m state=bf16 batch=128"],
    "first": ["first-token without=nothing state=f32"],
}
# These members identify a cell; all others are figures.
NAMES = ("bench", "name", "mixer", "model", "part", "path", "heads", "key_dim", "value_dim", "state", "batch", "launches",
         "without", "place", "prompts", "tokens", "prompt", "decode_rows", "prefill_rows", "rows", "kernel")
TIMES = ("us", "ms")
# gtest filter: few small cases of every kernel, which the emulation runs in seconds
TINY_TESTS = ":".join(["CudaDraw.TheEnds*", "CudaBackend.EachPaddedSize*"])


def environment(**more):
    """Ours, and where cuBLASLt may be: in the toolkit or in a Python package."""
    folders = ["/usr/local/cuda/lib64", "/usr/local/cuda/lib"]
    for packages in site.getsitepackages():
        folders += sorted(str(path) for path in pathlib.Path(packages).glob("nvidia/*/lib"))
    folders.insert(0, os.environ.get("LD_LIBRARY_PATH", ""))
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, folders)), **more}


class Command:
    """A child that is ended, with all that it started, after `limit` seconds. Its errors go to the file `log`."""

    def __init__(self, command, limit, log, **variables):
        self.begin = time.monotonic()
        self.cut = False
        with open(log, "w", encoding="utf-8") as errors:
            self.child = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=errors,
                                          text=True, errors="replace", env=environment(**variables),
                                          start_new_session=True)
        self.timer = threading.Timer(limit, self.end)
        self.timer.start()

    def end(self):
        self.cut = True
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
            os.killpg(self.child.pid, signal.SIGKILL)

    def lines(self):
        """Each line as it comes; behind the last one the exit code is known."""
        try:
            with self.child.stdout:
                yield from self.child.stdout
            self.code = self.child.wait()
        except BaseException:  # this program is ended, and leaves none behind
            self.end()
            raise
        finally:
            self.timer.cancel()
        self.seconds = time.monotonic() - self.begin


def missing_libraries(folder):
    """Lines of ldd about libraries that are not here."""
    lines = []
    for program in ("cuda_gpu_test", "gpu_bench"):
        listed = subprocess.run(["ldd", folder / program], capture_output=True, text=True, check=False,
                                env=environment())
        lines += [f"{program}: {line.strip()}" for line in
                  (listed.stdout + listed.stderr).splitlines() if "not found" in line]
    return lines


def self_test(folder, logs, tiny):
    """A cell that says whether every kernel gives what float64 gives on this GPU."""
    def shard(i):
        command = Command([folder / "cuda_gpu_test", "--gtest_brief=1", *(["--gtest_filter=" + TINY_TESTS] if tiny else [])],
                          LIMITS["test"], logs / f"self_test_{i}.log", GTEST_TOTAL_SHARDS=str(SHARDS),
                          GTEST_SHARD_INDEX=str(i))
        out = "".join(command.lines())
        failed = re.findall(r"^.*(?:FAILED|CUDA:|Failure|failed).*$", out, re.MULTILINE)[:12]
        return command, [f"shard {i}: exit code {command.code}", *failed] if command.code != 0 else []

    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(SHARDS) as pool:
        results = list(pool.map(shard, range(SHARDS)))
    return {"bench": "self-test", "passed": not any(said for _, said in results),
            "seconds": round(time.monotonic() - begin, 1), "said": sum((said for _, said in results), [])}


def key_of(cell):
    """The members that identify a cell."""
    return tuple((name, cell[name]) for name in NAMES if name in cell)


def time_of(cell):
    """A cell's time in microseconds, or None."""
    return next((cell[name] * (1e3 if name == "ms" else 1) for name in TIMES if name in cell), None)


def read_cells(path):
    """The cells of a file of an earlier run: a list, or a line each, of which the last may be cut off."""
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]


def compared(cells, earlier):
    """A line of text for each cell that both have: the time before, the time at present, their ratio."""
    before = {key_of(cell): time_of(cell) for cell in earlier}
    lines = []
    for cell in cells:
        old, new = before.get(key_of(cell)), time_of(cell)
        if old is not None and new is not None:
            name = " ".join(str(value) for _, value in key_of(cell))
            ratio = f"{new / old:6.2f}" if old > 0 else "     -"
            lines.append(f"{name:74.74s} {old:12.1f} us {new:12.1f} us {ratio}")
    return lines


class Record:
    """Appends each cell to the file at once, and then prints it: whoever reads it may end this process."""

    def __init__(self, path):
        self.path, self.cells = path, []
        path.write_text("", encoding="utf-8")

    def add(self, cell):
        self.cells.append(cell)
        line = json.dumps(cell)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)


def cell_of(line):
    """The cell in a line of gpu_bench, or None."""
    if not line.startswith("{"):
        return None
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return {"bench": "unreadable", "line": line.strip()}


def measure(part, folder, record, tiny):
    """Records the cells of a part of gpu_bench."""
    limits = {cell["bench"]: cell.get("tb_per_s", 0) * 1e12 for cell in record.cells
              if cell["bench"] in ("read", "update")}
    command = [folder / "gpu_bench", part, "--seconds", LIMITS[part] - START_SECONDS]
    command += ["--tiny"] if tiny else ["--quick"]
    if len(limits) == 2:
        flops = next((cell["flops"] for cell in record.cells if cell["bench"] == "operations"), 0)
        command += ["--limits", f"{limits['read']:g},{limits['update']:g},{flops:g}"]
    for words in [] if tiny else CELLS.get(part, []):
        command += ["--filter", words]
    child = Command(command, LIMITS[part], record.path.parent / f"{part}.log")
    for line in child.lines():
        cell = cell_of(line)
        if cell is not None and not (cell["bench"] == "device" and part != "limits"):
            record.add(cell)
    if child.code != 0 or child.cut:
        record.add({"bench": "part", "part": part, "exit_code": child.code, "cut": child.cut,
                    "seconds": round(child.seconds, 1)})


def main():
    """Runs the parts in order; the exit code tells whether the self-tests passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/cuda/bin")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu.jsonl"))
    parser.add_argument("--compare", type=pathlib.Path, metavar="EARLIER")
    parser.add_argument("--parts", default=",".join(LIMITS), help=f"some of {','.join(LIMITS)}")
    parser.add_argument("--tiny", action="store_true", help="sizes that the emulation runs in seconds")
    args = parser.parse_args()
    parts = args.parts.split(",")
    if unknown := set(parts) - set(LIMITS):
        parser.error(f"--parts: there is no {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    earlier = read_cells(args.compare) if args.compare else []
    folder = args.bin.resolve()
    if missing := missing_libraries(folder):
        sys.exit("\n".join(missing))
    record = Record(args.out.resolve())
    for part in LIMITS:
        if part not in parts:
            continue
        if part == "test":
            record.add(self_test(folder, record.path.parent, args.tiny))
        else:
            measure(part, folder, record, args.tiny)
    if args.compare:
        print("\n".join(compared(record.cells, earlier)))
    failed = any(cell["bench"] == "self-test" and not cell["passed"] for cell in record.cells)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
