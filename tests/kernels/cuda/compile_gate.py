#!/usr/bin/env python3
"""The gate of kernels that are compiled more often than they are run.

    tests/kernels/cuda/compile_gate.py [--arch 90a,120f] [--jobs 2] [--json FILE] [--link] [FILE.cc ...]

Compiles every file of the CUDA module (or those named) with nvcc for each architecture and reads
what ptxas says of each kernel. Fails on spilled registers, on a stack frame, on more registers
than --max-registers or than MOST_REGISTERS gives a kernel, on any warning, and on a remark that the
compiler gave a kernel's tensor instructions or register counts up (C7508, C7510). Prints a table;
--json has every kernel.
The code of the host is the same for all architectures, and is compiled with the first one's only; a
file without kernels is compiled for no other. The files that take longest begin.
--link: links the files of the first architecture as the module is linked: nothing may be missing,
and one symbol may be seen. Without nvcc: "CUDA: not compiled", and success.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
FOLDER = os.path.join(ROOT, "kernels/cuda")
OPTIONS = os.path.join(FOLDER, "nvcc_options.txt")
SOURCES = os.path.join(FOLDER, "sources.cmake")
SYMBOL = "deltaserve_cuda_module"
ARCHITECTURES = "80,90a,100f,120f"
# These take longest, so the last file that is compiled is a short one.
SLOWEST = ["layer/decode_layer.cc", "rule/prefill_state.cc", "rule/delta_steps.cc", "rule/prefill_plain.cc",
           "rule/prefill_chain.cc", "rule/prefill_gram.cc", "rule/prefill_operands.cc"]

# A kernel that hides the memory's latency behind several blocks a multiprocessor needs that many
# blocks' registers: 65,536 / 128 threads / 5, 4 or 3 blocks. By its mangled name.
MOST_REGISTERS = [
    (re.compile(r"steps_kernelI.*StepTileI.*Bf16StateELi\d+ELi1EE"), 102),
    (re.compile(r"steps_kernelI.*StepTileI.*F32StateELi\d+ELi[12]EE"), 128),
    (re.compile(r"decode_layer_kernelI.*ELi4EEEv"), 128),
    (re.compile(r"decode_layer_kernelI.*ELi8EEEv"), 168),
]

ENTRY = re.compile(r"Compiling entry function '(\S+)' for 'sm_(\w+)'")
PROPERTIES = re.compile(r"Function properties for (\S+)")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
COMPLAINT = re.compile(r"\bwarning\b|\(C75\d\d\)|Potential Performance Loss", re.IGNORECASE)


def find_nvcc():
    """Its path, or None."""
    for variable in ("CUDA_PATH", "CUDA_HOME"):
        if variable in os.environ:
            path = os.path.join(os.environ[variable], "bin/nvcc")
            if os.path.exists(path):
                return path
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def source_lists():
    """The lists of sources.cmake by name, of paths from the root."""
    with open(SOURCES) as text:
        lists = re.findall(r"^set\((\w+)([^)]*)\)", text.read(), re.MULTILINE)
    return {name: [os.path.relpath(os.path.join(FOLDER, file), ROOT) for file in files.split()]
            for name, files in lists}


def module_files():
    """Returns the files that nvcc compiles for the module, slowest first; those of the emulation are for tests."""
    files = {file for name, files in source_lists().items() if name != "cuda_host_sources"
             for file in files}
    first = [os.path.relpath(os.path.join(FOLDER, file), ROOT) for file in SLOWEST]
    return [file for file in first if file in files] + sorted(files - set(first))


def files_of_the_folder():
    """Every file below kernels/cuda, as a path from there."""
    return [os.path.relpath(os.path.join(folder, name), FOLDER)
            for folder, _, names in os.walk(FOLDER) for name in names]


def unlisted(names):
    """The sources among the files of kernels/cuda that no list of sources.cmake has."""
    listed = {file for files in source_lists().values() for file in files}
    own = [os.path.relpath(os.path.join(FOLDER, name), ROOT) for name in sorted(names)
           if name.endswith(".cc")]
    return [file for file in own if file not in listed]


def read_output(text):
    """(kernels, complaints) of one call of nvcc. A kernel: name, registers, stack, spills, shared;
    functions that kernels call have no registers of their own."""
    kernels, complaints = {}, []
    entry = function = None

    def of(name):
        return kernels.setdefault(name, {"name": name, "registers": 0, "stack": 0, "spills": 0,
                                         "shared": 0})

    for line in text.splitlines():
        if COMPLAINT.search(line):
            complaints.append(line.strip())
        if found := ENTRY.search(line):
            entry = function = found[1]
        elif found := PROPERTIES.search(line):
            function = found[1]
        elif found := STACK.search(line):
            kernel = of(function)
            kernel["stack"] = int(found[1])
            kernel["spills"] = int(found[2]) + int(found[3])
        elif found := USED.search(line):
            kernel = of(entry)
            kernel["registers"] = int(found[1])
            shared = SHARED.search(line)
            kernel["shared"] = int(shared[1]) if shared else 0
    return list(kernels.values()), complaints


def faults_of(kernels, complaints, max_registers):
    """Returns what fails the gate, a line each."""
    faults = list(complaints)
    for kernel in kernels:
        for what in ("spills", "stack"):
            if kernel[what]:
                faults.append("%s: %d bytes of %s" % (kernel["name"], kernel[what], what))
        most = min([max_registers] + [limit for name, limit in MOST_REGISTERS
                                      if name.search(kernel["name"])])
        if kernel["registers"] > most:
            faults.append("%s: %d registers" % (kernel["name"], kernel["registers"]))
    return faults


def compile_file(nvcc, file, architecture, out, max_registers, device_only):
    """One row of the report."""
    command = [nvcc, "-std=c++20", "-O3", "-DNDEBUG", "--options-file", OPTIONS, "-x", "cu",
               "-gencode", "arch=compute_%s,code=sm_%s" % (architecture, architecture),
               "-Xptxas=-v", "-I", ROOT, "-cubin" if device_only else "-c",
               os.path.join(ROOT, file), "-o", out]
    start = time.monotonic()
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    kernels, complaints = read_output(result.stdout)
    faults = faults_of(kernels, complaints, max_registers)
    if result.returncode != 0:
        faults.append("nvcc failed:\n" + result.stdout.strip())
    return {"file": file, "arch": architecture, "seconds": round(time.monotonic() - start, 1),
            "kernels": kernels, "faults": faults}


def compile_for_all(nvcc, file, architectures, out, max_registers):
    """The rows of a file, one for each of `architectures` that it has kernels for, and the first
    one's. out(file, architecture) is where the result goes."""
    rows = []
    for architecture in architectures:
        if rows and not rows[0]["kernels"]:
            break
        rows.append(compile_file(nvcc, file, architecture, out(file, architecture), max_registers,
                                 device_only=bool(rows)))
    return rows


def link_faults(nvcc, objects, out):
    """Links as kernels/cuda/CMakeLists.txt does."""
    exports = os.path.join(FOLDER, "module.map")
    result = subprocess.run(
        [nvcc, "-shared", "-cudart", "static", *objects, "-o", out, "-lcublasLt",
         "-Xlinker", "--no-undefined", "-Xlinker", "--version-script=" + exports],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        return ["the module does not link:\n" + result.stdout.strip()]
    symbols = subprocess.run(["nm", "-D", "--defined-only", out], capture_output=True, text=True,
                             check=True).stdout
    names = [line.split()[-1] for line in symbols.splitlines()]
    return [] if names == [SYMBOL] else ["the module shows these symbols: %s" % " ".join(names)]


def print_table(rows):
    print("%-36s %5s %8s %10s %7s %6s %7s %8s" % ("file", "arch", "kernels", "registers", "spills",
                                                  "stack", "shared", "seconds"))
    for row in rows:
        worst = {what: max((k[what] for k in row["kernels"]), default=0)
                 for what in ("registers", "spills", "stack", "shared")}
        print("%-36s %5s %8d %10d %7d %6d %7d %8.1f" % (
            os.path.basename(row["file"]), row["arch"],
            sum(1 for k in row["kernels"] if k["registers"]), worst["registers"], worst["spills"],
            worst["stack"], worst["shared"], row["seconds"]))


def readable(text):
    if shutil.which("c++filt") is None:
        return text
    return subprocess.run(["c++filt"], input=text, capture_output=True, text=True).stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arch", default=ARCHITECTURES)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json")
    parser.add_argument("--max-registers", type=int, default=255)
    parser.add_argument("--link", action="store_true")
    parser.add_argument("files", nargs="*", help="default: all of the module")
    arguments = parser.parse_args()
    nvcc = find_nvcc()
    if nvcc is None:
        print("CUDA: not compiled")
        return 0
    files = [os.path.relpath(f, ROOT) for f in arguments.files] or module_files()
    architectures = arguments.arch.split(",")
    faults = []
    if not arguments.files:
        faults += ["%s is not in kernels/cuda/sources.cmake" % f
                   for f in unlisted(files_of_the_folder())]
    with tempfile.TemporaryDirectory() as work, \
            concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        def out(file, architecture):
            return os.path.join(work, "%s.%s.o" % (file.replace("/", "_"), architecture))

        rows = sum(pool.map(lambda file: compile_for_all(nvcc, file, architectures, out,
                                                         arguments.max_registers), files), [])
        faults += ["%s, sm_%s: %s" % (row["file"], row["arch"], fault) for row in rows
                   for fault in row["faults"]]
        if arguments.link and not faults:
            faults += link_faults(nvcc, [out(file, architectures[0]) for file in files],
                                  os.path.join(work, "module.so"))
    print_table(rows)
    if arguments.json:
        with open(arguments.json, "w") as report:
            json.dump({"files": rows, "faults": faults}, report, indent=1)
    if faults:
        print(readable("\n".join(faults)), file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
