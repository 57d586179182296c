# SPDX-License-Identifier: Apache-2.0
"""oracle.py - what Quern must answer, computed the naive way: one event after the other, every window by looking at
every event of the log before it, sums as fractions.

Written from the documents (docs/spec.md, docs/expressions.md, docs/formats.md) and, where they say too little, from the
headers; it shares no code with the program. What rests on the program's sources alone (operator typing, CSV grammar,
which of several reasons comes first) could be misread the same way on both sides.

Values: bool, int, float and str are themselves, a decimal(n) is the int scaled by 10^n, a timestamp the int of
microseconds since 1970; null is None. A kind is a tuple: ("int64",), ("decimal", 2), ...
"""
import csv
import datetime
import fractions
import io
import json
import math
import re

INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1
YEAR_0, YEAR_10000 = -62167219200000000, 253402300800000000
EVENT_BYTES_MAX, DEPTH_MAX = 1 << 20, 64
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))\Z")
UNITS = {"s": 1000000, "ms": 1000, "us": 1, "ns": fractions.Fraction(1, 1000)}
TEXTS = {
    "bad_json": ("VALUE_CONVERTER", "not well-formed JSON"),
    "bad_csv": ("VALUE_CONVERTER", "not a well-formed CSV record"),
    "bad_utf8": ("VALUE_CONVERTER", "bytes that are not UTF-8"),
    "not_an_object": ("VALUE_CONVERTER", "JSON, but not an object"),
    "too_deep": ("VALUE_CONVERTER", "nested too deeply"),
    "too_large": ("VALUE_CONVERTER", "larger than an event may be"),
    "missing_field": ("TRANSFORMATION", "a required field is absent or null"),
    "wrong_type": ("TRANSFORMATION", "a value of another type"),
    "bad_time": ("TRANSFORMATION", "a timestamp that cannot be read"),
    "not_exact": ("TRANSFORMATION", "a number that does not fit its type exactly"),
    "out_of_range": ("TRANSFORMATION", "a value below min or above max"),
    "not_allowed": ("TRANSFORMATION", "a value that is not in the allowed set"),
    "too_long": ("TRANSFORMATION", "longer than max_length"),
    "wrong_length": ("TRANSFORMATION", "a list with another number of values"),
    "late_event": ("TRANSFORMATION", "behind the watermark"),
    "too_late": ("TRANSFORMATION", "too far behind the watermark for its windows"),
    "duplicate": ("TRANSFORMATION", "an id that was seen before"),
}


class Dead(Exception):
    """An event that is set aside: its reason, and the field where one is to blame."""

    def __init__(self, reason, field=None):
        super().__init__(reason)
        self.reason, self.field = reason, field


class Number(str):
    """A JSON number as it was written."""


class Field:
    def __init__(self, name, kind, source=None, optional=False, default=None, low=None, high=None, allowed=None,
                 max_length=None, length=None, unit=None):
        self.name, self.kind, self.source = name, kind, source or name
        self.optional, self.default, self.low, self.high = optional, default, low, high
        self.allowed, self.max_length, self.length, self.unit = allowed, max_length, length, unit


class Stream:
    def __init__(self, name, fields, time, id=None, lateness=10_000_000, late="score", within=None, dedup=None):
        self.name, self.fields, self.time, self.id, self.dedup = name, fields, time, id, dedup
        self.lateness, self.late, self.within = lateness, late, lateness if within is None else within
        self.by_name = {f.name: f for f in fields}


class Window:
    """AGG(arg) where .. of .. by .. over ..: arg and where are functions of an event's values, or None."""

    def __init__(self, aggregate, kind, arg, arg_kind, where, of, keys, over, delayed, excluding, default):
        self.aggregate, self.kind, self.arg, self.arg_kind, self.where = aggregate, kind, arg, arg_kind, where
        self.of, self.keys, self.over, self.delayed = of, keys, over, delayed
        self.excluding, self.default = excluding, default


# ---- values ----------------------------------------------------------------------------------------------------------


def time_of(text):
    """RFC 3339 to microseconds, digits beyond them cut; None where it is not a time."""
    m = TIME.match(text)
    if m is None:
        return None
    year, month, day, hour, minute, second = (int(m.group(i)) for i in range(1, 7))
    if hour > 23 or minute > 59 or second > 60 or year == 0:
        return None
    try:
        days = (datetime.date(year, month, day) - datetime.date(1970, 1, 1)).days
    except ValueError:
        return None
    us = ((days * 24 + hour) * 60 + minute) * 60 + second
    us = us * 1000000 + int(((m.group(7) or "") + "000000")[:6])
    if m.group(9):
        if int(m.group(10)) > 23 or int(m.group(11)) > 59:
            return None
        shift = (int(m.group(10)) * 60 + int(m.group(11))) * 60000000
        us += -shift if m.group(9) == "+" else shift
    return us


def time_text(us):
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=us)).strftime(
        "%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def number_value(field, number):
    """A number as it is written, as a value of the field."""
    kind = field.kind[0]
    if kind == "double":
        v = float(number)
        if math.isinf(v):
            raise Dead("not_exact", field)
        return v
    if kind == "timestamp" and field.unit:
        us = math.floor(fractions.Fraction(number) * UNITS[field.unit])
        if not YEAR_0 <= us < YEAR_10000:
            raise Dead("bad_time", field)
        return us
    if kind in ("int64", "decimal"):
        v = fractions.Fraction(number) * 10 ** (field.kind[1] if kind == "decimal" else 0)
        if v.denominator != 1 or not INT_MIN <= v <= INT_MAX:
            raise Dead("not_exact", field)
        return int(v)
    raise Dead("wrong_type", field)


def json_value(field, v):
    kind = field.kind[0]
    if isinstance(v, Number):
        return number_value(field, v)
    if kind == "decimal" and isinstance(v, str) and NUMBER.match(v):
        return number_value(field, v)  # money often comes as a text
    if kind == "bool" and isinstance(v, bool):
        return v
    if kind == "string" and isinstance(v, str):
        if any(0xD800 <= ord(c) < 0xE000 for c in v):
            raise Dead("bad_utf8", field)
        return v
    if kind == "timestamp" and isinstance(v, str) and not field.unit:
        us = time_of(v)
        if us is None:
            raise Dead("bad_time", field)
        return us
    if kind == "list" and isinstance(v, list):
        if not all(isinstance(x, Number) for x in v):
            raise Dead("wrong_type", field)
        values = [float(x) for x in v]
        if any(math.isinf(x) for x in values):
            raise Dead("not_exact", field)
        return values
    raise Dead("wrong_type", field)


def cell_value(field, text):
    """A CSV cell that is there: the same values, all written as text."""
    kind = field.kind[0]
    if kind == "string":
        return text
    if kind == "bool":
        if text.lower() in ("true", "1"):
            return True
        if text.lower() in ("false", "0"):
            return False
        raise Dead("wrong_type", field)
    if kind == "timestamp" and not field.unit:
        us = time_of(text)
        if us is None:
            raise Dead("bad_time", field)
        return us
    if kind == "list":
        try:
            return json_value(field, parse_json(text))
        except (ValueError, RecursionError):
            raise Dead("wrong_type", field) from None
    if not NUMBER.match(text):
        raise Dead("wrong_type", field)
    return number_value(field, text)


def parse_json(text):
    def refuse(word):
        raise ValueError(word)
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=refuse)


def depth_of(v):
    deepest, todo = 0, [(v, 0)]
    while todo:
        x, above = todo.pop()
        if isinstance(x, (dict, list)):
            deepest = max(deepest, above + 1)
            todo += [(y, above + 1) for y in (x.values() if isinstance(x, dict) else x)]
    return deepest


# ---- contract --------------------------------------------------------------------------------------------------------


def whole(raw):
    """The JSON object of an event, or Dead where the text as a whole is broken."""
    if len(raw) > EVENT_BYTES_MAX:
        raise Dead("too_large")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Dead("bad_utf8") from None
    try:
        v = parse_json(text)
    except (ValueError, RecursionError):
        raise Dead("bad_json") from None
    if depth_of(v) > DEPTH_MAX:
        raise Dead("too_deep")
    if not isinstance(v, dict):
        raise Dead("not_an_object")
    return v


def member(v, path):
    for name in path.split("."):
        if not isinstance(v, dict) or name not in v:
            return None
        v = v[name]
    return v


def cells_of(raw, count):
    """The cells of a CSV record, None for empty ones without quotes, or Dead."""
    if len(raw) > EVENT_BYTES_MAX:
        raise Dead("too_large")
    text = raw.decode("utf-8")
    cells, i = [], 0
    while True:
        if text[i:i + 1] == '"':
            end = i + 1
            while True:
                end = text.find('"', end)
                if end < 0:
                    raise Dead("bad_csv")
                if text[end + 1:end + 2] != '"':
                    break
                end += 2
            cells.append(text[i + 1:end].replace('""', '"'))
            i = end + 1
            if i < len(text) and text[i] != ",":
                raise Dead("bad_csv")
        else:
            end = text.find(",", i)
            end = len(text) if end < 0 else end
            if '"' in text[i:end]:
                raise Dead("bad_csv")
            cells.append(text[i:end] or None)
            i = end
        if i >= len(text):
            break
        i += 1
    if len(cells) != count:
        raise Dead("bad_csv")
    return cells


def limits(f, v):
    """The first promise of the field that a value breaks."""
    if f.kind[0] == "list":
        if f.length is not None and len(v) != f.length:
            return "wrong_length"
        if f.max_length is not None and len(v) > f.max_length:
            return "too_long"
        bad = any((f.low is not None and x < f.low) or (f.high is not None and x > f.high) for x in v)
        return "out_of_range" if bad else None
    if f.kind[0] == "string" and f.max_length is not None and len(v) > f.max_length:
        return "too_long"
    if (f.low is not None and v < f.low) or (f.high is not None and v > f.high):
        return "out_of_range"
    if f.allowed is not None and v not in f.allowed:
        return "not_allowed"
    return None


def read_event(stream, raw, header):
    """The values of an event by field name, or Dead."""
    if header is None:
        v = whole(raw)
        found = [(f, member(v, f.source), json_value) for f in stream.fields]
    else:
        cells = dict(zip(header, cells_of(raw, len(header))))
        found = [(f, cells.get(f.source), cell_value) for f in stream.fields]
    values = {}
    for f, x, read in found:
        if x is not None:
            values[f.name] = read(f, x)
        elif f.default is not None:
            values[f.name] = f.default
        elif f.optional:
            values[f.name] = None
        else:
            raise Dead("missing_field", f)
    for f in stream.fields:
        broken = limits(f, values[f.name]) if values[f.name] is not None else None
        if broken:
            raise Dead(broken, f)
    return values


def readable_time(stream, raw, header):
    """The time of a record for merging inputs: None where it cannot be read."""
    try:
        f = stream.by_name[stream.time]
        if header is None:
            x = member(whole(raw), f.source)
            return None if x is None else json_value(f, x)
        x = dict(zip(header, cells_of(raw, len(header)))).get(f.source)
        return None if x is None else cell_value(f, x)
    except Dead:
        return None


# ---- the engine ------------------------------------------------------------------------------------------------------


def merged(inputs):
    """The log: (stream, partition, offset, raw, header) of all inputs, the smallest time first."""
    for i in inputs:
        i.partition = sum(1 for j in inputs[:inputs.index(i)] if j.stream is i.stream)
    if len(inputs) == 1:
        i = inputs[0]
        return [(i.stream, 0, n, raw, i.header) for n, raw in enumerate(i.records)]
    heads, log = [], []
    for i in inputs:
        last, times = -math.inf, []
        for raw in i.records:
            t = readable_time(i.stream, raw, i.header)
            last = last if t is None else t
            times.append(last)
        heads.append([i, times, 0])
    while True:
        open_ = [h for h in heads if h[2] < len(h[1])]
        if not open_:
            return log
        h = min(open_, key=lambda h: h[1][h[2]])
        log.append((h[0].stream, h[0].partition, h[2], h[0].records[h[2]], h[0].header))
        h[2] += 1


class Event:
    def __init__(self, stream, partition, offset, raw, values):
        self.stream, self.partition, self.offset, self.raw, self.values = stream, partition, offset, raw, values
        self.is_late = False
        self.features = None


def aggregate(w, values):
    """The answer over the values of the window's events that count."""
    if w.aggregate == "count":
        return len(values)
    if not values:
        return None
    kind = w.arg_kind[0]
    if w.aggregate in ("min", "max"):
        return min(values) if w.aggregate == "min" else max(values)
    total = sum(fractions.Fraction(v) for v in values)
    if w.aggregate == "mean":
        return float(total / len(values) / (10 ** w.arg_kind[1] if kind == "decimal" else 1))
    if kind == "double":
        return math.fsum(values)
    return int(total) if INT_MIN <= total <= INT_MAX else None


class Answers:
    def __init__(self):
        self.scored, self.dead = [], []  # [Event], [(Event or None, reason, field, stream, position, raw)]
        self.counts = {"scored": 0, "late": 0, "dead": 0, "shed": 0}
        self.reasons = {}


def run(streams, features, inputs):
    """features: [(name, Window or function of values, whether it needs fields alone)] in an order in which each comes
    after those it needs; streams[0] is the main one. Gives Answers."""
    main, answers, newest = streams[0], Answers(), None
    accepted = {}  # (stream, id) -> newest event time when the last event with it was accepted
    held = {}  # (window's stream and keys) -> key -> [(time, Event)] in the order of the log
    groups = {(w.of.name, w.keys): w.of for _, w, _ in features if isinstance(w, Window)}
    for stream, partition, offset, raw, header in merged(inputs):

        def out(verdict, reason, field=None, letter=True):
            answers.counts[verdict] += 1
            answers.reasons[reason] = answers.reasons.get(reason, 0) + 1
            if letter:
                answers.dead.append((reason, field, stream, f"{stream.name}:{partition}:{offset}",
                                     raw[:EVENT_BYTES_MAX]))

        try:
            values = read_event(stream, raw, header)
        except Dead as d:
            out("dead", d.reason, d.field)
            continue
        e = Event(stream, partition, offset, raw, values)
        t = values[stream.time]
        newest = t if newest is None else max(newest, t)
        watermark = newest - stream.lateness
        e.is_late = t < watermark
        is_dropped = e.is_late and stream.late in ("drop", "dead-letter")
        if e.is_late and not is_dropped and t < watermark - stream.within:
            out("dead", "too_late", stream.by_name[stream.time])
            continue
        if stream.dedup is not None and values[stream.id] is not None:
            event_id = stream.name, values[stream.id]
            if event_id in accepted and newest - accepted[event_id] <= stream.dedup:
                out("dead", "duplicate", None, False)
                continue
            accepted[event_id] = newest
        if is_dropped:
            out("late", "late_event", stream.by_name[stream.time], stream.late == "dead-letter")
            continue
        is_scored = not (e.is_late and stream.late == "fold")
        if stream is main:
            row = dict(values)
            for name, what, is_local in features:  # windows may need them of their own events
                if is_local:
                    row[name] = what(row)
            e.values = row
        for (of, keys), source in groups.items():
            if source is stream and None not in [values[k] for k in keys]:
                held.setdefault((of, keys), {}).setdefault(tuple(values[k] for k in keys), []).append((t, e))
        if not is_scored:
            out("late", "late_event", None, False)
            continue
        answers.counts["scored"] += 1
        if stream is not main:
            continue
        row = dict(values)
        for name, what, _ in features:
            if not isinstance(what, Window):
                row[name] = what(row)
                continue
            key = tuple(values[k] for k in what.keys)
            if None in key:
                row[name] = what.default
                continue
            end = t - what.delayed
            start = -math.inf if what.over is None else end - what.over
            seen = [x for at, x in held.get((what.of.name, what.keys), {}).get(key, ())
                    if start < at <= end and not (what.excluding and x is e)]
            if what.where is not None:
                seen = [x for x in seen if what.where(x.values) is True]
            args = seen if what.arg is None else [v for v in (what.arg(x.values) for x in seen) if v is not None]
            v = aggregate(what, args)
            row[name] = what.default if v is None else v
        e.features = row
        answers.scored.append(e)
    return answers


# ---- records ---------------------------------------------------------------------------------------------------------


class Written:
    """What a value must look like: equal to a JSON value whose numbers are still text."""

    def __init__(self, kind, v):
        self.kind, self.v = kind, v

    def __repr__(self):
        return f"{self.kind[0]} {self.v!r}"

    def __ne__(self, other):
        return not self == other

    def __eq__(self, got):
        v, kind = self.v, self.kind[0]
        if v is None:
            return got is None
        if kind == "bool":
            return got is v
        if kind == "int64" and abs(v) > 1 << 53:
            return isinstance(got, str) and not isinstance(got, Number) and got == str(v)
        if kind in ("int64", "decimal"):
            return isinstance(got, Number) and got == integer_text(v, self.kind)
        if kind == "double":
            return isinstance(got, Number) and double_is(v, got)
        if kind == "timestamp":
            return not isinstance(got, Number) and got == time_text(v)
        if kind == "list":
            return isinstance(got, list) and len(got) == len(v) and all(map(double_is, v, got))
        return isinstance(got, str) and not isinstance(got, Number) and got == v

    def is_cell(self, got, quoted):
        """The same as a CSV cell."""
        v, kind = self.v, self.kind[0]
        if v is None:
            return got == "" and not quoted
        if kind == "bool":
            return got == ("true" if v else "false")
        if kind in ("int64", "decimal"):
            return got == integer_text(v, self.kind)
        if kind == "double":
            return double_is(v, got)
        if kind == "timestamp":
            return got == time_text(v)
        if kind == "list":
            return self == json.loads(got, parse_int=Number, parse_float=Number)
        return got == v and (not v or quoted == any(c in v for c in ',"\r\n')) and (v != "" or quoted)


def integer_text(v, kind):
    if kind[0] == "int64" or kind[1] == 0:
        return str(v)
    digits = str(abs(v)).rjust(kind[1] + 1, "0")
    return ("-" if v < 0 else "") + digits[:-kind[1]] + "." + digits[-kind[1]:]


def double_is(v, text):
    """The same double, and no longer than the shortest text: as many digits as repr's."""
    def digits(s):
        return len(s.lower().split("e")[0].replace(".", "").replace("-", "").strip("0"))
    return float(text) == v and digits(text) <= digits(repr(v))


def csv_cells(text):
    """Records of cells (text, was quoted) of a CSV file."""
    plain = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    marked = list(csv.reader(io.StringIO(re.sub(r'"((?:[^"]|"")*)"', '"\x01\\1"', text), newline=""), strict=True))
    return [[(c, m.startswith("\x01")) for c, m in zip(p, q, strict=True)] for p, q in zip(plain, marked, strict=True)]
