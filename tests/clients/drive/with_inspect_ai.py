"""inspect-ai: an evaluation whose solver uses a tool."""

import driving
from driving import QUESTION, SUNNY, WEATHER, WEATHER_SCRIPTS

SCRIPTS = WEATHER_SCRIPTS


def drive(url, model, report):
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.scorer import exact
    from inspect_ai.solver import generate, use_tools
    from inspect_ai.tool import tool

    @tool
    def get_weather():
        async def execute(city: str) -> str:
            """Tells the weather of a city.

            Args:
                city: The city.
            """
            return WEATHER

        return execute

    task = Task(dataset=[Sample(input=QUESTION, target=SUNNY)], solver=[use_tools(get_weather()), generate()],
                scorer=exact())
    log = eval(task, model="openai/" + model, model_base_url=url, display="none")[0]
    report.check("eval", log.status == "success", log.error)
    report.check("score", log.results.scores[0].metrics["accuracy"].value == 1, log.results)


if __name__ == "__main__":
    driving.main(drive, "inspect-ai")
