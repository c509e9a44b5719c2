#!/usr/bin/env python3
"""Completes a text with the installed wheel, and nothing but Python's own library."""

import json
import pathlib
import urllib.request

import deltaserve

with deltaserve.Server(max_sequences=2) as server:
    body = {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}
    request = urllib.request.Request(server.base_url + "/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        text = json.load(reply)["choices"][0]["text"]
print(deltaserve.__version__, repr(text))
assert "little girl named" in text
assert "service DeltaServe" in pathlib.Path(deltaserve.proto_folder(), "deltaserve.proto").read_text()
