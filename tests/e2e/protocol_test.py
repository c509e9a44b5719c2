"""Tests what RFC 9110 and RFC 9112 demand of a server, on raw sockets, and what the log says about it."""

import re

import harness
from harness import WithServer, body_of, status_of

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Protocol(WithServer):
    OPTIONS = ("--max-sequences", "2")

    def ask(self, line, headers="Host: localhost\r\n", before=""):
        return self.server.raw(f"{before}{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"
                               .encode())

    def allow(self, reply):
        return re.search(rb"\r\nAllow: ([^\r]*)\r\n", reply)[1].decode()

    def test_absolute_form(self):
        for target, status in (("http://127.0.0.1:1/health", 200), ("HTTP://localhost/health", 200),
                               ("https://localhost:2/health?a=b", 200), ("http://localhost", 200),
                               ("http://localhost/nowhere", 404), ("HTTP://a.example/health", 403)):
            self.assertEqual(status_of(self.ask("GET " + target)), status, target)

    def test_paths_are_compared_decoded(self):
        for path, status in (("/he%61lth", 200), ("/v1/models/bundle%64", 200),
                             ("/v1/models/a%2Fb", 404), ("/he%zzlth", 404), ("/health%", 404),
                             ("/health%00", 404)):
            self.assertEqual(status_of(self.ask("GET " + path)), status, path)
        with harness.Server("--served-model-name", "org/model") as server:
            for name in ("org%2Fmodel", "org/model", "%6Frg%2fmodel"):
                self.assertEqual(server.get("/v1/models/" + name)[1]["id"], "org/model")

    def test_empty_lines_before_a_request(self):
        for before in ("\r\n", "\r\n\r\n\r\n"):
            self.assertEqual(status_of(self.ask("GET /health", before=before)), 200)
        with self.server.connect() as connection:
            for piece in (b"\r", b"\n\r", b"\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n\r\n"):
                connection.send(piece)
            self.assertTrue(connection.recv(9999).startswith(b"HTTP/1.1 200"))
            connection.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertTrue(connection.recv(9999).startswith(b"HTTP/1.1 200"))

    def test_options_and_head(self):
        for target, methods in (("/v1/completions", "POST, OPTIONS"),
                                ("/v1/models/any", "GET, HEAD, OPTIONS"),
                                ("/health", "GET, HEAD, OPTIONS"), ("/", "GET, HEAD, OPTIONS"),
                                ("*", "GET, HEAD, POST, OPTIONS")):
            reply = self.ask("OPTIONS " + target)
            self.assertEqual((status_of(reply), body_of(reply)), (204, b""), target)
            self.assertEqual(self.allow(reply), methods)
            self.assertNotIn(b"Content-Length", reply)
        self.assertEqual(status_of(self.ask("OPTIONS /nowhere")), 404)
        for path in ("/health", "/ready", "/v1/models", "/v1/models/bundled", "/version", "/",
                     "/metrics", "/tokenizer_info", "/openapi.json"):
            reply = self.ask("HEAD " + path)
            self.assertEqual((status_of(reply), body_of(reply)), (200, b""), path)
            self.assertRegex(reply, rb"\r\nContent-Length: [1-9]")
        for method in ("GET", "HEAD", "PUT", "DELETE", "TRACE"):
            reply = self.ask(method + " /v1/completions")
            self.assertEqual((status_of(reply), self.allow(reply)), (405, "POST, OPTIONS"))
        self.assertEqual(body_of(self.ask("HEAD /v1/completions")), b"")
        self.assertEqual(status_of(self.ask("BREW /health")), 405)

    def test_framing(self):
        post = "POST /v1/completions"
        for headers, status in (("Host: localhost\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
                                ("Host: localhost\r\nTransfer-Encoding: gzip\r\n", 400),
                                ("Host: a b\r\n", 400), ("Host: localhost\r\nHost: localhost\r\n", 400),
                                ("", 400), ("Host : x\r\n", 400),
                                ("Host: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n",
                                 415)):
            self.assertEqual(status_of(self.ask(post, headers)), status, headers)
        self.assertEqual(status_of(self.ask("GET /health", "Host: [::1]:80\r\n")), 200)
        reply = self.server.raw(b"GET /health HTTP/2.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(status_of(reply), 505)

    def test_the_log_says_why(self):
        headers = "Host: localhost\r\nx-request-id: why-%s\r\n"
        self.ask("GET /no%77here?secret", headers % "404" + f"traceparent: {TRACE}\r\n")
        line, = self.server.log_lines("request_id=why-404")
        self.assertIn(" path=/nowhere ", line)
        self.assertIn(" traceparent=%s " % TRACE, line)
        self.assertNotIn("secret", line)
        self.ask("GET /health", headers % "bad" + "traceparent: 00-zz\r\nx-request-timeout-ms: x\r\n")
        line, = self.server.log_lines("request_id=why-bad")
        self.assertNotIn("traceparent", line)
        self.server.request("/v1/completions", {"prompt": "x", "temperature": 3},
                            {"x-request-id": "why-400"})
        line, = self.server.log_lines("request_id=why-400")
        self.assertIn(' error="temperature must be at least 0 and at most 2, not 3" '
                      "param=temperature ", line)


if __name__ == "__main__":
    harness.main()
