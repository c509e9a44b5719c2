"""semantic-kernel: an agent with a plugin."""

import asyncio

import driving
from driving import QUESTION, SUNNY, WEATHER, call

SCRIPTS = [call("Weather-get_weather", city="Oslo"), SUNNY]


def drive(url, model, report):
    import openai
    from semantic_kernel.agents import ChatCompletionAgent
    from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
    from semantic_kernel.functions import kernel_function

    class Weather:
        @kernel_function(description="Tells the weather of a city.")
        def get_weather(self, city: str) -> str:
            return WEATHER

    async def run():
        service = OpenAIChatCompletion(ai_model_id=model, async_client=openai.AsyncOpenAI())
        agent = ChatCompletionAgent(service=service, name="Helper", instructions="Be brief.", plugins=[Weather()])
        plain = str((await agent.get_response(QUESTION)).content)
        streamed = "".join([str(part.content) async for part in agent.invoke_stream(QUESTION)])
        return plain, streamed

    plain, streamed = asyncio.run(run())
    report.check("agent", plain == SUNNY, plain)
    report.check("streamed agent", streamed == SUNNY, streamed)


if __name__ == "__main__":
    driving.main(drive, "semantic-kernel")
