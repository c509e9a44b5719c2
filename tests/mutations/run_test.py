#!/usr/bin/env python3
"""Tests what the command that breaks kernels makes of builds and tests, and what it does not try again."""

import pathlib
import signal
import tempfile
import unittest

import run

RULE = "kernels/cuda/rule/prefill_inverse.h"
PASSED = (0, "[ RUN      ] A.B\n[       OK ] A.B\n")
FAILED = (1, "[ RUN      ] A.B\n[  FAILED  ] A.B (3 ms)\n")
ABORTED = (-signal.SIGABRT, "[ RUN      ] A.B\nkernel: thread 3 is not at the barrier\n")
ENDLESS = (-signal.SIGXCPU, "[ RUN      ] A.B\n")
BUILT = (0, "")
REFUSED = (1, "x.cc:3:2: error: static assertion failed: rows of 128 bytes\nninja: build stopped\n")


class Commands:
    """Stands in for tests/faults/run.py: answers in order."""

    def __init__(self, copy, *answers):
        self.COPY = copy
        self.answers = list(answers)
        self.texts = []  # of the changed file, at each command

    def run(self, _):
        self.texts.append((pathlib.Path(self.COPY) / RULE).read_text(encoding="utf-8"))
        return self.answers.pop(0)


def mutation_of(refused=None):
    mutation = run.Mutation("a", "What is wrong.", RULE, "A.*")
    mutation.old, mutation.new, mutation.refused = ["  old text"], ["new text"], refused
    return mutation


class Outcomes(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.file = pathlib.Path(place.name) / RULE
        self.file.parent.mkdir(parents=True)
        self.file.write_text("  old text;\n", encoding="utf-8")
        self.copy = run.Copy.__new__(run.Copy)
        self.copy.jobs, self.copy.sound = 1, set()
        self.place = place.name

    def outcome(self, *answers, refused=None):
        self.copy.faults = Commands(self.place, *answers)
        result = self.copy.try_mutation(mutation_of(refused))
        self.assertEqual(self.copy.faults.answers, [])
        self.assertEqual(self.copy.faults.texts, ["  new text;\n"] * len(answers))
        self.assertEqual(self.file.read_text(encoding="utf-8"), "  old text;\n")
        return result

    def test_a_test_that_fails_or_aborts_finds_it(self):
        self.assertEqual(self.outcome(BUILT, FAILED, PASSED), (run.FOUND, "A.B"))
        self.assertEqual(self.outcome(BUILT, ABORTED), (run.FOUND, "A.B aborts"))

    def test_tests_that_pass_find_nothing(self):
        self.assertEqual(self.outcome(BUILT, PASSED), (run.MISSED, None))

    def test_tests_without_an_end_prove_nothing(self):
        self.assertEqual(self.outcome(BUILT, ENDLESS), (run.ENDLESS, "A.B"))

    def test_a_build_that_fails_finds_nothing_by_itself(self):
        self.assertEqual(self.outcome(REFUSED), (run.INVALID, REFUSED[1].splitlines()[0]))

    def test_the_compiler_finds_what_it_must_refuse(self):
        self.assertEqual(self.outcome(REFUSED, refused="rows of 128 bytes"), (run.FOUND, "the compiler"))

    def test_another_error_than_the_one_asked_for_counts_for_nothing(self):
        self.assertEqual(self.outcome(REFUSED, refused="a bijection")[0], run.INVALID)

    def test_what_must_be_refused_and_compiles_is_a_hole(self):
        self.assertEqual(self.outcome(BUILT, refused="rows of 128 bytes"), (run.MISSED, None))

    def test_a_test_that_fails_without_a_change_proves_nothing(self):
        with self.assertRaises(SystemExit):
            self.outcome(BUILT, FAILED, FAILED)
        self.assertEqual(self.file.read_text(encoding="utf-8"), "  old text;\n")


class GoingOn(unittest.TestCase):
    def test_only_what_was_found_is_not_tried_again(self):
        with tempfile.TemporaryDirectory() as place:
            path = pathlib.Path(place) / "results.json"
            first = run.Results(path)
            for result in (run.MISSED, run.ENDLESS, run.INVALID, run.FOUND):
                self.assertFalse(first.has(mutation_of()))
                first.add(mutation_of(), result, "A.B", 1)
            again = run.Results(path)
            self.assertTrue(again.has(mutation_of()))
            self.assertFalse(again.has(mutation_of("rows of 128 bytes")))
            other = mutation_of()
            other.new = ["another text"]
            self.assertFalse(again.has(other))


if __name__ == "__main__":
    unittest.main()
