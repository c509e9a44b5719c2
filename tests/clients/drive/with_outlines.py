"""outlines: types, choices and expressions, over its client for OpenAI's API and the one for vLLM's."""

import json

import driving

SCRIPTS = ['{"city": "Oslo", "degrees": 21}', "sunny", "AB12"]


def drive(url, model, report):
    import typing

    import openai
    import outlines
    import pydantic

    class Weather(pydantic.BaseModel):
        city: str
        degrees: int

    for name, make in (("from_openai", outlines.from_openai), ("from_vllm", outlines.from_vllm)):
        got = make(openai.OpenAI(), model)("s0", Weather)
        report.check(name + " type", json.loads(got) == {"city": "Oslo", "degrees": 21}, got)
    vllm = outlines.from_vllm(openai.OpenAI(), model)
    got = vllm("s1", typing.Literal["sunny", "rainy"])
    report.check("choice", got == "sunny", got)
    got = vllm("s2", outlines.regex("[A-Z]{2}[0-9]{2}"))
    report.check("regex", got == "AB12", got)


if __name__ == "__main__":
    driving.main(drive, "outlines")
