#!/usr/bin/env python3
"""Models by their names: downloads from a stand-in of the Hub into a cache that huggingface_hub shares.

    python hub_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

import json
import os
import pty
import signal
import subprocess
import tempfile
import threading
import unittest

import huggingface_hub

import harness
from hub_stand_in import COMMIT, HubStandIn, Model

NAME = "org/tiny"
TOKEN = "hf_a_secret"
OTHER_COMMIT = "f" * 40
WEIGHTS = "model.safetensors"
# A repository has these, and nothing here reads them.
NOT_WANTED = {"README.md": b"words", "pytorch_model.bin": b"a program", "onnx/model.onnx": b"x", "modeling.py": b"x"}


def bundled_files():
    files = {}
    for name in os.listdir(harness.MODEL):
        with open(os.path.join(harness.MODEL, name), "rb") as file:
            files[name] = file.read()
    return files


class Hub(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = folder.name
        self.cache = os.path.join(self.home, "hub")
        self.model = Model({**bundled_files(), **NOT_WANTED})
        self.hub = HubStandIn(org__tiny=self.model)
        self.addCleanup(self.hub.__exit__)

    # -- what the tests do

    def environment(self, **variables):
        others = ("HF_", "HUGGING", "CURL_CA", "SSL_CERT", "REQUESTS_CA")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        return {**kept, "HF_HOME": self.home, "HF_ENDPOINT": self.hub.url, **variables}

    def run_binary(self, *arguments, cwd=None, **variables):
        return subprocess.run([harness.BINARY, *arguments], capture_output=True, text=True, cwd=cwd, timeout=120,
                              env=self.environment(**variables))

    def pull(self, name=NAME, **variables):
        result = self.run_binary("pull", name, **variables)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout.strip()

    def refused(self, *wanted, name=NAME, **variables):
        """Pulls what cannot be had: one sentence, with these words."""
        result = self.run_binary("pull", name, **variables)
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertEqual(result.stderr.count("deltaserve: "), 1, result.stderr)
        self.assertTrue(result.stderr.splitlines()[-1].startswith("deltaserve: "), result.stderr)
        for words in wanted:
            self.assertIn(words, result.stderr)
        return result.stderr

    def generate(self, *arguments, **options):
        result = self.run_binary("generate", "--prompt", "Once upon a time", "--max-tokens", "4", "--temperature",
                                 "0", *arguments, **options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def blob(self, path, ending=""):
        return os.path.join(self.cache, "models--org--tiny", "blobs", self.model.blob(path) + ending)

    def make_snapshot(self):
        return huggingface_hub.snapshot_download(NAME, endpoint=self.hub.url, cache_dir=self.cache, token=False)

    # -- the cache and its sharing

    def test_what_is_pulled_is_what_is_needed(self):
        folder = self.pull()
        wanted = {name for name in bundled_files() if name != "README.md"}
        self.assertEqual(set(os.listdir(folder)), wanted)
        for name in wanted:
            path = os.path.join(folder, name)
            self.assertEqual(os.readlink(path), "../../blobs/" + self.model.blob(name))
            with open(path, "rb") as file:
                self.assertEqual(file.read(), self.model.files[name])
        with open(os.path.join(self.cache, "models--org--tiny/refs/main")) as file:
            self.assertEqual(file.read(), COMMIT)
        self.assertEqual(folder, os.path.join(self.cache, "models--org--tiny/snapshots", COMMIT))
        self.assertEqual(len(self.hub.requests("/tree/")), len(self.model.files) / 3)  # three a page

    def test_the_hubs_own_tool_finds_what_was_pulled(self):
        folder = self.pull()
        self.hub.log.clear()
        found = huggingface_hub.hf_hub_download(NAME, WEIGHTS, cache_dir=self.cache, local_files_only=True)
        self.assertEqual(found, os.path.join(folder, WEIGHTS))
        self.assertEqual(self.hub.log, [])
        # It fetches what was left out, and nothing that is there.
        self.assertEqual(self.make_snapshot(), folder)
        self.assertEqual(self.hub.requests("/cdn/"), [])
        self.assertTrue(os.path.exists(os.path.join(folder, "README.md")))

    def test_what_the_hubs_own_tool_fetched_is_served(self):
        folder = self.make_snapshot()
        self.hub.log.clear()
        text = self.generate("--model", NAME)
        self.assertEqual(text, self.generate("--model", NAME, "--offline"))
        self.assertEqual(text, self.generate("--model", f"{NAME}@{COMMIT}", HF_HUB_OFFLINE="1"))
        self.assertEqual(text, self.generate("--model", harness.MODEL))
        self.assertEqual(self.hub.log, [])
        self.assertEqual(self.pull(), folder)
        self.assertEqual(self.hub.requests("/resolve/"), [])

    def test_every_command_takes_a_name(self):
        self.assertIn("qdelta", self.run_binary("inspect", NAME).stdout)
        bench = self.run_binary("bench", "--model", NAME, "--prompt", "0", "--generate", "1", "--repeat", "1")
        self.assertEqual(bench.returncode, 0, bench.stderr)
        before = dict(os.environ)
        os.environ.update(self.environment())
        try:
            with harness.Server(model=NAME) as server:
                self.assertEqual(server.model, NAME)
        finally:
            os.environ.clear()
            os.environ.update(before)

    def test_a_path_wins_over_a_name(self):
        os.makedirs(os.path.join(self.home, "org"))
        os.symlink(harness.MODEL, os.path.join(self.home, "org", "tiny"))
        self.generate("--model", NAME, cwd=self.home)
        self.assertEqual(self.hub.log, [])

    def test_a_branch_that_moves(self):
        self.model.revisions |= {"next", "refs/pr/1"}
        self.pull(NAME + "@refs/pr/1")
        with open(os.path.join(self.cache, "models--org--tiny/refs/refs/pr/1")) as file:
            self.assertEqual(file.read(), COMMIT)
        first = self.pull()
        self.model.commit = OTHER_COMMIT
        self.model.revisions.add(OTHER_COMMIT)
        self.model.files["generation_config.json"] += b" "
        self.hub.log.clear()
        self.generate("--model", NAME)
        self.assertEqual(self.hub.log, [])  # the cache wins until it is pulled
        self.assertNotEqual(self.pull(), first)
        self.assertEqual(len(self.hub.requests("/resolve/")), 1)
        self.assertTrue(os.path.exists(os.path.join(first, WEIGHTS)))

    def test_a_snapshot_without_its_weights_is_completed(self):
        huggingface_hub.hf_hub_download(NAME, "config.json", endpoint=self.hub.url, cache_dir=self.cache, token=False)
        result = self.run_binary("inspect", NAME, "--offline")
        self.assertEqual(result.returncode, 1)
        self.assertIn("without its model.safetensors", result.stderr)
        self.generate("--model", NAME)

    def test_shards_are_those_of_the_index(self):
        weights = self.model.files.pop(WEIGHTS)
        size = int.from_bytes(weights[:8], "little")
        tensors = json.loads(weights[8:8 + size])
        shard = "model-00001-of-00001.safetensors"
        index = {"weight_map": {name: shard for name in tensors if name != "__metadata__"}}
        self.model.files.update({WEIGHTS + ".index.json": json.dumps(index).encode(), shard: weights,
                                 "model-00002-of-00002.safetensors": b"of another set"})
        self.generate("--model", NAME)
        self.assertEqual(len(self.hub.requests("/cdn/")), 1)
        index["weight_map"]["more"] = "model-00003-of-00003.safetensors"
        self.model.files[WEIGHTS + ".index.json"] = json.dumps(index).encode()
        self.refused("model-00003-of-00003.safetensors", "index.json names")
        index["weight_map"]["more"] = "../../../etc/x.safetensors"
        self.model.files[WEIGHTS + ".index.json"] = json.dumps(index).encode()
        self.refused("which is not the name of a .safetensors file")

    def test_a_mirror_without_lists_of_files(self):
        self.hub.fault("/tree/", lambda handler: handler.refuse(404, ""))
        folder = self.pull()
        self.assertEqual(os.readlink(os.path.join(folder, WEIGHTS)), "../../blobs/" + self.model.blob(WEIGHTS))

    # -- interruption

    def test_what_was_left_is_continued(self):
        data = self.model.files[WEIGHTS]
        os.makedirs(os.path.dirname(self.blob(WEIGHTS)))
        with open(self.blob(WEIGHTS, ".incomplete"), "wb") as file:
            file.write(data[:5_000_000])
        self.pull()
        self.assertEqual([request.range for request in self.hub.requests("/cdn/")], ["bytes=5000000-"])

    def test_a_cut_connection_is_continued(self):
        data = self.model.files[WEIGHTS]
        self.hub.fault("/cdn/", lambda handler: handler.send(200, data, {}, cut=3_000_000), times=1)
        self.pull()
        ranges = [request.range for request in self.hub.requests("/cdn/")]
        self.assertEqual(len(ranges), 2)
        self.assertRegex(ranges[1], r"bytes=[1-9]\d*-")

    def test_a_server_without_ranges(self):
        data = self.model.files[WEIGHTS]
        os.makedirs(os.path.dirname(self.blob(WEIGHTS)))
        with open(self.blob(WEIGHTS, ".incomplete"), "wb") as file:
            file.write(b"of an older server")
        self.hub.fault("/cdn/", lambda handler: handler.send(200, data, {}))
        self.pull()

    def test_what_was_left_of_another_file_is_dropped(self):
        os.makedirs(os.path.dirname(self.blob(WEIGHTS)))
        with open(self.blob(WEIGHTS, ".incomplete"), "wb") as file:
            file.write(b"not the beginning")
        self.pull()
        self.assertEqual([request.range for request in self.hub.requests("/cdn/")], ["bytes=17-", None])

    def test_an_interrupt_leaves_what_came(self):
        data = self.model.files[WEIGHTS]
        came, go_on = threading.Event(), threading.Event()

        def stall(handler):
            handler.send(200, data[:1_000_000], {}, length=len(data))
            came.set()
            go_on.wait(harness.PATIENCE)

        self.hub.fault("/cdn/", stall, times=1)
        process = subprocess.Popen([harness.BINARY, "pull", NAME], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=self.environment())
        self.assertTrue(came.wait(harness.PATIENCE))
        incomplete = self.blob(WEIGHTS, ".incomplete")
        harness.eventually(lambda: os.path.exists(incomplete) and os.path.getsize(incomplete) == 1_000_000,
                           lambda: "the first bytes did not arrive")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=harness.PATIENCE)
        go_on.set()
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.pull()
        self.assertEqual(self.hub.requests("/cdn/")[-1].range, "bytes=1000000-")

    def test_two_pulls_fetch_once(self):
        command = [harness.BINARY, "pull", NAME]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      env=self.environment()) for _ in range(3)]
        outputs = [process.communicate(timeout=harness.PATIENCE) for process in processes]
        self.assertEqual([process.returncode for process in processes], [0, 0, 0], outputs)
        self.assertEqual(len(self.hub.requests("/cdn/")), 1)

    # -- who is told the token

    def test_the_token_stays_with_the_endpoint(self):
        self.model.token = TOKEN
        self.pull(HF_TOKEN=TOKEN)
        self.assertEqual({request.token for request in self.hub.log if request.server == "hub"}, {TOKEN})
        self.assertEqual({request.token for request in self.hub.log if request.server == "cdn"}, {""})

    def test_the_tokens_file(self):
        self.model.token = TOKEN
        with open(os.path.join(self.home, "token"), "w") as file:
            file.write(TOKEN + "\n")
        self.pull()

    def test_a_token_with_a_line_break_is_sent_to_nobody(self):
        self.refused("HF_TOKEN", HF_TOKEN="a\r\nX-Evil: b")
        self.assertEqual(self.hub.log, [])

    # -- refusals

    def test_refusals_say_what_to_do(self):
        self.refused("has no model org/other", "needs a token", name="org/other")
        self.refused("has no revision 'v9' of org/tiny", name=NAME + "@v9")
        self.refused("is not owner/model", name="tiny")
        self.refused("is not owner/model", name="../tiny")
        self.model.token, self.model.gated = TOKEN, True
        self.refused("org/tiny is gated", f"{self.hub.url}/org/tiny", "HF_TOKEN")
        self.refused("is gated", "account of your token", HF_TOKEN="another")
        self.hub.fault("", lambda handler: handler.refuse(401, "", "Invalid credentials in Authorization header"))
        self.refused("refuses the token", HF_TOKEN="another")

    def test_offline(self):
        self.refused("HF_HUB_OFFLINE", HF_HUB_OFFLINE="1")
        result = self.run_binary("generate", "--model", NAME, "--prompt", "x", "--offline")
        self.assertEqual(result.returncode, 1)
        self.assertIn("there is no folder org/tiny", result.stderr)
        self.assertEqual(self.hub.log, [])

    def test_nobody_answers(self):
        self.refused("onnect", HF_ENDPOINT="http://127.0.0.1:1")
        self.refused("HF_ENDPOINT", HF_ENDPOINT="file:///etc")

    def test_a_model_that_cannot_be_served_is_refused_before_its_weights_come(self):
        config = json.loads(self.model.files["config.json"])
        self.model.files["config.json"] = json.dumps({**config, "unheard_of": 7}).encode()
        self.refused("unheard_of")
        self.assertEqual(self.hub.requests("/cdn/"), [])
        del self.model.files[WEIGHTS]
        self.refused("pytorch_model.bin must become safetensors")
        del self.model.files["config.json"]
        self.refused("has no config.json")

    # -- a hostile server

    def answer_json(self, value):
        return lambda handler: handler.send_json(value)

    def test_paths_that_leave_the_folder(self):
        for path in ("../x", "/etc/passwd", "a/../../x", "a//b", "C:\\x", "x\n", ""):
            entry = {"type": "file", "path": path, "size": 1, "oid": "0" * 40}
            self.hub.fault("/tree/", self.answer_json([entry]), times=1)
            self.refused("no path inside the model's folder")

    def test_entries_that_are_none(self):
        entry = self.model.entry(WEIGHTS)
        for wrong, words in (({"size": -1}, "size"), ({"size": 1 << 60}, "size"), ({"oid": "../x", "lfs": None}, "hash"),
                             ({"lfs": {"oid": "a/b", "size": 1}}, "SHA-256")):
            self.hub.fault("/tree/", self.answer_json([{**entry, **({} if "size" not in wrong else {"lfs": None}),
                                                        **wrong}]), times=1)
            self.refused(words)
        self.hub.fault("/tree/", self.answer_json([7]), times=1)
        self.refused("no object")
        self.hub.fault("/revision/", self.answer_json({"sha": "../../x"}), times=1)
        self.refused("which commit")

    def test_endless_answers(self):
        def endless_list(handler):
            handler.send(200, b"", {}, length=1 << 40)
            while not handler.wfile.closed:
                handler.wfile.write(b"[" * 65536)

        self.hub.fault("/tree/", endless_list, times=1)
        self.refused("more than 16777216 bytes")
        here = f"/api/models/{NAME}/tree/{COMMIT}?again"
        self.hub.fault("/tree/", lambda handler: handler.send_json([], {"Link": f'<{here}>; rel="next"'}))
        self.refused("more than 256 pages")

    def test_redirects_that_do_not_end(self):
        self.hub.fault("/revision/", lambda handler: handler.send(302, b"", {"Location": handler.path}))
        self.refused("redirects more than 8 times")

    def test_redirects_elsewhere(self):
        for address in ("file:///etc/passwd", "ftp://127.0.0.1/x", ""):
            self.hub.fault("/cdn/", lambda handler: handler.send(302, b"", {"Location": address}), times=1)
            self.refused("redirects to")

    def test_https(self):
        pem = os.path.join(self.home, "hub.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-keyout", pem, "-out", pem + ".crt", "-subj", "/CN=hub", "-days", "2",
                        "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        with open(pem, "a") as both, open(pem + ".crt") as certificate:
            both.write(certificate.read())
        with HubStandIn(pem, org__tiny=self.model) as hub:
            self.refused("certificate", HF_ENDPOINT=hub.url)
            self.assertEqual(hub.log, [])
            # It does not leave HTTPS for the server of the large files, which has none.
            self.refused("redirects to 'http://", HF_ENDPOINT=hub.url, SSL_CERT_FILE=pem + ".crt")
            self.assertEqual([request.server for request in hub.requests("/cdn/")], [])
            hub.fault("/resolve/.*safetensors", lambda handler: handler.send_file(self.model.files[WEIGHTS]))
            self.pull(HF_ENDPOINT=hub.url, SSL_CERT_FILE=pem + ".crt")

    def test_files_that_are_not_what_the_list_says(self):
        data = self.model.files[WEIGHTS]
        lies = [(lambda handler: handler.send(200, data + b"x", {}), "sends 9405481 bytes"),
                (lambda handler: handler.send(200, data[:100], {}), "sends 100 bytes"),
                (lambda handler: handler.send(200, b"\0" * len(data), {}), "SHA-256")]
        for answer, words in lies:
            self.hub.fault("/cdn/", answer, times=1)
            self.refused(words)
            self.assertFalse(os.path.exists(self.blob(WEIGHTS)))

    def test_a_body_without_an_end(self):
        def endless(handler):
            handler.send_response(200)
            handler.send_header("Connection", "close")
            handler.end_headers()
            handler.close_connection = True
            while True:
                handler.wfile.write(b"\0" * 65536)

        self.hub.fault("/cdn/", endless, times=1)
        self.refused("sends more of 'model.safetensors' than the 9405480 bytes")

    def test_a_disk_that_is_too_small(self):
        entries = [self.model.entry(path) for path in self.model.files if path != WEIGHTS]
        large = {**self.model.entry(WEIGHTS), "lfs": {"oid": "0" * 64, "size": 1 << 41}}
        self.hub.fault("/tree/", self.answer_json([*entries, large]))
        self.refused("the download needs 2199023255552 bytes")
        self.assertEqual(self.hub.requests("/cdn/"), [])

    # -- what is shown

    def test_lines_where_there_is_no_terminal(self):
        result = self.run_binary("pull", NAME)
        self.assertRegex(result.stderr, r"fetched model\.safetensors: 9\.0 MiB, .* MiB/s\n")
        self.assertNotIn("\r", result.stderr)

    def test_a_bar_on_a_terminal(self):
        ours, theirs = pty.openpty()
        process = subprocess.Popen([harness.BINARY, "pull", NAME], stdout=subprocess.DEVNULL, stderr=theirs,
                                   env=self.environment())
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:
            pass  # the other side is closed
        os.close(ours)
        self.assertEqual(process.wait(harness.PATIENCE), 0)
        self.assertRegex(shown.decode(), r"\rmodel\.safetensors \[#{24}\] 100 %, 9\.0 MiB of 9\.0 MiB, .*/s")


if __name__ == "__main__":
    harness.main()
