#!/usr/bin/env python3
"""Runs the steps of deploy/Dockerfile.cuda on this machine's system, changing nothing of it.

    tests/container/cuda_steps.py [--toolkit /usr/local/cuda-13.0] [--build] [--architectures 90a]

A copy of the file system (an overlay in memory) loses its CUDA, and gets it from a stand-in of NVIDIA's repository
that cuda_repository.sh makes of the toolkit. There the RUN commands of the Dockerfile run as they stand, with the
stand-in as CUDA_REPOSITORY, in a copy of this tree. Without --build the one that compiles ends when it is configured,
and those behind it, which need what it makes, are left out. Needs root, overlayfs, dpkg-dev and the packages of
deploy/debian12-packages.txt.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = ROOT / "tests/container"
URL = "file:///cuda-repository"


def stages(path):
    """The stages of a Dockerfile: each a list of (instruction, text), without what only a daemon does."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", "")
    found = []
    for line in filter(None, text.splitlines()):
        word, rest = line.split(None, 1)
        if word == "FROM":
            found.append([])
        elif found:
            found[-1].append((word, re.sub(r"^(--\S+\s+)+", "", rest)))
    return found


def arguments_of(stage, given):
    """The values of a stage's ARGs. One that is given and not declared is a mistake in the Dockerfile."""
    declared = dict(text.split("=", 1) for word, text in stage if word == "ARG")
    return {name: given.get(name, value.strip('"')) for name, value in declared.items()}


def configured_only(command):
    """A command up to its first call of cmake, or None where it needs what is built."""
    if "cmake --preset" in command:
        return command.split("&&")[0]
    return None if "build/cuda" in command or "runtime-packages" in command else command


def mount(*words):
    """mount(8)."""
    subprocess.run(["mount", *words], check=True)


def make_root(place, toolkit):
    """An overlay of / in memory, with the tree in /src and the repository where URL says."""
    mount("-t", "tmpfs", "tmpfs", str(place))
    for name in ("upper", "work", "root", "src-upper", "src-work"):
        (place / name).mkdir()
    root = place / "root"
    mount("-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={place}/upper,workdir={place}/work", str(root))
    for path in [root / "usr/local/cuda", *root.glob("usr/local/cuda-*")]:
        path.unlink() if path.is_symlink() else shutil.rmtree(path, ignore_errors=True)
    (root / "src").mkdir(exist_ok=True)
    mount("-t", "overlay", "overlay", "-o",
          f"lowerdir={ROOT},upperdir={place}/src-upper,workdir={place}/src-work", str(root / "src"))
    shutil.rmtree(root / "src/build", ignore_errors=True)
    subprocess.run([HERE / "cuda_repository.sh", toolkit, URL, root / "cuda-repository"], check=True)
    mount("-t", "proc", "proc", str(root / "proc"))
    mount("--rbind", "/dev", str(root / "dev"))
    return root


def run_steps(root, build, architectures):
    """The RUN commands of both stages."""
    given = {"CUDA_REPOSITORY": URL, "CUDA_ARCHITECTURES": architectures}
    used = set()
    for number, stage in enumerate(stages(ROOT / "deploy/Dockerfile.cuda")):
        values = arguments_of(stage, given)
        used |= set(values)
        for word, text in stage:
            command = text if build else configured_only(text)
            if word != "RUN" or command is None:
                continue
            print(f"== stage {number}: {command[:100]}", flush=True)
            subprocess.run(["chroot", root, "/usr/bin/env", "-C", "/src", "/bin/bash", "-o", "pipefail", "-c", command],
                           check=True, env={**os.environ, **values})
    if missing := set(given) - used:
        sys.exit(f"the Dockerfile has no {', '.join(sorted(missing))}")


def main():
    """Goes on in a mount namespace of its own, so that nothing stays mounted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toolkit", default="/usr/local/cuda-13.0")
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--architectures", default="90a")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.inside:
        sys.exit(subprocess.run(["unshare", "--mount", sys.executable, __file__, *sys.argv[1:], "--inside"],
                                check=False).returncode)
    with tempfile.TemporaryDirectory() as place:
        root = make_root(pathlib.Path(place), args.toolkit)
        run_steps(root, args.build, args.architectures)
        subprocess.run(["umount", "--recursive", "--lazy", place], check=True)
    print("all steps ran")


if __name__ == "__main__":
    main()
