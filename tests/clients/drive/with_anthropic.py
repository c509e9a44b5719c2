"""anthropic: messages, their streams, a tool's round, and the counting of tokens."""

from driving import QUESTION, SUNNY, WEATHER, WEATHER_SCRIPTS

PACKAGE = "anthropic"
SCRIPTS = WEATHER_SCRIPTS
TOOLS = [{"name": "get_weather", "description": "Tells the weather.", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]


def drive(url, model, report):
    import anthropic

    client = anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key="none", max_retries=0)
    messages = [{"role": "user", "content": QUESTION}]
    reply = client.messages.create(model=model, max_tokens=200, messages=messages, tools=TOOLS)
    use = reply.content[0]
    report.check("tool use", reply.stop_reason == "tool_use" and use.input == {"city": "Oslo"}, reply)
    messages += [{"role": "assistant", "content": reply.content},
                 {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": WEATHER}]}]
    reply = client.messages.create(model=model, max_tokens=200, messages=messages, tools=TOOLS)
    report.check("tool result", reply.content[0].text == SUNNY, reply)
    with client.messages.stream(model=model, max_tokens=200, messages=messages, tools=TOOLS) as stream:
        text = "".join(stream.text_stream)
        last = stream.get_final_message()
    report.check("stream", text == SUNNY and last.stop_reason == "end_turn", last)
    count = client.messages.count_tokens(model=model, messages=messages, tools=TOOLS)
    report.check("count_tokens", count.input_tokens == last.usage.input_tokens, count)
