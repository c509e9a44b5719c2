"""aiperf: its command, which measures streamed chats, completions and embeddings of synthetic prompts, and reads the
metrics of the server beside them."""

import json
import pathlib
import subprocess
import sys

from driving import model_folder

PACKAGE = "aiperf"
SCRIPTS = []  # the bundled model
REQUESTS = 6
TOKENS = 12  # of each answer
KINDS = {"chat": ["--streaming"], "completions": ["--streaming"], "embeddings": []}


def profile(url, model, kind, options):
    """Returns the summary, the records of all requests and what was read of the server's metrics."""
    folder = pathlib.Path(kind)
    command = [pathlib.Path(sys.executable).with_name("aiperf"), "profile", "--model", model, "--url", url,
               "--endpoint-type", kind, "--tokenizer", model_folder(), "--request-count", str(REQUESTS),
               "--concurrency", "2", "--isl", "40", "--ui", "none", "--output-artifact-dir", folder, *options]
    if kind != "embeddings":
        command += ["--osl", str(TOKENS), "--extra-inputs", "ignore_eos:true"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit("aiperf %s: %s" % (kind, (done.stdout + done.stderr)[-3000:]))
    summary, = folder.rglob("profile_export_aiperf.json")
    metrics, = folder.rglob("server_metrics_export.json")
    with open(summary.with_name("profile_export.jsonl")) as lines:
        return json.loads(summary.read_text()), [json.loads(line) for line in lines], json.loads(metrics.read_text())


def drive(url, model, report):
    url = url.removesuffix("/v1")
    for kind, options in KINDS.items():
        summary, records, metrics = profile(url, model, kind, options)
        report.check(kind, len(records) == REQUESTS and not any(record.get("error") for record in records), records)
        if kind != "embeddings":
            counts = [record["metrics"]["usage_completion_tokens"]["value"] for record in records]
            assert counts == [TOKENS] * REQUESTS, counts
            assert summary["time_to_first_token"]["count"] == REQUESTS, summary
        assert metrics["summary"]["endpoints_successful"] == [url + "/metrics"], metrics["summary"]
    report.check("the server's metrics", True)
