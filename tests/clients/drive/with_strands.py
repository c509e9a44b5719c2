"""strands: an agent with a tool, which streams."""

from driving import QUESTION, SUNNY, WEATHER, WEATHER_SCRIPTS

PACKAGE = "strands-agents"
SCRIPTS = WEATHER_SCRIPTS


def drive(url, model, report):
    from strands import Agent, tool
    from strands.models.openai import OpenAIModel

    @tool
    def get_weather(city: str) -> str:
        """Tells the weather of a city."""
        return WEATHER

    client = OpenAIModel(client_args={"base_url": url, "api_key": "none"}, model_id=model)
    answer = str(Agent(model=client, tools=[get_weather], callback_handler=None)(QUESTION)).strip()
    report.check("agent", answer == SUNNY, answer)
