"""Random JSON schemas of the kind that applications send: objects of a few properties, nested, with
lists, choices, bounds, references, and parts with what they leave unevaluated. The same seed gives the
same schemas everywhere.

    python random_schemas.py SEED COUNT     # one a line
"""

import json
import random
import sys

NAMES = ("name title city color kind status email comment author street note label reason summary "
         "id count age year price score rating width height weight total index level items tags "
         "owner address details options pets children history parts events").split()
WORDS = "red green blue small large open closed dog cat bird yes no perhaps high low none".split()
FORMATS = ("date", "time", "date-time", "uuid", "ipv4", "email")
PATTERNS = ("^[A-Z][a-z]{1,8}$", "^[A-Z]{2}-[0-9]{3}$", "^(\\+[0-9]{1,2} )?[0-9]{3}-[0-9]{4}$",
            "^#[0-9a-f]{6}$", "^v[0-9]{1,3}\\.[0-9]{1,3}$", "^[a-z]+(_[a-z]+)?$")
MAX_DEPTH = 3


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.definitions = {}

    def schema(self):
        """A whole schema; its root is an object, as OpenAI demands it."""
        self.definitions = {}
        root = self.object(MAX_DEPTH)
        if self.definitions:
            root["$defs"] = self.definitions
        if self.chance(0.3):
            root["title"] = self.random.choice(NAMES).title()
        return root

    def chance(self, probability):
        return self.random.random() < probability

    def value(self, depth):
        makers = [self.string] * 5 + [self.integer] * 4 + [self.number] * 2
        makers += [self.boolean, self.boolean, self.enum, self.enum, self.constant, self.nullable]
        if depth > 0:
            makers += [lambda: self.object(depth - 1)] * 2 + [lambda: self.array(depth - 1)] * 3
            makers += [lambda: self.any_of(depth - 1), lambda: self.reference(depth - 1)]
            makers += [lambda: self.extended(depth - 1), lambda: self.tuple(depth - 1)]
        schema = self.random.choice(makers)()
        if self.chance(0.15) and "$ref" not in schema:
            schema["description"] = "The " + self.random.choice(NAMES)
        return schema

    def object(self, depth):
        names = self.random.sample(NAMES, self.random.randint(1, 5))
        schema = {"type": "object", "properties": {name: self.value(depth) for name in names}}
        required = [name for name in names if self.chance(0.75)]
        if required:
            schema["required"] = required
        if self.chance(0.7):
            schema["additionalProperties"] = False
        return schema

    def extended(self, depth):
        """An object that parts describe, and that has no other members: models write long names if they may."""
        names = self.random.sample(NAMES, 3)
        parts = [{"type": "object", "properties": {name: self.value(depth)}, "required": [name]} for name in names[:2]]
        schema = {"type": "object", "properties": {names[2]: self.value(depth)},
                  "unevaluatedProperties": False}
        kind = self.random.choice(("allOf", "anyOf", "$ref"))
        schema[kind] = self.defined(parts[0]) if kind == "$ref" else parts
        return schema

    def tuple(self, depth):
        """A list whose first items have a schema each, and whose others are of a kind, if there are any."""
        schema = {"type": "array", "maxItems": self.random.randint(1, 4),
                  "unevaluatedItems": self.chance(0.6) and {"type": "integer"}}
        first = {"prefixItems": [self.value(depth) for _ in range(self.random.randint(1, 2))]}
        if self.chance(0.5):
            return {**schema, **first}
        return {**schema, "anyOf": [first, {"prefixItems": [self.value(depth)]}]}

    def array(self, depth):
        schema = {"type": "array", "items": self.value(depth)}
        if self.chance(0.4):
            schema["minItems"] = self.random.randint(0, 2)
        schema["maxItems"] = self.random.randint(2, 4)
        return schema

    def string(self):
        schema = {"type": "string"}
        kind = self.random.random()
        if kind < 0.15:
            schema["format"] = self.random.choice(FORMATS)
        elif kind < 0.3:
            schema["pattern"] = self.random.choice(PATTERNS)
        elif kind < 0.9:
            schema["maxLength"] = self.random.choice((5, 10, 20, 40, 80))
            if self.chance(0.3):
                schema["minLength"] = self.random.randint(1, 5)
        return schema

    def integer(self):
        schema = {"type": "integer"}
        if self.chance(0.6):
            schema["minimum"] = self.random.randint(-100, 10)
        if self.chance(0.6):
            schema["maximum"] = self.random.randint(10, 5000)
        return schema

    def number(self):
        schema = {"type": "number"}
        if self.chance(0.3):
            schema["exclusiveMinimum"] = self.random.randint(-10, 0)
        if self.chance(0.5):
            schema["maximum"] = self.random.choice((1, 2.5, 99.95, 1000))
        return schema

    def boolean(self):
        return {"type": "boolean"}

    def enum(self):
        return {"enum": self.random.sample(WORDS, self.random.randint(1, 5))}

    def constant(self):
        return {"const": self.random.choice((True, None, 7, "fixed", "a \"quoted\" word"))}

    def nullable(self):
        return {"type": [self.random.choice(("string", "integer", "boolean")), "null"],
                "maxLength": 12}

    def any_of(self, depth):
        return {"anyOf": [self.value(depth) for _ in range(self.random.randint(2, 3))]}

    def reference(self, depth):
        return {"$ref": self.defined(self.value(depth))}

    def defined(self, schema):
        """A reference to it."""
        name = "d%d" % len(self.definitions)
        self.definitions[name] = schema
        return "#/$defs/" + name


def schemas(seed, count):
    generator = Generator(seed)
    return [generator.schema() for _ in range(count)]


if __name__ == "__main__":
    for one in schemas(int(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps(one))
