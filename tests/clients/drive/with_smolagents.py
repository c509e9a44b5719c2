"""smolagents: an agent that calls tools, and one that writes code."""

from driving import QUESTION, SUNNY, WEATHER, call

PACKAGE = "smolagents"
SCRIPTS = [call("get_weather", city="Oslo"), call("final_answer", answer=SUNNY),
           "Thought: I know it.\n<code>\nfinal_answer(\"%s\")\n</code>" % SUNNY]


def drive(url, model, report):
    import smolagents

    @smolagents.tool
    def get_weather(city: str) -> str:
        """Tells the weather of a city.

        Args:
            city: The city.
        """
        return WEATHER

    client = smolagents.OpenAIServerModel(model_id=model, api_base=url, api_key="none")
    agent = smolagents.ToolCallingAgent(tools=[get_weather], model=client, max_steps=4)
    answer = agent.run(QUESTION)
    report.check("ToolCallingAgent", answer == SUNNY, answer)
    answer = smolagents.CodeAgent(tools=[get_weather], model=client, max_steps=3).run("s2")
    report.check("CodeAgent", answer == SUNNY, answer)
