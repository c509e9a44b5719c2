#!/usr/bin/env python3
"""That compare_builds.py pairs, orders and judges as it says, with builds that only pretend to measure.

    python compare_builds_test.py
"""

import json
import os
import stat
import subprocess
import sys
import tempfile
import unittest

import compare_builds

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compare_builds.py")

# A build: its speed stands in SPEED, what is asked of it goes to LOG. Its server is nothing but a
# line, and bench-serve reads the speed from the address.
FAKE = """#!%(python)s -IS
import json, signal, sys
command = sys.argv[1]
with open("%(log)s", "a") as log:
    log.write(json.dumps(["%(name)s", *sys.argv[1:]]) + "\\n")
speed = %(speed)r
if command == "bench":
    if "broken" in "%(name)s":
        sys.exit("no such model")
    test = "decode" if "0" == sys.argv[sys.argv.index("--prompt") + 1] else "prefill"
    print(json.dumps({"test": "read_bandwidth", "gb_per_s": 1}))
    print(json.dumps({"test": test, "tokens_per_s": speed * 1000}))
elif command == "serve":
    print("listening on http://%(name)s:%%d" %% (speed * 1000), flush=True)
    signal.pause()
else:
    url = sys.argv[sys.argv.index("--url") + 1]
    speed = int(url.rsplit(":", 1)[1]) / 1000
    print(json.dumps({"requests_per_second": speed, "time_to_first_token": {"p50": 1 / speed}}))
"""


class Arithmetic(unittest.TestCase):
    def test_the_ratio_is_the_median_of_pairs(self):
        # The medians of the rates are 20 and 19; of the pairs 1.1, 0.95 and 1.0.
        rates = {"prefill": {"before": [10.0, 20.0, 30.0], "after": [11.0, 19.0, 30.0]}}
        summary = compare_builds.summary_of(rates)["prefill"]
        self.assertEqual((summary["before"], summary["after"]), (20, 19))
        self.assertAlmostEqual(summary["ratio"], 1.0)
        self.assertAlmostEqual(summary["first_quartile"], 0.95)
        self.assertAlmostEqual(summary["third_quartile"], 1.1)

    def test_the_limit(self):
        summary = {"a": {"ratio": 0.98}, "b": {"ratio": 0.9799}, "c": {"ratio": 1.2}}
        self.assertEqual(compare_builds.slower_cells(summary, 0.98), ["b"])

    def test_sizes(self):
        self.assertEqual(compare_builds.clamp(2.1, 1, 9), 3)
        self.assertEqual(compare_builds.clamp(0.1, 4, 9), 4)
        self.assertEqual(compare_builds.clamp(100, 4, 9), 9)


class Command(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        with open(os.path.join(self.folder, "config.json"), "w") as config:
            json.dump({"vocab_size": 97}, config)

    def build(self, name, speed):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(FAKE % {"python": sys.executable, "name": name, "speed": speed,
                               "log": os.path.join(self.folder, "log")})
        os.chmod(path, stat.S_IRWXU)
        return path

    def compare(self, after_speed, *options, after_name="after"):
        json_file = os.path.join(self.folder, "result.json")
        result = subprocess.run(
            [sys.executable, SCRIPT, "--before", self.build("before", 2.0),
             "--after", self.build(after_name, after_speed), "--model", self.folder,
             "--rounds", "2", "--seconds", "0.01", "--json", json_file, *options],
            capture_output=True, text=True)
        return result, json_file

    def calls(self):
        with open(os.path.join(self.folder, "log")) as log:
            return [json.loads(line) for line in log]

    def test_every_cell_of_a_faster_build(self):
        result, json_file = self.compare(2.2)
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(json_file) as file:
            summary = json.load(file)["summary"]
        self.assertEqual(sorted(summary), sorted(compare_builds.CELLS))
        for cell, of in summary.items():
            self.assertAlmostEqual(of["ratio"], 1.1, msg=cell)

    def test_a_slower_build_fails(self):
        result, _ = self.compare(1.9, "--cells", "prefill,serve_8,first")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertEqual(result.stdout.count("slower"), 3)

    def test_little_slower_passes(self):
        self.assertEqual(self.compare(1.97, "--cells", "decode_1")[0].returncode, 0)

    def test_neighbours_take_turns(self):
        self.compare(2.0, "--cells", "decode_8", "--weights", "int8")
        calls = self.calls()
        self.assertEqual([call[0] for call in calls],  # the first one finds the size
                         ["before", "before", "after", "after", "before"])
        self.assertEqual(len({tuple(call[1:]) for call in calls[1:]}), 1, "the same work")
        self.assertEqual(calls[1][calls[1].index("--batch") + 1], "8")
        self.assertEqual(calls[1][calls[1].index("--weights") + 1], "int8")

    def test_the_load_comes_from_one_build(self):
        self.compare(2.0, "--cells", "serve_8,first")
        loads = [call for call in self.calls() if call[1] == "bench-serve"]
        self.assertEqual({call[0] for call in loads}, {"before"})
        self.assertEqual(len({call[call.index("--url") + 1] for call in loads}), 2)

    def test_a_build_that_fails_is_no_result(self):
        result, _ = self.compare(2.0, after_name="broken")
        self.assertEqual(result.returncode, 2)
        self.assertIn("no such model", result.stderr)


if __name__ == "__main__":
    unittest.main()
