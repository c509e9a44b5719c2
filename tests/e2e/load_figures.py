#!/usr/bin/env python3
"""The server under load, over HTTP, on one machine with its clients.

    python load_figures.py streams|refusals|disconnects|overload \\
        --binary build/release/bin/deltaserve --model models/bundled [options]

streams      512 streams at once: how evenly their tokens come, beside the engine's own steps.
refusals     A full queue: how long a request waits for its 429.
disconnects  From a client's close to its slot being free, beside seven streams that go on.
overload     Ten times the requests that can be served, for minutes: what is still served.
"""

import argparse
import bisect
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import time

import harness
from harness import Server, post


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def spread(values, unit="ms"):
    return "median %.2f, p99 %.2f, most %.2f %s of %d" % (
        percentile(values, 50), percentile(values, 99), max(values), unit, len(values))


def report(name, text):
    print("%s: %s (load average %.1f)" % (name, text, os.getloadavg()[0]), flush=True)


def streaming_body(tokens, seed=0):
    return {"prompt": harness.PROMPT, "max_tokens": tokens, "ignore_eos": True, "stream": True,
            "seed": seed, "return_token_ids": True}


def step_ms(server, seconds=1.0):
    """The mean step of what runs now."""
    names = ("deltaserve_step_busy_seconds_total", "deltaserve_steps_total")
    before = [server.metric(name) for name in names]
    time.sleep(seconds)
    busy, steps = (server.metric(name) - old for name, old in zip(names, before))
    return 1e3 * busy / max(steps, 1)


# ---- streams

def read_streams(server, options):
    """Returns, for each stream, the times of its events; one thread, and nothing but reading while it lasts."""
    selector = selectors.DefaultSelector()
    arrivals = {}
    for number in range(options.streams):
        connection = server.connect()
        connection.sendall(post(streaming_body(options.tokens, number)))
        connection.setblocking(False)
        arrivals[connection] = []
        selector.register(connection, selectors.EVENT_READ)
    running = len(arrivals)
    while running:
        for key, _ in selector.select():
            data = key.fileobj.recv(65536)
            now = time.monotonic()
            events = data.count(b"data: {")
            arrivals[key.fileobj].extend([now] * events)
            if not data or b"data: [DONE]" in data:
                running -= 1
                selector.unregister(key.fileobj)
    for connection in arrivals:
        connection.close()
    return list(arrivals.values())


def steps_of(arrivals):
    """Returns, for each step, the times of its events in all streams, while all of them run."""
    begin = max(times[0] for times in arrivals)
    end = min(times[-1] for times in arrivals)
    every = sorted(t for times in arrivals for t in times if begin < t < begin + (end - begin) / 10)
    # The longest silence of the first tenth lies between two steps.
    quiet = max(range(1, len(every)), key=lambda i: every[i] - every[i - 1])
    first = (every[quiet] + every[quiet - 1]) / 2
    rows = [times[bisect.bisect(times, first):bisect.bisect(times, end)] for times in arrivals]
    count = min(len(row) for row in rows)
    return [sorted(row[k] for row in rows) for k in range(count)], [row[:count] for row in rows]


def streams(options):
    with Server("--max-sequences", str(options.streams)) as server:
        arrivals = read_streams(server, options)
    steps, rows = steps_of(arrivals)
    ends = [statistics.median(times) for times in steps]
    lengths = [1e3 * (b - a) for a, b in zip(ends, ends[1:])]
    jitter = [abs(1e3 * (row[k + 1] - row[k]) - lengths[k])
              for row in rows for k in range(len(lengths))]
    gaps = [1e3 * (row[k + 1] - row[k]) for row in rows for k in range(len(lengths))]
    report("%d streams" % options.streams, "step %s" % spread(lengths))
    report("%d streams" % options.streams, "gaps between tokens %s" % spread(gaps))
    report("%d streams" % options.streams, "gap beside the step's length %s" % spread(jitter))
    report("%d streams" % options.streams, "first to last event of a step %s" % spread(
        [1e3 * (times[-1] - times[0]) for times in steps]))


# ---- refusals

def refusals(options):
    slots, queue = 8, 8
    with Server("--max-sequences", str(slots), "--max-queue", str(queue)) as server:
        held = [server.connect() for _ in range(slots + queue)]
        for connection in held:
            connection.sendall(post({**streaming_body(1 << 20), "stream": False}))
        while server.get("/ready")[1]["waiting"] < queue:
            time.sleep(0.01)
        report("refusals", "step %.2f ms at batch %d" % (step_ms(server), slots))
        body = {"messages": [{"role": "user", "content": "word " * 200}]}
        for name, options_of in (("on a kept connection", False), ("on a new connection", True)):
            report("429 " + name, spread(refuse(server, body, options_of)))
        for connection in held:
            connection.close()


def refuse(server, body, anew):
    request, latencies, connection = post(body, path="/v1/chat/completions"), [], None
    for _ in range(1000):
        start = time.monotonic()
        connection = connection or server.connect()
        connection.sendall(request)
        reply = connection.recv(65536)
        latencies.append(1e3 * (time.monotonic() - start))
        assert reply.startswith(b"HTTP/1.1 429") and b"\r\nRetry-After: " in reply, reply
        if anew:
            connection.close()
            connection = None
        time.sleep(0.002)
    return latencies


# ---- disconnects

def running(server):
    return server.get("/ready")[1]["running"]


def disconnects(options):
    others = 7
    with Server("--max-sequences", "8") as server:
        held = [server.connect() for _ in range(others)]
        for connection in held:
            connection.sendall(post({**streaming_body(1 << 20), "stream": False}))
        while running(server) < others:
            time.sleep(0.01)
        report("disconnects", "step %.2f ms" % step_ms(server))
        probe = server.connect()
        for stream in (True, False):
            latencies = []
            for _ in range(200):
                latencies.append(free_after_close(server, probe, others, stream))
            report("slot free after a close, " + ("stream" if stream else "no stream"),
                   spread(latencies))
        for connection in held:
            connection.close()


def free_after_close(server, probe, others, stream):
    connection = server.connect()
    connection.sendall(post({**streaming_body(1 << 20), "stream": stream}))
    while probe_running(probe) <= others:
        time.sleep(0.001)
    time.sleep(0.02)
    start = time.monotonic()
    connection.close()
    while probe_running(probe) > others:
        pass
    return 1e3 * (time.monotonic() - start)


def probe_running(probe):
    """On one connection, so that it is fast."""
    probe.sendall(harness.get("/ready"))
    reply = probe.recv(65536)
    return json.loads(harness.body_of(reply))["running"]


# ---- overload

def bench(server, *arguments):
    command = [harness.BINARY, "bench-serve", "--url", server.url, "--json", "-", "--vocab", "4096",
               "--prompt", "32", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout)


def overload(options):
    slots = 32
    with Server("--max-sequences", str(slots), "--max-queue", "64",
                "--log-level", "warning") as server:
        generate = ("--generate", "256")
        capacity = []
        for _ in range(3):
            result = bench(server, "--clients", str(slots), "--seconds", "20", *generate)
            capacity.append(result["output_tokens_per_second"])
        peak = statistics.median(capacity)
        report("capacity", "%.0f tokens/s (%s)" % (peak, ", ".join("%.0f" % c for c in capacity)))
        rate = 10 * peak / 256
        result = bench(server, "--rate", "%.1f" % rate, "--clients", "2048", "--seconds",
                       str(options.seconds), *generate)
        good = result["output_tokens_per_second"]
        report("overload", "%.1f requests/s offered for %d s; %s; goodput %.0f tokens/s, %.1f %%"
               % (rate, options.seconds, result["requests"], good, 100 * good / peak))
        # Nothing is left of it.
        after = bench(server, "--clients", str(slots), "--seconds", "20", *generate)
        report("after", "%.0f tokens/s" % after["output_tokens_per_second"])


def main():
    modes = {"streams": streams, "refusals": refusals, "disconnects": disconnects,
             "overload": overload}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=modes)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--streams", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=200, help="of each stream")
    parser.add_argument("--seconds", type=int, default=300, help="of overload")
    options = parser.parse_args()
    harness.BINARY = os.path.abspath(options.binary)
    harness.MODEL = os.path.abspath(options.model)
    modes[options.mode](options)


if __name__ == "__main__":
    sys.exit(main())
