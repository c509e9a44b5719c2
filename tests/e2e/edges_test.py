"""The edges of the API: what clients of other servers send, and what they expect of the answer."""

import json

import harness
from harness import WithServer, events_of, post

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}


class Edges(WithServer):
    OPTIONS = ("--max-sequences", "4")

    def chunks(self, body, path="/v1/chat/completions"):
        reply = self.server.raw(post({**body, "stream": True}, "Connection: close\r\n", path=path))
        events = events_of(reply)
        self.assertEqual(events.pop(), b"[DONE]")
        return [json.loads(event) for event in events]

    def test_every_answer_and_chunk_has_the_fingerprint(self):
        status, answer = self.server.post("/v1/chat/completions", CHAT)
        self.assertEqual(status, 200)
        fingerprint = answer["system_fingerprint"]
        self.assertRegex(fingerprint, "^fp_[0-9a-f]+$")
        for chunk in self.chunks({**CHAT, "stream_options": {"include_usage": True}}):
            self.assertEqual(chunk["system_fingerprint"], fingerprint)
        _, answer = self.server.post("/v1/completions", {"prompt": "x", "max_tokens": 1})
        self.assertEqual(answer["system_fingerprint"], fingerprint)

    def test_a_chat_tells_its_prompt_at_the_top(self):
        body = {**CHAT, "return_token_ids": True}
        _, answer = self.server.post("/v1/chat/completions", body)
        self.assertGreater(len(answer["prompt_token_ids"]), 2)
        self.assertNotIn("prompt_token_ids", answer["choices"][0])
        self.assertEqual(len(answer["choices"][0]["token_ids"]), 4)
        first, *rest = self.chunks(body)
        self.assertEqual(first["prompt_token_ids"], answer["prompt_token_ids"])
        self.assertFalse(any("prompt_token_ids" in chunk for chunk in rest))

    def test_usage_of_a_chunk_counts_what_was_sent(self):
        options = {"include_usage": True, "continuous_usage_stats": True}
        first, *rest = self.chunks({**CHAT, "stream_options": options, "return_token_ids": True})
        self.assertEqual(first["usage"]["completion_tokens"], 0)
        sent = 0
        for chunk in rest:
            for choice in chunk["choices"]:
                sent += len(choice.get("token_ids", []))
            self.assertEqual(chunk["usage"]["completion_tokens"], sent)
        self.assertEqual(sent, 4)

    def test_prompt_logprobs(self):
        body = {"prompt": [1, 690, 614], "max_tokens": 1, "prompt_logprobs": 2}
        _, answer = self.server.post("/v1/completions", body)
        scores = answer["choices"][0]["prompt_logprobs"]
        _, echoed = self.server.post("/v1/completions",
                                     {**body, "echo": True, "logprobs": 0, "prompt_logprobs": None})
        expected = echoed["choices"][0]["logprobs"]["token_logprobs"]
        self.assertEqual(scores[0], None)
        for token, entry, logprob in zip(body["prompt"][1:], scores[1:], expected[1:]):
            self.assertEqual(entry[str(token)]["logprob"], logprob)
            self.assertEqual([top["rank"] for top in entry.values() if top["rank"] == 1], [1])
        _, chat = self.server.post("/v1/chat/completions", {**CHAT, "prompt_logprobs": 0})
        self.assertEqual(len(chat["prompt_logprobs"]), chat["usage"]["prompt_tokens"])
        status, refused = self.server.post("/v1/completions", {**body, "stream": True})
        self.assertEqual((status, refused["error"]["param"]), (400, "prompt_logprobs"))

    def test_offsets_point_into_the_text(self):
        body = {"prompt": "Once \u00e9 upon", "max_tokens": 6, "echo": True, "logprobs": 0}
        choice = self.server.post("/v1/completions", body)[1]["choices"][0]
        for token, offset in zip(choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"]):
            if not token.startswith("bytes:"):
                self.assertTrue(choice["text"][offset:].startswith(token), (token, choice))

    def test_a_prompt_may_be_truncated(self):
        ids = [1, 690, 4024, 202, 176, 614]
        for side, kept in (("left", ids[-2:]), ("right", ids[:2])):
            body = {"prompt": ids, "max_tokens": 1, "truncate_prompt_tokens": 2,
                    "truncation_side": side, "return_token_ids": True}
            choice = self.server.post("/v1/completions", body)[1]["choices"][0]
            self.assertEqual(choice["prompt_token_ids"], kept)
        answer = self.server.post("/v1/chat/completions", {**CHAT, "truncate_prompt_tokens": 3})[1]
        self.assertEqual(answer["usage"]["prompt_tokens"], 3)

    def test_control_tokens_have_no_text_unless_asked(self):
        """The answer is forced to </s>, which is not its end."""
        body = {"prompt": "Once", "max_tokens": 2, "logit_bias": {"2": 100}, "ignore_eos": True,
                "temperature": 0, "logprobs": 0}
        choice = self.server.post("/v1/completions", body)[1]["choices"][0]
        self.assertEqual((choice["text"], choice["logprobs"]["tokens"]), ("", ["", ""]))
        shown = {**body, "skip_special_tokens": False}
        choice = self.server.post("/v1/completions", shown)[1]["choices"][0]
        self.assertEqual(choice["text"], "</s></s>")
        self.assertEqual(choice["logprobs"]["tokens"], ["</s>", "</s>"])
        self.assertEqual(choice["logprobs"]["text_offset"], [0, 4])
        by_id = {**body, "return_tokens_as_token_ids": True}
        choice = self.server.post("/v1/completions", by_id)[1]["choices"][0]
        self.assertEqual(choice["logprobs"]["tokens"], ["token_id:2", "token_id:2"])
        echoed = {"prompt": "<s>Once</s>", "max_tokens": 0, "echo": True}
        choice = self.server.post("/v1/completions", echoed)[1]["choices"][0]
        self.assertEqual(choice["text"], "<s>Once</s>")

    def test_special_tokens_around_a_prompt(self):
        body = {"prompt": "Once", "max_tokens": 1, "return_token_ids": True}
        with_bos = self.server.post("/v1/completions", body)[1]["choices"][0]["prompt_token_ids"]
        body["add_special_tokens"] = False
        without = self.server.post("/v1/completions", body)[1]["choices"][0]["prompt_token_ids"]
        self.assertEqual(with_bos, [1, *without])


if __name__ == "__main__":
    harness.main()
