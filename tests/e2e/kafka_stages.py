# SPDX-License-Identifier: Apache-2.0
"""Pipelines in stages for tests: specs, what lies in the topics between them, and what must come out.

What must come out is made without Kafka and without Quern's stages: `quern pipe` says what the windows by the stream's
key are, over each partition of the input; and what those by another key are, over the events of each partition of the
topic between the stages, in the order in which they lie there. That topic is read here by its documented format
(src/engine/rekey_record.c), not by Quern."""
import json
import re
import struct
import subprocess

import kafka_run
from fraud_data import QUERN
from kafka_run import caught_up, stop_when

SPEC = """\
quern: 1
name: {name}
log: kafka:{brokers}
kafka: {{create: true, topics: {{pay: {topic}}}, {kafka}}}
snapshots: {{every: 200ms}}
streams:
  pay:
    id: tx
    time: at
    key: customer
    lateness: 10s
    late: {late}
    dedup: 1h
    fields:
      tx: int64
      at: {{type: timestamp, unit: ms}}
      customer: string
      terminal: {{type: string, optional: true}}
      shop: int64
      amount: {{type: decimal(2), min: 0}}
features:
  night: hour(at) < 6
  count_1h: count() by customer over 1h
  mean_1d: mean(amount) by customer over 1d or 0
  usual: mean(amount) by customer over 1d excluding current
  most_7d: max(amount) by terminal over 7d
  busy_2m: count() by terminal over 2m
  mine_1h: sum(amount) where amount > 10 by terminal, customer over 1h
  all_mean: mean(amount) by terminal over 10m excluding current or -1
  ratio: amount / usual
  both: mean_1d - all_mean
{more}outputs:
  predictions: {{include: [features]}}
  large: {{when: both > 20}}
"""
HEAD = struct.Struct("<BBBBIqqIIqqIIQQ")
BY = {"terminal": ("most_7d", "busy_2m", "all_mean"), "shop": ("shop_5m", "shop_max")}
MORE = """\
  shop_5m: count() by shop over 5m
  shop_max: max(amount) by shop over 1h excluding current
"""  # a third stage


def spec(broker, topic, late="score", kafka="commit: 10ms", more=""):
    return SPEC.format(name=topic, brokers=broker.bootstrap, topic=topic, kafka=kafka, late=late, more=more)


def keys(text):
    """Of the stages behind the first one."""
    return [key for key in BY if f" by {key} over" in text]


def card(rng, i):
    """A payment; a few are late, broken, repeats, or of no terminal."""
    customer = f"c{rng.randrange(40)}"
    at = 1_700_000_000_000 + i * 500 - (rng.randrange(60_000) if rng.random() < 0.05 else rng.randrange(2000))
    amount = "-1" if rng.random() < 0.01 else f"{rng.randrange(100)}.{rng.randrange(100):02}"
    terminal = "null" if rng.random() < 0.02 else f'"t{rng.randrange(25)}"'
    tx = i - rng.randrange(1, 50) if rng.random() < 0.01 else i
    value = f'{{"tx":{tx},"at":{at},"customer":"{customer}","terminal":{terminal},'
    value += f'"shop":{rng.randrange(7)},"amount":{amount}}}'
    if rng.random() < 0.005:
        value = value[:-1]
    return customer, value


def cards(rng, first, count, partitions):
    """(partition, value, key, headers) of so many payments; a customer's are all in one partition."""
    found = []
    for i in range(first, first + count):
        customer, value = card(rng, i)
        found.append((int(customer[1:]) % partitions, value.encode(), customer, [("trace", str(i).encode())]))
    return found


class Hop:
    """A record between two stages."""

    def __init__(self, message):
        v = message.value()
        (version, kind, self.verdict, flags, self.partition, self.offset, self.arrival, self.sender, key_len,
         self.sender_offset, self.newest, windows, event_len, _, _) = HEAD.unpack_from(v)
        assert version == 1 and kind in (1, 2)
        self.is_event, self.is_late, self.is_idle = kind == 1, bool(flags & 1), bool(flags & 8)
        at = HEAD.size + 12 * windows + (windows + 7) // 8
        self.key = v[at:at + key_len] if flags & 2 else None
        self.event = v[at + key_len:]
        assert len(self.event) == event_len and len(v) == at + key_len + event_len
        self.headers = message.headers()
        self.message_key = message.key()


def hops(broker, topic):
    """What read_committed sees of a topic between stages, by partition, without what was sent twice."""
    found = []
    for partition in broker.consume(topic):
        seen, events = {}, []
        for h in map(Hop, partition):
            if h.is_event and h.sender_offset > seen.get(h.sender, -1):
                seen[h.sender] = h.sender_offset
                events.append(h)
        found.append(events)
    return found


def pipe(folder, text, events, name):
    """Predictions of `quern pipe` over the events, as objects; those of output `large`, too."""
    plain = re.sub(r"(?m)^(log|kafka|snapshots|delivery):.*\n", "", text)
    (folder / f"{name}.yaml").write_text(plain)
    (folder / "events.ndjson").write_bytes(b"".join(v + b"\n" for v in events))
    out = subprocess.run([str(QUERN), "pipe", f"{name}.yaml", "--input", "pay=events.ndjson", "--quiet", "--dead",
                          "dead.ndjson", "--output", "large=large.ndjson"], cwd=folder, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    assert out.returncode == 0, out.stderr
    return out.stdout.splitlines()


def patient(text):
    """The same spec, for which nothing is late and nothing a repeat: that was judged before."""
    text = re.sub(r"late: .*", "late: score", text.replace("lateness: 10s", "lateness: 30d"))
    return text.replace("    dedup: 1h\n", "")


def wanted(broker, folder, text, topic):
    """Of every event that has an answer, by its position: the prediction."""
    answers = {}
    for p, partition in enumerate(broker.consume(topic)):
        for line in pipe(folder, text, [m.value() for m in partition], "first"):
            record = json.loads(line)
            offset = int(record["id"].split(":")[-1])
            record["id"] = f"{topic}:pay:{p}:{offset}"
            answers[p, offset] = record
    for key in keys(text):
        counted = set()
        for partition in hops(broker, f"{topic}.{key}.rekey"):
            lines = pipe(folder, patient(text), [h.event for h in partition], "behind")
            for h, line in zip(partition, lines, strict=True):
                place = h.partition, h.offset
                assert place not in counted
                counted.add(place)
                if h.verdict == 1:  # it only counts in windows
                    continue
                assert bool(answers[place].get("late")) == h.is_late
                answers[place]["features"].update({n: json.loads(line)["features"][n] for n in BY[key]})
        assert set(answers) <= counted
    for record in answers.values():
        features = record["features"]
        features["both"] = features["mean_1d"] - features["all_mean"]
        record["complete"] = None not in features.values()
    return answers


def compare(broker, folder, text, topic, once=True):
    """Every event has its answers, once, and they are what they must be; how many. Not once: repeats are equal."""
    want = wanted(broker, folder, text, topic)
    found, large = {}, {}
    for name, into in (("predictions", found), ("large", large)):
        for p, partition in enumerate(broker.consume(f"{topic}.{name}")):
            for m in partition:
                record = json.loads(m.value())
                place = tuple(map(int, record["id"].split(":")[-2:]))
                assert not once or place not in into, f"{record['id']} has two answers"
                assert once or dict(m.headers())["quern-id"].decode() == record["id"]
                assert into.setdefault(place, record) == record and place[0] == p
    for place, record in want.items():
        assert place in found, f"{record['id']} has no answer"
        assert found[place] == record, f"{record['id']}:\n  {found[place]}\n  {record}"
    assert set(found) == set(want)
    assert set(large) == {place for place, r in want.items() if r["features"]["both"] > 20}
    return len(want)


def groups(text, topic):
    """(group, topic) of the stages."""
    return [(f"{topic}.customer", topic), *((f"{topic}.{key}", f"{topic}.{key}.rekey") for key in keys(text))]


def finish(processes, broker, text, topic, seconds=120):
    """Waits until every stage has committed all there is, stops the processes."""
    found = broker.admin().list_topics(timeout=20).topics
    stop_when(lambda: all(caught_up(broker, t, g, len(found[t].partitions)) for g, t in groups(text, topic)), processes,
              seconds)


class Writer(kafka_run.Writer):
    """Goes on producing such payments until told to stop."""

    make = staticmethod(cards)
