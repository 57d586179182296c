# SPDX-License-Identifier: Apache-2.0
"""Several streams with `log: kafka:`: topics are merged into one order per partition, and the journal keeps it.

What must come out is what the same program without Kafka says to the events in the journal's order, byte for byte."""
import os
import random
import re

import pytest

import kafka_journal
from kafka_run import PAYMENTS, Process, cards, caught_up, ours, stop_when

SEED = int(os.environ.get("QUERN_SEED", "17"))
LONG = bool(os.environ.get("QUERN_LONG"))
QUICK = "settings: [session.timeout.ms=4000, heartbeat.interval.ms=300]"
NAMES = ["pay", "login"]

SPEC = """\
quern: 1
name: {name}
log: kafka:{brokers}
kafka: {{create: true, topics: {{pay: {name}.pay, login: {name}.login}}, {kafka}}}
snapshots: {{every: {every}}}
streams:
{payments}  login:
    time: at
    lateness: 10s
    fields:
      at: {{type: timestamp, unit: ms}}
      customer: string
      ok: bool
features:
  count_1h: count() by customer over 1h
  spent_1d: sum(amount) by customer over 1d
  logins_1h: count() of login by customer over 1h
  failed_1d: count() where not ok of login by customer over 1d
outputs:
  predictions: {{include: [features]}}
"""


def spec(broker, name, every="200ms", kafka=QUICK):
    return SPEC.format(name=name, brokers=broker.bootstrap, every=every, kafka=kafka, payments=PAYMENTS)


def make(broker, name, partitions):
    for stream in NAMES:
        broker.create(f"{name}.{stream}", partitions)


def login(rng, i):
    """A few are broken."""
    at = 1_700_000_000_000 + i * 900 - rng.randrange(1500)
    customer = rng.randrange(40)
    ok = '"no"' if rng.random() < 0.01 else rng.choice(["true", "false"])
    return customer, f'{{"at":{at},"customer":"c{customer}","ok":{ok}}}'


def change(rng, i):
    """A login as a change of a table."""
    customer, value = login(rng, i)
    return customer, f'{{"op":"c","before":null,"after":{value}}}'


def produce(broker, name, rng, first, count, partitions, login=login):
    """So many payments, and logins over the same time."""
    broker.produce(f"{name}.pay", cards(rng, first, count, partitions))
    logins = [login(rng, i) for i in range(first * 5 // 9, (first + count) * 5 // 9)]
    broker.produce(f"{name}.login", [(c % partitions, v.encode(), f"c{c}") for c, v in logins])


def finish(processes, broker, name, partitions):
    """Waits until all of both topics is committed, stops them."""
    stop_when(lambda: all(caught_up(broker, f"{name}.{s}", name, partitions) for s in NAMES), processes)


def compare(broker, folder, text, name):
    """Answers and dead letters of every partition are those of the journal's order; how many predictions."""
    topics = [f"{name}.{s}" for s in NAMES]
    merged = kafka_journal.order(broker, f"{name}.journal", topics, name)
    got, dead = broker.consume(f"{name}.predictions"), broker.consume(f"{name}.dead")
    for p, events in enumerate(merged):
        want, want_dead = kafka_journal.expected(folder / f"expected-{p}", text, NAMES, events, p)
        have = [m.value() for m in got[p]]
        assert len(have) == len(want), f"partition {p}: {len(have)} predictions, {len(want)} must be there"
        for i, (a, b) in enumerate(zip(have, want)):
            assert a == b, f"partition {p}, record {i}:\n  {a}\n  {b}"
        assert [m.value() for m in dead[p]] == want_dead, f"dead letters of partition {p}"
        for m in dead[p]:
            h = {k: v.decode() for k, v in m.headers()}
            (event,) = [e for s, e in events if topics[s] == h["__connect.errors.topic"]
                        and e.offset() == int(h["__connect.errors.offset"])]
            assert event.value() == m.value() and int(h["__connect.errors.partition"]) == p
    assert {h["__connect.errors.topic"] for part in dead for m in part
            for h in [{k: v.decode() for k, v in m.headers()}]} == set(topics)
    return sum(map(len, got))


def by_time(broker, name):
    """How many events of the journal's order stand before an earlier one of the other stream, of how many."""
    wrong = count = 0
    for events in kafka_journal.order(broker, f"{name}.journal", [f"{name}.{s}" for s in NAMES], name):
        last = [0, 0]
        for s, m in events:
            at = re.search(rb'"at":(\d+)', m.value())
            last[s] = int(at[1])
            count += 1
            wrong += last[s] < last[1 - s] - 62_000
    return wrong, count


def test_merged_by_time(kafka, tmp_path):
    """What lies there is merged by event time, be it in an envelope, the journal is made, and the status tells of both
    topics. Who has another number of streams is no member of that group."""
    name, rng = "merged", random.Random(SEED)
    make(kafka, name, 2)
    produce(kafka, name, rng, 0, 1200, 2, change)
    text = spec(kafka, name).replace("  login:\n", "  login:\n    envelope: debezium\n")
    p = Process(tmp_path, text)
    p.ready()
    p.await_true(lambda: [s["lag"] == 0 < s["end"] for s in p.get("/v1/status").json["log"]["ours"]] == [True, True])
    shown = p.get("/v1/status").json["log"]["ours"][1]["streams"]
    assert [s["topic"] for s in shown] == [f"{name}.pay", f"{name}.login"]
    assert all(s["next"] == s["committed"] == s["end"] > 0 for s in shown)
    metrics = p.get("/metrics").body.decode()
    for s in NAMES:
        assert f'topic="{name}.{s}"' in metrics
    finish([p], kafka, name, 2)
    assert compare(kafka, tmp_path, text, name) > 1100
    wrong, count = by_time(kafka, name)
    assert count > 1800 and wrong == 0, f"{wrong} of {count} out of order"
    alone = re.sub(r"(?m)^  (login:\n(    .*\n)+|logins_1h:.*\n|failed_1d:.*\n)", "", text).replace(
        f", login: {name}.login", "")
    p = Process(tmp_path, alone, "alone")
    assert p.process.wait(60) != 0
    assert "written by a pipeline with 2 streams, and this one has 1" in p.said()
    swapped = re.sub(r"(?m)^(  pay:\n(?:    .*\n)+)(  login:\n(?:    .*\n)+)", r"\2\1", text).replace(
        "sum(amount) by", "sum(amount) of pay by").replace("count() by", "count() of pay by")
    assert swapped != text
    p = Process(tmp_path, swapped, "swapped")
    assert p.process.wait(60) != 0
    assert "in another order" in p.said()


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
@pytest.mark.parametrize("every", ["200ms", pytest.param("1h", marks=pytest.mark.skipif(
    not LONG, reason="a campaign: QUERN_LONG=1"))])
def test_killed(kafka, tmp_path, every, delivery):
    """Killed in the middle, with and without snapshots: the order that was is followed, then it goes on."""
    name, rng = f"killed-{every}-{delivery[0]}", random.Random(SEED)
    make(kafka, name, 2)
    text = spec(kafka, name, every) + f"delivery: {delivery}\n"
    produce(kafka, name, rng, 0, 600, 2)
    p = Process(tmp_path, text)
    p.ready()
    for n in range(6 if LONG else 2):
        p.await_true(lambda: all(s["committed"] > 0 for s in p.get("/v1/status").json["log"]["ours"]))
        p.await_true(lambda: every != "200ms" or p.get("/v1/status").json["snapshot"].get("count", 0) >= 2)
        produce(kafka, name, rng, 600 + 300 * n, 300, 2)
        p.kill()
        p.start()
        p.ready()
    said = p.said()
    assert ("restored" in said) == (every == "200ms"), said
    finish([p], kafka, name, 2)
    if delivery == "exactly-once":
        assert compare(kafka, tmp_path, text, name) > 1100
    else:
        compare_repeated(kafka, tmp_path, text, name)


def compare_repeated(broker, folder, text, name):
    """Some answers may be there again, the same under the same id; without them it is as above."""
    merged = kafka_journal.order(broker, f"{name}.journal", [f"{name}.{s}" for s in NAMES], name)
    for p, part in enumerate(broker.consume(f"{name}.predictions")):
        want, _ = kafka_journal.expected(folder / f"expected-{p}", text, NAMES, merged[p], p)
        first = {}
        for m in part:
            key = dict(m.headers())["quern-id"]
            assert first.setdefault(key, m.value()) == m.value(), key
        assert list(first.values()) == want, f"partition {p}"


def test_rebalanced(kafka, tmp_path):
    """Two processes share the shards, one leaves, another is killed: no order is lost."""
    name, rng = "moved-streams", random.Random(SEED)
    make(kafka, name, 3)
    text = spec(kafka, name)
    produce(kafka, name, rng, 0, 600, 3)
    a, b = Process(tmp_path, text, "a"), Process(tmp_path, text, "b")
    for p in (a, b):
        p.ready()
    a.await_true(lambda: sorted(ours(a) + ours(b)) == [0, 1, 2] and ours(a) and ours(b))
    produce(kafka, name, rng, 600, 300, 3)
    assert b.stop() == 0
    a.await_true(lambda: ours(a) == [0, 1, 2])
    produce(kafka, name, rng, 900, 300, 3)
    b.start()
    b.ready()
    a.await_true(lambda: sorted(ours(a) + ours(b)) == [0, 1, 2] and ours(b))
    a.kill()
    produce(kafka, name, rng, 1200, 300, 3)
    b.await_true(lambda: ours(b) == [0, 1, 2])
    finish([b], kafka, name, 3)
    assert compare(kafka, tmp_path, text, name) > 1400


def test_refused(kafka, tmp_path):
    """Unequal partitions."""
    name = "unequal"
    kafka.create(f"{name}.pay", 2)
    kafka.create(f"{name}.login", 3)
    p = Process(tmp_path, spec(kafka, name))
    assert p.process.wait(60) == 2
    assert f"'{name}.login' has 3 partitions, and '{name}.pay' has 2" in p.said()
