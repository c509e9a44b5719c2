"""The tests of gRPC share this: a server process with its channel, and the command line of a test."""

import argparse
import json
import re
import signal
import subprocess
import sys
import time
import unittest
import urllib.request

import deltaserve_pb2 as pb
import deltaserve_pb2_grpc as pb_grpc
import grpc

BINARY = ""
MODEL = ""
SANITIZED = False
PROMPT = "Once upon a time"
SERVICE = "deltaserve.v1.DeltaServe"
LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
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

    def metric(self, name):
        """A value of /metrics; 0 if it is not there yet."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=PATIENCE) as reply:
            found = re.search("^%s (\\S+)$" % re.escape(name), reply.read().decode(), re.M)
        return float(found[1]) if found else 0

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


def main():
    global BINARY, MODEL, SANITIZED
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sanitized", action="store_true")
    arguments, rest = parser.parse_known_args()
    BINARY, MODEL, SANITIZED = arguments.binary, arguments.model, arguments.sanitized
    unittest.main(module="__main__", argv=[sys.argv[0], *rest], verbosity=2)
