"""haystack: an agent with a tool, plain and streamed, a typed answer, embedders."""

import json
from typing import Annotated

from driving import QUESTION, SUNNY, TYPED, TYPED_SCRIPTS, WEATHER, weather_type

PACKAGE = "haystack-ai"
SCRIPTS = TYPED_SCRIPTS


def drive(url, model, report):
    from haystack import Document
    from haystack.components.agents import Agent
    from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage
    from haystack.tools import tool
    from haystack.utils import Secret

    @tool
    def get_weather(city: Annotated[str, "The city"]) -> str:
        """Tells the weather of a city."""
        return WEATHER

    Weather = weather_type()
    where = {"model": model, "api_base_url": url, "api_key": Secret.from_token("none")}
    pieces = []
    for callback in (None, lambda chunk: pieces.append(chunk.content or "")):
        agent = Agent(chat_generator=OpenAIChatGenerator(streaming_callback=callback, **where), tools=[get_weather])
        result = agent.run(messages=[ChatMessage.from_user(QUESTION)])
        report.check("streamed agent" if callback else "agent", result["last_message"].text == SUNNY, result)
    report.check("its pieces", "".join(pieces).endswith(SUNNY), pieces)
    typed = OpenAIChatGenerator(generation_kwargs={"response_format": Weather}, **where)
    reply = typed.run(messages=[ChatMessage.from_user("s2")])["replies"][0]
    report.check("response_format", json.loads(reply.text) == TYPED, reply)
    vector = OpenAITextEmbedder(**where).run(text="a")["embedding"]
    documents = OpenAIDocumentEmbedder(**where).run(documents=[Document(content="a"), Document(content="b")])
    report.check("embedders", documents["documents"][0].embedding == vector, vector)
