# SPDX-License-Identifier: Apache-2.0
"""Features by several keys with `log: kafka:`: stages joined by topics, against a real broker."""
import hashlib
import json
import os
import random
import re
import subprocess
import time

import pytest

import kafka_broker
import kafka_run
from fraud_data import QUERN
from kafka_run import Process
from kafka_stages import MORE, Writer, cards, compare, finish, groups, hops, pipe, spec

SEED = int(os.environ.get("QUERN_SEED", "7"))
LONG = bool(os.environ.get("QUERN_LONG"))
KILLS = 40 if LONG else 4


def digest(records):
    return hashlib.sha256(b"".join(r + b"\n" for r in records)).hexdigest()


def forget_snapshots(folder):
    for file in (folder / "snapshots").rglob("*"):
        if file.is_file() and file.name != "lock":
            file.unlink()


def test_one_partition(kafka, tmp_path):
    """One partition everywhere keeps the order: byte for byte what `quern pipe` says, over a stop in between."""
    topic = "staged"
    kafka.create(topic, 1)
    rng, text = random.Random(SEED), spec(kafka, topic)
    p = Process(tmp_path, text)
    p.ready()
    kafka.produce(topic, cards(rng, 0, 3000, 1))
    finish([p], kafka, text, topic)
    kafka.produce(topic, cards(rng, 3000, 2000, 1))
    p.start()
    p.ready()
    assert p.said().count("restored") == 2
    finish([p], kafka, text, topic)
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
    for h in hops(kafka, f"{topic}.terminal.rekey")[0]:
        terminal = json.loads(h.event)["terminal"]
        assert h.message_key == (terminal and terminal.encode())


def test_three_stages(kafka, tmp_path):
    """Four partitions, windows of each key over its topic's real order; the second run begins without snapshots."""
    topic = "staged4"
    kafka.create(topic, 4)
    rng, text = random.Random(SEED), spec(kafka, topic, late="fold", more=MORE)
    p = Process(tmp_path, text, options=("--threads", "2"))
    p.ready()
    kafka.produce(topic, cards(rng, 0, 3000, 4))
    finish([p], kafka, text, topic)
    forget_snapshots(tmp_path)
    kafka.produce(topic, cards(rng, 3000, 2000, 4))
    p.start()
    p.ready()
    assert "restored" not in p.said()
    p.await_true(lambda: p.get("/v1/status").json["streams"][0]["read"] == 5000)
    status = p.get("/v1/status").json["log"]
    assert [(s["group"], s["topic"]) for s in status["stages"]] == groups(text, topic)
    assert status["group"] == f"{topic}.customer"
    lag = {f'kafka_consumergroup_lag{{consumergroup="{g}",topic="{t}",partition="3"}} 0'
           for g, t in groups(text, topic)}
    p.await_true(lambda: lag <= set(p.get("/metrics").body.decode().splitlines()))
    finish([p], kafka, text, topic)
    assert compare(kafka, tmp_path, text, topic) > 4500


def test_apart_and_killed(kafka, tmp_path):
    """Each stage in processes of its own, a topic between them that is less wide, all of them killed now and then."""
    topic = "apart"
    print(f"QUERN_SEED={SEED}")
    rng = random.Random(SEED)
    kafka.create(topic, 4)
    kafka.create(f"{topic}.terminal.rekey", 3)
    text = spec(kafka, topic, kafka='commit: 10ms, instance: "${INSTANCE}", settings: [session.timeout.ms=2000, '
                                    'heartbeat.interval.ms=300]')
    writer = Writer(kafka, topic, 4, random.Random(SEED), rate=800)
    writer.start()
    all_ = [Process(tmp_path, text, name, name, options=("--stage", stage))
            for name, stage in (("a", "customer"), ("b", "terminal"), ("c", "terminal"))]
    for n in range(KILLS):
        for p in all_:
            p.ready()
        time.sleep(rng.random() * 0.7)
        p = rng.choice(all_)
        p.kill()
        if n % 4 == 3:
            forget_snapshots(tmp_path)
        p.start()
    writer.end()
    for p in all_:
        p.ready()
    finish(all_, kafka, text, topic)
    assert compare(kafka, tmp_path, text, topic) > 0.8 * writer.count


def test_at_least_once_killed(kafka, tmp_path):
    """Without transactions what a stage sends twice counts once behind it; answers may repeat, byte for byte."""
    topic = "apart-least"
    rng = random.Random(SEED)
    kafka.create(topic, 2)
    text = spec(kafka, topic, kafka='instance: "${INSTANCE}"') + "delivery: at-least-once\n"
    writer = Writer(kafka, topic, 2, random.Random(SEED), rate=800)
    writer.start()
    p = Process(tmp_path, text, instance="a")
    for _ in range(KILLS):
        p.ready()
        time.sleep(rng.random() * 0.7)
        p.kill()
        p.start()
    writer.end()
    p.ready()
    finish([p], kafka, text, topic)
    assert compare(kafka, tmp_path, text, topic, once=False) > 0.8 * writer.count


LIMITED = """\
quern: 1
name: {name}
log: kafka:{brokers}
kafka: {{create: true, topics: {{pay: {name}}}}}
snapshots: {{every: 200ms}}
limits: {{memory: 16KiB}}
streams:
  pay:
    id: tx
    time: at
    key: customer
    lateness: 10s
    fields: {{tx: int64, at: {{type: timestamp, unit: ms}}, customer: string, terminal: string}}
features:
  mine_1m: count() by customer over 1m
  busy_2m: count() by terminal over 2m
outputs:
  predictions: {{include: [features]}}
  large: {{when: tx < 0}}
"""


def test_limits_of_each_stage(kafka, tmp_path):
    """Each stage has the limit for itself: what one refuses is what `quern pipe` refuses with that stage's features
    alone; and again when all is replayed."""
    topic, rng = "staged-limits", random.Random(SEED)
    kafka.create(topic, 1)
    text = LIMITED.format(name=topic, brokers=kafka.bootstrap)

    def payments(first, count):
        return [(0, b'{"tx":%d,"at":%d,"customer":"c%d","terminal":"t%d"}' % (
            i, 1_700_000_000_000 + i * 500, rng.randrange(400), rng.randrange(150)), b"k")
            for i in range(first, first + count)]

    p = Process(tmp_path, text)
    p.ready()
    kafka.produce(topic, payments(0, 1))
    p.await_true(lambda: kafka.consume(f"{topic}.predictions")[0])
    kafka.produce(topic, payments(1, 1500))
    finish([p], kafka, text, topic)
    forget_snapshots(tmp_path)
    p.start()
    p.ready()
    kafka.produce(topic, payments(1501, 1500))
    finish([p], kafka, text, topic)
    assert "diverges" not in p.said()

    def refused(features, events, name):
        found = [json.loads(r)["features"] for r in pipe(tmp_path, re.sub(features, "", text), events, name)]
        return found, [json.loads(d)["event"].encode() for d in (tmp_path / "dead.ndjson").read_bytes().splitlines()]

    events = [m.value() for m in kafka.consume(topic)[0]]
    sent = [h.event for h in hops(kafka, f"{topic}.terminal.rekey")[0]]
    first, dead_first = refused("  busy_2m.*\n", events, "first")
    assert sent == [e for e in events if e not in set(dead_first)]
    last, dead_last = refused("  mine_1m.*\n", sent, "last")
    assert len(dead_first) > 100 and len(dead_last) > 100
    dead = kafka.consume(f"{topic}.dead")[0]
    assert sorted(m.value() for m in dead) == sorted(dead_first + dead_last)
    assert {dict(m.headers())["quern.reason"] for m in dead} == {b"state_full"}
    first = [f for f, e in zip(first, sent, strict=True) if e not in set(dead_last)]
    got = [json.loads(m.value())["features"] for m in kafka.consume(f"{topic}.predictions")[0]]
    assert got == [{**f, **g} for f, g in zip(first, last, strict=True)]


def test_warm_copies(kafka, tmp_path):
    """Two processes with all stages, nothing shared: one is killed, and the other's copies go on in each stage."""
    topic = "staged-copies"
    kafka.create(topic, 2)
    text = spec(kafka, topic, kafka="commit: 10ms, standby: 1, settings: [session.timeout.ms=4000, "
                                    "heartbeat.interval.ms=300]").replace("every: 200ms", "every: 1h")
    writer = Writer(kafka, topic, 2, random.Random(SEED), rate=500)
    writer.start()
    all_ = []
    for name in "ab":
        (tmp_path / name).mkdir()
        all_.append(Process(tmp_path / name, text, name))
    for p in all_:
        p.ready()
    left = all_[1]

    def stages():
        return left.get("/v1/status").json["log"]["stages"]

    def follows(stage):
        return len(stage["ours"]) == 1 and [(c["state"], c["lag"] < 1000) for c in stage["standby"]] == [
            ("following", True)]
    left.await_true(lambda: all(map(follows, stages())))
    lag = {f'quern_standby_lag{{topic="{t}"' for _, t in groups(text, topic)}
    left.await_true(lambda: lag <= {line.split(",")[0] for line in left.get("/metrics").body.decode().splitlines()})
    all_[0].kill()
    left.await_true(lambda: all(len(s["ours"]) == 2 for s in stages()))
    if "given our partitions to others" not in left.said():  # a machine that is too slow
        assert left.said().count("the copy goes on") == 2, left.said()
    writer.end()
    finish([left], kafka, text, topic)
    assert "given up" not in left.said()
    assert compare(kafka, tmp_path, text, topic) > 0.8 * writer.count


@pytest.mark.skipif(not LONG, reason="a campaign: QUERN_LONG=1")
def test_a_broker_that_dies(tmp_path):
    """The broker is killed and started again, again and again, while two stages commit."""
    kafka_broker.need_kafka(QUERN)
    broker = kafka_broker.Broker(tmp_path)
    rng, topic, folder = random.Random(SEED), "mortal-stages", tmp_path / "run"
    folder.mkdir()
    try:
        broker.create(topic, 2)
        text = spec(broker, topic, kafka='commit: 10ms, instance: "${INSTANCE}"')
        writer = Writer(broker, topic, 2, random.Random(SEED), rate=500)
        writer.start()
        all_ = [Process(folder, text, name, name, options=("--stage", stage))
                for name, stage in (("a", "customer"), ("b", "terminal"))]
        for p in all_:
            p.ready()
        for _ in range(6):
            time.sleep(1 + rng.random())
            broker.kill()
            time.sleep(rng.random())
            broker.start()
        writer.end()
        finish(all_, broker, text, topic)
        assert compare(broker, folder, text, topic) > 0.8 * writer.count
    finally:
        broker.stop()


def test_each_partition_for_itself(kafka, tmp_path):
    """rekey: false: no stages, and what `quern pipe` says of each partition."""
    topic = "unstaged"
    text = re.sub("terminal, customer", "terminal", kafka_run.spec(kafka, topic, kafka="create: true, rekey: false"))
    kafka.create(topic, 2)
    kafka.produce(topic, kafka_run.cards(random.Random(SEED), 0, 500, 2))
    p = Process(tmp_path, text)
    p.ready()
    kafka_run.finish([p], kafka, topic, 2)
    assert kafka_run.compare(kafka, tmp_path, text, topic) > 450


def test_what_is_said_when_it_cannot_be(kafka, tmp_path):
    """Stages that are not there, topics that are not, records of others."""
    def run(text, *options, code=1):
        (tmp_path / "spec.yaml").write_text(text)
        done = subprocess.run([str(QUERN), "run", "spec.yaml", *options], cwd=tmp_path, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        return done.stderr

    topic = "staged-errors"
    text = spec(kafka, topic)
    kafka.create(topic, 1)
    assert "there is no stage 'shop'; known: customer, terminal" in run(text, "--stage", "shop", code=2)
    plain = text.replace(" by terminal over", " by terminal, customer over")
    assert "this pipeline has no stages" in run(plain, "--stage", "customer", code=2)
    said = run(text.replace("create: true, ", ""))
    assert f"the topic of stage 'terminal': there is no topic '{topic}.terminal.rekey'" in said
    assert "create: true" in said
    kafka.create(f"{topic}.terminal.rekey", 1)
    kafka.produce(f"{topic}.terminal.rekey", [(0, b'{"tx":1}')])
    assert f"record 0 of partition 0 of '{topic}.terminal.rekey': it is no record that a stage" in run(text)
