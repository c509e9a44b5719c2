#!/usr/bin/env python3
"""Spans of requests at a collector, which reads them with OpenTelemetry's own messages.

    python3 otlp_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import http.server
import subprocess
import threading
import time
import unittest

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import harness
from harness import PROMPT, eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(http.server.ThreadingHTTPServer):
    """Keeps the spans that it gets. While `held`, it takes nothing and answers nothing."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans, self.resources, self.status = [], [], 200
        self.open = threading.Event()
        self.open.set()
        self.url = "http://127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def named(self, name, count=1):
        def found():
            return [span for span in self.spans if span.name == name]

        eventually(lambda: len(found()) >= count, lambda: "%s is not among %s" % (name, [s.name for s in self.spans]))
        return found()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.open.wait()
        if self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf":
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                self.server.resources.append(resource.resource)
                if self.server.status == 200:
                    for scope in resource.scope_spans:
                        self.server.spans += scope.spans
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def values(attributes):
    out = {}
    for one in attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        out[one.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return out


class Spans(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.collector = Collector()
        cls.addClassCleanup(cls.collector.shutdown)

    def setUp(self):
        self.collector.spans.clear()
        self.collector.status = 200
        self.collector.open.set()

    def serve(self, url=None):
        server = harness.Server("--no-grpc", "--otlp-endpoint", url or self.collector.url)
        self.addCleanup(server.__exit__)
        return server

    def test_what_a_span_says(self):
        server = self.serve()
        before = time.time_ns()
        trace = {"traceparent": "00-%s-%s-01" % (TRACE, PARENT)}
        server.request("/v1/completions", {"prompt": PROMPT, "max_tokens": 4, "temperature": 0, "n": 2, "stop": ["#"],
                                           "seed": 7, "ignore_eos": True}, trace)
        span = self.collector.named("text_completion " + server.model)[0]
        self.assertEqual((span.trace_id.hex(), span.parent_span_id.hex(), span.flags & 255), (TRACE, PARENT, 1))
        self.assertEqual((len(span.span_id), span.kind, span.status.code),
                         (8, Span.SPAN_KIND_SERVER, Status.STATUS_CODE_UNSET))
        self.assertLess(before - 10 ** 9, span.start_time_unix_nano)
        self.assertLess(span.start_time_unix_nano, span.end_time_unix_nano)
        self.assertLess(span.end_time_unix_nano, time.time_ns() + 10 ** 9)
        got = values(span.attributes)
        for name, value in {
                "gen_ai.operation.name": "text_completion", "gen_ai.request.model": server.model,
                "gen_ai.response.model": server.model, "gen_ai.request.max_tokens": 4, "gen_ai.request.temperature": 0,
                "gen_ai.request.stop_sequences": ["#"], "gen_ai.request.seed": 7, "gen_ai.request.choice.count": 2,
                "gen_ai.usage.output_tokens": 8, "gen_ai.response.finish_reasons": ["length", "length"],
                "http.request.method": "POST", "http.route": "/v1/completions",
                "http.response.status_code": 200}.items():
            self.assertEqual(got.get(name), value, name)
        self.assertTrue(got["gen_ai.response.id"].startswith("cmpl-"))
        self.assertEqual(values(self.collector.resources[0].attributes), {"service.name": "deltaserve"})

    def test_every_api_that_generates_and_its_errors(self):
        server = self.serve()
        server.chat(max_tokens=2)
        server.post("/v1/embeddings", {"input": "a"})
        server.post("/v1/chat/completions", {"messages": []})
        server.get("/health")
        chat = self.collector.named("chat " + server.model)[0]
        self.assertEqual((len(chat.trace_id), chat.parent_span_id), (16, b""))
        self.collector.named("embeddings " + server.model)
        refused = values(self.collector.named("POST /v1/chat/completions")[0].attributes)
        self.assertEqual((refused["http.response.status_code"], refused["error.type"]), (400, "400"))
        self.assertEqual(len(self.collector.spans), 3)

    def test_a_trace_that_is_not_sampled(self):
        server = self.serve()
        body = {"prompt": PROMPT, "max_tokens": 1}
        server.request("/v1/completions", body, {"traceparent": "00-%s-%s-00" % (TRACE, PARENT)})
        server.request("/v1/completions", body)
        span, = self.collector.named("text_completion " + server.model)
        self.assertNotEqual(span.trace_id.hex(), TRACE)

    def test_a_collector_that_stalls_delays_nobody_and_what_it_misses_is_counted(self):
        server = self.serve()
        self.collector.open.clear()
        for _ in range(2600):  # the queue holds 2048, and a batch 512
            self.assertEqual(server.request("/v1/completions", {})[0], 400)
        eventually(lambda: server.metric('deltaserve_spans_total{result="queue_full"}') > 0, lambda: "nothing is dropped")
        self.collector.open.set()
        self.collector.status = 503
        eventually(lambda: server.metric('deltaserve_spans_total{result="not_taken"}') > 0, lambda: "all is taken")
        server.log_lines("spans_lost")

    def test_the_last_spans_are_sent_before_the_exit(self):
        with harness.Server("--no-grpc", "--otlp-endpoint", self.collector.url + "/v1/traces") as server:
            server.complete(max_tokens=1)
        self.assertEqual(len(self.collector.spans), 1)

    def test_an_endpoint_that_is_none(self):
        for url in ("localhost:4317", "ftp://a", "http://"):
            done = subprocess.run([harness.BINARY, "serve", "--model", harness.MODEL, "--http-port", "0",
                                   "--otlp-endpoint", url], capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn("--otlp-endpoint", done.stderr)


if __name__ == "__main__":
    harness.main()
