# SPDX-License-Identifier: Apache-2.0
"""Protobuf through a schema registry, written by the official Python client and read by Quern: descriptors as that
client registers them, the text of .proto files as others do; schemas that evolve, and messages that nothing can be
made of.

What is expected comes from the messages themselves and from Protobuf's own JSON, never from what Quern says."""
import base64
import decimal
import importlib
import json
import math
import pathlib
import random
import struct

import pytest

from running import Running
from test_kafka_formats import EVOLVING, context, events, id_of, letters, log_records, read

pb2 = pytest.importorskip("google.protobuf.descriptor_pb2", reason="no protobuf in .venv")
from google.protobuf import (any_pb2, descriptor_pool, duration_pb2, json_format, message_factory,  # noqa: E402
                             struct_pb2, timestamp_pb2, wrappers_pb2)
from google.type import decimal_pb2 as google_decimal  # noqa: E402
from google.type import money_pb2  # noqa: E402

SEED = 20260501
F = pb2.FieldDescriptorProto
SCALARS = ["double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes", "uint32",
           "sfixed32", "sfixed64", "sint32", "sint64"]
RANGES = {"int32": (-2**31, 2**31 - 1), "int64": (-2**63, 2**63 - 1), "uint32": (0, 2**32 - 1)}
RANGES |= {"uint64": (0, 2**64 - 1)}
RANGES |= {"sint32": RANGES["int32"], "sfixed32": RANGES["int32"], "fixed32": RANGES["uint32"]}
RANGES |= {"sint64": RANGES["int64"], "sfixed64": RANGES["int64"], "fixed64": RANGES["uint64"]}


# ---- schemas, without a compiler -------------------------------------------------------------------------------------

def field(m, name, number, type, repeated=False, **more):
    """type: a scalar's name, or .package.Message, or enum:.package.Enum."""
    f = m.field.add(name=name, number=number, label=F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL, **more)
    if type in SCALARS:
        f.type = F.Type.Value("TYPE_" + type.upper())
    else:
        f.type = F.TYPE_ENUM if type.startswith("enum:") else F.TYPE_MESSAGE
        f.type_name = type.removeprefix("enum:")
    return f


def map_field(m, name, number, key, value, scope):
    entry = m.nested_type.add(name="".join(p.title() for p in name.split("_")) + "Entry")
    entry.options.map_entry = True
    field(entry, "key", 1, key)
    field(entry, "value", 2, value)
    field(m, name, number, f"{scope}.{entry.name}", repeated=True)


def classes(*files):
    """The classes of all messages of the last file, by name, nested ones too."""
    pool = descriptor_pool.DescriptorPool()
    for known in ("any", "duration", "struct", "timestamp", "wrappers"):
        pool.AddSerializedFile(importlib.import_module(f"google.protobuf.{known}_pb2").DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(money_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(google_decimal.DESCRIPTOR.serialized_pb)
    for f in files:
        pool.Add(f)
    found = {}

    def take(d):
        found[d.full_name] = message_factory.GetMessageClass(d)
        for inner in d.nested_types:
            if not inner.GetOptions().map_entry:
                take(inner)
    for d in pool.FindFileByName(files[-1].name).message_types_by_name.values():
        take(d)
    return found


def types_file():
    f = pb2.FileDescriptorProto(name="shop/types.proto", package="shop.types", syntax="proto3")
    m = f.message_type.add(name="Address")
    field(m, "city", 1, "string")
    field(m, "next", 2, ".shop.types.Address")
    e = f.enum_type.add(name="Kind")
    for name, number in (("NONE", 0), ("CARD", 1), ("CASH", 2), ("OLD", -5)):
        e.value.add(name=name, number=number)
    return f


def order_file():
    """Every scalar as it is, optional, listed, in a oneof and in a map; messages in messages."""
    f = pb2.FileDescriptorProto(name="shop/order.proto", package="shop", syntax="proto3", dependency=[
        "shop/types.proto", "google/protobuf/timestamp.proto", "google/protobuf/duration.proto",
        "google/protobuf/wrappers.proto", "google/protobuf/struct.proto", "google/protobuf/any.proto",
        "google/type/money.proto", "google/type/decimal.proto"])
    f.message_type.add(name="Unused")
    m = f.message_type.add(name="Order")
    field(m, "order_id", 1, "int64")
    field(m, "at", 2, ".google.protobuf.Timestamp")
    field(m, "amount", 3, "double")
    map_field(m, "by_name", 4, "string", ".shop.types.Address", ".shop.Order")
    for i, t in enumerate(SCALARS):
        field(m, f"a_{t}", 100 + i, t)
        field(m, f"list_{t}", 200 + i, t, repeated=True)
        field(m, f"one_{t}", 300 + i, t, oneof_index=0)
        if t not in ("double", "float", "bytes"):
            map_field(m, f"map_{t}", 400 + i, t, SCALARS[i - 1], ".shop.Order")
        field(m, f"far_{t}", 20000 + i * 1000, t, proto3_optional=True, oneof_index=1 + i)
    m.oneof_decl.add(name="one")
    for t in SCALARS:
        m.oneof_decl.add(name=f"_far_{t}")
    field(m, "kind", 500, "enum:.shop.types.Kind")
    field(m, "kinds", 501, "enum:.shop.types.Kind", repeated=True)
    field(m, "home", 502, ".shop.types.Address")
    field(m, "homes", 503, ".shop.types.Address", repeated=True)
    field(m, "one_home", 504, ".shop.types.Address", oneof_index=0)
    map_field(m, "kind_of", 505, "sint64", "enum:.shop.types.Kind", ".shop.Order")
    for i, (name, type) in enumerate({
            "took": "protobuf.Duration", "maybe": "protobuf.Int64Value", "word": "protobuf.StringValue",
            "flag": "protobuf.BoolValue", "free": "protobuf.Struct", "any_value": "protobuf.Value",
            "row": "protobuf.ListValue", "packed": "protobuf.Any", "price": "type.Money",
            "exact": "type.Decimal"}.items()):
        field(m, name, 600 + i, f".google.{type}")
    inner = m.nested_type.add(name="Line")
    field(inner, "order_id", 1, "int64")
    field(inner, "at", 2, ".google.protobuf.Timestamp")
    field(inner, "amount", 3, "double")
    return f


# ---- values ----------------------------------------------------------------------------------------------------------

def scalar(rng, t):
    if t in RANGES:
        low, high = RANGES[t]
        return rng.choice([low, high, 0, max(low, -1), 2**24 + 1, high // 3, rng.randint(low, high)])
    if t == "bool":
        return rng.random() < 0.5
    if t == "bytes":
        return rng.randbytes(rng.randrange(6))
    if t == "string":
        return rng.choice(["", "a", 'Zoë "x" \\ \n 🐟 \x01', "0", "é" * rng.randrange(60)])
    v = rng.choice([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7e308, 0.1, rng.uniform(-1e9, 1e9)])
    if t == "double":
        return v
    v = v if abs(v) < 3e38 else math.inf
    return struct.unpack("<f", struct.pack("<f", v))[0]


def free_value(rng, depth=0):
    kind = rng.randrange(4 if depth > 3 else 6)
    if kind < 4:
        return [None, rng.uniform(-5, 5), "t" * rng.randrange(3), rng.random() < 0.5][kind]
    if kind == 4:
        return [free_value(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {f"k{i}": free_value(rng, depth + 1) for i in range(rng.randrange(3))}


def fill(rng, m, i):
    """An order with about half of what it could have."""
    m.order_id = i
    m.at.FromNanoseconds(1_777_000_000_000_000_000 + i * 1_000_000_007)
    m.amount = rng.choice([0.0, 0.25, i / 8])
    for t in SCALARS:
        if rng.random() < 0.5:
            setattr(m, f"a_{t}", scalar(rng, t))
        if rng.random() < 0.5:
            getattr(m, f"list_{t}").extend(scalar(rng, t) for _ in range(rng.randrange(5)))
        if rng.random() < 0.5:
            setattr(m, f"far_{t}", scalar(rng, t))
        if rng.random() < 0.2:
            setattr(m, f"one_{t}", scalar(rng, t))
        for _ in range(rng.randrange(3) if f"map_{t}" in m.DESCRIPTOR.fields_by_name else 0):
            getattr(m, f"map_{t}")[scalar(rng, t)] = scalar(rng, SCALARS[SCALARS.index(t) - 1])
    m.kind = rng.choice([0, 1, 2, -5, 77])
    m.kinds.extend(rng.choice([0, 1, 2, -5, -6]) for _ in range(rng.randrange(4)))
    if rng.random() < 0.5:
        m.home.city = scalar(rng, "string")
        m.home.next.next.city = "deep"
        m.one_home.SetInParent()
    for n in range(rng.randrange(3)):
        m.homes.add(city=f"c{n}")
        m.by_name[f"n{n}"].city = scalar(rng, "string")
        m.by_name[f"m{n}"].SetInParent()
        m.kind_of[scalar(rng, "sint64")] = rng.choice([0, 1, 99])
    if rng.random() < 0.7:
        m.took.FromNanoseconds(rng.choice([0, 1, -1, 1_500_000_000, -10**18, rng.randint(-10**15, 10**15)]))
        m.maybe.value = scalar(rng, "int64")
        m.word.value = scalar(rng, "string")
        m.flag.SetInParent()
        m.free.update({"k": free_value(rng), "n": None})
        m.row.extend([free_value(rng), 1.5])
        json_format.ParseDict(free_value(rng), m.any_value)
        m.packed.Pack(timestamp_pb2.Timestamp(seconds=5))
        m.price.units = 5
        m.exact.value = rng.choice(["", "0.10", "-12345678901234567890.5", "1e3"])
    return m


# ---- what an event must be -------------------------------------------------------------------------------------------

def number(v):
    if isinstance(v, float):
        if math.isnan(v) or math.isinf(v):
            return "NaN" if math.isnan(v) else "Infinity" if v > 0 else "-Infinity"
        return decimal.Decimal(repr(v))
    return v


def plain(v):
    """A Struct's content, with exact numbers."""
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()}
    return [plain(x) for x in v] if isinstance(v, list) else number(v)


def one(f, v):
    """A single value of a field."""
    if f.type == f.TYPE_MESSAGE:
        return expected(v)
    if f.type == f.TYPE_ENUM:
        if f.enum_type.full_name == "google.protobuf.NullValue":
            return None
        named = f.enum_type.values_by_number.get(v)
        return named.name if named else v
    return base64.b64encode(v).decode() if f.type == f.TYPE_BYTES else number(v)


def expected(m):
    """What there is, by Protobuf's own JSON; its value, by the message."""
    name = m.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        return m.ToDatetime().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if name == "google.protobuf.Duration":
        with decimal.localcontext(prec=40):
            return m.seconds + decimal.Decimal(m.nanos).scaleb(-9)
    if name == "google.type.Decimal":
        return decimal.Decimal(m.value or 0)
    if name in ("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"):
        return plain(json_format.MessageToDict(m)) if name != "google.protobuf.Value" or m.WhichOneof("kind") else None
    if name.startswith("google.protobuf.") and name.endswith("Value"):
        return one(m.DESCRIPTOR.fields[0], m.value)
    found = {}
    if name == "google.protobuf.Any":
        return {"type_url": m.type_url, "value": base64.b64encode(m.value).decode()}
    there = json_format.MessageToDict(m, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    for f in m.DESCRIPTOR.fields:
        if f.name not in there:
            continue
        v = getattr(m, f.name)
        if f.message_type is not None and f.message_type.GetOptions().map_entry:
            value = f.message_type.fields_by_name["value"]
            found[f.name] = {str(k).lower() if isinstance(k, bool) else str(k): one(value, v[k]) for k in v}
        elif f.is_repeated:
            found[f.name] = [one(f, x) for x in v]
        else:
            found[f.name] = one(f, v)
    return found


def values_of(folder):
    """The events in the log, with exact numbers: -0 is one, too."""
    def whole(text):
        return decimal.Decimal(text) if text == "-0" else int(text)
    return [json.loads(r["value"], parse_float=decimal.Decimal, parse_int=whole) for r in log_records(folder, "orders")]


def same(got, want, place="event"):
    """As ==, and says where."""
    if isinstance(want, dict):
        assert isinstance(got, dict) and set(got) == set(want), f"{place}: {got} is not {want}"
        for k in want:
            same(got[k], want[k], f"{place}.{k}")
    elif isinstance(want, list):
        assert isinstance(got, list) and len(got) == len(want), f"{place}: {got} is not {want}"
        for i, (g, w) in enumerate(zip(got, want)):
            same(g, w, f"{place}[{i}]")
    else:
        assert type(got) is type(want) or {type(got), type(want)} == {int, decimal.Decimal}, f"{place}: {got}, {want}"
        assert got == want and str(got).startswith("-") == str(want).startswith("-"), f"{place}: {got} is not {want}"


SPEC = EVOLVING.replace("format: avro", "format: protobuf")


def run_over(kafka, registry, tmp_path, topic, messages, spec=SPEC):
    kafka.create(topic, 1)
    kafka.produce(topic, [(0, m) for m in messages])
    p = Running(tmp_path, spec.format(registry=registry.url, brokers=kafka.bootstrap, topic=topic))
    read(p, len(messages))
    assert p.stop() == 0


# ---- tests -----------------------------------------------------------------------------------------------------------

def test_by_the_official_client(kafka, registry, tmp_path):
    """Every type, at its edges, in every place, is in the event as it was given to the client, with references to
    another file; a message that is nested in another is found by its path."""
    from confluent_kafka.schema_registry.protobuf import ProtobufSerializer

    print("seed", SEED)
    rng, made = random.Random(SEED), classes(types_file(), order_file())
    values = [fill(rng, made["shop.Order"](), i) for i in range(250)]
    values += [made["shop.Order"](), made["shop.Order.Line"](order_id=7, amount=2)]
    write = {c: ProtobufSerializer(c, registry.client()) for c in made.values()}
    messages = [write[type(v)](v, context("protobuf")) for v in values]
    run_over(kafka, registry, tmp_path, "protobuf", messages)
    for got, v in zip(values_of(tmp_path), values, strict=True):
        same(got, expected(v))
        assert list(got) == [f.name for f in v.DESCRIPTOR.fields if f.name in got], "the schema's order"
    assert len(events(tmp_path, "predictions")) == 250
    dead = [(d["reason"], d["schema_id"]) for d in letters(tmp_path)]
    assert dead == [("missing_field", str(id_of(messages[0])))] * 2  # no `at`


def texts():
    """The .proto files of Google's common types, and the module that protoc made of each."""
    from google.rpc import error_details_pb2

    root = pathlib.Path(error_details_pb2.__file__).parent.parent.parent
    for path in sorted(root.glob("google/**/*.proto")):
        name = str(path.relative_to(root))
        module = name.removesuffix(".proto").replace("/", ".") + "_pb2"
        yield name, path.read_text(), importlib.import_module(module).DESCRIPTOR


def random_message(rng, descriptor, depth=0):
    m = message_factory.GetMessageClass(descriptor)()
    for f in descriptor.fields:
        if rng.random() < 0.4 or (f.message_type is not None and depth > 3):
            continue
        kind = {v: k for k, v in F.Type.items()}[f.type].removeprefix("TYPE_").lower()
        if f.message_type is not None and f.message_type.GetOptions().map_entry:
            key, value = f.message_type.fields
            k = "k" if key.type == F.TYPE_STRING else 1
            if value.message_type is not None:
                getattr(m, f.name)[k].CopyFrom(random_message(rng, value.message_type, depth + 1))
            else:
                getattr(m, f.name)[k] = {F.TYPE_STRING: "v", F.TYPE_BYTES: b"v"}.get(value.type, 0)
        elif f.message_type is not None:
            if f.message_type.full_name in ("google.protobuf.Value", "google.protobuf.Struct",
                                            "google.protobuf.ListValue"):
                continue  # filled above, where no NaN gets into them
            to = getattr(m, f.name).add() if f.is_repeated else getattr(m, f.name)
            if f.message_type.full_name == "google.protobuf.Timestamp":
                to.FromNanoseconds(rng.randint(0, 2**60))
            elif f.message_type.full_name == "google.protobuf.Duration":
                to.FromNanoseconds(rng.randint(-2**60, 2**60))
            elif f.message_type.full_name != "google.protobuf.Any":
                to.CopyFrom(random_message(rng, f.message_type, depth + 1))
            to.SetInParent()
        else:
            v = rng.choice(f.enum_type.values).number if kind == "enum" else scalar(rng, kind)
            if f.is_repeated:
                getattr(m, f.name).append(v)
            else:
                setattr(m, f.name, v)
    return m


def test_texts_of_proto_files(kafka, registry, tmp_path):
    """The .proto files that Google publishes, as they are: what is read by the text is what protoc's classes wrote."""
    from confluent_kafka.schema_registry import Schema, SchemaReference

    print("seed", SEED)
    rng, client, values, messages, versions = random.Random(SEED), registry.client(), [], [], {}
    known = ("google/protobuf/", "google/type/")
    files = {name: (text, d) for name, text, d in texts()}

    def register(name):
        if name not in versions:
            text, d = files[name]
            refs = [SchemaReference(dep.name, dep.name, register(dep.name)[1]) for dep in d.dependencies
                    if not dep.name.startswith(known)]
            id = client.register_schema(name, Schema(text, "PROTOBUF", refs))
            versions[name] = id, client.get_latest_version(name).version
        return versions[name]
    for name, (text, d) in files.items():
        id = register(name)[0] if d.message_types_by_name else None
        for i, top in enumerate(d.message_types_by_name.values()):
            inner = [n for n in top.nested_types if not n.GetOptions().map_entry]
            # the text has no entries of maps: its messages are counted as they stand there
            for path, m in [((i,), top), *(((i, j), n) for j, n in enumerate(inner))]:
                for _ in range(2):
                    values.append(random_message(rng, m))
                    index = b"\0" if path == (0,) else bytes([2 * len(path), *(2 * n for n in path)])
                    messages.append(b"\0" + struct.pack(">I", id) + index + values[-1].SerializeToString())
    assert len(values) > 200
    run_over(kafka, registry, tmp_path, "proto-texts", messages)
    dead = letters(tmp_path)
    assert [d.get("detail") for d in dead if d["stage"] == "VALUE_CONVERTER" and d["reason"] != "not_an_object"] == []
    for got, v in zip(values_of(tmp_path), values, strict=True):
        same(got, expected(v), v.DESCRIPTOR.full_name)


TEXT = """syntax = "proto%s";
import "google/protobuf/timestamp.proto";
message Order {
  %s int64 order_id = 1;
  optional google.protobuf.Timestamp at = 2;
  %s
}
"""


def test_evolution_and_poison(kafka, registry, tmp_path):
    """Fields that come, go and widen are read by the contract; what does not fit it, or nothing can read, is a dead
    letter that names its schema."""
    from confluent_kafka.schema_registry import Schema

    client = registry.client()
    steps = [  # syntax, fields, what is written behind order_id and at
        (3, "int32 amount = 3; optional string note = 4;", b"\x18\x01\x22\x01x"),
        (3, "int64 amount = 3; optional string note = 4;", b"\x18\x02"),                      # widened
        (3, "float amount = 3; optional string note = 4;", b"\x1d" + struct.pack("<f", 2.5)),
        (2, "required double amount = 3; extensions 100 to 200;", b"\x19" + struct.pack("<d", 0.1)),
        (3, "double amount = 3; string channel = 5; repeated int32 new = 6 [packed = false];",
         b"\x19" + struct.pack("<d", 4) + b"\x2a\x03app\x30\x01\x30\x02\xfa\x3e\x01?"),           # and one not known
        (3, "string amount = 3;", b"\x1a\x015"),                                                  # dead
        (3, "string note = 4;", b"\x22\x01n"),                                                    # dead
        (3, "double amount = 3;", b""),                                                          # 0: it was not written
    ]
    at = timestamp_pb2.Timestamp(seconds=1_777_000_000).SerializeToString()
    messages = []
    for i, (syntax, fields, rest) in enumerate(steps):
        label = "optional" if syntax == 2 else ""
        id = client.register_schema(f"proto-evolving-{i}", Schema(TEXT % (syntax, label, fields), "PROTOBUF"))
        messages.append(b"\0" + struct.pack(">I", id) + b"\0" + bytes([8, i, 0x12, len(at)]) + at + rest)
    avro = client.register_schema("proto-evolving-avro", Schema('"long"', "AVRO"))
    first, unknown = id_of(messages[0]), 2**31 + 6
    poison = [(b"{}", "not_framed", None), (b"", "not_framed", None), (b"\0\0", "not_framed", None),
              (b"\0" + struct.pack(">I", unknown) + b"\0x", "schema_unknown", unknown),
              (b"\0" + struct.pack(">I", avro) + b"\0x", "bad_schema", avro),
              (messages[0][:-1], "bad_record", first),
              (messages[0][:5], "bad_record", first),                                             # no path
              (messages[0][:5] + b"\2\2" + messages[0][6:], "bad_record", first),                 # no such message
              (messages[0][:5] + b"\2\1" + messages[0][6:], "bad_record", first),
              (messages[0] + b"\x1c", "bad_record", first),
              (messages[0] + b"\x1a\x01x", "bad_record", first),                                  # another wire type
              (messages[0] + b"\x22\x01\xff", "bad_utf8", first)]
    run_over(kafka, registry, tmp_path, "proto-evolving", messages + [m for m, _, _ in poison] + messages[:1])
    assert [(g["event_id"], float(g["features"]["twice"])) for g in events(tmp_path, "predictions")] == [
        (0, 2), (1, 4), (2, 5), (3, 0.2), (4, 8), (7, 0), (0, 2)]
    dead = [(d["reason"], int(d["schema_id"]) if "schema_id" in d else None) for d in letters(tmp_path)]
    assert sorted(dead, key=str) == sorted([("wrong_type", id_of(messages[5])), ("missing_field", id_of(messages[6])),
                                            *((why, which) for _, why, which in poison)], key=str)
    kept = [base64.b64decode(d["event_base64"]) if "event_base64" in d else d["event"].encode()
            for d in letters(tmp_path) if d["stage"] == "VALUE_CONVERTER"]
    assert sorted(kept) == sorted(raw or b"null" for raw, _, _ in poison)
