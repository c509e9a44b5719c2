#!/usr/bin/env python3
"""Do two builds answer with the same bits? Both are asked the same over HTTP, on this machine's CPU.

    tests/bits/same_bits.py --before BINARY --after BINARY     compares the two, case by case
    tests/bits/same_bits.py --before BINARY --record FILE      writes digests of the answers of one
    tests/bits/same_bits.py --after BINARY --check FILE        compares one with such a file

A case is a model (the bundled one, and every folder of tests/golden, --variants for those of
tests/golden/variants), a format of --weights, a --state-dtype that the model takes, and an instruction
set that this machine has. Each case is asked for

    greedy    120 greedy tokens after a prompt of 70, with the five most likely of each
    seeded    120 drawn tokens
    shaped    three choices drawn with top_k, top_p, min_p, all penalties and a bias
    long      the log-probabilities of a prompt of 330 tokens, which several steps read
    together  six prompts at once, from 1 to 129 tokens

Tokens, log-probabilities (every one of them is printed so that it reads back as the same float), texts
and reasons to finish must be equal. A build needs no option for instruction sets: a library that is
compiled here and preloaded chooses one (instruction_set.cc; Debian: libhwy-dev).
Exit code: 0, 1 where something differs, 2 where a build does not answer.
"""

import argparse
import concurrent.futures
import ctypes
import hashlib
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
VARIABLE = "DELTASERVE_INSTRUCTION_SET"  # as instruction_set.cc has it
WEIGHTS = ("f32", "bf16", "int8", "int4")
STATES = ("f32", "bf16")
PATIENCE = 300  # seconds for an answer
SHOWN = 20  # differences that are printed
FIRST_ID = 3  # the ids below it are the special ones of most vocabularies


class Failure(Exception):
    """A build that does not answer; the message says which and why."""


def random_ids(count, vocabulary, seed):
    ids, state = [], seed
    for _ in range(count):
        state = (state * 1103515245 + 12345) % (1 << 31)
        ids.append(FIRST_ID + (state >> 8) % (vocabulary - FIRST_ID))
    return ids


def requests_for(vocabulary):
    """{name: body of a completion}"""
    def ids(count, seed):
        return random_ids(count, vocabulary, seed)

    return {
        "greedy": {"prompt": ids(70, 1), "max_tokens": 120, "temperature": 0, "logprobs": 5},
        "seeded": {"prompt": ids(10, 2), "max_tokens": 120, "seed": 11, "logprobs": 1},
        "shaped": {"prompt": ids(5, 3), "max_tokens": 40, "seed": 12, "logprobs": 2, "n": 3, "top_k": 30,
                   "top_p": 0.95, "min_p": 0.001, "temperature": 0.8, "presence_penalty": 0.5,
                   "frequency_penalty": 0.25, "repetition_penalty": 1.1,
                   "logit_bias": {"7": 2.5, "11": -100}},
        "long": {"prompt": ids(330, 4), "max_tokens": 3, "temperature": 0, "logprobs": 1, "echo": True},
        "together": {"prompt": [ids(n, n) for n in (1, 3, 63, 64, 65, 129)], "max_tokens": 24,
                     "seed": 13, "logprobs": 1},
    }


def read_answer(reply):
    """{part: JSON value}: what must not change of a reply to a completion."""
    choices = sorted(reply["choices"], key=lambda choice: choice["index"])
    return {"tokens": [choice["token_ids"] for choice in choices],
            "logprobs": [[choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"]]
                         for choice in choices],
            "texts": [choice["text"] for choice in choices],
            "finish": [choice["finish_reason"] for choice in choices]}


def digest(value):
    """Returns the same digest for equal values; floats are written so that they read back as the same."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]


def digests_of(answers):
    """Returns the same nesting with a digest for each part."""
    if isinstance(answers, str):
        return answers
    return {request: {part: digest(value) for part, value in parts.items()}
            for request, parts in answers.items()}


def first_difference(a, b, path=""):
    """Says where two JSON values differ, or returns None if they do not."""
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return "%s: %d and %d entries" % (path, len(a), len(b))
        pairs = [("%s[%d]" % (path, i), x, y) for i, (x, y) in enumerate(zip(a, b))]
    elif isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        pairs = [("%s.%s" % (path, key), a[key], b[key]) for key in a]
    else:
        return None if a == b else "%s: %s and %s" % (path, json.dumps(a), json.dumps(b))
    return next((found for place, x, y in pairs if (found := first_difference(x, y, place))), None)


class InstructionSets:
    """The instruction sets of this machine, and how a program is held to one."""

    def __init__(self, folder):
        self.library = os.path.join(folder, "instruction_set.so")
        command = [os.environ.get("CXX", "c++"), "-std=c++20", "-O1", "-shared", "-fPIC",
                   str(FOLDER / "instruction_set.cc"), "-o", self.library, "-lhwy"]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            raise Failure("instruction_set.cc does not compile (libhwy-dev?)\n" + result.stderr)
        lister = ctypes.CDLL(self.library).deltaserve_instruction_sets
        lister.restype = ctypes.c_char_p
        lines = lister().decode().splitlines()
        self.numbers = {line.split()[0]: line.split()[1] for line in lines}  # the best first

    def environment(self, name):
        return {**os.environ, "LD_PRELOAD": self.library, VARIABLE: self.numbers[name]}


def require_shared_highway(binary):
    """The library can only choose for a program that links to libhwy's own choice."""
    libraries = subprocess.run(["ldd", binary], capture_output=True, text=True).stdout
    if "libhwy.so" not in libraries:
        raise Failure("%s is not linked to libhwy.so: its instruction set cannot be chosen" % binary)


class Case:
    """One way to run one model."""

    def __init__(self, model, weights, state, instruction_set):
        self.model = model
        self.weights = weights
        self.state = state
        self.instruction_set = instruction_set
        self.name = "%s, weights %s, states %s, %s" % (model.name, weights, state, instruction_set)

    def answers(self, binary, sets):
        """{request: {part: value}}, or "refused"."""
        with open(self.model / "config.json") as config:
            vocabulary = json.load(config)["vocab_size"]
        command = [binary, "serve", "--model", str(self.model), "--device", "cpu", "--http-port", "0",
                   "--no-grpc", "--threads", "2", "--max-sequences", "8", "--step-tokens", "128",
                   "--log-level", "error",
                   "--weights", self.weights, "--state-dtype", self.state]
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True,
                                       env=sets.environment(self.instruction_set))
            try:
                url = self.address(process, log)
                if url is None:
                    return "refused"
                return {name: read_answer(self.ask(url, {**body, "ignore_eos": True,
                                                         "return_token_ids": True}))
                        for name, body in requests_for(vocabulary).items()}
            except urllib.error.HTTPError as error:
                raise Failure("%s: %s: %s" % (self.name, error, error.read().decode())) from error
            except (OSError, http.client.HTTPException) as error:
                raise Failure("%s: %s" % (self.name, error)) from error
            finally:
                process.kill()
                process.wait()
                process.stdout.close()

    def address(self, process, log):
        """Returns where it listens, or None if it refuses bf16 states, as models without decay do."""
        for line in process.stdout:
            if found := re.match(r"listening on (http://\S+)", line):
                return found[1]
        code = process.wait()
        log.seek(0)
        reason = log.read().strip()
        if code == 1 and self.state != "f32" and "decay" in reason:
            return None
        raise Failure("%s: the server did not start, exit code %d\n%s" % (self.name, code, reason))

    @staticmethod
    def ask(url, body):
        request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return json.load(reply)


def all_cases(models, weights, states, set_names):
    """`auto` is one of the other formats, so it is asked for on the best instruction set only."""
    cases = [Case(model, format, state, name)
             for model in models for format in weights for state in states for name in set_names]
    return cases + [Case(model, "auto", "f32", set_names[0]) for model in models]


def differences(case, before, after):
    """Lines that say what differs; `before` and `after` are answers or digests of them."""
    if isinstance(before, str) or isinstance(after, str):
        return [] if before == after else ["%s: one build refuses, the other answers" % case]
    lines = []
    for request in before:
        for part in before[request]:
            where = first_difference(before[request][part], after[request][part])
            if where:
                lines.append("%s: %s: %s%s" % (case, request, part, where))
    return lines


def run_cases(cases, jobs, one):
    """[(case, what `one` gives for it)]; progress goes to stderr."""
    results = []
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            for case, result in zip(cases, pool.map(one, cases)):
                results.append((case, result))
                if len(results) % 50 == 0 or len(results) == len(cases):
                    print("%d of %d cases, %.0f s" % (len(results), len(cases),
                                                      time.monotonic() - start),
                          file=sys.stderr, flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results


def print_cases(results):
    """results: [(case, digests)]"""
    answers = [(case, digests) for case, digests in results if digests != "refused"]
    distinct = {}
    for case, digests in answers:
        distinct.setdefault((case.model.name, case.weights, case.state), set()).add(digest(digests))
    sets = {case.instruction_set for case, _ in answers}
    print("%d cases, %d of them refused; instruction sets: %s, with up to %d different answers" % (
        len(results), len(results) - len(answers), " ".join(sorted(sets)),
        max((len(of) for of in distinct.values()), default=0)))


def verdict(results, lines):
    """Prints the cases and what differs, and gives the exit code."""
    for line in lines[:SHOWN]:
        print(line)
    if len(lines) > SHOWN:
        print("... and %d more" % (len(lines) - SHOWN))
    print_cases(results)
    print("%d differences" % len(lines) if lines else "the same bits")
    return 1 if lines else 0


def compare_with_file(cases, results, path):
    with open(path) as file:
        recorded = json.load(file)["answers"]
    lines = []
    for case, digests in results:
        if case.name not in recorded:
            raise Failure("%s is not in %s: recorded on another machine, or of other models?" % (
                case.name, path))
        if "refused" not in (recorded[case.name], digests) and recorded[case.name].keys() != digests.keys():
            raise Failure("%s: %s was recorded by another version of this script" % (case.name, path))
        lines += differences(case.name, recorded[case.name], digests)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="the binary that has the bits to keep")
    parser.add_argument("--after", help="the binary that must have the same")
    parser.add_argument("--record", help="a file for digests of the answers of --before")
    parser.add_argument("--check", help="the file that --record wrote, in place of --before")
    parser.add_argument("--models", nargs="+", type=pathlib.Path,
                        help="model folders (default: models/bundled and tests/golden/*)")
    parser.add_argument("--variants", action="store_true", help="tests/golden/variants/*, too")
    parser.add_argument("--weights", default=",".join(WEIGHTS), help="a list")
    parser.add_argument("--states", default=",".join(STATES), help="a list")
    parser.add_argument("--instruction-sets", help="a list (default: all of this machine)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cases at a time")
    arguments = parser.parse_args()
    asked = (bool(arguments.before), bool(arguments.after), bool(arguments.record),
             bool(arguments.check))
    if asked not in ((True, True, False, False), (True, False, True, False),
                     (False, True, False, True)):
        parser.error("--before and --after, or --before and --record, or --after and --check")

    golden = ROOT / "tests/golden"
    models = arguments.models or [ROOT / "models/bundled", *sorted(
        path.parent for path in golden.glob("*/config.json"))]
    if arguments.variants:
        models += sorted(path.parent for path in golden.glob("variants/*/config.json"))
    before, after = (path and os.path.abspath(path) for path in (arguments.before, arguments.after))
    try:
        with tempfile.TemporaryDirectory() as folder:
            for binary in filter(None, (before, after)):
                require_shared_highway(binary)
            sets = InstructionSets(folder)
            names = list(sets.numbers)
            if arguments.instruction_sets:
                names = arguments.instruction_sets.split(",")
                if unknown := set(names) - sets.numbers.keys():
                    raise Failure("this machine has no %s" % " ".join(unknown))
            cases = all_cases(models, arguments.weights.split(","), arguments.states.split(","), names)
            if before and after:
                def compare(case):
                    answers = case.answers(before, sets)
                    lines = differences(case.name, answers, case.answers(after, sets))
                    return digests_of(answers), lines

                both = run_cases(cases, arguments.jobs, compare)
                return verdict([(case, digests) for case, (digests, _) in both],
                               [line for _, (_, lines) in both for line in lines])
            results = run_cases(cases, arguments.jobs,
                                lambda case: digests_of(case.answers(before or after, sets)))
            if arguments.record:
                with open(arguments.record, "w") as file:
                    json.dump({"answers": {case.name: digests for case, digests in results}}, file,
                              indent=0, sort_keys=True)
                print_cases(results)
                return 0
            return verdict(results, compare_with_file(cases, results, arguments.check))
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
