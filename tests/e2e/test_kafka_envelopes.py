# SPDX-License-Identifier: Apache-2.0
"""Envelopes of records in Kafka: CloudEvents written by the official Python package, and changes as Debezium writes
them, as JSON and, through a schema registry, as Avro.

The values that are expected are those that were given to the writers, never what Quern says."""
import base64
import datetime
import decimal
import json
import shutil

from kafka_run import Process, finish
from running import Running
from test_kafka_formats import EPOCH, HEAD, avro_bytes, events, exact, letters, log_records, read, stamp

START = datetime.datetime(2026, 5, 1, 10, tzinfo=datetime.timezone.utc)

CLOUDEVENTS = """\
    id: event_id
    time: at
    lateness: 30d
    envelope: cloudevents
    fields:
      event_id: {type: string, from: ce.id}
      at: {type: timestamp, from: ce.time}
      kind: {type: string, from: ce.type}
      subject: {type: string, from: ce.subject, optional: true}
      rate: {type: int64, from: ce.samplingrate, optional: true}
      customer: string
      amount: decimal(2)
"""
SPENT = """\
features:
  spent: sum(amount) by customer over 1h
outputs:
  predictions: {include: [features, event]}
"""
LOCAL = "quern: 1\nname: shop\nlog: local:./data\nstorage: {segment: 32MiB, durability: none}\nstreams:\n  orders:\n"
TOPIC = "quern: 1\nname: {0}\nlog: kafka:{1}\nkafka: {{topics: {{orders: {0}}}}}\nstreams:\n  orders:\n"


def source(kafka, topic):
    return f'    source: {{kafka: {{brokers: "{kafka.bootstrap}", topic: {topic}}}}}\n'


def cloud_event(i):
    """An event, as the package takes it, and what it says."""
    from cloudevents.core.v1.event import CloudEvent

    attributes = {"id": f"é{i}", "source": "/shop/1", "type": "shop.order", "specversion": "1.0",
                  "time": START + datetime.timedelta(seconds=i), "datacontenttype": "application/json"}
    if i % 3 == 0:
        attributes |= {"subject": f'a "{i}" \\ ü', "samplingrate": i}
    data = {"customer": f"c{i % 4}", "amount": i + 0.25}
    want = {"event_id": attributes["id"], "at": stamp(attributes["time"]), "kind": "shop.order",
            "subject": attributes.get("subject"), "rate": attributes.get("samplingrate"), **data}
    return CloudEvent(attributes, data), want


def test_cloudevents(kafka, tmp_path):
    """Both modes, in turn, into a local log and with the log in Kafka: the same events; what is no CloudEvent is a dead
    letter with its bytes, its headers and words; a replay of the log comes to the same answers."""
    from cloudevents.core.bindings.kafka import to_binary_event, to_structured_event

    records, want = [], []
    for i in range(40):
        event, values = cloud_event(i)
        m = (to_binary_event, to_structured_event)[i % 2](event)
        records.append((0, m.value, m.key, list(m.headers.items())))
        want.append(values)
    binary, broken = records[0], []
    for value, headers, reason, detail in (
            (binary[1], [h for h in binary[3] if h[0] != "ce_source"], "bad_envelope",
             "the CloudEvent has no 'source'"),
            (binary[1], [("traceparent", b"00-x")], "bad_envelope",
             "neither a header 'ce_specversion' (binary mode) nor a member 'specversion' (structured mode)"),
            (b"[]", [("content-type", b"application/cloudevents-batch+json")], "bad_envelope",
             "it is application/cloudevents-batch+json, and application/cloudevents+json is read"),
            (b"{", binary[3], "bad_json", None), (b"[1]", binary[3], "not_an_object", None)):
        broken.append((reason, detail, value, headers))
        records.append((0, value, None, headers))
    records.append((0, None, b"gone", None))  # a tombstone
    for name in ("ce", "ce.predictions", "ce.dead"):
        kafka.create(name, 1)
    kafka.produce("ce", records)

    folder = tmp_path / "local"
    folder.mkdir()
    text = LOCAL + source(kafka, "ce") + CLOUDEVENTS + SPENT
    p = Running(folder, text)
    read(p, len(records))
    counts = p.get("/v1/status").json["streams"][0]
    assert p.stop() == 0
    assert (counts["read"], counts["scored"], counts["dead"]) == (46, 40, 6)
    assert [{**e["event"], "amount": float(e["event"]["amount"])} for e in events(folder, "predictions")] == want
    kept = log_records(folder, "orders")
    assert [r["value"] for r in kept] == [v.decode() if v else "null" for _, v, *_ in records], "the log has what came"
    found = letters(folder)
    assert [(d["reason"], d.get("detail"), d["event"].encode()) for d in found] == [b[:3] for b in broken]
    assert [sorted(d["headers"].items()) for d in found] == [
        sorted((k, v.decode() if isinstance(v, bytes) else v) for k, v in b[3]) for b in broken]
    shutil.rmtree(folder / "data" / "snapshots", ignore_errors=True)
    p = Running(folder, text)  # replays everything, and holds it against what was committed
    read(p, len(records))
    assert p.stop() == 0 and "diverges" not in p.log.read_text()

    folder = tmp_path / "topic"
    folder.mkdir()
    p = Process(folder, TOPIC.format("ce", kafka.bootstrap) + CLOUDEVENTS + SPENT)
    p.ready()
    finish([p], kafka, "ce", 1)
    got = [json.loads(m.value()) for m in kafka.consume("ce.predictions")[0]]
    assert [{**e["event"], "amount": float(e["event"]["amount"])} for e in got] == want
    dead = [(m.value(), {k: v.decode() for k, v in m.headers()}) for m in kafka.consume("ce.dead")[0]]
    assert [(h["quern.reason"], h.get("quern.detail"), v) for v, h in dead] == [b[:3] for b in broken]


# ---- Debezium --------------------------------------------------------------------------------------------------------

CHANGES = """\
    id: id
    time: at
    lateness: 30d
    envelope: debezium
    deletes: {deletes}
    fields:
      id: int64
      at: {{type: timestamp, from: source.ts_ms, unit: ms}}
      op: string
      lsn: {{type: int64, from: source.lsn, optional: true}}
      customer: string
      amount: decimal(2)
      was: {{type: decimal(2), from: before.amount, optional: true}}
      placed: {{type: timestamp, unit: us, optional: true}}
"""


def source_of(i):
    return {"version": "3.2.0.Final", "connector": "postgresql", "name": "shop", "ts_ms": 1777629600000 + 1000 * i,
            "snapshot": "false", "db": "shop", "schema": "public", "table": "orders", "txId": 700 + i,
            "lsn": 33000000 + i}


def row(i, amount):
    return {"id": i, "customer": f"c{i % 3}", "amount": amount, "placed": 1777629500123456 + i}


def change(op, i, before, after):
    return {"before": before, "after": after, "source": source_of(i), "transaction": None, "op": op,
            "ts_ms": 1777629600500 + 1000 * i}


def cents(i):
    return decimal.Decimal(i * 731 % 100000).scaleb(-2)


def history(amount):
    """(op, change or None, event that it must be or None) of some rows; amount: how an amount is written."""
    for i in range(30):
        now, then = row(i, amount(cents(i))), row(i, amount(cents(i + 7)))
        at = stamp(EPOCH + datetime.timedelta(milliseconds=source_of(i)["ts_ms"]))
        placed = stamp(EPOCH + datetime.timedelta(microseconds=now["placed"]))
        op = "rcud"[i % 4]
        event = {"id": i, "at": at, "op": op, "lsn": 33000000 + i, "customer": now["customer"], "amount": cents(i),
                 "was": cents(i + 7) if op == "u" else cents(i) if op == "d" else None, "placed": placed}
        yield op, change(op, i, now if op == "d" else then if op == "u" else None, None if op == "d" else now), event
        if op == "d":
            yield "tombstone", None, None


def seen(found):
    """Events of predictions, with exact numbers."""
    return [{k: decimal.Decimal(str(v)) if k in ("amount", "was") and v is not None else v
             for k, v in e["event"].items()} for e in found]


SCHEMA_ROW = [
    {"type": "int64", "optional": False, "field": "id"}, {"type": "string", "optional": False, "field": "customer"},
    {"type": "bytes", "optional": False, "name": "org.apache.kafka.connect.data.Decimal", "version": 1,
     "parameters": {"scale": "2", "connect.decimal.precision": "12"}, "field": "amount"},
    {"type": "int64", "optional": True, "name": "io.debezium.time.MicroTimestamp", "version": 1, "field": "placed"}]
SCHEMA = {"type": "struct", "optional": False, "name": "shop.public.orders.Envelope", "version": 2, "fields": [
    {"type": "struct", "optional": True, "name": "shop.public.orders.Value", "fields": SCHEMA_ROW, "field": "before"},
    {"type": "struct", "optional": True, "name": "shop.public.orders.Value", "fields": SCHEMA_ROW, "field": "after"},
    {"type": "struct", "optional": False, "name": "io.debezium.connector.postgresql.Source", "field": "source",
     "fields": [{"type": "int64", "optional": False, "field": "ts_ms"},
                {"type": "int64", "optional": True, "field": "lsn"}]},
    {"type": "string", "optional": False, "field": "op"}, {"type": "int64", "optional": True, "field": "ts_ms"}]}


def unscaled(amount):
    """As Connect writes a Decimal: base64 of the big-endian number without its point."""
    n = int(amount.scaleb(2))
    return base64.b64encode(n.to_bytes(n.bit_length() // 8 + 1, "big", signed=True)).decode()


def test_debezium(kafka, tmp_path):
    """Changes with and without Connect's schema, with the log in Kafka: rows are events, deletes by policy, tombstones
    are counted, and the counts add up."""
    records, want = [], []
    for amount, wrap in ((unscaled, lambda c: {"schema": SCHEMA, "payload": c}), (str, lambda c: c)):
        for _, value, event in history(amount):
            records.append((0, json.dumps(wrap(value)).encode() if value else None, b"key"))
            want += [event] if event else []
    records += [(0, json.dumps({"source": source_of(1), "op": "t", "ts_ms": 5}).encode()),
                (0, b'{"op":"c","after":null}')]
    tombstones = sum(r[1] is None for r in records)
    for deletes in ("event", "drop"):
        topic = f"dbz-{deletes}"
        for name in (topic, f"{topic}.predictions", f"{topic}.dead"):
            kafka.create(name, 1)
        kafka.produce(topic, records)
        folder = tmp_path / deletes
        folder.mkdir()
        p = Process(folder, TOPIC.format(topic, kafka.bootstrap) + CHANGES.format(deletes=deletes) + SPENT)
        p.ready()
        p.await_true(lambda: p.get("/v1/status").json["streams"][0]["read"] == len(records))
        metrics = p.get("/metrics").body.decode()
        finish([p], kafka, topic, 1)
        kept = [e for e in want if deletes == "event" or e["op"] != "d"]
        assert seen(exact(m.value()) for m in kafka.consume(f"{topic}.predictions")[0]) == kept
        dead = {k: v.decode() for k, v in kafka.consume(f"{topic}.dead")[0][0].headers()}
        assert (dead["quern.reason"], dead["quern.detail"]) == ("bad_envelope", "op \"c\", and 'after' is not there")
        assert len(kafka.consume(f"{topic}.dead")[0]) == 1, "what is no event is no dead letter"
        for reason, count in (("tombstone", tombstones), ("no_row", 1), ("bad_envelope", 1),
                              *([("deleted", len(want) - len(kept))] if deletes == "drop" else [])):
            assert f'reason="{reason}"}} {count}\n' in metrics, reason


VALUE = {"type": "record", "name": "Value", "fields": [
    {"name": "id", "type": "long"}, {"name": "customer", "type": "string"},
    {"name": "amount", "type": {"type": "bytes", "scale": 2, "precision": 12, "logicalType": "decimal",
                                "connect.version": 1,
                                "connect.parameters": {"scale": "2", "connect.decimal.precision": "12"},
                                "connect.name": "org.apache.kafka.connect.data.Decimal"}},
    {"name": "placed", "type": ["null", {"type": "long", "connect.version": 1,
                                         "connect.name": "io.debezium.time.MicroTimestamp"}], "default": None}],
    "connect.name": "shop.public.orders.Value"}
ENVELOPE = {"type": "record", "name": "Envelope", "namespace": "shop.public.orders", "connect.version": 2, "fields": [
    {"name": "before", "type": ["null", VALUE], "default": None},
    {"name": "after", "type": ["null", "Value"], "default": None},
    {"name": "source", "type": {"type": "record", "name": "Source", "namespace": "io.debezium.connector.postgresql",
                                "fields": [
        {"name": "version", "type": "string"}, {"name": "connector", "type": "string"},
        {"name": "name", "type": "string"},
        {"name": "ts_ms", "type": "long"},
        {"name": "snapshot", "type": [{"type": "string", "connect.default": "false"}, "null"], "default": "false"},
        {"name": "db", "type": "string"}, {"name": "schema", "type": "string"}, {"name": "table", "type": "string"},
        {"name": "txId", "type": ["null", "long"], "default": None},
        {"name": "lsn", "type": ["null", "long"], "default": None}]}},
    {"name": "transaction", "type": ["null", {"type": "record", "name": "block", "namespace": "event", "fields": [
        {"name": "id", "type": "string"}, {"name": "total_order", "type": "long"}]}], "default": None},
    {"name": "op", "type": "string"}, {"name": "ts_ms", "type": ["null", "long"], "default": None}],
    "connect.name": "shop.public.orders.Envelope"}


def test_debezium_avro(kafka, registry, tmp_path):
    """The same changes as Connect's Avro converter writes them: decoded at the door, opened behind it."""
    changes = list(history(lambda amount: amount))
    values = iter(avro_bytes(registry, "dbz-avro", ENVELOPE, [value for _, value, _ in changes if value]))
    messages = [next(values) if value else None for _, value, _ in changes]
    kafka.create("dbz-avro", 1)
    kafka.produce("dbz-avro", [(0, m, b"key") for m in messages])
    head = HEAD.format(registry=registry.url) + "  orders:\n    format: avro\n"
    p = Running(tmp_path, head + source(kafka, "dbz-avro") + CHANGES.format(deletes="event") + SPENT)
    read(p, len(messages))
    counts = p.get("/v1/status").json["streams"][0]
    assert p.stop() == 0
    want = [event for _, _, event in changes if event]
    assert seen(events(tmp_path, "predictions")) == want
    assert (counts["scored"], counts["dead"]) == (len(want), len(messages) - len(want))
    assert letters(tmp_path) == []

    for name in ("dbz-avro.predictions", "dbz-avro.dead"):
        kafka.create(name, 1)
    folder = tmp_path / "topic"
    folder.mkdir()
    head = TOPIC.format("dbz-avro", kafka.bootstrap)
    head = head.replace("streams:", f'schema_registry: {{url: "{registry.url}"}}\nstreams:') + "    format: avro\n"
    p = Process(folder, head + CHANGES.format(deletes="event") + SPENT)
    p.ready()
    finish([p], kafka, "dbz-avro", 1)
    assert seen(exact(m.value()) for m in kafka.consume("dbz-avro.predictions")[0]) == want
    assert kafka.consume("dbz-avro.dead")[0] == []
