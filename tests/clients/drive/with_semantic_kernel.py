"""semantic-kernel: an agent with a plugin, plain and streamed."""

import asyncio
from typing import Annotated

from driving import QUESTION, SUNNY, WEATHER, call

PACKAGE = "semantic-kernel"
SCRIPTS = [call("Weather-get_weather", city="Oslo"), SUNNY]


def drive(url, model, report):
    from openai import AsyncOpenAI
    from semantic_kernel.agents import ChatCompletionAgent
    from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
    from semantic_kernel.functions import kernel_function

    class Weather:
        @kernel_function(description="Tells the weather of a city.")
        def get_weather(self, city: Annotated[str, "The city"]) -> str:
            return WEATHER

    service = OpenAIChatCompletion(ai_model_id=model, async_client=AsyncOpenAI(base_url=url, api_key="none"))
    agent = ChatCompletionAgent(service=service, name="Helper", instructions="Be brief.", plugins=[Weather()])

    async def run():
        response = await agent.get_response(messages=QUESTION)
        report.check("agent", str(response.message.content) == SUNNY, response)
        text = ""
        async for piece in agent.invoke_stream(messages=QUESTION):
            text += str(piece.message.content)
        report.check("streamed agent", text == SUNNY, text)

    asyncio.run(run())
