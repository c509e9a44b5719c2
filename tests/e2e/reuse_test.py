#!/usr/bin/env python3
"""Reuse of prompts: how much of a prompt comes from a kept state, for whom, and that no answer changes.

    python reuse_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import json
import subprocess
import tempfile
import threading
import unittest

import harness
from harness import Server, WithServer, eventually

GRID = 64
IDS = [5 + i * 7 % 4000 for i in range(300)]  # a prompt of token ids; its last grid point is 256
STORY = ("Once upon a time there was a little dog who lived in a big house with a red door. Every day "
         "the dog went to the park to play with a ball and to run after the birds. ")

# Writes an answer's reasoning only while nothing follows it.
DROPS_REASONING = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>"
    "{% if loop.last %}{{ m['content'] }}{% else %}{{ m['content'].split(']]')[-1] }}{% endif %}"
    "<|end|>{% else %}<|user|>{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}")


def cached(reply):
    return reply.usage.prompt_tokens_details.cached_tokens


def user(content):
    return {"role": "user", "content": content}


def shared_length(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def read_aheads(server):
    """Returns how many read-aheads have ended, in any way."""
    return sum(server.metric('deltaserve_read_aheads_total{result="%s"}' % result)
               for result in ("finished", "needless", "dropped"))


class Conversations(unittest.TestCase):
    TURNS = 4

    def tokens(self, server, messages):
        return server.post("/tokenize", {"messages": messages})[1]["tokens"]

    def converse(self, server, cold, **parameters):
        """Every turn reuses what it shares with what the server read and wrote, and says what a server
        without reuse says."""
        messages, shared, answers = [], 0, read_aheads(server)
        for turn in range(self.TURNS):
            messages.append(user("%d. %s" % (turn, STORY * (2 if turn == 0 else 1))))
            rows = server.metric("deltaserve_prompt_tokens_total")
            asked = dict(seed=turn, temperature=0.8, max_tokens=80, **parameters)
            reply = server.chat(messages, **asked)
            self.assertEqual(reply.choices, cold.chat(messages, **asked).choices)
            self.assertGreaterEqual(cached(reply), shared // GRID * GRID - GRID)
            if turn > 0:
                self.assertGreater(cached(reply), 0)
            messages.append({"role": "assistant", "content": reply.choices[0].message.content})
            eventually(lambda: read_aheads(server) == answers + turn + 1,
                       lambda: "%d read-aheads" % read_aheads(server))
            # The server computed the tokens that it did not reuse.
            rows = server.metric("deltaserve_prompt_tokens_total") - rows
            self.assertEqual(rows, reply.usage.prompt_tokens - cached(reply))
            # The next turn shares this with all that was read and written.
            shared = shared_length(*(self.tokens(server, messages + [user(x)]) for x in ("7", "a")))

    def test_every_kind_of_answer(self):
        schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 40},
                                                   "toys": {"type": "array", "maxItems": 3,
                                                            "items": {"enum": ["ball", "doll"]}}},
                  "required": ["name", "toys"], "additionalProperties": False}
        kinds = {
            "free": {},
            "schema": {"response_format": {"type": "json_schema", "json_schema": {
                "name": "toys", "schema": schema}}},
            "stop": {"stop": ["the", "."]},
        }
        with Server() as server, Server("--prefix-cache-memory", "0") as cold:
            for name, parameters in kinds.items():
                with self.subTest(name):
                    self.converse(server, cold, **parameters)

    def test_reasoning_that_the_template_drops(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as template:
            template.write(DROPS_REASONING)
            template.flush()
            options = ("--chat-template", template.name)
            with Server(*options) as server, Server(*options, "--prefix-cache-memory", "0") as cold:
                self.converse(server, cold, structured_outputs={
                    "regex": r"\[\[[a-z ]{100,120}\]\][a-z ]{60,80}"})


class Prompts(WithServer):
    def ask(self, prompt=None, **parameters):
        return self.server.complete(**{"prompt": prompt or IDS, "max_tokens": 4, "temperature": 0,
                                       "ignore_eos": True, **parameters})

    def test_the_same_prompt_again(self):
        first, second = self.ask(), self.ask()
        self.assertEqual([cached(first), cached(second)], [0, 256])
        self.assertEqual(first.choices, second.choices)
        self.assertGreater(second.model_extra["timings"]["time_to_first_token_ms"], 0)
        # A prompt that is scored is computed whole.
        self.assertEqual(cached(self.ask(echo=True, logprobs=1)), 0)

    def test_a_stream_says_it_at_its_end(self):
        prompt = IDS[::-1]
        self.ask(prompt)
        chunks = list(self.ask(prompt, stream=True, stream_options={"include_usage": True}))
        self.assertEqual(cached(chunks[-1]), 256)
        self.assertGreater(chunks[-1].model_extra["timings"]["time_to_first_token_ms"], 0)
        for chunk in chunks[:-1]:
            self.assertNotIn("timings", chunk.model_extra)

    def test_several_answers(self):
        prompt = [id + 1 for id in IDS]
        parameters = dict(n=4, temperature=1, seed=3, max_tokens=8)
        first, second = self.ask(prompt, **parameters), self.ask(prompt, **parameters)
        self.assertEqual([cached(first), cached(second)], [0, 256])
        self.assertEqual(first.choices, second.choices)
        self.assertEqual(second.usage.prompt_tokens, len(prompt))

    def test_salts_share_nothing(self):
        prompt = [id + 2 for id in IDS]
        replies = [self.ask(prompt, **({"cache_salt": salt} if salt else {}))
                   for salt in ("a", "b", None, "a", None)]
        self.assertEqual([cached(reply) for reply in replies], [0, 0, 0, 256, 256])
        self.assertEqual(len({reply.choices[0].text for reply in replies}), 1)

    def test_a_cleared_cache(self):
        prompt = [id + 3 for id in IDS]
        self.ask(prompt)
        for body in (None, {}):
            data = b"" if body is None else json.dumps(body).encode()
            reply = self.server.raw(harness.post(data, "Connection: close\r\n", path="/cache/clear"))
            self.assertEqual((harness.status_of(reply), harness.body_of(reply)), (204, b""))
        self.assertEqual([cached(self.ask(prompt)), cached(self.ask(prompt))], [0, 256])
        status, refused = self.server.post("/cache/clear", {"all": True})
        self.assertEqual(status, 400)
        self.assertIn("all", refused["error"]["message"])
        self.assertEqual(self.server.request("/cache/clear")[0], 405)

    def test_marks(self):
        document = {"type": "text", "text": STORY * 8, "cache_control": {"type": "ephemeral"}}

        def about(question):
            return self.server.chat([{"role": "user", "content": [
                document, {"type": "text", "text": question}]}], max_tokens=2)

        length = len(self.server.post("/tokenize", {"prompt": STORY * 8})[1]["tokens"])
        first, second = about("Who is it? " + STORY * 3), about("Where is it? " + STORY * 3)
        self.assertEqual(cached(first), 0)
        self.assertGreaterEqual(cached(second), length // GRID * GRID - GRID)

    def test_marks_of_messages(self):
        """A mark of a call is after its message, one of the request after its last message."""
        mark = {"cache_control": {"type": "ephemeral"}}
        call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": STORY * 2}}

        def messages(document, marked, *more):
            return [{"role": "user", "content": document},
                    {"role": "assistant", "content": [{**call, **(mark if marked else {})}]},
                    *({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1",
                                                    "content": text}]} for text in more)]

        def ask(messages, **more):
            status, reply = self.server.post("/v1/messages", {
                "model": self.server.model, "max_tokens": 1, "messages": messages, **more})
            self.assertEqual(status, 200, reply)
            usage = reply["usage"]
            return usage["cache_read_input_tokens"], sum(
                usage[name] for name in ("input_tokens", "cache_read_input_tokens"))

        # The results are so long that no other snapshot lies just before them.
        for marked in (True, False):
            document = "%s. %s" % (marked, STORY * 8)
            whole = ask(messages(document, marked, "no " + STORY * 7))
            self.assertEqual(whole[0], 0)
            result = len(self.server.post("/tokenize", {"prompt": STORY * 7})[1]["tokens"])
            shared = (whole[1] - result) // GRID * GRID - GRID
            reused = ask(messages(document, marked, "yes " + STORY * 7))[0]
            (self.assertGreaterEqual if marked else self.assertLess)(reused, shared)

        asked = [{"role": "user", "content": "Request. " + STORY * 8}]
        begun = ask(asked, **mark)[1]
        more = asked + [{"role": "assistant", "content": "no"}, {"role": "user", "content": STORY * 7}]
        self.assertGreaterEqual(ask(more)[0], begun // GRID * GRID - GRID)
        four = [{"role": "user", "content": [{"type": "text", "text": "x", **mark}] * 4}]
        for body, complaint in (({"messages": asked, "cache_control": True}, "cache_control must be"),
                                ({"messages": four + messages("x", True, "y")}, "at most 4"),
                                ({"messages": four + asked, **mark}, "at most 4")):
            status, refused = self.server.post("/v1/messages", {
                "model": self.server.model, "max_tokens": 1, **body})
            self.assertEqual(status, 400)
            self.assertIn(complaint, refused["error"]["message"])
        # The last block has a mark already, so the request's is the same.
        ask(four, **mark)

    def test_a_system_prompt_of_strangers(self):
        system = {"role": "system", "content": "You tell stories. " + STORY * 6}
        length = len(self.server.post("/tokenize", {"messages": [system]})[1]["tokens"])
        replies = [self.server.chat([system, user(name + " " + STORY * 4)], max_tokens=2)
                   for name in ("Tom", "Lily", "Max")]
        self.assertEqual(cached(replies[0]), 0)
        for reply in replies[1:]:
            self.assertGreaterEqual(cached(reply), length // GRID * GRID - GRID)


class Owners(unittest.TestCase):
    def test_owners_share_nothing(self):
        with tempfile.NamedTemporaryFile("w") as keys:
            keys.write("# who may come\nalpha-1 team\nalpha-2 team\nbeta\n")
            keys.flush()
            with Server("--api-key-file", keys.name, key="alpha-1") as server:
                def ask(key):
                    status, body, _ = server.request(
                        "/v1/completions", {"prompt": IDS, "max_tokens": 2},
                        {"Authorization": "Bearer " + key})
                    self.assertEqual(status, 200)
                    return json.loads(body)["usage"]["prompt_tokens_details"]["cached_tokens"]

                def clear(key):
                    return server.request("/cache/clear", {}, {"Authorization": "Bearer " + key})[0]

                self.assertEqual([ask("alpha-1"), ask("alpha-2"), ask("beta"), ask("beta")],
                                 [0, 256, 0, 256])
                self.assertEqual([clear("nobody"), clear("alpha-2")], [401, 204])
                self.assertEqual([ask("beta"), ask("alpha-1"), ask("alpha-2")], [256, 0, 256])


class Memory(unittest.TestCase):
    def test_sizes(self):
        with Server("--prefix-cache-memory", "8MB") as server:
            self.assertRegex(server.banner, r"prefix cache: \d+ snapshots, [0-9.]+ MiB in all")
            limit = server.metric("deltaserve_prefix_cache_limit_bytes")
            state = server.metric("deltaserve_sequence_state_bytes")
            self.assertEqual(limit, (8 << 20) // state * state)
            for token in range(10, 50):
                server.complete(prompt=[token] * 130, max_tokens=1)
            self.assertLessEqual(server.metric("deltaserve_prefix_cache_bytes"), limit)
        result = subprocess.run([harness.BINARY, "serve", "--model", harness.MODEL, "--http-port",
                                 "0", "--prefix-cache-memory", "1KB"], capture_output=True, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, "--prefix-cache-memory is below the .* of one snapshot")

    def test_off(self):
        with Server("--prefix-cache-memory", "0") as server:
            self.assertIn("prefix cache: off", server.banner)
            replies = [server.complete(prompt=IDS, max_tokens=2) for _ in range(2)]
            self.assertEqual([cached(reply) for reply in replies], [0, 0])
            self.assertEqual(read_aheads(server), 0)

    def test_off_a_prompt_for_many_answers_is_read_once(self):
        with Server("--prefix-cache-memory", "0", "--max-sequences", "1") as server:
            reply = server.complete(prompt=IDS, max_tokens=2, n=5)
            self.assertEqual(len(reply.choices), 5)
            self.assertEqual(cached(reply), 0)
            self.assertEqual(server.metric("deltaserve_prompt_tokens_total"), len(IDS))
            tail = (len(IDS) - 1) % 64 + 1
            self.assertEqual(server.metric("deltaserve_prefix_replayed_tokens_total"), 4 * tail)


class ReadAheads(unittest.TestCase):
    def test_a_text_with_and_without_special_tokens(self):
        with Server() as server:
            for turn, special in enumerate((True, False)):
                asked = dict(add_special_tokens=special, temperature=0, ignore_eos=True)
                first = server.complete(prompt=STORY * 2, max_tokens=200, **asked)
                eventually(lambda: read_aheads(server) == 2 * turn + 1, lambda: "no read-ahead")
                more = STORY * 2 + first.choices[0].text + " The end."
                second = server.complete(prompt=more, max_tokens=4, **asked)
                with self.subTest(special):
                    self.assertGreater(cached(second), first.usage.prompt_tokens + 100)
                eventually(lambda: read_aheads(server) == 2 * turn + 2, lambda: "no read-ahead")

    def test_a_cleared_cache_stays_empty(self):
        """The waiting read-aheads of the owner are dropped, too."""
        with Server("--max-sequences", "1") as server:
            def hold():
                stream = server.complete(prompt="x", max_tokens=60_000, ignore_eos=True, stream=True)
                next(iter(stream))
                return stream

            first = hold()
            answers = []
            asking = threading.Thread(target=lambda: answers.append(server.complete(
                prompt=IDS, max_tokens=70, ignore_eos=True, return_token_ids=True)))
            asking.start()
            server.wait_load(1, 1)
            holders = []
            holding = threading.Thread(target=lambda: holders.append(hold()))
            holding.start()
            server.wait_load(1, 2)
            first.close()
            asking.join()
            holding.join()  # it got the slot before the read-ahead could
            self.assertEqual(server.request("/cache/clear", {})[0], 204)
            holders[0].close()
            eventually(lambda: read_aheads(server) == 1, lambda: "%d read-aheads" % read_aheads(server))
            prompt = IDS + answers[0].choices[0].model_extra["token_ids"] + IDS[:5]
            self.assertEqual(cached(server.complete(prompt=prompt, max_tokens=1)), 0)

    def test_the_log_names_them(self):
        with Server("--log-level", "debug") as server:
            server.complete(prompt=IDS, max_tokens=70, ignore_eos=True)
            line = server.log_lines(" read_ahead ")[0]
            self.assertRegex(line, r"id=cmpl-\w+-read-ahead prompt_tokens=370 result=finished")
            self.assertEqual(server.metric('deltaserve_read_aheads_total{result="finished"}'), 1)


if __name__ == "__main__":
    harness.main()
