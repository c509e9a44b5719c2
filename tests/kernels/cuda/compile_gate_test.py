#!/usr/bin/env python3
"""That the compile gate sees what it is for, without nvcc.

    python compile_gate_test.py
"""

import os
import stat
import subprocess
import sys
import tempfile
import unittest

import compile_gate

CLEAN = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5firstv' for 'sm_90a'
ptxas info    : Function properties for _Z5firstv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 96 registers, used 1 barriers, 400 bytes smem, 1020 bytes cmem[0]
ptxas info    : Compile time = 3.101 ms
ptxas info    : Compiling entry function '_Z6secondv' for 'sm_90a'
ptxas info    : Function properties for _Z6secondv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 168 registers, used 0 barriers
"""


class Output(unittest.TestCase):
    def faults(self, text, max_registers=255):
        return compile_gate.faults_of(*compile_gate.read_output(text), max_registers)

    def test_clean(self):
        kernels, complaints = compile_gate.read_output(CLEAN)
        self.assertEqual(complaints, [])
        self.assertEqual(kernels, [
            {"name": "_Z5firstv", "registers": 96, "stack": 0, "spills": 0, "shared": 400},
            {"name": "_Z6secondv", "registers": 168, "stack": 0, "spills": 0, "shared": 0}])
        self.assertEqual(self.faults(CLEAN), [])

    def test_faults(self):
        self.assertEqual(self.faults(CLEAN, 128), ["_Z6secondv: 168 registers"])
        self.assertEqual(self.faults(CLEAN.replace("0 bytes spill stores", "8 bytes spill stores", 1)),
                         ["_Z5firstv: 8 bytes of spills"])
        self.assertEqual(self.faults(CLEAN.replace("0 bytes spill loads", "4 bytes spill loads", 1)),
                         ["_Z5firstv: 4 bytes of spills"])
        self.assertEqual(self.faults(CLEAN.replace("0 bytes stack", "16 bytes stack", 1)),
                         ["_Z5firstv: 16 bytes of stack"])

    def test_kernels_with_limits_of_their_own(self):
        def faults(state):
            name = ("_ZN10deltaserve4cuda12steps_kernelINS_6QDeltaENS0_8StepTileINS_%sELi32ELi1EEEEEv"
                    "NS0_8RuleViewEi" % state)
            return self.faults(CLEAN.replace("_Z6secondv", name).replace("168", "120"))

        self.assertEqual(len(faults("9Bf16State")), 1)
        self.assertEqual(faults("8F32State"), [])

    def test_a_called_function_counts_too(self):
        called = CLEAN + ("ptxas info    : Function properties for helper\n"
                          "    32 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n")
        self.assertEqual(self.faults(called), ["helper: 32 bytes of stack"])

    def test_complaints(self):
        for line in ("ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions"
                     " are serialized due to insufficient register resources",
                     "ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored",
                     "ptxas warning : Registers are spilled to local memory in function '_Z5firstv'",
                     "kernels/cuda/x.cc(3): warning #177-D: variable \"x\" was declared but never used"):
            self.assertEqual(self.faults(CLEAN + line + "\n"), [line])


class Files(unittest.TestCase):
    def test_what_is_compiled(self):
        files = compile_gate.module_files()
        self.assertEqual(files[:len(compile_gate.SLOWEST)],
                         ["kernels/cuda/" + file for file in compile_gate.SLOWEST])
        self.assertIn("kernels/cuda/module/module.cc", files)
        self.assertIn("kernels/cuda/device/runtime_device.cc", files)
        self.assertIn("kernels/program/state_layout.cc", files)
        self.assertNotIn("kernels/cuda/device/simt_host.cc", files)
        for file in files:
            self.assertTrue(os.path.exists(os.path.join(compile_gate.ROOT, file)), file)

    def test_every_file_is_in_a_list(self):
        self.assertEqual(compile_gate.unlisted(compile_gate.files_of_the_folder()), [])

    def test_a_file_that_no_list_has(self):
        names = ["module/module.cc", "rule/a.cc", "device/simt_host.cc", "rule/b.h"]
        self.assertEqual(compile_gate.unlisted(names), ["kernels/cuda/rule/a.cc"])


class Command(unittest.TestCase):
    def gate(self, nvcc, architectures="90a"):
        """(exit code, stdout, stderr) with `nvcc`, a shell script, or without one."""
        with tempfile.TemporaryDirectory() as folder:
            if nvcc is not None:
                os.mkdir(folder + "/bin")
                with open(folder + "/bin/nvcc", "w") as file:
                    file.write("#!/bin/sh\n" + nvcc)
                os.chmod(folder + "/bin/nvcc", stat.S_IRWXU)
            command = [sys.executable, "-c", "import sys, compile_gate\n"
                       "if not sys.argv[1]: compile_gate.find_nvcc = lambda: None\n"
                       "del sys.argv[1]\nsys.exit(compile_gate.main())", "x" if nvcc else ""]
            result = subprocess.run(
                [*command, "--arch", architectures, compile_gate.FOLDER + "/module.cc"], text=True,
                capture_output=True, cwd=os.path.dirname(os.path.abspath(__file__)),
                env={**os.environ, "CUDA_PATH": folder, "CUDA_HOME": folder})
            return result.returncode, result.stdout, result.stderr

    def test_without_nvcc(self):
        self.assertEqual(self.gate(None), (0, "CUDA: not compiled\n", ""))

    def test_passes_and_fails(self):
        code, table, errors = self.gate("cat <<END\n" + CLEAN + "END\n")
        self.assertEqual((code, errors), (0, ""))
        self.assertRegex(table, r"\nmodule\.cc +90a +2 +168 +0 +0 +400 ")
        code, _, errors = self.gate("echo 'ptxas warning : something'\n")
        self.assertEqual(code, 1)
        self.assertIn("module.cc, sm_90a: ptxas warning : something", errors)
        code, _, errors = self.gate("echo broken; exit 2\n")
        self.assertEqual(code, 1)
        self.assertIn("nvcc failed:\nbroken", errors)

    def test_the_host_is_compiled_once(self):
        says_how = 'for i in "$@"; do [ "$i" != -c ] || echo "warning: host"; done\n'
        code, table, errors = self.gate(says_how + "cat <<END\n" + CLEAN + "END\n", "90a,120f")
        self.assertRegex(table, r"\nmodule\.cc +90a +2 ")
        self.assertRegex(table, r"\nmodule\.cc +120f +2 ")
        self.assertEqual(code, 1)
        self.assertEqual(errors.count("warning: host"), 1)
        self.assertIn("module.cc, sm_90a: warning: host", errors)

    def test_a_file_without_kernels_is_compiled_once(self):
        code, table, _ = self.gate("exit 0\n", "90a,120f")
        self.assertEqual(code, 0)
        self.assertRegex(table, r"\nmodule\.cc +90a +0 ")
        self.assertNotIn("120f", table)


if __name__ == "__main__":
    unittest.main()
