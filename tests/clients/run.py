#!/usr/bin/env python3
"""Unmodified client packages against the server, each doing what it does by default.

    python3 tests/clients/run.py --binary build/release/bin/deltaserve --model models/bundled [NAME ...]

Each client has a file of requirements, from which a virtual environment is made, and a driver, which runs in it
against a server of its own. The server's model says the driver's SCRIPTS: what stands behind "s0" in a prompt is
answered by the first of them, and so on, so that a tool is called and its result answered. A driver without scripts
gets the bundled model. With --no-venv drivers run in this interpreter. Prints a table; exits with 1 if a client failed.
"""

import argparse
import importlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import venv

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "drive"), str(HERE.parent / "e2e")]

import scripted_model  # noqa: E402
from serving import Server  # noqa: E402

# It shows the signs of the Hermes format, and of a conversation only the last message: nothing else that a client
# writes can hold a trigger.
TEMPLATE = ("{# <tool_call> \"arguments\" <tools> #}{{ messages[-1].content }}{{ '\\n' }}"
            "{% if add_generation_prompt %}assistant: {% endif %}")
MARKERS = {"<tool_call>": False, "</tool_call>": False}
PATIENCE = 600  # seconds for a driver


def interpreter(name, root):
    """The Python of the client's environment, which is made if it is not there."""
    folder = root / name
    python = folder / "bin" / "python"
    done = root / (name + ".ok")
    if not done.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                        HERE / "requirements" / (name + ".txt")], check=True)
        done.touch()
    return python


def drive(name, arguments, python):
    """Returns the driver's report: {"version": text, "did": [text]}, or {"error": text}."""
    driver = importlib.import_module("with_" + name)
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model
        if driver.SCRIPTS:
            model = pathlib.Path(folder) / "scripted"
            scripted_model.write_model(model, driver.SCRIPTS, TEMPLATE, MARKERS, longest=4)
        with Server(arguments.binary, model) as server:
            try:
                done = subprocess.run([python, HERE / "drive" / "driving.py", name, server.url, server.name, model],
                                      cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                return {"error": "it took more than %d s" % PATIENCE}
            faults = server.faults()
    if done.returncode != 0:
        return {"error": (done.stderr.strip() or done.stdout.strip())[-3000:]}
    if faults:
        return {"error": "the server answered 5xx: " + faults[0]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    names = sorted(path.stem for path in (HERE / "requirements").glob("*.txt"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--model", required=True, type=pathlib.Path, help="the bundled model")
    parser.add_argument("--venvs", type=pathlib.Path, help="keep the environments here (default: delete each)")
    parser.add_argument("--no-venv", action="store_true")
    parser.add_argument("clients", nargs="*", metavar="NAME", help="of %s; all by default" % ", ".join(names))
    arguments = parser.parse_args()
    for name in arguments.clients:
        if name not in names:
            parser.error("there is no client %s" % name)
    arguments.binary, arguments.model = arguments.binary.resolve(), arguments.model.resolve()
    failed = False
    for name in arguments.clients or names:
        with tempfile.TemporaryDirectory() as temporary:
            root = (arguments.venvs or pathlib.Path(temporary)).resolve()
            try:
                python = sys.executable if arguments.no_venv else interpreter(name, root)
                report = drive(name, arguments, python)
            except subprocess.CalledProcessError as error:
                report = {"error": "it cannot be installed: %s" % error}
            if arguments.venvs is None:
                shutil.rmtree(root / name, ignore_errors=True)
        failed = failed or "error" in report
        what = "FAILED: " + report["error"] if "error" in report else ", ".join(report["did"])
        print("| %s | %s | %s |" % (name, report.get("version", ""), what), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
