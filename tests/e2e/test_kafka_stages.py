# SPDX-License-Identifier: Apache-2.0
"""Features by several keys with `log: kafka:`: stages joined by topics, against a real broker."""
import hashlib
import json
import os
import random
import time

from kafka_run import Process
from kafka_stages import all_caught_up, cards, compare, groups, hops, pipe, spec

SEED = int(os.environ.get("QUERN_SEED", "7"))
LONG = bool(os.environ.get("QUERN_LONG"))


def finish(processes, broker, topic, partitions, seconds=120):
    end = time.monotonic() + seconds
    while not all_caught_up(broker, topic, partitions):
        assert time.monotonic() < end, "\n".join(p.said() for p in processes)
        for p in processes:
            assert p.process.poll() is None, p.said()
        time.sleep(0.1)
    for p in processes:
        assert p.stop() == 0, p.said()


def digest(records):
    return hashlib.sha256(b"".join(r + b"\n" for r in records)).hexdigest()


def test_one_partition(kafka, tmp_path):
    """One partition everywhere keeps the order: byte for byte what `quern pipe` says, over a stop in between."""
    topic = "staged"
    kafka.create(topic, 1)
    rng, text = random.Random(SEED), spec(kafka, topic)
    p = Process(tmp_path, text)
    p.ready()
    kafka.produce(topic, cards(rng, 0, 3000, 1))
    finish([p], kafka, topic, 1)
    kafka.produce(topic, cards(rng, 3000, 2000, 1))
    p.start()
    p.ready()
    assert p.said().count("restored") == 2
    finish([p], kafka, topic, 1)
    events, = kafka.consume(topic)
    want = pipe(tmp_path, text, [m.value() for m in events], "all")
    got, = kafka.consume(f"{topic}.predictions")
    assert digest([m.value() for m in got]) == digest(want)
    assert len(want) > 4500
    large, = kafka.consume(f"{topic}.large")
    assert [m.value() for m in large] == (tmp_path / "large.ndjson").read_bytes().splitlines()
    dead, = kafka.consume(f"{topic}.dead")
    want = [json.loads(line)["event"].encode() for line in (tmp_path / "dead.ndjson").read_bytes().splitlines()]
    assert [m.value() for m in dead] == want
    by_offset = {m.offset(): m for m in events}
    for m in got:  # key and headers are the event's
        original = by_offset[int(json.loads(m.value())["id"].split(":")[-1])]
        assert m.key() == original.key() and m.headers() == original.headers()
    between, = hops(kafka, f"{topic}.terminal.rekey")
    assert all(h.message_key == (json.loads(h.event)["terminal"] or "").encode() or
               (h.message_key is None and json.loads(h.event)["terminal"] is None) for h in between)


def test_four_partitions(kafka, tmp_path):
    """Against windows over each topic's real order; the second run begins without snapshots."""
    topic = "staged4"
    kafka.create(topic, 4)
    rng, text = random.Random(SEED), spec(kafka, topic, late="fold")
    p = Process(tmp_path, text, options=("--threads", "2"))
    p.ready()
    kafka.produce(topic, cards(rng, 0, 4000, 4))
    finish([p], kafka, topic, 4)
    for file in (tmp_path / "snapshots").rglob("*"):
        if file.is_file():
            file.unlink()
    kafka.produce(topic, cards(rng, 4000, 2000, 4))
    p.start()
    p.ready()
    status = p.get("/v1/status").json
    assert [s["group"] for s in status["log"]["stages"]] == [g for g, _ in groups(topic)]
    finish([p], kafka, topic, 4)
    assert compare(kafka, tmp_path, text, topic) > 5000
