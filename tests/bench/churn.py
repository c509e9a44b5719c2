#!/usr/bin/env python3
"""Asks one server many random requests and says what differs, what is lost and what grows.

    python3 tests/bench/churn.py --binary build/release/bin/deltaserve --model models/bundled \\
        --stubs build/release/tests/server/grpc/stubs [--requests 10000] [--clients 64] [--tokens N]

The requests are conversations that grow, with schemas, stop strings, penalties, several choices, salts
and seeds, streamed or not, over HTTP and gRPC. Each is first asked alone of a server that keeps no
states; then all clients ask at once, far more than there are slots, and some of them hang up in the
middle. Every whole answer must equal the one that was given alone: texts, token ids and
log-probabilities. Meanwhile the server's gauges are read. With --tokens nothing is reused, and it goes
on until so many prompt tokens were computed. Exit code 1: an answer differs, a slot is lost, or a gauge is wrong.

Needs Debian's python3-grpcio. Figures, not a test of CI.
"""

import argparse
import collections
import http.client
import json
import random
import re
import subprocess
import sys
import threading
import time

SLOTS = 8
QUEUE = 64
SCHEMAS = [
    {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12},
                                      "age": {"type": "integer"}}, "required": ["name", "age"],
     "additionalProperties": False},
    {"type": "array", "items": {"enum": ["cat", "dog", "bird"]}, "maxItems": 4},
]


class Server:
    def __init__(self, binary, model, *options):
        command = [binary, "serve", "--model", model, "--http-port", "0", "--grpc-port", "0",
                   "--log-level", "error", "--max-queue", str(QUEUE), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if found := re.match(r"gRPC on (\S+)", line):
                self.grpc = found[1]
            if found := re.match(r"listening on http://([^:]+):(\d+)", line):
                self.address = (found[1], int(found[2]))
                return
        raise SystemExit("the server did not start")

    def close(self):
        self.process.terminate()
        self.process.wait()

    def connect(self):
        return http.client.HTTPConnection(*self.address, timeout=600)

    def gauges(self):
        connection = self.connect()
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
        connection.close()
        return {name: float(value) for name, value in
                re.findall(r"^(deltaserve_\w+) ([0-9.e+-]+)$", page, re.M)}

    def resident_kib(self):
        with open("/proc/%d/status" % self.process.pid, encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])


def make_requests(count, seed):
    """Bodies of completions that share beginnings."""
    rng = random.Random(seed)
    texts = ["Once upon a time there was a %s who lived in a %s. " % pair
             for pair in (("dog", "house"), ("girl", "forest"), ("king", "castle"), ("cat", "box"))]
    requests = []
    for _ in range(count):
        index = rng.randrange(len(texts))
        text = texts[index]
        if rng.random() < 0.7:
            texts[index] = text + "One day it said: %s. " % " ".join(
                rng.choices(["sun", "tree", "river", "bread", "song", "stone"], k=rng.randint(5, 60)))
        if len(text) > 4000:
            texts[index] = text[:1000]
        body = {"prompt": text, "max_tokens": rng.choice([0, 1, 5, 12, 24]), "seed": rng.randrange(5),
                "temperature": rng.choice([0, 0.8, 1]), "logprobs": rng.choice([0, 1, 3]),
                "return_token_ids": True}
        if rng.random() < 0.2:
            body["n"] = rng.randint(2, 4)
        if rng.random() < 0.2:
            body["stop"] = [rng.choice("abcdefg")]
        if rng.random() < 0.2:
            body["repetition_penalty"] = 1.3
        if rng.random() < 0.15:
            body["structured_outputs"] = {"json": rng.choice(SCHEMAS)}
            body["max_tokens"] = 40
        if rng.random() < 0.1:
            body["cache_salt"] = "salt"
        requests.append(body)
    return requests


def answers_of(reply):
    """Returns the parts of a whole reply that must be equal."""
    return [(c["text"], tuple(c["token_ids"]), tuple(c["logprobs"]["token_logprobs"]), c["finish_reason"])
            for c in sorted(reply["choices"], key=lambda c: c["index"])]


def fold(events):
    """A whole reply out of a stream's events."""
    choices = {}
    for event in events:
        for part in event["choices"]:
            whole = choices.setdefault(part["index"], {
                "index": part["index"], "text": "", "token_ids": [],
                "logprobs": {"token_logprobs": []}, "finish_reason": None})
            whole["text"] += part["text"]
            whole["token_ids"] += part.get("token_ids") or []
            whole["logprobs"]["token_logprobs"] += (part["logprobs"] or {}).get("token_logprobs", [])
            whole["finish_reason"] = part["finish_reason"] or whole["finish_reason"]
    return {"choices": list(choices.values())}


class Busy(Exception):
    pass


class Client:
    """Asks one server, on one thread."""

    def __init__(self, server, stubs, rng):
        self.server = server
        self.connection = server.connect()
        self.stubs = stubs
        self.rng = rng
        self.last_used = time.monotonic()

    def post(self, body):
        # The server closes connections on which nothing was asked for 75 s, as on a busy machine.
        if time.monotonic() - self.last_used > 60:
            self.connection.close()
        self.last_used = time.monotonic()
        self.connection.request("POST", "/v1/completions", json.dumps(body),
                                {"Content-Type": "application/json"})
        reply = self.connection.getresponse()
        if reply.status == 429:
            reply.read()
            raise Busy
        if reply.status != 200:
            raise SystemExit("HTTP %d: %s" % (reply.status, reply.read()))
        return reply

    def whole(self, body):
        return answers_of(json.loads(self.post(body).read()))

    def streamed(self, body, hang_up=False):
        reply = self.post({**body, "stream": True})
        events = []
        for line in reply:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            events.append(json.loads(line[6:]))
            if "error" in events[-1]:
                raise SystemExit("an error in a stream: %s" % events[-1])
            if hang_up and self.rng.random() < 0.3:
                self.connection.close()
                return None
        return answers_of(fold(events))

    def over_grpc(self, body, hang_up=False):
        grpc, pb, stub = self.stubs
        fields = {k: v for k, v in body.items() if k not in ("return_token_ids", "structured_outputs")}
        if schema := body.get("structured_outputs"):
            fields["structured_outputs"] = pb.StructuredOutputs(json=json.dumps(schema["json"]))
        call = stub.Generate(pb.GenerateRequest(**fields), timeout=600)
        choices = collections.defaultdict(lambda: ["", [], []])
        try:
            for piece in call:
                choice = choices[piece.index]
                choice[0] += piece.text
                choice[1] += piece.token_ids
                choice[2] += [l.logprob for l in piece.logprobs]
                if hang_up and self.rng.random() < 0.3:
                    call.cancel()
                    return None
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise Busy from error
            raise
        return [(choices[i][0], tuple(choices[i][1])) for i in sorted(choices)]

    def ask(self, body):
        """The answer and how much of an expected one it has; None where it hung up."""
        hang_up = self.rng.random() < 0.15
        way = self.rng.random()
        if self.stubs and way < 0.3:
            return self.over_grpc(body, hang_up), 2
        return (self.streamed(body, hang_up) if way < 0.7 or hang_up else self.whole(body)), 4


class Churn:
    def __init__(self, options, server, requests, expected, stubs):
        self.options, self.server, self.stubs = options, server, stubs
        self.requests, self.expected = requests, expected
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.resident = []
        self.wrong_gauges = 0
        self.end = threading.Event()
        self.failure = None  # of a client

    def work(self, number):
        try:
            self.ask_until_the_end(number)
        except BaseException as error:
            self.failure = error
            self.end.set()
            raise

    def ask_until_the_end(self, number):
        rng = random.Random(number)
        client = Client(self.server, self.stubs, rng)
        while not self.end.is_set():
            index = rng.randrange(len(self.requests))
            body = self.requests[index]
            if self.options.tokens:  # nothing is reused, and every state that is kept is a new one
                body = {**body, "cache_salt": str(rng.random())}
            try:
                answer, known = client.ask(body)
            except Busy:
                self.count("refused")
                time.sleep(0.05 * rng.random())
                continue
            if answer is None:
                self.count("hung_up")
            else:
                want = [choice[:known] for choice in self.expected[index]]
                self.count("same" if answer == want else "different")

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def asked(self):
        return self.counts["same"] + self.counts["different"] + self.counts["hung_up"]

    def watch(self):
        """Reads the gauges and the memory until enough was asked."""
        samples = 0
        while True:
            gauges = self.server.gauges()
            samples += 1
            running, slots = gauges["deltaserve_requests_running"], gauges["deltaserve_slots"]
            # Both are read at once, so free slots are always capacity - running.
            ratio = gauges["deltaserve_slot_utilization_ratio"]
            self.wrong_gauges += running > slots or abs(ratio - running / slots) > 1e-6
            read = gauges["deltaserve_prompt_tokens_total"]
            share = read / self.options.tokens if self.options.tokens else (
                self.asked() / self.options.requests)
            if share * 20 >= len(self.resident):
                self.resident.append(self.server.resident_kib())
            if self.failure:
                raise SystemExit("a client failed: %r" % self.failure)
            if share >= 1:
                return samples, read
            time.sleep(0.1)

    def run(self):
        threads = [threading.Thread(target=self.work, args=(i,)) for i in range(self.options.clients)]
        for thread in threads:
            thread.start()
        try:
            return self.watch()
        finally:
            self.end.set()
            for thread in threads:
                thread.join()


def load_stubs(folder, address):
    sys.path.insert(0, folder)
    import grpc
    import deltaserve_pb2 as pb
    import deltaserve_pb2_grpc
    return grpc, pb, deltaserve_pb2_grpc.DeltaServeStub(grpc.insecure_channel(address))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--stubs", help="folder with deltaserve_pb2.py; without it HTTP only")
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--tokens", type=int, default=0, help="prompt tokens to read instead")
    parser.add_argument("--clients", type=int, default=10 * SLOTS)
    parser.add_argument("--different", type=int, default=400, help="requests of which each is asked often")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    requests = make_requests(options.different, options.seed)
    alone = Server(options.binary, options.model, "--max-sequences", "1", "--prefix-cache-memory", "0")
    client = Client(alone, None, random.Random(0))
    expected = [client.whole(body) for body in requests]
    alone.close()

    server = Server(options.binary, options.model, "--max-sequences", str(SLOTS))
    stubs = load_stubs(options.stubs, server.grpc) if options.stubs else None
    churn = Churn(options, server, requests, expected, stubs)
    start = time.monotonic()
    samples, read = churn.run()
    seconds = time.monotonic() - start
    deadline = time.monotonic() + 60
    while (gauges := server.gauges())["deltaserve_requests_running"] and time.monotonic() < deadline:
        time.sleep(0.1)
    lost = int(gauges["deltaserve_requests_running"] + gauges["deltaserve_requests_waiting"])
    reused = gauges.get("deltaserve_prefix_reused_tokens_total", 0)
    server.close()

    warm = churn.resident[len(churn.resident) // 2]
    print("%d answers in %.0f s by %d clients, %d slots: %d the same, %d different, %d hung up, %d times "
          "refused" % (churn.asked(), seconds, options.clients, SLOTS, churn.counts["same"],
                       churn.counts["different"], churn.counts["hung_up"], churn.counts["refused"]))
    print("%.1f M prompt tokens computed, %.1f M reused; %d samples of the gauges, %d wrong; %d slots lost"
          % (read / 1e6, reused / 1e6, samples, churn.wrong_gauges, lost))
    print("resident memory: %s MiB at each twentieth; %+.1f %% in the second half"
          % (" ".join("%.0f" % (kib / 1024) for kib in churn.resident),
             100 * (churn.resident[-1] / warm - 1)))
    sys.exit(churn.counts["different"] > 0 or lost > 0 or churn.wrong_gauges > 0)


if __name__ == "__main__":
    main()
