# SPDX-License-Identifier: Apache-2.0
"""Numbers and times as text, and the functions of real_math, against Python's own exact arithmetic.

float() and repr() are correctly rounded and shortest by definition; decimal, fractions and datetime are independent
implementations of the rest. One million random cases; QUERN_SEED sets the seed, QUERN_LONG=1
draws one.
Needs a built tree: libqn_base.a is taken from $QUERN_BUILD (default: build in the root).
"""
import datetime
import decimal
import os
import pathlib
import random
import re
import struct
import subprocess
import time
from fractions import Fraction

import pytest

ROOT = pathlib.Path(os.environ.get("QUERN_ROOT", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("QUERN_BUILD", ROOT / "build"))
LONG = os.environ.get("QUERN_LONG", "") not in ("", "0")
INT64_MIN, INT64_MAX = -2**63, 2**63 - 1


@pytest.fixture(scope="module")
def seed():
    value = int(os.environ.get("QUERN_SEED") or (time.time_ns() % 2**32 if LONG else 20240617))
    print(f"QUERN_SEED={value}")
    return value


@pytest.fixture
def rng(seed, request):
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    lib = BUILD / "libqn_base.a"
    if not lib.exists():
        pytest.skip(f"{lib} is not built")
    exe = tmp_path_factory.mktemp("tool") / "tool_number"
    command = [os.environ.get("CC", "cc"), "-std=gnu17", "-O1", "-fno-lto", "-D_GNU_SOURCE", f"-I{ROOT / 'src'}",
               str(pathlib.Path(__file__).with_name("tool_number.c")), str(lib), "-lm", "-lpthread", "-o", str(exe)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 and "asan" in done.stderr:
        done = subprocess.run(command + ["-fsanitize=address,undefined"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def ask(lines):
        done = subprocess.run([str(exe)], input="\n".join(lines) + "\n", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        answers = done.stdout.split("\n")
        assert len(answers) == len(lines) + 1
        return answers[:-1]

    return ask


def compare(tool, lines, expected):
    answers = tool(lines)
    wrong = [(q, a, e) for q, a, e in zip(lines, answers, expected) if a != e]
    assert len(lines) == len(expected)
    assert not wrong, f"{len(wrong)} of {len(lines)} differ (asked, answered, expected): {wrong[:5]}"


def bits(v):
    return struct.pack(">d", v).hex()


def from_bits(b):
    return struct.unpack(">d", struct.pack(">Q", b))[0]


def from_bits32(b):
    return struct.unpack(">f", struct.pack(">I", b))[0]


def digits(rng, n):
    return "".join(rng.choices("0123456789", k=n))


def random_double(rng):
    """A finite double: any bits, near powers of two, denormals, products of small numbers."""
    kind = rng.randrange(6)
    if kind == 0:
        return from_bits(rng.getrandbits(52))
    if kind == 1:
        return from_bits((rng.randrange(1, 2047) << 52) + rng.randrange(-3, 4) + (rng.getrandbits(1) << 63))
    if kind == 2:
        return rng.randrange(10**rng.randrange(1, 18)) / 10**rng.randrange(0, 8)
    if kind == 3:
        return float(rng.getrandbits(rng.randrange(1, 70)))
    while True:
        b = rng.getrandbits(64)
        if (b >> 52) & 0x7FF != 0x7FF:
            return from_bits(b)


def exact_decimal(v):
    """All digits of a Fraction whose denominator is a power of two."""
    with decimal.localcontext() as c:
        c.prec = 1200
        return decimal.Decimal(v.numerator) / decimal.Decimal(v.denominator)


def midpoint_text(rng, v, up, places):
    """The exact decimal between v and up, cut, as it is, or with something behind it."""
    mid = (Fraction(v) + Fraction(up)) / 2
    text = format(exact_decimal(mid), "e" if rng.getrandbits(1) else "f")
    head, e, tail = text.partition("e")
    kind = rng.randrange(4)
    if "." not in head:
        head += "."
    if kind == 1:
        head += "0" * rng.randrange(places) + "1"
    elif kind == 2:
        last = max(i for i, c in enumerate(head) if c.isdigit() and c != "0")
        head = head[:last] + str(int(head[last]) - 1) + "9" * rng.randrange(1, places)
    elif kind == 3 and "e" in text and len(head) > 25:
        head = head[:rng.randrange(20, len(head))]
    return head.rstrip(".") + e + tail if head.rstrip(".") else "0"


def number_text(rng):
    kind = rng.randrange(8)
    sign = rng.choice(["", "-"])
    if kind == 0:
        return sign + str(rng.randrange(10**rng.randrange(1, 12))) + "." + digits(rng, rng.randrange(1, 6))
    if kind == 1:
        return sign + str(rng.randrange(10**rng.randrange(1, 25)))
    if kind == 2:
        return repr(random_double(rng)).replace("+", rng.choice(["", "+"]))
    if kind == 3:
        return "%s%d.%se%d" % (sign, rng.randrange(10), digits(rng, rng.randrange(1, 30)), rng.randrange(-345, 312))
    if kind == 4:
        return "%s%de%d" % (sign, rng.getrandbits(64), rng.randrange(-345, 292))
    if kind == 5:
        return "%s0.%s%sE%+d" % (sign, "0" * rng.randrange(30), digits(rng, rng.randrange(1, 25)), rng.randrange(-9, 9))
    if kind == 6:
        return "%s%de-%d" % (sign, rng.randrange(1, 10**rng.randrange(1, 20)), rng.randrange(300, 345))
    whole = str(rng.getrandbits(rng.randrange(1, 80)))
    return sign + whole + "." + digits(rng, rng.randrange(1, 20)) + "0" * rng.randrange(4)


EDGE_TEXTS = """0 -0 0.0 -0.0e5 0e999999999999 1e-400 1e400 -1e400 1e-99999999999999999999 1e99999999999999999999 5e-324
2.4703282292062327e-324 2.4703282292062328e-324 2.47032822920623272088284396434110686182e-324 1.7976931348623157e308
1.7976931348623158e308 1.7976931348623159e308 179769313486231580793728971405301e276 2.2250738585072011e-308
2.2250738585072014e-308 9007199254740993 9007199254740992.999999999999999999999999 9007199254740993.00000000000000000001
0.1 57.16 123456789012345678 1234567890123456789 12345678901234567890 100000000000000000000000 1e22 1e23 8.5e22
3.5844466002796428e+298 6.9294956446009195e15 0.000000000000000000000000000000000000000000000000000000012345e50
2.2250738585072012e-308 4.9406564584124654e-324 1090544144181609348671888949248 9223372036854775807 9223372036854775808
-9223372036854775808 -9223372036854775809 +5 1. .5 +.5e1 -.5 1.e3 007 00.5 inf -Infinity NaN +nan""".split()


def test_double_from_text(tool, rng):
    texts = EDGE_TEXTS + [number_text(rng) for _ in range(330000)]
    expected = [bits(abs(float(t)) if "an" in t.lower() else float(t)) for t in texts]
    compare(tool, ["double " + t for t in texts], expected)


def test_double_from_long_text(tool, rng):
    texts = []
    for _ in range(12000):
        v = random_double(rng)
        if abs(v) >= from_bits(0x7FEFFFFFFFFFFFFF):
            continue
        b = struct.unpack(">Q", struct.pack(">d", v))[0]
        texts.append(midpoint_text(rng, v, from_bits(b + 1), 60))
        texts.append(rng.choice(["", "-"]) + str(rng.randrange(1, 10)) + digits(rng, rng.randrange(19, 800)) + "e%d" %
                     rng.randrange(-1100, 20))
        texts.append("0." + "0" * rng.randrange(0, 330) + digits(rng, rng.randrange(20, 800)))
    compare(tool, ["double " + t for t in texts], [bits(float(t)) for t in texts])


def test_beyond_800_digits(tool, rng):
    """A midpoint, then zeros up to thousands of digits, then a one: above the midpoint however far it is."""
    texts = []
    for _ in range(200):
        v = from_bits(rng.getrandbits(52))
        b = struct.unpack(">Q", struct.pack(">d", v))[0]
        mid = (Fraction(v) + Fraction(from_bits(b + 1))) / 2
        text = format(exact_decimal(mid), "f") + "0" * rng.randrange(2000)
        texts += [text, text + "1"]
    compare(tool, ["double " + t for t in texts], [bits(float(t)) for t in texts])


def nearest_float32(text):
    """Bits of the float nearest to the exact value of the text, ties to even."""
    exact = Fraction(text)
    v = float(text)
    try:
        near = struct.unpack(">I", struct.pack(">f", abs(v)))[0]
    except OverflowError:
        near = 0x7F800000
    best = None
    for b in (near - 1, near, near + 1):
        if 0 <= b <= 0x7F800000:
            value = Fraction(2)**128 if b == 0x7F800000 else Fraction(from_bits32(b))
            key = (abs(value - abs(exact)), b & 1)
            if best is None or key < best[0]:
                best = (key, b)
    return "%08x" % (best[1] | (0x80000000 if text.startswith("-") else 0))


def test_float_from_text(tool, rng):
    texts = ["1e39", "3.4028235e38", "3.4028235677973366e38", "3.40282356779733661637e38", "1e-46", "7e-46",
             "7.006492321624085354618647916449580656401309709382578858785341419448955"
             "41342930300743319094181060791015626e-46",
             "16777217", "16777217.0000000000000000000001", "0.1", "-0", "1.17549429e-38"]
    while len(texts) < 60000:
        kind = rng.randrange(4)
        if kind == 0:
            texts.append("%d.%se%d" % (rng.randrange(10), digits(rng, rng.randrange(1, 25)), rng.randrange(-47, 40)))
        elif kind == 1:
            texts.append("-%d.%d" % (rng.randrange(10**6), rng.randrange(10**6)))
        else:
            b = rng.randrange(0x7F7FFFFF)
            mid = (Fraction(from_bits32(b)) + Fraction(from_bits32(b + 1))) / 2
            text = format(exact_decimal(mid), "f")
            texts.append(text if kind == 2 else (text if "." in text else text + ".") + "0" * rng.randrange(30) + "1")
    compare(tool, ["float " + t for t in texts], [nearest_float32(t) for t in texts])


def shaped(sign, digit_text, exponent):
    """The form of number.h: digits d1d2d3... with the point behind d1 and that power of ten."""
    if 0 <= exponent <= 20:
        if len(digit_text) <= exponent + 1:
            return sign + digit_text + "0" * (exponent + 1 - len(digit_text))
        return sign + digit_text[:exponent + 1] + "." + digit_text[exponent + 1:]
    if -6 <= exponent < 0:
        return sign + "0." + "0" * (-exponent - 1) + digit_text
    return sign + digit_text[0] + ("." + digit_text[1:] if len(digit_text) > 1 else "") + "e%+d" % exponent


def shape_of(text):
    """From Python's or numpy's text to ours."""
    sign = "-" if text.startswith("-") else ""
    head, _, e = text.lstrip("-").partition("e")
    whole, _, fraction = head.partition(".")
    exponent = int(e or 0) + len(whole) - 1
    both = whole + fraction
    stripped = both.lstrip("0")
    if not stripped:
        return sign + "0"
    exponent -= len(both) - len(stripped)
    return shaped(sign, stripped.rstrip("0"), exponent)


def test_double_to_text(tool, rng):
    values = [0.0, -0.0, 1e21, 1e20, 123456789012345680000.0, 1e-6, 1e-7, 1.5e-7, 5e-324, 1.7976931348623157e308,
              9007199254740993.0]
    values += [random_double(rng) for _ in range(260000)]
    values += [from_bits((e << 52) + d) for e in range(1, 2047) for d in (-1, 0, 1)]
    values += [float("1e%d" % e) for e in range(-323, 309)]
    compare(tool, ["print_double " + bits(v) for v in values], [shape_of(repr(v)) for v in values])


def test_float_to_text(tool, rng):
    numpy = pytest.importorskip("numpy")
    raw = [rng.randrange(0x7F800000) for _ in range(60000)] + [rng.randrange(0x800000) for _ in range(5000)]
    raw += [(e << 23) + d for e in range(1, 255) for d in (-1, 0, 1)] + [0, 1, 0x7F7FFFFF, 0x80000000, 0xC2642400]
    values = numpy.array(raw, dtype=numpy.uint32).view(numpy.float32)
    expected = [shape_of(numpy.format_float_scientific(v, unique=True, trim="-")) for v in values]
    compare(tool, ["print_float %08x" % b for b in raw], expected)


def test_scaled(tool, rng):
    texts, expected, lines = [], [], []
    for _ in range(150000):
        t = rng.choice(EDGE_TEXTS[:40]) if rng.randrange(50) == 0 else number_text(rng)
        if rng.randrange(3) == 0:
            fraction = digits(rng, rng.randrange(1, 24)) + "0" * rng.randrange(6)
            t = "%d.%se%d" % (rng.randrange(1000), fraction, rng.randrange(-6, 20))
        texts.append(t)
    context = decimal.Context(prec=2000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])
    for t in texts:
        scale = rng.randrange(19)
        d = context.create_decimal(t)
        answer = "no"
        if not re.search("[1-9]", t.lower().partition("e")[0]):
            answer = "0"
        elif d.is_finite() and d != 0 and -60 < d.adjusted() < 40:
            v = context.scaleb(d, scale)
            if v == v.to_integral_value() and INT64_MIN <= v <= INT64_MAX:
                answer = str(int(v))
        lines.append("scaled%d %s" % (scale, t))
        expected.append(answer)
    compare(tool, lines, expected)


def test_scaled_back(tool, rng):
    lines, expected = [], []
    for _ in range(60000):
        v = rng.choice([rng.randrange(-10**6, 10**6), rng.randrange(INT64_MIN, INT64_MAX + 1), INT64_MIN, 0])
        scale = rng.randrange(19)
        d = decimal.Decimal(v).scaleb(-scale, decimal.Context(prec=50))
        lines.append("print_scaled%d %d" % (scale, v))
        expected.append(format(d, "f"))
        lines.append("scaled_double%d %d" % (scale, v))
        expected.append(bits(v / 10**scale))
    compare(tool, lines, expected)


def test_ratio(tool, rng):
    lines, expected = [], []
    for _ in range(50000):
        num = rng.getrandbits(rng.randrange(1, 128)) * rng.choice([1, -1])
        den = rng.getrandbits(rng.randrange(1, 129)) or 1
        if rng.randrange(4) == 0:  # near a midpoint of two doubles
            m = rng.getrandbits(54) | 1 << 53 | 1
            den = rng.getrandbits(rng.randrange(1, 70)) or 1
            num = m * den + rng.randrange(-1, 2)
        raw = num & (2**128 - 1)
        lines.append("ratio %x %x %x %x" % (raw >> 64, raw & (2**64 - 1), den >> 64, den & (2**64 - 1)))
        expected.append(bits(num / den if num else 0.0))
    compare(tool, lines, expected)


JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def test_json_grammar(tool, rng):
    texts = ["".join(rng.choices("0019.-+eE", k=rng.randrange(1, 9))) for _ in range(60000)]
    compare(tool, ["json " + t for t in texts], ["yes" if JSON_NUMBER.fullmatch(t) else "no" for t in texts])


EPOCH = datetime.datetime(1970, 1, 1)
MICROSECOND = datetime.timedelta(microseconds=1)


def civil_us(y, mo, d, h, mi, s):
    """Microseconds, or None where the calendar has no such time; year 0 through its twin 400 years later."""
    try:
        when = datetime.datetime(y if y else 400, mo, d, h, mi, min(s, 59))
    except ValueError:
        return None
    return (when - EPOCH) // MICROSECOND - (0 if y else 146097 * 86400 * 10**6) + (10**6 if s == 60 else 0)


def test_time_from_text(tool, rng):
    lines, expected = [], []
    for _ in range(80000):
        y = rng.choice([rng.randrange(0, 10000), rng.randrange(1960, 2040), 2000, 1900, 0])
        mo, d = rng.randrange(0, 14), rng.randrange(0, 33)
        h, mi, s = rng.randrange(0, 25), rng.randrange(0, 61), rng.choice([rng.randrange(0, 62), 60])
        if rng.randrange(4):
            mo, d, h, mi, s = max(1, mo % 13), max(1, d % 29), h % 24, mi % 60, s % 60
        between = rng.choice("TTt ")
        fraction = digits(rng, rng.randrange(1, 12)) if rng.getrandbits(1) else ""
        offset = "%s%02d:%02d" % (rng.choice("+-"), rng.randrange(25), rng.randrange(61))
        zone = rng.choice(["Z", "z", "", "+00:00", "-23:59", offset])
        point = "." + fraction if fraction else ""
        text = "%04d-%02d-%02d%s%02d:%02d:%02d%s%s" % (y, mo, d, between, h, mi, s, point, zone)
        us = civil_us(y, mo, d, h, mi, s) if h < 24 and mi < 60 and s <= 60 else None
        if us is not None and zone == "" and between != " ":
            us = None
        if us is not None and len(zone) == 6:
            zh, zm = int(zone[1:3]), int(zone[4:])
            us = None if zh > 23 or zm > 59 else us - (zh * 60 + zm) * 60 * 10**6 * (1 if zone[0] == "+" else -1)
        if us is not None and fraction and s != 60:
            us += int((fraction + "000000")[:6])
        if rng.randrange(5) == 0:  # one byte replaced: what a strict reader says
            i = rng.randrange(len(text))
            c = rng.choice("0123456789-+:.TZ x")
            if c != text[i] and (text[i] in "-:" and i < 19 or not (c.isdigit() or c in "Tz Z+-.")):
                text, us = text[:i] + c + text[i + 1:], None
        lines.append("time " + text)
        expected.append("no" if us is None else str(us))
    compare(tool, lines, expected)


def test_time_to_text(tool, rng):
    lines, expected = [], []
    first, last = (datetime.datetime(1, 1, 1) - EPOCH) // MICROSECOND, (datetime.datetime.max - EPOCH) // MICROSECOND
    for _ in range(40000):
        us = rng.choice([rng.randrange(first, last + 1), rng.randrange(-10**15, 2 * 10**15),
                         rng.randrange(-10**12, 10**12),
                         rng.randrange(-40000, 40000) * 86400 * 10**6 + rng.randrange(-1, 2)])
        when = EPOCH + datetime.timedelta(microseconds=us)
        weekday = when.weekday()
        lines.append("print_time %d" % us)
        expected.append("%s.%06dZ %d %d %d" % (when.strftime("%Y").zfill(4) + when.strftime("-%m-%dT%H:%M:%S"),
                                               when.microsecond, when.hour, weekday, weekday))
    for us in (INT64_MIN, INT64_MAX, -2**62, 2**62 + 12345):  # outside of what text can say
        days, rest = divmod(us, 86400 * 10**6)
        lines.append("print_time %d" % us)
        text = "0000-01-01T00:00:00.000000Z" if us < 0 else "9999-12-31T23:59:59.999999Z"
        weekday = (days + 3) % 7
        expected.append("%s %d %d %d" % (text, rest // 3600000000, weekday, weekday))
    compare(tool, lines, expected)


def ulps(answer, exact, digits_of_mantissa, smallest):
    """Distance in units in the last place of the exact value."""
    if exact == 0:
        return decimal.Decimal(0 if answer == 0 else 10**9)
    exponent = Fraction(*abs(exact).as_integer_ratio())
    e = exponent.numerator.bit_length() - exponent.denominator.bit_length()
    if exponent < Fraction(2)**e:
        e -= 1
    unit = decimal.Decimal(2)**max(e - digits_of_mantissa + 1, smallest)
    return abs(decimal.Decimal(answer) - exact) / unit


def check_accuracy(tool, name, points, function, limit):
    answers = tool(["%s %s" % (name, bits(x)) for x in points])
    worst = (decimal.Decimal(0), None)
    with decimal.localcontext() as c:
        c.prec, c.Emax, c.Emin = 50, 10**6, -10**6
        for x, a in zip(points, answers):
            worst = max(worst, (ulps(from_bits(int(a, 16)), function(decimal.Decimal(x)), 53, -1074), x))
    print(f"{name}: at most {worst[0]:.4f} units in the last place, at {worst[1]!r}, {len(points)} points")
    assert worst[0] < limit


def test_exp(tool, rng):
    points = [rng.uniform(-745.1, 709.7) for _ in range(15000)] + [rng.uniform(-745.13, -708) for _ in range(4000)]
    points += [rng.gauss(0, 3) for _ in range(15000)]
    points += [rng.choice([1, -1]) * 2**-rng.uniform(0, 60) for _ in range(4000)]
    check_accuracy(tool, "exp", points + [0.0, 1.0, 709.782712893384], lambda d: d.exp(), decimal.Decimal("0.53"))


def test_log(tool, rng):
    points = [from_bits(rng.randrange(1, 0x7FF0000000000000)) for _ in range(10000)]
    points += [1 + rng.choice([1, -1]) * 2**-rng.uniform(1, 52) for _ in range(8000)]
    points += [rng.uniform(0.5, 2) for _ in range(7000)]
    points += [from_bits(rng.getrandbits(52) | 1) for _ in range(1000)]
    check_accuracy(tool, "log", points, lambda d: d.ln(), decimal.Decimal("0.53"))


def test_log1p(tool, rng):
    points = [rng.choice([1, -1]) * 2**-rng.uniform(0.001, 60) for _ in range(14000)]
    points += [2**rng.uniform(0, 100) for _ in range(3000)] + [rng.uniform(-0.999999, 3) for _ in range(8000)]
    check_accuracy(tool, "log1p", points, lambda d: (1 + d).ln(), decimal.Decimal("0.56"))


def test_pow2(tool, rng):
    points = [rng.uniform(-1074, 1023.99) for _ in range(8000)] + [rng.uniform(-1074, -1021) for _ in range(2000)]
    ln2 = decimal.Decimal(2).ln(decimal.Context(prec=60))
    check_accuracy(tool, "pow2", points, lambda d: (d * ln2).exp(), decimal.Decimal("0.53"))


def test_float_functions(tool, rng):
    """The bits of the C library's expf and logf, which the training libraries call (the method of glibc since 2.27)."""
    import ctypes
    import ctypes.util

    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    for f in (libm.expf, libm.logf):
        f.restype, f.argtypes = ctypes.c_float, [ctypes.c_float]
    points = []
    for _ in range(50000):
        points.append(("expf", struct.unpack(">f", struct.pack(">f", rng.uniform(-104, 88.7)))[0]))
        points.append(("logf", from_bits32(rng.randrange(1, 0x7F800000))))
    lines = ["%s %s" % (name, struct.pack(">f", x).hex()) for name, x in points]
    expected = [struct.pack(">f", (libm.expf if name == "expf" else libm.logf)(x)).hex() for name, x in points]
    compare(tool, lines, expected)


def test_function_edges(tool):
    inf, nan = float("inf"), float("nan")
    cases = [("exp", inf, inf), ("exp", -inf, 0.0), ("exp", 709.7827128933841, inf), ("exp", -745.2, 0.0),
             ("exp", -745.1332191019411, 5e-324), ("exp", 1e308, inf), ("exp", -0.0, 1.0), ("log", 0.0, -inf),
             ("log", -0.0, -inf), ("log", inf, inf), ("log", 1.0, 0.0), ("log1p", -1.0, -inf), ("log1p", 0.0, 0.0),
             ("log1p", -0.0, -0.0), ("log1p", inf, inf), ("log1p", 5e-324, 5e-324), ("pow2", 1024.0, inf),
             ("pow2", 10.0, 1024.0), ("pow2", -1074.0, 5e-324), ("pow2", -1080.0, 0.0), ("pow2", 1023.0, 2.0**1023)]
    compare(tool, ["%s %s" % (f, bits(x)) for f, x, _ in cases], [bits(v) for _, _, v in cases])
    answers = tool(["%s %s" % (f, bits(x)) for f in ("exp", "log", "log1p", "pow2") for x in (nan, -nan)] +
                   ["log %s" % bits(-1.0), "log1p %s" % bits(-1.5), "log %s" % bits(-inf)])
    assert all(from_bits(int(a, 16)) != from_bits(int(a, 16)) for a in answers), answers
