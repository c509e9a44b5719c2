#!/usr/bin/env python3
"""Answers that follow a schema, an expression or a grammar.

    python structured_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

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

    def test_in_completions(self):
        reply = self.server.complete(prompt=["Is it?", "Or not?"], max_tokens=20,
                                     structured_outputs={"choice": ["yes", "no"]})
        for choice in reply.choices:
            self.assertIn(choice.text, ("yes", "no"))
            self.assertEqual(choice.finish_reason, "stop")

    def test_refusals(self):
        for parameters, param, word in (
                (dict(response_format={"type": "json_schema", "json_schema": {
                    "name": "x", "schema": {"type": "object", "patternProperties": {}}}}),
                 "response_format", "patternProperties"),
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
