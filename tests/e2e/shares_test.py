#!/usr/bin/env python3
"""The shares of clients: nobody waits for a stranger, and nobody is shut out by one.

    python shares_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import socket
import tempfile
import time
import unittest

import harness
from harness import Oracle, Server, WithServer, get, post, status_of

MIB = 1 << 20


class Owners(unittest.TestCase):
    """Two owners of keys, and who has none."""

    @classmethod
    def setUpClass(cls):
        cls.file = tempfile.NamedTemporaryFile("w")
        cls.addClassCleanup(cls.file.close)
        cls.file.write("key-of-one one\nkey-of-two two\n")
        cls.file.flush()
        cls.server = Server("--api-key-file", cls.file.name, key="key-of-two")
        cls.addClassCleanup(cls.server.__exit__)

    def setUp(self):
        self.addCleanup(Oracle(self.server).check, 96)

    def test_bodies_of_one_leave_room_for_the_other(self):
        head = (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108864\r\n"
                b"Authorization: Bearer key-of-one\r\n\r\n")
        crowd = [self.server.connect() for _ in range(6)]
        refused = 0
        for connection in crowd:
            try:
                connection.sendall(head + b" " * (60 * MIB))
            except OSError:
                pass
            connection.setblocking(False)
            try:
                refused += b" 503 " in connection.recv(100)
            except OSError:
                pass
        # Half of the 512 MiB is left, and a half of that is for the other.
        self.assertGreaterEqual(refused, 1)
        body = b'{"prompt": "x"' + b" " * (24 * MIB) + b"}"
        reply = self.server.raw(post(body, "Authorization: Bearer key-of-two\r\n"
                                           "Connection: close\r\n", path="/tokenize"))
        self.assertEqual(status_of(reply), 200)
        for connection in crowd:
            connection.close()

    def test_a_flood_of_wrong_keys(self):
        """It is refused cheaply, fills no log, and keeps nobody out who has a key."""
        wrong = get("/v1/models", "Authorization: Bearer guess\r\n")
        seen = {401: 0, 429: 0}
        for _ in range(10):
            asked = time.monotonic()
            reply = self.server.raw(wrong * 40 + get("/health", "Connection: close\r\n"))
            for status in seen:
                seen[status] += reply.count(b"HTTP/1.1 %d" % status)
            if b"HTTP/1.1 429" in reply:
                self.assertGreaterEqual(time.monotonic() - asked, 1, "a guesser waits a second")
            if seen[429] >= 3:
                break
        self.assertGreaterEqual(seen[401], 64)
        self.assertGreaterEqual(seen[429], 3)
        self.assertEqual(self.server.request("/v1/models")[0], 200)
        self.server.log_lines("too_many_wrong_keys address=127.0.0.1")
        lines = sum("status=401" in line or "status=429" in line for line in self.server.log)
        self.assertLessEqual(lines, seen[401])
        self.assertEqual(self.server.metric('deltaserve_wrong_keys_total{result="refused"}'),
                         seen[401])
        self.assertEqual(self.server.metric('deltaserve_wrong_keys_total{result="too_many"}'),
                         seen[429])


class Sizes(WithServer):
    MOST_MIB_AFTER = 96

    def send(self, size):
        connection = self.server.connect()
        connection.sendall(post({"prompt": "a" * size}, path="/tokenize"))
        return connection

    def test_the_small_do_not_wait_for_the_large(self):
        """A text of 72 KB is ready before any of four of 12 MiB that came before it."""
        large = [self.send(12 * MIB) for _ in range(4)]
        self.assertEqual(self.server.post("/tokenize", {"prompt": "a" * 72_000})[0], 200)
        for connection in large:
            connection.setblocking(False)
            with self.assertRaises(BlockingIOError):
                connection.recv(1)
            connection.close()

    def test_a_text_that_nobody_waits_for_is_given_up(self):
        """The worker is free at once, and so is the memory."""
        for _ in range(8):
            self.send(24 * MIB).close()
        with self.send(8 * MIB) as connection:
            self.assertEqual(status_of(connection.recv(100)), 200)


class Readers(unittest.TestCase):
    """Who takes nothing of a reply."""

    def test_loses_the_slot_that_another_waits_for(self):
        with Server("--max-sequences", "1", "--write-timeout", "2") as server:
            oracle = Oracle(server)
            long = {"prompt": harness.PROMPT, "max_tokens": 60_000, "ignore_eos": True,
                    "logprobs": 20}
            with server.connect() as unread, server.connect() as trickle:
                unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                unread.sendall(post({**long, "stream": True}))
                server.wait_load(1)
                # It waits in the queue until then, and is served.
                trickle.sendall(post({**long, "max_tokens": 2}))
                self.assertEqual(status_of(trickle.recv(100)), 200)
            server.wait_idle()
            oracle.check(most_mib=64)


if __name__ == "__main__":
    harness.main()
