"""guidellm: its command, which measures streams of synthetic prompts, one after the other or at once."""

import json
import pathlib
import subprocess
import sys

from driving import model_folder

PACKAGE = "guidellm"
SCRIPTS = []  # the bundled model
REQUESTS = 6
TOKENS = 12  # of each answer
ONE, TWO = "kind=synchronous", "kind=concurrent,streams=2"
RUNS = {"chats": ("", ONE), "chats at once": ("", TWO), "completions": (",request_format=/v1/completions", TWO),
        "responses": (",request_format=/v1/responses", TWO)}


def run(url, options, profile):
    """Returns the requests of the report that the command writes."""
    report = pathlib.Path("report.json")
    command = [pathlib.Path(sys.executable).with_name("guidellm"), "run",
               "--backend", "kind=openai_http,target=%s%s" % (url, options),
               "--profile", profile, "--constraint", "kind=max_requests,count=%d" % REQUESTS,
               "--data", "kind=synthetic_text,prompt_tokens=40,output_tokens=%d" % TOKENS,
               "--tokenizer", "kind=huggingface_auto,model=" + model_folder(),
               "--disable-console", "--output", "kind=json,path=%s" % report]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit("guidellm: " + (done.stdout + done.stderr)[-3000:])
    benchmark, = json.loads(report.read_text())["benchmarks"]
    report.unlink()
    return benchmark["requests"]


def drive(url, model, report):
    for what, (options, profile) in RUNS.items():
        requests = run(url.removesuffix("/v1"), options, profile)
        done, failed = requests["successful"], requests["errored"] + requests["incomplete"]
        report.check(what, len(done) == REQUESTS and not failed, failed[:1])
        counts = [one["output_metrics"]["text_tokens"] for one in done]
        assert counts == [TOKENS] * REQUESTS, (what, counts)
