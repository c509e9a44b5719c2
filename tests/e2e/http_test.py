#!/usr/bin/env python3
"""The HTTP front, from outside: the official client, curl, and raw sockets.

    python http_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]

Needs the `openai` package. Starts servers on free ports and stops them.
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request

import openai

BINARY = ""
MODEL = ""
SANITIZED = False
PROMPT = "Once upon a time"


class Server:
    """A server process; a context manager."""

    def __init__(self, *options):
        command = [BINARY, "serve", "--model", MODEL, "--http-port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            found = re.match(r"listening on http://([^:]+):(\d+)", line)
            if found:
                self.address = (found[1], int(found[2]))
                break
        else:
            raise RuntimeError("the server did not start")
        self.url = "http://%s:%d" % self.address
        self.client = openai.OpenAI(
            base_url=self.url + "/v1", api_key="none", max_retries=0, timeout=60)
        self.model = self.client.models.list().data[0].id

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()

    def complete(self, **parameters):
        extra = {k: parameters.pop(k) for k in list(parameters) if k in EXTRA}
        return self.client.completions.create(
            **{"model": self.model, "prompt": PROMPT, "extra_body": extra, **parameters})

    def get(self, path):
        """(status, JSON)"""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def connect(self):
        connection = socket.create_connection(self.address, timeout=10)
        return connection

    def raw(self, data, timeout=10):
        """Everything the server answers to `data` until it closes or is silent."""
        with self.connect() as connection:
            connection.settimeout(timeout)
            received = b""
            try:
                connection.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before the end; the answer may still be there
            try:
                while piece := connection.recv(65536):
                    received += piece
            except (TimeoutError, ConnectionResetError):
                pass
            return received

    def wait_idle(self, seconds=5):
        """Seconds until no slot is in use."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            state = self.get("/health/ready")[1]
            if state["running"] == 0 and state["waiting"] == 0:
                return time.monotonic() - start
            time.sleep(0.002)
        raise AssertionError("a slot was not freed: %s" % state)


# Parameters that the client sends in extra_body.
EXTRA = ("top_k", "min_p", "ignore_eos", "stop_token_ids", "return_token_ids")


def post(body, headers="", version="1.1", path="/v1/completions"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (f"POST {path} HTTP/{version}\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n{headers}\r\n")
    return head.encode() + data


def status_of(reply):
    return int(reply.split(b" ", 2)[1]) if reply else None


def body_of(reply):
    return reply.split(b"\r\n\r\n", 1)[1]


class WithServer(unittest.TestCase):
    OPTIONS = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.OPTIONS)
        cls.addClassCleanup(cls.server.__exit__)

    def assert_within(self, seconds, most):
        """Sanitized code is an order of magnitude slower."""
        self.assertLess(seconds, 10 * most if SANITIZED else most)

    def assert_memory(self, mib, most):
        """A sanitizer's own memory is not bounded here; everything else of the test still holds."""
        if not SANITIZED:
            self.assertLess(mib, most)


class Completions(WithServer):
    """Through the official client."""

    def test_completion(self):
        reply = self.server.complete(max_tokens=8, temperature=0)
        self.assertEqual(reply.object, "text_completion")
        self.assertTrue(reply.id.startswith("cmpl-"))
        self.assertTrue(reply.choices[0].text)
        self.assertIn(reply.choices[0].finish_reason, ("stop", "length"))
        self.assertLessEqual(reply.usage.completion_tokens, 8)
        self.assertEqual(reply.usage.total_tokens,
                         reply.usage.prompt_tokens + reply.usage.completion_tokens)

    def test_stream_equals_the_whole(self):
        whole = self.server.complete(max_tokens=32, temperature=0, ignore_eos=True)
        text, chunks = "", list(self.server.complete(
            max_tokens=32, temperature=0, ignore_eos=True, stream=True,
            stream_options={"include_usage": True}))
        for chunk in chunks[:-1]:
            self.assertIsNone(chunk.usage)
            text += chunk.choices[0].text
        self.assertEqual(text, whole.choices[0].text)
        self.assertEqual(chunks[-2].choices[0].finish_reason, "length")
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, 32)
        self.assertEqual(chunks[-1].usage.prompt_tokens, whole.usage.prompt_tokens)

    def test_continuous_usage(self):
        chunks = list(self.server.complete(
            max_tokens=8, temperature=0, ignore_eos=True, stream=True,
            stream_options={"include_usage": True, "continuous_usage_stats": True}))
        counts = [chunk.usage.completion_tokens for chunk in chunks]
        self.assertEqual(counts, sorted(counts))
        self.assertEqual(counts[-1], 8)

    def test_errors_map_to_exceptions(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.server.complete(temperature=3)
        self.assertEqual(caught.exception.param, "temperature")
        self.assertEqual(caught.exception.type, "invalid_request_error")
        with self.assertRaises(openai.NotFoundError) as caught:
            self.server.complete(model="nobody")
        self.assertEqual(caught.exception.code, "model_not_found")
        for name, value in (("n", 2), ("best_of", 3), ("logit_bias", {"1": 2}), ("suffix", "x"),
                            ("frequency_penalty", 1), ("logprobs", 21), ("max_tokens", -1),
                            ("top_p", 0), ("stop", [""]), ("prompt", []), ("prompt", [[]]),
                            ("prompt", [10**6]), ("stop_token_ids", [-1])):
            with self.assertRaises(openai.BadRequestError, msg=name) as caught:
                self.server.complete(**{name: value})
            self.assertEqual(caught.exception.param, name)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.server.client.completions.create(
                model=self.server.model, prompt="x", extra_body={"nonsense": 1})
        self.assertEqual(caught.exception.param, "nonsense")

    def test_models(self):
        self.assertEqual(self.server.client.models.retrieve(self.server.model).id,
                         self.server.model)
        with self.assertRaises(openai.NotFoundError):
            self.server.client.models.retrieve("nobody")

    def test_scoring_as_lm_eval_does(self):
        ids = self.prompt_ids(PROMPT + " there was a little girl")
        for max_tokens in (1, 0):
            reply = self.server.complete(
                prompt=[ids, ids[:4]], echo=True, logprobs=1, max_tokens=max_tokens,
                temperature=0, seed=1234)
            for choice, prompt in zip(reply.choices, (ids, ids[:4])):
                scores = choice.logprobs
                self.assertEqual(len(scores.token_logprobs),
                                 len(prompt) + len(scores.token_logprobs[len(prompt):]))
                self.assertGreaterEqual(len(scores.token_logprobs), len(prompt))
                self.assertIsNone(scores.token_logprobs[0])
                self.assertIsNone(scores.top_logprobs[0])
                for score, top in zip(scores.token_logprobs[1:], scores.top_logprobs[1:]):
                    self.assertLessEqual(score, 0)
                    self.assertGreaterEqual(max(top.values()), score)
                for name in ("tokens", "top_logprobs", "text_offset"):
                    self.assertEqual(len(getattr(scores, name)), len(scores.token_logprobs))
                # The text of each token stands where its offset says.
                for token, offset in zip(scores.tokens[2:], scores.text_offset[2:]):
                    if not token.startswith("bytes:"):
                        self.assertEqual(choice.text[offset:offset + len(token)], token)
        self.assertEqual(reply.choices[0].finish_reason, "length")
        self.assertEqual(reply.usage.completion_tokens, 0)

    def test_scores_do_not_depend_on_the_way_to_ask(self):
        ids = self.prompt_ids(PROMPT)
        base = self.server.complete(prompt=ids, max_tokens=4, temperature=0, logprobs=0,
                                    ignore_eos=True, return_token_ids=True)
        made = base.choices[0].model_extra["token_ids"]
        scored = self.server.complete(prompt=ids + made, max_tokens=0, echo=True, logprobs=0)
        for a, b in zip(base.choices[0].logprobs.token_logprobs,
                        scored.choices[0].logprobs.token_logprobs[len(ids):]):
            self.assertAlmostEqual(a, b, places=3)  # decode and prefill sum in another order

    def test_streamed_scores_equal_the_whole(self):
        parameters = dict(prompt=PROMPT * 20, max_tokens=3, temperature=0, echo=True, logprobs=2)
        whole = self.server.complete(**parameters).choices[0]
        text, scores = "", []
        for chunk in self.server.complete(**parameters, stream=True):
            text += chunk.choices[0].text
            if chunk.choices[0].logprobs:
                scores += chunk.choices[0].logprobs.token_logprobs
        self.assertEqual(text, whole.text)
        self.assertEqual(scores, whole.logprobs.token_logprobs)

    def test_echo_and_max_tokens_0(self):
        reply = self.server.complete(max_tokens=0, echo=True)
        self.assertEqual(reply.choices[0].text, PROMPT)
        reply = self.server.complete(max_tokens=0)
        self.assertEqual(reply.choices[0].text, "")
        self.assertEqual(reply.choices[0].finish_reason, "length")

    def prompt_ids(self, text):
        reply = self.server.complete(prompt=text, max_tokens=0, return_token_ids=True)
        return reply.choices[0].model_extra["prompt_token_ids"]

    def test_token_ids_in_and_out(self):
        parameters = dict(max_tokens=8, temperature=0, return_token_ids=True, ignore_eos=True)
        from_text = self.server.complete(**parameters).choices[0]
        ids = from_text.model_extra["prompt_token_ids"]
        from_ids = self.server.complete(prompt=ids, **parameters).choices[0]
        self.assertEqual(from_text.model_extra["token_ids"], from_ids.model_extra["token_ids"])
        self.assertEqual(len(from_ids.model_extra["token_ids"]), 8)
        streamed = []
        for chunk in self.server.complete(stream=True, **parameters):
            streamed += chunk.choices[0].model_extra["token_ids"]
        self.assertEqual(streamed, from_ids.model_extra["token_ids"])

    def test_stops(self):
        base = self.server.complete(max_tokens=24, temperature=0, ignore_eos=True,
                                    return_token_ids=True).choices[0]
        stop = base.text[len(base.text) // 2:][:4]
        cut = self.server.complete(max_tokens=24, temperature=0, ignore_eos=True,
                                   stop=["never to be seen", stop]).choices[0]
        self.assertEqual(cut.text, base.text[:base.text.index(stop)])
        self.assertEqual(cut.finish_reason, "stop")
        self.assertEqual(cut.model_extra["stop_reason"], stop)
        ids = base.model_extra["token_ids"]
        last = self.server.complete(max_tokens=24, temperature=0, ignore_eos=True,
                                    stop_token_ids=[ids[5]]).choices[0]
        self.assertEqual(last.finish_reason, "stop")
        self.assertEqual(last.model_extra["stop_reason"], ids[5])

    def test_seeds(self):
        def text(seed):
            return self.server.complete(max_tokens=16, seed=seed, ignore_eos=True).choices[0].text

        self.assertEqual(text(1), text(1))
        self.assertEqual(text(-1), text(-1))
        self.assertGreater(len({text(seed) for seed in range(4)}), 1)
        # Without a seed, equal prompts of a list differ.
        reply = self.server.complete(prompt=[PROMPT] * 4, max_tokens=16, ignore_eos=True)
        self.assertEqual([choice.index for choice in reply.choices], [0, 1, 2, 3])
        self.assertGreater(len({choice.text for choice in reply.choices}), 1)

    def test_together_equals_alone(self):
        def text(seed):
            return self.server.complete(
                prompt=PROMPT + " " * (seed % 3) + "x" * (seed % 5), max_tokens=4 + seed,
                seed=seed, ignore_eos=True).choices[0].text

        alone = [text(seed) for seed in range(32)]
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            self.assertEqual(list(pool.map(text, range(32))), alone)

    def test_prompt_list_streamed(self):
        prompts = [PROMPT, "The dog", "A"]
        texts, finished = [""] * 3, set()
        for chunk in self.server.complete(prompt=prompts, max_tokens=12, temperature=0,
                                          ignore_eos=True, stream=True):
            choice = chunk.choices[0]
            texts[choice.index] += choice.text
            if choice.finish_reason:
                finished.add(choice.index)
        self.assertEqual(finished, {0, 1, 2})
        whole = self.server.complete(prompt=prompts, max_tokens=12, temperature=0,
                                     ignore_eos=True)
        self.assertEqual(texts, [choice.text for choice in whole.choices])


class Http(WithServer):
    """The protocol, on raw sockets."""

    SMALL = {"prompt": PROMPT, "max_tokens": 2, "temperature": 0}

    def test_health(self):
        self.assertEqual(self.server.get("/health")[0], 200)
        status, state = self.server.get("/health/ready")
        self.assertEqual((status, state["status"]), (200, "ready"))

    def test_unknown_path_and_method(self):
        status, error = self.server.get("/v2/nothing")
        self.assertEqual(status, 404)
        self.assertIn("message", error["error"])
        reply = self.server.raw(b"DELETE /v1/completions HTTP/1.1\r\nHost: x\r\n"
                                b"Connection: close\r\n\r\n")
        self.assertEqual(status_of(reply), 405)
        self.assertIn(b"\r\nAllow: POST\r\n", reply)
        reply = self.server.raw(b"HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
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
        head = (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
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
        reply = self.server.raw(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
                                b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(status_of(reply), 413)

    def test_too_large(self):
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
        reply = self.server.raw(head + b"Content-Length: 67108865\r\n\r\n")
        self.assertEqual(status_of(reply), 413)
        self.assertIn("message", json.loads(body_of(reply))["error"])
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        reply = self.server.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 65)
        self.assertEqual(status_of(reply), 413)
        reply = self.server.raw(b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 200000)
        self.assertEqual(status_of(reply), 431)
        reply = self.server.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 +
                                b"\r\n")
        self.assertEqual(status_of(reply), 431)

    def test_smuggling_and_garbage(self):
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
        for data in (head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                     head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
                     head + b"Content-Length: -1\r\n\r\n",
                     head + b"Content-Length: 99999999999999999999999\r\n\r\n",
                     b"POST /v1/completions HTTP/1.1\r\n\r\n",
                     b"GET / HTTP/3.7\r\nHost: x\r\n\r\n",
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
                     b'{"prompt":' + b"[" * 1000, b'{"prompt":"x","prompt":"y"}'):
            reply = self.server.raw(post(body, "Connection: close\r\n"))
            self.assertEqual(status_of(reply), 400, body[:40])
            self.assertEqual(json.loads(body_of(reply))["error"]["type"], "invalid_request_error")

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


def resident_mib(server, field="VmRSS"):
    with open("/proc/%d/status" % server.process.pid) as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def peak_mib(server):
    return resident_mib(server, "VmHWM")


class OneSlot(WithServer):
    """Who leaves frees the slot."""

    OPTIONS = ("--max-sequences", "1", "--write-timeout", "2")
    LONG = {"prompt": PROMPT, "max_tokens": 1 << 24, "ignore_eos": True}

    def test_disconnect_mid_stream(self):
        for reset in (False, True):
            with self.server.connect() as connection:
                connection.sendall(post({**self.LONG, "stream": True}))
                while b"data: " not in connection.recv(65536):
                    pass
                self.assertEqual(self.server.get("/health/ready")[1]["running"], 1)
                if reset:
                    linger = b"\1\0\0\0\0\0\0\0"
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.assert_within(self.server.wait_idle(), 1)

    def test_disconnect_without_stream(self):
        with self.server.connect() as connection:
            connection.sendall(post(self.LONG))
            self.wait_running()
        self.assert_within(self.server.wait_idle(), 1)

    def test_disconnect_mid_prefill(self):
        ids = [7] * 400000
        with self.server.connect() as connection:
            connection.sendall(post({**self.LONG, "prompt": ids, "stream": True}))
            self.wait_running()
        self.assert_within(self.server.wait_idle(), 2)

    def test_disconnect_in_the_queue(self):
        with self.server.connect() as first, self.server.connect() as second:
            first.sendall(post(self.LONG))
            self.wait_running()
            second.sendall(post(self.LONG))
            while self.server.get("/health/ready")[1]["waiting"] == 0:
                time.sleep(0.01)
        self.assert_within(self.server.wait_idle(), 1)

    def wait_running(self):
        for _ in range(500):
            if self.server.get("/health/ready")[1]["running"] == 1:
                return
            time.sleep(0.01)
        self.fail("the request does not run")

    def test_many_disconnects(self):
        for i in range(100):
            with self.server.connect() as connection:
                connection.sendall(post({**self.LONG, "stream": i % 2 == 0}))
                time.sleep(0.0005 * (i % 8))
        self.server.wait_idle()
        self.assertTrue(self.server.complete(max_tokens=2, ignore_eos=True).choices[0].text)

    def test_slow_reader(self):
        """A client that does not read is dropped; until then it only holds its own slot."""
        with self.server.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(post({**self.LONG, "logprobs": 20, "max_tokens": 60000,
                                     "stream": True}))
            self.wait_running()
            before = resident_mib(self.server)
            self.server.wait_idle(60)
            self.assert_memory(resident_mib(self.server) - before, 64)

    def test_drip_fed_heads_do_not_disturb(self):
        slow = [self.server.connect() for _ in range(200)]
        for connection in slow:
            connection.sendall(b"POST /v1/comp")
        start = time.monotonic()
        self.server.complete(max_tokens=2, ignore_eos=True)
        self.assertLess(time.monotonic() - start, 2)
        for connection in slow:
            connection.close()


class Overload(WithServer):
    OPTIONS = ("--max-sequences", "1", "--max-queue", "2")

    def test_full_queue_is_429(self):
        bodies = [{"prompt": PROMPT, "max_tokens": 1 << 24, "ignore_eos": True}] * 8
        connections = [self.server.connect() for _ in bodies]
        for connection, body in zip(connections, bodies):
            connection.sendall(post(body))
            time.sleep(0.05)
        replies = [connection.recv(4096) for connection in connections[4:]]
        for reply in replies:
            self.assertEqual(status_of(reply), 429)
            self.assertIn(b"\r\nRetry-After: ", reply)
        for connection in connections:
            connection.close()
        self.server.wait_idle()
        with self.assertRaises(openai.RateLimitError):
            self.server.complete(prompt=[PROMPT] * 8, max_tokens=1 << 20, ignore_eos=True)
        self.server.wait_idle()  # the part of the list that was admitted is gone, too


class Shutdown(unittest.TestCase):
    def start_stream(self, server, max_tokens):
        connection = server.connect()
        connection.sendall(post({"prompt": PROMPT, "max_tokens": max_tokens, "ignore_eos": True,
                                 "stream": True}))
        first = connection.recv(65536)
        while b"data: " not in first:
            first += connection.recv(65536)
        return connection, first

    def test_drain_finishes_the_stream(self):
        with Server() as server:
            connection, received = self.start_stream(server, 600)
            server.process.send_signal(signal.SIGTERM)
            refused = None
            for _ in range(200):
                try:
                    status, _ = server.get("/health/ready")
                except OSError:
                    break  # already gone: the stream was short
                if status == 503:
                    refused = status_of(server.raw(post({"prompt": "x"})))
                    break
                time.sleep(0.005)
            with connection:
                while piece := connection.recv(65536):
                    received += piece
            self.assertIn(b"data: [DONE]", received)
            self.assertEqual(refused, 503)
            self.assertEqual(server.process.wait(10), 0)

    def test_second_signal_stops_at_once(self):
        with Server() as server:
            connection, _ = self.start_stream(server, 1 << 24)
            with connection:
                server.process.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                self.assertIsNone(server.process.poll())
                server.process.send_signal(signal.SIGTERM)
                self.assertEqual(server.process.wait(3), 0)

    def test_idle_server_stops_at_once(self):
        with Server() as server, server.connect():
            server.process.send_signal(signal.SIGINT)
            self.assertEqual(server.process.wait(2), 0)


class CommandLine(unittest.TestCase):
    def run_binary(self, *arguments, **options):
        return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=120,
                              **options)

    def test_usage_errors(self):
        for arguments in ((), ("nonsense",), ("serve",), ("serve", "--model", "x", "--threads", "0"),
                          ("bench", "--model", "x", "--weights", "int4")):
            self.assertEqual(self.run_binary(*arguments).returncode, 2, arguments)
        for command in ("serve", "generate", "inspect", "random-model", "bench"):
            result = self.run_binary(command, "--help")
            self.assertEqual(result.returncode, 0)
            self.assertTrue(result.stdout)

    def test_one_sentence_errors(self):
        for arguments in (("serve", "--model", "/nonexistent"), ("inspect", "/nonexistent"),
                          ("generate", "--model", "/nonexistent", "--prompt", "x"),
                          ("serve", "--model", MODEL, "--host", "203.0.113.1"),
                          ("serve", "--model", MODEL, "--state-memory", "1")):
            result = self.run_binary(*arguments)
            self.assertEqual(result.returncode, 1, arguments)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)

    def test_port_in_use(self):
        with Server() as server:
            result = self.run_binary("serve", "--model", MODEL, "--http-port",
                                     str(server.address[1]))
            self.assertEqual(result.returncode, 1)
            self.assertIn("in use", result.stderr)

    def test_generate(self):
        arguments = ("generate", "--model", MODEL, "--temperature", "0", "--max-tokens", "12")
        result = self.run_binary(*arguments, "--prompt", PROMPT)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(self.run_binary(*arguments, "--prompt", "-", input=PROMPT).stdout,
                         result.stdout)

    def test_inspect(self):
        result = self.run_binary("inspect", MODEL)
        self.assertEqual(result.returncode, 0)
        self.assertIn("qdelta", result.stdout)

    def test_bench(self):
        result = self.run_binary("bench", "--model", MODEL, "--prompt", "64", "--generate", "4",
                                 "--batch", "1,2", "--repeat", "1", "--json")
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([(row["test"], row.get("batch")) for row in rows],
                         [("read_bandwidth", None), ("prefill", 1), ("decode", 1), ("prefill", 2),
                          ("decode", 2)])
        for row in rows:
            self.assertGreater(row["gb_per_s"], 0)


def main():
    global BINARY, MODEL, SANITIZED
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sanitized", action="store_true",
                        help="the binary is built with sanitizers: do not bound its memory")
    arguments, rest = parser.parse_known_args()
    SANITIZED = arguments.sanitized
    BINARY = os.path.abspath(arguments.binary)
    MODEL = os.path.abspath(arguments.model)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
