"""litellm's proxy: chats, a tool's round, a stream, Responses, messages and embeddings that pass through it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

from driving import FUNCTION, QUESTION, SUNNY, TOOLS, WEATHER, WEATHER_SCRIPTS

PACKAGE = "litellm"
SCRIPTS = WEATHER_SCRIPTS
PATIENCE = 300  # seconds until the proxy listens
KEY = "sk-" + "0123456789abcdef" * 4  # the proxy's own; it refuses short ones
MESSAGES_TOOLS = [{"name": FUNCTION["name"], "input_schema": FUNCTION["parameters"]}]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def proxy(url, model):
    """A proxy in front of the server, as its vLLM provider; its URL."""
    entry = {"model": "hosted_vllm/" + model, "api_base": url, "api_key": "none"}
    with open("proxy.json", "w") as file:  # JSON is YAML
        json.dump({"model_list": [{"model_name": "weather", "litellm_params": entry}]}, file)
    port = free_port()
    command = [os.path.join(os.path.dirname(sys.executable), "litellm"), "--config", "proxy.json", "--host", "127.0.0.1",
               "--port", str(port)]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY}
    with open("proxy.log", "w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            base = "http://127.0.0.1:%d" % port
            end = time.monotonic() + PATIENCE
            while not listens(base):
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise SystemExit("the proxy did not start: " + log.read()[-2000:])
                time.sleep(0.5)
            yield base
        finally:
            process.terminate()
            process.wait()


def listens(base):
    try:
        with urllib.request.urlopen(base + "/health/liveliness", timeout=10) as reply:
            return reply.status == 200
    except OSError:
        return False


def ask_for_a_message(base):
    body = {"model": "weather", "max_tokens": 200, "messages": [{"role": "user", "content": QUESTION}],
            "tools": MESSAGES_TOOLS}
    request = urllib.request.Request(base + "/v1/messages", json.dumps(body).encode(),
                                     {"Content-Type": "application/json", "x-api-key": KEY})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)


def drive(url, model, report):
    import openai

    with proxy(url, model) as base:
        client = openai.OpenAI(base_url=base + "/v1", api_key=KEY, max_retries=0)
        report.check("models", [one.id for one in client.models.list()] == ["weather"])

        def ask(messages, **more):
            return client.chat.completions.create(model="weather", messages=messages, tools=TOOLS, **more)

        messages = [{"role": "user", "content": QUESTION}]
        message = ask(messages).choices[0].message
        report.check("tool call", json.loads(message.tool_calls[0].function.arguments) == {"city": "Oslo"}, message)
        messages += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": WEATHER}]
        reply = ask(messages)
        report.check("tool result", reply.choices[0].message.content == SUNNY, reply)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in ask(messages, stream=True) if chunk.choices)
        report.check("stream", text == SUNNY, text)
        asked = client.responses.create(model="weather", input=QUESTION, tools=[{"type": "function", **FUNCTION}])
        calls = [item for item in asked.output if item.type == "function_call"]
        report.check("responses", json.loads(calls[0].arguments) == {"city": "Oslo"}, asked)
        said = ask_for_a_message(base)
        report.check("messages", said["content"][0].get("input") == {"city": "Oslo"}, said)
        reply = client.embeddings.create(model="weather", input=["a", "b"])
        report.check("embeddings", len(reply.data) == 2, reply.usage)
