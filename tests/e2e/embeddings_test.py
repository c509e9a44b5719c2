#!/usr/bin/env python3
"""POST /v1/embeddings with OpenAI's client and without it. mixers_test.py compares the numbers with float64.

    python3 embeddings_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import base64
import math
import struct
import threading

import harness
from harness import PROMPT, WithServer, eventually, post

TEXTS = ["Once upon a time", "The dog barked.", "One day, a girl found a red ball. " * 30]


class Embeddings(WithServer):
    OPTIONS = ("--max-sequences", "4", "--prefix-cache-memory", "64MB", "--no-grpc")

    def embed(self, input, **parameters):
        status, reply = self.server.post("/v1/embeddings", {"input": input, **parameters})
        self.assertEqual(status, 200, reply)
        return reply

    def vectors(self, input, **parameters):
        return [one["embedding"] for one in self.embed(input, **parameters)["data"]]

    def refused(self, **body):
        status, reply = self.server.post("/v1/embeddings", {"input": "a", **body})
        self.assertEqual(status, 400, reply)
        return reply["error"]

    def test_the_client(self):
        reply = self.server.client.embeddings.create(model=self.server.model, input=TEXTS, user="me")
        self.assertEqual([one.index for one in reply.data], [0, 1, 2])
        size = len(reply.data[0].embedding)
        for one in reply.data:
            self.assertEqual(len(one.embedding), size)
            self.assertAlmostEqual(math.sqrt(sum(x * x for x in one.embedding)), 1, places=6)
        self.assertEqual(reply.usage.prompt_tokens, reply.usage.total_tokens)
        for encoding in ("float", "base64"):
            again = self.server.client.embeddings.create(model=self.server.model, input=TEXTS,
                                                         encoding_format=encoding, dimensions=size)
            got = again.data[1].embedding
            if isinstance(got, str):
                got = struct.unpack("<%df" % size, base64.b64decode(got))
            self.assertEqual(list(got), reply.data[1].embedding)

    def test_texts_and_their_ids_are_the_same_alone_and_together(self):
        alone = [self.vectors(text)[0] for text in TEXTS]
        self.assertEqual(self.vectors(TEXTS), alone)
        ids = [self.server.post("/tokenize", {"prompt": text})[1]["tokens"] for text in TEXTS]
        self.assertEqual(self.vectors(ids), alone)
        self.assertEqual(self.vectors(ids[0]), alone[:1])
        self.assertEqual(self.vectors(TEXTS[::-1]), alone[::-1])
        self.assertEqual(self.embed(TEXTS)["usage"]["prompt_tokens"], sum(map(len, ids)))
        self.assertNotEqual(alone[0], alone[1])

    def test_what_was_read_before_changes_nothing(self):
        text = "A new text about a cat that sat on a mat. " * 40
        cold, warm = self.embed(text, cache_salt="cold"), self.embed(text, cache_salt="cold")
        self.assertEqual(cold["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
        self.assertGreater(warm["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
        self.assertEqual(warm["data"], cold["data"])

    def test_truncation(self):
        ids = self.server.post("/tokenize", {"prompt": TEXTS[2]})[1]["tokens"]
        self.assertEqual(self.vectors(TEXTS[2], truncate_prompt_tokens=5), self.vectors(ids[-5:]))
        self.assertEqual(self.vectors(TEXTS[2], truncate_prompt_tokens=5, truncation_side="right"),
                         self.vectors(ids[:5]))

    def test_many(self):
        reply = self.embed(["text %d" % i for i in range(300)])
        self.assertEqual([one["index"] for one in reply["data"]], list(range(300)))
        self.assertEqual(reply["data"][7]["embedding"], self.vectors("text 7")[0])

    def test_what_is_refused(self):
        size = len(self.vectors("a")[0])
        for body, param, words in (
                ({"dimensions": size // 2}, "dimensions", str(size)),
                ({"dimensions": "a"}, "dimensions", "integer"),
                ({"encoding_format": "hex"}, "encoding_format", "hex"),
                ({"input": []}, "input", "empty"), ({"input": None}, "input", "required"),
                ({"input": [[]]}, "input", "empty"), ({"input": [1, -1]}, "input", "-1"),
                ({"input": ["a", 1]}, "input", "input[1]"), ({"input": {"a": 1}}, "input", "input"),
                ({"input": ["a"] * 1025}, "input", "1024"), ({"normalize": False}, "normalize", "true"),
                ({"max_tokens": 4}, "max_tokens", "max_tokens"), ({"guided_regex": "a"}, "guided_regex", "guided_regex"),
                ({"priority": "x"}, "priority", "integer")):
            error = self.refused(**body)
            self.assertEqual(error["param"], param, error)
            self.assertIn(words, error["message"])
        status, reply = self.server.post("/v1/embeddings", {"input": "a", "model": "another"})
        self.assertEqual((status, reply["error"]["code"]), (404, "model_not_found"))

    def test_defaults_of_other_servers_change_nothing(self):
        self.assertEqual(self.vectors("a", normalize=True, embed_dtype="float32", dimensions=None, priority=0,
                                      encoding_format="float", user=None, endianness="native"), self.vectors("a"))

    def test_a_deadline_and_a_client_that_leaves(self):
        long = [5, 6, 7, 8] * 100000
        status, reply = self.server.post("/v1/embeddings", {"input": long, "deadline_ms": 50})
        self.assertEqual(status, 504, reply)
        with self.server.connect() as connection:
            connection.sendall(post({"input": long}, path="/v1/embeddings"))
            eventually(lambda: self.server.get("/ready")[1]["running"] == 1, lambda: "it does not run")
        self.server.wait_idle()

    def test_the_log_and_the_metrics(self):
        self.embed(["a", "b"], user="somebody")
        line = self.server.log_lines("user=somebody")[0]
        self.assertIn("route=/v1/embeddings", line)
        self.assertIn("finish=stop,stop", line)
        self.assertIn("generated_tokens=0", line)


class FullQueue(WithServer):
    OPTIONS = ("--max-sequences", "1", "--max-queue", "1", "--no-grpc")

    def test_a_long_list_leaves_a_place_to_others(self):
        # The engine has two places: one for the list, one for those who come one after the other.
        replies = []
        texts = ["This is text number %d." % i for i in range(400)]
        thread = threading.Thread(target=lambda: replies.append(self.server.post("/v1/embeddings", {"input": texts})))
        thread.start()
        for i in (0, 1, 399):
            status, reply = self.server.post("/v1/embeddings", {"input": texts[i]})
            self.assertEqual(status, 200, reply)
            replies.append(reply["data"][0]["embedding"])
        thread.join()
        (status, listed), alone = [one for one in replies if isinstance(one, tuple)][0], [
            one for one in replies if isinstance(one, list)]
        self.assertEqual(status, 200, listed)
        self.assertEqual([listed["data"][i]["embedding"] for i in (0, 1, 399)], alone)
        status, reply = self.server.post("/v1/completions", {"prompt": texts[:20], "max_tokens": 2, "ignore_eos": True})
        self.assertEqual(status, 200, reply)
        self.assertEqual(reply["usage"]["completion_tokens"], 40)


class MeanPooling(WithServer):
    OPTIONS = ("--max-sequences", "2", "--embedding-pooling", "mean", "--no-grpc")

    def test_requests_at_once_and_again(self):
        bodies = [{"input": TEXTS[i:] + TEXTS[:i]} for i in range(3)] * 2
        replies = [None] * len(bodies)

        def ask(i):
            replies[i] = self.server.post("/v1/embeddings", bodies[i])[1]["data"]

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(bodies))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alone = [self.server.post("/v1/embeddings", {"input": text})[1] for text in TEXTS]
        self.assertEqual(alone[2]["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
        for i, reply in enumerate(replies):
            for place, one in enumerate(reply):
                self.assertEqual(one["embedding"], alone[(i + place) % 3]["data"][0]["embedding"])


if __name__ == "__main__":
    harness.main()
