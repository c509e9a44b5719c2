#!/usr/bin/env python3
"""openai_client.py URL: streams a completion with the official client."""
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0, timeout=60)
model = client.models.list().data[0].id
pieces = [chunk.choices[0].text for chunk in client.completions.create(
    model=model, prompt="Once upon a time", max_tokens=24, temperature=0, stream=True)
          if chunk.choices]
if len([p for p in pieces if p]) < 3:
    sys.exit("no stream: %r" % pieces)
print("== openai: %d pieces: %r" % (len(pieces), "".join(pieces)))
