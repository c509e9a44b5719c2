#!/usr/bin/env python3
"""Plants faults in a copy of the tree and shows that the named stage of CI finds them.

    tests/faults/run.py [--check] [--list] [--jobs N] [NAME ...]

A fault is a file NAME.fault of this folder: a sentence, then the fields

    stage: release | asan | tsan | fuzz (a CMake preset), or gate (tests/kernels/cuda/compile_gate.py)
    target: what is built, a test program or a fuzzer; not for the gate, which compiles the changed file
    test: a filter of GoogleTest; not for fuzz and gate
    says: what the output must contain; "no end": the test must hang

then a line "--- old" with the text that is replaced behind it, and a line "--- new" with what
replaces it. The old text must stand once in all sources of the product: so files may move.

--check: only that every fault can be planted and that its test is there; ctest runs it. --list: a table of all. Without either: for
each fault (or those named) the copy build/faults/tree is changed, the target is built, the test is
run, and the change is taken back. Exit code 1 if a fault was not found.
"""

import argparse
import fnmatch
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "../.."))
COPY = os.path.join(ROOT, "build/faults/tree")
FOLDERS = ("kernels", "models", "engine", "server")
STAGES = ("release", "asan", "tsan", "fuzz", "gate")
TEST_CASE = re.compile(r"^TEST(_F|_P)?\((\w+),\s*(\w+)\)", re.MULTILINE)
FIELDS = {"stage", "target", "test", "says"}
ABSENT = {"fuzz": {"test"}, "gate": {"target", "test"}}
OLD, NEW = "--- old\n", "--- new\n"
TEST_SECONDS = 300
HANG_SECONDS = 30  # of a test that ends within one
FUZZ_SECONDS = 30
NO_END = "no end"


class Fault:
    def __init__(self, path):
        self.name = os.path.splitext(os.path.basename(path))[0]
        with open(path, encoding="utf-8") as text:
            head, rest = text.read().split(OLD)
        self.old, self.new = rest.split(NEW)
        lines = head.splitlines()
        self.sentence = lines[0]
        self.fields = dict(line.split(": ", 1) for line in lines[1:])
        if (self.stage not in STAGES or not self.old or
                set(self.fields) != FIELDS - ABSENT.get(self.stage, set())):
            raise ValueError("%s: wrong fields" % path)

    @property
    def stage(self):
        return self.fields.get("stage")

    def place(self, root):
        """The file of `root` that has the old text, once."""
        found = []
        for folder in FOLDERS:
            for parent, _, files in os.walk(os.path.join(root, folder)):
                for path in (os.path.join(parent, n) for n in files if n.endswith((".cc", ".h"))):
                    with open(path, encoding="utf-8") as text:
                        found += [path] * text.read().count(self.old)
        if len(found) != 1:
            raise ValueError("%s: its text stands %d times in the sources %s" %
                             (self.name, len(found), sorted(set(found))))
        return found[0]


def all_faults():
    return [Fault(os.path.join(HERE, name)) for name in sorted(os.listdir(HERE))
            if name.endswith(".fault")]


def all_tests():
    """The names of GoogleTest's cases; of those with parameters, a name with some of them."""
    names = []
    for parent, _, files in os.walk(os.path.join(ROOT, "tests")):
        for path in (os.path.join(parent, name) for name in files if name.endswith(".cc")):
            with open(path, encoding="utf-8") as text:
                for kind, suite, case in TEST_CASE.findall(text.read()):
                    names.append(("All/%s.%s/0" if kind == "_P" else "%s.%s") % (suite, case))
    return names


def has_test(fault, names):
    """Whether a part of its filter names a test; true for a fault without one."""
    parts = fault.fields.get("test", "*").split(":")
    return any(fnmatch.fnmatchcase(name, part) for part in parts for name in names)


def make_copy():
    """The files that git knows, and those that it does not ignore. What is equal stays, so that
    builds are kept."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                           cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    for name in filter(None, names):
        source, copy = os.path.join(ROOT, name), os.path.join(COPY, name)
        if not os.path.isfile(source):
            continue
        if os.path.exists(copy):
            with open(source, "rb") as a, open(copy, "rb") as b:
                if a.read() == b.read():
                    continue
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copy(source, copy)
    for folder in FOLDERS:  # what was moved or deleted since
        for parent, _, files in os.walk(os.path.join(COPY, folder)):
            for name in files:
                path = os.path.join(parent, name)
                if not os.path.exists(os.path.join(ROOT, os.path.relpath(path, COPY))):
                    os.remove(path)


def run(command, seconds=None):
    """(exit code, output); None as the code: it did not end."""
    try:
        result = subprocess.run(command, cwd=COPY, timeout=seconds, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
        return result.returncode, result.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as expired:
        return None, (expired.stdout or b"").decode(errors="replace")


def verdict(fault, path, jobs):
    """Returns None if the fault was found, else what happened instead. `path` is the changed file."""
    fields = fault.fields
    hangs = fields["says"] == NO_END
    if fault.stage == "gate":
        code, output = run(["tests/kernels/cuda/compile_gate.py", "--arch", "90a", path])
        if "CUDA: not compiled" in output:
            return "there is no nvcc"
    else:
        options = ["-DDELTASERVE_TESTS=ON"] if fault.stage != "fuzz" else []
        for step in (["cmake", "--preset", fault.stage, *options],
                     ["cmake", "--build", "--preset", fault.stage, "--parallel", str(jobs),
                      "--target", fields["target"]]):
            code, output = run(step)
            if code != 0:
                return "it does not build:\n" + output[-4000:]
        program = "build/%s/bin/%s" % (fault.stage, fields["target"])
        if fault.stage == "fuzz":
            code, output = run(["tests/fuzz/run_all.sh", os.path.dirname(program),
                                str(FUZZ_SECONDS), fields["target"]])
        else:
            code, output = run([program, "--gtest_filter=" + fields["test"]],
                               HANG_SECONDS if hangs else TEST_SECONDS)
            if "[==========] Running 0 tests" in output:
                return "no test is named " + fields["test"]
    if code is None:
        return None if hangs else "the test did not end"
    if code != 0 and fields["says"] in output:
        return None
    return "exit code %d, and this output:\n%s" % (code, output[-4000:])


def try_fault(fault, jobs):
    path = fault.place(COPY)
    with open(path, encoding="utf-8") as text:
        whole = text.read()
    try:
        with open(path, "w", encoding="utf-8") as text:
            text.write(whole.replace(fault.old, fault.new))
        return verdict(fault, path, jobs)
    finally:
        with open(path, "w", encoding="utf-8") as text:
            text.write(whole)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    faults = all_faults()
    unknown = set(arguments.names) - {fault.name for fault in faults}
    if unknown:
        parser.error("there is no fault named " + ", ".join(sorted(unknown)))
    faults = [f for f in faults if not arguments.names or f.name in arguments.names]
    faults.sort(key=lambda fault: STAGES.index(fault.stage))
    if arguments.list:
        for fault in faults:
            shown = ["`%s`" % fault.fields[f] if f in fault.fields else "" for f in ("target", "test")]
            print("| %s | %s | %s | %s |" % (fault.name.replace("_", " "), fault.stage, *shown))
        return 0
    wrong = 0
    tests = all_tests()
    if not arguments.check:
        make_copy()
    for fault in faults:
        try:
            fault.place(ROOT)
            problem = None if has_test(fault, tests) else "no test is named " + fault.fields["test"]
            if not problem and not arguments.check:
                problem = try_fault(fault, arguments.jobs)
                print("%-36s %-8s %s" % (fault.name, fault.stage, "NOT FOUND" if problem else "found"),
                      flush=True)
        except ValueError as error:
            problem = str(error)
        if problem:
            wrong += 1
            print(problem, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
