#!/usr/bin/env python3
"""Tests what somebody sees who sits at a terminal: `chat`, progress, and a line about speed.

    python terminal_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import http.server
import json
import os
import pty
import re
import select
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from harness import Server

FIGURES = r"\[(\d+) tokens(?:, [0-9.]+ tokens/s)?; prompt: (\d+) tokens, (\d+) reused[^\]]*\]"
# States are kept every 64 tokens, so a prompt that is to be reused is longer.
STORY = "Tell me a story about a dog that lives near the river with a little girl and her brother. " * 4
TALK = ("--temperature", "0", "--max-tokens", "24")


class Terminal:
    """A process on a terminal of its own; a context manager."""

    def __init__(self, *command, stdin=None):
        self.descriptor, theirs = pty.openpty()
        self.process = subprocess.Popen(command, stdin=stdin or theirs, stdout=theirs, stderr=theirs,
                                        start_new_session=True, close_fds=True,
                                        preexec_fn=lambda: os.open(os.ttyname(1), os.O_RDWR))
        os.close(theirs)
        self.seen = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.descriptor)

    def read(self):
        """Reads a piece. Returns False if there is no more."""
        if not select.select([self.descriptor], [], [], 0.1)[0]:
            return self.process.poll() is None
        try:
            piece = os.read(self.descriptor, 65536)
        except OSError:
            return False  # the process has closed its end
        self.seen += piece.decode(errors="replace")
        return bool(piece)

    def expect(self, pattern):
        """Waits for it, forgets what came before its end, and returns the match."""
        start = time.monotonic()
        while not (found := re.search(pattern, self.seen)):
            if not self.read() or time.monotonic() - start > harness.PATIENCE:
                raise AssertionError("%r is not in %r" % (pattern, self.seen))
        self.seen = self.seen[found.end():]
        return found

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def exit_code(self):
        start = time.monotonic()
        while self.read():
            if time.monotonic() - start > harness.PATIENCE:
                raise AssertionError("it goes on: %r" % self.seen)
        return self.process.wait(harness.PATIENCE)

    def leave(self, key):
        """Types a key until the process ends: one that comes before the editor has set the terminal may be lost."""
        start = time.monotonic()
        while self.process.poll() is None and time.monotonic() - start < harness.PATIENCE:
            self.type(key)
            again = time.monotonic() + 1
            while time.monotonic() < again and self.read():
                pass
        return self.exit_code()


def chat(*arguments, text, model=None):
    return subprocess.run([harness.BINARY, "chat", *([model or harness.MODEL] if model != "" else []), *TALK,
                           *arguments], input=text, capture_output=True, text=True, timeout=harness.PATIENCE)


def endless_model(folder):
    """A copy of the model whose answers do not end by themselves: no token that it draws ends them."""
    shutil.copytree(harness.MODEL, folder, dirs_exist_ok=True)
    for name, key, value in (("config.json", "eos_token_id", 0), ("generation_config.json", "eos_token_id", 0),
                             ("tokenizer_config.json", "eos_token", "<unk>")):
        path = os.path.join(folder, name)
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        config[key] = value
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
    return folder


class ChatThroughAPipe(unittest.TestCase):
    def test_each_line_is_a_message(self):
        result = chat(text=STORY + "\nGo on.\n")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len([line for line in result.stdout.split("\n") if line]) >= 2, True)
        turns = re.findall(FIGURES, result.stderr)
        self.assertEqual(len(turns), 2, result.stderr)
        self.assertEqual(turns[0][2], "0")
        self.assertGreater(int(turns[1][2]), 0)  # the second turn goes on from the first
        self.assertGreater(int(turns[1][1]), int(turns[0][1]))

    def test_commands(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "talk.json")
            result = chat(text="/regenerate\n/system You tell stories.\nHello\\\nyou\n/regenerate\n"
                               f"//slash\n/save {path}\n/help\n/quit\nnot sent\n")
            self.assertEqual(result.returncode, 0, result.stderr)
            with open(path, encoding="utf-8") as file:
                messages = json.load(file)["messages"]
        self.assertEqual([message["role"] for message in messages],
                         ["system", "user", "assistant", "user", "assistant"])
        self.assertEqual([messages[0]["content"], messages[1]["content"], messages[3]["content"]],
                         ["You tell stories.", "Hello\nyou", "/slash"])
        self.assertEqual(len(re.findall(FIGURES, result.stderr)), 3)
        self.assertIn("There is no message to answer again.", result.stderr)
        self.assertIn("/save FILE", result.stderr)

    def test_faults(self):
        result = chat(text="/regenrate\n/save\n/save /nonexistent/x\n")
        self.assertEqual(result.returncode, 1)
        self.assertIn("unknown command '/regenrate'; did you mean '/regenerate'?", result.stderr)
        self.assertIn("/save needs the name of a file.", result.stderr)
        self.assertIn("cannot write '/nonexistent/x'", result.stderr)
        golden = os.path.join(os.path.dirname(__file__), "../golden/delta_net")
        result = chat(text="x\n", model=golden)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)

    def test_a_server(self):
        text = STORY + "\nGo on.\n"
        with tempfile.NamedTemporaryFile("w") as keys:
            keys.write("secret team\n")
            keys.flush()
            with Server("--api-key-file", keys.name, key="secret") as server:
                result = chat("--url", server.url, "--api-key", "secret", text=text, model="")
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual(result.stdout, chat(text=text).stdout)
                turns = re.findall(FIGURES, result.stderr)
                self.assertGreater(int(turns[1][2]), 0)
                result = chat("--url", server.url, text="x\n", model="")
                self.assertEqual(result.returncode, 1)
                self.assertIn("answers 401", result.stderr)
                result = chat("--url", server.url, "--api-key", "secret", text="x\n", model="nobody")
                self.assertEqual(result.returncode, 1)
                self.assertIn("answers 404", result.stderr)
            result = chat("--url", server.url, text="x\n", model="")
            self.assertEqual(result.returncode, 1)
            self.assertIn(server.url, result.stderr)


class StandIn(http.server.BaseHTTPRequestHandler):
    """A server that sends its answer of 40 tokens as two events at once, with or without its own timings."""

    timings = None

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        usage = {"prompt_tokens": 9, "completion_tokens": 40}
        last = {"choices": [], "usage": usage, **({"timings": self.timings} if self.timings else {})}
        events = [{"choices": [{"index": 0, "delta": {"content": "Once upon"}}]},
                  {"choices": [{"index": 0, "delta": {"content": " a time"}, "finish_reason": "stop"}]}, last]
        body = "".join("data: %s\n\n" % json.dumps(event) for event in events) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class SpeedOfOtherServers(unittest.TestCase):
    def figures(self, timings):
        class Timed(StandIn):
            pass

        Timed.timings = timings
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Timed) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                result = chat("--url", "http://127.0.0.1:%d" % server.server_port, text="Hi\n", model="any")
            finally:
                server.shutdown()
                thread.join()
        self.assertEqual((result.returncode, result.stdout.strip()), (0, "Once upon a time"), result.stderr)
        return result.stderr

    def test_events_that_come_together_have_no_time_between_them(self):
        self.assertRegex(self.figures(None), r"\[40 tokens, [0-9.]+ tokens/s with the prompt's time; prompt: 9 tokens\]")

    def test_a_server_that_measures_is_believed(self):
        self.assertIn("[40 tokens, 78.0 tokens/s; prompt: 9 tokens]", self.figures({"decode_ms": 500}))


class ChatOnATerminal(unittest.TestCase):
    def test_a_conversation(self):
        with Terminal(harness.BINARY, "chat", harness.MODEL, *TALK) as terminal:
            terminal.expect(r"/help lists the commands")
            terminal.expect("> ")
            terminal.type(STORY + "dig\x7f\x7fog.\n")  # two letters are taken back
            terminal.expect(FIGURES)
            terminal.expect("> ")
            terminal.type("\x1b[A\n")  # the line before, from the history
            self.assertGreater(int(terminal.expect(FIGURES)[3]), 0)
            terminal.expect("> ")
            self.assertEqual(terminal.leave("\x04"), 0)

    def test_ctrl_c_stops_an_answer_and_twice_leaves(self):
        with tempfile.TemporaryDirectory() as folder, \
                Terminal(harness.BINARY, "chat", endless_model(folder), "--max-tokens", "16777216",
                         "--threads", "1") as terminal:
            terminal.expect("> ")
            terminal.type("Tell me a story about a dog.\n")
            # The terminal and the editor echo the message; an answer is longer than both.
            terminal.expect(r"(?s)dog\..{400}")
            terminal.type("\x03")
            terminal.expect(r"stopped\]")
            terminal.expect("> ")
            self.assertEqual(terminal.leave("\x03"), 130)

    def test_ctrl_d_while_an_answer_is_written_does_not_hold_the_conversation_open(self):
        with tempfile.TemporaryDirectory() as folder, \
                Terminal(harness.BINARY, "chat", endless_model(folder), "--max-tokens", "512",
                         "--threads", "1") as terminal:
            terminal.expect("> ")
            terminal.type("Tell me a story about a dog.\n")
            terminal.expect(r"(?s)dog\..{400}")
            terminal.type("\x04")
            self.assertEqual(int(terminal.expect(FIGURES)[1]), 512)
            terminal.expect("> ")
            self.assertEqual(terminal.leave("\x04"), 0)


class Progress(unittest.TestCase):
    def test_a_long_prompt_and_the_last_line(self):
        with tempfile.NamedTemporaryFile("w+") as prompt:
            prompt.write("Once upon a time there was a little dog. " * 4000)
            prompt.flush()
            prompt.seek(0)
            with Terminal(harness.BINARY, "generate", harness.MODEL, "--prompt", "-", "--max-tokens", "8",
                          "--threads", "1", stdin=prompt) as terminal:
                terminal.expect(r"reading the prompt \[#* *\] \d+ %, \d+ tokens of \d+ tokens")
                terminal.expect(r"\r\x1b\[K")
                terminal.expect(r"prompt: \d+ tokens in [0-9.]+ s; answer: 8 tokens in [0-9.]+ s, [0-9.]+ tokens/s")
                self.assertEqual(terminal.exit_code(), 0)

    def test_short_work_and_pipes_are_silent(self):
        command = (harness.BINARY, "generate", harness.MODEL, "--prompt", "Once", "--max-tokens", "4")
        result = subprocess.run(command, capture_output=True, text=True, timeout=harness.PATIENCE)
        self.assertEqual((result.returncode, result.stderr), (0, ""))


if __name__ == "__main__":
    harness.main()
