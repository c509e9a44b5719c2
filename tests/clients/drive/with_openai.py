"""openai: the synchronous client."""

import json

from driving import FUNCTION, QUESTION, SUNNY, TOOLS, TYPED, TYPED_SCRIPTS, WEATHER, weather_type

PACKAGE = "openai"
SCRIPTS = [*TYPED_SCRIPTS, "Here is some text."]


def chat(client, model, report):
    def ask(messages, **more):
        return client.chat.completions.create(model=model, messages=messages, **more)

    reply = ask([{"role": "user", "content": "s3"}])
    report.check("chat", reply.choices[0].message.content == SCRIPTS[3], reply)
    text = "".join(chunk.choices[0].delta.content or ""
                   for chunk in ask([{"role": "user", "content": "s3"}], stream=True))
    report.check("stream", text == SCRIPTS[3], text)

    messages = [{"role": "user", "content": QUESTION}]
    tools = TOOLS
    message = ask(messages, tools=tools).choices[0].message
    report.check("tool call", json.loads(message.tool_calls[0].function.arguments) == {"city": "Oslo"}, message)
    messages += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": WEATHER}]
    reply = ask(messages, tools=tools)
    report.check("tool result", reply.choices[0].message.content == SUNNY, reply)
    with client.chat.completions.stream(model=model, messages=messages[:1], tools=tools) as stream:
        streamed = stream.get_final_completion().choices[0].message
    report.check("streamed tool call", streamed.tool_calls[0].function.arguments ==
                 message.tool_calls[0].function.arguments, streamed)


def parse(client, model, report):

    Weather = weather_type()
    reply = client.chat.completions.parse(model=model, messages=[{"role": "user", "content": "s2"}],
                                          response_format=Weather)
    report.check("parse", reply.choices[0].message.parsed == Weather(**TYPED), reply)
    parsed = client.responses.parse(model=model, input="s2", text_format=Weather)
    report.check("responses.parse", parsed.output_parsed == Weather(**TYPED), parsed)


def responses(client, model, report):
    tools = [{"type": "function", "strict": True, **FUNCTION}]
    first = client.responses.create(model=model, input=QUESTION, tools=tools, store=False)
    asked = first.output[0]
    report.check("responses", json.loads(asked.arguments) == {"city": "Oslo"}, first)
    items = [{"role": "user", "content": QUESTION}, asked.model_dump(exclude_none=True),
             {"type": "function_call_output", "call_id": asked.call_id, "output": WEATHER}]
    with client.responses.stream(model=model, input=items, tools=tools) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        last = stream.get_final_response()
    report.check("responses stream", text == last.output_text == SUNNY, last)


def drive(url, model, report):
    import openai

    client = openai.OpenAI(max_retries=0)
    report.check("models", [one.id for one in client.models.list()] == [model])
    chat(client, model, report)
    parse(client, model, report)
    responses(client, model, report)
    reply = client.embeddings.create(model=model, input=["a", "b"])
    report.check("embeddings", len(reply.data) == 2 and len(reply.data[0].embedding) > 1, reply.usage)
    reply = client.completions.create(model=model, prompt="s3", max_tokens=100)
    report.check("completions", reply.choices[0].text.strip() == SCRIPTS[3], reply)
