# SPDX-License-Identifier: Apache-2.0
"""Three times what the engine can do is offered, a minute long with --long: refused, not lost (tests/fault)."""
import os
import sys

from fraud_data import QUERN, ROOT

sys.path.insert(0, str(ROOT / "tests" / "fault"))
from overload_run import OverloadRun  # noqa: E402


def test_overload(tmp_path):
    run = OverloadRun(tmp_path, str(QUERN), seconds=60 if os.environ.get("QUERN_LONG") else 4)
    try:
        run.overload()
        print(run.check())
    finally:
        if run.process and run.process.poll() is None:
            run.process.kill()
