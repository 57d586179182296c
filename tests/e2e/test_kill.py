# SPDX-License-Identifier: Apache-2.0
"""A running pipeline is killed at random moments; nothing acknowledged is lost, doubled or changed (tests/fault)."""
import os
import random
import sys

import pytest

from fraud_data import QUERN, ROOT

sys.path.insert(0, str(ROOT / "tests" / "fault"))
from kill_run import KillRun  # noqa: E402

LONG = os.environ.get("QUERN_LONG")


@pytest.mark.parametrize("threads,kills", [(1, 5000 if LONG else 120), (2, 5000 if LONG else 80)])
def test_killed_at_random_moments(tmp_path, threads, kills):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    run = KillRun(tmp_path, str(QUERN), seed, threads)
    try:
        run.torment(kills, clients=4)
        print(run.check())
    finally:
        if run.process.poll() is None:
            run.process.kill()
