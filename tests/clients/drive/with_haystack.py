"""haystack: an agent with a tool, and embeddings of documents."""

import driving
from driving import QUESTION, SUNNY, WEATHER, WEATHER_SCRIPTS

SCRIPTS = WEATHER_SCRIPTS


def drive(url, model, report):
    from haystack import Document
    from haystack.components.agents import Agent
    from haystack.components.embedders import OpenAIDocumentEmbedder
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage
    from haystack.tools import create_tool_from_function

    def get_weather(city: str) -> str:
        """Tells the weather of a city."""
        return WEATHER

    agent = Agent(chat_generator=OpenAIChatGenerator(model=model, api_base_url=url),
                  tools=[create_tool_from_function(get_weather)])
    last = agent.run(messages=[ChatMessage.from_user(QUESTION)])["messages"][-1]
    report.check("agent", last.text == SUNNY, last)
    embedded = OpenAIDocumentEmbedder(model=model, api_base_url=url).run([Document(content="a")])["documents"]
    report.check("embeddings", len(embedded[0].embedding) > 1, embedded)


if __name__ == "__main__":
    driving.main(drive, "haystack-ai")
