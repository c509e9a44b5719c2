#!/usr/bin/env python3
"""grpc_client.py ADDRESS STUBS: streams an answer with grpcio, and asks for health."""
import sys

import grpc

sys.path.insert(0, sys.argv[2])
import deltaserve_pb2 as pb  # noqa: E402
import deltaserve_pb2_grpc as pb_grpc  # noqa: E402

channel = grpc.insecure_channel(sys.argv[1])
stub = pb_grpc.DeltaServeStub(channel)
pieces = list(stub.Generate(pb.GenerateRequest(prompt="Once upon a time", max_tokens=24,
                                               temperature=0), timeout=60))
if len(pieces) < 3 or not pieces[-1].HasField("usage"):
    sys.exit("no stream: %s" % pieces)
if channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20) != b"\x08\x01":
    sys.exit("not SERVING")
print("== grpcio: %d pieces: %r" % (len(pieces), "".join(p.text for p in pieces)))
