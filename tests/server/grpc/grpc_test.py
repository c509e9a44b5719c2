#!/usr/bin/env python3
"""The gRPC front, from outside, by Debian's grpcio: what one server answers.

    PYTHONPATH=build/release/tests/server/grpc/stubs python3 tests/server/grpc/grpc_test.py \\
        --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import concurrent.futures
import itertools
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import deltaserve_pb2 as pb
import grpc
import grpc_harness
from grpc_harness import PATIENCE, PROMPT, SERVICE, GrpcTest, Server

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../e2e"))
import scripted_model

MIB = 1 << 20


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
                                    3000 if grpc_harness.SANITIZED else 20_000))
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

    def test_embeddings_as_over_http(self):
        stub, texts = self.server.stub, ["Once upon a time", "The dog barked.", PROMPT]
        over_http = self.server.http("/v1/embeddings", input=texts, user="me")
        reply = stub.Embed(pb.EmbedRequest(input=texts, user="me"), timeout=PATIENCE)
        self.assertEqual([one.index for one in reply.data], [0, 1, 2])
        vectors = [list(one.embedding) for one in reply.data]
        for vector, one in zip(vectors, over_http["data"]):
            self.assertEqual(struct.pack("<%df" % len(vector), *vector),
                             struct.pack("<%df" % len(vector), *one["embedding"]))
        self.assertEqual(reply.usage.prompt_tokens, over_http["usage"]["prompt_tokens"])
        ids = [pb.TokenIds(ids=stub.Tokenize(pb.TokenizeRequest(prompt=text)).tokens) for text in texts]
        again = stub.Embed(pb.EmbedRequest(input_token_ids=ids, dimensions=len(vectors[0])), timeout=PATIENCE)
        self.assertEqual([list(one.embedding) for one in again.data], vectors)
        cut = stub.Embed(pb.EmbedRequest(input=texts[2:], truncate_prompt_tokens=3), timeout=PATIENCE)
        last = stub.Embed(pb.EmbedRequest(input_token_ids=[pb.TokenIds(ids=ids[2].ids[-3:])]), timeout=PATIENCE)
        self.assertEqual(cut.data[0], last.data[0])
        self.assertEqual(cut.usage.prompt_tokens, 3)
        many = stub.Embed(pb.EmbedRequest(input=["text %d" % i for i in range(200)]), timeout=PATIENCE)
        self.assertEqual(len(many.data), 200)
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        for fields, words in (({}, "input"), ({"input": ["a"] * 1025}, "input: more than 1024 prompts"),
                              ({"input": ["a"], "dimensions": 3}, "dimensions"),
                              ({"input_token_ids": [pb.TokenIds(ids=[-1])]}, "input_token_ids[0]"),
                              ({"input": ["a"], "truncation_side": "up"}, "truncation_side")):
            self.assert_code(invalid, lambda: stub.Embed(pb.EmbedRequest(**fields)), words)
        self.assert_code(grpc.StatusCode.NOT_FOUND, lambda: stub.Embed(pb.EmbedRequest(model="gpt", input=["a"])))
        long = pb.EmbedRequest(input_token_ids=[pb.TokenIds(ids=[5, 6, 7, 8] * 200_000)])
        def cancelled():
            return self.server.metric('deltaserve_grpc_responses_total{method="Embed",code="CANCELLED"}')

        before = cancelled()
        for timeout in (0.01, 0.05, 0.3):
            self.assert_code(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: stub.Embed(long, timeout=timeout))
        self.server.wait_idle()
        self.assertEqual(cancelled(), before)
        call = stub.Embed.future(long)
        self.server.wait_for(lambda engine: engine.running == 1)
        call.cancel()
        self.server.wait_idle()

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
            list(pool.map(one, range(50 if grpc_harness.SANITIZED else 400)))
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
        code = ("import grpc, os, deltaserve_pb2 as p, "
                "deltaserve_pb2_grpc as g; s = g.DeltaServeStub(grpc.insecure_channel(%r)); "
                "c = [s.Generate(p.GenerateRequest(prompt='a', max_tokens=1 << 24, "
                "ignore_eos=True)) for _ in range(3)]; [next(x) for x in c]; os._exit(1)")
        subprocess.run([sys.executable, "-c", code % self.server.grpc_address])
        self.server.wait_idle()


if __name__ == "__main__":
    grpc_harness.main()
