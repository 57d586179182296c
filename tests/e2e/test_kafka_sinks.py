# SPDX-License-Identifier: Apache-2.0
"""Sinks of a pipeline whose log lies in Kafka, on a real broker: each reads its output's topic in a group of its own,
is killed, shared by processes, refused, and loses nothing; per partition the order is that of the topic.

What must arrive is what the official client reads in the output's topic."""
import json
import os
import random
import signal
import socket
import time

import pytest

import kafka_broker
from fraud_data import QUERN
from kafka_run import Process, Writer, cards, caught_up, create, ours, spec
from test_sinks import QUICK, Hook

LONG = bool(os.environ.get("QUERN_LONG"))

GROUP = ", settings: [session.timeout.ms=2000, heartbeat.interval.ms=300]"


def with_sinks(kafka, topic, to, when="amount > 90", kafka_="commit: 10ms" + GROUP):
    """The spec of kafka_run.py with sinks behind its second output."""
    return spec(kafka, topic, kafka=kafka_).replace("{when: amount > 90}", f"{{when: {when}, to: {to}}}")


def webhook(url, more=""):
    return f'{{webhook: {{url: "{url}", allow_private: true, format: raw, {QUICK}{more}}}}}'


def sink(p, name="large.webhook"):
    return next(s for s in p.get("/v1/status").json["sinks"] if s["name"] == name)


def records(kafka, topic):
    """Ids of the records of an output's topic, by partition."""
    return [[json.loads(m.value())["id"] for m in partition] for partition in kafka.consume(topic)]


def place(record):
    """Partition and offset of the event that it is about."""
    return tuple(map(int, record.rsplit(":", 2)[1:]))


def in_order(got, want):
    """Each of the ids came; the first time it did, in the order of its partition."""
    firsts = list(dict.fromkeys(got))
    for p, ids in enumerate(want):
        assert [i for i in firsts if place(i)[0] == p] == ids, f"partition {p}"
    assert len(firsts) == sum(map(len, want)) > 0


def ids(hook, first=0):
    return [r["id"] for r in hook.bodies()[first:]]


def delivered(kafka, topic, partitions, kind="webhook"):
    """All is scored, and the sink's group stands at the end of what that made, markers of transactions included."""
    large = f"{topic}.large"
    return caught_up(kafka, topic, topic, partitions) and caught_up(kafka, large, f"{large}.{kind}", partitions)


def test_in_order_and_on_after_a_kill(kafka, tmp_path):
    """Every alert of three partitions; killed in the middle, it goes on where the group's position stood."""
    topic, rng = "hooked", random.Random(5)
    create(kafka, topic, 3)
    kafka.produce(topic, cards(rng, 0, 2000, 3))
    hook = Hook(lambda n, handler: time.sleep(0.01))
    try:
        p = Process(tmp_path, with_sinks(kafka, topic, webhook(hook.url)))
        p.ready()
        p.await_true(lambda: sum(o for o in kafka.committed("hooked.large.webhook", "hooked.large", 3) if o > 0) > 20)
        p.kill()
        before = len(hook.requests)
        stood = kafka.committed("hooked.large.webhook", "hooked.large", 3)
        kafka.produce(topic, cards(rng, 2000, 500, 3))
        p.start()
        p.ready()
        p.await_true(lambda: delivered(kafka, topic, 3) and sink(p)["lag"] == 0)
        seen = sink(p)
        assert p.stop() == 0, p.said()
    finally:
        hook.close()
    want = records(kafka, "hooked.large")
    in_order(ids(hook), want)
    offsets = {json.loads(m.value())["id"]: m.offset() for part in kafka.consume("hooked.large") for m in part}
    again = ids(hook, before)
    assert all(offsets[i] >= stood[place(i)[0]] for i in again) and seen["delivered"] == len(again)
    assert (seen["kind"], seen["dead"], seen["failed"], seen["state"]) == ("webhook", 0, 0, "closed")


def test_down_and_shared(kafka, tmp_path):
    """While nobody answers the breaker is open, scoring goes on, and a second process joins and takes half; then both
    deliver; one leaves in order, and the other has all of it. Nothing comes twice: nobody was killed."""
    topic, rng = "shared", random.Random(6)
    create(kafka, topic, 4)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    text = with_sinks(kafka, topic, webhook(f"http://127.0.0.1:{port}/hook"))
    a = Process(tmp_path, text, "a")
    a.ready()
    kafka.produce(topic, cards(rng, 0, 500, 4))
    a.await_true(lambda: sink(a)["state"] == "open" and sink(a)["lag"] > 0)
    a.await_true(lambda: caught_up(kafka, topic, topic, 4))
    b = Process(tmp_path, text, "b")
    b.ready()
    b.await_true(lambda: len(ours(b)) == 2 and sink(b)["state"] == "open" and sink(a)["state"] == "open")
    assert "2 of 4 partitions of shared.large are ours" in b.said()
    hook = Hook(port=port)
    try:
        kafka.produce(topic, cards(rng, 500, 500, 4))
        a.await_true(lambda: delivered(kafka, topic, 4))
        shares = [sink(p)["delivered"] for p in (a, b)]
        assert min(shares) > 0 and sum(shares) == len(hook.requests)
        kafka.produce(topic, cards(rng, 1000, 200, 4))
        assert b.stop() == 0, b.said()
        kafka.produce(topic, cards(rng, 1200, 200, 4))
        a.await_true(lambda: delivered(kafka, topic, 4))
        assert a.stop() == 0, a.said()
    finally:
        hook.close()
    in_order(ids(hook), records(kafka, "shared.large"))
    assert len(set(ids(hook))) == len(hook.requests)
    assert "breaker open" in a.said() and "delivers again after" in a.said()


def test_refused_records_become_dead_letters(kafka, tmp_path):
    """What the target will not have lies in the topic of dead letters, in the partition of the same number, with why;
    what is behind it is delivered. A sink that is new begins where it is told to."""
    topic, rng = "refused", random.Random(7)
    create(kafka, topic, 2)

    def answer(n, handler):
        n = json.loads(hook.requests[n][2])["event_id"]
        return handler.reply(422, b"not this one") if n % 10 == 3 else None

    hook = Hook(answer)
    try:
        p = Process(tmp_path, with_sinks(kafka, topic, webhook(hook.url)))
        p.ready()
        kafka.produce(topic, cards(rng, 0, 800, 2))
        p.await_true(lambda: delivered(kafka, topic, 2))
        seen = sink(p)
        assert p.stop() == 0, p.said()
        late = len(hook.requests)
        to = "[%s, %s]" % (webhook(hook.url), webhook(hook.url + "/new", ", start: newest"))
        p = Process(tmp_path, with_sinks(kafka, topic, to), "late")
        p.ready()
        p.await_true(lambda: min(kafka.committed("refused.large.webhook-2", "refused.large", 2)) >= 0)
        kafka.produce(topic, cards(rng, 800, 200, 2))
        p.await_true(lambda: delivered(kafka, topic, 2, "webhook-2"))
        assert p.stop() == 0, p.said()
    finally:
        hook.close()
    all_ = [m for part in kafka.consume("refused.large") for m in part]
    bad = {m.value(): m for m in all_ if json.loads(m.value())["event_id"] % 10 == 3}
    letters = [m for part in kafka.consume("refused.dead") for m in part]
    mine = [m for m in letters if dict(m.headers())["quern.reason"] == b"sink_failed"]
    first = [m for m in mine if dict(m.headers())["__connect.errors.class.name"] == b"large.webhook"]
    assert len(bad) > 2 and sorted(m.value() for m in first) == sorted(bad)
    assert seen["dead"] > 0 and seen["delivered"] + seen["dead"] == late
    for m in first:
        h, was = {k: v.decode() for k, v in m.headers()}, bad[m.value()]
        assert h["__connect.errors.topic"] == "refused.large" and h["__connect.errors.stage"] == "TASK_PUT"
        assert (int(h["__connect.errors.partition"]), int(h["__connect.errors.offset"])) == (was.partition(),
                                                                                             was.offset())
        assert m.partition() == was.partition() and m.key() == was.key()
        assert "422" in h["__connect.errors.exception.message"] and h["quern.attempts"] == "1"
    newest = [json.loads(body) for path, _, body in hook.requests if path == "/hook/new"]
    assert newest and min(r["event_id"] for r in newest) >= 800


def test_a_stop_delivers_what_is_there(kafka, tmp_path):
    """SIGTERM: what lies in the topic goes out to a slow target, the position follows, the exit is 0."""
    topic = "drained"
    create(kafka, topic, 2)
    hook = Hook(lambda n, handler: time.sleep(0.02))
    try:
        p = Process(tmp_path, with_sinks(kafka, topic, webhook(hook.url), "amount >= 0"))
        p.ready()
        kafka.produce(topic, cards(random.Random(8), 0, 120, 2))
        p.await_true(lambda: caught_up(kafka, topic, topic, 2))
        assert len(hook.requests) < 110
        assert p.stop() == 0, p.said()
    finally:
        hook.close()
    in_order(ids(hook), records(kafka, "drained.large"))
    assert delivered(kafka, topic, 2)


def test_to_another_topic(kafka, tmp_path):
    """The kafka sink copies a topic, each record once, with its key, in order; into the topic that it reads it would go
    round for ever, and stops."""
    topic = "copied"
    create(kafka, topic, 3)
    kafka.create("copy", 3)
    to = (f'[{{kafka: {{brokers: "{kafka.bootstrap}", topic: copy}}}}, '
          f'{{kafka: {{brokers: "localhost:{kafka.port}", topic: copied.large}}}}]')
    p = Process(tmp_path, with_sinks(kafka, topic, to, "amount >= 0") + "delivery: at-least-once\n")
    p.ready()
    kafka.produce(topic, cards(random.Random(9), 0, 3000, 3))
    p.await_true(lambda: delivered(kafka, topic, 3, "kafka"))
    seen = sink(p, "large.kafka-2")
    assert seen["state"] == "stopped" and "lie in the topic 'copied.large' of this cluster already" in seen["detail"]
    assert p.stop() == 0, p.said()
    want = [(m.key(), m.value()) for part in kafka.consume("copied.large") for m in part]
    got = [m for part in kafka.consume("copy") for m in part]
    assert sorted((m.key(), m.value()) for m in got) == sorted(want) and len(want) > 2800
    for m in got:
        assert [v.decode() for k, v in m.headers() if k == "quern-id"] == [json.loads(m.value())["id"]]
    for part in kafka.consume("copy"):
        seen = {}
        for m in part:
            home, offset = place(json.loads(m.value())["id"])
            assert seen.get(home, -1) < offset
            seen[home] = offset


def test_records_that_were_removed(kafka, tmp_path):
    """A target was down for longer than the topic keeps its records: which ones are gone is said, the rest goes out."""
    from confluent_kafka import TopicPartition

    topic = "removed"
    create(kafka, topic, 1)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    text = with_sinks(kafka, topic, webhook(f"http://127.0.0.1:{port}/hook"), "amount >= 0",
                      'commit: 10ms, instance: "${INSTANCE}"')
    p = Process(tmp_path, text, instance="a")
    p.ready()
    kafka.produce(topic, cards(random.Random(10), 0, 60, 1))
    p.await_true(lambda: caught_up(kafka, topic, topic, 1) and sink(p)["state"] == "open")
    assert kafka.committed("removed.large.webhook", "removed.large", 1) == [0]  # where it began is known at once
    assert p.stop() == 0, p.said()
    gone = TopicPartition("removed.large", 0, 20)
    kafka.admin().delete_records([gone])[TopicPartition("removed.large", 0)].result(20)
    hook = Hook(port=port)
    try:
        p.start()
        p.ready()
        p.await_true(lambda: delivered(kafka, topic, 1))
        assert p.stop() == 0, p.said()
    finally:
        hook.close()
    assert "partition 0 of 'removed.large' no longer holds 0 to 19" in p.said()
    assert ids(hook) == records(kafka, "removed.large")[0] and len(hook.requests) > 30


@pytest.mark.skipif(not LONG, reason="a campaign: QUERN_LONG=1")
def test_brokers_and_processes_that_fail(tmp_path):
    """The broker is killed, processes are killed, frozen past their session and woken: every record arrives, the first
    time in the order of its partition."""
    kafka_broker.need_kafka(QUERN)
    broker, rng, topic = kafka_broker.Broker(tmp_path), random.Random(11), "failing"
    hook = Hook(lambda n, handler: handler.reply(503) if n % 50 == 49 else time.sleep(0.001))
    try:
        create(broker, topic, 4)
        folder = tmp_path / "run"
        folder.mkdir()
        text = with_sinks(broker, topic, webhook(hook.url))
        both = [Process(folder, text, name) for name in ("a", "b")]
        writer = Writer(broker, topic, 4, random.Random(12), rate=1000)
        writer.start()
        for n in range(12):
            p = rng.choice(both)
            p.ready()
            if n % 4 == 0:
                broker.kill()
                time.sleep(rng.random())
                broker.start()
            elif n % 4 == 1:
                p.process.send_signal(signal.SIGSTOP)
                time.sleep(4)
                p.process.send_signal(signal.SIGCONT)
            else:
                p.kill()
                p.start()
            time.sleep(rng.random() * 2)
        writer.end()
        for p in both:
            p.ready()
        p.await_true(lambda: delivered(broker, topic, 4), 120)
        for p in both:
            assert p.stop() == 0, p.said()
        want = records(broker, "failing.large")
    finally:
        hook.close()
        broker.stop()
    in_order(ids(hook), want)
