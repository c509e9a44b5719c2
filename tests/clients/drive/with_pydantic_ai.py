"""pydantic-ai: an agent with a tool, and one with a typed output, which is a tool that must be called."""

import driving
from driving import QUESTION, SUNNY, WEATHER, WEATHER_SCRIPTS, call

SCRIPTS = [*WEATHER_SCRIPTS, call("final_result", city="Oslo", degrees=21)]


def drive(url, model, report):
    import pydantic
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

    class Weather(pydantic.BaseModel):
        city: str
        degrees: int

    def get_weather(city: str) -> str:
        """Tells the weather of a city."""
        return WEATHER

    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        result = Agent(kind(model), tools=[get_weather]).run_sync(QUESTION)
        report.check("agent on " + kind.__name__, result.output == SUNNY, result)
        result = Agent(kind(model), output_type=Weather).run_sync("s2")
        report.check("typed output", result.output == Weather(city="Oslo", degrees=21), result)
    with Agent(OpenAIChatModel(model), tools=[get_weather]).run_stream_sync(QUESTION) as stream:
        report.check("stream", stream.get_output() == SUNNY)


if __name__ == "__main__":
    driving.main(drive, "pydantic-ai-slim")
