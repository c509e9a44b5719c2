"""GET /openapi.json is an OpenAPI document, and the server does what it says."""

import json
import random
import re
import tempfile

import jsonschema
import openapi_spec_validator

import harness
from harness import PROMPT, WithServer

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}

# A request to each path that takes a body, and what else it may have.
GOOD = {
    "/v1/completions": {"prompt": PROMPT, "max_tokens": 2, "logprobs": 1, "return_token_ids": True,
                        "prompt_logprobs": 1},
    "/v1/chat/completions": {**CHAT, "logprobs": True, "return_token_ids": True,
                             "prompt_logprobs": 1, "stop": None, "use_beam_search": False},
    "/v1/embeddings": {"input": [PROMPT, "Hi"], "user": "me"},
    "/v1/responses": {"input": "Hi", "max_output_tokens": 2, "store": False},
    "/v1/messages": {**CHAT, "system": "Be kind."},
    "/v1/messages/count_tokens": CHAT,
    "/tokenize": {"prompt": PROMPT, "return_token_strs": True},
    "/detokenize": {"tokens": [1, 690]},
    "/cache/clear": {},
}
# The heads by which a request to any path fails, with the status of the reply.
HEADS = {
    400: "{method} {path} HTTP/1.1\r\n",
    403: "{method} {path} HTTP/1.1\r\nHost: elsewhere.example\r\n",
    405: "BREW {path} HTTP/1.1\r\nHost: localhost\r\n",
    413: "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n",
    415: "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\n",
    417: "{method} {path} HTTP/1.1\r\nHost: localhost\r\nExpect: more\r\n",
    431: "{method} {path} HTTP/1.1\r\nHost: localhost\r\nX: " + "x" * 70_000 + "\r\n",
    501: "{method} {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n",
    505: "{method} {path} HTTP/2.0\r\nHost: localhost\r\n",
}
GENERATE = {"/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"}
VALUES = (None, True, False, -1, 0, 1, 1.0, 2.5, 1e9, 10 ** 30, "", "a", [], [1], ["a"], [""], [None],
          {}, {"a": 1}, {"1": 2}, {"type": "text"}, {"type": "x"}, {"include_usage": True})


class OpenApi(WithServer):
    OPTIONS = ("--max-sequences", "4", "--max-tokens-default", "8")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.document = cls.server.get("/openapi.json")[1]

    def schema(self, schema):
        return jsonschema.Draft202012Validator({**schema, "components": self.document["components"]})

    def answer_schema(self, path, method, status):
        content = self.document["paths"][path][method]["responses"][str(status)]["content"]
        return self.schema(content["application/json"]["schema"])

    def test_it_is_valid(self):
        openapi_spec_validator.validate(self.document)
        self.assertEqual(self.document["info"]["version"], self.server.get("/version")[1]["version"])

    def test_the_methods_are_those_that_the_server_allows(self):
        for path, item in self.document["paths"].items():
            reply = self.server.raw(f"OPTIONS {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                                    .encode())
            allowed = re.search(rb"\r\nAllow: ([^\r]*)\r\n", reply)[1].decode().lower().split(", ")
            self.assertEqual(set(item) - {"parameters"}, set(allowed) - {"head", "options"}, path)

    def test_answers_are_as_described(self):
        for path, item in self.document["paths"].items():
            if "get" not in item:
                continue
            status, body, headers = self.server.request(path.replace("{model}", self.server.model))
            self.assertEqual(status, 200, path)
            content = item["get"]["responses"]["200"]["content"]
            kind, = content
            self.assertEqual(headers.get_content_type(), kind)
            if kind == "application/json":
                self.answer_schema(path, "get", 200).validate(json.loads(body))
        posts = {path for path, item in self.document["paths"].items() if "post" in item}
        self.assertEqual(posts, set(GOOD))
        for path, body in GOOD.items():
            self.request_schema(path).validate(body)
            status, reply, _ = self.server.request(path, body)
            if status == 204:
                self.assertIn("204", self.document["paths"][path]["post"]["responses"])
                continue
            self.assertEqual(status, 200, (path, reply))
            self.answer_schema(path, "post", 200).validate(json.loads(reply))

    def test_events_of_streams_are_as_described(self):
        for path, good in GOOD.items():
            content = self.document["paths"][path]["post"]["responses"].get("200", {}).get("content", {})
            if "text/event-stream" not in content:
                continue
            schema = content["text/event-stream"]["schema"]
            data_schema = schema["properties"]["data"]["anyOf"][1]["contentSchema"]
            # The schemas of chunks must tell them from the answers of other APIs.
            self.assertFalse(self.schema(data_schema).is_valid({"id": "x", "object": "list"}))
            status, reply, headers = self.server.request(path, {**good, "stream": True, "prompt_logprobs": None})
            self.assertEqual((status, headers.get_content_type()), (200, "text/event-stream"), path)
            events = [dict(line.split(": ", 1) for line in event.split("\n"))
                      for event in reply.decode().strip().split("\n\n")]
            self.assertGreaterEqual(len(events), 2, path)
            for event in events:
                self.schema(schema).validate(event)
                if event["data"] != "[DONE]":
                    self.schema(data_schema).validate(json.loads(event["data"]))

    def test_messages_and_names_that_the_schema_refuses_are_refused(self):
        """Rules about several members, which random values do not find."""
        call = {"function": {"name": "f", "arguments": "{}"}}
        history = [{"role": "user"}, {"role": "user", "content": None}, {"role": "assistant", "tool_calls": []},
                   {"role": "assistant", "tool_calls": [{"id": "1"}]},
                   {"role": "assistant", "tool_calls": [{"function": {}}]},
                   {"role": "assistant", "tool_calls": [{**call, "id": 1}]},
                   {"role": "user", "content": "Hi", "audio": {"id": "1"}}]
        bodies = [("/v1/chat/completions", {"messages": [message], "max_tokens": 2}) for message in history]
        for path, names in (("/v1/responses", ("max_completion_tokens", "max_output_tokens")),
                            ("/v1/messages", ("stop", "stop_sequences"))):
            value = 2 if "max" in names[0] else ["x"]
            bodies.append((path, {**GOOD[path], **dict.fromkeys(names, value)}))
        bodies += [(path, {**good, "truncate_prompt_tokens": 0}) for path, good in GOOD.items()
                   if path in ("/v1/completions", "/v1/chat/completions", "/v1/embeddings")]
        bodies += [(path, {**GOOD[path], "enable_response_messages": True})
                   for path in ("/v1/responses", "/v1/messages")]
        for path, body in bodies:
            self.assertFalse(self.request_schema(path).is_valid(body), (path, body))
            self.assertEqual(self.server.request(path, body)[0], 400, (path, body))

    def test_what_the_schema_allows_of_rules_about_several_members_is_taken(self):
        call = {"function": {"name": "f", "arguments": "{}"}}
        chat = "/v1/chat/completions"
        user = {"role": "user", "content": "Hi"}
        bodies = [(chat, {"messages": [user, {"role": "assistant", "tool_calls": [call]}, user], "max_tokens": 2}),
                  (chat, {"messages": [{"role": "user", "content": []}], "max_tokens": 2}),
                  (chat, {**CHAT, "top_p": 5e-324, "repetition_penalty": 5e-324}),
                  ("/v1/completions", {**GOOD["/v1/completions"], "top_p": 1e-46}),
                  ("/v1/messages", {**GOOD["/v1/messages"], "stop": "x", "stop_sequences": None}),
                  ("/v1/responses", {**GOOD["/v1/responses"], "max_completion_tokens": None})]
        for path in ("/v1/responses", "/v1/messages"):
            bodies.append((path, {**GOOD[path], "add_generation_prompt": True, "continue_final_message": False,
                                  "include_reasoning": True, "stream_reasoning": True, "separate_reasoning": True,
                                  "enable_response_messages": False}))
        for path, body in bodies:
            self.request_schema(path).validate(body)
            status, reply, _ = self.server.request(path, body)
            self.assertEqual(status, 200, (path, body, reply))

    def request_schema(self, path):
        body = self.document["paths"][path]["post"]["requestBody"]
        return self.schema(body["content"]["application/json"]["schema"])

    def operations(self, document):
        for path, item in document["paths"].items():
            for method in ("get", "post"):
                if method in item:
                    yield path, method, item[method]["responses"]

    def test_every_path_describes_what_heads_are_refused_for(self):
        for path, method, described in self.operations(self.document):
            for status, head in HEADS.items():
                head = head.format(method=method.upper(), path=path.replace("{model}", self.server.model))
                reply = self.server.raw((head + "Connection: close\r\n\r\n").encode())
                self.assertEqual(harness.status_of(reply), status, (path, head[:200]))
                self.answer_schema(path, method, status).validate(json.loads(harness.body_of(reply)))
                lines = reply.split(b"\r\n\r\n")[0].decode()
                for header in described[str(status)].get("headers", {}):
                    self.assertIn("\r\n%s: " % header, lines, path)

    def test_404_is_described_where_it_happens(self):
        for path, method, described in self.operations(self.document):
            if method == "get":
                may_miss = path in ("/v1/models/{model}", "/tokenizer_info")
            else:
                status = self.server.request(path, {**GOOD[path], "model": "another"})[0]
                may_miss = status == 404
            self.assertEqual("404" in described, may_miss, path)

    def test_429_is_described_where_requests_queue_or_need_a_key(self):
        for path, _, described in self.operations(self.document):
            self.assertEqual("429" in described, path in GENERATE, path)
            self.assertNotIn("401", described)
            if path in GENERATE:
                self.assertEqual(described["429"]["description"], "The queue is full")
        with harness.Server("--api-key-file", self.key_file(), key="alpha-key") as server:
            for path, method, described in self.operations(json.loads(server.request("/openapi.json")[1])):
                public = path in ("/", "/health", "/ready")
                self.assertEqual("429" in described, not public, path)
                self.assertEqual("401" in described, not public, path)
                if not public:
                    text = described["429"]["description"]
                    self.assertIn("without a valid key", text)
                    self.assertEqual("queue" in text, path in GENERATE, path)

    def test_what_the_schema_refuses_is_refused(self):
        """Each known member, and one that is not, with many values: the server takes no value that the
        schema refuses, and answers nothing that is not described."""
        generator = random.Random(5)
        for path, good in GOOD.items():
            schema = self.request_schema(path)
            described = self.document["paths"][path]["post"]["responses"]
            names = list(schema.schema.get("properties", {})) + ["nonsense"]
            for name in names:
                for value in generator.sample(VALUES, 5):
                    body = {**good, name: value}
                    status, reply, _ = self.server.request(path, body)
                    self.assertIn(str(status), described, (path, body, reply))
                    if (name, status) != ("deadline_ms", 504):  # it may have passed
                        self.assertLess(status, 500, (path, body, reply))
                    if not schema.is_valid(body):
                        self.assertEqual(status, 400, (path, name, value, reply))
                        self.answer_schema(path, "post", status).validate(json.loads(reply))

    def test_a_key_is_described(self):
        with harness.Server("--api-key-file", self.key_file(), key="alpha-key") as server:
            document = json.loads(server.request("/openapi.json")[1])
            openapi_spec_validator.validate(document)
            self.assertEqual(document["security"], [{"key": []}])
            self.assertEqual(document["paths"]["/health"]["get"]["security"], [])
            self.assertIn("401", document["paths"]["/v1/models"]["get"]["responses"])

    def key_file(self):
        file = tempfile.NamedTemporaryFile("w", suffix=".txt")
        self.addCleanup(file.close)
        file.write("alpha-key\n")
        file.flush()
        return file.name


if __name__ == "__main__":
    harness.main()
