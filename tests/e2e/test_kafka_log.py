# SPDX-License-Identifier: Apache-2.0
"""`log: kafka:` against a real broker: the same answers as without Kafka, each once, whatever is killed.

Answers are compared byte for byte with those of `quern pipe` over each partition; readers are the official Python
client, read_committed. Moments of kills are drawn from QUERN_SEED."""
import json
import os
import random
import re
import signal
import subprocess
import time

import pytest

import kafka_broker
import kafka_proxy
from fraud_data import QUERN
from kafka_run import Process, Writer, cards, compare, create, expected, finish, ours, spec

SEED = int(os.environ.get("QUERN_SEED", "7"))
LONG = bool(os.environ.get("QUERN_LONG"))
HITS = 20 if LONG else 3  # commits in doubt
KILLS = int(os.environ.get("QUERN_KILLS") or (100 if LONG else 6))


@pytest.mark.parametrize("partitions,threads", [(1, 1), (4, 1), (4, 2)])
def test_same_answers(kafka, tmp_path, partitions, threads):
    """Some thousand payments in 1 and 4 partitions; stopped and started in between, from snapshot and from nothing."""
    topic = f"same-{partitions}-{threads}"
    create(kafka, topic, partitions)
    rng, text = random.Random(SEED), spec(kafka, topic)
    kafka.produce(topic, cards(rng, 0, 5000, partitions))
    p = Process(tmp_path, text, options=("--threads", str(threads)))
    p.ready()
    finish([p], kafka, topic, partitions)
    kafka.produce(topic, cards(rng, 5000, 2000, partitions))
    p.start()
    p.ready()
    assert "restored" in p.said()
    finish([p], kafka, topic, partitions)
    kafka.produce(topic, cards(rng, 7000, 2000, partitions))
    for file in (tmp_path / "snapshots").rglob("*"):  # costs time, never answers
        if file.is_file():
            file.unlink()
    p.start()
    p.ready()
    assert "restored" not in p.said()
    finish([p], kafka, topic, partitions)
    assert compare(kafka, tmp_path, text, topic) > 8500


def test_at_least_once(kafka, tmp_path):
    """Killed again and again: no answer is missing, repeats are equal and have one id; state is as without crashes."""
    topic = "least"
    rng = random.Random(SEED)
    create(kafka, topic, 4)
    text = spec(kafka, topic, kafka='instance: "${INSTANCE}"') + "delivery: at-least-once\n"
    writer = Writer(kafka, topic, 4, random.Random(SEED))
    writer.start()
    p = Process(tmp_path, text, instance="a")
    for _ in range(KILLS):
        p.ready()
        time.sleep(rng.random() * 0.5)
        p.kill()
        p.start()
    writer.end()
    finish([p], kafka, topic, 4)
    events = [[m.value() for m in partition] for partition in kafka.consume(topic)]
    want = expected(tmp_path, text, events)
    for name in ("predictions", "large"):
        for i, partition in enumerate(kafka.consume(f"{topic}.{name}")):
            first = {}
            for m in partition:
                record, key = m.value(), dict(m.headers())["quern-id"].decode()
                assert key == json.loads(record)["id"]
                assert first.setdefault(key, record) == record
            assert list(first.values()) == want[name][i]  # repeats left out, the order is that of the partition


def test_positions_follow_the_answers(kafka, tmp_path):
    """At least once: positions are committed later than answers, but before a partition goes to somebody else, and at
    the end: who leaves in order leaves no repeats."""
    topic = "follow"
    create(kafka, topic, 4)
    rng = random.Random(SEED)
    text = spec(kafka, topic, kafka="commit: 2s") + "delivery: at-least-once\n"
    kafka.produce(topic, cards(rng, 0, 1000, 4))
    a = Process(tmp_path, text, "a")
    a.ready()
    a.await_true(lambda: a.get("/v1/status").json["streams"][0]["read"] == 1000)
    kafka.produce(topic, cards(rng, 1000, 1000, 4))
    b = Process(tmp_path, text, "b")
    b.ready()
    b.await_true(lambda: len(ours(a)) == len(ours(b)) == 2)
    kafka.produce(topic, cards(rng, 2000, 1000, 4))
    assert b.stop() == 0
    finish([a], kafka, topic, 4)
    assert compare(kafka, tmp_path, text, topic) > 2700


@pytest.mark.parametrize("partitions", [1, 4])
def test_killed_at_random_moments(kafka, tmp_path, partitions):
    """kill -9 while it restores, replays, answers, commits, saves; then nothing is lost and nothing doubled."""
    topic = f"killed-{partitions}"
    print(f"QUERN_SEED={SEED}")
    rng = random.Random(SEED)
    create(kafka, topic, partitions)
    text = spec(kafka, topic, kafka='commit: 10ms, instance: "${INSTANCE}"')
    writer = Writer(kafka, topic, partitions, random.Random(SEED + 1))
    writer.start()
    p = Process(tmp_path, text, instance="a")
    for n in range(KILLS):
        if n % 4 == 3:
            time.sleep(rng.random() * 0.5)  # while it begins
        else:
            p.ready()
            time.sleep(rng.random() * 0.7)
        p.kill()
        if n % 10 == 7:
            for file in (tmp_path / "snapshots").rglob("*"):
                if file.is_file() and file.name != "lock":
                    file.unlink()
        p.start()
    writer.end()
    finish([p], kafka, topic, partitions)
    assert compare(kafka, tmp_path, text, topic) > 0.9 * writer.count


@pytest.mark.skipif(not LONG, reason="a campaign: QUERN_LONG=1; test_kafka_faults.py does the like")
def test_two_processes(kafka, tmp_path):
    """A second process takes a part, the first is killed, comes back, the second leaves: every event counts once."""
    topic = "two"
    create(kafka, topic, 4)
    text = spec(kafka, topic, kafka='commit: 10ms, instance: "${INSTANCE}", settings: [session.timeout.ms=3000, '
                                    'heartbeat.interval.ms=300]')
    writer = Writer(kafka, topic, 4, random.Random(SEED))
    writer.start()
    a = Process(tmp_path, text, "a", "a")
    a.ready()

    a.await_true(lambda: ours(a) == [0, 1, 2, 3])
    b = Process(tmp_path, text, "b", "b")
    b.ready()
    b.await_true(lambda: sorted(ours(a) + ours(b)) == [0, 1, 2, 3] and len(ours(b)) == 2)
    a.kill()
    b.await_true(lambda: ours(b) == [0, 1, 2, 3])  # when the session has ended
    a.start()
    a.ready()
    a.await_true(lambda: sorted(ours(a) + ours(b)) == [0, 1, 2, 3] and len(ours(a)) == 2)
    for _ in range(3 if not LONG else 20):
        time.sleep(0.5)
        b.kill()
        b.start()
        b.ready()
    writer.end()
    finish([a, b], kafka, topic, 4)
    assert compare(kafka, tmp_path, text, topic) > 0.9 * writer.count


def test_what_is_said_when_it_cannot_be(kafka, tmp_path):
    """Missing topics, nobody there, not yet, positions of others: what and what to do."""
    def run(text, code=1):
        (tmp_path / "spec.yaml").write_text(text)
        done = subprocess.run([str(QUERN), "run", "spec.yaml"], cwd=tmp_path, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        return done.stderr

    text = spec(kafka, "errors")
    assert "the topic of stream 'pay': there is no topic 'errors'" in run(text)
    kafka.create("errors", 2)
    said = run(text)
    assert "the topic of output 'predictions': there is no topic 'errors.predictions'" in said
    assert "create: true" in said
    for name in ("predictions", "large", "dead"):
        kafka.create("errors." + name)
    port, = kafka_broker.free_ports(1)
    assert f"127.0.0.1:{port}" in run(text.replace(kafka.bootstrap, f"127.0.0.1:{port}"))
    assert "'delivery' cannot be 'twice'" in run(text.replace("streams:\n", "delivery: twice\nstreams:\n"), 2)
    from confluent_kafka import Consumer, TopicPartition
    c = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "others"})
    kafka.produce("errors", [(0, b"{}")])
    c.commit(offsets=[TopicPartition("errors", 0, 1)], asynchronous=False)
    c.close()
    assert "that Quern did not write" in run(text.replace("commit: 10ms", "group: others"))


def test_http_says_where_events_go(kafka, tmp_path):
    create(kafka, "http", 2)
    p = Process(tmp_path, spec(kafka, "http"))
    p.ready()
    answer = p.post("/v1/streams/pay/events", {"tx": 1})
    assert answer.status == 404 and answer.code == "log_in_kafka" and "topic 'http'" in answer.json["detail"]
    kafka.produce("http", cards(random.Random(1), 0, 100, 2))
    p.await_true(lambda: p.get("/v1/status").json["streams"][0]["read"] == 100)
    status = p.get("/v1/status").json
    assert [s["state"] for s in status["log"]["ours"]] == ["live", "live"] and status["outputs"][0]["records"] > 90
    lag = [line for line in p.get("/metrics").body.decode().splitlines() if line.startswith("ml_stream_consumer_lag{")]
    assert len(lag) == 2, lag
    lag = [f'kafka_consumergroup_lag{{consumergroup="http",topic="http",partition="{n}"}} 0' for n in range(2)]
    p.await_true(lambda: set(lag) <= set(p.get("/metrics").body.decode().splitlines()))
    assert p.stop() == 0


@pytest.mark.parametrize("how", ["late", "late and cut", "answer lost", "request lost"])
def test_a_commit_in_doubt(kafka, tmp_path, how):
    """The end of a transaction arrives late, twice, or is never answered: neither lost nor doubled (KIP-890)."""
    topic = "doubt-" + how.replace(" ", "-")
    create(kafka, topic, 2)
    proxy = kafka_proxy.Proxy(kafka)
    rule = {"late": ("hold", 4.0), "late and cut": ("hold", 1.0, "cut"), "answer lost": ("deaf",),
            "request lost": ("cut",)}[how]
    seen = {"ends": 0, "hit": 0}

    def decide(key):
        if key != kafka_proxy.END_TXN:
            return None
        seen["ends"] += 1
        if seen["ends"] % 15 != 10 or seen["hit"] >= HITS:
            return None
        seen["hit"] += 1
        return rule

    text = spec(kafka, topic, kafka="commit: 10ms, instance: a").replace(kafka.bootstrap, proxy.bootstrap)
    writer = Writer(kafka, topic, 2, random.Random(SEED), rate=1000)
    p = Process(tmp_path, text)
    try:
        p.ready()
        proxy.rule = decide
        writer.start()
        end = time.monotonic() + 60
        while seen["hit"] < HITS and time.monotonic() < end:
            time.sleep(0.1)
        writer.end()
        finish([p], kafka, topic, 2)
        assert seen["hit"] >= 3, seen
        said = p.said()
        assert "committed all the same" in said or "written again" in said, said
        assert compare(kafka, tmp_path, text.replace(proxy.bootstrap, kafka.bootstrap), topic) > 0.9 * writer.count
    finally:
        proxy.stop()


@pytest.mark.skipif(not LONG, reason="a campaign: QUERN_LONG=1; test_kafka_faults.py does the like")
def test_a_process_that_was_thought_dead(kafka, tmp_path):
    """Stopped past its session, then woken: what it still writes is refused, it comes back as a member like others."""
    topic = "zombie"
    create(kafka, topic, 4)
    text = spec(kafka, topic, kafka="commit: 10ms, settings: [session.timeout.ms=2000, heartbeat.interval.ms=300]")
    writer = Writer(kafka, topic, 4, random.Random(SEED))
    writer.start()
    a = Process(tmp_path, text, "a")
    b = Process(tmp_path, text, "b")
    for p in (a, b):
        p.ready()
    for n in range(6 if LONG else 2):
        frozen, other = (a, b) if n % 2 == 0 else (b, a)
        other.await_true(lambda p=other: len(ours(p)) == 2)
        frozen.process.send_signal(signal.SIGSTOP)
        other.await_true(lambda p=other: ours(p) == [0, 1, 2, 3])
        time.sleep(1)
        frozen.process.send_signal(signal.SIGCONT)
        frozen.await_true(lambda p=frozen, q=other: sorted(ours(p) + ours(q)) == [0, 1, 2, 3] and len(ours(p)) == 2)
    writer.end()
    finish([a, b], kafka, topic, 4)
    assert compare(kafka, tmp_path, text, topic) > 0.9 * writer.count


@pytest.mark.skipif(not LONG, reason="a campaign: QUERN_LONG=1; test_kafka_faults.py does the like")
def test_a_broker_that_dies(tmp_path):
    """The broker is killed and started again while it commits; the process waits, and goes on."""
    kafka_broker.need_kafka(QUERN)
    broker = kafka_broker.Broker(tmp_path)
    rng = random.Random(SEED)
    try:
        create(broker, "mortal", 2)
        text = spec(broker, "mortal", kafka="commit: 10ms, instance: a")
        folder = tmp_path / "run"
        folder.mkdir()
        writer = Writer(broker, "mortal", 2, random.Random(SEED))
        writer.start()
        p = Process(folder, text)
        p.ready()
        for _ in range(8 if LONG else 2):
            time.sleep(1 + rng.random())
            broker.kill()
            time.sleep(rng.random())
            broker.start()
        writer.end()
        finish([p], broker, "mortal", 2)
        assert compare(broker, folder, text, "mortal") > 0.9 * writer.count
    finally:
        broker.stop()


def test_the_topic_was_changed(kafka, tmp_path):
    """A replay that comes to other answers than were committed stops, and says so."""
    create(kafka, "changed", 1)
    text = spec(kafka, "changed")
    kafka.produce("changed", cards(random.Random(1), 0, 500, 1))
    p = Process(tmp_path, text)
    p.ready()
    finish([p], kafka, "changed", 1)
    from confluent_kafka import Consumer, TopicPartition

    for file in (tmp_path / "snapshots").rglob("*"):
        if file.is_file():
            file.unlink()
    c = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "changed", "enable.auto.commit": False})
    before, = c.committed([TopicPartition("changed", 0)], timeout=20)
    mark = re.match(r".* hash=[0-9a-f]{16}", before.metadata)[0]  # this client may read on behind its end
    wrong = mark[:-1] + ("0" if mark[-1] != "0" else "1")
    c.commit(offsets=[TopicPartition("changed", 0, before.offset, metadata=wrong)], asynchronous=False)
    p.start()
    assert p.process.wait(60) == 1
    assert "replay diverges" in p.said()
    c.commit(offsets=[TopicPartition("changed", 0, before.offset, metadata=mark)], asynchronous=False)
    c.close()
    p.start()
    p.ready()
    assert p.stop() == 0
    kafka.admin().delete_records([TopicPartition("changed", 0, 100)])[TopicPartition("changed", 0)].result(20)
    p.start()  # from the snapshot that it took last
    p.ready()
    assert "restored" in p.said() and p.stop() == 0
    for file in (tmp_path / "snapshots").rglob("*"):
        if file.is_file():
            file.unlink()
    p.start()
    assert p.process.wait(60) == 1
    assert "begins at record 100, and its state needs those from 0 on" in p.said()


def test_topics_made_on_request(kafka, tmp_path):
    """Only the input is there: the others are made, as wide."""
    kafka.create("made", 3)
    text = spec(kafka, "made", kafka="create: true")
    p = Process(tmp_path, text)
    p.ready()
    kafka.produce("made", cards(random.Random(1), 0, 500, 3))
    finish([p], kafka, "made", 3)
    found = kafka.admin().list_topics(timeout=20).topics
    assert [len(found["made." + name].partitions) for name in ("predictions", "large", "dead")] == [3, 3, 3]
    assert compare(kafka, tmp_path, text, "made") > 450


def test_four_processes(kafka, tmp_path):
    """Processes come, go and die at random over 12 partitions; all of them say together what one would say."""
    topic = "four"
    print(f"QUERN_SEED={SEED}")
    rng = random.Random(SEED)
    create(kafka, topic, 12)
    text = spec(kafka, topic, kafka='commit: 10ms, settings: [session.timeout.ms=2000, heartbeat.interval.ms=300]')
    writer = Writer(kafka, topic, 12, random.Random(SEED), rate=1500)
    writer.start()
    all_ = [Process(tmp_path, text, str(n)) for n in range(4)]
    for _ in range(60 if LONG else 8):
        p = rng.choice(all_)
        if rng.random() < 0.5:
            p.kill()
        else:
            assert p.stop() in (0, 143, -signal.SIGTERM), p.said()  # it may not have begun yet
        time.sleep(rng.random() * 0.5)
        p.start()
        time.sleep(rng.random())
    writer.end()
    for p in all_:
        p.ready()
    finish(all_, kafka, topic, 12)
    assert compare(kafka, tmp_path, text, topic) > 0.9 * writer.count


def test_two_of_one_instance(kafka, tmp_path):
    """By mistake: the older one ends and says so, the other goes on, and every event counts once."""
    topic = "twins"
    create(kafka, topic, 2)
    text = spec(kafka, topic, kafka='commit: 10ms, instance: "${INSTANCE}"')
    writer = Writer(kafka, topic, 2, random.Random(SEED))
    writer.start()
    twins = [Process(tmp_path, text, "one", "same")]
    twins[0].ready()
    twins.append(Process(tmp_path, text, "two", "same"))
    assert twins[0].process.wait(60) == 1
    assert "another process came with the instance 'same'" in twins[0].said()
    twins[1].ready()
    writer.end()
    finish(twins[1:], kafka, topic, 2)
    assert compare(kafka, tmp_path, text, topic) > 0.9 * writer.count
