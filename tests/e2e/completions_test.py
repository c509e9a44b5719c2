#!/usr/bin/env python3
"""POST /v1/completions through the official client.

    python completions_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import concurrent.futures
import json

import openai

import harness
from harness import PROMPT, WithServer

class Completions(WithServer):
    """Through the official client."""

    def test_completion(self):
        reply = self.server.complete(max_tokens=8, temperature=0)
        self.assertEqual(reply.object, "text_completion")
        self.assertTrue(reply.id.startswith("cmpl-"))
        self.assertTrue(reply.choices[0].text)
        self.assertIn(reply.choices[0].finish_reason, ("stop", "length"))
        self.assertLessEqual(reply.usage.completion_tokens, 8)
        self.assertEqual(reply.usage.total_tokens,
                         reply.usage.prompt_tokens + reply.usage.completion_tokens)

    def test_stream_equals_the_whole(self):
        whole = self.server.complete(max_tokens=32, temperature=0, ignore_eos=True)
        text, chunks = "", list(self.server.complete(
            max_tokens=32, temperature=0, ignore_eos=True, stream=True,
            stream_options={"include_usage": True}))
        for chunk in chunks[:-1]:
            self.assertIsNone(chunk.usage)
            text += chunk.choices[0].text
        self.assertEqual(text, whole.choices[0].text)
        self.assertEqual(chunks[-2].choices[0].finish_reason, "length")
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, 32)
        self.assertEqual(chunks[-1].usage.prompt_tokens, whole.usage.prompt_tokens)

    def test_continuous_usage(self):
        chunks = list(self.server.complete(
            max_tokens=8, temperature=0, ignore_eos=True, stream=True,
            stream_options={"include_usage": True, "continuous_usage_stats": True}))
        counts = [chunk.usage.completion_tokens for chunk in chunks]
        self.assertEqual(counts, sorted(counts))
        self.assertEqual(counts[-1], 8)

    def test_errors_map_to_exceptions(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.server.complete(temperature=3)
        self.assertEqual(caught.exception.param, "temperature")
        self.assertEqual(caught.exception.type, "invalid_request_error")
        with self.assertRaises(openai.NotFoundError) as caught:
            self.server.complete(model="nobody")
        self.assertEqual(caught.exception.code, "model_not_found")
        for name, value in (("n", 0), ("best_of", 3), ("logit_bias", {"x": 2}), ("suffix", "x"),
                            ("frequency_penalty", 3), ("logprobs", 21), ("max_tokens", -1),
                            ("top_p", 0), ("stop", [""]), ("prompt", []), ("prompt", [[]]),
                            ("prompt", [10**6]), ("stop_token_ids", [-1])):
            with self.assertRaises(openai.BadRequestError, msg=name) as caught:
                self.server.complete(**{name: value})
            self.assertEqual(caught.exception.param, name)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.server.client.completions.create(
                model=self.server.model, prompt="x", extra_body={"nonsense": 1})
        self.assertEqual(caught.exception.param, "nonsense")

    def test_models(self):
        self.assertEqual(self.server.client.models.retrieve(self.server.model).id,
                         self.server.model)
        with self.assertRaises(openai.NotFoundError):
            self.server.client.models.retrieve("nobody")

    def test_scoring_as_lm_eval_does(self):
        ids = self.prompt_ids(PROMPT + " there was a little girl")
        for max_tokens in (1, 0):
            reply = self.server.complete(
                prompt=[ids, ids[:4]], echo=True, logprobs=1, max_tokens=max_tokens,
                temperature=0, seed=1234)
            for choice, prompt in zip(reply.choices, (ids, ids[:4])):
                scores = choice.logprobs
                self.assertEqual(len(scores.token_logprobs),
                                 len(prompt) + len(scores.token_logprobs[len(prompt):]))
                self.assertGreaterEqual(len(scores.token_logprobs), len(prompt))
                self.assertIsNone(scores.token_logprobs[0])
                self.assertIsNone(scores.top_logprobs[0])
                for score, top in zip(scores.token_logprobs[1:], scores.top_logprobs[1:]):
                    self.assertLessEqual(score, 0)
                    self.assertGreaterEqual(max(top.values()), score)
                for name in ("tokens", "top_logprobs", "text_offset"):
                    self.assertEqual(len(getattr(scores, name)), len(scores.token_logprobs))
                # The text of each token stands where its offset says.
                for token, offset in zip(scores.tokens[2:], scores.text_offset[2:]):
                    if not token.startswith("bytes:"):
                        self.assertEqual(choice.text[offset:offset + len(token)], token)
        self.assertEqual(reply.choices[0].finish_reason, "length")
        self.assertEqual(reply.usage.completion_tokens, 0)

    def test_scores_do_not_depend_on_the_way_to_ask(self):
        ids = self.prompt_ids(PROMPT)
        base = self.server.complete(prompt=ids, max_tokens=4, temperature=0, logprobs=0,
                                    ignore_eos=True, return_token_ids=True)
        made = base.choices[0].model_extra["token_ids"]
        scored = self.server.complete(prompt=ids + made, max_tokens=0, echo=True, logprobs=0)
        for a, b in zip(base.choices[0].logprobs.token_logprobs,
                        scored.choices[0].logprobs.token_logprobs[len(ids):]):
            # Decode and prefill sum in another order, on some processors of rounded activations.
            rounded = "activations rounded to bf16" in self.server.banner
            self.assertAlmostEqual(a, b, places=1 if rounded else 3)

    def test_streamed_scores_equal_the_whole(self):
        parameters = dict(prompt=PROMPT * 20, max_tokens=3, temperature=0, echo=True, logprobs=2)
        whole = self.server.complete(**parameters).choices[0]
        text, scores = "", []
        for chunk in self.server.complete(**parameters, stream=True):
            text += chunk.choices[0].text
            if chunk.choices[0].logprobs:
                scores += chunk.choices[0].logprobs.token_logprobs
        self.assertEqual(text, whole.text)
        self.assertEqual(scores, whole.logprobs.token_logprobs)

    def test_echo_and_max_tokens_0(self):
        reply = self.server.complete(max_tokens=0, echo=True)
        self.assertEqual(reply.choices[0].text, PROMPT)
        reply = self.server.complete(max_tokens=0)
        self.assertEqual(reply.choices[0].text, "")
        self.assertEqual(reply.choices[0].finish_reason, "length")

    def prompt_ids(self, text):
        reply = self.server.complete(prompt=text, max_tokens=0, return_token_ids=True)
        return reply.choices[0].model_extra["prompt_token_ids"]

    def test_token_ids_in_and_out(self):
        parameters = dict(max_tokens=8, temperature=0, return_token_ids=True, ignore_eos=True)
        from_text = self.server.complete(**parameters).choices[0]
        ids = from_text.model_extra["prompt_token_ids"]
        from_ids = self.server.complete(prompt=ids, **parameters).choices[0]
        self.assertEqual(from_text.model_extra["token_ids"], from_ids.model_extra["token_ids"])
        self.assertEqual(len(from_ids.model_extra["token_ids"]), 8)
        streamed = []
        for chunk in self.server.complete(stream=True, **parameters):
            streamed += chunk.choices[0].model_extra["token_ids"]
        self.assertEqual(streamed, from_ids.model_extra["token_ids"])

    def test_stops(self):
        base = self.server.complete(max_tokens=24, temperature=0, ignore_eos=True,
                                    return_token_ids=True).choices[0]
        stop = base.text[len(base.text) // 2:][:4]
        cut = self.server.complete(max_tokens=24, temperature=0, ignore_eos=True,
                                   stop=["never to be seen", stop]).choices[0]
        self.assertEqual(cut.text, base.text[:base.text.index(stop)])
        self.assertEqual(cut.finish_reason, "stop")
        self.assertEqual(cut.model_extra["stop_reason"], stop)
        ids = base.model_extra["token_ids"]
        last = self.server.complete(max_tokens=24, temperature=0, ignore_eos=True,
                                    stop_token_ids=[ids[5]]).choices[0]
        self.assertEqual(last.finish_reason, "stop")
        self.assertEqual(last.model_extra["stop_reason"], ids[5])

    def test_seeds(self):
        def text(seed):
            return self.server.complete(max_tokens=16, seed=seed, ignore_eos=True).choices[0].text

        self.assertEqual(text(1), text(1))
        self.assertEqual(text(-1), text(-1))
        self.assertGreater(len({text(seed) for seed in range(4)}), 1)
        # Without a seed, equal prompts of a list differ.
        reply = self.server.complete(prompt=[PROMPT] * 4, max_tokens=16, ignore_eos=True)
        self.assertEqual([choice.index for choice in reply.choices], [0, 1, 2, 3])
        self.assertGreater(len({choice.text for choice in reply.choices}), 1)

    def test_together_equals_alone(self):
        def text(seed):
            return self.server.complete(
                prompt=PROMPT + " " * (seed % 3) + "x" * (seed % 5), max_tokens=4 + seed,
                seed=seed, ignore_eos=True).choices[0].text

        alone = [text(seed) for seed in range(32)]
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            self.assertEqual(list(pool.map(text, range(32))), alone)

    def test_prompt_list_streamed(self):
        prompts = [PROMPT, "The dog", "A"]
        texts, finished = [""] * 3, set()
        for chunk in self.server.complete(prompt=prompts, max_tokens=12, temperature=0,
                                          ignore_eos=True, stream=True):
            choice = chunk.choices[0]
            texts[choice.index] += choice.text
            if choice.finish_reason:
                finished.add(choice.index)
        self.assertEqual(finished, {0, 1, 2})
        whole = self.server.complete(prompt=prompts, max_tokens=12, temperature=0,
                                     ignore_eos=True)
        self.assertEqual(texts, [choice.text for choice in whole.choices])
    def test_choices(self):
        alone = self.server.complete(max_tokens=12, seed=7, ignore_eos=True, logprobs=0)
        several = self.server.complete(max_tokens=12, seed=7, ignore_eos=True, logprobs=0, n=4)
        self.assertEqual([choice.index for choice in several.choices], [0, 1, 2, 3])
        self.assertGreater(len({choice.text for choice in several.choices}), 1)
        # The first of several is what it is alone, bit for bit.
        self.assertEqual(several.choices[0].text, alone.choices[0].text)
        self.assertEqual(several.choices[0].logprobs, alone.choices[0].logprobs)
        # The prompt was read once.
        self.assertEqual(several.usage.prompt_tokens, alone.usage.prompt_tokens)
        self.assertEqual(several.usage.completion_tokens, 48)
        self.assertEqual(several.usage.prompt_tokens_details.cached_tokens, 0)
        again = self.server.complete(max_tokens=12, seed=7, ignore_eos=True, n=4)
        self.assertEqual([c.text for c in again.choices], [c.text for c in several.choices])

    def test_choices_of_a_list_streamed(self):
        texts = [""] * 4
        for chunk in self.server.complete(prompt=[PROMPT, "The dog"], n=2, seed=3, max_tokens=8,
                                          ignore_eos=True, stream=True):
            texts[chunk.choices[0].index] += chunk.choices[0].text
        whole = self.server.complete(prompt=[PROMPT, "The dog"], n=2, seed=3, max_tokens=8,
                                     ignore_eos=True)
        self.assertEqual(texts, [choice.text for choice in whole.choices])

    def test_logit_bias(self):
        reply = self.server.complete(max_tokens=6, logit_bias={"300": 100}, ignore_eos=True,
                                     return_token_ids=True)
        self.assertEqual(reply.choices[0].model_extra["token_ids"], [300] * 6)
        free = self.server.complete(max_tokens=1, temperature=0, return_token_ids=True)
        first = free.choices[0].model_extra["token_ids"][0]
        other = self.server.complete(max_tokens=1, temperature=0, return_token_ids=True,
                                     logit_bias={str(first): -100})
        self.assertNotEqual(other.choices[0].model_extra["token_ids"][0], first)

    def test_penalties(self):
        def ids(**parameters):
            reply = self.server.complete(max_tokens=64, temperature=0, ignore_eos=True,
                                         return_token_ids=True, **parameters)
            return reply.choices[0].model_extra["token_ids"]

        plain = len(set(ids()))
        self.assertGreater(len(set(ids(frequency_penalty=2, presence_penalty=2))), plain)
        self.assertGreater(len(set(ids(repetition_penalty=10))), plain)

    def test_min_tokens_and_included_stops(self):
        base = self.server.complete(max_tokens=24, temperature=0, ignore_eos=True,
                                    return_token_ids=True).choices[0]
        stop = base.text[2:6]
        cut = self.server.complete(max_tokens=24, temperature=0, ignore_eos=True, stop=stop,
                                   include_stop_str_in_output=True).choices[0]
        self.assertEqual(cut.text, base.text[:base.text.index(stop) + len(stop)])
        # EOS is the only token that may come, and it may not come yet.
        eos = 2
        reply = self.server.complete(max_tokens=8, min_tokens=4, logit_bias={str(eos): 100})
        self.assertEqual(reply.usage.completion_tokens, 5)
        self.assertEqual(reply.choices[0].finish_reason, "stop")

    def test_deadline(self):
        long = dict(max_tokens=1 << 20, ignore_eos=True)
        with self.assertRaises(openai.APIStatusError) as caught:
            self.server.complete(**long, deadline_ms=300)
        self.assertEqual(caught.exception.status_code, 504)
        self.assertEqual(caught.exception.code, "deadline_exceeded")
        with self.assertRaises(openai.APIError) as caught:
            for _ in self.server.complete(**long, deadline_ms=300, stream=True):
                pass
        self.assertEqual(caught.exception.code, "deadline_exceeded")
        status, body, _ = self.server.request(
            "/v1/completions", {"prompt": PROMPT, **long}, {"x-request-timeout-ms": "200"})
        self.assertEqual(status, 504, body)
        # Before the first byte of a stream it is a status, too.
        status, body, _ = self.server.request(
            "/v1/completions",
            {"prompt": [7] * 200000, **long, "stream": True, "deadline_ms": 100})
        self.assertEqual(status, 504, body)
        self.server.wait_idle()

    def test_what_is_merely_noted(self):
        reply = self.server.complete(max_tokens=1, user="me", priority=-5,
                                     extra_headers={"x-request-id": "noted-1"})
        self.assertTrue(reply.choices)
        line = self.server.log_lines("request_id=noted-1")[0]
        self.assertIn("user=me", line)

    def test_as_guidellm_asks(self):
        """GET /health and /v1/models, then streams that it counts by their usage."""
        self.assertEqual(self.server.get("/health")[0], 200)
        model = self.server.get("/v1/models")[1]["data"][0]["id"]
        parameters = {"model": model, "prompt": PROMPT, "max_tokens": 16, "ignore_eos": True,
                      "stop": None, "stream": True,
                      "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
        _, body, headers = self.server.request("/v1/completions", parameters)
        self.assertEqual(headers["Content-Type"], "text/event-stream")
        events = body.decode().strip().split("\n\n")
        self.assertEqual(events[-1], "data: [DONE]")
        last = json.loads(events[-2].removeprefix("data: "))
        self.assertEqual(last["choices"], [])
        self.assertEqual(last["usage"]["completion_tokens"], 16)

    def test_tokenize(self):
        status, made = self.server.post("/tokenize", {"prompt": PROMPT})
        self.assertEqual(status, 200)
        self.assertEqual(made["tokens"], self.prompt_ids(PROMPT))
        self.assertEqual(made["count"], len(made["tokens"]))
        status, back = self.server.post(
            "/detokenize", {"tokens": made["tokens"], "skip_special_tokens": True})
        self.assertEqual((status, back), (200, {"prompt": PROMPT}))
        status, chat = self.server.post(
            "/tokenize", {"messages": [{"role": "user", "content": PROMPT}]})
        answered = self.server.chat([{"role": "user", "content": PROMPT}], max_tokens=1)
        self.assertEqual((status, chat["count"]), (200, answered.usage.prompt_tokens))
        self.assertEqual(self.server.post("/detokenize", {"tokens": [10**6]})[0], 400)


if __name__ == "__main__":
    harness.main()
