# SPDX-License-Identifier: Apache-2.0
"""Pipelines whose log lies in Kafka, for tests: specs, processes, and what must come out.

What must come out is made by the same program without Kafka: `quern pipe` over the events of each partition alone. Ids
have the partition in them, nothing else differs."""
import json
import os
import re
import subprocess
import threading
import time

from fraud_data import QUERN
from running import Running

PAYMENTS = """\
  pay:
    id: tx
    time: at
    key: customer
    lateness: 10s
    fields:
      tx: int64
      at: {type: timestamp, unit: ms}
      customer: string
      terminal: string
      amount: {type: decimal(2), min: 0}
"""  # the stream that card() fills

SPEC = """\
quern: 1
name: {name}
log: kafka:{brokers}
kafka: {{topics: {{pay: {topic}}}, {kafka}}}
snapshots: {{every: {every}}}
streams:
{payments}features:
  count_1h: count() by customer over 1h
  mean_1d: mean(amount) by customer over 1d
  most_7d: max(amount) by terminal, customer over 7d
  usual: mean(amount) by customer over 1d excluding current
outputs:
  predictions: {{include: [features]}}
  large: {{when: amount > 90}}
"""


def spec(broker, topic, every="200ms", kafka="commit: 10ms"):
    return SPEC.format(name=topic, brokers=broker.bootstrap, topic=topic, every=every, kafka=kafka, payments=PAYMENTS)


def create(broker, topic, partitions):
    for name in (topic, f"{topic}.predictions", f"{topic}.large", f"{topic}.dead"):
        broker.create(name, partitions)


def card(rng, i):
    """A payment; a few are late, a few are broken."""
    customer = f"c{rng.randrange(40)}"
    at = 1_700_000_000_000 + i * 500 - (60_000 if rng.random() < 0.02 else rng.randrange(2000))
    amount = "-1" if rng.random() < 0.01 else f"{rng.randrange(100)}.{rng.randrange(100):02}"
    value = f'{{"tx":{i},"at":{at},"customer":"{customer}","terminal":"t{rng.randrange(25)}","amount":{amount}}}'
    if rng.random() < 0.005:
        value = value[:-1]
    return customer, value


def cards(rng, first, count, partitions):
    """(partition, value, key) of so many payments; a customer's are all in one partition."""
    found = []
    for i in range(first, first + count):
        customer, value = card(rng, i)
        found.append((int(customer[1:]) % partitions, value.encode(), customer))
    return found


running = []  # what a test that failed leaves is ended behind it (conftest.py)


class Process(Running):
    """One `quern run` on Kafka in a folder that several may share."""

    def __init__(self, folder, text, name="one", instance=None, options=(), env=None):
        if not (folder / "spec.yaml").exists() or (folder / "spec.yaml").read_text() != text:
            (folder / "spec.yaml").write_text(text)  # others may be reading it
        self.folder, self.http, self.options, self.tls = folder, "127.0.0.1:0", options, None
        self.env = {**(env or os.environ), "INSTANCE": instance or ""}
        self.name = name
        self.start()

    def start(self):
        self.log = self.folder / f"stderr-{self.name}"
        with self.log.open("wb") as err:
            self.process = subprocess.Popen([str(QUERN), "run", "spec.yaml", "--http", self.http, *self.options],
                                            cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=err)
        running.append(self.process)

    def ready(self, seconds=60):
        self.await_true(self.find_port, seconds)
        self.await_true(lambda: self.get("/readyz").status == 200, seconds)

    def said(self):
        return self.log.read_text()


def ours(p):
    """The partitions that a process says it has."""
    return sorted(s["partition"] for s in p.get("/v1/status").json["log"]["ours"])


def expected(folder, text, events):
    """What `quern pipe` says of each partition's events: per topic and partition the records in order."""
    plain = re.sub(r"(?m)^(log|kafka|snapshots|delivery):.*\n", "", text)
    (folder / "plain.yaml").write_text(plain)
    found = {"predictions": [], "large": [], "dead": []}
    for p, values in enumerate(events):
        (folder / "events.ndjson").write_bytes(b"".join(v + b"\n" for v in values))
        out = subprocess.run([str(QUERN), "pipe", "plain.yaml", "--input", "pay=events.ndjson", "--quiet",
                              "--dead", "dead.ndjson", "--output", "large=large.ndjson"], cwd=folder,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert out.returncode == 0, out.stderr
        place = b":pay:0:", b":pay:%d:" % p
        found["predictions"].append([r.replace(*place, 1) for r in out.stdout.splitlines()])
        found["large"].append([r.replace(*place, 1) for r in (folder / "large.ndjson").read_bytes().splitlines()])
        dead = map(json.loads, (folder / "dead.ndjson").read_bytes().splitlines())
        found["dead"].append([(d["event"].encode(), d["reason"]) for d in dead])
    return found


def compare(broker, folder, text, topic):
    """Everything in the topics is, by partition, byte for byte and in order, what it must be; how many predictions."""
    events = [[m.value() for m in partition] for partition in broker.consume(topic)]
    want = expected(folder, text, events)
    for name in ("predictions", "large"):
        got = [[m.value() for m in partition] for partition in broker.consume(f"{topic}.{name}")]
        for p, (g, w) in enumerate(zip(got, want[name], strict=True)):
            assert len(g) == len(w), f"{name}, partition {p}: {len(g)} records, {len(w)} must be there"
            for i, (a, b) in enumerate(zip(g, w)):
                assert a == b, f"{name}, partition {p}, record {i}:\n  {a}\n  {b}"
    for p, partition in enumerate(broker.consume(f"{topic}.dead")):
        got = [(m.value(), dict(m.headers())["quern.reason"].decode()) for m in partition]
        assert len(got) == len(want["dead"][p]), f"dead letters of partition {p}"
        for i, (a, b) in enumerate(zip(got, want["dead"][p])):
            assert a == b, f"dead letters of partition {p}, record {i}:\n  {a}\n  {b}"
        for m in partition:
            h = {k: v.decode() for k, v in m.headers()}
            assert h["__connect.errors.topic"] == topic and int(h["__connect.errors.partition"]) == p
    return sum(map(len, want["predictions"]))


def caught_up(broker, topic, group, partitions):
    """True when the group has committed the end of every partition."""
    from confluent_kafka import Consumer

    c = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "looking"})
    ends = [broker.end_of(c, topic, p) for p in range(partitions)]
    c.close()
    return [o if o >= 0 else 0 for o in broker.committed(group, topic, partitions)] == ends


def stop_when(is_done, processes, seconds=120):
    """Waits until all of them are there and it is so, while they run, and stops them."""
    end = time.monotonic() + seconds
    for p in processes:
        p.ready(seconds)
    while not is_done():
        assert time.monotonic() < end, "\n".join(
            f"{p.said()}{json.dumps(p.get('/v1/status').json['log'])}" for p in processes)
        for p in processes:
            assert p.process.poll() is None, p.said()
        time.sleep(0.1)
    for p in processes:
        assert p.stop() == 0, p.said()


def finish(processes, broker, topic, partitions, seconds=120, group=None):
    """Waits until all is committed, stops them."""
    stop_when(lambda: caught_up(broker, topic, group or topic, partitions), processes, seconds)


class Writer(threading.Thread):
    """Goes on producing payments until told to stop."""

    make = staticmethod(cards)

    def __init__(self, kafka, topic, partitions, rng, rate=2000):
        super().__init__(daemon=True)
        self.kafka, self.topic, self.partitions, self.rng, self.rate = kafka, topic, partitions, rng, rate
        self.count, self.enough, self.failure = 0, threading.Event(), None

    def run(self):
        try:
            begun = time.monotonic()
            while not self.enough.is_set():
                count = int((time.monotonic() - begun) * self.rate) - self.count
                if count > 0:
                    self.kafka.produce(self.topic, self.make(self.rng, self.count, count, self.partitions))
                    self.count += count
                time.sleep(0.02)
        except Exception as error:  # noqa: BLE001 - told by the main thread
            self.failure = error

    def end(self):
        self.enough.set()
        self.join()
        assert self.failure is None and self.count > 0, self.failure
