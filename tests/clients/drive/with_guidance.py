"""guidance: free text, a schema, and a tool, as OpenAI's model."""

import driving
from driving import QUESTION, SUNNY, WEATHER, WEATHER_SCRIPTS

SCRIPTS = [*WEATHER_SCRIPTS, '{"city":"Oslo","degrees":21}']


def drive(url, model, report):
    import guidance
    import pydantic
    from guidance import assistant, gen, user

    class Weather(pydantic.BaseModel):
        city: str
        degrees: int

    def get_weather(city: str) -> str:
        """Tells the weather of a city."""
        return WEATHER

    start = guidance.models.OpenAI(model, base_url=url, api_key="none", echo=False)

    def ask(question, *answers):
        lm = start
        with user():
            lm += question
        with assistant():
            for answer in answers:
                lm += answer
        return lm

    got = ask("s1", gen(name="answer"))["answer"]
    report.check("gen", got == SUNNY, got)
    got = ask("s2", guidance.json(name="weather", schema=Weather))["weather"]
    report.check("json", Weather.model_validate_json(got) == Weather(city="Oslo", degrees=21), got)
    got = str(ask(QUESTION, gen(tools=[get_weather])))
    report.check("tool", "get_weather" in got and "It is sunny" in got, got)


if __name__ == "__main__":
    driving.main(drive, "guidance")
