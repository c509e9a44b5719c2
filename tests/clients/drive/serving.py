"""A server for a client, on a free port."""

import re
import signal
import subprocess
import tempfile


class Server:
    """A context manager. `url` has no path."""

    def __init__(self, binary, model):
        self.log = tempfile.TemporaryFile("w+")
        command = [binary, "serve", "--model", model, "--served-model-name", "scripted", "--http-port", "0", "--no-grpc",
                   "--max-sequences", "4"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.name = "scripted"
        for line in self.process.stdout:
            found = re.match(r"listening on (http://\S+)", line)
            if found:
                self.url = found[1]
                return
        self.process.wait()
        self.log.seek(0)
        raise RuntimeError("the server did not start: " + self.log.read())

    def faults(self):
        """The lines of the log about requests that got a 5xx."""
        self.log.seek(0)
        return [line.strip() for line in self.log if re.search(r"\bstatus=5\d\d\b", line)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.process.stdout.close()
        self.log.close()
