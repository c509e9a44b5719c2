"""aiperf: a short benchmark of the bundled model's chat, streamed."""

import pathlib
import subprocess
import sys

import driving

SCRIPTS = None


def drive(url, model, report):
    done = subprocess.run(
        [pathlib.Path(sys.executable).parent / "aiperf", "profile", "--model", model, "--url", url.removesuffix("/v1"),
         "--endpoint-type", "chat", "--streaming", "--concurrency", "2", "--request-count", "6",
         "--tokenizer", "builtin", "--isl", "20", "--osl", "8", "--ui", "none", "--artifact-dir", "out"],
        capture_output=True, text=True)
    report.check("profile", done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:])
    csv = next(pathlib.Path("out").rglob("*aiperf.csv")).read_text()
    report.check("figures", "Time to First Token" in csv and "Request Count,6" in csv.replace(".00", ""), csv[:2000])


if __name__ == "__main__":
    driving.main(drive, "aiperf")
