#!/usr/bin/env python3
"""Breaks CUDA's kernels in many small ways and says which test on the emulation finds each.

    tests/mutations/run.py [--check] [--jobs N] [--json FILE] [NAME ...]

NAME.mutations lists mutations of one or a few kernels:

    test: a filter of GoogleTest, of the tests in cuda_kernels_test of the kernels below
    file: what the mutations below change, a path from the root

    # A sentence that says what is wrong.
    - a text that stands once in the file, of one or several lines
    + what replaces it, of as many lines as it likes

White space in front of the first line of either text is left out. A line "refused: TEXT" below the sentence says that
the change must not compile, and that the compiler's errors must have TEXT, which a static_assert says, for example.

--check: only that every mutation can be made; ctest runs it. Without it: for each (of the lists that are named) the
copy build/mutations/tree is changed, the target is built there, the tests are run up to the first that fails, and the
change is taken back. A test that finds one must pass without a change. What comes of a mutation:

    found            a test fails or aborts, or the compiler says what "refused" asks for
    NOT FOUND        all tests pass, or what must be refused compiles: a hole in the tests, or in the emulation
    NO END           the tests do not end, which proves nothing
    DOES NOT BUILD   the compiler has another reason: it is no mutation

The exit code is 1 unless all are found. --json: what came of each is kept in FILE, and what was found is not tried
again until its file or the mutation changes. So a run that was cut off goes on, and mended holes are tried alone.
"""

import argparse
import functools
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = "cuda_kernels_test"
PROGRAM = f"build/release/bin/{TARGET}"
UNCHANGED = "build/mutations_unchanged"  # the program without a change
TEST_SECONDS = 400  # of the processor: some ten times what the longest filter takes
FOUND, MISSED, ENDLESS, INVALID = "found", "NOT FOUND", "NO END", "DOES NOT BUILD"
# The last test that began, where one failed or aborted.
BEGUN = re.compile(r"^\[ RUN      \] (\S+)", re.MULTILINE)
FAILED = re.compile(r"^\[  FAILED  \] ([^\s,]+)", re.MULTILINE)
ERROR = re.compile(r"^.*\berror: .*$", re.MULTILINE)


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
        self.refused = None

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

    @functools.cached_property
    def digest(self):
        """Returns a text that changes with the mutation, and with the file that it changes."""
        said = json.dumps([*self.texts(), self.refused]).encode()
        return hashlib.sha256((ROOT / self.file).read_bytes() + said).hexdigest()[:16]


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
        elif line.startswith("refused: ") and found:
            found[-1].refused = line[9:]
        elif line[:2] in ("- ", "-") and found:
            found[-1].old.append(line[2:])
        elif line[:2] in ("+ ", "+") and found:
            found[-1].new.append(line[2:])
        elif line:
            sys.exit(f"{path.name}:{number}: {line!r} is no line of a list of mutations")
    return found


def all_mutations(names):
    """Returns the mutations of the lists that are named, or of all."""
    lists = {path.stem: path for path in sorted(HERE.glob("*.mutations"))}
    if unknown := set(names) - set(lists):
        sys.exit("there is no list " + ", ".join(sorted(unknown)))
    return [mutation for name in names or lists for mutation in read_list(lists[name])]


class Copy:
    """The tree that is changed, built and tested."""

    def __init__(self, jobs):
        self.faults = load_faults()
        self.faults.make_copy()
        self.jobs = jobs
        self.sound = set()  # names of tests that pass without a change
        code, output = self.faults.run(["cmake", "--preset", "release", "-DDELTASERVE_TESTS=ON",
                                        "-DDELTASERVE_EMULATED_KERNELS=-O0"])
        if code != 0:
            sys.exit("the tree cannot be configured:\n" + output[-3000:])
        if (output := self.build()) is not None:
            sys.exit("the tree does not build:\n" + output[-3000:])
        shutil.copy(pathlib.Path(self.faults.COPY) / PROGRAM, pathlib.Path(self.faults.COPY) / UNCHANGED)

    def build(self):
        """The compiler's output where the target cannot be built, or None."""
        code, output = self.faults.run(["cmake", "--build", "--preset", "release", "--parallel", str(self.jobs),
                                        "--target", TARGET])
        return None if code == 0 else output

    def run_tests(self, test):
        """(result, what says so) of a filter."""
        command = ["prlimit", f"--cpu={TEST_SECONDS}", PROGRAM, "--gtest_fail_fast", "--gtest_filter=" + test]
        code, output = self.faults.run(command)
        if "Running 0 tests" in output:
            sys.exit("no test is named " + test)
        if code == 0:
            return MISSED, None
        failed, begun = FAILED.findall(output), BEGUN.findall(output)
        by = (failed or begun[-1:] or ["*"])[0]
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return ENDLESS, by
        self.check_without_change(by)
        return FOUND, by if failed else by + " aborts"

    def check_without_change(self, test):
        """Ends the run where a test fails without a change, too."""
        if test in self.sound:
            return
        code, output = self.faults.run([UNCHANGED, "--gtest_filter=" + test])
        if code != 0:
            sys.exit(f"{test} fails without a change:\n{output[-1000:]}")
        self.sound.add(test)

    def try_mutation(self, mutation):
        """(result, what says so); the tree is as before afterwards."""
        path = pathlib.Path(self.faults.COPY) / mutation.file
        whole = path.read_text(encoding="utf-8")
        old, new = mutation.texts()
        try:
            path.write_text(whole.replace(old, new), encoding="utf-8")
            output = self.build()
            if output is not None:
                errors = ERROR.findall(output)
                if mutation.refused is not None and any(mutation.refused in error for error in errors):
                    return FOUND, "the compiler"
                return INVALID, (errors or [output[-500:]])[0]
            if mutation.refused is not None:
                return MISSED, None
            return self.run_tests(mutation.test)
        finally:
            path.write_text(whole, encoding="utf-8")


class Results:
    """Keeps the result of each mutation in a file."""

    def __init__(self, path):
        self.path = path
        self.told = {}
        if path is not None and path.exists():
            self.told = {one["digest"]: one for one in json.loads(path.read_text(encoding="utf-8"))}

    def has(self, mutation):
        """Whether it need not be tried again."""
        return self.result(mutation) == FOUND

    def result(self, mutation):
        return self.told.get(mutation.digest, {}).get("result")

    def add(self, mutation, result, by, seconds):
        self.told[mutation.digest] = {
            "kernel": mutation.kernel, "file": mutation.file, "mutation": mutation.sentence, "result": result, "by": by,
            "seconds": round(seconds, 1), "digest": mutation.digest}
        if self.path is not None:
            new = self.path.with_suffix(".new")  # a run that is cut off leaves a whole file
            new.write_text(json.dumps(list(self.told.values()), indent=1) + "\n", encoding="utf-8")
            os.replace(new, self.path)


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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the copy is as before then, too
    results = Results(args.json)
    left = [mutation for mutation in mutations if not results.has(mutation)]
    copy = Copy(args.jobs) if left else None
    for mutation in left:
        begin = time.monotonic()
        result, by = copy.try_mutation(mutation)
        seconds = time.monotonic() - begin
        results.add(mutation, result, by, seconds)
        print(f"{mutation.kernel:16s} {seconds:4.0f} s  {result:14s} {mutation.sentence}  [{by or 'nothing'}]", flush=True)
    for kernel in dict.fromkeys(m.kernel for m in mutations):
        of = [results.result(mutation) for mutation in mutations if mutation.kernel == kernel]
        other = "".join(f", {of.count(name)} {name}" for name in (MISSED, ENDLESS, INVALID) if name in of)
        print(f"{kernel:18s} {of.count(FOUND)} of {len(of)} found{other}")
    sys.exit(any(results.result(mutation) != FOUND for mutation in mutations))


if __name__ == "__main__":
    main()
