# SPDX-License-Identifier: Apache-2.0
"""A pipeline runs at a steady rate, an hour of it with --long: nothing grows, slows down or is lost (tests/fault)."""
import os
import sys

from fraud_data import QUERN, ROOT

sys.path.insert(0, str(ROOT / "tests" / "fault"))
from soak_run import SoakRun  # noqa: E402


def test_soak(tmp_path):
    if os.environ.get("QUERN_LONG"):
        run = SoakRun(tmp_path, str(QUERN), seconds=3600)
    else:  # large events, so that segments come and go
        run = SoakRun(tmp_path, str(QUERN), seconds=16, rate=1000, note=6000, window=1, keep=2)
    try:
        run.soak()
        assert run.check() == []
    finally:
        if run.process.poll() is None:
            run.process.kill()
