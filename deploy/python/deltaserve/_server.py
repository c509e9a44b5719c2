"""Runs a server for as long as a block of Python lasts."""

import atexit
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from types import TracebackType
from typing import Deque, Iterable, List, Mapping, Optional, Type, Union

from deltaserve._program import program

Option = Union[str, int, float, bool, "os.PathLike[str]", Iterable[Union[str, int, float, "os.PathLike[str]"]]]

LOG_LINES = 10_000  # Older lines are dropped, so that a long run does not fill the memory.


class ServerError(RuntimeError):
    """The server did not start, or it ended by itself. The message says why; `log` is all it wrote."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


class Server:
    """A deltaserve process on a free port of the loopback address.

        with Server() as server:
            client = openai.OpenAI(base_url=server.base_url, api_key="none")

    The block begins when the server takes requests and the process has ended when it is left. Without
    `with`, call `start()` and `stop()`; what still runs when Python exits is stopped then.

    model: a folder, a name on the Hub (`owner/model`), or `bundled`, the small model of the package.
    binary: the program to run instead of the package's own.
    start_timeout: seconds after which a server that does not listen is ended with a ServerError. They
        include the download of a model.
    stop_timeout: seconds that a server gets to end its running requests before it is killed.
    env: variables that are added to the environment of the process.
    options: those of `deltaserve serve`, with `_` for `-`: `max_sequences=4`, `weights="int8"`. True sets
        a flag, False and None leave it out, and a list repeats the option.
    """

    def __init__(self, model: Union[str, "os.PathLike[str]"] = "bundled", *,
                 binary: Union[str, "os.PathLike[str]", None] = None,
                 start_timeout: float = 300.0, stop_timeout: float = 45.0,
                 env: Optional[Mapping[str, str]] = None, **options: Optional[Option]) -> None:
        options.setdefault("http_port", 0)
        self._command = [os.fspath(binary) if binary is not None else program(),
                         "serve", "--model", os.fspath(model), *_arguments(options)]
        self._env = dict(env or {})
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._process: Optional["subprocess.Popen[str]"] = None
        self._lines: Deque[str] = deque(maxlen=LOG_LINES)
        self._readers: List[threading.Thread] = []
        self._url: Optional[str] = None
        self._heard = threading.Event()  # It listens, or it has closed its output.

    @property
    def url(self) -> str:
        """The server's address, without a slash at the end. Raises ServerError if it does not run."""
        self._check()
        assert self._url is not None
        return self._url

    @property
    def base_url(self) -> str:
        """The value that clients of the OpenAI API call `base_url`."""
        return self.url + "/v1"

    @property
    def pid(self) -> int:
        """The number of the process. Raises ServerError if it does not run."""
        self._check()
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """The lines that the server has written so far, at most the last 10,000."""
        return "".join(list(self._lines))

    def start(self) -> "Server":
        """Starts the process and returns when it takes requests. Raises ServerError if it did not, and says why."""
        if self._process is not None:
            raise ServerError("the server has been started already", self.log)
        self._lines.clear()
        self._heard.clear()
        self._url = None
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", env={**os.environ, **self._env})
        atexit.register(self.stop)
        self._readers = [threading.Thread(target=read, args=(self._process,), daemon=True)
                         for read in (self._read_output, self._read_errors)]
        for reader in self._readers:
            reader.start()
        try:
            self._await_start(self._process)
        except BaseException:  # Ctrl-C as well: no process is left behind.
            self._kill()
            raise
        return self

    def stop(self) -> None:
        """Ends the process: running requests may finish, for `stop_timeout` seconds. Does nothing if it has ended."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(self._stop_timeout)
            except subprocess.TimeoutExpired:
                pass
        self._kill()

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.stop()

    def _await_start(self, process: "subprocess.Popen[str]") -> None:
        end = time.monotonic() + self._start_timeout
        self._heard.wait(self._start_timeout)
        if self._url is not None:
            return
        if not self._heard.is_set():
            raise ServerError("the server did not listen within %g s" % self._start_timeout, self.log)
        try:
            code = process.wait(max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise ServerError("the server closed its output and did not end", self.log) from None
        for reader in self._readers:
            reader.join()
        raise ServerError("the server %s: %s" % (_ending(code), self._last_words()), self.log)

    def _check(self) -> None:
        if self._process is None:
            raise ServerError("the server does not run: call start(), or use it in `with`", self.log)
        code = self._process.poll()
        if code is not None:
            raise ServerError("the server %s: %s" % (_ending(code), self._last_words()), self.log)

    def _last_words(self) -> str:
        """The program's own messages, or the last lines if there are none, as after a usage error."""
        lines = [line.strip() for line in list(self._lines) if line.strip()]
        said = [line for line in lines if line.startswith("deltaserve: ")]
        return "\n".join(said or lines[-3:]) or "it wrote nothing"

    def _kill(self) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.kill()
        process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        self._process = None
        atexit.unregister(self.stop)

    def _read_output(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.append(line)
            found = re.match(r"listening on (\S+)", line)
            if found and self._url is None:
                self._url = found[1].rstrip("/")
                self._heard.set()
        self._heard.set()

    def _read_errors(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self._lines.append(line)


def _arguments(options: Mapping[str, Optional[Option]]) -> List[str]:
    """The command line of options that are given by their names."""
    arguments: List[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            arguments.append(flag)
        elif isinstance(value, (str, int, float, os.PathLike)):
            arguments += [flag, _text(value)]
        else:
            for item in value:
                arguments += [flag, _text(item)]
    return arguments


def _text(value: Union[str, int, float, "os.PathLike[str]"]) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _ending(code: int) -> str:
    if code >= 0:
        return "ended with exit code %d" % code
    return "was ended by %s" % signal.Signals(-code).name
