# SPDX-License-Identifier: Apache-2.0
"""test_killed.py - kill -9 in the middle of a run with files: what docs/limits.md promises about what is left behind.

Every file holds a prefix of what the whole run writes; only its last line may be cut. A second run leaves the same
bytes as if nothing had happened. The moments are sizes of the output file, drawn from QUERN_SEED, not times."""
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

QUERN = Path(os.environ.get("QUERN_BUILD", Path(__file__).resolve().parents[2] / "build")) / "quern"
SEED = int(os.environ.get("QUERN_SEED", "9"))
EVENTS = 60_000
KILLS = 6
SPEC = """quern: 1
name: orders
streams:
  orders:
    id: order_id
    time: at
    fields: {order_id: int64, at: {type: timestamp, unit: s}, customer: string, amount: {type: decimal(2), min: 1}}
features:
  orders_1h: count() by customer over 1h
  spent_1h: sum(amount) by customer over 1h
outputs:
  predictions: {include: [features]}
  large: {when: amount > 250}
"""
FILES = ("predictions", "large", "dead")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    (folder / "spec.yaml").write_text(SPEC)
    with (folder / "events.ndjson").open("w") as f:
        for i in range(EVENTS):
            f.write('{"order_id":%d,"at":%d,"customer":"c%d","amount":%d.5}\n' % (i, i, i * 7919 % 977, i * 31 % 300))
    run(folder, "whole").wait(60)
    assert (folder / "whole.large").stat().st_size > 0 < (folder / "whole.dead").stat().st_size
    return folder


def run(folder, name, threads=1):
    return subprocess.Popen([str(QUERN), "pipe", "spec.yaml", "--input", "events.ndjson", "--quiet", "--threads",
                             str(threads), "--output", f"predictions={name}.predictions", "--output",
                             f"large={name}.large", "--dead", f"{name}.dead"], cwd=folder)


@pytest.mark.parametrize("kill", range(KILLS))
def test_what_a_killed_run_leaves_is_a_prefix(work, kill):
    print("seed", SEED)
    rng = random.Random(SEED * 1000 + kill)
    whole = {f: (work / f"whole.{f}").read_bytes() for f in FILES}
    moment = rng.randrange(len(whole["predictions"]))
    out = work / "killed.predictions"
    out.unlink(missing_ok=True)
    p = run(work, "killed", threads=1 + kill % 2)
    while p.poll() is None and not (out.exists() and out.stat().st_size > moment):
        pass
    p.send_signal(signal.SIGKILL)
    assert p.wait(60) in (0, -signal.SIGKILL)
    for f in FILES:
        assert whole[f].startswith((work / f"killed.{f}").read_bytes()), f
    assert run(work, "killed").wait(60) == 0
    for f in FILES:
        assert whole[f] == (work / f"killed.{f}").read_bytes(), f
