# SPDX-License-Identifier: Apache-2.0
"""Avro, Protobuf and JSON Schema through a schema registry, written by the official Python clients and read by Quern;
schemas that evolve, and messages that nothing can be made of.

The values that are expected are those that were given to the clients, never what Quern says."""
import base64
import datetime
import decimal
import json
import struct
import subprocess
import time
import uuid

import pytest

import schema_registry
from fraud_data import QUERN
from running import Running

UTC = datetime.timezone.utc
HEAD = """\
quern: 1
name: shop
log: local:./data
storage: {{segment: 32MiB, durability: none}}
schema_registry: {{url: "{registry}"}}
streams:
"""


def exact(text):
    return json.loads(text, parse_float=decimal.Decimal)


def log_records(folder, topic):
    out = subprocess.run([str(QUERN), "log", "data", "--print", topic], cwd=folder, check=True,
                         stdout=subprocess.PIPE).stdout
    return [exact(line) for line in out.splitlines()]


def events(folder, topic):
    return [exact(r["value"]) for r in log_records(folder, topic)]


def letters(folder):
    """Dead letters as `quern dlq list` shows them."""
    out = subprocess.run([str(QUERN), "dlq", "list", "spec.yaml", "--json", "-n", "0"], cwd=folder, check=True,
                         stdout=subprocess.PIPE)
    return [json.loads(line) for line in out.stdout.splitlines()]


def read(p, count):
    p.await_true(lambda: sum(s["read"] for s in p.get("/v1/status").json["streams"]) >= count, 120)


def context(topic):
    from confluent_kafka.serialization import MessageField, SerializationContext

    return SerializationContext(topic, MessageField.VALUE)


def avro_bytes(registry, topic, schema, values):
    from confluent_kafka.schema_registry.avro import AvroSerializer

    s = AvroSerializer(registry.client(), json.dumps(schema))
    return [s(v, context(topic)) for v in values]


def id_of(message):
    return struct.unpack(">I", message[1:5])[0]


# ---- Avro ------------------------------------------------------------------------------------------------------------

ADDRESS = {"type": "record", "name": "Address", "namespace": "shop.types",
           "fields": [{"name": "city", "type": "string"}, {"name": "next", "type": ["null", "Address"]}]}
ORDER = {"type": "record", "name": "Order", "namespace": "shop", "fields": [
    {"name": "order_id", "type": "long"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "ms", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2}},
    {"name": "small", "type": {"type": "fixed", "name": "Small", "size": 3, "logicalType": "decimal", "precision": 6,
                               "scale": 4}},
    {"name": "customer", "type": ["null", "string"], "default": None},
    {"name": "weight", "type": "float"},
    {"name": "ratio", "type": "double"},
    {"name": "count", "type": "int"},
    {"name": "paid", "type": "boolean"},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["CARD", "CASH"]}},
    {"name": "raw", "type": "bytes"},
    {"name": "uid", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "tags", "type": {"type": "array", "items": "string"}},
    {"name": "prices", "type": {"type": "map", "values": ["double", "string"]}},
    {"name": "home", "type": ADDRESS},
    {"name": "other", "type": ["null", "shop.types.Address"]},
]}
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)


def order(i):
    """An order, as the client takes it."""
    edges = [0, 1, -1, 2**63 - 1, -2**63, 2**53 + 1]
    at = datetime.datetime(2026, 5, 1, tzinfo=UTC) + datetime.timedelta(seconds=i, microseconds=i * 37 % 1000000)
    cents = [0, 5, -5, 123456, -1, 10**20 + 7, -(10**30)][i % 7]
    return {"order_id": edges[i] if i < len(edges) else i * 7919,
            "at": at, "ms": at.replace(microsecond=at.microsecond // 1000 * 1000),
            "day": datetime.date(1960, 2, 28) + datetime.timedelta(days=97 * i),
            "amount": decimal.Decimal(cents).scaleb(-2, decimal.Context(prec=40)),
            "small": decimal.Decimal(i * 311 - 2000).scaleb(-4),
            "customer": None if i % 3 == 0 else f'Zoë "{i}" \\ \n 🐟',
            "weight": struct.unpack("<f", struct.pack("<f", i / 7))[0], "ratio": [0.1, -0.0, 1e300, 5e-324][i % 4] * i,
            "count": [0, 2**31 - 1, -2**31][i % 3], "paid": i % 2 == 0, "kind": ["CARD", "CASH"][i % 2],
            "raw": bytes(range(i % 5)), "uid": str(uuid.UUID(int=i * 0x123456789ABCDEF)),
            "tags": [f"t{n}" for n in range(i % 4)], "prices": {f"p{n}": [n / 2, str(n)][n % 2] for n in range(i % 3)},
            "home": {"city": f"c{i}", "next": {"city": "n", "next": None} if i % 2 else None},
            "other": {"city": "o", "next": None} if i % 5 == 0 else None}


def stamp(t):
    return t.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def order_as_json(o):
    """What an event must be: numbers with all their digits, times as text, bytes as base64."""
    def number(v):
        return decimal.Decimal(repr(v)) if isinstance(v, float) else v

    return {**o, "at": stamp(o["at"]), "ms": stamp(o["ms"]),
            "day": o["day"].isoformat() + "T00:00:00.000000Z", "weight": number(o["weight"]),
            "ratio": number(o["ratio"]), "raw": base64.b64encode(o["raw"]).decode(),
            "prices": {k: number(v) for k, v in o["prices"].items()}}


AVRO = HEAD + """\
  orders:
    id: order_id
    time: at
    lateness: 30d
    format: avro
    fields:
      order_id: int64
      at: timestamp
      amount: {{type: decimal(2), optional: true}}
      customer: {{type: string, optional: true}}
      city: {{type: string, from: home.city}}
      weight: double
    source: {{kafka: {{brokers: "{brokers}", topic: {topic}}}}}
"""


def test_avro(kafka, registry, tmp_path):
    """Every type and logical type of Avro is in the event as it was given to the client; headers and keys come too."""
    kafka.create("avro", 1)
    values = [order(i) for i in range(60)]
    trace = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
    messages = avro_bytes(registry, "avro", ORDER, values)
    kafka.produce("avro", [(0, m, b"key%d" % i, trace) for i, m in enumerate(messages)])
    p = Running(tmp_path, AVRO.format(registry=registry.url, brokers=kafka.bootstrap, topic="avro"))
    read(p, 60)
    assert p.stop() == 0
    for got, want in zip(events(tmp_path, "orders"), values, strict=True):
        want = order_as_json(want)
        assert list(got) == list(want)
        for name in want:
            assert got[name] == want[name], name
    good = [r for r in log_records(tmp_path, "predictions")]
    assert len(good) == 60 - sum(v["amount"].copy_abs() > 10**16 for v in values)
    assert good[0]["headers"] == [list(trace[0]), ["quern.schema_id", str(id_of(messages[0]))]]
    assert good[0]["key"] == "key0"
    assert {d["reason"] for d in letters(tmp_path)} == {"not_exact"}


def simple(*fields):
    return {"type": "record", "name": "Simple", "namespace": "shop", "fields": [
        {"name": "order_id", "type": "long"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}, *fields]}


EVOLVING = HEAD + """\
  orders:
    id: order_id
    time: at
    lateness: 30d
    format: avro
    fields:
      order_id: int64
      at: timestamp
      amount: double
      note: {{type: string, optional: true}}
      channel: {{type: string, default: shop}}
    source: {{kafka: {{brokers: "{brokers}", topic: {topic}}}}}
features:
  twice: amount * 2
outputs:
  predictions: {{include: [features, event]}}
"""


def test_evolution_and_poison(kafka, registry, tmp_path):
    """Fields that come, go and widen are read by the contract; what does not fit it, or nothing can read, is a dead
    letter that names its schema."""
    at, int_, note = EPOCH + datetime.timedelta(days=20000), {"name": "amount", "type": "int"}, {
        "name": "note", "type": ["null", "string"], "default": None}
    steps = [
        (simple(int_, note), {"amount": 1, "note": "x"}),                                            # at first
        (simple({"name": "amount", "type": "long"}, note), {"amount": 2, "note": None}),             # int to long
        (simple({"name": "amount", "type": "float"}, note), {"amount": 2.5, "note": "y"}),           # to float
        (simple({"name": "amount", "type": "double"}), {"amount": 0.1}),                             # optional one gone
        (simple({"name": "amount", "type": "double"}, {"name": "channel", "type": "string", "default": "web"},
                {"name": "new", "type": "long", "default": 7}), {"amount": 4.0, "channel": "app", "new": 1}),
        (simple({"name": "amount", "type": "string"}), {"amount": "5"}),                             # dead
        (simple(note), {"note": "no amount"}),                                                       # dead
    ]
    kafka.create("evolving", 1)
    messages = [avro_bytes(registry, f"evolving-{i}", schema, [{"order_id": i, "at": at, **v}])[0]
                for i, (schema, v) in enumerate(steps)]
    unknown = 2**31 + 5
    poison = [(b"{}", "not_framed", None), (b"", "not_framed", None), (b"\0\0", "not_framed", None),
              (b"\0" + struct.pack(">I", unknown) + b"x", "schema_unknown", unknown),
              (messages[0][:-1], "bad_record", id_of(messages[0])),
              (messages[0] + b"\0", "bad_record", id_of(messages[0])),
              (messages[0][:5] + b"\xff" * 12, "bad_record", id_of(messages[0]))]
    kafka.produce("evolving", [(0, m) for m in messages] + [(0, m) for m, _, _ in poison] + [(0, messages[0])])
    p = Running(tmp_path, EVOLVING.format(registry=registry.url, brokers=kafka.bootstrap, topic="evolving"))
    read(p, len(messages) + len(poison) + 1)
    assert p.stop() == 0
    good = events(tmp_path, "predictions")
    assert [(g["event_id"], float(g["features"]["twice"])) for g in good] == [
        (0, 2), (1, 4), (2, 5), (3, 0.2), (4, 8), (0, 2)]
    dead = [(d["reason"], int(d["schema_id"]) if "schema_id" in d else None) for d in letters(tmp_path)]
    assert sorted(dead, key=str) == sorted([("wrong_type", id_of(messages[5])), ("missing_field", id_of(messages[6])),
                                            *((why, which) for _, why, which in poison)], key=str)
    kept = [base64.b64decode(d["event_base64"]) if "event_base64" in d else d["event"].encode()
            for d in letters(tmp_path) if d["stage"] == "VALUE_CONVERTER"]
    assert sorted(kept) == sorted(raw or b"null" for raw, _, _ in poison)


# ---- JSON Schema -----------------------------------------------------------------------------------------------------

JSON_SCHEMA = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Order", "type": "object", "properties": {
    "order_id": {"type": "integer"}, "at": {"type": "string"}, "amount": {"type": "number"}}, "required": ["order_id"]}


def test_json_schema(kafka, registry, tmp_path):
    """What the client wrote is the event, byte for byte; a schema of another kind, or none, is a dead letter."""
    from confluent_kafka.schema_registry.json_schema import JSONSerializer

    values = [{"order_id": i, "at": stamp(EPOCH + datetime.timedelta(days=20000, seconds=i)), "amount": i / 8}
              for i in range(20)]
    write = JSONSerializer(json.dumps(JSON_SCHEMA), registry.client())
    messages = [write(v, context("by-json-schema")) for v in values]
    other = avro_bytes(registry, "by-json-schema-avro", "long", [5])[0]
    kafka.create("by-json-schema", 1)
    kafka.produce("by-json-schema", [(0, m) for m in messages] + [(0, other), (0, json.dumps(values[0]).encode()),
                                                                  (0, b"\0\x70\0\0\0{}"), (0, messages[0][:-1])])
    text = EVOLVING.replace("format: avro", "format: json-schema")
    p = Running(tmp_path, text.format(registry=registry.url, brokers=kafka.bootstrap, topic="by-json-schema"))
    read(p, 24)
    assert p.stop() == 0
    assert [r["value"] for r in log_records(tmp_path, "orders")][:20] == [m[5:].decode() for m in messages]
    assert [g["features"]["twice"] for g in events(tmp_path, "predictions")] == [v["amount"] * 2 for v in values]
    found = {d["reason"]: d for d in letters(tmp_path)}
    assert {r: d.get("schema_id") for r, d in found.items()} == {
        "bad_schema": str(id_of(other)), "not_framed": None, "schema_unknown": str(0x70000000),
        "bad_json": str(id_of(messages[0]))}
    assert found["bad_schema"]["detail"] == "it is AVRO, and the stream's format is json-schema"


# ---- the registry itself ---------------------------------------------------------------------------------------------

def test_a_registry_that_goes_and_comes(kafka, registry, tmp_path):
    """While nobody answers, events of unknown schemas wait and those of known ones go on; nothing is lost, and who asks
    is said in the way that the spec says."""
    at = EPOCH + datetime.timedelta(days=20000)
    kafka.create("away-registry", 1)
    old, new = (avro_bytes(registry, f"away-{n}", simple({"name": "amount", "type": t}),
                           [{"order_id": i, "at": at, "amount": i} for i in range(10)])
                for n, t in enumerate(("int", "long")))
    kafka.produce("away-registry", [(0, m) for m in old[:5]])
    door = schema_registry.Door(registry.port)
    (tmp_path / "who").write_text("me:s3cret-of-mine")
    text = EVOLVING.format(registry=door.url, brokers=kafka.bootstrap, topic="away-registry")
    text = text.replace('"}\nstreams', '", basic_auth: "${file:who}"}\nstreams')
    p = Running(tmp_path, text)

    def source():
        return p.get("/v1/status").json["sources"][0]
    p.await_true(lambda: source()["state"] == "waiting")
    assert f"the schema registry at {door.url} does not answer" in source()["detail"]
    assert source()["records"] == 0
    door.open()
    read(p, 5)
    door.close()
    kafka.produce("away-registry", [(0, m) for m in old[5:] + new])
    read(p, 10)
    p.await_true(lambda: source()["state"] == "waiting")
    time.sleep(0.3)
    assert source()["records"] == 10
    door.open()
    read(p, 20)
    assert p.stop() == 0
    door.close()
    assert [g["event_id"] for g in events(tmp_path, "predictions")] == [*range(10), *range(10)]
    assert letters(tmp_path) == []
    assert door.seen and all(b"Authorization: Basic " + base64.b64encode(b"me:s3cret-of-mine") in r for r in door.seen)
    assert b"s3cret-of-mine" not in p.log.read_bytes()
    assert len(door.seen) == 2, "a schema is asked for once"
