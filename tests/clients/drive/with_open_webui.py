"""Open WebUI: the requests that its back end sends, without the application."""

import asyncio
import json

from driving import QUESTION, SUNNY, TOOLS, WEATHER, WEATHER_SCRIPTS

PACKAGE = "aiohttp"
SCRIPTS = [*WEATHER_SCRIPTS, "Weather in Oslo"]
HEADERS = {"Authorization": "Bearer none", "X-OpenWebUI-User-Name": "A", "X-OpenWebUI-Chat-Id": "1"}


def drive(url, model, report):
    import aiohttp

    async def run():
        async with aiohttp.ClientSession(headers=HEADERS, trust_env=True) as session:
            async with session.get(url + "/models") as reply:
                report.check("models", model in [one["id"] for one in (await reply.json())["data"]])

            async def stream(messages):
                body = {"stream": True, "model": model, "messages": messages, "tools": TOOLS,
                        "stream_options": {"include_usage": True}, "params": None, "tool_ids": None,
                        "features": None, "metadata": None}
                calls, text, usage = {}, "", None
                async with session.post(url + "/chat/completions", data=json.dumps(body),
                                        headers={"Content-Type": "application/json"}) as reply:
                    async for line in reply.content:
                        if not line.startswith(b"data: {"):
                            continue
                        chunk = json.loads(line[6:])
                        usage = chunk.get("usage") or usage
                        for choice in chunk["choices"]:
                            text += choice["delta"].get("content") or ""
                            for one in choice["delta"].get("tool_calls") or []:
                                kept = calls.setdefault(one["index"], {"id": "", "name": "", "arguments": ""})
                                kept["id"] += one.get("id") or ""
                                kept["name"] += one["function"].get("name") or ""
                                kept["arguments"] += one["function"].get("arguments") or ""
                return calls, text, usage

            messages = [{"role": "user", "content": QUESTION}]
            calls, _, usage = await stream(messages)
            report.check("streamed tool call", json.loads(calls[0]["arguments"]) == {"city": "Oslo"}, calls)
            report.check("usage", usage["total_tokens"] > 0, usage)
            function = {"name": calls[0]["name"], "arguments": calls[0]["arguments"]}
            messages += [{"role": "assistant", "content": "", "tool_calls": [
                {"index": 0, "id": calls[0]["id"], "type": "function", "function": function}]},
                {"role": "tool", "tool_call_id": calls[0]["id"], "content": WEATHER}]
            _, text, _ = await stream(messages)
            report.check("tool result", text == SUNNY, text)
            title = {"model": model, "messages": [{"role": "user", "content": "### Task: a title.\ns2"}],
                     "stream": False, "max_completion_tokens": 1000}
            async with session.post(url + "/chat/completions", json=title) as reply:
                content = (await reply.json())["choices"][0]["message"]["content"]
            report.check("title", content == SCRIPTS[2], content)
            async with session.post(url + "/embeddings", json={"input": ["a"], "model": model}) as reply:
                report.check("embeddings", len((await reply.json())["data"]) == 1)

    asyncio.run(run())
