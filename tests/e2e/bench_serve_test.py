#!/usr/bin/env python3
"""`deltaserve bench-serve` against our own server, and against one that misbehaves.

    python bench_serve_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]

Needs nothing but Python. Starts servers on free ports and stops them.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BINARY = ""
SERVER_BINARY = ""
MODEL = ""

MODELS = b'{"object":"list","data":[{"id":"m","object":"model"}]}'


def bench(url, *options, environment=None, timeout=120):
    """(exit code, stdout, stderr)"""
    done = subprocess.run(
        [BINARY, "bench-serve", "--url", url, *map(str, options)], capture_output=True, text=True,
        timeout=timeout, env={**os.environ, **(environment or {})})
    return done.returncode, done.stdout, done.stderr


def measure(url, *options, **more):
    """(exit code, the JSON report)"""
    code, out, err = bench(url, *options, "--json", "-", **more)
    assert out, err
    return code, json.loads(out)


# ---- A server whose every byte the test decides.

def reply(status, body, content_type=b"application/json", extra=b""):
    return (b"HTTP/1.1 " + status + b"\r\nContent-Type: " + content_type +
            b"\r\nContent-Length: %d\r\n" % len(body) + extra + b"\r\n" + body)


def chunk(data):
    return b"%x\r\n" % len(data) + data + b"\r\n"


STREAM_HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
               b"Transfer-Encoding: chunked\r\n\r\n")


def event(data):
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return b"data: " + text + b"\n\n"


def text_event(text="x"):
    return event({"choices": [{"index": 0, "text": text, "finish_reason": None}]})


def usage_event(prompt, generated):
    return event({"choices": [],
                  "usage": {"prompt_tokens": prompt, "completion_tokens": generated}})


def whole_stream(request):
    """A right answer: an event a token."""
    generated = request["max_tokens"]
    prompt = request.get("prompt") or request["messages"][0]["content"]
    # One token an id; of text, two a word and three more.
    counted = len(prompt) if isinstance(prompt, list) else 2 * len(prompt.split(" ")) + 3
    return (text_event() * generated + usage_event(counted, generated) + event(b"[DONE]"))


class FakeServer:
    """Answers each POST with what `answer(server, request, number)` returns, a list of bytes to
    send one after the other; None closes the connection."""

    def __init__(self, answer, models=reply(b"200 OK", MODELS)):
        self.answer = answer
        self.models = models
        self.posts = []  # bodies
        self.heads = []
        self.connections = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, connection.makefile("rb") as reader:
            try:
                while (head := self.read_head(reader)) is not None:
                    length = re.search(rb"(?i)content-length: (\d+)", head)
                    body = reader.read(int(length[1])) if length else b""
                    if not self.respond(connection, head, body):
                        return
            except (ConnectionError, TimeoutError):
                pass

    @staticmethod
    def read_head(reader):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = reader.readline()
            if not line:
                return None
            head += line
        return head

    def respond(self, connection, head, body):
        if head.startswith(b"GET"):
            connection.sendall(self.models)
            return True
        with self.lock:
            self.heads.append(head)
            self.posts.append(json.loads(body))
            number = len(self.posts) - 1
        for piece in self.answer(self, self.posts[number], number):
            if piece is None:
                return False
            connection.sendall(piece)
        return True


def good(_, request, __):
    return [STREAM_HEAD + chunk(whole_stream(request)) + b"0\r\n\r\n"]


class Hostile(unittest.TestCase):
    """The first request of a run is the one that tries the server."""

    def failures(self, answer, *options, code=1, requests=3):
        """The failures of a run whose first request succeeds and the others get `answer`."""
        def after_first(server, request, number):
            return (good if number == 0 else answer)(server, request, number)
        with FakeServer(after_first) as server:
            exit_code, report = measure(server.url, "--requests", requests, "--prompt", 4,
                                        "--generate", 3, *options)
        self.assertEqual(exit_code, code, report)
        self.assertEqual(report["requests"]["failed"], requests)
        self.assertEqual(report["tokens"]["output"], 0)
        return report["failures"]

    def only_failure(self, answer, kind, example, *options):
        failures = self.failures(answer, *options)
        self.assertEqual([(f["kind"], f["count"]) for f in failures], [(kind, 3)])
        self.assertRegex(failures[0]["example"], example)

    def test_one_connection_a_client(self):
        with FakeServer(good) as server:
            code, report = measure(server.url, "--clients", 3, "--requests", 12, "--prompt", 5,
                                   "--generate", 4)
            self.assertEqual(code, 0)
            self.assertEqual(server.connections, 3)
        self.assertEqual(report["requests"]["succeeded"], 12)
        self.assertEqual(report["requests"]["other_length"], 0)
        self.assertEqual(report["tokens"], {"prompt": 60, "output": 48, "events": 48})
        self.assertEqual(report["options"]["model"], "m")
        posts = server.posts[1:]  # without the one that tries
        self.assertEqual(len({json.dumps(post["prompt"]) for post in posts}), 12)
        for post in posts:
            self.assertEqual(len(post["prompt"]), 5)
            self.assertEqual((post["model"], post["max_tokens"]), ("m", 4))

    def test_a_stream_cut_anywhere(self):
        def trickle(_, request, number):
            data = whole_stream(request)
            size = 1 + number % 7
            return [STREAM_HEAD, *[chunk(data[i:i + size]) for i in range(0, len(data), size)],
                    b"0\r\n", b"\r\n"]
        with FakeServer(trickle) as server:
            code, report = measure(server.url, "--requests", 8, "--generate", 3, "--prompt", 2)
        self.assertEqual((code, report["tokens"]["events"]), (0, 24))

    def test_gaps_are_those_of_the_server(self):
        def paced(_, request, __):
            def pieces():
                yield STREAM_HEAD
                time.sleep(0.2)
                for _ in range(3):
                    yield chunk(text_event())
                    time.sleep(0.1)
                yield chunk(usage_event(2, 3) + event(b"[DONE]")) + b"0\r\n\r\n"
            return pieces()
        with FakeServer(paced) as server:
            code, report = measure(server.url, "--requests", 2, "--generate", 3, "--prompt", 2)
        self.assertEqual(code, 0)
        # Sleep never ends early; the upper bounds are only sanity.
        self.assertGreaterEqual(report["time_to_first_token"]["min"], 0.199)
        self.assertGreaterEqual(report["end_to_end"]["min"], 0.499)
        self.assertEqual(report["inter_token_latency"]["count"], 4)
        self.assertGreater(report["inter_token_latency"]["mean"], 0.05)

    def test_status_codes_are_counted(self):
        def busy(_, __, number):
            status = b"429 Too Many Requests" if number % 2 else b"503 Service Unavailable"
            return [reply(status, b'{"error":{"message":"busy %d"}}' % (number % 2))]
        failures = self.failures(busy, requests=4)
        self.assertEqual([(f["kind"], f["count"], f["example"]) for f in failures],
                         [("http 429", 2, "busy 1"), ("http 503", 2, "busy 0")])

    def test_error_inside_a_stream(self):
        def late(*_):
            data = text_event() + event({"error": {"message": "out of memory", "code": 500}})
            return [STREAM_HEAD + chunk(data) + b"0\r\n\r\n"]
        self.only_failure(late, "error event", "out of memory")

    def test_stream_without_its_end(self):
        self.only_failure(lambda *_: [STREAM_HEAD + chunk(text_event()), None], "cut off", "ended")
        self.only_failure(lambda *_: [STREAM_HEAD + chunk(text_event()) + b"0\r\n\r\n"], "cut off",
                          "DONE")

    def test_stream_without_usage(self):
        data = text_event() + event(b"[DONE]")
        self.only_failure(lambda *_: [STREAM_HEAD + chunk(data) + b"0\r\n\r\n"], "malformed reply",
                          "include_usage")

    def test_not_a_stream(self):
        self.only_failure(lambda *_: [reply(b"200 OK", b'{"choices":[]}')], "malformed reply",
                          "not an event stream")
        self.only_failure(lambda *_: [b"SSH-2.0-x\r\n\r\n", None], "malformed reply", "not HTTP")
        self.only_failure(lambda *_: [STREAM_HEAD + b"zz\r\n"], "malformed reply", "not HTTP")
        self.only_failure(lambda *_: [STREAM_HEAD + chunk(event(b"<html>"))], "malformed reply",
                          "not a chunk.*<html>")

    def test_endless_replies(self):
        big = b"x" * (1 << 16)
        self.only_failure(lambda *_: [STREAM_HEAD, *[chunk(big)] * 20], "malformed reply", "longer")
        self.only_failure(lambda *_: [STREAM_HEAD, *[chunk(text_event() * 100)] * 20],
                          "malformed reply", "more events")
        self.only_failure(lambda *_: [b"HTTP/1.1 200 OK\r\n" + b"a: " + big + big], "malformed reply",
                          "not HTTP")
        self.only_failure(lambda *_: [reply(b"500 x", big * 40)], "http 500", "^x{300}")

    def test_control_characters_do_not_reach_the_terminal(self):
        def nasty(*_):
            return [reply(b"500 x", b'{"error":{"message":"\\u001b[2J\\u0007red"}}')]
        self.only_failure(nasty, "http 500", r"^\?\[2J\?red$")

    def test_silence_ends_in_time(self):
        def silent(*_):
            def pieces():
                yield STREAM_HEAD
                time.sleep(20)
            return pieces()
        start = time.monotonic()
        self.only_failure(silent, "timeout", "in time", "--timeout", 0.5, "--clients", 3)
        self.assertLess(time.monotonic() - start, 15)

    def test_closed_connections_are_opened_again(self):
        with FakeServer(lambda s, r, n: [*good(s, r, n), None]) as server:
            code, report = measure(server.url, "--requests", 6, "--generate", 2, "--prompt", 2)
        self.assertEqual(code, 0)
        self.assertEqual(report["requests"]["succeeded"], 6)
        # An end that came with the reply is no request lost; one that came later is sent again.
        self.assertEqual(len(server.posts), 7)
        with FakeServer(lambda s, r, n: good(s, r, n) if n % 2 == 0 else [None]) as server:
            code, report = measure(server.url, "--requests", 3, "--generate", 2, "--prompt", 2)
        self.assertEqual((code, report["requests"]["resent"]), (0, 3))
        self.assertEqual(len(server.posts), 7)

    def test_connection_close_header(self):
        def close(_, request, __):
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
            return [head + whole_stream(request), None]
        with FakeServer(close) as server:
            code, report = measure(server.url, "--requests", 4, "--generate", 2, "--prompt", 2)
            self.assertEqual(server.connections, 5)  # the first shares that of the models
        self.assertEqual((code, report["requests"]["resent"]), (0, 0))

    def test_first_request_refused(self):
        def no_ids(*_):
            return [reply(b"400 Bad Request", b'{"error":{"message":"prompt must be a string"}}')]
        with FakeServer(no_ids) as server:
            code, out, err = bench(server.url)
            self.assertEqual(len(server.posts), 1)
        self.assertEqual((code, out), (1, ""))
        self.assertIn("prompt must be a string", err)
        self.assertIn("--text", err)
        with FakeServer(lambda *_: [reply(b"401 Unauthorized", b"{}")]) as server:
            self.assertIn("--api-key", bench(server.url)[2])

    def test_models(self):
        two = b'{"data":[{"id":"one"},{"id":"two"}]}'
        with FakeServer(good, models=reply(b"200 OK", two)) as server:
            code, _, err = bench(server.url)
            self.assertEqual(code, 1)
            self.assertIn("'one' 'two'", err)
            self.assertEqual(measure(server.url, "--model", "two", "--requests", 1)[0], 0)
            self.assertEqual({post["model"] for post in server.posts}, {"two"})
        for models in (reply(b"200 OK", b"{"), reply(b"404 Not Found", b"no"),
                       reply(b"200 OK", b"x" * (2 << 20))):
            with FakeServer(good, models=models) as server:
                code, _, err = bench(server.url)
                self.assertEqual(code, 1)
                self.assertRegex(err, "/v1/models")

    def test_key(self):
        with FakeServer(good) as server:
            code, report = measure(server.url, "--requests", 1, "--api-key-env", "BENCH_KEY",
                                   environment={"BENCH_KEY": "secret"})
            self.assertEqual(code, 0)
            for head in server.heads:
                self.assertIn(b"Authorization: Bearer secret\r\n", head)
            self.assertNotIn("secret", json.dumps(report))
            for options in (["--api-key", "a\nX: y"], ["--api-key-env", "BENCH_UNSET"]):
                self.assertEqual(bench(server.url, *options)[0], 2)

    def test_text_has_about_the_tokens_asked_for(self):
        for option, path in (("--text", b"POST /v1/completions "),
                             ("--chat", b"POST /v1/chat/completions ")):
            with FakeServer(good) as server:
                code, report = measure(server.url, option, "--requests", 4, "--prompt", 101,
                                       "--generate", 2)
                self.assertEqual(code, 0)
                self.assertTrue(all(head.startswith(path) for head in server.heads))
            self.assertEqual(report["tokens"]["prompt"], 4 * 101)  # two a word and three
            self.assertEqual(len(server.posts), 6)

    def test_text_of_a_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file, FakeServer(good) as server:
            file.write("one two\nthree ")
            file.flush()
            code, _ = measure(server.url, "--prompt-text", file.name, "--requests", 1, "--prompt", 9)
            self.assertEqual(code, 0)
            self.assertIn(server.posts[-1]["prompt"], "one two three one two three")
            code, _, err = bench(server.url, "--prompt-text", file.name + "x")
            self.assertEqual(code, 2)
            self.assertIn("cannot read", err)

    def test_open_loop(self):
        with FakeServer(good) as server:
            code, report = measure(server.url, "--rate", 200, "--clients", 16, "--requests", 40,
                                   "--prompt", 2, "--generate", 2)
        self.assertEqual(code, 0)
        starts = [record["start"] for record in report["records"]]
        self.assertEqual(len(set(starts)), 40)
        self.assertGreater(max(starts), 0.1)  # 40 arrivals at 200/s take 0.2 s, give or take

    def test_arrivals_do_not_wait_in_silence(self):
        """One client cannot keep up: the wait counts as latency."""
        def slow(_, request, __):
            def pieces():
                time.sleep(0.1)
                yield from good(None, request, 0)
            return pieces()
        with FakeServer(slow) as server:
            code, report = measure(server.url, "--rate", 1000, "--clients", 1, "--requests", 6,
                                   "--prompt", 2, "--generate", 2)
        self.assertEqual(code, 0)
        self.assertGreaterEqual(report["requests"]["late_arrivals"], 4)
        self.assertGreater(report["time_to_first_token"]["max"], 0.45)

    def test_seconds(self):
        with FakeServer(good) as server:
            code, report = measure(server.url, "--seconds", 0.5, "--prompt", 2, "--generate", 2)
        self.assertEqual(code, 0)
        self.assertGreater(report["requests"]["succeeded"], 1)
        self.assertTrue(all(record["start"] < 0.5 for record in report["records"]))

    def test_warmup_is_not_measured(self):
        with FakeServer(good) as server:
            code, report = measure(server.url, "--warmup", 5, "--requests", 2, "--clients", 2)
        self.assertEqual((code, report["requests"]["succeeded"]), (0, 2))
        self.assertEqual(len(server.posts), 1 + 5 + 2)
        self.assertEqual(len({json.dumps(post["prompt"]) for post in server.posts}), 8)

    def test_interrupt_reports(self):
        def third_hangs(server, request, number):
            if number < 3:
                return good(server, request, number)
            time.sleep(30)
            return []
        with FakeServer(third_hangs) as server:
            command = [BINARY, "bench-serve", "--url", server.url, "--requests", "9", "--json", "-"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                while len(server.posts) < 4:
                    time.sleep(0.01)
                process.send_signal(signal.SIGINT)
                report = json.loads(process.communicate(timeout=20)[0])
        self.assertEqual(process.returncode, 130)
        self.assertEqual(len(server.posts), 4)
        requests = report["requests"]
        self.assertEqual((requests["succeeded"], requests["failed"], requests["interrupted"]),
                         (2, 0, 1))

    def test_nobody_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        code, _, err = bench("http://127.0.0.1:%d" % port)
        self.assertEqual(code, 1)
        self.assertIn("cannot connect", err)

    def test_command_line(self):
        for options in (["--clients", 0], ["--prompt", 0], ["--generate", -1], ["--vocab", 3],
                        ["--chat", "--completions"], ["--prompt-spread", 2], ["--rate", 0],
                        ["--seconds", "nan"], ["--rate", "nan"], ["--timeout", "inf"],
                        ["--temperature", "nan"], ["--api-key", "a", "--api-key-env", "B"],
                        ["--unknown"]):
            with self.subTest(options=options):
                code, out, err = bench("http://127.0.0.1:1", *options)
                self.assertEqual((code, out), (2, ""), err)
                self.assertIn(options[0], err)
        code, _, err = bench("https://127.0.0.1")
        self.assertEqual(code, 2)
        self.assertIn("plain http", err)
        self.assertIn("cannot write", bench("http://127.0.0.1:1", "--json", "/nonexistent/x")[2])


class OwnServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        command = [SERVER_BINARY, "serve", "--model", MODEL, "--http-port", "0",
                   "--log-level", "warning"]
        cls.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.stop)
        for line in cls.process.stdout:
            if found := re.match(r"listening on (http://\S+:\d+)", line):
                cls.url = found[1]
                return
        raise RuntimeError("the server did not start")

    @classmethod
    def stop(cls):
        cls.process.terminate()
        cls.process.wait(10)
        cls.process.stdout.close()

    def test_counts_are_exact_and_times_in_order(self):
        code, report = measure(self.url, "--clients", 4, "--requests", 12, "--prompt", 20,
                               "--generate", 24, "--vocab", 4096, "--return-token-ids")
        self.assertEqual(code, 0, report)
        self.assertEqual(report["requests"]["succeeded"], 12)
        self.assertEqual(report["requests"]["failed"], 0)
        self.assertEqual(report["requests"]["other_length"], 0)
        self.assertEqual(report["failures"], [])
        self.assertEqual(report["tokens"]["prompt"], 12 * 20)
        self.assertEqual(report["tokens"]["output"], 12 * 24)
        self.assertLessEqual(report["tokens"]["events"], 12 * 24)
        self.assertGreaterEqual(report["tokens"]["events"], 12)
        self.assertEqual(len(report["records"]), 12)
        for record in report["records"]:
            self.assertEqual((record["prompt_tokens"], record["output_tokens"]), (20, 24))
            self.assertGreater(record["time_to_first_token"], 0)
            self.assertGreaterEqual(record["end_to_end"], record["time_to_first_token"])
            self.assertLessEqual(record["start"] + record["end_to_end"], report["seconds"])
        self.assertEqual(report["time_to_first_token"]["count"], 12)
        self.assertEqual(report["inter_token_latency"]["count"], report["tokens"]["events"] - 12)
        self.assert_latencies_in_order(report)
        rate = report["output_tokens_per_second"]
        self.assertAlmostEqual(rate * report["seconds"], 12 * 24, places=3)

    def assert_latencies_in_order(self, report):
        for name in ("time_to_first_token", "inter_token_latency", "time_per_output_token",
                     "end_to_end"):
            latency = report[name]
            if latency["count"] == 0:  # the server may put all tokens of a reply into one event
                self.assertEqual(report["tokens"]["events"], report["requests"]["succeeded"])
                continue
            keys = ("p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99", "p99.9")
            values = [latency[key] for key in keys]
            self.assertEqual(values, sorted(values), name)
            # Percentiles are of single precision.
            self.assertLessEqual(latency["min"], latency["p1"] + 1e-6)
            self.assertGreaterEqual(latency["max"], latency["p99.9"] - 1e-6)
            self.assertGreaterEqual(latency["min"], 0)
            counted = sum(bucket["count"] for bucket in latency["histogram"])
            self.assertEqual(counted, latency["count"])

    def test_text_report(self):
        code, out, err = bench(self.url, "--requests", 2, "--text", "--prompt", 30, "--generate", 8)
        self.assertEqual(code, 0, err)
        for part in ("2 succeeded, 0 failed", "output tokens/s", "time to first token", "p99",
                     "inter-token (between events)", "|####"):
            self.assertIn(part, out)

    def test_json_file_beside_the_text(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            code, out, _ = bench(self.url, "--requests", 1, "--generate", 4, "--json", path)
            self.assertEqual(code, 0)
            self.assertIn("1 succeeded", out)
            with open(path, encoding="utf-8") as file:
                self.assertEqual(json.load(file)["tokens"]["output"], 4)

    def test_unknown_model(self):
        code, _, err = bench(self.url, "--model", "nobody")
        self.assertEqual(code, 1)
        self.assertIn("http 404", err)
        self.assertIn("nobody", err)


def main():
    global BINARY, SERVER_BINARY, MODEL
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--server-binary", help="of `serve`, if it is another one")
    parser.add_argument("--model", required=True)
    options, rest = parser.parse_known_args()
    BINARY = options.binary
    SERVER_BINARY = options.server_binary or options.binary
    MODEL = options.model
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
