"""llama-index: an agent that calls functions, and a structured prediction."""

import asyncio

from driving import QUESTION, SUNNY, TYPED, WEATHER_SCRIPTS, call, get_weather, weather_type

PACKAGE = "llama-index-core"
SCRIPTS = [*WEATHER_SCRIPTS, call("Weather", **TYPED)]


def drive(url, model, report):
    from llama_index.core.agent.workflow import FunctionAgent
    from llama_index.core.prompts import PromptTemplate
    from llama_index.llms.openai_like import OpenAILike

    Weather = weather_type()
    llm = OpenAILike(model=model, api_base=url, api_key="none", is_chat_model=True, is_function_calling_model=True)

    async def run():
        return str(await FunctionAgent(tools=[get_weather], llm=llm).run(QUESTION))

    answer = asyncio.run(run())
    report.check("FunctionAgent", answer == SUNNY, answer)
    got = llm.structured_predict(Weather, PromptTemplate("s2"))
    report.check("structured_predict", got == Weather(**TYPED), got)
