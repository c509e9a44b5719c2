#!/usr/bin/env python3
"""Tests random JSON schemas: every answer that ends by itself validates, and nearly all end so. The same holds
for the arguments of tools that must be called.

    python schemas_test.py --binary build/release/bin/deltaserve --model models/bundled \\
        [--count 1000]
"""

import collections
import concurrent.futures
import json
import sys
import time

import jsonschema

import harness
from harness import WithServer
from random_schemas import schemas

COUNT = 60
TOOLS = 30
SEED = 20260101
AT_ONCE = 8
LEAST_STOPPED = 0.95


class Schemas(WithServer):
    OPTIONS = ("--max-sequences", str(AT_ONCE))

    def answer(self, numbered):
        seed, schema = numbered
        prompt = "Write about a child and a dog as JSON."
        return self.server.client.chat.completions.create(
            model=self.server.model, messages=[{"role": "user", "content": prompt}], seed=seed,
            max_tokens=512, response_format={"type": "json_schema", "json_schema": {
                "name": "random", "schema": schema, "strict": True}})

    def test_random_schemas(self):
        all_schemas = schemas(SEED, COUNT)
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            replies = list(pool.map(self.answer, enumerate(all_schemas)))
        seconds = time.monotonic() - start
        reasons = collections.Counter(reply.choices[0].finish_reason for reply in replies)
        tokens = sum(reply.usage.completion_tokens for reply in replies)
        if COUNT > 60:
            print("%d schemas: %s; %d tokens in %.1f s" % (COUNT, dict(reasons), tokens, seconds))
        for schema, reply in zip(all_schemas, replies):
            if reply.choices[0].finish_reason == "stop":
                self.check(schema, reply.choices[0].message.content)
        self.assertGreaterEqual(reasons["stop"], LEAST_STOPPED * COUNT)

    def call(self, numbered):
        """Every other request names its tool, and every other tool is strict."""
        seed, schema = numbered
        tools = [{"type": "function", "function": {
            "name": "tool_%d" % seed, "parameters": schema, "strict": seed % 4 < 2}}]
        choice = {"type": "function", "function": {"name": "tool_%d" % seed}} if seed % 2 else "required"
        return self.server.client.chat.completions.create(
            model=self.server.model, seed=seed, max_tokens=512, tools=tools, tool_choice=choice,
            parallel_tool_calls=False, messages=[{"role": "user", "content": "Call the tool."}])

    def test_random_tools(self):
        all_schemas = schemas(SEED + 1, TOOLS)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            replies = list(pool.map(self.call, enumerate(all_schemas)))
        reasons = collections.Counter(reply.choices[0].finish_reason for reply in replies)
        if TOOLS > 30:
            print("%d tools: %s" % (TOOLS, dict(reasons)))
        for seed, (schema, reply) in enumerate(zip(all_schemas, replies)):
            if reply.choices[0].finish_reason == "length":
                continue
            message = reply.choices[0].message
            self.assertEqual([call.function.name for call in message.tool_calls or []],
                             ["tool_%d" % seed], message)
            self.assertFalse(message.content, message)
            self.check(schema, message.tool_calls[0].function.arguments)
        self.assertLessEqual(reasons["length"], (1 - LEAST_STOPPED) * TOOLS)

    def check(self, schema, text):
        checker = jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
        with self.subTest(schema=json.dumps(schema), text=text):
            checker.validate(json.loads(text))


if __name__ == "__main__":
    if "--count" in sys.argv:
        at = sys.argv.index("--count")
        COUNT = TOOLS = int(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    harness.main()
