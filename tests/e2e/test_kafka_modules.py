# SPDX-License-Identifier: Apache-2.0
"""`source: kafka` and `to: kafka` around a local log, against a real broker: every event once, whatever is killed.

What is held up against them stands here: the official Python client writes the events and reads the answers. Moments of
kills are drawn from QUERN_SEED."""
import collections
import json
import os
import random
import subprocess
import threading
import time

import pytest

from fraud_data import QUERN
from running import Running

SEED = int(os.environ.get("QUERN_SEED", "6"))
KILLS = int(os.environ.get("QUERN_KILLS") or (100 if os.environ.get("QUERN_LONG") else 8))
SPEC = """\
quern: 1
name: shop
log: local:./data
storage: {{segment: 32MiB, durability: none}}
streams:
  orders:
    id: order_id
    time: at
    key: customer
    lateness: 1h
    fields: {{order_id: int64, at: {{type: timestamp, unit: s}}, customer: string, amount: decimal(2)}}
    source: {{kafka: {{brokers: "{brokers}", topic: {topic}{more}}}}}
features:
  spent_1h: sum(amount) by customer over 1h
outputs:
  predictions: {{include: [features], to: {{kafka: {{brokers: "{brokers}", topic: {topic}-out, key: event_id}}}}}}
"""


def event(i):
    return b'{"order_id":%d,"at":%d,"customer":"c%d","amount":%d.25}' % (i, 1_700_000_000 + i, i % 7, i % 100)


def records(first, count, partitions):
    """Events by partition, as a producer that goes by customer writes them."""
    return [(i % 7 % partitions, event(i), f"c{i % 7}", [("traceparent", f"00-{i:032x}-{i:016x}-01")])
            for i in range(first, first + count)]


def spec(kafka, topic, more=""):
    return SPEC.format(brokers=kafka.bootstrap, topic=topic, more=more)


def log_values(folder, topic="orders"):
    out = subprocess.run([str(QUERN), "log", "data", "--print", topic], cwd=folder, check=True,
                         stdout=subprocess.PIPE).stdout
    return [json.loads(line)["value"] for line in out.splitlines()]


def read_until(p, count):
    def done():
        s = p.get("/v1/status").json
        return s["sinks"][0]["delivered"] >= 0 and s["streams"][0]["read"] >= count and s["sinks"][0]["lag"] == 0
    p.await_true(done, 120)


def test_events_come_and_answers_leave(kafka, tmp_path):
    """Every event of every partition is in the log once, in the order of its partition; so are answers in the topic."""
    kafka.create("plain", 3)
    kafka.create("plain-out", 2)
    kafka.produce("plain", records(0, 6000, 3))
    p = Running(tmp_path, spec(kafka, "plain", ", group: told"))
    read_until(p, 6000)
    kafka.produce("plain", records(6000, 1000, 3))
    read_until(p, 7000)
    end = time.monotonic() + 20
    while sum(kafka.committed("told", "plain", 3)) < 6900 and time.monotonic() < end:
        kafka.produce("plain", records(7000, 1, 3))  # what is told is one read behind
    lag = [f'kafka_consumergroup_lag{{consumergroup="told",topic="plain",partition="{n}"}} 0' for n in range(3)]
    p.await_true(lambda: set(lag) <= set(p.get("/metrics").body.decode().splitlines()))
    assert p.stop() == 0
    values = [v.encode() for v in log_values(tmp_path)]
    by_partition = [[v for v in values if json.loads(v)["order_id"] % 7 % 3 == n] for n in range(3)]
    for n, partition in enumerate(kafka.consume("plain")):
        assert [m.value() for m in partition] == by_partition[n]
    answers = [m for partition in kafka.consume("plain-out") for m in partition]
    assert sorted(json.loads(m.value())["id"] for m in answers) == sorted(
        f"shop:orders:0:{i}" for i in range(len(values)))
    for m in answers:
        got = json.loads(m.value())
        assert dict(m.headers())["quern-id"].decode() == got["id"]
        assert m.key().decode() == str(got["event_id"]) and got["complete"]


class Writer(threading.Thread):
    """Goes on producing until told to stop."""

    def __init__(self, kafka, topic, partitions):
        super().__init__(daemon=True)
        self.kafka, self.topic, self.partitions = kafka, topic, partitions
        self.count, self.enough, self.failure = 0, threading.Event(), None

    def run(self):
        try:
            while not self.enough.is_set():
                self.kafka.produce(self.topic, records(self.count, 200, self.partitions))
                self.count += 200
                time.sleep(0.02)
        except Exception as error:  # noqa: BLE001 - told by the main thread
            self.failure = error

    def end(self):
        self.enough.set()
        self.join()
        assert self.failure is None and self.count > 0, self.failure


def test_killed_again_and_again(kafka, tmp_path):
    """After kill -9 at random moments the log has each event once; no answer is missing, repeats are equal."""
    rng = random.Random(SEED)
    print(f"QUERN_SEED={SEED}")
    kafka.create("killed", 2)
    kafka.create("killed-out", 2)
    writer = Writer(kafka, "killed", 2)
    writer.start()
    p = Running(tmp_path, spec(kafka, "killed"))
    for _ in range(KILLS):
        time.sleep(rng.random() * 0.8)
        p.kill()
        p.start()
    writer.end()
    read_until(p, writer.count)
    assert p.stop() == 0
    at = collections.Counter(json.loads(v)["order_id"] for v in log_values(tmp_path))
    assert at == {i: 1 for i in range(writer.count)}
    answers = collections.defaultdict(set)
    for m in (m for partition in kafka.consume("killed-out") for m in partition):
        answers[json.loads(m.value())["id"]].add(m.value())
    assert sorted(answers, key=lambda i: int(i.rsplit(":", 1)[1])) == [
        f"shop:orders:0:{i}" for i in range(writer.count)]
    assert all(len(same) == 1 for same in answers.values())
    order = [json.loads(v) for v in log_values(tmp_path, "predictions")]
    assert [o["id"] for o in order] == [f"shop:orders:0:{i}" for i in range(writer.count)]


def test_broken_events_and_empty_ones(kafka, tmp_path):
    """What is no event becomes a dead letter, a record without a value too."""
    kafka.create("broken")
    kafka.create("broken-out")
    kafka.produce("broken", [(0, event(0)), (0, b"{"), (0, None), (0, b""), (0, event(1))])
    p = Running(tmp_path, spec(kafka, "broken"))
    read_until(p, 5)
    assert p.stop() == 0
    assert log_values(tmp_path, "dead") == ["{", "null", "null"]
    assert log_values(tmp_path) == [event(0).decode(), "{", "null", "null", event(1).decode()]


def test_only_committed_transactions_are_read(kafka, tmp_path):
    from confluent_kafka import Producer

    kafka.create("transactions")
    kafka.create("transactions-out")
    t = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": "writer"})
    t.init_transactions(20)
    for i, commit in ((0, True), (1, False), (2, True)):
        t.begin_transaction()
        t.produce("transactions", event(i))
        t.flush()
        t.commit_transaction() if commit else t.abort_transaction()
    p = Running(tmp_path, spec(kafka, "transactions"))
    read_until(p, 2)
    assert p.stop() == 0
    assert log_values(tmp_path) == [event(0).decode(), event(2).decode()]


def test_what_is_said_when_it_cannot_be(kafka, tmp_path):
    """A topic that is not there, a record that is gone, a wrong setting: place and remedy."""
    def state(p):
        return p.get("/v1/status").json["sources"][0]

    kafka.create("orderz")
    p = Running(tmp_path, spec(kafka, "orders"))
    p.await_true(lambda: state(p)["state"] == "waiting")
    assert state(p)["detail"] == "there is no topic 'orders' (did you mean 'orderz'?)"
    kafka.create("orders")  # it was waited for
    kafka.create("orders-out")
    kafka.produce("orders", [(0, event(i)) for i in range(10)])
    read_until(p, 10)
    assert p.stop() == 0
    from confluent_kafka import TopicPartition
    kafka.produce("orders", [(0, event(i)) for i in range(10, 20)])
    kafka.admin().delete_records([TopicPartition("orders", 0, 15)])[TopicPartition("orders", 0)].result(20)
    p.start()
    p.await_true(lambda: state(p)["state"] == "stopped")
    assert "no longer has the record that is next, 10" in state(p)["detail"] and "gap: skip" in state(p)["detail"]
    assert p.stop() == 0
    p = Running(tmp_path, spec(kafka, "orders", ", gap: skip"))
    read_until(p, 15)
    assert p.stop() == 0
    assert [json.loads(v)["order_id"] for v in log_values(tmp_path)] == [*range(10), *range(15, 20)]
    for more, words in ((', settings: ["securty.protocol=SSL"]', "has no setting 'securty.protocol' (did you mean "
                         "'security.protocol'?)"),
                        (', settings: ["sasl.mechanism=NOPE-x-secret"]', None),
                        (', settings: ["security.protocol=hidden-secret"]', "'security.protocol' does not take that"),
                        (", settings: [group.id=x]", "'group.id' is made by Quern itself")):
        (tmp_path / "spec.yaml").write_text(spec(kafka, "orders", more))
        done = subprocess.run([str(QUERN), "check", "spec.yaml"], cwd=tmp_path, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if words:
            assert done.returncode == 2 and words in done.stderr
        assert "made of: hidden-secret" not in done.stderr and "NOPE" not in done.stdout


def test_a_broker_that_goes_and_comes(tmp_path):
    """A broker killed and started again: both sides go on by themselves, nothing is lost."""
    import kafka_broker

    kafka_broker.need_kafka(QUERN)
    broker = kafka_broker.Broker(tmp_path)
    try:
        broker.create("away", 2)
        broker.create("away-out", 2)
        broker.produce("away", records(0, 2000, 2))
        folder = tmp_path / "run"
        folder.mkdir()
        p = Running(folder, spec(broker, "away"))
        read_until(p, 1000)
        broker.kill()
        p.await_true(lambda: p.get("/v1/status").json["sources"][0]["state"] == "waiting")
        broker.start()
        broker.produce("away", records(2000, 1000, 2))
        read_until(p, 3000)
        assert p.stop() == 0
        assert len(log_values(folder)) == 3000
        ids = {json.loads(m.value())["id"] for part in broker.consume("away-out") for m in part}
        assert len(ids) == 3000
    finally:
        broker.stop()


@pytest.mark.parametrize("module", ["source", "sink"])
def test_without_a_broker(tmp_path, module):
    """Nobody listens: it says so, and the pipeline runs on."""
    import kafka_broker

    kafka_broker.need_kafka(QUERN)
    port, = kafka_broker.free_ports(1)
    text = SPEC.format(brokers=f"127.0.0.1:{port}", topic="x", more="")
    lines = text.splitlines(keepends=True)
    text = "".join(line for line in lines if ("source:" in line) == (module == "source") or "kafka" not in line)
    if module == "source":
        text = text.replace("outputs:\n", "")
    p = Running(tmp_path, text)
    if module == "sink":
        p.post("/v1/streams/orders/events", event(0))
    p.await_true(lambda: "127.0.0.1:%d" % port in p.get("/v1/status").json[module + "s"][0]["detail"])
    assert p.get("/readyz").status == 200
    assert p.stop() in (0, 143)
