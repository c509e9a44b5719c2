#!/usr/bin/env python3
"""Tests --device, on a machine without CUDA and with modules that stand in for it.

    python device_test.py --binary build/release/bin/deltaserve --model models/bundled \\
        --modules build/release/tests/modules [-k NAME]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import unittest

import harness
from harness import PROMPT, Server

MODULES = ""
RECORDED_TOKEN = 42  # of tests/kernels/module/recorded_module.h: what its backend draws


class Device(unittest.TestCase):
    def setUp(self):
        self.addCleanup(os.environ.pop, "DELTASERVE_CUDA_MODULE", None)
        self.addCleanup(os.environ.pop, "DELTASERVE_TEST_NO_DEVICE", None)

    def use_module(self, name):
        os.environ["DELTASERVE_CUDA_MODULE"] = os.path.join(MODULES, "lib%s.so" % name)

    def run_command(self, command, *options):
        return subprocess.run([harness.BINARY, command, "--model", harness.MODEL, *options],
                              capture_output=True, text=True, timeout=120)

    def generate(self, *options):
        return self.run_command("generate", "--prompt", PROMPT, "--temperature", "0", "--max-tokens",
                                "8", *options)

    def bench(self, *options):
        return self.run_command("bench", "--prompt", "64", "--generate", "2", "--repeat", "1", *options)

    def test_auto_without_a_module_is_the_cpu(self):
        with Server() as server:
            self.assertRegex(server.banner, r"(?m)^model: .* on cpu ")
            self.assertRegex(server.banner, r"(?m)^device: cpu, because there is no libdeltaserve_cuda\.so in /")
        with Server("--device", "cpu") as server:
            self.assertRegex(server.banner, r"(?m)^model: .* on cpu ")
            self.assertNotIn("CUDA", server.banner)
        chosen, asked = self.generate(), self.generate("--device", "cpu")
        self.assertEqual((chosen.returncode, chosen.stderr), (0, ""))
        self.assertEqual(chosen.stdout, asked.stdout)
        self.assertIn("\ndevice: cpu, because there is no lib", self.bench().stdout)

    def test_cuda_without_a_module_is_an_error(self):
        for command, options in (("serve", ()), ("generate", ("--prompt", "x")), ("bench", ())):
            result = self.run_command(command, "--device", "cuda", *options)
            self.assertEqual((result.returncode, result.stdout), (1, ""), command)
            self.assertRegex(result.stderr,
                             r"\Adeltaserve: --device cuda: there is no libdeltaserve_cuda\.so in /.*\n\Z")

    def test_other_devices_are_refused(self):
        self.assertEqual(self.generate("--device", "tpu").returncode, 2)

    def test_the_module_computes(self):
        self.use_module("pretended_module")
        for device in ("auto", "cuda"):
            with Server("--device", device) as server:
                self.assertRegex(server.banner, r"(?m)^model: .* on a backend that pretends to compute$")
                self.assertNotIn("CUDA", server.banner)
                choice = server.complete(max_tokens=3, return_token_ids=True).choices[0]
                self.assertEqual(choice.token_ids, [RECORDED_TOKEN] * 3)
            result = self.generate("--device", device)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            result = self.bench("--device", device)
            self.assertTrue(result.stdout.startswith("a backend that pretends to compute\n"))
        self.assertNotIn("pretends", self.bench("--device", "cpu").stdout)

    def test_quantised_weights_are_for_the_cpu(self):
        self.use_module("pretended_module")
        for format in ("int8", "int4"):
            result = self.generate("--device", "cuda", "--weights", format)
            self.assertEqual(result.returncode, 1)
            self.assertEqual(result.stderr, "deltaserve: --device cuda: weights in %s are for the CPU; "
                             "on CUDA they are auto, f32 or bf16\n" % format)
            with Server("--weights", format) as server:
                self.assertRegex(server.banner, r"(?m)^model: .* on cpu ")
                self.assertIn("\ndevice: cpu, because weights in %s are for the CPU" % format, server.banner)

    def test_the_hosts_memory_beside_the_device_is_for_cuda(self):
        option = "--prefix-cache-host-memory"
        result = self.run_command("serve", "--http-port", "0", option, "1GiB")
        self.assertEqual((result.returncode, result.stderr),
                         (1, "deltaserve: %s is for CUDA: on a CPU --prefix-cache-memory is memory of the "
                             "host\n" % option))
        self.use_module("pretended_module")
        for options, refusal in (
                (("--prefix-cache-memory", "1GiB", option, "1KiB"), option + " is below the "),
                (("--prefix-cache-memory", "1GiB", option, "900TiB"), option + " is above the "),
                (("--prefix-cache-memory", "0", option, "1GiB"), option + " needs snapshots on the device")):
            result = self.run_command("serve", "--http-port", "0", *options)
            self.assertEqual(result.returncode, 1)
            self.assertIn("deltaserve: " + refusal, result.stderr)

    def test_what_is_switched_off_must_be_there(self):
        self.addCleanup(os.environ.pop, "DELTASERVE_CUDA_WITHOUT", None)
        self.use_module("pretended_module")
        os.environ["DELTASERVE_CUDA_WITHOUT"] = "all"
        result = self.generate("--device", "cuda")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        os.environ["DELTASERVE_CUDA_WITHOUT"] = "library,ende"
        result = self.generate("--device", "cuda")
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertEqual(result.stderr,
                         'deltaserve: --device cuda: DELTASERVE_CUDA_WITHOUT knows no "ende": it takes '
                         'library, mixer, ends, graphs, overlap or all\n')

    def test_heads_too_wide_are_for_the_cpu(self):
        self.use_module("pretended_module")
        config = {"model_type": "gated_deltanet", "hidden_size": 32, "num_hidden_layers": 1,
                  "num_heads": 1, "head_dim": 1024, "expand_v": 1, "intermediate_size": 32,
                  "vocab_size": 64, "use_gate": False}
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "config.json"), "w") as file:
                json.dump(config, file)
            model = os.path.join(folder, "model")
            subprocess.run([harness.BINARY, "random-model", file.name, "--seed", "1", "--out", model],
                           check=True, timeout=120)
            bench = [harness.BINARY, "bench", "--model", model, "--prompt", "8", "--generate", "2",
                     "--repeat", "1", "--device"]
            reason = ("heads of 1024 key channels, as layer 0 has them, are for the CPU; "
                      "CUDA's kernels take 512\n")
            asked = subprocess.run([*bench, "cuda"], capture_output=True, text=True, timeout=120)
            self.assertEqual((asked.returncode, asked.stderr),
                             (1, "deltaserve: --device cuda: " + reason))
            chosen = subprocess.run([*bench, "auto"], capture_output=True, text=True, timeout=120)
            self.assertEqual(chosen.returncode, 0)
            self.assertIn("\ndevice: cpu, because " + reason, chosen.stdout)

    def test_a_module_that_cannot_be_used(self):
        os.environ["DELTASERVE_TEST_NO_DEVICE"] = "1"
        for module, reason in (("pretended_module", "no CUDA device is pretended"),
                               ("misfit_count", "does not fit: "),
                               ("not_there", "cannot open shared object file")):
            self.use_module(module)
            result = self.generate("--device", "cuda")
            self.assertEqual(result.returncode, 1)
            self.assertIn(reason, result.stderr)
            self.assertEqual(result.stderr.count("\n"), 1)
            # With auto the answer comes all the same, and who asks for text sees why it is slow.
            result = self.generate()
            self.assertEqual(result.returncode, 0)
            self.assertRegex(result.stderr, r"\Adeltaserve: the CPU is used, because .*%s.*\n\Z" % reason)
            with Server() as server:
                self.assertRegex(server.banner, r"(?m)^device: cpu, because .*" + reason)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--modules", required=True)
    arguments, rest = parser.parse_known_args()
    MODULES = os.path.abspath(arguments.modules)
    sys.argv = [sys.argv[0], *rest]
    harness.main()
