#!/usr/bin/env python3
"""Keys, foreign pages, TLS, and the page at "/".

    python access_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import tempfile
import unittest
import warnings

import openai

import harness
from harness import Server, WithServer, body_of, eventually, get, post, status_of

class Keys(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.file = tempfile.NamedTemporaryFile("w")
        cls.addClassCleanup(cls.file.close)
        cls.file.write("# two keys\nfirst-key\n\nsecond-key\n")
        cls.file.flush()
        cls.server = Server("--api-key-file", cls.file.name, key="second-key")
        cls.addClassCleanup(cls.server.__exit__)

    def test_keys(self):
        self.assertTrue(self.server.complete(max_tokens=1).choices)
        for key in ("first", "", "first-key2", "First-Key"):
            with self.assertRaises(openai.AuthenticationError) as caught:
                openai.OpenAI(base_url=self.server.url + "/v1", api_key=key or "none",
                              max_retries=0).models.list()
            self.assertEqual(caught.exception.code, "invalid_api_key")
            self.assertEqual(caught.exception.response.headers["WWW-Authenticate"], "Bearer")
            self.assertIn("x-request-id", caught.exception.response.headers)

    def test_every_route_but_three_needs_one(self):
        for path in ("/v1/models", "/v1/models/x", "/metrics", "/nothing"):
            self.assertEqual(status_of(self.server.raw(get(path, "Connection: close\r\n"))), 401)
        for path in ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"):
            reply = self.server.raw(post({}, "Connection: close\r\n", path=path))
            self.assertEqual(status_of(reply), 401)
        for path in ("/", "/health", "/ready"):
            self.assertEqual(status_of(self.server.raw(get(path, "Connection: close\r\n"))), 200)

    def test_a_body_is_not_read_without_a_key(self):
        head = (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000000\r\n"
                b"Expect: 100-continue\r\n\r\n")
        with self.server.connect() as connection:
            connection.sendall(head)
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 401"))

    def test_a_connection_survives_a_small_refusal(self):
        wrong = post({"prompt": "x"})
        right = post({"prompt": "x", "max_tokens": 1},
                     "Authorization: bearer first-key\r\nConnection: close\r\n")
        reply = self.server.raw(wrong + right)
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", reply), [b"401", b"200"])

    def test_keys_are_not_logged(self):
        self.server.raw(get("/v1/models", "Authorization: Bearer guess-1\r\n"
                                          "Connection: close\r\n"))
        self.server.log_lines("status=401")
        self.assertNotRegex("".join(self.server.log), "guess-1|second-key")

    def test_bad_files(self):
        for text in ("", "# nothing\n", "more than two words\n", "key one\nkey two\n"):
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(text)
                file.flush()
                with self.assertRaisesRegex(RuntimeError, os.path.basename(file.name)):
                    Server("--api-key-file", file.name)


class ForeignPages(unittest.TestCase):
    def ask(self, server, origin, method="GET", more=""):
        return server.raw(f"{method} /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n{more}"
                          "Connection: close\r\n\r\n".encode())

    def test_off_by_default(self):
        with Server() as server:
            for method in ("GET", "OPTIONS"):
                reply = self.ask(server, "https://a.example", method)
                self.assertEqual(status_of(reply), 403)
                self.assertIn(b"https://a.example", reply)
                self.assertNotIn(b"Access-Control", reply)
            # A form of a page needs no preflight; neither does curl, which is no page.
            form = post({"prompt": "x", "max_tokens": 1}, "Connection: close\r\n").replace(
                b"application/json", b"text/plain")
            foreign = form.replace(b"Connection:", b"Origin: null\r\nConnection:")
            self.assertEqual(status_of(server.raw(form)), 200)
            self.assertEqual(status_of(server.raw(foreign)), 403)
            own = b"Origin: http://localhost\r\nConnection:"
            self.assertEqual(status_of(server.raw(form.replace(b"Connection:", own))), 200)
            for first, second in (("http://localhost", "https://a.example"),
                                  ("https://a.example", "http://localhost")):
                reply = self.ask(server, first, more="Origin: %s\r\n" % second)
                self.assertEqual(status_of(reply), 403)

    def test_a_list(self):
        with Server("--cors-origin", "https://a.example", "--cors-origin",
                    "http://localhost:3000") as server:
            reply = self.ask(server, "https://a.example")
            self.assertIn(b"\r\nAccess-Control-Allow-Origin: https://a.example\r\n", reply)
            self.assertIn(b"\r\nVary: Origin\r\n", reply)
            for other in ("https://b.example", "null", "https://a.example.evil"):
                self.assertEqual(status_of(self.ask(server, other)), 403)
            reply = self.ask(server, "http://localhost:3000", "OPTIONS",
                             "Access-Control-Request-Method: POST\r\n")
            self.assertEqual((status_of(reply), body_of(reply)), (204, b""))
            self.assertIn(b"Access-Control-Allow-Headers: *, Authorization", reply)
            # Streams and errors, too.
            reply = server.raw(post({"prompt": "x", "max_tokens": 1, "stream": True},
                                    "Origin: https://a.example\r\nConnection: close\r\n"))
            self.assertIn(b"Allow-Origin: https://a.example", reply)

    def test_all(self):
        with Server("--cors-origin", "*") as server:
            self.assertIn(b"Allow-Origin: *\r\n", self.ask(server, "https://b.example"))


class Names(unittest.TestCase):
    def status(self, server, host, version="1.1"):
        head = f"GET /health HTTP/{version}\r\n"
        head += "" if host is None else f"Host: {host}\r\n"
        return status_of(server.raw((head + "Connection: close\r\n\r\n").encode()))

    def test_the_loopback_has_only_its_own(self):
        with Server() as server:
            for host in ("localhost", "LOCALHOST:99", "127.0.0.1:8080", "127.9.9.9", "[::1]:1"):
                self.assertEqual(self.status(server, host), 200, host)
            for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""):
                self.assertEqual(self.status(server, host), 403, host)
            self.assertEqual(self.status(server, None, "1.0"), 200)
            self.assertEqual(self.status(server, None), 400)

    def test_a_target_with_a_name(self):
        """The name in the target counts, whatever the Host header says (RFC 9112, 3.2.2)."""
        with Server() as server:
            for target, expected in (
                    ("http://localhost/health", 200), ("http://127.0.0.1:80/health", 200),
                    ("http://evil.example/health", 403), ("HTTPS://evil.example?x", 403),
                    ("http://localhost@evil.example/health", 403),
                    ("http://localhost:x@evil.example/health", 403)):
                for host in ("Host: localhost\r\n", ""):
                    reply = server.raw(f"GET {target} HTTP/1.{1 if host else 0}\r\n{host}"
                                       "Connection: close\r\n\r\n".encode())
                    self.assertEqual(status_of(reply), expected, target)
            page = ("GET http://127.0.0.1/health HTTP/1.1\r\nHost: localhost\r\n"
                    "Origin: http://%s\r\nConnection: close\r\n\r\n")
            self.assertEqual(status_of(server.raw((page % "127.0.0.1").encode())), 200)
            self.assertEqual(status_of(server.raw((page % "localhost").encode())), 403)

    def test_more_names(self):
        with Server("--allowed-host", "api.example", "--allowed-host", "[fd00::1]") as server:
            for host in ("api.example", "Api.Example:443", "[fd00::1]:80", "localhost"):
                self.assertEqual(self.status(server, host), 200, host)
            self.assertEqual(self.status(server, "evil.example"), 403)
        with self.assertRaisesRegex(RuntimeError, "--allowed-host"):
            Server("--allowed-host", "http://api.example")

    def test_keys_take_any_name(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("a-key\n")
            file.flush()
            with Server("--api-key-file", file.name, key="a-key") as server:
                self.assertEqual(self.status(server, "proxy.example"), 200)


class Page(WithServer):
    def test_files_of_the_page(self):
        folder = os.path.join(os.path.dirname(__file__), "../../server/page")
        for path, name, content_type in (("/", "index.html", "text/html"),
                                         ("/page/style.css", "style.css", "text/css"),
                                         ("/page/main.js", "main.js", "text/javascript")):
            status, body, headers = self.server.request(path)
            self.assertEqual(status, 200)
            self.assertEqual(headers["Content-Type"], content_type + "; charset=utf-8")
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(headers["Cache-Control"], "no-cache")
            policy = headers["Content-Security-Policy"]
            self.assertTrue(policy.startswith("default-src 'self';"))
            self.assertNotIn("unsafe", policy)
            with open(os.path.join(folder, name), "rb") as file:
                self.assertEqual(body, file.read())
        self.assertEqual(self.server.request("/page/nothing.js")[0], 404)
        self.assertEqual(self.server.request("/page/main.js", {})[0], 405)


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.certificate = os.path.join(cls.folder.name, "cert.pem")
        cls.private_key = os.path.join(cls.folder.name, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", cls.private_key, "-out", cls.certificate],
                       check=True, capture_output=True)
        cls.server = Server("--tls-cert", cls.certificate, "--tls-key", cls.private_key)
        cls.addClassCleanup(cls.server.__exit__)
        cls.trust = ssl.create_default_context(cafile=cls.certificate)

    def connect(self):
        return self.trust.wrap_socket(self.server.connect(), server_hostname="127.0.0.1")

    def test_requests_on_one_connection(self):
        connection = http.client.HTTPSConnection(*self.server.address, context=self.trust)
        for stream in (False, True, False):
            connection.request("POST", "/v1/completions", json.dumps(
                {"prompt": "Once", "max_tokens": 4, "stream": stream}))
            reply = connection.getresponse()
            body = reply.read()
            self.assertEqual(reply.status, 200)
            self.assertEqual(body.endswith(b"data: [DONE]\n\n"), stream)
        connection.close()

    def test_a_large_body(self):
        connection = http.client.HTTPSConnection(*self.server.address, context=self.trust)
        connection.request("POST", "/tokenize", json.dumps({"prompt": "x " * (2 << 20)}))
        reply = connection.getresponse()
        self.assertEqual(reply.status, 200)
        self.assertGreater(json.loads(reply.read())["count"], 1 << 20)
        connection.close()

    def test_goodbye(self):
        with self.connect() as connection:
            self.assertIsNone(connection.selected_alpn_protocol())
            connection.sendall(get("/health", "Connection: close\r\n"))
            received = b""
            # An end without close_notify would be an error here.
            while piece := connection.recv(65536):
                received += piece
        self.assertEqual(status_of(received), 200)

    def test_disconnect_frees_the_slot(self):
        with self.connect() as connection:
            connection.sendall(post({"prompt": "x", "max_tokens": 1 << 24, "ignore_eos": True,
                                     "stream": True}))
            while b"data: " not in connection.recv(65536):
                pass

        def idle():
            with self.connect() as connection:
                connection.sendall(get("/ready", "Connection: close\r\n"))
                received = b""
                while piece := connection.recv(65536):
                    received += piece
            return b'"running":0' in received

        eventually(idle, lambda: "the slot is not free")

    def test_what_is_no_tls(self):
        for data in (get("/health"), b"\0" * 100, b"\x16\x03\x01"):
            with self.server.connect() as connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                self.assertNotIn(b"HTTP/1.1", connection.recv(1000))
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises(OSError), self.server.connect() as connection:
            old.wrap_socket(connection)

    def test_files(self):
        with self.assertRaisesRegex(RuntimeError, "--tls-key"):
            Server("--tls-cert", self.certificate, "--tls-key", self.certificate)
        with self.assertRaisesRegex(RuntimeError, "--tls-cert"):
            Server("--tls-cert", "/nonexistent", "--tls-key", self.private_key)

if __name__ == "__main__":
    harness.main()
