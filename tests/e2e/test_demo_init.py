# SPDX-License-Identifier: Apache-2.0
"""test_demo_init.py - the first minutes of a newcomer: demo, its files, and a first spec from own events."""
import json
import os
import subprocess
from pathlib import Path

import pytest

QUERN = Path(os.environ["QUERN_BUILD"]) / "quern"
ROOT = Path(os.environ["QUERN_ROOT"])
PATIENCE_S = 60


def quern(*words, stdin="", cwd=None, code=0):
    done = subprocess.run([str(QUERN), *map(str, words)], input=stdin, text=True, cwd=cwd, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=PATIENCE_S, env=dict(os.environ, NO_COLOR="1"))
    assert done.returncode == code, done.stderr
    return done


def test_demo_ends_by_itself_and_counts_add_up():
    done = quern("demo", "--events", 5000, "--rate", 0, "--threads", 2)
    text = done.stdout + done.stderr
    assert "5,000" in text or "5000" in text, text
    assert "alerts" in text and "precision" in text, text


def test_demo_events_are_a_function_of_the_seed(tmp_path):
    size = ("--events", 2000, "--customers", 50, "--terminals", 100)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        quern("demo", "--write-events", tmp_path / name, "--seed", seed, *size)
    a, b, c = ((tmp_path / n).read_bytes() for n in "abc")
    assert a == b and a != c
    rows = [json.loads(line) for line in a.splitlines()]
    assert len(rows) == 2000
    times = [r["created_at"] for r in rows]
    assert times == sorted(times), "time goes forward"
    assert len({r["transaction_id"] for r in rows}) == 2000
    assert len({r["customer_id"] for r in rows}) <= 50 and len({r["terminal_id"] for r in rows}) <= 100
    stdout = quern("demo", "--write-events", "-", "--seed", 1, *size).stdout
    assert stdout.encode() == a


def test_demo_options_shape_the_events(tmp_path):
    quern("demo", "--write-events", tmp_path / "e", "--events", 0, "--days", 2, "--customers", 30, "--terminals", 40,
          "--radius", 20, "--start", "2020-02-28")
    days = {json.loads(line)["created_at"][:10] for line in (tmp_path / "e").read_text().splitlines()}
    assert days == {"2020-02-28", "2020-02-29"}
    assert "days" in quern("demo", "--days", "-1", code=2).stderr


def test_demo_files_are_those_of_the_example_and_work(tmp_path):
    quern("demo", "--write-files", tmp_path)
    for name in ("card-fraud.yaml", "fraud.ubj"):
        assert (tmp_path / name).read_bytes() == (ROOT / "examples/card-fraud" / name).read_bytes()
    quern("demo", "--write-events", tmp_path / "events.ndjson", "--events", 500)
    done = quern("pipe", tmp_path / "card-fraud.yaml", "--input", tmp_path / "events.ndjson", "--quiet")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 500 and all(0 < r["score"] < 1 and len(r["features"]) == 14 for r in rows)


@pytest.mark.parametrize("format_name", ["ndjson", "csv"])
def test_init_writes_a_spec_that_checks_and_runs(tmp_path, format_name):
    events = tmp_path / f"payments.{format_name}"
    rows = [{"payment_id": f"p{i}", "paid_at": f"2024-05-01T10:{i // 60:02}:{i % 60:02}Z", "customer_id": f"c{i % 7}",
             "amount": f"{i}.50", "express": i % 2 == 0} for i in range(300)]
    if format_name == "ndjson":
        events.write_text("".join(json.dumps(dict(r, amount=float(r["amount"]))) + "\n" for r in rows))
    else:
        events.write_text("\n".join([",".join(rows[0])] + [",".join(str(v).lower() if v in (True, False) else v
                                                                    for v in r.values()) for r in rows]) + "\n")
    spec = tmp_path / "spec.yaml"
    quern("init", events, "--output", spec, "--name", "shop", "--stream", "payments", "--sample", 100,
          "--format", format_name)
    text = spec.read_text()
    assert "name: shop" in text and "payments:" in text and "timestamp" in text
    assert "error" not in quern("check", spec).stderr
    done = quern("pipe", spec, "--input", events)
    assert "300 scored, 0 late, 0 dead" in done.stderr, done.stderr
    assert len(done.stdout.splitlines()) == 300


def test_init_does_not_write_over_a_spec(tmp_path):
    events, spec = tmp_path / "e.ndjson", tmp_path / "spec.yaml"
    events.write_text('{"id": "1", "at": "2024-05-01T10:00:00Z", "amount": 1}\n')
    spec.write_text("precious\n")
    assert quern("init", events, "--output", spec, code=1).stderr
    assert spec.read_text() == "precious\n"
    quern("init", events, "--output", spec, "--force")
    assert "quern: 1" in spec.read_text()


def test_demo_is_a_pipeline_and_leaves_nothing_behind(tmp_path):
    done = subprocess.run([str(QUERN), "demo", "--events", "3000", "--rate", "0", "--http", "127.0.0.1:0"],
                          text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=PATIENCE_S, env=dict(os.environ, NO_COLOR="1", TMPDIR=str(tmp_path)))
    assert done.returncode == 0, done.stderr
    assert "dashboard: http://127.0.0.1:" in done.stderr
    assert "3,000 scored, 0 late, 0 dead, 0 shed" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_demo_of_the_engine_alone():
    done = quern("demo", "--engine-only", "--events", 5000, "--rate", 0, "--threads", 2)
    assert "the engine worked for" in done.stdout and "5,000 scored" in done.stdout
    assert "dashboard" not in done.stderr
