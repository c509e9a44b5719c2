"""/v1/responses and /v1/messages through their official clients, with models that say a given text.

    python turns_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import json
import os
import shutil
import tempfile
import unittest

import anthropic

import harness
import scripted_model
from harness import WithServer

TEMPLATE = ("{# <tool_call> </tool_call> <tools> <think> </think> #}{% for m in messages %}{{ m.role }}: "
            "{{ m.content }}{% for c in m.tool_calls or [] %}[{{ c.id }} {{ c.function.name }} "
            "{{ c.function.arguments | tojson }}]{% endfor %}{% if m.reasoning_content %}"
            "({{ m.reasoning_content }}){% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant: "
            "{% endif %}{% if tools %}{{ '' }}{% endif %}")
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
SCRIPTS = ["It is sunny in Oslo.", "Let me look. " + CALL, "<think>Rain?</think>No, sun."]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def key_file(folder):
    path = os.path.join(folder, "keys")
    with open(path, "w", encoding="ascii") as file:
        file.write("a-key\n")
    return path


class Turns(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.root)
        folder = os.path.join(cls.root, "scripted")
        scripted_model.write_model(folder, SCRIPTS, TEMPLATE,
                                   dict.fromkeys(("<tool_call>", "</tool_call>", "<think>", "</think>"), False))
        cls.server = harness.Server("--no-grpc", "--max-sequences", "4", "--api-key-file", key_file(cls.root),
                                    key="a-key", model=folder)
        cls.addClassCleanup(cls.server.__exit__)
        cls.anthropic = anthropic.Anthropic(base_url=cls.server.url, api_key="a-key", max_retries=0)
        cls.openai = cls.server.client

    def respond(self, script, **more):
        return self.openai.responses.create(model=self.server.model, temperature=0,
                                            **{"input": "Say s%d" % script, **more})

    def message(self, script, **more):
        """Returns the arguments of a call of the client; newer clients know no temperature."""
        return {"model": self.server.model, "max_tokens": 100, "extra_body": {"temperature": 0},
                "messages": [{"role": "user", "content": "Say s%d" % script}], **more}

    def body(self, script, **more):
        ask = self.message(script, **more)
        return {**ask.pop("extra_body"), **ask}

    def post(self, path, body):
        status, reply, _ = self.server.request(path, body)
        return status, json.loads(reply)

    # ---- /v1/responses

    TOOLS = [{"type": "function", "name": "get_weather", "description": "The weather.", "parameters": WEATHER}]

    def test_a_response(self):
        response = self.respond(0, instructions="Be brief.", metadata={"a": "b"}, store=False,
                                prompt_cache_key="k", include=["reasoning.encrypted_content"])
        self.assertEqual((response.status, response.output_text), ("completed", SCRIPTS[0]))
        self.assertEqual((response.instructions, response.metadata), ("Be brief.", {"a": "b"}))
        self.assertEqual(response.usage.total_tokens,
                         response.usage.input_tokens + response.usage.output_tokens)
        cut = self.respond(0, max_output_tokens=3)
        self.assertEqual((cut.status, cut.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        self.assertEqual(cut.usage.output_tokens, 3)

    def test_a_response_calls_a_tool_and_goes_on(self):
        response = self.respond(1, tools=self.TOOLS)
        self.assertEqual([item.type for item in response.output], ["message", "function_call"])
        call = response.output[1]
        self.assertEqual((call.name, json.loads(call.arguments)), ("get_weather", {"city": "Oslo"}))
        history = [{"role": "user", "content": "Say s1"}, *[item.model_dump() for item in response.output],
                   {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
                   {"role": "user", "content": [{"type": "input_text", "text": "s0"}]}]
        self.assertEqual(self.respond(0, input=history, tools=self.TOOLS).output_text, SCRIPTS[0])

    def test_events_add_up_to_the_response(self):
        for script, tools in ((0, []), (1, self.TOOLS), (2, [])):
            whole = self.respond(script, tools=tools)
            with self.openai.responses.stream(model=self.server.model, temperature=0, input="Say s%d" % script,
                                              tools=tools) as stream:
                events = list(stream)
            self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
            self.assertEqual([events[0].type, events[1].type, events[-1].type],
                             ["response.created", "response.in_progress", "response.completed"])
            last = events[-1].response
            self.assertEqual(last.output_text, whole.output_text)
            self.assertEqual(self.without_ids(last), self.without_ids(whole))
            text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            self.assertEqual(text, whole.output_text)

    def without_ids(self, response):
        items = [item.model_dump() for item in response.output]
        for item in items:
            item.pop("id"), item.pop("call_id", None), item.pop("parsed_arguments", None)
            for part in item.get("content") or []:
                part.pop("parsed", None)
        return items

    def test_reasoning_of_a_response(self):
        response = self.respond(2)
        self.assertEqual([item.type for item in response.output], ["reasoning", "message"])
        self.assertEqual(response.output[0].content[0].text, "Rain?")
        details = response.usage.output_tokens_details
        self.assertTrue(0 < details.reasoning_tokens < response.usage.output_tokens, response.usage)
        self.assertEqual(response.output_text, "No, sun.")
        history = [{"role": "user", "content": "x"}, *[item.model_dump() for item in response.output],
                   {"role": "user", "content": "s0"}]
        self.assertEqual(self.respond(0, input=history).output_text, SCRIPTS[0])

    def test_a_response_follows_a_schema(self):
        response = self.respond(2, max_output_tokens=400, text={"format": {
            "type": "json_schema", "name": "n", "strict": True, "schema": {"enum": ["a"]}}})
        self.assertEqual(json.loads(response.output_text), "a")

    def test_what_a_response_refuses(self):
        for members, param in (({"input": None}, "input"), ({"input": []}, "input"),
                               ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
                               ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
                               ({"previous_response_id": "resp_1"}, "previous_response_id"),
                               ({"background": True}, "background"), ({"n": 2}, "n"),
                               ({"max_output_tokens": -1}, "max_output_tokens"),
                               ({"tools": [{"type": "web_search"}]}, "tools"),
                               ({"text": {"format": {"type": "x"}}}, "text"),
                               ({"include": ["message.output_text.logprobs"]}, "include"),
                               ({"temperature": 3}, "temperature"), ({"nonsense": 1}, "nonsense")):
            status, reply = self.post("/v1/responses", {"input": "s0", **members})
            self.assertEqual((status, reply["error"]["param"]), (400, param), reply)

    def test_whole_requests_of_other_servers_are_accepted(self):
        """Clients that serialise all that they know send the defaults of vLLM or SGLang."""
        nothing = dict.fromkeys(("temperature", "top_p", "top_k", "user", "metadata", "chat_template_kwargs"))
        shared = {**nothing, "background": False, "include": None, "instructions": None, "max_output_tokens": None,
                  "max_tool_calls": None, "parallel_tool_calls": True, "previous_response_id": None, "reasoning": None,
                  "service_tier": "auto", "store": True, "stream": False, "text": None, "tool_choice": "auto",
                  "tools": [], "top_logprobs": 0, "truncation": "disabled", "request_id": "resp_1", "priority": 0,
                  "cache_salt": None, "repetition_penalty": None}
        vllm = {"logit_bias": None, "prompt": None, "skip_special_tokens": True, "include_stop_str_in_output": False,
                "prompt_cache_key": None, "mm_processor_kwargs": None, "enable_response_messages": False,
                "previous_input_messages": None, "previous_response": None, "structured_outputs": None, "seed": None,
                "stop": [], "ignore_eos": False, "vllm_xargs": None, "kv_transfer_params": None,
                "include_reasoning": True}
        sglang = {"session_id": None, "extra_key": None, "ngram_corpus_id": None, "frequency_penalty": 0.0,
                  "presence_penalty": 0.0, "stop": None, "min_p": None, "separate_reasoning": True,
                  "stream_reasoning": True}
        for members in (vllm, sglang):
            status, reply = self.post("/v1/responses", {"input": "s0", **shared, **members})
            self.assertEqual((status, reply.get("status")), (200, "completed"), reply)
        anthropics = {**nothing, "output_config": None, "stop_sequences": None, "stream": False, "system": None,
                      "tool_choice": None, "tools": None, "kv_transfer_params": None}
        status, reply = self.post("/v1/messages", {**self.body(0), **anthropics})
        self.assertEqual((status, reply.get("stop_reason")), (200, "end_turn"), reply)

    def test_texts_of_items_must_be_texts(self):
        """A text of another type is refused with its place, not taken for an empty one."""
        call = {"type": "function_call", "name": "get_weather", "call_id": "c"}
        user = {"role": "user", "content": "Say s0"}
        for item, place in (({"role": "user", "content": [{"type": "input_text"}]}, "[1].content[0]"),
                            ({"role": "user", "content": [{"type": "input_text", "text": 3}]}, "[1].content[0]"),
                            ({"role": "assistant", "content": [{"type": "refusal", "text": "No."}]}, "[1].content[0]"),
                            ({**call, "arguments": ["Oslo"]}, "[1]"), ({**call, "arguments": 3}, "[1]"),
                            ({"type": "reasoning", "summary": [{"type": "summary_text", "text": 3}]}, "[1]"),
                            ({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text"}]},
                             "[1].output[0]")):
            status, reply = self.post("/v1/responses", {"input": [user, item]})
            self.assertEqual((status, reply["error"]["param"]), (400, "input"), (item, reply))
            self.assertIn("input" + place + " ", reply["error"]["message"])
        # Some clients send the arguments as they got them from json.loads().
        for arguments in ({"city": "Oslo"}, '{"city": "Oslo"}', None):
            status, reply = self.post("/v1/responses", {"input": [
                user, {**call, "arguments": arguments},
                {"type": "function_call_output", "call_id": "c", "output": "s0"}], "temperature": 0})
            self.assertEqual((status, reply["output"][0]["content"][0]["text"]), (200, SCRIPTS[0]), reply)

    def test_reasoning_may_be_told_at_once(self):
        chunks = self.openai.chat.completions.create(
            model=self.server.model, messages=[{"role": "user", "content": "s2"}], temperature=0, stream=True,
            extra_body={"stream_reasoning": False})
        told = [chunk.choices[0].delta.model_dump(exclude_none=True) for chunk in chunks]
        self.assertEqual([delta["reasoning"] for delta in told if "reasoning" in delta], ["Rain?"])
        self.assertEqual("".join(delta.get("content", "") for delta in told), "No, sun.")

    # ---- /v1/messages

    CUSTOM = [{"name": "get_weather", "description": "The weather.", "input_schema": WEATHER}]

    def test_a_message(self):
        message = self.anthropic.messages.create(**self.message(0, system="Be brief.", metadata={"user_id": "u"}))
        self.assertEqual((message.type, message.role, message.stop_reason), ("message", "assistant", "end_turn"))
        self.assertEqual([block.text for block in message.content], [SCRIPTS[0]])
        cut = self.anthropic.messages.create(**{**self.message(0), "max_tokens": 3})
        self.assertEqual((cut.stop_reason, cut.usage.output_tokens), ("max_tokens", 3))
        stopped = self.anthropic.messages.create(**self.message(0, stop_sequences=[" in"]))
        self.assertEqual((stopped.stop_reason, stopped.stop_sequence), ("stop_sequence", " in"))
        self.assertEqual(stopped.content[0].text, "It is sunny")

    def test_a_message_calls_a_tool_and_goes_on(self):
        ask = self.message(1, tools=self.CUSTOM)
        message = self.anthropic.messages.create(**ask)
        self.assertEqual([block.type for block in message.content], ["text", "tool_use"])
        call = message.content[1]
        self.assertEqual((message.stop_reason, call.name, call.input), ("tool_use", "get_weather", {"city": "Oslo"}))
        result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]}
        ask["messages"] += [{"role": "assistant", "content": message.content},
                            {"role": "user", "content": [result, {"type": "text", "text": "s0",
                                                                  "cache_control": {"type": "ephemeral"}}]}]
        self.assertEqual(self.anthropic.messages.create(**ask).content[0].text, SCRIPTS[0])

    def test_a_stream_adds_up_to_the_message(self):
        for script, tools in ((0, []), (1, self.CUSTOM), (2, [])):
            ask = self.message(script, tools=tools)
            whole = self.anthropic.messages.create(**ask)
            with self.anthropic.messages.stream(**ask) as stream:
                types = [event.type for event in stream]
                final = stream.get_final_message()
            self.assertEqual((types[0], types[-1]), ("message_start", "message_stop"))
            self.assertEqual(final.stop_reason, whole.stop_reason)
            self.assertEqual([self.told(block) for block in final.content],
                             [self.told(block) for block in whole.content])
            self.assertEqual(final.usage.output_tokens, whole.usage.output_tokens)

    def told(self, block):
        return (block.type, getattr(block, "text", None), getattr(block, "thinking", None),
                getattr(block, "name", None), getattr(block, "input", None))

    def test_thinking(self):
        message = self.anthropic.messages.create(**self.message(2))
        self.assertEqual([(block.type, getattr(block, "thinking", None)) for block in message.content],
                         [("thinking", "Rain?"), ("text", None)])
        ask = self.message(0)
        ask["messages"] = [{"role": "user", "content": "x"}, {"role": "assistant", "content": message.content},
                           {"role": "user", "content": "s0"}]
        self.assertEqual(self.anthropic.messages.create(**ask).content[0].text, SCRIPTS[0])

    def test_tokens_are_counted(self):
        ask = self.message(0, system="Be brief.", tools=self.CUSTOM)
        counted = self.anthropic.messages.count_tokens(
            **{name: ask[name] for name in ("model", "messages", "system", "tools")}).input_tokens
        usage = self.anthropic.messages.create(**ask).usage
        self.assertEqual(counted, usage.input_tokens + usage.cache_read_input_tokens)

    def test_what_a_message_refuses(self):
        for members, param in (({"messages": []}, "messages"), ({"messages": [{"role": "x", "content": "y"}]}, "messages"),
                               ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages"),
                               ({"system": 3}, "system"), ({"thinking": {"type": "x"}}, "thinking"),
                               ({"tool_choice": {"type": "x"}}, "tool_choice"),
                               ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools"),
                               ({"max_tokens": 1.5}, "max_tokens"), ({"stop_sequences": [1]}, "stop_sequences"),
                               ({"mcp_servers": [{}]}, "mcp_servers"), ({"nonsense": 1}, "nonsense")):
            status, reply = self.post("/v1/messages", {**self.body(0), **members})
            self.assertEqual((status, reply["error"]["param"]), (400, param), reply)
            self.assertEqual((reply["type"], reply["error"]["type"]), ("error", "invalid_request_error"))

    def test_texts_of_blocks_must_be_texts(self):
        """A text of another type is refused with its place, not taken for an empty one."""
        result = {"type": "tool_result", "tool_use_id": "c"}
        for role, block, place in (("user", {"type": "text"}, ""), ("user", {"type": "text", "text": 3}, ""),
                                   ("assistant", {"type": "text", "text": None}, ""),
                                   ("assistant", {"type": "thinking", "thinking": ["x"]}, ""),
                                   ("user", {**result, "content": 3}, ".content"),
                                   ("user", {**result, "content": [{"type": "text"}]}, ".content[0]")):
            messages = [{"role": "user", "content": "Say s0"}, {"role": role, "content": [block]}]
            status, reply = self.post("/v1/messages", {**self.body(0), "messages": messages})
            self.assertEqual((status, reply["error"]["param"]), (400, "messages"), (block, reply))
            self.assertIn("messages[1].content[0]%s " % place, reply["error"]["message"])
        status, reply = self.post("/v1/messages", {**self.body(0), "system": [{"type": "text", "text": 3}]})
        self.assertEqual((status, reply["error"]["param"]), (400, "system"), reply)

    def test_roles_that_agents_make_up_are_the_user(self):
        """Claude Code sends what it adds to a conversation as the roles ctx and msg."""
        for role in ("ctx", "msg"):
            messages = [{"role": "user", "content": "Hi"}, {"role": role, "content": "Say s0"}]
            status, reply = self.post("/v1/messages", {**self.body(0), "messages": messages})
            self.assertEqual((status, reply["content"][0]["text"]), (200, SCRIPTS[0]), reply)

    def test_either_header_has_the_key(self):
        for headers, status in (({"x-api-key": "a-key", "Authorization": ""}, 200),
                                ({"x-api-key": "another", "Authorization": ""}, 401),
                                ({"Authorization": "Bearer a-key"}, 200)):
            self.assertEqual(self.server.request("/v1/messages/count_tokens", self.body(0), headers)[0], status)


class Prefill(WithServer):
    OPTIONS = ("--no-grpc",)

    def test_a_last_message_of_the_assistant_is_continued(self):
        ask = {"max_tokens": 1, "messages": [{"role": "user", "content": "Hi"},
                                             {"role": "assistant", "content": "Once upon"}]}
        counted = self.server.post("/v1/messages/count_tokens", ask)[1]["input_tokens"]
        made = self.server.post("/tokenize", {"messages": ask["messages"], "continue_final_message": True,
                                              "add_generation_prompt": False})[1]
        self.assertEqual(counted, made["count"])
        self.assertEqual(self.server.post("/v1/messages", ask)[0], 200)


if __name__ == "__main__":
    harness.main()
