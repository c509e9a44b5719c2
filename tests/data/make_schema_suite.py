#!/usr/bin/env python3
"""Records the cases of the JSON-Schema-Test-Suite as one line a schema.

    python make_schema_suite.py FOLDER --out schema_suite.json

FOLDER is the suite's tests/draft2020-12; the source distribution of the package jsonschema has it as
json/tests/draft2020-12. Cases that need other documents are left out.
"""

import argparse
import json
import pathlib

OTHER_DOCUMENTS = ("refRemote.json", "vocabulary.json")


def compact(value):
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def groups_of(folder):
    for path in sorted([*folder.glob("*.json"), *folder.glob("optional/format/*.json")]):
        if path.name in OTHER_DOCUMENTS:
            continue
        for group in json.loads(path.read_text()):
            schema = group["schema"]
            if isinstance(schema, dict):
                schema.pop("$schema", None)
            instances = {True: [], False: []}
            for test in group["tests"]:
                instances[test["valid"]].append(test["data"])
            yield {"keyword": path.stem, "schema": schema,
                   "valid": instances[True], "invalid": instances[False]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    lines = [compact(group) for group in groups_of(options.folder)]
    options.out.write_text("[" + ",\n".join(lines) + "]\n")


if __name__ == "__main__":
    main()
