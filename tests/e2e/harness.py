"""The end-to-end tests share this: a server process, raw HTTP, and the command line of a test."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.error
import urllib.request

import openai

BINARY = ""
MODEL = ""
SANITIZED = False
PATIENCE = 300  # seconds for what must happen, however busy the machine is
PROMPT = "Once upon a time"

# Parameters that the client sends in extra_body.
EXTRA = ("top_k", "min_p", "ignore_eos", "stop_token_ids", "return_token_ids", "min_tokens",
         "repetition_penalty", "include_stop_str_in_output", "structured_outputs", "priority",
         "deadline_ms", "add_generation_prompt", "continue_final_message", "chat_template",
         "chat_template_kwargs", "cache_salt", "skip_special_tokens", "add_special_tokens")


def eventually(condition, complaint):
    """Seconds until `condition()` holds."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > PATIENCE:
            raise AssertionError(complaint())
        time.sleep(0.002)
    return time.monotonic() - start


class Server:
    """A server process; a context manager. `wrapper` is a command that runs the one behind it."""

    def __init__(self, *options, key=None, model=None, wrapper=()):
        command = [*wrapper, BINARY, "serve", "--model", model or MODEL, "--http-port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, errors="replace")
        self.log = []  # lines of stderr
        self.banner = ""  # what it said before it listened
        self.log_reader = threading.Thread(target=self.read_log, daemon=True)
        self.log_reader.start()
        for line in self.process.stdout:
            self.banner += line
            found = re.match(r"listening on (https?)://([^:]+):(\d+)", line)
            if found:
                self.address = (found[2], int(found[3]))
                break
        else:
            self.process.wait()
            self.close()
            raise RuntimeError("the server did not start: %s" % "".join(self.log))
        grpc = re.search(r"gRPC on ([0-9.]+):(\d+)", self.banner)
        self.grpc_address = grpc and (grpc[1], int(grpc[2]))
        self.url = "%s://%s:%d" % (found[1], *self.address)
        self.key = key
        if found[1] == "https":
            return  # the test brings a client that trusts the certificate
        self.client = openai.OpenAI(
            base_url=self.url + "/v1", api_key=key or "none", max_retries=0, timeout=PATIENCE)
        self.model = self.client.models.list().data[0].id

    def read_log(self):
        for line in self.process.stderr:
            self.log.append(line)

    def log_lines(self, pattern, count=1):
        """The lines that match, once there are `count` of them; the log lags behind a reply."""
        def found():
            return [line for line in self.log if re.search(pattern, line)]

        eventually(lambda: len(found()) >= count,
                   lambda: "%r is not in the log:\n%s" % (pattern, "".join(self.log[-20:])))
        return found()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.close()

    def close(self):
        self.log_reader.join()
        self.process.stdout.close()
        self.process.stderr.close()

    def complete(self, **parameters):
        extra = {k: parameters.pop(k) for k in list(parameters) if k in EXTRA}
        return self.client.completions.create(
            **{"model": self.model, "prompt": PROMPT, "extra_body": extra, **parameters})

    def chat(self, messages=None, **parameters):
        extra = {k: parameters.pop(k) for k in list(parameters) if k in EXTRA}
        messages = messages or [{"role": "user", "content": "Tell me a story about a dog."}]
        return self.client.chat.completions.create(
            **{"model": self.model, "messages": messages, "extra_body": extra, **parameters})

    def request(self, path, body=None, headers=None):
        """(status, bytes, headers) of a GET, or of a POST of `body` as JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        if self.key and "Authorization" not in headers:
            headers["Authorization"] = "Bearer " + self.key
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
                return reply.status, reply.read(), reply.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers

    def get(self, path):
        """(status, JSON)"""
        status, body, _ = self.request(path)
        return status, json.loads(body)

    def post(self, path, body):
        """(status, JSON)"""
        status, body, _ = self.request(path, body)
        return status, json.loads(body)

    def metric(self, name):
        """The value of a sample, by its name with labels; 0 if it is not there."""
        page = self.request("/metrics")[1].decode()
        found = re.search("^" + re.escape(name) + r" (\S+)$", page, re.M)
        return float(found[1]) if found else 0.0

    def connect(self):
        connection = socket.create_connection(self.address, timeout=PATIENCE)
        return connection

    def raw(self, data, timeout=PATIENCE):
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

    def wait_load(self, running, waiting=0):
        """Seconds until so many sequences run and wait."""
        def state():
            reply = self.get("/ready")[1]
            return reply["running"], reply["waiting"]

        return eventually(lambda: state() == (running, waiting),
                          lambda: "running and waiting are %s" % (state(),))

    def wait_idle(self):
        """Seconds until no slot is in use."""
        return self.wait_load(0)


def post(body, headers="", version="1.1", path="/v1/completions"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (f"POST {path} HTTP/{version}\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n{headers}\r\n")
    return head.encode() + data


def status_of(reply):
    return int(reply.split(b" ", 2)[1]) if reply else None


def body_of(reply):
    return reply.split(b"\r\n\r\n", 1)[1]


def get(path, headers="", version="1.1"):
    return f"GET {path} HTTP/{version}\r\nHost: localhost\r\n{headers}\r\n".encode()


def events_of(reply):
    """The data of the server-sent events in a raw reply, chunked or not."""
    return re.findall(rb"data: (.*?)\n\n", reply, re.S)


def resident_mib(server, field="VmRSS"):
    with open("/proc/%d/status" % server.process.pid) as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def peak_mib(server):
    return resident_mib(server, "VmHWM")


HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)


def speaks_grpc(address):
    """Whether somebody at the address answers as HTTP/2 does."""
    try:
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            connection.sendall(HTTP2_PREFACE)
            return len(connection.recv(9)) == 9
    except OSError:
        return False


class Oracle:
    """Checks what must hold after every attack, however it went. Make it before the attack."""

    def __init__(self, server):
        self.server = server
        self.resident = resident_mib(server)

    def check(self, most_mib):
        """Memory comes back to what it was, and at most so much more; both ports answer; a small
        request is served, and the log tells of it."""
        server = self.server
        if not SANITIZED:
            eventually(lambda: resident_mib(server) <= self.resident + most_mib,
                       lambda: "%d MiB were resident before, and now %d"
                       % (self.resident, resident_mib(server)))
        if server.grpc_address:
            eventually(lambda: speaks_grpc(server.grpc_address), lambda: "gRPC does not answer")
        request_id = "after-%d" % time.monotonic_ns()

        def served():
            return server.request("/v1/completions", {"prompt": PROMPT, "max_tokens": 1},
                                  {"x-request-id": request_id})[0] == 200

        eventually(served, lambda: "a small request is not served")
        server.log_lines("request_id=%s .*status=200" % request_id)
        eventually(lambda: server.get("/ready")[0] == 200, lambda: "the server is not ready")


class WithServer(unittest.TestCase):
    OPTIONS = ()
    # A class whose tests are attacks sets what the server may have more after each of them.
    MOST_MIB_AFTER = None

    def setUp(self):
        if self.MOST_MIB_AFTER is not None:
            self.addCleanup(Oracle(self.server).check, self.MOST_MIB_AFTER)

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.OPTIONS)
        cls.addClassCleanup(cls.server.__exit__)

    def assert_memory(self, mib, most):
        """A sanitizer's own memory is not bounded here; everything else of the test still holds."""
        if not SANITIZED:
            self.assertLess(mib, most)


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
    unittest.main(module="__main__", argv=[sys.argv[0], *rest])
