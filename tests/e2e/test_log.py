# SPDX-License-Identifier: Apache-2.0
"""test_log.py - the local log as a program meets it: kill -9 at any moment, and `quern log` on what is left.

A small program (tests/fault/tool_log.c) appends from several threads and prints what was acknowledged; it is killed at
seeded moments, also while it recovers. Held after each kill: every acknowledged event is there, in order, the bytes
are right, and nothing is there in part. QUERN_LONG=1 kills a thousand times.
"""
import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(os.environ["QUERN_ROOT"])
BUILD = Path(os.environ["QUERN_BUILD"])
QUERN = BUILD / "quern"
KILLS = int(os.environ.get("QUERN_KILLS") or (1000 if os.environ.get("QUERN_LONG") else 30))
THREADS = 3


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    out = tmp_path_factory.mktemp("tool") / "tool_log"
    libs = [str(BUILD / f"libqn_{room}.a") for room in ("log", "base")]
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-fno-lto", f"-I{ROOT / 'src'}",
                    str(ROOT / "tests/fault/tool_log.c"), "-Wl,--start-group", *libs, "-Wl,--end-group", "-lxxhash",
                    "-lz", "-lzstd", "-llz4", "-lpthread", "-lm", "-o", str(out)], check=True)
    return out


def run_and_kill(tool, folder, seconds):
    """What was acknowledged before the kill: {thread: number of events}."""
    p = subprocess.Popen([str(tool), "append", str(folder), str(THREADS)], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    chunks = []
    reader = threading.Thread(target=lambda: chunks.append(p.stdout.read()))
    reader.start()
    time.sleep(seconds)
    p.send_signal(signal.SIGKILL)
    words = p.stderr.read().decode()
    reader.join()
    p.wait()
    assert p.returncode == -signal.SIGKILL, words
    acknowledged = {}
    for line in chunks[0].decode().split("\n")[:-1]:
        thread, number = line.split()
        acknowledged[f"topic {thread}"] = int(number)
    return acknowledged


def held(tool, folder):
    done = subprocess.run([str(tool), "check", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in done.stdout.splitlines()}


def test_killed_at_any_moment(tool, tmp_path):
    seed = int(os.environ.get("QUERN_SEED", "17"))
    print(f"seed {seed}, {KILLS} kills")
    rng = random.Random(seed)
    folder = tmp_path / "log"
    total = {}
    for kill in range(KILLS):
        for topic, number in run_and_kill(tool, folder, rng.choice((0.002, 0.01, 0.05, 0.15)) * rng.random()).items():
            total[topic] = max(number, total.get(topic, 0))
        if not any(folder.glob("*.seg")):
            assert not total
            continue
        there = held(tool, folder)
        for topic, number in total.items():
            assert there.get(topic, 0) >= number, f"kill {kill}: {topic}: {number} acknowledged, {there} held"
        total = there
    assert sum(total.values()) > 0


def quern(*words):
    return subprocess.run([str(QUERN), "log", *map(str, words)], capture_output=True, text=True, check=False)


def test_command(tool, tmp_path):
    folder = tmp_path / "data" / "log"
    folder.parent.mkdir()
    there = {}
    while sum(there.values()) < 200:
        run_and_kill(tool, folder, 0.3)
        there = held(tool, folder)
    for where in (folder, folder.parent):
        done = quern(where, "--verify")
        assert done.returncode == 0, done.stderr
        assert ": 0 damaged" in done.stdout
        for topic, count in there.items():
            assert topic in done.stdout and f"[0, {count}), {count} records" in done.stdout
        assert "stage 0 consumed up to" in done.stdout
    done = quern(folder, "--print", "topic 1", "--from", 3, "--limit", 4)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["offset"] for r in rows] == [3, 4, 5, 6]
    assert all(r["value"].startswith(f"{r['offset']:016}") and r["key"] is None for r in rows)
    assert rows[0]["event_time"].startswith("1970-01-01T00:00:00.0000")
    assert len(quern(folder, "--print", "topic 1").stdout.splitlines()) == there["topic 1"]
    done = quern(folder, "--print", "nobody")
    assert done.returncode == 1 and "there is no topic 'nobody'" in done.stderr
    done = quern(folder, "--print", "topic 1", "--from", 10**9)
    assert done.returncode == 1 and "is not there: the topic has [0, " in done.stderr
    done = quern(tmp_path)
    assert done.returncode == 1 and "there is no log in" in done.stderr
    segment = min(folder.glob("*.seg"))
    whole = segment.read_bytes()
    segment.write_bytes(whole[:8192 + 70] + bytes([whole[8192 + 70] ^ 1]) + whole[8192 + 71:])
    done = quern(folder, "--verify")
    assert done.returncode in (1, 3)
    assert segment.name in done.stderr and "byte 8192" in done.stderr
