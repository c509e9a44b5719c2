"""litellm: the SDK, as OpenAI's provider and as vLLM's: a tool's round, a stream, responses, embeddings, a schema."""

import json

from driving import QUESTION, SUNNY, TOOLS, TYPED_SCRIPTS, WEATHER, weather_type

PACKAGE = "litellm"
SCRIPTS = TYPED_SCRIPTS


def round_of(provider, url, model, report):
    import litellm

    def ask(messages, **more):
        return litellm.completion(model=provider + "/" + model, api_base=url, api_key="none", messages=messages, **more)

    messages = [{"role": "user", "content": QUESTION}]
    message = ask(messages, tools=TOOLS).choices[0].message
    report.check("tool call as " + provider,
                 json.loads(message.tool_calls[0].function.arguments) == {"city": "Oslo"}, message)
    messages += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": WEATHER}]
    reply = ask(messages, tools=TOOLS)
    report.check("tool result", reply.choices[0].message.content == SUNNY, reply)
    chunks = list(ask(messages, tools=TOOLS, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    report.check("stream", text == SUNNY, text)
    streamed = litellm.stream_chunk_builder(list(ask(messages[:1], tools=TOOLS, stream=True)), messages=messages[:1])
    call = streamed.choices[0].message.tool_calls[0].function
    report.check("streamed tool call", json.loads(call.arguments) == {"city": "Oslo"}, streamed)


def drive(url, model, report):
    import litellm

    Weather = weather_type()
    litellm.suppress_debug_info = True
    for provider in ("openai", "hosted_vllm"):
        round_of(provider, url, model, report)
    where = {"api_base": url, "api_key": "none"}
    reply = litellm.completion(model="openai/" + model, response_format=Weather,
                               messages=[{"role": "user", "content": "s2"}], **where)
    report.check("response_format", json.loads(reply.choices[0].message.content)["degrees"] == 21, reply)
    reply = litellm.responses(model="openai/" + model, input=QUESTION, tools=[
        {"type": "function", "name": "get_weather", "parameters": TOOLS[0]["function"]["parameters"]}], **where)
    report.check("responses", json.loads(reply.output[0].arguments) == {"city": "Oslo"}, reply)
    reply = litellm.embedding(model="openai/" + model, input=["a", "b"], **where)
    report.check("embeddings", len(reply.data) == 2, reply.usage)
    reply = litellm.text_completion(model="text-completion-openai/" + model, prompt="s1", max_tokens=100, **where)
    report.check("text completion", reply.choices[0].text.strip() == SUNNY, reply)
