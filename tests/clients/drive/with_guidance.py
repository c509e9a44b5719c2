"""guidance: a chat whose answers follow expressions and schemas, by its model for vLLM's API."""

import driving

SCRIPTS = ["AB12", '{"city": "Oslo", "degrees": 21}', "sunny"]


def drive(url, model, report):
    import guidance
    import pydantic
    from guidance.models.experimental import VLLMModel

    class Weather(pydantic.BaseModel):
        city: str
        degrees: int

    def ask(trigger, answer):
        lm = VLLMModel(model, echo=False, base_url=url, api_key="none")
        with guidance.user():
            lm += trigger
        with guidance.assistant():
            lm += answer
        return lm["answer"]

    got = ask("s0", guidance.gen("answer", regex="[A-Z]{2}[0-9]{2}"))
    report.check("gen with regex", got == "AB12", got)
    got = ask("s1", guidance.json("answer", schema=Weather))
    report.check("json", Weather.model_validate_json(got) == Weather(city="Oslo", degrees=21), got)
    got = ask("s2", guidance.select(["sunny", "rainy"], name="answer"))
    report.check("select", got == "sunny", got)


if __name__ == "__main__":
    driving.main(drive, "guidance")
