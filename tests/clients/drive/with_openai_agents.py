"""openai-agents: an agent with a tool, over the Responses API, and over chats; plain and streamed."""

import asyncio

from driving import QUESTION, SUNNY, WEATHER_SCRIPTS, get_weather

PACKAGE = "openai-agents"
SCRIPTS = WEATHER_SCRIPTS


def drive(url, model, report):
    import agents

    agents.set_tracing_disabled(True)

    tools = [agents.function_tool(get_weather)]
    agent = agents.Agent(name="Helper", instructions="Be brief.", model=model, tools=tools)

    async def run():
        for api in ("responses", "chat_completions"):
            agents.set_default_openai_api(api)
            result = await agents.Runner.run(agent, QUESTION)
            report.check("agent over " + api, result.final_output == SUNNY, result)
            streamed = agents.Runner.run_streamed(agent, QUESTION)
            async for _ in streamed.stream_events():
                pass
            report.check("streamed", streamed.final_output == SUNNY, streamed)

    asyncio.run(run())
