#!/usr/bin/env python3
"""The gRPC front from its start to its end: readers that are slow, large requests, keys, TLS, drains, ports.

    PYTHONPATH=build/release/tests/server/grpc/stubs python3 tests/server/grpc/grpc_process_test.py \\
        --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import collections
import concurrent.futures
import signal
import subprocess
import tempfile
import time

import deltaserve_pb2 as pb
import deltaserve_pb2_grpc as pb_grpc
import grpc
import grpc_harness
from grpc_harness import PATIENCE, SERVICE, GrpcTest, Server

# A client that takes little before it reads.
NARROW = [("grpc.http2.lookahead_bytes", 65_536), ("grpc.http2.bdp_probe", 0)]
MIB = 1 << 20


class OwnServerTest(GrpcTest):
    def test_slow_reader_pauses_and_is_cut_off(self):
        with Server("--max-sequences", "2", "--write-timeout", "2",
                    channel_options=NARROW) as server:
            slow = server.generate(timeout=600, max_tokens=1 << 20, ignore_eos=True, logprobs=20)
            next(slow)
            # It fills what the connection takes, then it pauses: the counter stands still.
            last, still = -1, 0
            start = time.monotonic()
            paused = False
            while time.monotonic() - start < PATIENCE and not paused:
                tokens = server.engine().generated_tokens
                still = still + 1 if tokens == last else 0
                last = tokens
                paused = still >= 10
                time.sleep(0.05)
            self.assertTrue(paused)
            self.assertLess(last, 20_000)
            self.assertEqual(len(server.answer(max_tokens=50, ignore_eos=True)[0][0][1]), 50)
            # Its slot is free after the time-out, though it still does not read.
            server.wait_for(lambda e: e.running == 0)
            self.assert_code(grpc.StatusCode.ABORTED, lambda: list(slow), "did not read")

    def test_a_reader_that_catches_up_misses_nothing(self):
        with Server("--max-sequences", "2") as server:
            count = 1000 if grpc_harness.SANITIZED else 3000
            call = server.generate(timeout=300, max_tokens=count, ignore_eos=True, logprobs=20,
                                   seed=1)
            tokens = []
            for i, piece in enumerate(call):
                tokens.extend(piece.token_ids)
                if i == 3:
                    time.sleep(3)
            self.assertEqual(len(tokens), count)
            again = server.answer(timeout=300, max_tokens=count, ignore_eos=True, seed=1)
            self.assertEqual(tokens, again[0][0][1])

    def test_large_prompts(self):
        with Server("--max-sequences", "2") as server:
            text = " something wonderful, a beautiful surprise for everything together"
            text = (text * (64 * MIB // len(text) + 1))[:64 * MIB]
            start = server.resident_bytes()
            call = server.generate(prompt=text, max_tokens=1, timeout=300)
            piece = next(call)
            self.assertGreater(piece.prompt_tokens_read, 0)
            self.assertEqual(server.engine().running, 1)
            self.assertEqual(len(server.answer(max_tokens=5, ignore_eos=True)[0][0][1]), 5)
            if not grpc_harness.SANITIZED:
                self.assertLess(server.resident_bytes() - start, 800 * MIB)
            call.cancel()
            server.wait_idle()
            self.assert_code(grpc.StatusCode.RESOURCE_EXHAUSTED,
                             lambda: server.generate(prompt=text + "x" * 2 * MIB))
            # A list of ids that is small on the wire and large in memory.
            self.assert_code(grpc.StatusCode.INVALID_ARGUMENT,
                             lambda: server.channel.unary_stream("/%s/Generate" % SERVICE)(
                                 b"\x1a\x85\x80\x80\x10\x0a\x80\x80\x80\x10" + b"\x05" * 32 * MIB),
                             "prompt_token_ids")
            # Many small fields, likewise.
            self.assert_code(grpc.StatusCode.INVALID_ARGUMENT,
                             lambda: server.channel.unary_stream("/%s/Generate" % SERVICE)(
                                 b"\x32\x00" * 30 * MIB), "parameters")
            if not grpc_harness.SANITIZED:
                self.assertLess(server.resident_bytes() - start, 800 * MIB)
            server.answer(max_tokens=1)

    def test_a_flood_of_wrong_keys(self):
        """The address behind the library's socket pair has a rate of them; who has a key does not."""
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
            keys.write("right-key\n")
            keys.flush()
            with Server("--api-key-file", keys.name, key="right-key") as server:
                def guess(_):
                    with self.assertRaises(grpc.RpcError) as caught:
                        list(server.generate(metadata=[("authorization", "Bearer guess")], max_tokens=1))
                    return caught.exception.code()

                with concurrent.futures.ThreadPoolExecutor(16) as pool:
                    seen = collections.Counter(pool.map(guess, range(400)))
                self.assertEqual(set(seen), {grpc.StatusCode.UNAUTHENTICATED,
                                             grpc.StatusCode.RESOURCE_EXHAUSTED})
                self.assertGreaterEqual(seen[grpc.StatusCode.UNAUTHENTICATED], 64)
                self.assertTrue(server.answer(max_tokens=1))

    def test_keys(self):
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
            keys.write("# ours\nfirst-key\nsecond-key\n")
            keys.flush()
            with Server("--api-key-file", keys.name, key="second-key") as server:
                server.answer(max_tokens=1)
                server.engine()
                refused = grpc.StatusCode.UNAUTHENTICATED
                for metadata in ([], [("authorization", "Bearer third-key")],
                                 [("authorization", "second-key")], [("authorization", "Bearer ")],
                                 [("x-api-key", "second-key")]):
                    self.assert_code(refused, lambda: server.generate(metadata=metadata))
                    for method, request in (("Tokenize", pb.TokenizeRequest()),
                                            ("Detokenize", pb.DetokenizeRequest()),
                                            ("GetModel", pb.GetModelRequest())):
                        self.assert_code(refused, lambda: getattr(server.stub, method)(
                            request, metadata=metadata))
                self.assertEqual(server.health(), 1)
                for version in ("v1", "v1alpha"):
                    info = server.channel.stream_stream(
                        "/grpc.reflection.%s.ServerReflection/ServerReflectionInfo" % version)
                    self.assert_code(
                        refused, lambda: list(info(iter([b"\x3a\x01*"]), timeout=PATIENCE)))
                    self.assertEqual(len(list(info(iter([b"\x3a\x01*"]), timeout=PATIENCE,
                                                   metadata=server.metadata))), 1)

    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = folder + "/server.crt", folder + "/server.key"
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", certificate,
                 "-days", "2", "-subj", "/CN=localhost", "-addext",
                 "subjectAltName=DNS:localhost"], check=True, capture_output=True)
            with open(certificate, "rb") as file:
                credentials = grpc.ssl_channel_credentials(file.read())
            with Server("--tls-cert", certificate, "--tls-key", key,
                        credentials=credentials) as server:
                server.answer(max_tokens=2)
                in_the_clear = grpc.insecure_channel(server.grpc_address)
                self.assert_code(
                    grpc.StatusCode.UNAVAILABLE,
                    lambda: pb_grpc.DeltaServeStub(in_the_clear).GetModel(
                        pb.GetModelRequest(), timeout=PATIENCE))
                in_the_clear.close()

    def test_full_queue(self):
        with Server("--max-sequences", "1", "--max-queue", "1") as server:
            running = server.generate(max_tokens=1 << 24, ignore_eos=True)
            next(running)
            waiting = server.generate(max_tokens=3, ignore_eos=True)
            server.wait_for(lambda e: e.waiting == 1)
            self.assert_code(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: server.generate(), "queue")
            # A deadline passes in the queue too.
            waiting.cancel()
            server.wait_for(lambda e: e.waiting == 0)
            self.assert_code(grpc.StatusCode.DEADLINE_EXCEEDED,
                             lambda: server.generate(timeout=0.3))
            server.wait_for(lambda e: e.waiting == 0)
            running.cancel()
            server.wait_idle()
            server.answer(max_tokens=1)

    def test_drain(self):
        with Server("--max-sequences", "2", "--drain-timeout", str(PATIENCE)) as server:
            count = 1000 if grpc_harness.SANITIZED else 10000
            call = server.generate(max_tokens=count, ignore_eos=True, timeout=PATIENCE)
            tokens = len(next(call).token_ids)
            server.process.send_signal(signal.SIGTERM)
            for _ in range(1000):
                if server.health() == 2:
                    break
                time.sleep(0.01)
            self.assertEqual(server.health(), 2)
            self.assertEqual(server.health(SERVICE), 2)
            self.assert_code(grpc.StatusCode.UNAVAILABLE, lambda: server.generate(), "shutting")
            last = None
            for last in call:
                tokens += len(last.token_ids)
            self.assertEqual(tokens, count)
            self.assertEqual(last.usage.completion_tokens, count)
            self.assertEqual(server.process.wait(PATIENCE), 0)

    def test_drain_has_an_end(self):
        with Server("--max-sequences", "2", "--drain-timeout", "1") as server:
            call = server.generate(max_tokens=1 << 24, ignore_eos=True)
            next(call)
            server.process.send_signal(signal.SIGTERM)
            self.assert_code(grpc.StatusCode.UNAVAILABLE, lambda: list(call), "shutting down")
            self.assertEqual(server.process.wait(PATIENCE), 0)

    def test_calls_whose_grammars_are_dropped_end(self):
        """The server drops the grammars of clients that left, and still counts their calls as ended."""
        def ask(number):
            grammar = 'root ::= (("a"{0,40}){0,40}){0,40} "%d"' % number
            return server.generate(max_tokens=1, structured_outputs=pb.StructuredOutputs(grammar=grammar))

        with Server() as server:
            calls = [ask(number) for number in range(72)]  # more than may wait
            refused = 'deltaserve_grpc_responses_total{method="Generate",code="RESOURCE_EXHAUSTED"}'
            server.wait_for(lambda _: server.metric(refused) > 0)
            for call in calls[:60]:
                call.cancel()
            calls += [ask(100 + number) for number in range(3)]
            for call in calls[60:]:
                call.cancel()
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(server.process.wait(PATIENCE), 0)

    def test_second_signal_cuts_off(self):
        with Server("--max-sequences", "2") as server:
            call = server.generate(max_tokens=1 << 24, ignore_eos=True, timeout=120)
            next(call)
            server.process.send_signal(signal.SIGTERM)
            while server.health() != 2:
                time.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            with self.assertRaises(grpc.RpcError) as caught:
                list(call)
            self.assertIn(caught.exception.code(),
                          (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED))
            self.assertEqual(server.process.wait(PATIENCE), 0)

    def test_ports(self):
        with Server() as server:
            port = server.grpc_address.split(":")[-1]
            command = [grpc_harness.BINARY, "serve", "--model", grpc_harness.MODEL, "--http-port", "0",
                       "--log-level", "warning"]
            second = subprocess.run([*command, "--grpc-port", port], capture_output=True, text=True,
                                    timeout=PATIENCE)
            self.assertNotEqual(second.returncode, 0)
            self.assertIn(port, second.stderr)
        off = subprocess.Popen([*command, "--no-grpc"], stdout=subprocess.PIPE, text=True)
        lines = []
        for line in off.stdout:
            lines.append(line)
            if line.startswith("listening on"):
                break
        off.send_signal(signal.SIGTERM)
        self.assertEqual(off.wait(PATIENCE), 0)
        off.stdout.close()
        self.assertFalse([line for line in lines if "gRPC" in line])


if __name__ == "__main__":
    grpc_harness.main()
