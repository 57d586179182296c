# SPDX-License-Identifier: Apache-2.0
"""oracle_cases.py - random specs and event files for test_oracle.py, each with what the naive engine needs to answer.

A case is a pure function of its seed. Times are drawn so that events stand exactly on the edges of windows, of the
lateness and of `within`, one microsecond beside them, and at the same instant.
"""
import fractions
import json
import math
import operator

import oracle
from oracle import INT_MAX, INT_MIN, Field, Stream, Window

BOOL, INT, DOUBLE, STRING, TIME, LIST = ("bool",), ("int64",), ("double",), ("string",), ("timestamp",), ("list",)
LETTERS = ["a", "b", "Z", "0", " ", "_", "ä", "ß", "日本", "😀", '"', "\\", "/", "\n", "\t", ",", "'", "\x7f", "é", ";"]
PLACES = (1, 2, 3)
US = {"us": 1, "ms": 1000, "s": 1000000, "m": 60000000, "h": 3600000000, "d": 86400000000}


def kind_text(kind):
    return {"decimal": lambda: f"decimal({kind[1]})", "list": lambda: "list(double)"}.get(kind[0], lambda: kind[0])()


def duration_text(us):
    for unit in ("d", "h", "m", "s", "ms"):
        if us and us % US[unit] == 0:
            return f"{us // US[unit]}{unit}"
    return f"{us}us" if us else "0s"


# ---- expressions -----------------------------------------------------------------------------------------------------

OR, AND, NOT, COMPARE, SUM, PRODUCT, SIGN, ATOM = range(1, 9)


class Expr:
    """A typed expression: its text with the level of its outermost operator, and a function of an event's values."""

    def __init__(self, text, level, kind, run, names=()):
        self.text, self.level, self.kind, self.run, self.names = text, level, kind, run, frozenset(names)

    def at(self, level):
        return self.text if self.level >= level else f"({self.text})"


class Literal(Expr):
    """A number as written; takes the type of the other side where it fits."""

    def __init__(self, text):
        super().__init__(text, SIGN if text.startswith("-") else ATOM, None, None)
        self.value = fractions.Fraction(text)
        self.scale = len(text.partition(".")[2])


def fits(v):
    return v if v is not None and INT_MIN <= v <= INT_MAX else None


def finite(v):
    return v if v is not None and math.isfinite(v) else None


def double_of(kind, v):
    return float(fractions.Fraction(v, 10 ** kind[1])) if kind[0] == "decimal" else float(v)


def fraction_of(kind, v):
    return fractions.Fraction(v, 10 ** kind[1]) if kind[0] == "decimal" else fractions.Fraction(v)


def is_number(kind):
    return kind[0] in ("int64", "double", "decimal")


def nulls(f, *args):
    """The operation f: null where an operand is."""
    def run(row):
        values = [a.run(row) for a in args]
        return None if None in values else f(*values)
    return run


def names_of(*args):
    return frozenset().union(*(a.names for a in args))


def as_kind(x, kind):
    """x as that wider kind, exactly; overflow is null."""
    if x.kind == kind:
        return x
    if kind == DOUBLE:
        return Expr(x.text, x.level, DOUBLE, nulls(lambda v: double_of(x.kind, v), x), x.names)
    up = kind[1] - (x.kind[1] if x.kind[0] == "decimal" else 0)
    return Expr(x.text, x.level, kind, nulls(lambda v: fits(v * 10 ** up), x), x.names)


def settle(lit, other):
    """The literal beside another operand."""
    if other == DOUBLE:
        kind, v = DOUBLE, float(lit.value)
    elif lit.value.denominator == 1 and other == INT:
        kind, v = INT, int(lit.value)
    elif other[0] == "decimal" and lit.scale <= 18:
        is_fitting = (lit.value * 10 ** other[1]).denominator == 1
        kind = other if is_fitting else ("decimal", lit.scale)
        v = int(lit.value * 10 ** kind[1])
    else:
        kind, v = DOUBLE, float(lit.value)
    return Expr(lit.text, lit.level, kind, lambda row: v)


def settled(a, b):
    return (settle(a, b.kind) if isinstance(a, Literal) else a), (settle(b, a.kind) if isinstance(b, Literal) else b)


def common(a, b):
    if DOUBLE in (a.kind, b.kind):
        return DOUBLE
    scales = [x.kind[1] for x in (a, b) if x.kind[0] == "decimal"]
    return ("decimal", max(scales)) if scales else INT


def remainder(a, b):
    return None if b == 0 else int(math.fmod(a, b)) if abs(a) < 1 << 53 else (abs(a) % abs(b)) * (-1 if a < 0 else 1)


def divided(a, b):
    return None if b == 0 else finite(a / b)


def arithmetic(sign, a, b):
    a0, b0, level = a, b, PRODUCT if sign in "*/%" else SUM
    a, b = settled(a, b)
    text = f"{a0.at(level)} {sign} {b0.at(level + 1)}"
    if sign == "/":
        kind, f = DOUBLE, divided
    elif sign == "%":
        kind, f = INT, remainder
    elif sign == "*":
        if isinstance(a0, Literal) and b0.kind[0] == "decimal" or isinstance(b0, Literal) and a0.kind[0] == "decimal":
            lit, other = (a0, b) if isinstance(a0, Literal) else (b0, a)
            own = ("decimal", lit.scale) if lit.scale else INT
            v = int(lit.value * 10 ** lit.scale)
            made = Expr(lit.text, lit.level, own, lambda row: v)
            a, b = (made, other) if lit is a0 else (other, made)
        scale = sum(x.kind[1] for x in (a, b) if x.kind[0] == "decimal")
        kind = DOUBLE if DOUBLE in (a.kind, b.kind) or scale > 18 else \
            ("decimal", scale) if "decimal" in (a.kind[0], b.kind[0]) else INT
        f = operator.mul
        if kind != DOUBLE:
            return Expr(text, level, kind, nulls(lambda x, y: fits(x * y), a, b), names_of(a, b))
    else:
        kind, f = common(a, b), {"+": operator.add, "-": operator.sub}[sign]
    a, b = as_kind(a, kind), as_kind(b, kind)
    check = finite if kind == DOUBLE else fits
    return Expr(text, level, kind, nulls(lambda x, y: check(f(x, y)), a, b), names_of(a, b))


COMPARISONS = {"==": operator.eq, "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
               ">": operator.gt, ">=": operator.ge}


def comparable(a, b):
    """Both sides as what Python compares as Quern promises: exactly, but a decimal meets a double as the nearest."""
    if not is_number(a.kind):
        return a.run, b.run
    if "decimal" in (a.kind[0], b.kind[0]) and DOUBLE in (a.kind, b.kind):
        return as_kind(a, DOUBLE).run, as_kind(b, DOUBLE).run
    return nulls(lambda v: fraction_of(a.kind, v), a), nulls(lambda v: fraction_of(b.kind, v), b)


def compare(sign, a, b):
    a0, b0 = a, b
    if isinstance(a, Literal) or isinstance(b, Literal):
        lit, other = (a, b) if isinstance(a, Literal) else (b, a)
        made = settle(lit, other.kind)
        if other.kind[0] == "int64" and made.kind == DOUBLE:
            made = Expr(lit.text, lit.level, DOUBLE, lambda row: float(lit.value))
        a, b = (made, other) if lit is a else (other, made)
    left, right = comparable(a, b)

    def run(row):
        x, y = left(row), right(row)
        return None if x is None or y is None else COMPARISONS[sign](x, y)
    return Expr(f"{a0.at(SUM)} {sign} {b0.at(SUM)}", COMPARE, BOOL, run, names_of(a, b))


def both(a, b):
    def run(row):
        x, y = a.run(row), b.run(row)
        return False if x is False or y is False else None if x is None or y is None else True
    return Expr(f"{a.at(AND)} and {b.at(NOT)}", AND, BOOL, run, names_of(a, b))


def either(a, b):
    def run(row):
        x, y = a.run(row), b.run(row)
        return True if x is True or y is True else None if x is None or y is None else False
    return Expr(f"{a.at(OR)} or {b.at(AND)}", OR, BOOL, run, names_of(a, b))


def call(name, kind, run, *args):
    return Expr(f"{name}({', '.join(a.text for a in args)})", ATOM, kind, run, names_of(*args))


def choice(condition, a, b):
    def run(row):
        c = condition.run(row)
        return None if c is None else (a if c else b).run(row)
    return call("if", a.kind, run, condition, a, b)


def coalesce(*args):
    return call("coalesce", args[0].kind, lambda row: next((v for v in (a.run(row) for a in args) if v is not None),
                                                           None), *args)


def whole_number(name, x):
    def steps(v):  # (floor, rest in [0, 1))
        down = math.floor(v)
        return down, v - down

    def run(v):
        f = fraction_of(x.kind, v)
        down, rest = steps(f)
        half = fractions.Fraction(1, 2)
        up = {"floor": 0, "ceil": rest > 0, "round": rest > half or (rest == half and f > 0)}[name]
        return float(down + up) if x.kind == DOUBLE else down + up
    return call(name, DOUBLE if x.kind == DOUBLE else INT, nulls(run, x), x)


def root(x):
    x = as_kind(x, DOUBLE)
    return call("sqrt", DOUBLE, nulls(lambda v: None if v < 0 else math.sqrt(v), x), x)


CIVIL = {"hour": lambda us: us // US["h"] % 24, "weekday": lambda us: (us // US["d"] + 3) % 7,
         "day": lambda us: int(oracle.time_text(us)[8:10]), "month": lambda us: int(oracle.time_text(us)[5:7]),
         "year": lambda us: int(oracle.time_text(us)[:4])}


def ascii_case(low):
    def run(text):
        return "".join(chr(ord(c) ^ 0x20) if low <= c <= chr(ord(low) + 25) else c for c in text)
    return run


TEXT_TESTS = {"starts_with": str.startswith, "ends_with": str.endswith, "contains": operator.contains}


class Expressions:
    """Draws expressions over the given names: {name: kind}."""

    def __init__(self, rng, scope):
        self.rng, self.scope = rng, scope

    def name(self, wanted):
        known = [n for n, k in sorted(self.scope.items()) if wanted(k)]
        if not known:
            return None
        n = self.rng.choice(known)
        return Expr(n, ATOM, self.scope[n], lambda row: row[n], [n])

    def literal(self, whole=False):
        r = self.rng
        text = r.choice([str(r.randrange(-3, 12)), str(r.randrange(100)), "1000000007"])
        if not whole and r.random() < 0.5:
            text = f"{text}.{r.choice(['5', '25', '1', '001', '50'])}"
        return Literal(text)

    def quoted(self, text):
        q = self.rng.choice("'\"")
        return Expr(q + text.replace(q, q + q) + q, ATOM, STRING, lambda row: text)

    def number(self, depth):
        r = self.rng
        x = self.name(is_number)
        if x is None:
            t = self.name(lambda k: k == TIME)
            return call("hour", INT, nulls(CIVIL["hour"], t), t)
        if depth <= 0:
            return x
        what = r.choice(["op", "op", "op", "op", "minus", "abs", "whole", "least", "if", "coalesce", "sqrt", "civil",
                         "length", "seconds"])
        if what == "op":
            sign = r.choice("++--**/%")
            a = self.number(depth - 1)
            b = self.literal() if r.random() < 0.3 else self.number(depth - 1)
            if sign == "%":
                a = a if a.kind == INT else self.name(lambda k: k == INT)
                b = self.literal(True) if isinstance(b, Literal) else b if b.kind == INT else a
                if a is None:
                    return x
            if r.random() < 0.3 and not isinstance(a, Literal):
                a, b = b, a
            if isinstance(a, Literal) and isinstance(b, Literal):
                return x
            return arithmetic(sign, a, b)
        if what == "minus":
            a = self.number(depth - 1)
            check = finite if a.kind == DOUBLE else fits
            return Expr(f"-{a.at(ATOM)}", SIGN, a.kind, nulls(lambda v: check(-v), a), a.names)
        if what == "abs":
            a = self.number(depth - 1)
            check = finite if a.kind == DOUBLE else fits
            return call("abs", a.kind, nulls(lambda v: check(abs(v)), a), a)
        if what == "whole":
            return whole_number(r.choice(["floor", "ceil", "round"]), self.number(depth - 1))
        if what == "sqrt":
            return root(self.number(depth - 1))
        if what == "least":
            name, args = r.choice(["min", "max"]), [self.number(depth - 1) for _ in range(r.randrange(2, 4))]
            kind = args[0].kind
            for a in args[1:]:
                kind = common(Expr("", ATOM, kind, None), a)
            wide = [as_kind(a, kind) for a in args]
            return call(name, kind, nulls(lambda *v: (min if name == "min" else max)(v), *wide), *wide)
        if what in ("if", "coalesce"):
            a, b = self.number(depth - 1), self.number(depth - 1)
            kind = common(a, b)
            a, b = as_kind(a, kind), as_kind(b, kind)
            return coalesce(a, b) if what == "coalesce" else choice(self.condition(depth - 1), a, b)
        if what == "length":
            a = self.name(lambda k: k in (STRING, LIST))
            return call("length", INT, nulls(len, a), a) if a else x
        if what == "seconds":
            a, b = self.name(lambda k: k == TIME), self.time()
            return call("seconds_between", DOUBLE,
                        nulls(lambda s, e: float(fractions.Fraction(e - s, 1000000)), a, b), a, b)
        a, name = self.time(), r.choice(sorted(CIVIL))
        return call(name, INT, nulls(CIVIL[name], a), a)

    def time(self):
        t = self.name(lambda k: k == TIME)
        if self.rng.random() < 0.7:
            return t
        by = self.rng.choice([1500, 1000000, 90 * 60000000, 2 * US["d"]])
        sign = self.rng.choice([1, -1])
        return Expr(f"{t.text} {'+' if sign > 0 else '-'} {duration_text(by)}", SUM, TIME,
                    nulls(lambda v: v + sign * by, t), t.names)

    def text(self, depth):
        a = self.name(lambda k: k == STRING)
        if depth > 0 and self.rng.random() < 0.5:
            name, low = self.rng.choice([("lower", "A"), ("upper", "a")])
            return call(name, STRING, nulls(ascii_case(low), a), a)
        return a

    def condition(self, depth):
        r = self.rng
        what = r.choice(["number", "number", "text", "in", "null", "bool", "and", "or", "not", "time", "test"])
        if depth > 0 and what in ("and", "or"):
            a, b = self.condition(depth - 1), self.condition(depth - 1)
            return both(a, b) if what == "and" else either(a, b)
        if depth > 0 and what == "not":
            a = self.condition(depth - 1)
            return Expr(f"not {a.at(NOT)}", NOT, BOOL, nulls(operator.not_, a), a.names)
        if what == "bool" and (b := self.name(lambda k: k == BOOL)):
            return b
        if what == "null":
            a = self.name(lambda k: k != LIST)
            wanted = r.random() < 0.5
            return Expr(f"{a.at(SUM)} is {'' if wanted else 'not '}null", COMPARE, BOOL,
                        lambda row: (a.run(row) is None) == wanted, a.names)
        if what == "text":
            return compare(r.choice(sorted(COMPARISONS)), self.text(depth), self.quoted(r.choice(LETTERS)))
        if what == "test":
            name, a, b = r.choice(sorted(TEXT_TESTS)), self.text(depth), self.quoted(r.choice(LETTERS + [""]))
            return call(name, BOOL, nulls(TEXT_TESTS[name], a, b), a, b)
        if what == "time":
            return compare(r.choice(sorted(COMPARISONS)), self.time(), self.time())
        if what == "in" and r.random() < 0.5:
            a, items = self.text(depth), [self.quoted(c) for c in r.sample(LETTERS, r.randrange(1, 4))]
            return Expr(f"{a.at(SUM)} in ({', '.join(i.text for i in items)})", COMPARE, BOOL,
                        nulls(lambda v: v in [i.run(None) for i in items], a), a.names)
        a = self.number(depth - 1)
        if what == "in":
            tests = [compare("==", a, self.literal()) for _ in range(r.randrange(1, 4))]
            items = [t.text.rpartition(" == ")[2] for t in tests]

            def run(row):
                found = [t.run(row) for t in tests]
                return None if None in found else any(found)
            return Expr(f"{a.at(SUM)} in ({', '.join(items)})", COMPARE, BOOL, run, a.names)
        b = self.literal() if r.random() < 0.7 else self.number(depth - 1)
        if r.random() < 0.2:
            a, b = b, a
        return compare(r.choice(sorted(COMPARISONS)), a, b)

    def any(self, depth):
        pick = self.rng.random()
        return self.number(depth) if pick < 0.6 else self.condition(depth) if pick < 0.85 else \
            self.text(depth) if pick < 0.95 else self.time()


# ---- specs -----------------------------------------------------------------------------------------------------------


def yaml_text(v):
    return json.dumps(v, ensure_ascii=False).replace("\x7f", "\\x7f")


def literal_text(kind, v):
    """A value as the spec has it."""
    if kind == BOOL:
        return "true" if v else "false"
    if kind[0] == "decimal":
        return oracle.integer_text(v, kind)
    if kind == STRING:
        return yaml_text(v)
    if kind == TIME:
        return yaml_text(oracle.time_text(v))
    return repr(v)


class Case:
    """streams, features, outputs (name, condition or None, includes), the spec's text, and inputs to be written."""

    def __init__(self, rng):
        self.rng = rng
        self.base = rng.choice([1704067200, -1, 1709164799, 951782399, -30000000000, 1735689599]) * 1000000
        self.over = rng.sample([500000, 1000000, 10000000, 60000000, 3600000000], rng.choice(PLACES))
        self.keys = {"k": STRING, "k2": rng.choice([INT, BOOL, ("decimal", 2), STRING])}
        self.streams = [self.stream(name) for name in ["main", "other", "third"][:rng.choice([1, 1, 2, 2, 3])]]
        self.features, self.kinds, self.lines = [], {}, []
        for i in range(rng.randrange(1, 11)):
            self.feature(f"f{i}")
        self.outputs = [("predictions", None, ["features", "event"])]
        scope = Expressions(rng, {**{f.name: f.kind for f in self.streams[0].fields}, **self.kinds})
        if rng.random() < 0.3:
            self.outputs[0] = ("predictions", scope.condition(2), ["features", "event"])
        for i in range(rng.randrange(3)):
            self.outputs.append((f"out{i}", scope.condition(2) if rng.random() < 0.8 else None,
                                 rng.choice([[], ["features"], ["event", "features"]])))

    # -- streams --

    def stream(self, name):
        r = self.rng
        unit = r.choice([None, None, "s", "ms", "us", "ns"])
        fields = [Field("t", TIME, source=r.choice(["t", "meta.when"]), unit=unit)]
        id = None
        if r.random() < 0.8:
            id = "id"
            fields.append(Field("id", r.choice([STRING, INT])))
        for k, kind in self.keys.items():
            fields.append(Field(k, kind, optional=r.random() < 0.4, source=r.choice([k, f"meta.{k}"])))
        for kind in [INT, DOUBLE, ("decimal", r.choice([0, 1, 2, 4])), BOOL, STRING, LIST, TIME]:
            if kind in (INT, STRING) or r.random() < 0.6:
                fields.append(self.field(f"{kind[0][0]}{len(fields)}", kind))
        r.shuffle(fields)
        late = r.choice(["score", "score", "fold", "drop", "dead-letter"])
        within = r.choice([None, 1, 2000000, 60000000]) if late in ("score", "fold") else None
        dedup = r.choice([None, 1, 1000000, 60000000, US["d"]]) if id else None
        return Stream(name, fields, "t", id=id, lateness=r.choice([0, 1, 500000, 1000000, 10000000]), late=late,
                      within=within, dedup=dedup)

    def field(self, name, kind):
        r = self.rng
        f = Field(name, kind, source=r.choice([name, f"meta.{name}", "a.b." + name]))
        how = r.random()
        if how < 0.4:
            f.optional = True
        elif how < 0.55 and kind != LIST:
            f.default = self.good_value(f)
        if kind == TIME:
            f.unit = r.choice([None, None, "ms"])
        if r.random() < 0.4 and kind in (INT, DOUBLE) or kind[0] == "decimal" and r.random() < 0.4:
            scale = 10 ** kind[1] if kind[0] == "decimal" else 1
            f.low, f.high = r.choice([(-50 * scale, None), (None, 90 * scale), (-40 * scale, 95 * scale)])
            if kind == DOUBLE:
                f.low, f.high = (None if x is None else float(x) for x in (f.low, f.high))
            if f.default is not None:
                f.default = scale if kind != DOUBLE else 1.0
        elif r.random() < 0.2 and kind in (INT, STRING):
            f.allowed = list(range(-20, 21)) if kind == INT else LETTERS[:12]
            if f.default is not None:
                f.default = f.allowed[0]
        if kind == STRING and f.allowed is None and r.random() < 0.4:
            f.max_length = 3
            f.default = None if f.default is None else "abc"
        if kind == LIST and r.random() < 0.5:
            f.length, f.max_length = r.choice([(3, None), (None, 2)])
        return f

    def good_value(self, f):
        """A value of the field's kind; mostly within its limits."""
        r = self.rng
        kind = f.kind[0]
        if f.allowed is not None and r.random() < 0.95:
            return r.choice(f.allowed)
        if kind == "bool":
            return r.random() < 0.5
        if kind == "int64":
            far = [0, 1, 1 << 53, (1 << 53) + 1, INT_MAX, INT_MIN, -(1 << 53) - 1]
            return r.choice([r.randrange(-20, 21), r.randrange(-60, 101), r.choice(far) if r.random() < 0.1 else 7])
        if kind == "decimal":
            return r.choice([r.randrange(-4000, 9900), r.randrange(-40, 99) * 10 ** f.kind[1], 0])
        if kind == "double":
            return r.choice([r.randrange(-4000, 9900) / 100, r.random(), r.gauss(0, 30), float(r.randrange(-40, 90)),
                             r.choice([1e22, -1e15, 5e-324, 1e-7, 123456789.123456789, 1e300, 0.1 + 0.2])
                             if r.random() < 0.2 else 0.5])
        if kind == "string":
            return "".join(r.choice(LETTERS) for _ in range(r.choice([0, 1, 1, 1, 2, 3, 4])))
        if kind == "timestamp":
            return self.base + r.randrange(-10 ** 9, 10 ** 12)
        return [r.choice([0.0, 1.5, -2.25, 1e-3, 7.0]) for _ in range(f.length or r.choice([0, 1, 2, 2, 3]))]

    # -- features --

    def feature(self, name):
        r = self.rng
        main = self.streams[0]
        fields = {f.name: f.kind for f in main.fields}
        if r.random() < 0.35:
            e = Expressions(r, {**fields, **self.kinds}).any(3)
            is_local = all(n in fields or any(n == m and local for m, _, local in self.features) for n in e.names)
            default = r.choice([None, None, self.default(e.kind)])
            text = e.at(AND) if default is not None else e.text
            run = e.run if default is None else (lambda row: default if (v := e.run(row)) is None else v)
            self.add(name, e.kind, run, is_local, text + self.default_text(e.kind, default))
            return
        of = r.choice(self.streams)
        local = {m: self.kinds[m] for m, _, is_local in self.features if is_local} if of is main else {}
        scope = Expressions(r, {**{f.name: f.kind for f in of.fields}, **local})
        aggregate = r.choice(["count", "sum", "mean", "min", "max"])
        arg = None
        if aggregate != "count":
            arg = scope.number(1) if r.random() < 0.4 else scope.name(is_number)
            if r.random() < 0.15:
                arg = scope.name(lambda k: k == BOOL) or arg
            if aggregate in ("min", "max") and r.random() < 0.2:
                arg = scope.name(lambda k: k == TIME)
        kind = INT if aggregate == "count" else DOUBLE if aggregate == "mean" else \
            INT if arg.kind == BOOL and aggregate == "sum" else arg.kind
        where = scope.condition(1) if r.random() < 0.4 else None
        keys = tuple(r.sample(["k", "k2"], r.choice([1, 1, 2])))
        over = None if r.random() < 0.12 else r.choice(self.over)
        delayed = r.choice([0, 0, 0, r.choice(self.over), 1]) if over else 0
        excluding = r.random() < 0.25 and of is main
        default = r.choice([None, None, self.default(kind)])
        text = f"{aggregate}({arg.text if arg else ''})"
        clauses = [f"by {', '.join(keys)}", "over all" if over is None else f"over {duration_text(over)}"]
        if where:
            clauses.append(f"where {where.text}")
        if of is not main or r.random() < 0.2:
            clauses.append(f"of {of.name}")
        if delayed:
            clauses.append(f"delayed {duration_text(delayed)}")
        if excluding:
            clauses.append("excluding current")
        order = ["where", "of", "by", "over", "delayed", "excluding"]
        clauses.sort(key=lambda c: order.index(c.split()[0]))
        arg_kind = arg.kind if arg else None
        values = arg.run if arg else None
        self.add(name, kind, Window(aggregate, kind, values, arg_kind, where.run if where else None, of, keys, over,
                                    delayed, excluding, default),
                 False, " ".join([text, *clauses]) + self.default_text(kind, default))

    def default(self, kind):
        return {"bool": True, "int64": 5, "double": -1.5, "decimal": 10 ** kind[1] if kind[0] == "decimal" else 0,
                "string": "none", "timestamp": 0}[kind[0]]

    def default_text(self, kind, default):
        if default is None:
            return ""
        return " or " + {"bool": "true", "int64": "5", "double": "-1.5", "decimal": "1", "string": "'none'",
                         "timestamp": "'1970-01-01T00:00:00Z'"}[kind[0]]

    def add(self, name, kind, what, is_local, text):
        self.features.append((name, what, is_local))
        self.kinds[name] = kind
        self.lines.append((name, text))

    # -- the file --

    def spec(self):
        out = ["quern: 1", "name: oracle", "streams:"]
        for s in self.streams:
            out += [f"  {s.name}:", "    time: t", f"    lateness: {duration_text(s.lateness)}"]
            reach = "" if s.within is None or s.late not in ("score", "fold") or s.within == s.lateness else \
                f" within {duration_text(s.within)}"
            out += [f"    late: {s.late}{reach}"] + ([f"    id: {s.id}"] if s.id else [])
            out += ([f"    dedup: {duration_text(s.dedup)}"] if s.dedup else []) + ["    fields:"]
            for f in s.fields:
                parts = [f"type: {kind_text(f.kind)}"] + ([f"from: {f.source}"] if f.source != f.name else [])
                parts += ["optional: true"] if f.optional else []
                for key, v in (("default", f.default), ("min", f.low), ("max", f.high)):
                    parts += [f"{key}: {literal_text(f.kind, v)}"] if v is not None else []
                if f.allowed is not None:
                    parts.append(f"in: [{', '.join(literal_text(f.kind, v) for v in f.allowed)}]")
                parts += [f"max_length: {f.max_length}"] if f.max_length is not None else []
                parts += [f"length: {f.length}"] if f.length is not None else []
                parts += [f"unit: {f.unit}"] if f.unit else []
                out.append(f"      {f.name}: {{{', '.join(parts)}}}")
        out.append("features:")
        out += [f"  {name}: {yaml_text(text)}" for name, text in self.lines]
        out.append("outputs:")
        for name, when, include in self.outputs:
            parts = [f"when: {yaml_text(when.text)}"] if when else []
            parts += [f"include: [{', '.join(include)}]"] if include else []
            out.append(f"  {name}: {{{', '.join(parts)}}}")
        return "\n".join(out) + "\n"


# ---- events ----------------------------------------------------------------------------------------------------------


class Input:
    """One file: its stream, its records as bytes, the CSV header or None, and all its bytes."""

    def __init__(self, stream, records, header, data):
        self.stream, self.records, self.header, self.data = stream, records, header, data


def number_forms(rng, f, v):
    """The same number, written in several ways."""
    scale = f.kind[1] if f.kind[0] == "decimal" else 0
    text = oracle.integer_text(v, f.kind) if f.kind != DOUBLE else repr(v)
    pick = rng.random()
    if pick < 0.8 or f.kind == DOUBLE and "e" in text:
        return text
    if f.kind == DOUBLE:
        return text + "00" if "." in text else text
    if pick < 0.9:
        return text + "0" if "." in text else text + ".0"
    return f"{v}e-{scale}" if scale else f"{v}e0" if pick < 0.95 else f"{10 * v}E-1"


def time_forms(rng, f, us):
    if f.unit:
        if f.unit == "ns":
            return str(us * 1000 + rng.choice([0, 0, rng.randrange(1000)]))
        step = US[f.unit]
        if us % step == 0:
            return str(us // step)
        digits = len(str(step)) - 1
        return oracle.integer_text(us, ("decimal", digits)) + rng.choice(["", "", "0", "9" if us >= 0 else ""])
    text = oracle.time_text(us)
    pick = rng.random()
    if pick < 0.5:
        return text
    if pick < 0.6:
        return text[:-1] + str(rng.randrange(1000)).rjust(3, "0") + "Z"
    if pick < 0.7:
        minutes = rng.choice([-720, -30, 60, 330])
        sign = "-" if minutes < 0 else "+"
        return oracle.time_text(us + minutes * 60000000)[:-1] + f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    if pick < 0.8:
        return text.replace("T", " ").replace("Z", "z")
    return (text[:-1].rstrip("0").rstrip(".") + "Z")


def json_text(rng, v):
    if isinstance(v, oracle.Number):
        return str(v)
    return json.dumps(v, ensure_ascii=rng.random() < 0.3)


class Writer:
    """Draws the events of one stream and writes them as NDJSON or CSV."""

    def __init__(self, case, rng, stream):
        self.case, self.rng, self.stream, self.newest, self.n = case, rng, stream, case.base, 0
        s = case.streams
        self.steps = [0, 0, 0, 1, 1000, 1000000] + [x + d for x in case.over + [s[0].lateness] for d in (-1, 0, 1)]
        self.steps += [stream.dedup + d for d in (-1, 0, 1)] if stream.dedup else []
        self.back = [0, 1] + [b + d for x in s for b in (x.lateness, x.lateness + x.within) for d in (-1, 0, 1)]
        self.back += [x + d for x in case.over for d in (-1, 0, 1)]
        self.texts = rng.sample(["a", "b", "ä", "日", "x y", 'q"', "\\", ""], rng.choice([1, 2, 4]))

    def time(self):
        r = self.rng
        if r.random() < 0.25:
            return self.newest - max(0, r.choice(self.back))
        self.newest += max(0, r.choice(self.steps)) if r.random() < 0.98 else r.choice([US["d"], 40 * US["d"]])
        return self.newest

    def value(self, f):
        r = self.rng
        if f.name == self.stream.time:
            return self.time()
        if f.name == self.stream.id:
            self.n += 1
            n = self.n
            if self.stream.dedup and r.random() < 0.3:
                n -= min(n - 1, r.choice([1, 1, 2, 10, 50]))
            return str(n) if f.kind == STRING else n
        if f.optional and r.random() < 0.25 or f.default is not None and r.random() < 0.4:
            return None
        if f.name in self.case.keys:
            return r.choice(self.texts if f.kind == STRING else [False, True] if f.kind == BOOL else [1, 2])
        return self.case.good_value(f)

    def written(self, f, v, is_csv):
        """What stands in the event: a Number, a str, a bool or a list; CSV takes their text."""
        r = self.rng
        if v is None:
            return None
        if f.kind == TIME:
            text = time_forms(r, f, v)
            return oracle.Number(text) if f.unit else text
        if is_number(f.kind):
            text = number_forms(r, f, v)
            return text if f.kind[0] == "decimal" and r.random() < 0.1 else oracle.Number(text)
        if f.kind == LIST:
            return [oracle.Number(repr(x)) for x in v]
        return v

    def spoiled(self, f):
        """A value that the field does not take."""
        r = self.rng
        return r.choice([None, "text", "5", oracle.Number("5.5"), oracle.Number("1e30"), oracle.Number("1e999"), True,
                         [oracle.Number("1")], {"x": oracle.Number("1")}, "2024-02-30T00:00:00Z", ["x"], "",
                         oracle.Number("-0.001"), oracle.Number("99999999999999999999"), "2024-01-01",
                         "x" * 50, oracle.Number("-9223372036854775809"), oracle.Number("1e-400")])

    # -- NDJSON --

    def tree(self, pairs):
        """Nested members from paths, as lists of pairs so that names may come twice."""
        tree = {}
        for f, v in pairs:
            path = f.source.split(".")
            at = tree
            for name in path[:-1]:
                at = at.setdefault(name, {})
            if v is not None or self.rng.random() < 0.5:
                at[path[-1]] = v
        return tree

    def dump(self, v, depth=0):
        r = self.rng
        if isinstance(v, list):
            return "[" + r.choice([",", ", "]).join(self.dump(x) for x in v) + "]"
        if not isinstance(v, dict):
            return json_text(r, v)
        space = r.choice(["", "", " ", "\t "])
        members = [(k, self.dump(x, depth + 1)) for k, x in v.items()]
        r.shuffle(members)
        if r.random() < 0.1 and members:  # comes twice: the last alone counts
            members.insert(0, (r.choice(members)[0], r.choice(["null", "1", '"x"', '{"t":1}'])))
        if r.random() < 0.15:
            members.insert(r.randrange(len(members) + 1), ("unknown", self.junk()))
        names = [json_text(r, k) if r.random() < 0.97 else '"' + "".join(f"\\u{ord(c):04x}" for c in k) + '"'
                 for k, _ in members]
        texts = [f"{n}{space}:{space}{x}" for n, (_, x) in zip(names, members)]
        return "{" + f"{space},{space}".join(texts) + space + "}"

    def junk(self):
        return self.rng.choice(['{"t":{"t":[1,2,{"k":null}]}}', "[[],{},[{}]]", '"\\ud83d\\ude00 \\n"', "1e999", "-0",
                                '"\\ud800"', "[" * 20 + "]" * 20, "true", '""', '{"":{"":""}}'])

    def json_record(self, is_alone):
        r = self.rng
        pairs = [(f, self.written(f, self.value(f), False)) for f in self.stream.fields]
        if r.random() < 0.05:
            i = r.randrange(len(pairs))
            pairs[i] = (pairs[i][0], self.spoiled(pairs[i][0]))
        text = self.dump(self.tree(pairs))
        if r.random() < 0.03:  # broken as a whole, so that nobody could read its time
            text = r.choice([text[:r.randrange(1, len(text))], text + "}", text + " x", f"[{text}]", "null", "5", '"x"',
                             "[]", text[:-1] + ",}", "{'t':1}", "nul", text + text, "NaN"])
            text = text.replace("\n", "").strip() or "?"
        elif r.random() < 0.01:
            deep = r.choice([63, 64, 70])  # in an object: one more
            text = text[:-1] + ',"deep":' + "[" * deep + "]" * deep + "}"
        data = text.encode("utf-8")
        if is_alone and r.random() < 0.01:
            data = data.replace(b'"', b'"\xff', 1)
        return data

    def ndjson(self, count, is_alone):
        records = [self.json_record(is_alone) for _ in range(count)]
        r, out = self.rng, []
        for i, record in enumerate(records):
            last = i == count - 1
            out.append(record + (b"" if last and r.random() < 0.5 else b"\r\n" if r.random() < 0.1 else b"\n"))
            if r.random() < 0.02 and not (last and not out[-1].endswith(b"\n")):
                out.append(r.choice([b"\n", b"\r\n", b"\n\n"]))
        return Input(self.stream, records, None, b"".join(out))

    # -- CSV --

    def cell(self, v):
        r = self.rng
        if v is None:
            return ""
        if v is True or v is False:
            return r.choice(["true", "TRUE", "1", "True"] if v else ["false", "False", "0"])
        if isinstance(v, (list, dict)):
            v = self.dump(v)
        v = str(v)
        if v == "" or any(c in v for c in ',"\r\n') or r.random() < 0.05:
            return '"' + v.replace('"', '""') + '"'
        return v

    def csv_record(self, columns):
        r = self.rng
        pairs = {f.source: self.written(f, self.value(f), True) for f in self.stream.fields}
        if r.random() < 0.05:
            f = r.choice(self.stream.fields)
            pairs[f.source] = self.spoiled(f)
        cells = [self.cell(pairs[c]) if c in pairs else r.choice(["", "7", "junk"]) for c in columns]
        text = ",".join(cells)
        if r.random() < 0.02:
            text = r.choice([text + ",", ",".join(cells[:-1]), 'x"y",' + text, ",".join(['"x"y', *cells[1:]])])
        return text.encode("utf-8")

    def csv(self, count):
        r = self.rng
        columns = [f.source for f in self.stream.fields] + r.choice([[], ["unused"]])
        r.shuffle(columns)
        records = [self.csv_record(columns) for _ in range(count)]
        end = r.choice([b"\n", b"\n", b"\r\n"])
        data = end.join([",".join(columns).encode(), *records]) + r.choice([b"", end])
        return Input(self.stream, records, columns, data)


def write(case, rng, count):
    """Inputs for the case: one or two files a stream."""
    streams = [s for s in case.streams for _ in range(1 if rng.random() < 0.8 else 2)]
    rng.shuffle(streams)
    if len(case.streams) == 1 and rng.random() < 0.6:
        streams = streams[:1]
    is_alone = len(streams) == 1
    inputs, is_csv = [], {s.name: rng.random() < 0.3 for s in streams}
    for s in streams:
        w = Writer(case, rng, s)
        n = rng.randrange(count // 2, count + 1) // len(streams)
        inputs.append(w.csv(n) if is_csv[s.name] else w.ndjson(n, is_alone))
    return inputs
