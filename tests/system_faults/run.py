#!/usr/bin/env python3
"""Calls to the system fail in turn, once, while a model is loaded, a request is served, and a stream
is read. Loading may fail, with one sentence; a request may fail, alone; afterwards there is service.

    run.py --binary BINARY --model DIR --library libfail_once.so [--sample N]

`--sample N`: N calls of each kind, spread evenly, the first and the last among them; 0: all calls.
"""

import argparse
import json
import mmap
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

# These are the names of fail_once.cc.
KINDS = {"mmap": 1, "read": 2, "write": 3, "accept": 4, "thread": 5, "allocate": 6}
PATIENCE = 120  # seconds for what must happen, however busy the machine is


class Control:
    """The file that is shared with the library."""

    def __init__(self):
        self.file = tempfile.NamedTemporaryFile()
        self.file.write(bytes(8 * (3 + len(KINDS) + 1)))
        self.file.flush()
        self.memory = mmap.mmap(self.file.fileno(), 0)

    def number(self, index):
        return struct.unpack_from("<q", self.memory, 8 * index)[0]

    def set(self, kind, call):
        """The call of that number fails, counted from now; kind 0: none."""
        struct.pack_into("<qqq", self.memory, 0, 0, call, 0)
        for index in range(len(KINDS) + 1):
            struct.pack_into("<q", self.memory, 8 * (3 + index), 0)
        struct.pack_into("<q", self.memory, 0, kind)

    def calls(self, kind):
        return self.number(3 + kind)

    @property
    def failed(self):
        return self.number(2)


class Server:
    """A process that may end while it loads."""

    def __init__(self, options, control):
        environment = {**os.environ, "LD_PRELOAD": options.library,
                       "FAIL_ONCE_CONTROL": control.file.name}
        self.process = subprocess.Popen(
            [options.binary, "serve", "--model", options.model, "--http-port", "0", "--threads", "1",
             "--max-sequences", "2", "--prefix-cache-memory", "1MiB"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace")
        self.log = []
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()
        self.address = self.grpc_address = None
        for line in self.process.stdout:
            if found := re.match(r"gRPC on ([0-9.]+):(\d+)", line):
                self.grpc_address = (found[1], int(found[2]))
            if found := re.match(r"listening on http://([^:]+):(\d+)", line):
                self.address = (found[1], int(found[2]))
                return
        self.process.wait()
        self.reader.join()

    def read_log(self):
        for line in self.process.stderr:
            self.log.append(line)

    def ask(self, path, body=None):
        """The bytes of the reply, perhaps none."""
        data = b"" if body is None else json.dumps(body).encode()
        head = "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (
            "GET" if body is None else "POST", path, len(data))
        try:
            with socket.create_connection(self.address, timeout=PATIENCE) as connection:
                connection.sendall(head.encode() + data)
                reply = b""
                while piece := connection.recv(65536):
                    reply += piece
                return reply
        except OSError:
            return b""

    def speaks_grpc(self):
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
        try:
            with socket.create_connection(self.grpc_address, timeout=PATIENCE) as connection:
                connection.sendall(preface)
                return len(connection.recv(9)) == 9
        except OSError:
            return False

    def end(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.reader.join()


# Bodies from 64 KiB on are read in large allocations.
LARGE = {"prompt": "once upon a time " * 8000}
SMALL = {"prompt": "Once", "max_tokens": 2}


def serve(server):
    server.ask("/v1/completions", SMALL)
    server.ask("/tokenize", LARGE)
    server.ask("/metrics")
    server.speaks_grpc()


def stream(server):
    server.ask("/v1/completions", {**SMALL, "max_tokens": 40, "ignore_eos": True, "stream": True,
                                   "logprobs": 5})


PHASES = {"serve": serve, "stream": stream}


def chosen(calls, sample):
    """The numbers of the calls that fail."""
    if sample == 0 or calls <= sample:
        return range(1, calls + 1)
    return sorted({1 + round(i * (calls - 1) / max(sample - 1, 1)) for i in range(sample)})


def served_again(server):
    """Whether both ports and a small request are as before, within the patience."""
    start = time.monotonic()
    while time.monotonic() - start < PATIENCE and server.process.poll() is None:
        if (b" 200 " in server.ask("/v1/completions", SMALL)[:20] and server.speaks_grpc()
                and b" 200 " in server.ask("/ready")[:20]):
            return True
        time.sleep(0.01)
    return False


def load_with_faults(options, control, faults):
    for name, kind in KINDS.items():
        control.set(0, 0)
        server = Server(options, control)
        calls = control.calls(kind)
        server.end()
        for call in chosen(calls, options.sample):
            control.set(kind, call)
            server = Server(options, control)
            place = "load, %s %d of %d" % (name, call, calls)
            if server.address is not None:
                if not served_again(server):
                    faults.append("%s: no service: %s" % (place, server.log[-3:]))
                server.end()
            elif server.process.returncode != 1 or len(server.log) != 1:
                faults.append("%s: exit code %d: %s"
                              % (place, server.process.returncode, server.log[-3:]))
        print("load: %s: %d calls" % (name, calls), flush=True)


def serve_with_faults(options, control, phase, faults):
    control.set(0, 0)
    server = Server(options, control)
    PHASES[phase](server)  # whatever is made for the first request is there
    for name, kind in KINDS.items():
        control.set(0, 0)
        PHASES[phase](server)
        calls = control.calls(kind)
        for call in chosen(calls, options.sample):
            control.set(kind, call)
            PHASES[phase](server)
            control.set(0, 0)
            if not served_again(server):
                faults.append("%s, %s %d of %d: no service, exit code %s: %s"
                              % (phase, name, call, calls, server.process.poll(), server.log[-3:]))
                server.process.kill()
                server = Server(options, control)
        print("%s: %s: %d calls" % (phase, name, calls), flush=True)
    server.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("binary", "model", "library"):
        parser.add_argument("--" + name, required=True, type=os.path.abspath)
    parser.add_argument("--sample", type=int, default=0)
    options = parser.parse_args()
    control = Control()
    faults = []
    load_with_faults(options, control, faults)
    for phase in PHASES:
        serve_with_faults(options, control, phase, faults)
    for fault in faults:
        print("FAULT:", fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
