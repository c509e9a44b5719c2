#!/usr/bin/env python3
"""Metrics and the log.

    python observe_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import json
import os
import re
import subprocess
import time
import unittest

import harness
from harness import PROMPT, Server, WithServer, eventually, get, post

class MetricsPage(WithServer):
    def test_promtool_likes_our_names(self):
        self.server.complete(max_tokens=4)
        self.server.get("/v1/models/nobody")
        page = self.server.request("/metrics")[1].decode()
        # The aliases have the names that others gave them.
        ours = "".join(line + "\n" for line in page.splitlines()
                       if "vllm:" not in line)
        result = subprocess.run(["promtool", "check", "metrics"], input=ours, text=True,
                                capture_output=True)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        # And the whole page is well-formed.
        result = subprocess.run(["promtool", "check", "metrics"], input=page, text=True,
                                capture_output=True)
        self.assertNotIn("error while linting", result.stderr)

    def test_the_process(self):
        start = time.time()
        value = {name: self.server.metric("process_" + name) for name in (
            "cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "open_fds", "max_fds",
            "start_time_seconds")}
        self.assertGreater(value["cpu_seconds_total"], 0)
        self.assertGreater(value["resident_memory_bytes"], 1 << 20)
        self.assertGreater(value["virtual_memory_bytes"], value["resident_memory_bytes"])
        descriptors = len(os.listdir("/proc/%d/fd" % self.server.process.pid))
        self.assertLess(abs(descriptors - value["open_fds"]), 8)  # connections come and go
        self.assertGreater(value["max_fds"], value["open_fds"])
        self.assertLess(abs(start - value["start_time_seconds"]), 3600)
        self.assertLessEqual(value["start_time_seconds"], start + 2)

    def test_what_routers_read(self):
        page = self.server.request("/metrics")[1].decode()
        types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.M))
        for name in ("num_requests_waiting", "num_requests_running", "kv_cache_usage_perc"):
            self.assertEqual(types["vllm:" + name], "gauge")
            self.assertRegex(page, r'(?m)^vllm:%s\{model_name="%s"\} 0$' % (
                name, self.server.model))
        snapshots = int(re.search(r"prefix cache: (\d+) snapshots", self.server.banner)[1])
        self.assertIn('vllm:cache_config_info{block_size="64",num_gpu_blocks="%d"' % (
            64 * snapshots), page)
        for name in ("prompt_tokens_total", "generation_tokens_total", "request_success_total",
                     "prefix_cache_queries_total", "prefix_cache_hits_total"):
            self.assertEqual(types["vllm:" + name], "counter")
        for name in ("num_requests_swapped", "gpu_cache_usage_perc"):
            self.assertEqual(types["vllm:" + name], "gauge")
        self.assertEqual(types["vllm:num_preemptions_total"], "counter")
        for name in ("time_per_output_token_seconds", "request_prompt_tokens",
                     "request_generation_tokens", "request_max_num_generation_tokens",
                     "request_params_n", "request_params_max_tokens",
                     "request_inference_time_seconds", "request_time_per_output_token_seconds"):
            self.assertEqual(types["vllm:" + name], "histogram")
        for name in ("time_to_first_token", "inter_token_latency", "e2e_request_latency",
                     "request_queue_time", "request_prefill_time", "request_decode_time"):
            for prefix in ("vllm:", "deltaserve_"):
                self.assertEqual(types[prefix + name + "_seconds"], "histogram")

    def test_counts(self):
        def counts():
            return [self.server.metric(name) for name in (
                "deltaserve_prompt_tokens_total", "deltaserve_generation_tokens_total",
                'deltaserve_requests_finished_total{reason="length"}',
                "deltaserve_time_to_first_token_seconds_count",
                "deltaserve_inter_token_latency_seconds_count",
                "deltaserve_request_decode_time_seconds_count",
                'deltaserve_http_responses_total{route="/v1/completions",code="200"}',
                'deltaserve_http_responses_total{route="/v1/completions",code="400"}')]

        before = counts()
        usage = self.server.complete(max_tokens=8, ignore_eos=True, n=2).usage
        self.server.post("/v1/completions", {"prompt": 3})

        def added():
            return [after - b for after, b in zip(counts(), before)]

        def complete(values):  # tokens that are told together have no time between them
            return (values[:4] + values[5:] == [usage.prompt_tokens, 16, 2, 2, 2, 1, 1]
                    and 0 <= values[4] <= 14)

        # A thing is counted after it was told.
        eventually(lambda: complete(added()), lambda: "counted were %s" % added())
        self.assertEqual(self.server.metric("deltaserve_slots"), 32)
        self.assertGreater(self.server.metric("deltaserve_sequence_state_bytes"), 0)


class AccessLog(unittest.TestCase):
    def test_text(self):
        with Server() as server:
            server.raw(post({"prompt": "a very secret prompt", "max_tokens": 3,
                             "ignore_eos": True}, "x-request-id: abc-1\r\nConnection: close\r\n"))
            line = server.log_lines("request_id=abc-1")[0]
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info request ")
            for field in ("method=POST", "route=/v1/completions", "status=200",
                          "generated_tokens=3", "finish=length"):
                self.assertIn(" " + field + " ", line)
            for name in ("bytes", "prompt_tokens", "queue_ms", "first_token_ms", "total_ms"):
                self.assertRegex(line, f" {name}=[0-9.]+")
            self.assertNotIn("secret", "".join(server.log))
            # Probes do not fill it.
            server.get("/health")
            server.raw(get("/nothing", "Connection: close\r\n"))
            server.log_lines("route=other status=404")
            self.assertNotIn("/health", "".join(server.log))

    def test_json(self):
        with Server("--log-format", "json", "--log-level", "debug") as server:
            server.raw(post({"prompt": PROMPT, "max_tokens": 2, "n": 2, "ignore_eos": True,
                             "user": "me\n", "metadata": {"team": "a"}},
                            "x-request-id: abc-2\r\nConnection: close\r\n"))
            line = json.loads(server.log_lines("abc-2")[0])
            self.assertEqual(line["event"], "request")
            self.assertEqual(line["finish"], "length,length")
            self.assertEqual((line["user"], line["metadata"]), ("me\n", {"team": "a"}))
            self.assertEqual(line["generated_tokens"], 4)
            for line in server.log:
                if line.startswith("{"):
                    json.loads(line)
            self.assertTrue(server.log_lines('"route":"/v1/models"'))

    def test_a_client_that_left(self):
        with Server() as server:
            with server.connect() as connection:
                connection.sendall(post({"prompt": PROMPT, "max_tokens": 1 << 24, "stream": True,
                                         "ignore_eos": True}))
                while b"data: " not in connection.recv(65536):
                    pass
            line = server.log_lines("client_closed=true")[0]
            self.assertIn("status=200", line)
            self.assertIn("finish=cancelled", line)
            with server.connect() as connection:
                connection.sendall(post({"prompt": PROMPT, "max_tokens": 1 << 24,
                                         "ignore_eos": True}))
                while not server.get("/ready")[1]["running"]:
                    pass
            server.log_lines("status=499 .*client_closed=true")

    def test_prompts_on_demand(self):
        with Server("--log-prompts") as server:
            server.complete(prompt="a very secret prompt", max_tokens=1)
            server.log_lines("info prompt .*a very secret prompt")

if __name__ == "__main__":
    harness.main()
