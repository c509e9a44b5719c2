"""deltaserve, an inference server for linear-attention language models.

    from deltaserve import Server

    with Server() as server:
        print(server.url)
"""

from importlib.metadata import PackageNotFoundError, version

from deltaserve._program import proto_folder
from deltaserve._server import Server, ServerError

__all__ = ["Server", "ServerError", "proto_folder", "__version__"]

try:
    __version__ = version("deltaserve")
except PackageNotFoundError:  # a source tree, which is not installed
    __version__ = "0+unknown"
