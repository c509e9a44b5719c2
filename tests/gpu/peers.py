#!/usr/bin/env python3
"""Times flash-linear-attention's kernels at shapes of gpu_bench, one line of JSON a cell.

    tests/gpu/peers.py [--decode HEADSxKEYxVALUE:BATCH,...] [--prefill PROMPTSxTOKENSxHEADSxKEYxVALUE,...]

Each kernel is compiled when it first runs, which takes a minute and a half for all of the default shapes. Gated
DeltaNet stands for Q-Delta, too: flash-linear-attention has no Q-Delta, and the term with lambda costs no byte and
next to no operation.
"""

import argparse
import json
import statistics

missing = ""
try:
    import torch
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule, fused_recurrent_gated_delta_rule
except ImportError as error:
    missing = str(error)

DECODE = "6x128x256:1,6x128x256:32,6x128x256:128,6x128x256:512,32x128x128:1,32x128x128:128"
PREFILL = "8x4096x32x128x128,1x32768x16x128x128,1x131072x6x128x256,1x131072x6x256x512"
BEYOND_CACHES = 512 << 20  # bytes
MOST_SETS = 64


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


def sizes(text, count):
    """The numbers of "2x3" or "2x3:4", which must be so many."""
    numbers = [int(number) for number in text.replace(":", "x").split("x")]
    if len(numbers) != count or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text}: {count} numbers are needed")
    return numbers


def shapes(count):
    """A type of arguments: shapes of so many numbers, with commas between them."""
    return lambda text: [sizes(one, count) for one in text.split(",") if one]


def decode(heads, key_dim, value_dim, batch):
    """One token of each of `batch` sequences. As gpu_bench does, a round goes through more states than caches hold."""
    args = operands(batch, 1, heads, key_dim, value_dim)
    moved = 2 * 4 * batch * heads * key_dim * value_dim
    sets = max(1, min(MOST_SETS, BEYOND_CACHES // (moved // 2)))
    states = [torch.randn(batch, heads, key_dim, value_dim, device="cuda") / 16 for _ in range(sets)]

    def decode_all():
        for state in states:
            fused_recurrent_gated_delta_rule(**args, initial_state=state, output_final_state=True,
                                             use_qk_l2norm_in_kernel=True)

    us = median_us(decode_all) / sets
    put("peer decode", heads, key_dim, value_dim, state="f32", batch=batch, us=us, tb_per_s=moved / us / 1e6)


def prefill(prompts, tokens, heads, key_dim, value_dim):
    """So many prompts of so many tokens."""
    args = operands(prompts, tokens, heads, key_dim, value_dim)
    us = median_us(lambda: chunk_gated_delta_rule(**args, output_final_state=True, use_qk_l2norm_in_kernel=True), 10)
    flops = 4 * prompts * tokens * heads * key_dim * value_dim
    put("peer prefill", heads, key_dim, value_dim, prompts=prompts, tokens=tokens, us=us, ntf=flops / us / 1e6)


def main():
    """The cells of all shapes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decode", type=shapes(4), default=DECODE, help=f"default: {DECODE}")
    parser.add_argument("--prefill", type=shapes(5), default=PREFILL, help=f"default: {PREFILL}")
    args = parser.parse_args()
    if missing:
        print(f"absent: {missing}")
        return
    with torch.inference_mode():
        for shape in args.decode:
            decode(*shape)
        for shape in args.prefill:
            prefill(*shape)


if __name__ == "__main__":
    main()
