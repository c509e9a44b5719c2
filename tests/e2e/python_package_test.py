#!/usr/bin/env python3
"""The Python package of deploy/python: a server for as long as a block lasts.

    python python_package_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import os
import pathlib
import socket
import subprocess
import sys
import time
import unittest
import unittest.mock

import openai

import harness

PACKAGE = str(pathlib.Path(__file__).resolve().parents[2] / "deploy" / "python")
sys.path.insert(0, PACKAGE)
sys.dont_write_bytecode = True

from deltaserve import Server, ServerError, __main__ as command, proto_folder  # noqa: E402


def server(model=None, **options):
    return Server(model or harness.MODEL, binary=harness.BINARY, **options)


def exists(pid):
    return os.path.exists("/proc/%d" % pid)


class PythonPackage(unittest.TestCase):
    def test_a_block_has_a_server(self):
        with server(max_sequences=2, served_model_name="mine", allowed_host=["a.example", "b.example"],
                    offline=True, log_prompts=False, env={"TZ": "UTC"}) as running:
            self.assertRegex(running.url, r"^http://127\.0\.0\.1:\d+$")
            client = openai.OpenAI(base_url=running.base_url, api_key="none", max_retries=0)
            answer = client.completions.create(model="mine", prompt=harness.PROMPT, max_tokens=4, temperature=0)
            self.assertEqual(answer.usage.completion_tokens, 4)
            self.assertIn("state: ", running.log)
            self.assertIn(", 2 slots,", running.log)
            pid = running.pid
            self.assertTrue(exists(pid))
        self.assertFalse(exists(pid))
        with self.assertRaisesRegex(ServerError, "does not run"):
            running.url

    def test_two_servers_have_ports_of_their_own(self):
        with server() as one, server() as other:
            self.assertNotEqual(one.url, other.url)

    def test_a_server_can_start_again(self):
        running = server()
        for _ in range(2):
            running.start()
            with self.assertRaisesRegex(ServerError, "started already"):
                running.start()
            running.stop()
            running.stop()

    def test_an_error_says_why_it_did_not_start(self):
        with self.assertRaisesRegex(ServerError, r"exit code 1: deltaserve: .*/nowhere") as caught:
            server("/nowhere").start()
        self.assertIn("/nowhere", caught.exception.log)
        with self.assertRaisesRegex(ServerError, r"(?s)exit code 2: .*--max-sequence\b"):
            server(max_sequence=3).start()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            with self.assertRaisesRegex(ServerError, "exit code 1: deltaserve: .*in use"):
                server(http_port=taken.getsockname()[1]).start()
        with self.assertRaises(FileNotFoundError):
            Server(harness.MODEL, binary="/nowhere/deltaserve").start()

    def test_a_server_that_takes_too_long_is_ended(self):
        slow = Server(harness.MODEL, binary="/bin/sleep", start_timeout=0.2)
        slow._command = ["/bin/sleep", "1000"]
        started = time.monotonic()
        with self.assertRaisesRegex(ServerError, r"did not listen within 0\.2 s"):
            slow.start()
        self.assertLess(time.monotonic() - started, 60)

    def test_a_server_that_dies_is_missed(self):
        with server() as running:
            process = running._process
            process.kill()
            process.wait()
            with self.assertRaisesRegex(ServerError, "was ended by SIGKILL"):
                running.url

    def test_no_server_outlives_python(self):
        script = ("import sys; sys.dont_write_bytecode = True; sys.path.insert(0, %r); from deltaserve import Server\n"
                  "print(Server(%r, binary=%r).start().pid)" % (PACKAGE, harness.MODEL, harness.BINARY))
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertFalse(exists(int(result.stdout)))

    def test_a_source_tree_says_that_it_has_no_program(self):
        for call in (Server, proto_folder):
            with self.assertRaisesRegex(FileNotFoundError, "install the wheel"):
                call()

    def test_the_command_knows_where_certificates_are(self):
        with unittest.mock.patch.object(command, "DEBIAN_CERTIFICATES", "/nowhere"):
            with unittest.mock.patch.dict(os.environ, {"SSL_CERT_FILE": "/mine.pem"}, clear=True):
                self.assertEqual(command.environment()["SSL_CERT_FILE"], "/mine.pem")
            paths = unittest.mock.Mock(cafile="/etc/pki/tls/cert.pem")
            with unittest.mock.patch.dict(os.environ, {}, clear=True), \
                    unittest.mock.patch("ssl.get_default_verify_paths", return_value=paths):
                self.assertEqual(command.environment()["SSL_CERT_FILE"], "/etc/pki/tls/cert.pem")


if __name__ == "__main__":
    harness.main()
