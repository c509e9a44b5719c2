#!/usr/bin/env python3
"""Answers that follow a schema, an expression or a grammar.

    python structured_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import concurrent.futures
import json
import re

import openai

import harness
from harness import WithServer

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "kind": {"enum": ["dog", "cat"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 2},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}


class Structured(WithServer):
    def answer(self, **parameters):
        return self.server.chat(max_tokens=200, **parameters).choices[0]

    def test_json_schema(self):
        for seed in range(8):
            choice = self.answer(seed=seed, response_format={
                "type": "json_schema", "json_schema": {"name": "pet", "schema": SCHEMA,
                                                       "strict": True}})
            self.assertEqual(choice.finish_reason, "stop")
            self.check(json.loads(choice.message.content))

    def check(self, pet):
        self.assertLessEqual({"name", "age", "kind"}, set(pet))
        self.assertLessEqual(set(pet), {"name", "age", "kind", "tags"})
        self.assertLessEqual(len(pet["name"]), 12)
        self.assertIn(pet["age"], range(100))
        self.assertIn(pet["kind"], ("dog", "cat"))

    def test_json_schema_streamed_in_choices(self):
        texts = [""] * 4
        for chunk in self.server.chat(
                n=4, seed=1, max_tokens=200, stream=True,
                structured_outputs={"json": SCHEMA}):
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        for text in texts:
            self.check(json.loads(text))

    def test_json_object(self):
        choice = self.answer(seed=3, temperature=0.3, response_format={"type": "json_object"})
        self.assertTrue(choice.message.content.startswith("{"))
        if choice.finish_reason == "stop":
            self.assertIsInstance(json.loads(choice.message.content), dict)

    def test_special_tokens_are_in_no_answer(self):
        """A model that wants to say nothing but a marker says it in no string of a JSON object, and in no
        answer unless skip_special_tokens is false."""
        for token, name in ((3, "<|user|>"), (4, "<|assistant|>"), (5, "<|end|>")):
            wanted = {"logit_bias": {str(token): 100}, "temperature": 0, "logprobs": True}
            choice = self.answer(response_format={"type": "json_object"}, **wanted)
            self.assertNotIn(name, choice.message.content)
            self.assertNotIn(name, [one.token for one in choice.logprobs.content])
            asked = {**wanted, "max_tokens": 3, "ignore_eos": True}
            skipped = self.server.chat(**asked).choices[0]
            self.assertFalse(skipped.message.content)
            self.assertNotIn(name.encode(), [bytes(one.bytes or []) for one in skipped.logprobs.content])
            shown = self.server.chat(**asked, skip_special_tokens=False).choices[0]
            self.assertEqual(shown.message.content, 3 * name)
            self.assertEqual([one.token for one in shown.logprobs.content], 3 * [name])

    def test_regex_choice_and_grammar(self):
        for seed in range(4):
            text = self.answer(seed=seed, structured_outputs={
                "regex": "[0-9]{3}-[a-f]{2}"}).message.content
            self.assertTrue(re.fullmatch("[0-9]{3}-[a-f]{2}", text), text)
            text = self.answer(seed=seed, structured_outputs={
                "choice": ["yes", "no", "perhaps"]}).message.content
            self.assertIn(text, ("yes", "no", "perhaps"))
            text = self.answer(seed=seed, structured_outputs={
                "grammar": 'root ::= "a" [bc]{1,3} "d"'}).message.content
            self.assertTrue(re.fullmatch("a[bc]{1,3}d", text), text)

    def test_grammars_are_compiled_once(self):
        names = ["deltaserve_grammar_cache_%s" % name for name in ("hits_total", "misses_total")]
        count = lambda: [int(self.server.metric(name)) for name in names]
        wanted = {"json": {"enum": ["compiled", "once"]}}
        forms = [wanted, {"choice": ["compiled", "once"]}, {"regex": "compiled|once"},
                 {"grammar": 'root ::= "compiled" | "once"'}]
        for form in forms:
            hits, misses = count()
            self.answer(structured_outputs=form, n=2)
            self.assertEqual(count(), [hits, misses + 1], form)
        hits, misses = count()
        for form in forms:
            self.answer(structured_outputs=form)
        # In both parameters, and whatever the white space.
        self.answer(response_format={"type": "json_schema",
                                     "json_schema": {"name": "x", "schema": wanted["json"]}})
        body = b'{"prompt": "x", "structured_outputs": {"json":{ "enum":[ "compiled","once" ]}}}'
        self.assertEqual(harness.status_of(self.server.raw(
            harness.post(body, "Connection: close\r\n"))), 200)
        self.assertEqual(count(), [hits + 6, misses])
        entries = self.server.metric("deltaserve_grammar_cache_entries")
        self.assertGreaterEqual(entries, 4)
        self.assertGreater(self.server.metric("deltaserve_grammar_bytes"), 1000 * entries)

    def test_concurrent_requests_compile_once(self):
        schema = {"type": "array", "minItems": 2, "maxItems": 2, "items": {
            "type": "string", "pattern": "^([a-f]{1,40}-?){1,8}$", "maxLength": 20}}
        misses = self.server.metric("deltaserve_grammar_cache_misses_total")
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            for choice in pool.map(lambda seed: self.answer(
                    seed=seed, structured_outputs={"json": schema}), range(6)):
                self.assertEqual(choice.finish_reason, "stop")
        self.assertEqual(self.server.metric("deltaserve_grammar_cache_misses_total"), misses + 1)

    def test_failures_are_not_kept(self):
        entries = self.server.metric("deltaserve_grammar_cache_entries")
        for _ in range(2):
            with self.assertRaises(openai.BadRequestError):
                self.answer(structured_outputs={"regex": "(not closed"})
        self.assertEqual(self.server.metric("deltaserve_grammar_cache_entries"), entries)

    def test_in_completions(self):
        reply = self.server.complete(prompt=["Is it?", "Or not?"], max_tokens=20,
                                     structured_outputs={"choice": ["yes", "no"]})
        for choice in reply.choices:
            self.assertIn(choice.text, ("yes", "no"))
            self.assertEqual(choice.finish_reason, "stop")

    def test_refusals(self):
        for parameters, param, word in (
                (dict(response_format={"type": "json_schema", "json_schema": {
                    "name": "x", "schema": {
                        "not": {"required": ["a"]}, "unevaluatedProperties": False}}}),
                 "response_format", "unevaluatedProperties"),
                (dict(structured_outputs={"regex": "(a"}), "structured_outputs", ""),
                (dict(structured_outputs={"regex": "(" * 20000}), "structured_outputs", ""),
                (dict(structured_outputs={"grammar": "root ::= other"}), "structured_outputs",
                 "other"),
                (dict(structured_outputs={"json": {"$ref": "#/nowhere"}}), "structured_outputs",
                 "ref")):
            with self.assertRaisesRegex(openai.BadRequestError, word) as caught:
                self.answer(**parameters)
            self.assertEqual(caught.exception.param, param)

if __name__ == "__main__":
    harness.main()
