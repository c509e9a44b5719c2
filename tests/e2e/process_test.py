#!/usr/bin/env python3
"""The process and its surroundings: signals, standard files, the log's file, files that change.

    python process_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import contextlib
import datetime
import json
import os
import re
import resource
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import unittest

import harness
from harness import (HTTP2_PREFACE, Oracle, Server, body_of, eventually, get, post, speaks_grpc,
                     status_of)


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
        """Although a worker is busy with something that takes it seconds."""
        grammar = 'root ::= (("a"{0,40}){0,40}){0,40}'
        loops = "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}"
        messages = [{"role": "user", "content": "x" * 1000000}]
        for path, body in (
                ("/tokenize", {"prompt": "a" * (24 << 20)}),
                ("/v1/completions", {"prompt": "x", "structured_outputs": {"grammar": grammar}}),
                ("/v1/chat/completions", {"messages": messages, "chat_template": loops})):
            with self.subTest(path=path):
                server = Server("--allow-chat-template")
                with server.connect() as connection:
                    connection.sendall(post(body, path=path))
                    server.process.send_signal(signal.SIGTERM)
                    server.log_lines("drain")
                    server.process.send_signal(signal.SIGTERM)
                    start = time.monotonic()
                    server.process.wait(harness.PATIENCE)
                    self.assertLess(time.monotonic() - start, 60 if harness.SANITIZED else 5)
                server.close()


class Descriptors(unittest.TestCase):
    def test_both_ports_hear_again(self):
        """More connections than file descriptors come over each port; then there are fewer."""
        with Server(wrapper=("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh")) as server:
            self.assertRegex("".join(server.log), "at most 96 connections over HTTP and 32 over gRPC")
            oracle = Oracle(server)
            self.assertTrue(speaks_grpc(server.grpc_address))
            crowd = []
            for _ in range(300):
                crowd.append(socket.create_connection(server.address))
                crowd.append(socket.create_connection(server.grpc_address))
                crowd[-1].sendall(HTTP2_PREFACE)
            for connection in crowd:
                connection.close()
            oracle.check(most_mib=64)

    def test_a_deaf_port_is_not_ready(self):
        """Readiness is that of both ports: it ends when one cannot accept, and comes back."""
        with Server() as server, server.connect() as probe:
            oracle = Oracle(server)

            def ready():
                probe.sendall(get("/ready"))
                reply = probe.recv(65536)
                return status_of(reply), json.loads(body_of(reply))

            self.assertEqual(ready()[0], 200)
            limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
            for address in (server.address, server.grpc_address):
                socket.create_connection(address).close()
            for port in ("http", "grpc"):
                server.log_lines("port_deaf port=%s error=" % port)
            status, reply = ready()
            self.assertEqual((status, reply["status"], reply["deaf_ports"]),
                             (503, "not_ready", ["grpc", "http"]))
            server.log_lines("overload resource=descriptors .*measure=end_largest")
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
            for port in ("http", "grpc"):
                server.log_lines("port_accepts_again port=%s" % port)
            server.log_lines("overload resource=descriptors .*measure=none before=end_largest")
            self.assertEqual(ready()[0], 200)
            self.assertGreaterEqual(server.metric('deltaserve_deaf_ports_total{port="http"}'), 1)
            oracle.check(most_mib=32)

    def test_scarce_descriptors(self):
        """Whoever holds the descriptors, idle connections end at 85 %, new ones at 90 %."""
        with Server() as server:
            own = len(os.listdir("/proc/%d/fd" % server.process.pid))
            oracle = Oracle(server)
            limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)

            def in_use():
                return len(os.listdir("/proc/%d/fd" % server.process.pid))

            def leave_room(least, share, measure):
                eventually(lambda: in_use() >= least, lambda: "%d are open" % in_use())
                resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE,
                                 (own + int((in_use() - own) / share), limits[1]))
                server.log_lines("overload resource=descriptors .*measure=%s " % measure)

            with contextlib.ExitStack() as crowd:
                before = in_use()
                idle = [crowd.enter_context(server.connect()) for _ in range(100)]
                leave_room(before + 100, 0.87, "trim_caches")
                for connection in idle[:50]:
                    self.assertEqual(connection.recv(1), b"")
                idle[-1].sendall(get("/health"))
                self.assertEqual(status_of(idle[-1].recv(65536)), 200)
            server.log_lines("overload resource=descriptors .*measure=none before=trim_caches")
            eventually(lambda: in_use() <= before, lambda: "%d are open" % in_use())
            with contextlib.ExitStack() as crowd:
                before = in_use()
                for _ in range(100):  # these are not idle
                    crowd.enter_context(server.connect()).sendall(b"GET /health HTTP/1.1\r\n")
                leave_room(before + 100, 0.91, "refuse_new")
                with server.connect() as refused:
                    self.assertEqual(status_of(refused.recv(65536)), 503)
                self.assertFalse(speaks_grpc(server.grpc_address))
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
            server.log_lines("overload resource=descriptors .*measure=none before=refuse_new")
            for measure in ("trim_caches", "refuse_new"):
                self.assertEqual(server.metric(
                    'deltaserve_overload_actions_total{resource="descriptors",measure="%s"}'
                    % measure), 1)
            oracle.check(most_mib=32)

    def test_few_descriptors_beside_its_own(self):
        """If the server needs most of its descriptors itself, measures end with their cause."""
        with Server() as server:
            oracle = Oracle(server)
            limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
            own = len(os.listdir("/proc/%d/fd" % server.process.pid))
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (own + 4, limits[1]))
            crowd = [socket.create_connection(server.address) for _ in range(12)]
            server.log_lines("overload resource=descriptors .*measure=(refuse_new|end_largest)")
            for connection in crowd:
                connection.close()
            eventually(lambda: self.measures(server)["descriptors"] == "none", lambda: self.measures(server))
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
            oracle.check(most_mib=32)

    def test_few_descriptors(self):
        """With a hundred of them a crowd over both ports leaves no measure behind."""
        with Server(wrapper=("sh", "-c", 'ulimit -n 100 && exec "$@"', "sh")) as server:
            oracle = Oracle(server)
            crowd = []
            for _ in range(60):
                crowd.append(socket.create_connection(server.address))
                crowd.append(socket.create_connection(server.grpc_address))
            server.log_lines("overload resource=http_connections .*measure=")
            for connection in crowd:
                connection.close()
            eventually(lambda: set(self.measures(server).values()) == {"none"}, lambda: self.measures(server))
            oracle.check(most_mib=32)

    @staticmethod
    def measures(server):
        """The last measure of each resource that had one."""
        found = [re.search(r" overload resource=(\S+) .*measure=(\S+)", line) for line in list(server.log)]
        return dict(match.groups() for match in found if match)

    def test_a_full_port_shuts_out_nobody_of_the_other(self):
        """Two addresses take all places of gRPC; over HTTP nothing changes."""
        with Server(wrapper=("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh")) as server:
            oracle = Oracle(server)
            port = server.grpc_address[1]
            crowd = []
            for host in ("127.0.0.2", "127.0.0.3"):
                for _ in range(16):
                    crowd.append(socket.create_connection(("127.0.0.1", port), source_address=(host, 0)))
                    crowd[-1].sendall(HTTP2_PREFACE)
            server.log_lines("overload resource=grpc_connections .*measure=(refuse_new|end_largest)")
            for _ in range(3):
                self.assertEqual(server.get("/ready")[0], 200)
            self.assertEqual(server.request("/tokenize", {"prompt": "a " * (1 << 20)})[0], 200)
            for connection in crowd:
                connection.close()
            oracle.check(most_mib=96)

    def test_idle_connections_make_room(self):
        """Connections of several addresses that wait for their next request are closed in time."""
        with Server(wrapper=("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh")) as server:
            oracle = Oracle(server)
            crowd = []
            for host in range(2, 5):
                for _ in range(29):
                    crowd.append(socket.create_connection(
                        server.address, source_address=("127.0.0.%d" % host, 0)))
            server.log_lines("overload resource=http_connections .*measure=(trim_caches|refuse_new)")
            # The oldest are gone, and others are still taken.
            self.assertEqual(crowd[0].recv(1), b"")
            eventually(lambda: self.measures(server)["http_connections"] == "none", lambda: self.measures(server))
            oracle.check(most_mib=64)
            for connection in crowd:
                connection.close()


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
