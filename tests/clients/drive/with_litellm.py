"""litellm: its SDK, with a tool, a stream and embeddings, and its proxy before the server."""

import json
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import driving
from driving import QUESTION, SUNNY, WEATHER, WEATHER_SCRIPTS

SCRIPTS = WEATHER_SCRIPTS
TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Tells the weather.", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]


def round_of_a_tool(ask, what, report):
    messages = [{"role": "user", "content": QUESTION}]
    message = ask(messages=messages, tools=TOOLS).choices[0].message
    report.check(what + " tool call", json.loads(message.tool_calls[0].function.arguments) == {"city": "Oslo"}, message)
    messages += [message.model_dump(exclude_none=True),
                 {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": WEATHER}]
    message = ask(messages=messages, tools=TOOLS).choices[0].message
    report.check(what + " tool result", message.content == SUNNY, message)


def proxy(url, model, report):
    import openai

    config = pathlib.Path("proxy.yaml")
    config.write_text(json.dumps({"model_list": [{"model_name": "served", "litellm_params": {
        "model": "openai/" + model, "api_base": url, "api_key": "none"}}]}))
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    process = subprocess.Popen([pathlib.Path(sys.executable).parent / "litellm", "--config", config, "--host",
                                "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            time.sleep(0.5)
            try:
                urllib.request.urlopen("http://127.0.0.1:%d/health/liveliness" % port, timeout=10).read()
                break
            except OSError:
                continue
        client = openai.OpenAI(base_url="http://127.0.0.1:%d" % port, api_key="none", max_retries=0)
        round_of_a_tool(lambda **body: client.chat.completions.create(model="served", **body), "proxy:", report)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(
            model="served", messages=[{"role": "user", "content": "s1"}], stream=True) if chunk.choices)
        report.check("proxy: stream", text == SUNNY, text)
    finally:
        process.terminate()
        process.wait(60)


def drive(url, model, report):
    import litellm

    for prefix in ("openai/", "hosted_vllm/"):
        def ask(**body):
            return litellm.completion(model=prefix + model, api_base=url, api_key="none", **body)

        round_of_a_tool(ask, prefix, report)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in
                   ask(messages=[{"role": "user", "content": "s1"}], stream=True))
    report.check("stream", text == SUNNY, text)
    reply = litellm.embedding(model="openai/" + model, api_base=url, api_key="none", input=["a", "b"])
    report.check("embedding", len(reply.data) == 2, reply)
    proxy(url, model, report)


if __name__ == "__main__":
    driving.main(drive, "litellm")
