#!/usr/bin/env python3
"""Clients that leave, stall or come in crowds, and the end of the server.

    python resilience_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import concurrent.futures
import json
import signal
import socket
import time
import unittest

import harness
from harness import PROMPT, Server, WithServer, events_of, post, resident_mib, status_of


class OneSlot(WithServer):
    """Who leaves frees the slot."""

    OPTIONS = ("--max-sequences", "1", "--write-timeout", "2")
    MOST_MIB_AFTER = 64
    LONG = {"prompt": PROMPT, "max_tokens": 1 << 24, "ignore_eos": True}

    def test_disconnect_mid_stream(self):
        for reset in (False, True):
            with self.server.connect() as connection:
                connection.sendall(post({**self.LONG, "stream": True}))
                while b"data: " not in connection.recv(65536):
                    pass
                self.assertEqual(self.server.get("/ready")[1]["running"], 1)
                if reset:
                    linger = b"\1\0\0\0\0\0\0\0"
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.server.wait_idle()

    def test_disconnect_without_stream(self):
        with self.server.connect() as connection:
            connection.sendall(post(self.LONG))
            self.server.wait_load(1)
        self.server.wait_idle()

    def test_disconnect_mid_prefill(self):
        ids = [7] * 400000
        with self.server.connect() as connection:
            connection.sendall(post({**self.LONG, "prompt": ids, "stream": True}))
            self.server.wait_load(1)
        self.server.wait_idle()

    def test_disconnect_in_the_queue(self):
        with self.server.connect() as first, self.server.connect() as second:
            first.sendall(post(self.LONG))
            self.server.wait_load(1)
            second.sendall(post(self.LONG))
            self.server.wait_load(1, 1)
        self.server.wait_idle()

    def test_many_disconnects(self):
        for i in range(100):
            with self.server.connect() as connection:
                connection.sendall(post({**self.LONG, "stream": i % 2 == 0}))
                time.sleep(0.0005 * (i % 8))
        self.server.wait_idle()
        self.assertTrue(self.server.complete(max_tokens=2, ignore_eos=True).choices[0].text)

    def test_slow_reader(self):
        """A client that does not read is dropped; until then it only holds its own slot."""
        with self.server.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(post({**self.LONG, "logprobs": 20, "max_tokens": 60000,
                                     "stream": True}))
            self.server.wait_load(1)
            before = resident_mib(self.server)
            self.server.wait_idle()
            self.assert_memory(resident_mib(self.server) - before, 64)

    def test_drip_fed_heads_do_not_disturb(self):
        slow = [self.server.connect() for _ in range(200)]
        for connection in slow:
            connection.sendall(b"POST /v1/comp")
        self.assertTrue(self.server.complete(max_tokens=2, ignore_eos=True).choices)
        for connection in slow:
            connection.close()


class LargeBodies(WithServer):
    MOST_MIB_AFTER = 64

    def test_promises_keep_nobody_out(self):
        """Lengths that are announced and not sent take none of the memory for large bodies."""
        idle = [self.server.connect() for _ in range(16)]
        for connection in idle:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                               b"Content-Length: 67108864\r\n\r\n{")
        status, reply = self.server.post("/tokenize", {"prompt": "x" * (8 << 20)})
        self.assertEqual(status, 200, reply)
        for connection in idle:
            connection.close()

    def test_too_many_large_bodies_are_503(self):
        half = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108864\r\n\r\n"
        sent, refused = b" " * (56 << 20), 0
        connections = [self.server.connect() for _ in range(12)]
        for connection in connections:
            try:
                connection.sendall(half + sent)
            except OSError:
                pass
        for connection in connections:
            connection.settimeout(0.5)
            try:
                refused += b" 503 " in connection.recv(100)
            except OSError:
                pass
            connection.close()
        self.assertGreater(refused, 0)
        # They are gone, and so is what they held.
        status, _ = self.server.post("/tokenize", {"prompt": "x" * (8 << 20)})
        self.assertEqual(status, 200)


class LongPrefill(WithServer):
    def test_keep_alive_comments(self):
        """A stream that has nothing to say yet shows that it lives. 15 s of silence."""
        with self.server.connect() as connection:
            connection.settimeout(harness.PATIENCE)
            connection.sendall(post({"prompt": [7] * 3_000_000, "max_tokens": 1, "stream": True}))
            received = connection.recv(65536)
            while b"\n\n" not in received:
                received += connection.recv(65536)
        self.assertTrue(received.startswith(b"HTTP/1.1 200"))
        self.assertIn(b": keep-alive\n\n", received)


class Overload(WithServer):
    OPTIONS = ("--max-sequences", "1", "--max-queue", "2")
    MOST_MIB_AFTER = 64

    def test_a_full_queue_refuses_before_the_body(self):
        connections = [self.server.connect() for _ in range(3)]
        for count, connection in enumerate(connections):
            connection.sendall(post({"prompt": PROMPT, "max_tokens": 1 << 24, "ignore_eos": True}))
            self.server.wait_load(1, count)
        with self.server.connect() as connection:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                               b"Content-Length: 67108864\r\n\r\n{")
            reply = connection.recv(4096)
            self.assertEqual(status_of(reply), 429)
            self.assertIn(b"\r\nRetry-After: ", reply)
        # A small one is read, so that its connection lives on.
        small = post({"prompt": PROMPT}, "Connection: keep-alive\r\n")
        with self.server.connect() as connection:
            for _ in range(2):
                connection.sendall(small)
                self.assertEqual(status_of(connection.recv(4096)), 429)
        self.assertGreaterEqual(self.server.metric("deltaserve_queue_full_total"), 3)
        for connection in connections:
            connection.close()
        self.server.wait_idle()

    def test_full_queue_is_429(self):
        connections = [self.server.connect() for _ in range(8)]
        for count, connection in enumerate(connections):
            connection.sendall(post({"prompt": PROMPT, "max_tokens": 1 << 24, "ignore_eos": True}))
            self.server.wait_load(1, min(count, 2))
        replies = [connection.recv(4096) for connection in connections[3:]]
        for reply in replies:
            self.assertEqual(status_of(reply), 429)
            self.assertIn(b"\r\nRetry-After: ", reply)
        for connection in connections:
            connection.close()
        self.server.wait_idle()
        # A list is longer than the queue, but holds one place of it at a time.
        answer = self.server.complete(prompt=[PROMPT] * 8, max_tokens=2, ignore_eos=True)
        self.assertEqual([choice.index for choice in answer.choices], list(range(8)))
        self.server.wait_idle()


class Shutdown(unittest.TestCase):
    def start_stream(self, server, max_tokens):
        connection = server.connect()
        connection.sendall(post({"prompt": PROMPT, "max_tokens": max_tokens, "ignore_eos": True,
                                 "stream": True}))
        first = connection.recv(65536)
        while b"data: " not in first:
            first += connection.recv(65536)
        return connection, first

    def test_drain_finishes_the_stream(self):
        with Server() as server:
            connection, received = self.start_stream(server, 600 if harness.SANITIZED else 6000)
            server.process.send_signal(signal.SIGTERM)
            refused = None
            for _ in range(200):
                try:
                    status, _ = server.get("/ready")
                except OSError:
                    break  # already gone: the stream was short
                if status == 503:
                    refused = status_of(server.raw(post({"prompt": "x"})))
                    break
                time.sleep(0.005)
            with connection:
                while piece := connection.recv(65536):
                    received += piece
            self.assertIn(b"data: [DONE]", received)
            self.assertEqual(refused, 503)
            self.assertEqual(server.process.wait(harness.PATIENCE), 0)

    def test_second_signal_stops_at_once(self):
        with Server() as server:
            connection, _ = self.start_stream(server, 1 << 24)
            with connection:
                server.process.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                self.assertIsNone(server.process.poll())
                server.process.send_signal(signal.SIGTERM)
                self.assertEqual(server.process.wait(harness.PATIENCE), 0)

    def test_a_drain_that_takes_too_long_cuts_streams(self):
        with Server("--drain-timeout", "1") as server:
            connection, received = self.start_stream(server, 1 << 24)
            with connection, server.connect() as whole:
                whole.sendall(post({"prompt": PROMPT, "max_tokens": 1 << 24, "ignore_eos": True}))
                server.wait_load(2)
                server.process.send_signal(signal.SIGTERM)
                while piece := connection.recv(65536):
                    received += piece
                reply = whole.recv(65536)
            self.assertNotIn(b"[DONE]", received)
            error = json.loads(events_of(received)[-1])["error"]
            self.assertEqual(error["type"], "service_unavailable_error")
            self.assertEqual(status_of(reply), 503)
            self.assertEqual(server.process.wait(harness.PATIENCE), 0)

    def test_idle_server_stops_at_once(self):
        with Server() as server, server.connect():
            server.process.send_signal(signal.SIGINT)
            self.assertEqual(server.process.wait(harness.PATIENCE), 0)

class Memory(unittest.TestCase):
    def test_a_server_that_has_too_much_refuses_and_says_so(self):
        with Server("--memory-limit", "16MiB") as server:  # less than it has already
            server.log_lines("overload resource=memory .*measure=end_largest")
            status, body, headers = server.request("/v1/completions", {"prompt": "x"})
            self.assertEqual(status, 503)
            self.assertIn("memory", json.loads(body)["error"]["message"])
            self.assertIn("Retry-After", headers)
            self.assertEqual(server.request("/health")[0], 200)
            self.assertGreater(server.metric("deltaserve_resident_memory_bytes"),
                               server.metric("deltaserve_memory_limit_bytes"))


class Grammars(unittest.TestCase):
    """Compiling is the slowest work there is; nobody waits for it but who asked for it."""

    def test_small_requests_do_not_wait(self):
        def grammar(number):
            return 'root ::= (("a"{0,40}){0,40}){0,%d}' % number

        with Server() as server:
            def ask(number, **more):
                return server.request("/v1/completions", {
                    "prompt": "x", "max_tokens": 1,
                    "structured_outputs": {"grammar": grammar(number)}, **more})

            # The parameter's deadline is kept while the grammar of somebody else is compiled.
            with concurrent.futures.ThreadPoolExecutor(14) as pool:
                slow = [pool.submit(ask, 20 + i) for i in range(12)]
                late = pool.submit(ask, 99, deadline_ms=50)
                server.complete(max_tokens=1)
                status, _, _ = late.result()
                waiting = sum(not one.done() for one in slow)
            self.assertEqual(status, 504)
            self.assertGreater(waiting, 0)
            self.assertEqual({one.result()[0] for one in slow}, {400})
            # A refusal is remembered.
            compiled = server.metric("deltaserve_grammar_cache_misses_total")
            self.assertEqual(ask(20)[0], 400)
            self.assertEqual(server.metric("deltaserve_grammar_cache_misses_total"), compiled)

    def test_whoever_leaves_makes_room_for_others(self):
        def ask(number):
            grammar = 'root ::= (("a"{0,40}){0,40}){0,40} "%d"' % number
            return post({"prompt": "x", "max_tokens": 1, "structured_outputs": {"grammar": grammar}})

        with Server() as server:
            oracle = harness.Oracle(server)
            clients = []
            for number in range(200):  # far more than may wait
                client = server.connect()
                client.sendall(ask(number))
                clients.append(client)
            refused = clients[-1].recv(4096)
            self.assertIn(b"503", refused.split(b"\r\n")[0])
            self.assertIn(b"wait to be compiled", refused)
            for client in clients:
                client.close()
            # The server drops those that wait for this one.
            schema = {"json": {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 2}}
            harness.eventually(
                lambda: server.request("/v1/completions", {
                    "prompt": "x", "max_tokens": 16, "structured_outputs": schema})[0] == 200,
                lambda: "the places of clients that left stay taken")
            oracle.check(64)


if __name__ == "__main__":
    harness.main()
