"""crewai: a crew of one agent with a tool."""

import os

from driving import QUESTION, SUNNY, WEATHER, WEATHER_SCRIPTS

PACKAGE = "crewai"
SCRIPTS = WEATHER_SCRIPTS


def drive(url, model, report):
    os.environ.update(CREWAI_DISABLE_TELEMETRY="true", CREWAI_TRACING_ENABLED="false", OTEL_SDK_DISABLED="true")
    from crewai import LLM, Agent, Crew, Task
    from crewai.tools import tool

    @tool("get_weather")
    def get_weather(city: str) -> str:
        """Tells the weather of a city."""
        return WEATHER

    agent = Agent(role="Helper", goal="Help", backstory="You help.", tools=[get_weather],
                  llm=LLM(model="openai/" + model, base_url=url, api_key="none"), allow_delegation=False)
    task = Task(description=QUESTION, expected_output="A sentence.", agent=agent)
    output = Crew(agents=[agent], tasks=[task]).kickoff()
    report.check("crew", output.raw == SUNNY, output.raw)
