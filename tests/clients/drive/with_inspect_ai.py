"""inspect-ai: evaluations with a tool, and with an agent, over each provider that speaks to such a server."""

import os

from driving import QUESTION, SUNNY, WEATHER, WEATHER_SCRIPTS, call

PACKAGE = "inspect-ai"
SCRIPTS = [*WEATHER_SCRIPTS, call("submit", answer=SUNNY)]


def drive(url, model, report):
    os.environ.update(DELTASERVE_API_KEY="none", DELTASERVE_BASE_URL=url, VLLM_API_KEY="none", VLLM_BASE_URL=url,
                      INSPECT_DISPLAY="none")
    from inspect_ai import Task, eval
    from inspect_ai.agent import react
    from inspect_ai.dataset import Sample
    from inspect_ai.scorer import includes
    from inspect_ai.solver import generate, use_tools
    from inspect_ai.tool import tool

    @tool
    def get_weather():
        async def execute(city: str):
            """Tells the weather of a city.

            Args:
                city: The city.
            """
            return WEATHER

        return execute

    asked = Task(dataset=[Sample(input=QUESTION, target="sun shines")], scorer=includes(),
                 solver=[use_tools(get_weather()), generate()])
    agent = Task(dataset=[Sample(input="s2", target="sun shines")], scorer=includes(),
                 solver=react(tools=[get_weather()]))
    for provider in ("openai-api/deltaserve", "vllm", "openai"):
        for name, task in (("tool", asked), ("agent", agent)):
            (log,) = eval(task, model=provider + "/" + model, display="none", log_dir="logs")
            report.check("%s over %s" % (name, provider), log.status == "success" and
                         log.results.scores[0].metrics["accuracy"].value == 1, log.error or log.samples)
