"""langchain: an agent with a tool, its stream, a structured output, and embeddings."""

from driving import QUESTION, SUNNY, TYPED, TYPED_SCRIPTS, get_weather, weather_type

PACKAGE = "langchain"
SCRIPTS = TYPED_SCRIPTS


def drive(url, model, report):
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    Weather = weather_type()
    chat = ChatOpenAI(model=model)
    agent = create_agent(chat, tools=[get_weather])
    question = {"messages": [{"role": "user", "content": QUESTION}]}
    last = agent.invoke(question)["messages"][-1]
    report.check("agent", last.content == SUNNY, last)
    text = "".join(chunk.content for chunk, _ in agent.stream(question, stream_mode="messages")
                   if chunk.type == "AIMessageChunk")
    report.check("streamed agent", text == SUNNY, text)
    parsed = chat.with_structured_output(Weather).invoke("s2")
    report.check("structured output", parsed == Weather(**TYPED), parsed)
    vectors = OpenAIEmbeddings(model=model, check_embedding_ctx_length=False).embed_documents(["a", "b"])
    report.check("embeddings", len(vectors) == 2 and len(vectors[0]) > 1, vectors)
