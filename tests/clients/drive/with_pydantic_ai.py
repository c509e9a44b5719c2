"""pydantic-ai: an agent with a tool, and one with a typed output, which is a tool that must be called."""

from driving import QUESTION, SUNNY, TYPED, WEATHER_SCRIPTS, call, get_weather, weather_type

PACKAGE = "pydantic-ai-slim"
SCRIPTS = [*WEATHER_SCRIPTS, call("final_result", **TYPED)]


def drive(url, model, report):
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

    Weather = weather_type()
    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        result = Agent(kind(model), tools=[get_weather]).run_sync(QUESTION)
        report.check("agent on " + kind.__name__, result.output == SUNNY, result)
        result = Agent(kind(model), output_type=Weather).run_sync("s2")
        report.check("typed output", result.output == Weather(**TYPED), result)
    with Agent(OpenAIChatModel(model), tools=[get_weather]).run_stream_sync(QUESTION) as stream:
        report.check("stream", stream.get_output() == SUNNY)
