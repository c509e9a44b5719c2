"""Makes flash-linear-attention compute on a CPU: import this module before `fla`.

Triton runs its kernels in its interpreter, and asks a driver which has no device about the machine. Prompts
of up to 64 tokens take the recurrent kernels, which the interpreter can run.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton
from triton.backends.compiler import GPUTarget

LONGEST_PROMPT = 64


class CpuDriver:
    """Answers what fla and triton ask of a GPU's driver."""

    class utils:
        @staticmethod
        def get_device_properties(device):
            return {"multiprocessor_count": 1, "max_shared_mem": 1 << 20, "max_num_regs": 1 << 16, "warpSize": 32}

    def is_active(self):
        return True

    def get_current_target(self):
        return GPUTarget("cpu", 0, 32)

    def get_active_torch_device(self):
        return torch.device("cpu")

    def get_device_interface(self):
        return torch.cpu

    def get_benchmarker(self):
        return lambda kernel, *arguments, **options: [1.0, 1.0, 1.0]

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=None):
        return 0


triton.runtime.driver.set_active(CpuDriver())
