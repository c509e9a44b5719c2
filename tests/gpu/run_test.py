#!/usr/bin/env python3
"""The measuring command on the emulation of a GPU: order, limits, what a run that is cut off leaves, comparison.

    run_test.py --bench gpu_bench_emulated --tests cuda_kernels_test
"""

import argparse
import fnmatch
import json
import math
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import run
import sanitize

BENCH = pathlib.Path()
TESTS = pathlib.Path()
SCRIPT = pathlib.Path(run.__file__)


def make_programs(folder, bench=None, tests=None):
    """Puts programs, or scripts of the shell with these texts, where run.py looks for them."""
    for name, program, text in (("gpu_bench", BENCH, bench), ("cuda_gpu_test", TESTS, tests)):
        path = folder / name
        if text is None:
            path.symlink_to(program.resolve())
        else:
            path.write_text("#!/bin/sh\n" + text, encoding="utf-8")
            path.chmod(0o755)


def all_numbers(cell):
    """The numbers of a cell."""
    return [value for value in cell.values() if isinstance(value, (int, float)) and not isinstance(value, bool)]


class Limits(unittest.TestCase):
    def test_they_leave_a_second_for_each_part_of_three_minutes(self):
        self.assertEqual(run.WHOLE, 180)
        self.assertLessEqual(sum(run.LIMITS.values()), run.WHOLE - 4)

    def test_the_order_is_that_of_what_a_cut_run_should_tell_first(self):
        self.assertEqual(list(run.LIMITS), ["test", "limits", "decode", "matmuls", "prefill", "model", "launches",
                                            "first"])


class Filters(unittest.TestCase):
    def test_every_filter_of_cells_names_some(self):
        listed = subprocess.run([BENCH, "--names", *run.CELLS], capture_output=True, text=True, check=True).stdout
        names = [set(line.split()) for line in listed.splitlines()]
        for filters in run.CELLS.values():
            for words in filters:
                self.assertTrue(any(set(words.split()) <= name for name in names), words)

    def test_every_filter_of_tests_names_some(self):
        listed = subprocess.run([TESTS, "--gtest_list_tests"], capture_output=True, text=True, check=True).stdout
        names, suite = [], ""
        for line in listed.splitlines():
            if line.startswith(" "):
                names.append(suite + line.split("#")[0].strip())
            else:
                suite = line.split("#")[0].strip()
        for words in sanitize.SANITIZED.split(":") + run.TINY_TESTS.split(":"):
            self.assertTrue(fnmatch.filter(names, words), words)


class WholeRun(unittest.TestCase):
    """One run of everything at tiny sizes, which several tests look at."""

    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.place.name)
        make_programs(cls.folder)
        cls.out = cls.folder / "cells.jsonl"
        cls.done = subprocess.run([sys.executable, SCRIPT, "--bin", cls.folder, "--out", cls.out, "--tiny"],
                                  capture_output=True, text=True, check=False)
        cls.cells = [json.loads(line) for line in cls.done.stdout.splitlines()]

    @classmethod
    def tearDownClass(cls):
        cls.place.cleanup()

    def test_it_succeeds_and_no_part_is_cut(self):
        self.assertEqual(self.done.returncode, 0, self.done.stdout[-2000:] + self.done.stderr[-2000:])
        self.assertEqual([cell for cell in self.cells if cell["bench"] in ("part", "left out", "unreadable")], [])
        self.assertEqual([cell["passed"] for cell in self.cells if cell["bench"] == "self-test"], [True])

    def test_what_is_printed_is_what_the_file_has(self):
        self.assertEqual(run.read_cells(self.out), self.cells)

    def test_the_cells_come_in_the_order_of_the_parts(self):
        order = ["self-test", "device", "read", "copy", "update", "operations", "decode rule", "decode layer", "matmul",
                 "prefill rule", "model decode", "launch", "launches", "model first token"]
        first = {}
        for at, cell in enumerate(self.cells):
            first.setdefault(cell["bench"], at)
        self.assertEqual([bench for bench in sorted(first, key=first.get) if bench in order], order)

    def test_the_limits_are_measured_once(self):
        for bench in ("device", "read", "copy", "update"):
            self.assertEqual(sum(cell["bench"] == bench for cell in self.cells), 1, bench)

    def test_every_number_is_one(self):
        # Memory of the emulation begins as NaN: what nobody writes and somebody reads back would show.
        for cell in self.cells:
            self.assertTrue(all(math.isfinite(number) for number in all_numbers(cell)), cell)

    def test_models_are_measured_without_each_piece_in_turn(self):
        without = [cell["without"] for cell in self.cells if cell["bench"] == "model decode"]
        self.assertEqual(sorted(set(without)), ["ends", "graphs", "library", "mixer", "nothing", "overlap", "prefetch"])
        self.assertEqual(without[0], "nothing")

    def test_a_layers_bytes_are_those_that_move(self):
        # Two rows of two heads of 32 x 32: states are read and written, of four raw rows of 192 channels three are read
        # and one is written; projections of 262 columns come in, 64 results go out as floats and in bf16.
        moved = {cell["bytes"] for cell in self.cells if cell["bench"] == "decode layer"}
        self.assertEqual(moved, {2 * (2 * 2 * 32 * 32 * 4 + 4 * 192 * 4 + 4 * (4 * 64 + 3 * 2) + 6 * 64)})

    def test_every_launch_of_a_step_has_its_time(self):
        # One step decodes, and the other reads a prompt.
        for key in ("batch", "prefill_rows"):
            places = [cell["place"] for cell in self.cells if cell["bench"] == "launch" and key in cell]
            self.assertEqual(places, list(range(len(places))))
            counted = [cell["count"] for cell in self.cells if cell["bench"] == "launches" and key in cell]
            self.assertEqual(counted, [len(places)])
            # Embedding, the operations of a layer, and the four launches of a draw.
            self.assertGreater(len(places), 10)

    def test_a_run_is_compared_with_an_earlier_one(self):
        earlier = [dict(cell) for cell in self.cells]
        for cell in earlier:
            if "us" in cell:
                cell["us"] *= 2
        before = self.folder / "before.json"
        before.write_text(json.dumps(earlier), encoding="utf-8")
        measured = [cell for cell in self.cells if cell.get("us") or cell.get("ms")]
        lines = run.compared(self.cells, run.read_cells(before))
        self.assertEqual(sum(line.endswith(" 0.50") for line in lines), sum("us" in cell for cell in measured))
        self.assertEqual(sum(line.endswith(" 1.00") for line in lines), sum("ms" in cell for cell in measured))
        done = subprocess.run([sys.executable, SCRIPT, "--bin", self.folder, "--out", self.folder / "again.jsonl",
                               "--tiny", "--parts", "limits", "--compare", before],
                              capture_output=True, text=True, check=True)
        compared = [line for line in done.stdout.splitlines() if not line.startswith("{")]
        self.assertEqual([line.split()[0] for line in compared], ["read", "copy", "update"])


class BrokenRuns(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.addCleanup(self.place.cleanup)
        self.folder = pathlib.Path(self.place.name)
        self.out = self.folder / "cells.jsonl"

    def test_a_failed_self_test_is_said_and_the_rest_runs(self):
        make_programs(self.folder, bench="echo '{\"bench\": \"cell of\", \"name\": \"'$1'\"}'",
                      tests="echo 'a test FAILED'; exit 1")
        done = subprocess.run([sys.executable, SCRIPT, "--bin", self.folder, "--out", self.out, "--tiny"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        cells = run.read_cells(self.out)
        self.assertFalse(cells[0]["passed"])
        self.assertIn("a test FAILED", cells[0]["said"])
        self.assertEqual([cell["name"] for cell in cells[1:]], list(run.LIMITS)[1:])

    def test_a_part_that_hangs_is_cut_and_said(self):
        make_programs(self.folder, bench="echo '{\"bench\": \"cell\"}'; sleep 60 & wait", tests="")
        record = run.Record(self.out)
        limit, run.LIMITS["limits"] = run.LIMITS["limits"], 1
        self.addCleanup(run.LIMITS.update, limits=limit)
        begin = time.monotonic()
        run.measure("limits", self.folder, record, True)
        self.assertLess(time.monotonic() - begin, 30)
        self.assertEqual([cell["bench"] for cell in record.cells], ["cell", "part"])
        self.assertTrue(record.cells[1]["cut"])

    def test_a_run_that_is_cut_leaves_its_cells(self):
        make_programs(self.folder, bench="echo '{\"bench\": \"cell\"}'; sleep 60 & wait", tests="")
        child = subprocess.Popen([sys.executable, SCRIPT, "--bin", self.folder, "--out", self.out, "--tiny",
                                  "--parts", "decode"], stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.assertEqual(json.loads(child.stdout.readline()), {"bench": "cell"})
        child.send_signal(signal.SIGINT)
        child.wait(30)
        child.stdout.close()
        self.assertEqual(run.read_cells(self.out), [{"bench": "cell"}])

    def test_half_a_line_at_the_end_of_an_earlier_file_is_left_out(self):
        self.out.write_text('{"bench": "read", "us": 3}\n{"bench": "co', encoding="utf-8")
        self.assertEqual(run.read_cells(self.out), [{"bench": "read", "us": 3}])

    def test_a_line_that_is_no_json_is_said(self):
        self.assertEqual(run.cell_of('{"us": '), {"bench": "unreadable", "line": '{"us":'})
        self.assertIsNone(run.cell_of("no cell"))


def main():
    global BENCH, TESTS
    parser = argparse.ArgumentParser()
    parser.add_argument("--bench", required=True, type=pathlib.Path)
    parser.add_argument("--tests", required=True, type=pathlib.Path)
    arguments, rest = parser.parse_known_args()
    BENCH, TESTS = arguments.bench, arguments.tests
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
