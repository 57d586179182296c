# SPDX-License-Identifier: Apache-2.0
"""test_cli.py - what golden cases cannot hold: answers with times in them, pipes that stay open, readers that leave."""
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

QUERN = Path(os.environ["QUERN_BUILD"]) / "quern"
SPEC = """quern: 1
name: orders
main: orders
streams:
  orders:
    id: order_id
    time: at
    fields:
      order_id: string
      at: timestamp
      customer: string
      position: {type: list(double), length: 2, optional: true}
features: {orders_1h: count() by customer over 1h}
outputs:
  predictions: {to: topic, include: [features]}
"""
PATIENCE_S = 30


def event(i, customer="anna"):
    return json.dumps({"order_id": str(i), "at": f"2024-05-01T10:{i // 60 % 60:02}:{i % 60:02}Z", "customer": customer})


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


def pipe(spec, *options, **more):
    return subprocess.Popen([str(QUERN), "pipe", str(spec), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=dict(os.environ, NO_COLOR="1"), **more)


def test_answers_when_the_input_pauses(spec):
    """`tail -f | quern pipe`: each event is answered while the pipe stays open."""
    p = pipe(spec)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(iter(p.stdout.readline, "")), daemon=True)
    reader.start()
    try:
        for i in range(3):
            p.stdin.write(event(i) + "\n")
            p.stdin.flush()
            end = time.monotonic() + PATIENCE_S
            while len(lines) <= i and time.monotonic() < end:
                time.sleep(0.005)
            assert len(lines) == i + 1, "no answer while the input pauses"
            assert json.loads(lines[i])["features"]["orders_1h"] == i + 1
        p.stdin.close()
        assert p.wait(PATIENCE_S) == 0
    finally:
        p.kill()


def test_half_a_line_waits_for_its_end(spec):
    p = pipe(spec)
    text = event(1)
    p.stdin.write(text[:20])
    p.stdin.flush()
    time.sleep(0.1)
    p.stdin.write(text[20:] + "\n")
    out, err = p.communicate(timeout=PATIENCE_S)
    assert p.returncode == 0 and len(out.splitlines()) == 1, err


def test_a_reader_that_leaves_ends_the_run_quietly(spec, tmp_path):
    many = tmp_path / "many.ndjson"
    many.write_text("".join(event(i) + "\n" for i in range(50000)))
    with many.open() as lines:
        p = subprocess.Popen([str(QUERN), "pipe", str(spec)], stdin=lines, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        p.stdout.readline()
        p.stdout.close()
        err = p.stderr.read()
        code = p.wait(PATIENCE_S)
    assert code in (0, 1, -signal.SIGPIPE) and "assert" not in err and len(err.splitlines()) <= 2, (code, err)


def test_an_interrupt_ends_with_130_and_whole_lines(spec):
    p = pipe(spec)
    p.stdin.write(event(1) + "\n")
    p.stdin.flush()
    first = p.stdout.readline()
    p.send_signal(signal.SIGINT)
    assert p.wait(PATIENCE_S) == 130
    assert json.loads(first)["id"]
    assert p.stdout.read() == ""


def test_timing_says_where_the_time_went(spec):
    for command in (["pipe", str(spec), "--timing", "--quiet"],
                    ["features", str(spec), "--input", "-", "--output", "-", "--timing", "--quiet"]):
        done = subprocess.run([str(QUERN), *command], input=event(1) + "\n" + event(2) + "\n", text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        timing = json.loads(next(s for s in done.stderr.splitlines() if "{" in s).split(": ", 1)[-1]
                            if not done.stderr.startswith("{") else done.stderr)
        assert timing["events"] == 2
        stages = [v for k, v in timing.items() if k.endswith("_ns") and k != "total_ns"]
        assert len(stages) >= 6 and 0 < sum(stages) <= timing["total_ns"]


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_the_batch_shows_in_no_answer(spec, rows):
    events = "".join(event(i, f"c{i % 5}") + "\n" for i in range(500))
    answers = {subprocess.run([str(QUERN), "pipe", str(spec), "--batch", b, "--threads", t, "--quiet"], input=events,
                              text=True, stdout=subprocess.PIPE, check=True, timeout=PATIENCE_S).stdout
               for b in (str(rows), "0") for t in ("1", "2")}
    assert len(answers) == 1 and len(answers.pop().splitlines()) == 500


def test_version_and_help_go_to_stdout():
    for words in (["version"], ["--help"], ["pipe", "--help"], ["help"]):
        done = subprocess.run([str(QUERN), *words], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0 and done.stdout and not done.stderr, words


def test_a_full_disk_is_said_and_fails(spec):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    with open("/dev/full", "w") as full:
        done = subprocess.run([str(QUERN), "pipe", str(spec)], input=event(1) + "\n", text=True, stdout=full,
                              stderr=subprocess.PIPE, timeout=PATIENCE_S)
    assert done.returncode == 1 and "no space left" in done.stderr.lower()
