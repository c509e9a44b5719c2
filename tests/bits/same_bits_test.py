#!/usr/bin/env python3
"""That same_bits.py sees what it is for: one golden model, asked through a real build.

    python same_bits_test.py --binary build/release/bin/deltaserve
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import unittest

import same_bits

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "same_bits.py")
MODEL = str(same_bits.ROOT / "tests/golden/kda")
BINARY = ""


class Parts(unittest.TestCase):
    def test_first_difference(self):
        a = {"x": [1, [2.5, None]], "y": "text"}
        self.assertIsNone(same_bits.first_difference(a, json.loads(json.dumps(a))))
        self.assertEqual(same_bits.first_difference(a, {"x": [1, [2.25, None]], "y": "text"}),
                         ".x[1][0]: 2.5 and 2.25")
        self.assertEqual(same_bits.first_difference([1, 2], [1]), ": 2 and 1 entries")
        self.assertIsNotNone(same_bits.first_difference(a, {"x": a["x"]}))

    def test_a_digest_is_that_of_the_exact_number(self):
        self.assertEqual(same_bits.digest([0.1, {"b": 1, "a": 2}]), same_bits.digest([0.1, {"a": 2, "b": 1}]))
        self.assertNotEqual(same_bits.digest(0.1), same_bits.digest(0.1 + 2 ** -56))

    def test_a_refusal_is_no_answer(self):
        answer = {"greedy": {"tokens": "x"}}
        self.assertEqual(same_bits.differences("case", "refused", "refused"), [])
        self.assertEqual(len(same_bits.differences("case", "refused", answer)), 1)
        self.assertEqual(len(same_bits.differences("case", answer, "refused")), 1)


class Command(unittest.TestCase):
    def run_script(self, *options):
        return subprocess.run([sys.executable, SCRIPT, "--models", MODEL, "--weights", "int8",
                               "--states", "f32", *options], capture_output=True, text=True)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.record = os.path.join(folder.name, "bits.json")
        self.sets = list(same_bits.InstructionSets(folder.name).numbers)

    def test_a_build_has_the_bits_of_itself(self):
        result = self.run_script("--before", BINARY, "--after", BINARY, "--instruction-sets", self.sets[0])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("2 cases, 0 of them refused", result.stdout)  # int8 and auto

    def test_a_recorded_bit_that_differs_is_found(self):
        result = self.run_script("--before", BINARY, "--record", self.record,
                                 "--instruction-sets", self.sets[0])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        with open(self.record) as file:
            recorded = json.load(file)
        case = next(iter(recorded["answers"].values()))
        case["seeded"]["logprobs"] = "0" * len(case["seeded"]["logprobs"])
        with open(self.record, "w") as file:
            json.dump(recorded, file)
        result = self.run_script("--after", BINARY, "--check", self.record,
                                 "--instruction-sets", self.sets[0])
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertIn("1 differences", result.stdout)
        self.assertIn("seeded: logprobs", result.stdout)

    def test_instruction_sets_are_really_chosen(self):
        """The last one has no fused multiply-add, so its bits are others."""
        if len(self.sets) == 1:
            self.skipTest("this machine has one instruction set")
        best, last = self.sets[0], self.sets[-1]
        self.run_script("--before", BINARY, "--record", self.record, "--instruction-sets", best)
        with open(self.record) as file:
            text = file.read()
        with open(self.record, "w") as file:
            file.write(text.replace(", %s\"" % best, ", %s\"" % last))
        result = self.run_script("--after", BINARY, "--check", self.record, "--instruction-sets", last)
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)

    def test_a_program_that_is_no_build(self):
        result = self.run_script("--before", "/bin/true", "--record", self.record)
        self.assertEqual(result.returncode, 2, result.stdout)


def main():
    global BINARY
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    arguments, rest = parser.parse_known_args()
    BINARY = os.path.abspath(arguments.binary)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
