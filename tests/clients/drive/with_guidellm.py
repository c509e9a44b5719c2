"""guidellm: a short benchmark of the bundled model."""

import json
import pathlib
import subprocess
import sys

import driving

SCRIPTS = None


def drive(url, model, report):
    prompts = pathlib.Path("prompts.jsonl")
    prompts.write_text("".join(json.dumps({"prompt": "Once upon a time there was %d." % i}) + "\n" for i in range(20)))
    done = subprocess.run(
        [pathlib.Path(sys.executable).parent / "guidellm", "benchmark", "run", "--target", url.removesuffix("/v1"),
         "--model", model, "--profile", "concurrent", "--rate", "2", "--max-requests", "6", "--data", str(prompts),
         "--request-type", "text_completions", "--backend-kwargs", '{"extras": {"body": {"max_tokens": 8}}}',
         "--output-dir", ".", "--outputs", "json", "--disable-console-interactive"], capture_output=True, text=True)
    report.check("benchmark", done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:])
    result = json.loads(next(pathlib.Path().glob("*.json")).read_text())
    totals = result["benchmarks"][0]["metrics"]["request_totals"]
    report.check("%d requests" % totals["successful"], totals["successful"] >= 5 and totals["errored"] == 0, totals)


if __name__ == "__main__":
    driving.main(drive, "guidellm")
