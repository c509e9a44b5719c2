"""guidance: free text, a schema, and a tool, as OpenAI's model."""

from driving import QUESTION, SUNNY, TYPED, WEATHER_SCRIPTS, get_weather, weather_type

PACKAGE = "guidance"
SCRIPTS = [*WEATHER_SCRIPTS, '{"city":"Oslo","degrees":21}']


def drive(url, model, report):
    import guidance
    from guidance import assistant, gen, user

    Weather = weather_type()
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
    report.check("json", Weather.model_validate_json(got) == Weather(**TYPED), got)
    got = str(ask(QUESTION, gen(tools=[get_weather])))
    report.check("tool", "get_weather" in got and "It is sunny" in got, got)
