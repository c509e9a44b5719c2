"""autogen: an assistant with a tool."""

import asyncio

from driving import QUESTION, SUNNY, WEATHER, WEATHER_SCRIPTS

PACKAGE = "autogen-agentchat"
SCRIPTS = WEATHER_SCRIPTS


def drive(url, model, report):
    from autogen_agentchat.agents import AssistantAgent
    from autogen_core.models import ModelFamily
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    async def get_weather(city: str) -> str:
        """Tells the weather of a city."""
        return WEATHER

    info = {"vision": False, "function_calling": True, "json_output": True, "family": ModelFamily.UNKNOWN,
            "structured_output": True}
    client = OpenAIChatCompletionClient(model=model, base_url=url, api_key="none", model_info=info)

    async def run():
        for stream in (False, True):
            agent = AssistantAgent("helper", client, tools=[get_weather], reflect_on_tool_use=True,
                                   model_client_stream=stream)
            last = (await agent.run(task=QUESTION)).messages[-1]
            report.check("streamed agent" if stream else "agent", last.content == SUNNY, last)

    asyncio.run(run())
