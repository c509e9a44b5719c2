"""instructor: a model of pydantic in its default mode, and in the modes that use schemas."""

import json

from driving import TYPED, call, weather_type

PACKAGE = "instructor"
SCRIPTS = [call("Weather", **TYPED), json.dumps(TYPED), call("PartialWeather", **TYPED)]


def drive(url, model, report):
    import instructor
    import openai

    Weather = weather_type()
    for mode, trigger in ((None, "s0"), (instructor.Mode.JSON_SCHEMA, "s1")):
        client = instructor.from_openai(openai.OpenAI(), **({"mode": mode} if mode else {}))
        got = client.chat.completions.create(model=model, response_model=Weather, max_retries=0,
                                             messages=[{"role": "user", "content": trigger}])
        report.check("default mode" if mode is None else mode.value, got.model_dump() == TYPED, got)
    client = instructor.from_openai(openai.OpenAI())
    parts = list(client.chat.completions.create_partial(model=model, response_model=Weather, max_retries=0,
                                                        messages=[{"role": "user", "content": "s2"}]))
    report.check("partial", parts[-1].city == "Oslo" and parts[-1].degrees == 21, parts)
