#!/usr/bin/env python3
"""Schemathesis, unmodified, asks what GET /openapi.json describes: valid and invalid requests to every path. No answer
may be undescribed (status, type, headers, schema), no invalid request accepted, and none a server's error.

    python schemathesis_test.py --binary build/release/bin/deltaserve --model models/bundled \\
        [--examples 200 [--seed 7]]

Without --examples it is the test of CI: few random requests to each path, always the same. With it, it also tries every
boundary of every member's schema (Schemathesis's phase "coverage"), about 7,000 requests.
"""

import pathlib
import subprocess
import sys
import tempfile

import harness
from harness import WithServer

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance",
          "missing_required_header")
EXAMPLES = 12
SEED = 20261201
# A deadline that a request sets may pass.
CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 504]
"""


class Schemathesis(WithServer):
    OPTIONS = ("--max-sequences", "4", "--max-tokens-default", "8")

    def test_the_server_does_what_its_description_says(self):
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder) / "schemathesis.toml"
            config.write_text(CONFIG)
            done = subprocess.run(
                [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run",
                 self.server.url + "/openapi.json", "--checks", ",".join(CHECKS), "--phases", PHASES, "--seed",
                 str(SEED), "--max-examples", str(EXAMPLES), "--generation-database", "none", "--continue-on-failure",
                 "--no-color", "--no-shrink", "--request-timeout", str(harness.PATIENCE)],
                cwd=folder, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"Operations: +17 selected / 17 total")
        if PHASES != "fuzzing":
            print(done.stdout)


PHASES = "fuzzing"
if __name__ == "__main__":
    for option in ("--examples", "--seed"):
        if option in sys.argv:
            at = sys.argv.index(option)
            if option == "--examples":
                EXAMPLES, PHASES = int(sys.argv[at + 1]), "coverage,fuzzing"
            else:
                SEED = int(sys.argv[at + 1])
            del sys.argv[at:at + 2]
    harness.main()
