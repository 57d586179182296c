# SPDX-License-Identifier: Apache-2.0
"""A running pipeline is killed at random moments; nothing acknowledged is lost, doubled or changed (tests/fault).

QUERN_LONG=1 kills ten thousand times, in rounds with a log of their own: a log that only grew would spend the hours on
replaying it where the snapshots were lost.
"""
import os
import random
import shutil
import sys

import pytest

from fraud_data import QUERN, ROOT

sys.path.insert(0, str(ROOT / "tests" / "fault"))
from kill_run import KillRun  # noqa: E402

ROUNDS = 20 if os.environ.get("QUERN_LONG") else 1


@pytest.mark.parametrize("round", range(ROUNDS))
@pytest.mark.parametrize("threads,kills,memory", [(1, 120 if ROUNDS == 1 else 250, None),
                                                  (2, 80 if ROUNDS == 1 else 250, "150KB")])
def test_killed_at_random_moments(tmp_path, threads, kills, memory, round):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    run = KillRun(tmp_path, str(QUERN), seed, threads, memory)
    try:
        run.torment(kills, clients=4)
        print(run.check())
    finally:
        if run.process.poll() is None:
            run.process.kill()
    shutil.rmtree(tmp_path)  # where it failed, it stays
