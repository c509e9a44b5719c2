#!/usr/bin/env python3
"""Tool calls and reasoning through HTTP, with models that say what published ones write.

    python3 tools_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import json
import os
import shutil
import tempfile
import unittest

import harness
import scripted_model

CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../server/tools/cases.json")
FORMATS = ("hermes", "qwen3_5", "glm_4_5", "llama_3", "mistral_v11", "mistral_v13", "deepseek_v3_1", "kimi_k2_thinking",
           "olmo_3", "phi_4_mini")
TURNS = ("{% for m in messages %}{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}[{{ c.id }} "
         "{{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}{% if m.reasoning_content %}"
         "({{ m.reasoning_content }}){% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant: ")


def template_of(form, prompt_end):
    """A template with the signs of a format, whose prompts end as those of its models."""
    return "{# %s #}" % form["template"] + TURNS + prompt_end.replace("\n", "{{ '\\n' }}") + "{% endif %}"


def trimmed(text):
    return (text or "").strip() or None


class ToolCalls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(CASES, encoding="utf-8") as file:
            cls.data = json.load(file)
        cls.root = tempfile.mkdtemp()

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root)

    def cases(self, name):
        """The cases of a format whose prompt ends as most of them."""
        return [case for case in self.data["cases"] if case["strict"] and case["id"].startswith(name + "/") and
                "prompt_end" not in case and "cut" not in case]

    def tools(self, case):
        return [{"type": "function", "function": self.data["tools"][name]} for name in case["tools"]]

    def serve(self, name, cases, longest=6):
        form = self.data["formats"][name]
        folder = os.path.join(tempfile.mkdtemp(dir=self.root), name)
        scripted_model.write_model(folder, [case["output"] for case in cases],
                                   template_of(form, form["prompt_end"]),
                                   dict.fromkeys(form["markers"], form["control"]), longest=longest)
        return harness.Server("--no-grpc", "--max-sequences", "4", model=folder)

    def expect(self, case, message, finish_reason):
        self.assertEqual(finish_reason, case["finish_reason"], case["id"])
        self.assertEqual(trimmed(message["content"]), case.get("content"), case["id"])
        self.assertEqual(message.get("reasoning_content"), case.get("reasoning"), case["id"])
        self.assertEqual(message.get("reasoning"), case.get("reasoning"), case["id"])
        calls = [[call["function"]["name"], json.loads(call["function"]["arguments"])]
                 for call in message.get("tool_calls") or []]
        self.assertEqual(calls, case.get("calls", []), case["id"])
        if "ids" in case:
            self.assertEqual([call["id"] for call in message["tool_calls"]], case["ids"])

    def sum_of(self, stream):
        """The message and the finish reason that the chunks of a stream add up to."""
        message, reason = {"content": None}, None
        for chunk in stream:
            choice = chunk.choices[0]
            reason = choice.finish_reason or reason
            delta = choice.delta.model_dump(exclude_none=True)
            for name in ("content", "reasoning_content", "reasoning"):
                if name in delta:
                    message[name] = (message.get(name) or "") + delta[name]
            for part in delta.get("tool_calls", []):
                calls = message.setdefault("tool_calls", [])
                if part["index"] == len(calls):
                    self.assertEqual(part["type"], "function")
                    calls.append({"id": part["id"], "function": {"name": part["function"]["name"], "arguments": ""}})
                calls[part["index"]]["function"]["arguments"] += part["function"].get("arguments", "")
        return message, reason

    def test_formats(self):
        for name in FORMATS:
            cases = self.cases(name)
            with self.serve(name, cases) as server:
                for n, case in enumerate(cases):
                    options = {"messages": [{"role": "user", "content": "Ask s%d" % n}], "temperature": 0,
                               "model": server.model, "tools": self.tools(case),
                               "tool_choice": case.get("tool_choice", "auto"), "max_tokens": 1000}
                    whole = server.client.chat.completions.create(**options).choices[0]
                    self.expect(case, whole.message.model_dump(), whole.finish_reason)
                    message, reason = self.sum_of(server.client.chat.completions.create(stream=True, **options))
                    self.expect(case, message, reason)

    def test_cuts_and_choices(self):
        case, call = (next(case for case in self.data["cases"] if case["id"] == "hermes/" + name)
                      for name in ("text-first", "one"))
        with self.serve("hermes", [case, call], longest=3) as server:
            ask = {"messages": [{"role": "user", "content": "s0"}], "model": server.model, "temperature": 0}
            tools = {"tools": self.tools(case)}
            create = server.client.chat.completions.create
            for limit in (3, 12, 30, 45):
                cut = create(max_tokens=limit, **ask, **tools).choices[0]
                self.assertEqual(cut.finish_reason, "length")
                self.assertTrue(case["content"].startswith((cut.message.content or "").strip()))
            named = {"type": "function", "function": {"name": "get_weather"}}
            # The call is the whole answer, from its first token on.
            forced = create(tool_choice=named, **{**ask, "messages": [{"role": "user", "content": "s1"}]},
                            **tools).choices[0]
            self.assertEqual((forced.finish_reason, len(forced.message.tool_calls)), ("stop", 1))
            self.assertRegex(forced.message.tool_calls[0].id, "^call_[0-9A-Za-z]{24}$")
            plain = create(tool_choice="none", **ask, **tools).choices[0]
            self.assertEqual((plain.message.content, plain.message.tool_calls), (case["output"], None))
            for refused, what in (
                    ({"tool_choice": "required"}, "tool_choice"),
                    ({"tool_choice": {"type": "function", "function": {"name": "nobody"}}, **tools}, "'nobody'"),
                    ({"tools": [{"type": "function", "function": {}}]}, r"tools\[0\].function.name is required"),
                    ({"tools": 2 * tools["tools"]}, "is that of an earlier tool"),
                    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "not 'a b'")):
                with self.assertRaisesRegex(harness.openai.BadRequestError, what):
                    create(**ask, **refused)

    def test_a_conversation_goes_on(self):
        """A call is sent back with its result, and the template shows both; ids of other servers are mapped."""
        case = next(case for case in self.data["cases"] if case["id"] == "mistral_v11/text-first")
        with self.serve("mistral_v11", [case]) as server:
            tools = self.tools(case)
            first = server.chat([{"role": "user", "content": "s0"}], tools=tools).choices[0].message
            self.assertEqual(first.tool_calls[0].id, case["ids"][0])
            call = first.model_dump(exclude_none=True)
            foreign = json.loads(json.dumps(call).replace(case["ids"][0], "call_0123456789"))
            for message, kept in ((call, True), (foreign, False)):
                result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"],
                          "content": [{"type": "text", "text": "sunny"}]}
                status, made = server.post("/tokenize", {
                    "messages": [{"role": "user", "content": "s0"}, message, result], "tools": tools})
                self.assertEqual(status, 200, made)
                text = server.post("/detokenize", {"tokens": made["tokens"]})[1]["prompt"]
                self.assertIn('get_weather {"city": "Oslo", "unit": "celsius", "days": 3}]', text)
                self.assertIn("tool: sunny", text)
                self.assertEqual(case["ids"][0] in text, kept)
                self.assertNotIn("call_0123456789", text)

    def test_the_format_can_be_named(self):
        case = next(case for case in self.data["cases"] if case["id"] == "hermes/one")
        folder = os.path.join(self.root, "named")
        scripted_model.write_model(folder, [case["output"]], TURNS + "{% endif %}", {})
        ask = {"messages": [{"role": "user", "content": "s0"}], "tools": self.tools(case)}
        for option, calls in (("auto", 0), ("hermes", 1), ("none", 0)):
            with harness.Server("--no-grpc", "--tool-format", option, model=folder) as server:
                status, reply = server.post("/v1/chat/completions", ask)
                self.assertEqual(status, 200, reply)
                self.assertEqual(len(reply["choices"][0]["message"].get("tool_calls", [])), calls)
        with self.assertRaisesRegex(RuntimeError, "hermes"):
            harness.Server("--tool-format", "nonsense", model=folder)


if __name__ == "__main__":
    harness.main()
