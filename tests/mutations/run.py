#!/usr/bin/env python3
"""Breaks CUDA's kernels in many small ways and says which test on the emulation finds each.

    tests/mutations/run.py [--check] [--jobs N] [--json FILE] [NAME ...]

NAME.mutations lists mutations of one or a few kernels:

    test: a filter of GoogleTest, of the tests of these kernels in cuda_kernels_test
    file: what the mutations below change, a path from the root

    # A sentence that says what is wrong.
    - a text that stands once in the file, of one or several lines
    + what replaces it, of as many lines as it likes

White space in front of the first line of either text is left out. --check: only that every mutation can be made;
ctest runs it. Without it: for each (of the lists that are named) the copy build/mutations/tree is changed, the target
is built there, the tests are run up to the first that fails, and the change is taken back. A mutation that no test
finds is a hole in the tests, or in the emulation; the exit code is 1 then.
"""

import argparse
import importlib.util
import json
import pathlib
import re
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = "cuda_kernels_test"
TEST_SECONDS = 300
# The last test that began, where one failed or aborted.
BEGUN = re.compile(r"^\[ RUN      \] (\S+)", re.MULTILINE)
FAILED = re.compile(r"^\[  FAILED  \] ([^\s,]+)", re.MULTILINE)


def load_faults():
    """tests/faults/run.py, whose copy of the tree and commands serve here, too."""
    spec = importlib.util.spec_from_file_location("faults", ROOT / "tests/faults/run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.COPY = str(ROOT / "build/mutations/tree")
    return module


class Mutation:
    """One change of one file."""

    def __init__(self, kernel, sentence, file, test):
        self.kernel, self.sentence, self.file, self.test = kernel, sentence, file, test
        self.old, self.new = [], []

    def texts(self):
        """Both texts. What stands in front of the first lines stays."""
        return "\n".join(self.old).lstrip(), "\n".join(self.new).lstrip()

    def problem(self):
        """Why it cannot be made, or None."""
        old, new = self.texts()
        path = ROOT / self.file
        if not old or old == new:
            return "it changes nothing"
        if not path.exists():
            return "there is no " + self.file
        count = path.read_text(encoding="utf-8").count(old)
        return None if count == 1 else f"its text stands {count} times in {self.file}"


def read_list(path):
    """The mutations of a file."""
    found, test, file = [], None, None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("test: "):
            test = line[6:]
        elif line.startswith("file: "):
            file = line[6:]
        elif line.startswith("# "):
            found.append(Mutation(path.stem, line[2:], file, test))
        elif line[:2] in ("- ", "-") and found:
            found[-1].old.append(line[2:])
        elif line[:2] in ("+ ", "+") and found:
            found[-1].new.append(line[2:])
        elif line:
            sys.exit(f"{path.name}:{number}: {line!r} is no line of a list of mutations")
    return found


def all_mutations(names):
    """Those of the lists that are named, or of all."""
    lists = {path.stem: path for path in sorted(HERE.glob("*.mutations"))}
    if unknown := set(names) - set(lists):
        sys.exit("there is no list " + ", ".join(sorted(unknown)))
    return [mutation for name in names or lists for mutation in read_list(lists[name])]


def build(faults, jobs):
    """The compiler's output where the target cannot be built, or None."""
    code, output = faults.run(["cmake", "--build", "--preset", "release", "--parallel", str(jobs), "--target",
                               TARGET])
    return None if code == 0 else output


def found_by(faults, test):
    """The test that finds what is wrong, with how, or None: also where time ran out, which proves nothing."""
    code, output = faults.run([f"build/release/bin/{TARGET}", "--gtest_fail_fast", "--gtest_filter=" + test],
                              TEST_SECONDS)
    if "Running 0 tests" in output:
        sys.exit("no test is named " + test)
    if code in (0, None):
        return None
    failed, begun = FAILED.findall(output), BEGUN.findall(output)
    if failed:
        return failed[0]
    return (begun[-1] if begun else "at start") + " aborts"


def try_mutation(faults, mutation, jobs):
    """As found_by(); the copy is as before afterwards."""
    path = pathlib.Path(faults.COPY) / mutation.file
    whole = path.read_text(encoding="utf-8")
    old, new = mutation.texts()
    try:
        path.write_text(whole.replace(old, new), encoding="utf-8")
        if build(faults, jobs) is not None:
            return "the compiler"
        return found_by(faults, mutation.test)
    finally:
        path.write_text(whole, encoding="utf-8")


def main():
    """Tries the mutations, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    mutations = all_mutations(args.names)
    problems = [f"{m.kernel}: {m.sentence} {m.problem()}" for m in mutations if m.problem()]
    if problems:
        sys.exit("\n".join(problems))
    if args.check:
        print(f"{len(mutations)} mutations can be made")
        return
    faults = load_faults()
    faults.make_copy()
    code, output = faults.run(["cmake", "--preset", "release", "-DDELTASERVE_TESTS=ON"])
    if code != 0 or (output := build(faults, args.jobs)):
        sys.exit("the tree does not build:\n" + output[-3000:])
    told = []
    for mutation in mutations:
        begin = time.monotonic()
        by = try_mutation(faults, mutation, args.jobs)
        told.append({"kernel": mutation.kernel, "file": mutation.file, "mutation": mutation.sentence, "found_by": by})
        print(f"{mutation.kernel:18s} {time.monotonic() - begin:4.0f} s  {by or 'NOT FOUND':60s} {mutation.sentence}",
              flush=True)
        if args.json:
            args.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for kernel in dict.fromkeys(m.kernel for m in mutations):
        of = [one for one in told if one["kernel"] == kernel]
        print(f"{kernel:18s} {sum(one['found_by'] is not None for one in of)} of {len(of)} found")
    sys.exit(any(one["found_by"] is None for one in told))


if __name__ == "__main__":
    main()
