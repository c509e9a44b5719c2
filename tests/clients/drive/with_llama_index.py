"""llama-index: an agent that calls functions, and a structured prediction."""

import asyncio

import driving
from driving import QUESTION, SUNNY, WEATHER, WEATHER_SCRIPTS, call

SCRIPTS = [*WEATHER_SCRIPTS, call("Weather", city="Oslo", degrees=21)]


def drive(url, model, report):
    import pydantic
    from llama_index.core.agent.workflow import FunctionAgent
    from llama_index.core.prompts import PromptTemplate
    from llama_index.llms.openai_like import OpenAILike

    class Weather(pydantic.BaseModel):
        """The weather of a city."""

        city: str
        degrees: int

    def get_weather(city: str) -> str:
        """Tells the weather of a city."""
        return WEATHER

    llm = OpenAILike(model=model, api_base=url, api_key="none", is_chat_model=True, is_function_calling_model=True)

    async def run():
        return str(await FunctionAgent(tools=[get_weather], llm=llm).run(QUESTION))

    answer = asyncio.run(run())
    report.check("FunctionAgent", answer == SUNNY, answer)
    got = llm.structured_predict(Weather, PromptTemplate("s2"))
    report.check("structured_predict", got == Weather(city="Oslo", degrees=21), got)


if __name__ == "__main__":
    driving.main(drive, "llama-index-core")
