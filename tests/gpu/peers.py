#!/usr/bin/env python3
"""Times flash-linear-attention's kernels at the shapes of gpu_bench, one line of JSON a cell.

Gated DeltaNet stands for Q-Delta, too: flash-linear-attention has no Q-Delta, and the term with
lambda costs no byte and next to no operation.
"""

import json
import statistics
import sys

try:
    import torch
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule, fused_recurrent_gated_delta_rule
except ImportError as missing:
    print(f"absent: {missing}")
    sys.exit(0)

DECODE = [(6, 128, 256), (16, 128, 128), (32, 128, 128)]
BATCHES = [1, 8, 64, 128, 512]
BEYOND_CACHES = 512 << 20  # bytes
MOST_SETS = 64
PREFILL = [(8, 4096, 32, 128, 128), (1, 32768, 16, 128, 128), (1, 131072, 6, 128, 256)]


def operands(batch, tokens, heads, key_dim, value_dim):
    """Random operands of the gated delta rule on the GPU."""
    make = lambda *shape: torch.randn(*shape, device="cuda", dtype=torch.bfloat16)
    return dict(q=make(batch, tokens, heads, key_dim), k=make(batch, tokens, heads, key_dim),
                v=make(batch, tokens, heads, value_dim),
                g=-torch.rand(batch, tokens, heads, device="cuda"),
                beta=torch.rand(batch, tokens, heads, device="cuda", dtype=torch.bfloat16))


def median_us(call, repeats=30):
    """Median time of a call on the device's clock, recorded into a graph where that works."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        play = graph.replay
    except RuntimeError:
        torch.cuda.synchronize()
        play = call
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        play()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3)
    return statistics.median(times)


def put(bench, heads, key_dim, value_dim, **figures):
    """Prints a cell."""
    print(json.dumps(dict(bench=bench, mixer="Gated DeltaNet", heads=heads, key_dim=key_dim,
                          value_dim=value_dim, **figures)), flush=True)


@torch.inference_mode()
def main():
    """All cells."""
    for heads, key_dim, value_dim in DECODE:
        for batch in BATCHES:
            args = operands(batch, 1, heads, key_dim, value_dim)
            moved = 2 * 4 * batch * heads * key_dim * value_dim
            # As gpu_bench does: a round goes through more states than the caches hold.
            sets = max(1, min(MOST_SETS, BEYOND_CACHES // (moved // 2)))
            states = [torch.randn(batch, heads, key_dim, value_dim, device="cuda") / 16
                      for _ in range(sets)]

            def decode_all():
                for state in states:
                    fused_recurrent_gated_delta_rule(**args, initial_state=state,
                                                     output_final_state=True,
                                                     use_qk_l2norm_in_kernel=True)

            us = median_us(decode_all) / sets
            put("peer decode", heads, key_dim, value_dim, state="f32", batch=batch, us=us,
                tb_per_s=moved / us / 1e6)
    for prompts, tokens, heads, key_dim, value_dim in PREFILL:
        args = operands(prompts, tokens, heads, key_dim, value_dim)
        us = median_us(lambda: chunk_gated_delta_rule(**args, output_final_state=True,
                                                      use_qk_l2norm_in_kernel=True), 10)
        flops = 4 * prompts * tokens * heads * key_dim * value_dim
        put("peer prefill", heads, key_dim, value_dim, prompts=prompts, tokens=tokens, us=us,
            ntf=flops / us / 1e6)


if __name__ == "__main__":
    main()
