#!/usr/bin/env python3
"""The gRPC front, from outside, by Debian's grpcio.

    python3 grpc_test.py --binary build/release/bin/deltaserve --model models/bundled \\
        --stubs build/release/tests/server/grpc/stubs [-k NAME]

Starts servers on free ports and stops them.
"""

import argparse
import concurrent.futures
import itertools
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
import urllib.request

import grpc

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../e2e"))
import scripted_model

BINARY = ""
MODEL = ""
SANITIZED = False
PROMPT = "Once upon a time"
SERVICE = "deltaserve.v1.DeltaServe"
LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
# A client that takes little before it reads.
NARROW = [("grpc.http2.lookahead_bytes", 65_536), ("grpc.http2.bdp_probe", 0)]
MIB = 1 << 20
PATIENCE = 300  # seconds for what must happen, however busy the machine is


class Server:
    """A server process and a channel to it; a context manager."""

    def __init__(self, *options, key=None, credentials=None, channel_options=(), model=None):
        command = [BINARY, "serve", "--model", model or MODEL, "--http-port", "0", "--grpc-port", "0",
                   "--log-level", "warning", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.grpc_address = self.url = None
        for line in self.process.stdout:
            found = re.match(r"gRPC on (\S+)", line)
            if found:
                self.grpc_address = found[1]
            found = re.match(r"listening on (https?://\S+)", line)
            if found:
                self.url = found[1]
                break
        if self.url is None or self.grpc_address is None:
            self.process.kill()
            self.process.wait()
            raise RuntimeError("the server did not start")
        self.metadata = [("authorization", "Bearer " + key)] if key else []
        if credentials is None:
            self.channel = grpc.insecure_channel(self.grpc_address,
                                                 options=[*LARGE, *channel_options])
        else:
            port = self.grpc_address.split(":")[-1]
            self.channel = grpc.secure_channel("localhost:" + port, credentials,
                                               options=[*LARGE, *channel_options])
        self.stub = pb_grpc.DeltaServeStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        if self.process.returncode != 0:
            raise AssertionError("the server ended with %d" % self.process.returncode)

    def generate(self, timeout=PATIENCE, metadata=None, **fields):
        if "prompt" not in fields and "prompt_token_ids" not in fields:
            fields["prompt"] = PROMPT
        return self.stub.Generate(pb.GenerateRequest(**fields), timeout=timeout,
                                  metadata=self.metadata if metadata is None else metadata)

    def answer(self, **fields):
        """[(text, tokens, finish_reason)] of the choices, and the usage."""
        texts, tokens, reasons, usage = {}, {}, {}, None
        for piece in self.generate(**fields):
            if usage is not None:
                raise AssertionError("a piece after the usage")
            texts[piece.index] = texts.get(piece.index, "") + piece.text
            tokens.setdefault(piece.index, []).extend(piece.token_ids)
            if piece.finish_reason:
                reasons[piece.index] = piece.finish_reason
            if piece.HasField("usage"):
                usage = piece.usage
        return [(texts[i], tokens[i], reasons[i]) for i in sorted(texts)], usage

    def engine(self):
        return self.stub.GetModel(pb.GetModelRequest(), metadata=self.metadata, timeout=PATIENCE).engine

    def wait_idle(self):
        """Returns the counters when no slot is in use."""
        return self.wait_for(lambda e: e.running == 0 and e.waiting == 0)

    def wait_for(self, condition):
        start = time.monotonic()
        while time.monotonic() - start < PATIENCE:
            state = self.engine()
            if condition(state):
                return state
            time.sleep(0.005)
        raise AssertionError("the engine is %s" % state)

    def health(self, service=""):
        """1 = SERVING, 2 = NOT_SERVING."""
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        name = service.encode()
        reply = check(b"\n" + bytes([len(name)]) + name if name else b"", timeout=PATIENCE)
        return reply[1] if reply else 0

    def chat(self, content, **fields):
        """The answer to a message of a user, as the pieces add up: a dict as of the JSON, and the finish reason."""
        message, reason = {"role": "", "content": "", "reasoning_content": "", "tool_calls": []}, 0
        request = pb.ChatRequest(messages=[pb.ChatMessage(role="user", content=content)], **fields)
        for piece in self.stub.Chat(request, timeout=PATIENCE, metadata=self.metadata):
            for name in ("role", "content", "reasoning_content"):
                message[name] += getattr(piece.delta, name)
            for call in piece.delta.tool_calls:
                if call.index == len(message["tool_calls"]):
                    message["tool_calls"].append({"id": call.id, "name": call.function.name, "arguments": ""})
                message["tool_calls"][call.index]["arguments"] += call.function.arguments
            reason = piece.finish_reason or reason
        return message, reason

    def http(self, path="/v1/completions", **body):
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(),
            {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            return json.load(reply)

    def resident_bytes(self):
        with open("/proc/%d/status" % self.process.pid) as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024


class GrpcTest(unittest.TestCase):
    def assert_code(self, code, call, text=""):
        with self.assertRaises(grpc.RpcError) as caught:
            result = call()
            if isinstance(result, grpc.Call) and hasattr(result, "__iter__"):
                list(result)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assertIn(text, caught.exception.details())


class ToolCallTest(GrpcTest):
    def test_calls_and_reasoning_are_told_apart(self):
        text = ('<think>Rome.</think>Look.\n<tool_call>\n{"name": "f", "arguments": {"city": "Röm"}}\n</tool_call>')
        template = ("{# <tool_call> <think> #}{% for m in messages %}{{ m.content }}{% endfor %}"
                    "{% if add_generation_prompt %}\n: {% endif %}")
        with tempfile.TemporaryDirectory() as root:
            folder = os.path.join(root, "model")
            scripted_model.write_model(folder, [text], template, {"<think>": False, "<tool_call>": False})
            with Server(model=folder) as server:
                tool = pb.Tool(function=pb.Tool.Function(name="f", parameters='{"type": "object"}'))
                message, reason = server.chat("s0", tools=[tool])
                self.assertEqual(reason, pb.FINISH_REASON_TOOL_CALLS)
                self.assertEqual((message["content"], message["reasoning_content"]), ("Look.", "Rome."))
                self.assertEqual([(call["name"], json.loads(call["arguments"])) for call in message["tool_calls"]],
                                 [("f", {"city": "Röm"})])
                none, reason = server.chat("s0", tools=[tool], tool_choice=pb.ToolChoice(mode="none"))
                self.assertEqual((none["tool_calls"], reason), ([], pb.FINISH_REASON_STOP))


class SharedServerTest(GrpcTest):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-sequences", "8")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_stream(self):
        pieces = list(self.server.generate(max_tokens=12, temperature=0, ignore_eos=True))
        self.assertEqual(sum(len(p.token_ids) for p in pieces), 12)
        self.assertEqual([p.finish_reason for p in pieces[:-1]], [0] * (len(pieces) - 1))
        last = pieces[-1]
        self.assertEqual(last.finish_reason, pb.FINISH_REASON_LENGTH)
        self.assertEqual(last.usage.completion_tokens, 12)
        self.assertEqual(last.usage.prompt_tokens, last.prompt_tokens_read)
        self.assertEqual(last.usage.total_tokens, 12 + last.usage.prompt_tokens)

    def test_a_prompt_is_reused(self):
        ids = pb.TokenIds(ids=[5 + i * 7 % 4000 for i in range(300)])

        def ask(**fields):
            last = list(self.server.generate(prompt_token_ids=ids, max_tokens=2, ignore_eos=True,
                                             **fields))[-1]
            self.assertEqual(last.usage.prompt_tokens, 300)
            self.assertGreater(last.timings.time_to_first_token_ms, 0)
            return last.usage.cached_prompt_tokens

        self.assertEqual([ask(), ask(), ask(cache_salt="s"), ask(cache_salt="s")],
                         [0, 256, 0, 256])
        last = list(self.server.generate(prompt_token_ids=ids, max_tokens=0))[-1]
        self.assertFalse(last.timings.HasField("time_to_first_token_ms"))

    def test_same_answers_as_over_http(self):
        model = self.server.stub.GetModel(pb.GetModelRequest()).name
        for parameters in (
                {"temperature": 0},
                {"seed": 7, "n": 3},
                {"seed": 7, "temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.01},
                {"seed": 1, "presence_penalty": 1, "frequency_penalty": 0.5},
                {"seed": 1, "repetition_penalty": 1.5, "min_tokens": 20},
                {"temperature": 0, "stop": ["time", "the"], "include_stop_str_in_output": True},
                {"seed": 3, "max_tokens": 0}):
            parameters = {"model": model, "prompt": PROMPT, "max_tokens": 24, **parameters}
            over_http = self.server.http(**parameters)
            choices, usage = self.server.answer(**parameters)
            self.assertEqual([c["text"] for c in over_http["choices"]], [c[0] for c in choices])
            reasons = {"stop": pb.FINISH_REASON_STOP, "length": pb.FINISH_REASON_LENGTH}
            self.assertEqual([reasons[c["finish_reason"]] for c in over_http["choices"]],
                             [c[2] for c in choices])
            self.assertEqual(over_http["usage"]["completion_tokens"], usage.completion_tokens)
            self.assertEqual(over_http["usage"]["prompt_tokens"], usage.prompt_tokens)
        biased = {"prompt": PROMPT, "max_tokens": 4, "temperature": 0}
        over_http = self.server.http(model=model, logit_bias={"300": 100}, **biased)
        choices, _ = self.server.answer(logit_bias={300: 100}, **biased)
        self.assertEqual(over_http["choices"][0]["text"], choices[0][0])
        self.assertEqual(choices[0][1], [300] * 4)

    def test_chat_answers_as_over_http(self):
        over_http = self.server.http("/v1/chat/completions", messages=[{"role": "user", "content": "Tell me a story."}],
                                     temperature=0, max_tokens=30)
        message, reason = self.server.chat("Tell me a story.", temperature=0, max_tokens=30)
        self.assertEqual(message["content"], over_http["choices"][0]["message"]["content"])
        self.assertEqual((message["role"], reason), ("assistant", pb.FINISH_REASON_LENGTH))
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        self.assert_code(invalid, lambda: self.server.stub.Chat(pb.ChatRequest()), "messages is required")
        tool = pb.Tool(function=pb.Tool.Function(name="a b"))
        self.assert_code(invalid, lambda: self.server.chat("Hi", tools=[tool]), "tools[0].function.name")

    def test_logprobs(self):
        pieces = list(self.server.generate(max_tokens=5, temperature=0, logprobs=3,
                                           prompt_logprobs=2, ignore_eos=True))
        prompt = [l for p in pieces for l in p.prompt_logprobs]
        generated = [l for p in pieces for l in p.logprobs]
        tokens = [t for p in pieces for t in p.token_ids]
        self.assertEqual(len(prompt), pieces[-1].usage.prompt_tokens - 1)
        self.assertEqual([l.token_id for l in generated], tokens)
        for logprob in generated:
            self.assertEqual(len(logprob.top), 3)
            self.assertEqual(logprob.top[0].token_id, logprob.token_id)  # greedy
            self.assertLessEqual(logprob.logprob, 0)
        self.assertEqual(b"".join(l.token for l in generated).decode(errors="replace").strip(),
                         "".join(p.text for p in pieces).strip())

    def test_many_prompt_logprobs(self):
        ids = list(itertools.islice(itertools.cycle(range(300, 1300)),
                                    3000 if SANITIZED else 20_000))
        pieces = list(self.server.generate(prompt_token_ids=pb.TokenIds(ids=ids), max_tokens=0,
                                           prompt_logprobs=20))
        self.assertEqual([l.token_id for p in pieces for l in p.prompt_logprobs], ids[1:])
        self.assertLess(max(p.ByteSize() for p in pieces), MIB)

    def test_structured_outputs(self):
        def text(**constraint):
            choices, _ = self.server.answer(
                max_tokens=120, seed=5, structured_outputs=pb.StructuredOutputs(**constraint))
            return choices[0][0]

        self.assertRegex(text(regex="[a-c]{3}[0-9]"), r"\A[a-c]{3}[0-9]\Z")
        choice = pb.StructuredOutputs.Choice(texts=["left", "right"])
        self.assertIn(text(choice=choice), ("left", "right"))
        self.assertIn(text(grammar='root ::= "x" ("y" | "z")'), ("xy", "xz"))
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}},
                  "required": ["ok"], "additionalProperties": False}
        self.assertIsInstance(json.loads(text(json=json.dumps(schema)))["ok"], bool)
        self.assert_code(
            grpc.StatusCode.INVALID_ARGUMENT,
            lambda: self.server.generate(structured_outputs=pb.StructuredOutputs(regex="(")),
            "structured_outputs")

    def test_tokenize(self):
        stub = self.server.stub
        plain = stub.Tokenize(pb.TokenizeRequest(prompt=PROMPT, add_special_tokens=False))
        full = stub.Tokenize(pb.TokenizeRequest(prompt=PROMPT))
        self.assertEqual(plain.count, len(plain.tokens))
        self.assertEqual(list(full.tokens)[-plain.count:], list(plain.tokens))
        text = stub.Detokenize(pb.DetokenizeRequest(tokens=plain.tokens)).prompt
        self.assertEqual(text, PROMPT)
        choices, usage = self.server.answer(prompt_token_ids=pb.TokenIds(ids=full.tokens),
                                            temperature=0)
        self.assertEqual(usage.prompt_tokens, full.count)
        self.assertEqual(choices, self.server.answer(temperature=0)[0])
        self.assert_code(grpc.StatusCode.INVALID_ARGUMENT,
                         lambda: stub.Detokenize(pb.DetokenizeRequest(tokens=[-1])), "tokens")

    def test_model(self):
        model = self.server.stub.GetModel(pb.GetModelRequest())
        self.assertGreater(model.vocab_size, 1000)
        self.assertTrue(model.has_tokenizer)
        self.assertEqual(model.engine.slots, 8)
        before = self.server.wait_idle()
        self.server.answer(max_tokens=5, ignore_eos=True)
        after = self.server.wait_idle()
        self.assertEqual(after.generated_tokens, before.generated_tokens + 5)
        self.assertEqual(after.finished, before.finished + 1)

    def test_metrics(self):
        self.server.answer(max_tokens=2)
        self.assert_code(grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.generate(n=0))
        expected = [re.escape('deltaserve_grpc_responses_total{method="Generate",code="%s"} ' % code)
                    + "[1-9]" for code in ("OK", "INVALID_ARGUMENT")]
        expected.append("deltaserve_time_to_first_token_seconds_count [1-9]")
        # A call is counted after the client has its status.
        start, missing = time.monotonic(), expected
        while missing and time.monotonic() - start < PATIENCE:
            with urllib.request.urlopen(self.server.url + "/metrics", timeout=PATIENCE) as reply:
                page = reply.read().decode()
            missing = [line for line in expected if not re.search(line, page)]
        self.assertEqual(missing, [])

    def test_request_ids(self):
        call = self.server.generate(max_tokens=1, metadata=[("x-request-id", "mine-1")])
        self.assertIn(("x-request-id", "mine-1"), tuple(call.initial_metadata()))
        list(call)
        call = self.server.generate(max_tokens=1)
        self.assertGreater(len(dict(call.initial_metadata())["x-request-id"]), 8)
        list(call)

    def test_errors_name_the_field(self):
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        for field, value in (("temperature", -1), ("top_p", 0), ("n", 0), ("n", 129), ("top_k", -2),
                             ("max_tokens", -1), ("logprobs", 21), ("min_p", 2),
                             ("stop", [""]), ("presence_penalty", 3), ("stop_token_ids", [-1])):
            self.assert_code(invalid, lambda: self.server.generate(**{field: value}), field)
        self.assert_code(invalid, lambda: self.server.generate(
            prompt_token_ids=pb.TokenIds(ids=[1 << 30])), "prompt_token_ids")
        self.assert_code(grpc.StatusCode.NOT_FOUND, lambda: self.server.generate(model="gpt"))
        for call in (self.server.stub.Tokenize, self.server.stub.Detokenize,
                     self.server.stub.GetModel):
            request = {"Tokenize": pb.TokenizeRequest, "Detokenize": pb.DetokenizeRequest,
                       "GetModel": pb.GetModelRequest}[call._method.decode().split("/")[-1]]
            self.assert_code(grpc.StatusCode.NOT_FOUND, lambda: call(request(model="gpt")))
        raw = self.server.channel.unary_stream("/%s/Generate" % SERVICE)
        self.assert_code(invalid, lambda: raw(b"\xff\xff\xff"), "protocol buffer")
        self.assert_code(invalid, lambda: raw(b"\x12\x02\xc3\x28"), "UTF-8")
        self.assert_code(invalid, lambda: raw(b"\x12\x01a\xf8\x3f\x01"), "unknown field")
        self.assert_code(invalid, lambda: raw(b""), "prompt")
        self.assert_code(grpc.StatusCode.UNIMPLEMENTED, lambda: self.server.channel.unary_unary(
            "/%s/Nothing" % SERVICE)(b""))

    def test_compressed_messages_are_refused(self):
        for algorithm in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            self.assert_code(
                grpc.StatusCode.UNIMPLEMENTED,
                lambda: self.server.stub.Generate(
                    pb.GenerateRequest(prompt="a" * MIB), compression=algorithm, timeout=PATIENCE))
        self.server.answer(max_tokens=1)

    def test_health(self):
        self.assertEqual(self.server.health(), 1)
        self.assertEqual(self.server.health(SERVICE), 1)
        self.assert_code(grpc.StatusCode.NOT_FOUND, lambda: self.server.health("other"))

    def test_reflection(self):
        for version in ("v1", "v1alpha"):
            with self.subTest(version):
                self.check_reflection("grpc.reflection.%s.ServerReflection" % version)

    def check_reflection(self, service):
        info = self.server.channel.stream_stream("/%s/ServerReflectionInfo" % service)
        symbol = SERVICE.encode()
        replies = list(info(iter([b"\x3a\x01*", b"\x22" + bytes([len(symbol)]) + symbol]),
                            timeout=PATIENCE))
        self.assertIn(symbol, replies[0])
        self.assertIn(service.encode(), replies[0])
        self.assertIn(b"prompt_token_ids", replies[1])
        health = b"grpc.health.v1.Health"
        self.assertIn(health, replies[0])
        (described,) = info(iter([b"\x22" + bytes([len(health)]) + health]), timeout=PATIENCE)
        self.assertIn(b"HealthCheckRequest", described)
        (error,) = info(iter([b"\x1a\x01x"]), timeout=PATIENCE)
        self.assertIn(b"no such thing", error)
        self.assert_code(grpc.StatusCode.INVALID_ARGUMENT,
                         lambda: list(info(iter([b"\x1a\xa0\x1f" + b"x" * 4000]), timeout=PATIENCE)))

    def test_deadline(self):
        # The client's own library would end the call too: that the server does is seen in the slot.
        self.assert_code(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            lambda: self.server.generate(timeout=0.5, max_tokens=1 << 24, ignore_eos=True))
        self.server.wait_idle()

    def test_cancel_frees_the_slot(self):
        before = self.server.wait_idle()
        call = self.server.generate(max_tokens=1 << 24, ignore_eos=True, n=4)
        next(call)
        self.assertEqual(self.server.engine().running, 4)
        call.cancel()
        after = self.server.wait_idle()
        self.assertEqual(after.cancelled, before.cancelled + 4)

    def test_cancels_at_any_time(self):
        def one(i):
            call = self.server.generate(max_tokens=200, n=1 + i % 3, prompt=PROMPT * (i % 50 + 1))
            threading.Timer((i % 17) * 0.002, call.cancel).start()
            try:
                for _ in call:
                    pass
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.CANCELLED)

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(one, range(50 if SANITIZED else 400)))
        self.server.wait_idle()
        self.server.answer(max_tokens=1)

    def test_floods_are_closed(self):
        """A connection that sends frames without end ends, and nobody else notices."""
        def frame(kind, payload=b"", stream=0):
            return (len(payload).to_bytes(3, "big") + bytes([kind, 0]) +
                    stream.to_bytes(4, "big") + payload)

        host, port = self.server.grpc_address.rsplit(":", 1)
        for flood in (frame(3, b"\0\0\0\x08", 1), frame(4), frame(6, b"12345678")):
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4))
                with self.assertRaises(OSError):
                    for _ in range(10000):
                        connection.sendall(flood * 100)
            self.server.answer(max_tokens=1)
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            self.assertEqual(connection.recv(100), b"")
        page = urllib.request.urlopen(self.server.url + "/metrics").read().decode()
        for reason in ("too many resets", "too many settings", "too many pings", "not HTTP/2"):
            self.assertIn('deltaserve_grpc_connections_closed_total{reason="%s"} 1' % reason, page)

    def test_a_dead_connection_frees_its_slots(self):
        code = ("import grpc, sys, os; sys.path.insert(0, %r); import deltaserve_pb2 as p, "
                "deltaserve_pb2_grpc as g; s = g.DeltaServeStub(grpc.insecure_channel(%r)); "
                "c = [s.Generate(p.GenerateRequest(prompt='a', max_tokens=1 << 24, "
                "ignore_eos=True)) for _ in range(3)]; [next(x) for x in c]; os._exit(1)")
        subprocess.run([sys.executable, "-c", code % (sys.path[0], self.server.grpc_address)])
        self.server.wait_idle()


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
            count = 1000 if SANITIZED else 3000
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
            if not SANITIZED:
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
            if not SANITIZED:
                self.assertLess(server.resident_bytes() - start, 800 * MIB)
            server.answer(max_tokens=1)

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
            count = 1000 if SANITIZED else 10000
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
            command = [BINARY, "serve", "--model", MODEL, "--http-port", "0",
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--stubs", required=True)
    parser.add_argument("--sanitized", action="store_true")
    arguments, rest = parser.parse_known_args()
    BINARY, MODEL, SANITIZED = arguments.binary, arguments.model, arguments.sanitized
    sys.path.insert(0, arguments.stubs)
    import deltaserve_pb2 as pb  # noqa: E402
    import deltaserve_pb2_grpc as pb_grpc  # noqa: E402
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
