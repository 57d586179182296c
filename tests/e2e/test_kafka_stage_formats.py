# SPDX-License-Identifier: Apache-2.0
"""Stages behind records with schemas and with envelopes: the same answers, the same dead letters as in one stage.

With one partition everywhere the order is that of the topic, so the pipeline in stages is held, byte for byte, against
the same spec with `rekey: false`, whose answers other tests hold against the writers' own values."""
import datetime
import json
import struct

from kafka_run import Process, caught_up, finish, stop_when
from test_kafka_envelopes import CHANGES, CLOUDEVENTS, START, cloud_event
from test_kafka_formats import avro_bytes, simple

SPEC = """\
quern: 1
name: {topic}
log: kafka:{brokers}
kafka: {{create: true, group: {topic}-{how}, rekey: {rekey}, topics: {{orders: {topic}, predictions: {topic}.{how},
         dead: {topic}.{how}-dead}}}}
{registry}streams:
  orders:
    key: {first}
{stream}features:
  by_key: sum(amount) by {first} over 1h
  by_other: count() by {second} over 10m
  both: by_key + by_other
outputs:
  predictions: {{include: [features, event]}}
"""
AVRO = """\
    id: order_id
    time: at
    lateness: 30d
    format: avro
    fields: {order_id: int64, at: timestamp, amount: {type: double, min: 0}, shop: string, till: int64}
"""


def answers(kafka, folder, topic, stream, first, second, registry=""):
    """Of one stage, and of two: (value, key, headers) of predictions and of dead letters."""
    found = {}
    for how in ("one", "two"):
        text = SPEC.format(topic=topic, brokers=kafka.bootstrap, how=how, rekey="false" if how == "one" else "true",
                           stream=stream, first=first, second=second, registry=registry)
        own = folder / how
        own.mkdir()
        p = Process(own, text)
        if how == "one":
            finish([p], kafka, topic, 1, group=f"{topic}-one")
        else:
            stages = [(f"{topic}-two.{first}", topic), (f"{topic}-two.{second}", f"{topic}-two.{second}.rekey")]
            stop_when(lambda: all(caught_up(kafka, t, g, 1) for g, t in stages), [p])
        found[how] = [[(m.value(), m.key(), m.headers()) for m in kafka.consume(f"{topic}.{how}{part}")[0]]
                      for part in ("", "-dead")]
    return found["one"], found["two"]


def test_avro(kafka, registry, tmp_path):
    """The first stage reads by schemas; behind it lies JSON. Keys and headers go all the way."""
    topic = "stage-avro"
    schema = simple({"name": "amount", "type": "double"}, {"name": "shop", "type": "string"},
                    {"name": "till", "type": ["null", "long"]})
    at = datetime.datetime(2026, 5, 1, tzinfo=datetime.timezone.utc)
    good = avro_bytes(registry, topic, schema, [
        {"order_id": i, "at": at + datetime.timedelta(seconds=20 * i), "amount": i / 8 - (i % 50 == 7) * 99,
         "shop": f"s{i % 5}", "till": i % 7 or None} for i in range(400)])
    unknown = b"\0" + struct.pack(">I", 2**31 + 7) + good[0][5:]
    messages = [bad for i, g in enumerate(good) for bad in ([g] if i % 40 else [g, b"{}", unknown, g[:-2]])]
    kafka.create(topic, 1)
    kafka.produce(topic, [(0, m, b"k%d" % i, [("trace", b"%d" % i)]) for i, m in enumerate(messages)])
    one, two = answers(kafka, tmp_path, topic, AVRO, "shop", "till", f'schema_registry: {{url: "{registry.url}"}}\n')
    assert two == one
    assert len(one[0]) > 300 and len(one[1]) > 30
    assert all({"trace", "quern.schema_id"} <= {k for k, _ in headers} for _, _, headers in two[0])


def test_cloudevents(kafka, tmp_path):
    """Attributes in headers (binary mode) are there for the second stage, too."""
    from cloudevents.core.bindings.kafka import to_binary_event, to_structured_event

    topic, records = "stage-ce", []
    for i in range(200):
        m = (to_binary_event, to_structured_event)[i // 2 % 2](cloud_event(i)[0])
        records.append((0, m.value, m.key, list(m.headers.items())))
    for i in range(0, 200, 20):  # no CloudEvents
        records.insert(3 * i // 2, (0, records[0][1], None, [("traceparent", b"00-x")]))
    kafka.create(topic, 1)
    kafka.produce(topic, records)
    one, two = answers(kafka, tmp_path, topic, CLOUDEVENTS, "customer", "subject")
    assert two == one and len(two[0]) == 200 and len(two[1]) == 10
    assert {json.loads(v)["event"]["at"][:10] for v, *_ in two[0]} == {START.date().isoformat()}


def test_debezium(kafka, tmp_path):
    """Changes of rows, deletes among them; tombstones are nothing in either."""
    topic, records = "stage-dbz", []
    for i in range(300):
        row = {"id": i // 3, "customer": f"c{i // 3 % 6}", "amount": i / 4}
        before = {**row, "amount": (i - 1) / 4}
        op = "crud"[i % 4] if i % 3 == 0 else "ud"[i % 2]
        value = {"op": op, "before": None if op in "cr" else before, "after": None if op == "d" else row,
                 "source": {"ts_ms": 1_777_000_000_000 + i * 1000}, "ts_ms": 1_777_000_000_500 + i * 1000}
        records.append((0, json.dumps(value).encode(), b"%d" % (i // 3)))
        if op == "d":
            records.append((0, None, b"%d" % (i // 3)))
    kafka.create(topic, 1)
    kafka.produce(topic, records)
    one, two = answers(kafka, tmp_path, topic, CHANGES.format(deletes="event"), "customer", "op")
    assert two == one and len(two[0]) == 300 and two[1] == []
