#!/usr/bin/env python3
"""The process and its surroundings: signals, standard files, the log's file, files that change.

    python process_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import datetime
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import unittest

import harness
from harness import Server, eventually


def status_with(server, key):
    return server.request("/v1/models", headers={"Authorization": "Bearer " + key})[0]


def contents(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Hangup(unittest.TestCase):
    """SIGHUP reads the key file and the certificate again and opens the log anew."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def make_certificate(self, name, days):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", str(days),
                        "-subj", "/CN=" + name, "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", self.path("key.pem"), "-out", self.path("cert.pem")],
                       check=True, capture_output=True)

    def test_keys_and_log(self):
        keys, log = self.write("keys", "old-key team\n"), self.path("log")
        with Server("--api-key-file", keys, "--log-file", log, key="old-key") as server:
            self.assertEqual(status_with(server, "new-key"), 401)
            self.write("keys", "new-key team\n")
            self.assertEqual(status_with(server, "new-key"), 401)  # not before it is told
            os.rename(log, log + ".1")
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: status_with(server, "new-key") == 200, lambda: contents(log + ".1"))
            self.assertEqual(status_with(server, "old-key"), 401)
            eventually(lambda: os.path.exists(log) and "reload" in contents(log),
                       lambda: "the log was not opened anew")
            # A file that cannot be used leaves what was in use.
            self.write("keys", "a line of too many words\n")
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: "ok=false" in contents(log), lambda: contents(log))
            self.assertEqual(status_with(server, "new-key"), 200)
            self.assertEqual(server.log, [])  # standard error has no line of the log

    def test_certificate(self):
        self.make_certificate("first", 30)
        with Server("--tls-cert", self.path("cert.pem"), "--tls-key", self.path("key.pem")) as server:
            def shown(address):
                """The certificate that a port shows."""
                trust = ssl.create_default_context()
                trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
                trust.set_alpn_protocols(["h2", "http/1.1"])
                with trust.wrap_socket(socket.create_connection(address)) as connection:
                    return connection.getpeercert(binary_form=True)

            grpc = re.search(r"gRPC on ([0-9.]+):(\d+)", server.banner)
            grpc = (grpc[1], int(grpc[2]))
            first = shown(server.address)
            self.assertEqual(shown(grpc), first)
            self.make_certificate("second", 3)
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: shown(server.address) != first, lambda: "".join(server.log))
            eventually(lambda: shown(grpc) == shown(server.address), lambda: "gRPC shows the old one")
            line = server.log_lines("certificate_expires_soon")[0]
            expiry = datetime.datetime.strptime(
                re.search(r"not_after=(\S+)", line)[1], "%Y-%m-%dT%H:%M:%SZ")
            left = expiry - datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
            self.assertLess(left, datetime.timedelta(days=3))


class Signals(unittest.TestCase):
    def test_signals_without_meaning(self):
        with Server() as server:
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGHUP):
                server.process.send_signal(number)
            self.assertEqual(server.request("/health")[0], 200)

    def test_the_second_one_ends_it_at_once(self):
        """Although a worker is busy with a text that takes it seconds."""
        server = Server()
        text = json.dumps({"prompt": "a" * (24 << 20)}).encode()
        connection = server.connect()
        connection.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                           % len(text) + text)
        server.process.send_signal(signal.SIGTERM)
        server.log_lines("drain")
        server.process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        server.process.wait(harness.PATIENCE)
        self.assertLess(time.monotonic() - start, 60 if harness.SANITIZED else 5)
        connection.close()
        server.close()


class Descriptors(unittest.TestCase):
    def test_both_ports_hear_again(self):
        """More connections than file descriptors come over each port; then there are fewer."""
        with Server(wrapper=("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh")) as server:
            self.assertRegex("".join(server.log), "at most 96 connections over HTTP and 32 over gRPC")
            grpc = re.search(r"gRPC on ([0-9.]+):(\d+)", server.banner)
            grpc = (grpc[1], int(grpc[2]))
            preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)

            def speaks_grpc():
                with socket.create_connection(grpc, timeout=harness.PATIENCE) as connection:
                    connection.sendall(preface)
                    return len(connection.recv(9)) == 9

            self.assertTrue(speaks_grpc())
            crowd = []
            for _ in range(300):
                crowd.append(socket.create_connection(server.address))
                crowd.append(socket.create_connection(grpc))
                crowd[-1].sendall(preface)
            for connection in crowd:
                connection.close()
            self.assertEqual(server.request("/ready")[0], 200)
            eventually(speaks_grpc, lambda: "gRPC does not hear")


class StandardFiles(unittest.TestCase):
    def test_closed_at_the_start(self):
        """No socket of the server gets the number of a standard file, and then its lines."""
        with tempfile.TemporaryDirectory() as folder:
            log = os.path.join(folder, "log")
            process = subprocess.Popen(
                ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", harness.BINARY, "serve", "--model",
                 harness.MODEL, "--http-port", "0", "--log-file", log, "--log-level", "debug"])
            self.addCleanup(process.wait)
            self.addCleanup(process.terminate)
            eventually(lambda: os.path.exists(log), lambda: "no log")

            def standard_files():
                return [os.readlink("/proc/%d/fd/%d" % (process.pid, number)) for number in range(3)]

            self.assertEqual(standard_files(), ["/dev/null"] * 3)


class ModelFiles(unittest.TestCase):
    def test_a_file_that_shrinks_while_it_is_read(self):
        """The process says so in one sentence, whenever that happens."""
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([harness.BINARY, "random-model", "gla-340m", "--seed", "1", "--out",
                            folder], check=True, capture_output=True)
            path = os.path.join(folder, "model.safetensors")
            with open(path, "rb") as file:
                header = struct.unpack("<Q", file.read(8))[0]
            process = subprocess.Popen([harness.BINARY, "serve", "--model", folder, "--http-port", "0"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            mapped = lambda: path in contents("/proc/%d/maps" % process.pid)
            eventually(mapped, lambda: "the file was not mapped")
            os.truncate(path, 8 + header + 4096)
            errors = process.communicate(timeout=harness.PATIENCE)[1]
            self.assertEqual(process.returncode, 1, errors)
            # It was cut before it was looked at, or behind that.
            self.assertRegex(errors, "became shorter while it was read|ends at byte [0-9]+ of the data")


if __name__ == "__main__":
    harness.main()
