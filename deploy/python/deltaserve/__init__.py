"""deltaserve, an inference server for linear-attention language models.

    from deltaserve import Server

    with Server() as server:
        print(server.url)
"""

from importlib.metadata import PackageNotFoundError, version

from deltaserve._server import Server, ServerError

__all__ = ["Server", "ServerError", "__version__"]

try:
    __version__ = version("deltaserve")
except PackageNotFoundError:  # a source tree, which is not installed
    __version__ = "0+unknown"
