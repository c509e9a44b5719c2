#!/usr/bin/env python3
"""The protocol, on raw sockets and through curl.

    python http_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import json
import re
import shutil
import subprocess
import time
import unittest

import harness
from harness import PROMPT, WithServer, body_of, peak_mib, post, resident_mib, status_of

class Http(WithServer):
    """The protocol, on raw sockets."""

    MOST_MIB_AFTER = 96

    SMALL = {"prompt": PROMPT, "max_tokens": 2, "temperature": 0}

    def test_health(self):
        self.assertEqual(self.server.get("/health")[0], 200)
        status, state = self.server.get("/ready")
        self.assertEqual((status, state["status"]), (200, "ready"))

    def test_a_wrong_path_is_told_the_right_one(self):
        for path, hint in (("/chat/completions", "; did you mean '/v1/chat/completions'?"),
                           ("/v1/v1/chat/completions", "; did you mean '/v1/chat/completions'?"),
                           ("/v1/chat/completion", "; did you mean '/v1/chat/completions'?"),
                           ("/v1/chat", "; did you mean '/v1/chat/completions'?"),
                           ("/v1/models/", "; did you mean '/v1/models'?"), ("/Health", "; did you mean '/health'?"),
                           ("/docs", "; GET /openapi.json describes all")):
            status, error = self.server.get(path)
            self.assertEqual(status, 404)
            self.assertEqual(error["error"]["message"], "No such endpoint: GET '%s'%s" % (path, hint))
        for path, body, use in (("/v1/completions", None, "POST"), ("/v1/models", {}, "GET")):
            status, reply, _ = self.server.request(path, body)
            self.assertEqual(status, 405)
            self.assertTrue(json.loads(reply)["error"]["message"].endswith(": use " + use), reply)

    def test_an_empty_body_is_said_to_be_empty(self):
        reply = self.server.raw(post(b"", "Connection: close\r\n", path="/v1/chat/completions"))
        self.assertEqual(status_of(reply), 400)
        self.assertIn(b"the request body is empty", body_of(reply))

    def test_unknown_path_and_method(self):
        status, error = self.server.get("/v2/nothing")
        self.assertEqual(status, 404)
        self.assertIn("message", error["error"])
        reply = self.server.raw(b"DELETE /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                                b"Connection: close\r\n\r\n")
        self.assertEqual(status_of(reply), 405)
        self.assertIn(b"\r\nAllow: POST, OPTIONS\r\n", reply)
        reply = self.server.raw(b"HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        self.assertEqual((status_of(reply), body_of(reply)), (200, b""))

    @unittest.skipUnless(shutil.which("curl"), "no curl")
    def test_curl(self):
        command = ["curl", "-sS", "-N", self.server.url + "/v1/completions", "-d",
                   json.dumps({**self.SMALL, "stream": True})]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self.assertTrue(output.startswith("data: {"))
        self.assertTrue(output.endswith("data: [DONE]\n\n"))

    def test_request_id(self):
        reply = self.server.raw(post(self.SMALL, "x-request-id: abc-1\r\nConnection: close\r\n"))
        self.assertIn(b"\r\nx-request-id: abc-1\r\n", reply)
        reply = self.server.raw(post(self.SMALL, "Connection: close\r\n"))
        self.assertRegex(reply, rb"\r\nx-request-id: req-[0-9a-f]{32}\r\n")

    def test_stream_headers(self):
        reply = self.server.raw(post({**self.SMALL, "stream": True}, "Connection: close\r\n"))
        for line in (b"Content-Type: text/event-stream", b"Cache-Control: no-cache",
                     b"X-Accel-Buffering: no", b"Transfer-Encoding: chunked"):
            self.assertIn(b"\r\n" + line + b"\r\n", reply)
        self.assertTrue(reply.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"))

    def test_pipelining_and_keep_alive(self):
        one, last = post(self.SMALL), post(self.SMALL, "Connection: close\r\n")
        reply = self.server.raw(one + post({**self.SMALL, "stream": True}) + one + last)
        self.assertEqual(reply.count(b"HTTP/1.1 200 OK"), 4)
        # A byte at a time.
        with self.server.connect() as connection:
            for byte in last:
                connection.send(bytes([byte]))
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 200"))

    def test_http_1_0(self):
        for stream in (False, True):
            reply = self.server.raw(post({**self.SMALL, "stream": stream}, version="1.0"))
            self.assertTrue(reply.startswith(b"HTTP/1.0 200"))
            self.assertNotIn(b"chunked", reply)
            self.assertIn(b"Connection: close", reply)

    def test_chunked_request(self):
        data = json.dumps(self.SMALL).encode()
        head = (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
                b"Connection: close\r\n\r\n")
        chunks = b"".join(b"1\r\n" + data[i:i + 1] + b"\r\n" for i in range(len(data)))
        self.assertEqual(status_of(self.server.raw(head + chunks + b"0\r\n\r\n")), 200)
        self.assertEqual(status_of(self.server.raw(head + b"zz\r\n")), 400)

    def test_expect(self):
        with self.server.connect() as connection:
            data = post(self.SMALL, "Expect: 100-continue\r\nConnection: close\r\n")
            head, body = data.split(b"\r\n\r\n", 1)
            connection.sendall(head + b"\r\n\r\n")
            self.assertEqual(connection.recv(1000), b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.sendall(body)
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 200"))
        reply = self.server.raw(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                                b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(status_of(reply), 413)

    def test_too_large(self):
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        reply = self.server.raw(head + b"Content-Length: 67108865\r\n\r\n")
        self.assertEqual(status_of(reply), 413)
        self.assertIn("message", json.loads(body_of(reply))["error"])
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        reply = self.server.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 65)
        self.assertEqual(status_of(reply), 413)
        reply = self.server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 200000)
        self.assertEqual(status_of(reply), 431)
        reply = self.server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 200 +
                                b"\r\n")
        self.assertEqual(status_of(reply), 431)

    def test_slow_bodies(self):
        """A body that stops, and ones that drip or that nobody will read: all at the same time."""
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        stopped, dripping, unwanted = (self.server.connect() for _ in range(3))
        stopped.sendall(head + b"x-request-id: slow-1\r\nContent-Length: 100\r\n\r\n{")
        dripping.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        unwanted.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        start = time.monotonic()
        dripping.settimeout(0.2)
        received = b""
        while not received and time.monotonic() - start < 60:
            dripping.sendall(b"1\r\n \r\n")
            try:
                received = dripping.recv(65536)
            except TimeoutError:
                pass
        self.assertGreater(time.monotonic() - start, 14)
        for connection, reply in ((dripping, received), (stopped, b""), (unwanted, b"")):
            connection.settimeout(30)
            while piece := connection.recv(65536):
                reply += piece
            connection.close()
            self.assertEqual(status_of(reply), 408, reply)
            self.assertIn(b"\r\nConnection: close\r\n", reply)
            self.assertIn("too slowly", json.loads(body_of(reply))["error"]["message"])
        self.server.log_lines("request_id=slow-1 .*status=408")

    def test_smuggling_and_garbage(self):
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        for data in (head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                     head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
                     head + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
                     head + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
                     head + b"Content-Length: -1\r\n\r\n",
                     head + b"Content-Length: 99999999999999999999999\r\n\r\n",
                     b"POST /v1/completions HTTP/1.1\r\n\r\n",
                     b"GET / HTTP/3.7\r\nHost: localhost\r\n\r\n",
                     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                     b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
                     b"\0" * 1000, b"hello\r\n\r\n"):
            reply = self.server.raw(data, timeout=4)
            self.assertIn(status_of(reply), (400, 413, 505), data[:80])
            self.assertEqual(len(re.findall(rb"HTTP/1.1 \d", reply)), 1)
            self.assertIn(b"Connection: close", reply)
        self.assertEqual(self.server.get("/health")[0], 200)

    def test_bad_bodies(self):
        for body in (b"", b"{", b"[" * 100000, b"\xff", b'{"prompt":"\\ud800"}', b"\xef\xbb\xbf{}",
                     b'{"prompt":' + b"[" * 1000, b'{"prompt":"x","prompt":"y"}',
                     b'{"prompt":"a\0b"}', b'{"prompt":"x","temperature":1e400}'):
            reply = self.server.raw(post(body, "Connection: close\r\n"))
            self.assertEqual(status_of(reply), 400, body[:40])
            self.assertEqual(json.loads(body_of(reply))["error"]["type"], "invalid_request_error")

    def test_zero_bytes_are_text(self):
        for path, body in (("/v1/completions", {"prompt": "a\0b"}),
                           ("/v1/completions", {"prompt": "x", "stop": "\0"}),
                           ("/v1/chat/completions",
                            {"messages": [{"role": "user", "content": "a\0b"}]})):
            status, reply = self.server.post(path, {**body, "max_tokens": 2})
            self.assertEqual(status, 200, reply)
        made = self.server.post("/tokenize", {"prompt": "a\0b"})[1]["tokens"]
        self.assertEqual(self.server.post("/detokenize", {"tokens": made})[1], {"prompt": "<s>a\0b"})

    def test_timeout_header(self):
        for value in ("0", "-1", "x", "1.5", "86400001", "99999999999999999999", ""):
            reply = self.server.raw(post(self.SMALL, f"x-request-timeout-ms: {value}\r\n"
                                                     "Connection: close\r\n"))
            expected = 200 if value == "" else 400  # an empty header says nothing
            self.assertEqual(status_of(reply), expected, value)
            if expected == 400:
                self.assertEqual(json.loads(body_of(reply))["error"]["param"],
                                 "x-request-timeout-ms")

    def test_memory_of_large_bodies(self):
        """A refused body of 64 MiB costs its own bytes and little more, and only for a while."""
        before = resident_mib(self.server)
        size = (64 << 20) - 100
        for start, unit in ((b'{"prompt":[', b"1,"), (b'{"prompt":', b"["), (b"", b"[1,"),
                            (b'{"user":"', b"a")):
            body = (start + unit * (size // len(unit)))[:size]
            reply = self.server.raw(post(body, "Connection: close\r\n"), timeout=60)
            self.assertEqual(status_of(reply), 400)
        self.assert_memory(peak_mib(self.server) - before, 330)

if __name__ == "__main__":
    harness.main()
