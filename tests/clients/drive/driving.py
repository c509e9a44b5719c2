"""The drivers share this: how a scripted model calls a tool, and how a driver reports."""

import importlib.metadata
import json
import os
import sys

CITY = "Oslo"
WEATHER = "s1 It is sunny in Oslo."  # what the tool returns; its trigger asks for the next script
QUESTION = "s0 What is the weather in Oslo?"
SUNNY = "The sun shines in Oslo today."


def call(name, **arguments):
    """Returns the text with which a model of the Hermes format calls a tool."""
    return '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>' % (name, json.dumps(arguments))


# A call of get_weather, and the answer to its result.
WEATHER_SCRIPTS = [call("get_weather", city=CITY), SUNNY]


class Report:
    def __init__(self):
        self.did = []

    def check(self, what, condition, got=None):
        """Notes what was done, or ends the driver."""
        if not condition:
            raise SystemExit("%s: got %r" % (what, got))
        self.did.append(what)


def main(drive, package):
    """Runs drive(url, model, report), where `url` ends in /v1, and prints the report."""
    url, model = sys.argv[1] + "/v1", sys.argv[2]
    os.environ.update(OPENAI_BASE_URL=url, OPENAI_API_BASE=url, OPENAI_API_KEY="none", NO_PROXY="127.0.0.1",
                      no_proxy="127.0.0.1", DO_NOT_TRACK="1")
    report = Report()
    drive(url, model, report)
    print(json.dumps({"version": importlib.metadata.version(package), "did": report.did}))
