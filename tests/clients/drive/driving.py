"""The drivers share this: how a scripted model calls a tool, and how a driver starts and reports.

    python driving.py NAME URL MODEL FOLDER    # runs drive(url, model, report) of with_NAME.py and prints its report

A driver has PACKAGE, whose version is reported, and SCRIPTS, what its model says; URL has no path, drive() gets
it with /v1. FOLDER has the model and its tokenizer.
"""

import importlib
import importlib.metadata
import json
import os
import sys

CITY = "Oslo"
WEATHER = "s1 It is sunny in Oslo."  # what the tool returns; its trigger asks for the next script
QUESTION = "s0 What is the weather in Oslo?"
SUNNY = "The sun shines in Oslo today."
TYPED = {"city": CITY, "degrees": 21}  # a weather_type()

FUNCTION = {"name": "get_weather", "description": "Tells the weather.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}}
TOOLS = [{"type": "function", "function": FUNCTION}]


def call(name, **arguments):
    """Returns the text with which a model of the Hermes format calls a tool."""
    return '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>' % (name, json.dumps(arguments))


# A call of get_weather, and the answer to its result.
WEATHER_SCRIPTS = [call("get_weather", city=CITY), SUNNY]
# These, and a text for a weather_type().
TYPED_SCRIPTS = [*WEATHER_SCRIPTS, json.dumps(TYPED)]


def get_weather(city: str) -> str:
    """Tells the weather of a city.

    Args:
        city: The city.
    """
    return WEATHER


def weather_type():
    import pydantic

    class Weather(pydantic.BaseModel):
        """The weather of a city."""

        city: str
        degrees: int

    return Weather


def model_folder():
    """Returns the folder of the model that is served, whose tokenizer some clients load."""
    return sys.argv[4]


class Report:
    def __init__(self):
        self.did = []

    def check(self, what, condition, got=None):
        """Notes what was done, or ends the driver."""
        if not condition:
            raise SystemExit("%s: got %r" % (what, got))
        self.did.append(what)


def main():
    name, url, model, _ = sys.argv[1:]
    url += "/v1"
    os.environ.update(OPENAI_BASE_URL=url, OPENAI_API_BASE=url, OPENAI_API_KEY="none", NO_PROXY="127.0.0.1",
                      no_proxy="127.0.0.1", DO_NOT_TRACK="1")
    driver = importlib.import_module("with_" + name)
    report = Report()
    driver.drive(url, model, report)
    print(json.dumps({"version": importlib.metadata.version(driver.PACKAGE), "did": report.did}))


if __name__ == "__main__":
    main()
