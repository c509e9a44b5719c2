"""Finds the program inside the installed package."""

import os
from pathlib import Path


def program() -> str:
    """The path of the program. FileNotFoundError: this is a source tree, and the wheel was not built."""
    path = Path(__file__).parent / "installed" / "bin" / "deltaserve"
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(
            "%s is not there: install the wheel that deploy/make_packages.sh builds, or give Server(binary=...)" % path)
    return str(path)
