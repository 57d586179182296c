# SPDX-License-Identifier: Apache-2.0
"""Records with schemas under `log: kafka:`: the answers are those of `source: kafka` into a local log, whatever is
replayed; while no registry answers partitions wait, and a schema that nobody had stays unknown where it was."""
import datetime
import json
import shutil
import struct

import pytest

import schema_registry
from kafka_run import Process, finish
from running import Running
from test_kafka_formats import EPOCH, JSON_SCHEMA, avro_bytes, context, id_of, letters, log_records, read, simple, stamp

pytest.importorskip("confluent_kafka.schema_registry", reason="no confluent-kafka[avro,protobuf,json] in .venv")
STREAM = """\
schema_registry: {{url: "{registry}"}}
streams:
  orders:
    id: order_id
    time: at
    key: shop
    lateness: 30d
    format: {format}
    fields: {{order_id: int64, at: timestamp, amount: double, shop: {{type: string, default: one}}}}
{source}
features:
  sum_1h: sum(amount) by shop over 1h
  twice: amount * 2
outputs:
  predictions: {{include: [features, event]}}
"""
LOCAL = "quern: 1\nname: {name}\nlog: local:./data\nstorage: {{segment: 32MiB, durability: none}}\n" + STREAM
KAFKA = ("quern: 1\nname: {name}\nlog: kafka:{brokers}\nkafka: {{create: true, topics: {{orders: {topic}}}}}\n"
         "snapshots: {{every: 30s}}\n" + STREAM)
AT = EPOCH + datetime.timedelta(days=20000)


def rows(count, first=0):
    return [{"order_id": i, "at": AT + datetime.timedelta(seconds=i), "amount": i / 8}
            for i in range(first, first + count)]


def avro(registry, subject, values, type="double"):
    return avro_bytes(registry, subject, simple({"name": "amount", "type": type}), values)


def protobuf(registry, subject, values):
    from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
    from test_kafka_protobuf import classes, order_file, types_file

    line = classes(types_file(), order_file())["shop.Order.Line"]
    write, made = ProtobufSerializer(line, registry.client()), []
    for v in values:
        m = line(order_id=v["order_id"], amount=v["amount"])
        m.at.FromDatetime(v["at"])
        made.append(write(m, context(subject)))
    return made


def json_schema(registry, subject, values):
    from confluent_kafka.schema_registry.json_schema import JSONSerializer

    write = JSONSerializer(json.dumps(JSON_SCHEMA), registry.client())
    return [write({**v, "at": stamp(v["at"])}, context(subject)) for v in values]


def ours(headers):
    """Of a dead letter or an answer: what reading it by its schema left."""
    h = {k: v.decode() if isinstance(v, bytes) else v for k, v in headers or []}
    names = "quern.reason", "quern.schema_id", "quern.detail", "quern.undecodable", "traceparent"
    return {k: h.get(k) for k in names}


def from_kafka(kafka, topic):
    """(value, key, our headers) of a topic with one partition."""
    return [(m.value(), m.key(), ours(m.headers())) for m in kafka.consume(topic)[0]]


@pytest.mark.parametrize("format", ["avro", "protobuf", "json-schema"])
def test_the_same_answers(kafka, registry, tmp_path, format):
    """The same records by a source into a local log and as the log itself: byte for byte the same answers, the same
    dead letters; and again when all is replayed without a snapshot."""
    make = {"avro": avro, "protobuf": protobuf, "json-schema": json_schema}[format]
    name = f"same-{format}"
    good = make(registry, name, rows(300))
    poison = [b"{}", b"", b"\0" + struct.pack(">I", 2**31 + 7) + b"\0x", good[3][:-3], good[0][:5] + b"\xff" * 12]
    messages = [m for i, g in enumerate(good) for m in ([g, poison[i // 10 % 5]] if i % 10 == 5 else [g])]
    kafka.create(name, 1)
    trace = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("quern.schema_id", b"no")]
    kafka.produce(name, [(0, m, b"k%d" % i, trace) for i, m in enumerate(messages)])
    given = {"registry": registry.url, "brokers": kafka.bootstrap, "topic": name, "name": name, "format": format}

    local = tmp_path / "local"
    local.mkdir()
    source = f'    source: {{kafka: {{brokers: "{kafka.bootstrap}", topic: {name}}}}}'
    p = Running(local, LOCAL.format(source=source, **given))
    read(p, len(messages))
    assert p.stop() == 0
    want = [(json.loads(r["value"]), r["key"], ours(r["headers"])) for r in log_records(local, "predictions")]
    dead = [(d["reason"], d.get("schema_id"), d.get("detail"), d["position"].rsplit(":", 1)[1]) for d in letters(local)]
    assert len(want) == 300 and len(dead) == 30 and len({d[0] for d in dead}) == 3

    for _ in range(2):
        p = Process(tmp_path, KAFKA.format(source="", **given), name=name)
        finish([p], kafka, name, 1)
        got = from_kafka(kafka, f"{name}.predictions")
        assert [(json.loads(v), k.decode(), h) for v, k, h in got] == want
        assert [(h["quern.reason"], h["quern.schema_id"], h["quern.detail"])
                for _, _, h in from_kafka(kafka, f"{name}.dead")] == [d[:3] for d in dead]
        assert [v or b"" for v, _, _ in from_kafka(kafka, f"{name}.dead")] == [
            m for m in messages if m not in good]
        shutil.rmtree(tmp_path / "snapshots")


def test_a_schema_that_comes_later(kafka, registry, tmp_path):
    """What was set aside because nobody had its schema stays so when it is replayed, though the registry has it now."""
    from confluent_kafka.schema_registry import Schema

    good = avro(registry, "later", rows(3))
    next_id = 1 + registry.client().register_schema("later-1", Schema(json.dumps(simple({
        "name": "amount", "type": "double", "doc": "the newest schema that there is"})), "AVRO"))
    late = [b"\0" + struct.pack(">I", next_id) + m[5:] for m in good]
    text = KAFKA.format(registry=registry.url, brokers=kafka.bootstrap, topic="later", name="later", format="avro",
                        source="")
    kafka.create("later", 1)
    kafka.produce("later", [(0, good[0]), (0, late[0]), (0, good[1])])
    p = Process(tmp_path, text)
    finish([p], kafka, "later", 1)
    schema = simple({"name": "amount", "type": "double", "doc": "later"})
    assert registry.client().register_schema("later-2", Schema(json.dumps(schema), "AVRO")) == next_id
    for more in ([(0, late[1])], [(0, good[2])]):
        shutil.rmtree(tmp_path / "snapshots")
        kafka.produce("later", more)
        p = Process(tmp_path, text)
        finish([p], kafka, "later", 1)
        assert "diverges" not in p.said()
    assert [json.loads(v)["event_id"] for v, _, _ in from_kafka(kafka, "later.predictions")] == [0, 1, 1, 2]
    assert [h["quern.reason"] for _, _, h in from_kafka(kafka, "later.dead")] == ["schema_unknown"]


def test_a_registry_that_goes_and_comes(kafka, registry, tmp_path):
    """While nobody answers, partitions with schemas that are not known wait and say so, the others go on; nothing is
    lost; a schema is asked for once."""
    kafka.create("gone", 2)
    old = avro(registry, "gone-old", rows(40))
    new = avro(registry, "gone-new", rows(40, 40), "float")
    door = schema_registry.Door(registry.port)
    kafka.produce("gone", [(0, m) for m in old[:20]])
    p = Process(tmp_path, KAFKA.format(registry=door.url, brokers=kafka.bootstrap, topic="gone", name="gone",
                                       format="avro", source=""))
    p.ready()

    def states():
        return [s["state"] for s in p.get("/v1/status").json["log"]["ours"]]

    def answers():
        return [[json.loads(m.value())["event_id"] for m in part] for part in kafka.consume("gone.predictions")]
    p.await_true(lambda: states() == ["waiting", "live"])
    assert f"partition 0 waits at record 0: the schema registry at {door.url} does not answer" in p.said()
    assert answers() == [[], []]
    door.open()
    p.await_true(lambda: states() == ["live", "live"])
    p.await_true(lambda: answers() == [list(range(20)), []])
    door.close()
    kafka.produce("gone", [(1, m) for m in new] + [(0, m) for m in old[20:]])
    p.await_true(lambda: states() == ["live", "waiting"])
    p.await_true(lambda: answers() == [list(range(40)), []])
    door.open()
    finish([p], kafka, "gone", 2)
    door.close()
    assert answers() == [list(range(40)), list(range(40, 80))]
    assert kafka.consume("gone.dead") == [[], []]
    assert len(door.seen) == 2, "a schema is asked for once"
    assert p.said().count("goes on") == 2


def test_warm_copies(kafka, registry, tmp_path):
    """A copy reads by schemas of its own. While no registry answers it waits, and nobody else does; what its owner has
    set aside as unknown it sets aside, too, though the registry has it by now; then it goes on in its owner's place."""
    from confluent_kafka.schema_registry import Schema

    topic = "copied"
    kafka.create(topic, 2)
    good = avro(registry, topic, rows(60))
    next_id = 1 + registry.client().register_schema(f"{topic}-1", Schema(json.dumps(simple({
        "name": "amount", "type": "double", "doc": "the newest schema before the copies'"})), "AVRO"))
    late = [b"\0" + struct.pack(">I", next_id) + m[5:] for m in good]
    door = schema_registry.Door(registry.port)
    text = KAFKA.format(registry=door.url, brokers=kafka.bootstrap, topic=topic, name=topic, format="avro", source="")
    text = text.replace("create: true", 'create: true, standby: 1, instance: "${INSTANCE}", settings: '
                                        '[session.timeout.ms=4000, heartbeat.interval.ms=300]')

    def started(name):
        (tmp_path / name).mkdir()
        return Process(tmp_path / name, text, name, name)

    def answered(count):
        return len(kafka.consume(f"{topic}.predictions")[0]) == count

    def standby():
        return [(s["partition"], s["state"], s["lag"]) for s in b.get("/v1/status").json["log"]["standby"]]

    door.open()
    a = started("a")
    a.ready()
    kafka.produce(topic, [(0, m) for m in [*good[:20], late[20], late[21], *good[22:30]]])
    a.await_true(lambda: answered(28))
    schema = simple({"name": "amount", "type": "double", "doc": "the copies'"})
    assert registry.client().register_schema(f"{topic}-2", Schema(json.dumps(schema), "AVRO")) == next_id
    door.close()
    b = started("b")
    b.ready()
    b.await_true(lambda: "partition 0 waits at record 0" in b.said())
    b.await_true(lambda: [s["state"] for s in b.get("/v1/status").json["log"]["ours"]] == ["live"])
    assert standby() == [(0, "following", 30)]
    door.open()
    b.await_true(lambda: standby() == [(0, "following", 0)])
    kafka.produce(topic, [(0, m) for m in late[30:40]])  # nobody asks for it again within ten seconds
    a.await_true(lambda: len(kafka.consume(f"{topic}.dead")[0]) + len(kafka.consume(f"{topic}.predictions")[0]) == 40)
    b.await_true(lambda: standby() == [(0, "following", 0)])
    a.kill()
    kafka.produce(topic, [(0, m) for m in good[40:]])
    finish([b], kafka, topic, 2)
    assert b.said().count("the copy goes on") == 1 and "given up" not in b.said()
    got = [json.loads(v)["event_id"] for v, _, _ in from_kafka(kafka, f"{topic}.predictions")]
    unknown = [h["quern.reason"] for _, _, h in from_kafka(kafka, f"{topic}.dead")]
    assert got == [n for n in range(60) if n not in (20, 21) and (n in got or not 30 <= n < 40)]
    assert len(got) + len(unknown) == 60 and set(unknown) == {"schema_unknown"}
