#!/usr/bin/env python3
"""Ten times the requests that can be served, with and without a tenth of the clients hostile: what
is still served, and how soon. The server has one core, all clients have another.

    python hostile_overload.py --binary build/release/bin/deltaserve --model models/bundled \\
        [--seconds 300] [--clients 200] [--attack NAME ...]

It needs the environment of tests/e2e. The hostile do one attack after the other, or only those named. The
exit code is 1 if the honest get less than 95 % of the goodput, or wait more than 1.5 times as long for
their first token (p99), as without the hostile; and 2 if the honest could not send in time: then the
clients' core was measured, and not the server.
"""

import argparse
import base64
import json
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
import harness
from harness import HTTP2_PREFACE, Server, post

SERVER_CORE, CLIENT_CORE = 0, 1
SLOTS = 16
KEYS = "honest-key honest\nhostile-key hostile\n"
GENERATE = 256  # tokens: so many that ten times the capacity is less than the clients' core can send
LATE = 0.05  # the share of the honest requests that may be sent late
HOSTILE_NICE = 5  # the hostile take what the honest leave of the clients' core


# ---- The attacks, one after the other, each with a connection of its own

def head(key="hostile-key"):
    return "Authorization: Bearer %s\r\nConnection: close\r\n" % key


def send(address, data, seconds=2.0):
    """Sends, and waits a while for a reply."""
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(data)
        connection.recv(1024)


def spaceless_prompt(server, _grpc, turn):
    text = (base64.b64encode(turn.randbytes(1 << 20)).decode(), "a" * (12 << 20),
            "\u6f22" * (1 << 20))[turn.randrange(3)]
    send(server, post({"prompt": text, "max_tokens": 1}, head()))


def many_grammars(server, _grpc, turn):
    # Each is another one, because the server remembers those that it has refused.
    grammar = 'root ::= (("a"{0,40}){0,40}){0,40} "%d"' % turn.randrange(1 << 30)
    send(server, post({"prompt": "x", "max_tokens": 1,
                       "structured_outputs": {"grammar": grammar}}, head()))


def unread_stream(server, _grpc, turn):
    with socket.create_connection(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(post({"prompt": "x", "max_tokens": 1 << 20, "ignore_eos": True,
                                 "stream": True, "logprobs": 20}, head()))
        time.sleep(turn.uniform(0.5, 5))


def wrong_keys(server, _grpc, _turn):
    for _ in range(20):
        send(server, post({"prompt": "x"}, head("guess")))


def disconnect(server, _grpc, turn):
    with socket.create_connection(server) as connection:
        connection.sendall(post({"prompt": [7] * turn.randrange(1, 100_000), "stream": True}, head()))
        time.sleep(turn.uniform(0, 0.05))


def dripped_head(server, _grpc, _turn):
    with socket.create_connection(server) as connection:
        for byte in b"POST /v1/comp":
            connection.sendall(bytes([byte]))
            time.sleep(0.2)


def pings(_server, grpc, _turn):
    with socket.create_connection(grpc) as connection:
        connection.sendall(HTTP2_PREFACE + (bytes((0, 0, 8, 6, 0)) + bytes(12)) * 1000)
        connection.recv(1024)


ATTACKS = {attack.__name__: attack
           for attack in (spaceless_prompt, many_grammars, unread_stream, wrong_keys, disconnect,
                          dripped_head, pings)}


def be_hostile(attacks, server, grpc, seed):
    os.sched_setaffinity(0, {CLIENT_CORE})
    os.nice(HOSTILE_NICE)
    turn = random.Random(seed)
    while True:
        try:
            turn.choice(attacks)(server, grpc, turn)
        except OSError:
            time.sleep(0.01)


# ---- The measurements of honest clients

def bench(server, *arguments):
    command = ["taskset", "-c", str(CLIENT_CORE), harness.BINARY, "bench-serve", "--url", server.url,
               "--api-key-env", "HONEST_KEY", "--json", "-", "--vocab", "4096", "--prompt", "32",
               "--generate", str(GENERATE), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "HONEST_KEY": "honest-key"})
    return json.loads(done.stdout)  # the exit code only says that some were refused


def measure(options, hostile, rate):
    """(tokens per second, p99 of the first token in seconds, share of requests that were sent late)"""
    with tempfile.NamedTemporaryFile("w") as keys:
        keys.write(KEYS)
        keys.flush()
        with Server("--threads", "1", "--max-sequences", str(SLOTS), "--max-queue", str(4 * SLOTS),
                    "--api-key-file", keys.name, "--log-level", "error", key="honest-key",
                    wrapper=("taskset", "-c", str(SERVER_CORE))) as server:
            attacks = [ATTACKS[name] for name in options.attack]
            crowd = [multiprocessing.Process(target=be_hostile, daemon=True,
                                             args=(attacks, server.address, server.grpc_address, seed))
                     for seed in range(hostile)]
            for one in crowd:
                one.start()
            try:
                result = bench(server, "--clients", str(options.clients - hostile), "--seconds",
                               str(options.seconds), *(["--rate", "%.2f" % rate] if rate else []))
            finally:
                for one in crowd:
                    one.terminate()
                    one.join()
            requests = result["requests"]
            late = requests["late_arrivals"] / max(1, requests["succeeded"] + requests["failed"])
            return (result["output_tokens_per_second"], result["time_to_first_token"]["p99"], late)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--attack", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    options = parser.parse_args()
    harness.BINARY = os.path.abspath(options.binary)
    harness.MODEL = os.path.abspath(options.model)
    probe = argparse.Namespace(clients=SLOTS, seconds=min(options.seconds, 20), attack=[])
    capacity = measure(probe, 0, None)[0]
    rate = 10 * capacity / GENERATE
    print("capacity: %.0f tokens/s; %.1f requests/s are offered" % (capacity, rate), flush=True)
    alone, first_alone, late_alone = measure(options, 0, rate)
    print("without: %.0f tokens/s, first token p99 %.3f s" % (alone, first_alone), flush=True)
    beside, first_beside, late_beside = measure(options, options.clients // 10, rate)
    print("with %d hostile: %.0f tokens/s (%.1f %%), first token p99 %.3f s (%.2fx)"
          % (options.clients // 10, beside, 100 * beside / alone, first_beside,
             first_beside / first_alone))
    if max(late_alone, late_beside) > LATE:
        print("sent late: %.1f %% without, %.1f %% with" % (100 * late_alone, 100 * late_beside))
        return 2
    return 0 if beside >= 0.95 * alone and first_beside <= 1.5 * first_alone else 1


if __name__ == "__main__":
    sys.exit(main())
