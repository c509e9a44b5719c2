"""outlines: types, choices and expressions, over vLLM's way and over OpenAI's, plain and streamed."""

import json
from typing import Literal

from driving import TYPED, weather_type

PACKAGE = "outlines"
SCRIPTS = [json.dumps(TYPED), "yes", "AB-123"]


def drive(url, model, report):
    import openai
    import outlines
    from outlines.types import Regex

    Weather = weather_type()
    client = openai.OpenAI(max_retries=0)
    for name, made in (("vLLM", outlines.from_vllm(client, model)), ("SGLang", outlines.from_sglang(client, model)),
                       ("OpenAI", outlines.from_openai(client, model))):
        got = made("s0", Weather)
        report.check("a type over " + name, json.loads(got) == TYPED, got)
        got = "".join(made.stream("s0", Weather))
        report.check("streamed", json.loads(got) == TYPED, got)
        if name == "OpenAI":
            continue  # it refuses all but schemas
        got = made("s1", Literal["yes", "no"])
        report.check("a choice", got == "yes", got)
        got = made("s2", Regex("[A-Z]{2}-[0-9]{3}"))
        report.check("an expression", got == SCRIPTS[2], got)
