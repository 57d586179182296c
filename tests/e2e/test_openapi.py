# SPDX-License-Identifier: Apache-2.0
"""test_openapi.py - what /openapi.json promises, tried out by schemathesis on a running pipeline: hundreds of
requests, right and wrong, made from the document alone."""
import subprocess
import sys

import pytest

from running import Running

pytest.importorskip("schemathesis")


# Events are more than the document says of them (the contract of the stream), so a valid one may be rejected.
@pytest.mark.parametrize("method, excluded", [("GET", []), ("POST", ["--exclude-checks", "positive_data_acceptance"])])
def test_the_document_and_the_server_agree(tmp_path, method, excluded):
    r = Running(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{r.port}/openapi.json", "--no-color",
         "--generation-deterministic", "--max-examples", "20", "--include-method", method, *excluded,
         "--exclude-path", "/v1/live",  # never ends
         "--phases", "examples,coverage,fuzzing", "--checks", "all", "--continue-on-failure"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert r.stop() == 0
