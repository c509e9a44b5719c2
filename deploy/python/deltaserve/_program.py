"""Finds the program and its files inside the installed package."""

import os
from pathlib import Path

_INSTALLED = Path(__file__).parent / "installed"


def program() -> str:
    """The path of the program. Raises FileNotFoundError in a source tree, in which no wheel was built."""
    path = _INSTALLED / "bin" / "deltaserve"
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(
            "%s is not there: install the wheel that deploy/make_packages.sh builds, or give Server(binary=...)" % path)
    return str(path)


def proto_folder() -> str:
    """The folder of deltaserve.proto, the gRPC interface, for protoc's option -I. FileNotFoundError as program()."""
    path = _INSTALLED / "share" / "deltaserve" / "proto"
    if not (path / "deltaserve.proto").is_file():
        raise FileNotFoundError("%s is not there: install the wheel that deploy/make_packages.sh builds" % path)
    return str(path)
