# SPDX-License-Identifier: Apache-2.0
"""Sums and means of doubles against Python: math.fsum and fractions.Fraction, over sliding windows of wild values.

Compiles tool_exact_sum.c against the built libraries ($QUERN_BUILD, default <root>/build)."""
import fractions
import math
import os
import pathlib
import random
import shutil
import struct
import subprocess

import pytest

ROOT = pathlib.Path(os.environ.get("QUERN_ROOT", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("QUERN_BUILD", ROOT / "build"))
SEED = int(os.environ.get("QUERN_SEED", "20180405"))
WINDOWS = 200_000


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    archives = [BUILD / f"libqn_{room}.a" for room in ("feature", "state", "event", "base")]
    missing = [str(a) for a in archives if not a.exists()]
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if missing or compiler is None:
        pytest.skip(f"not built: {', '.join(missing) or 'no C compiler'}")
    out = tmp_path_factory.mktemp("tool") / "tool_exact_sum"
    command = [compiler, "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-fno-lto", f"-I{ROOT / 'src'}",
               str(ROOT / "tests/e2e/tool_exact_sum.c"), "-Wl,--start-group", *map(str, archives),
               "-Wl,--end-group", "-lxxhash", "-lm", "-lpthread", "-o", str(out)]
    if subprocess.run(command, capture_output=True).returncode != 0:  # libraries built with sanitizers
        subprocess.run([*command, "-fsanitize=address,undefined"], check=True)
    return out


def value(rng, kind):
    if kind == "money":
        return rng.randrange(-100_000, 100_000) / 100
    if kind == "wild":
        while True:
            (v,) = struct.unpack("<d", rng.randbytes(8))
            if math.isfinite(v) and abs(v) < 1e290:  # fsum raises where a partial sum overflows
                return v
    if kind == "denormal":
        return rng.choice((-1, 1)) * rng.randrange(1 << 52) * 2.0**-1074
    return rng.choice((-1, 1)) * 2.0 ** rng.randrange(-1074, 960)


def slide(tool, values, windows):
    data = struct.pack("=II", len(values), len(windows))
    data += struct.pack(f"={len(values)}d", *values)
    data += struct.pack(f"={2 * len(windows)}I", *(x for w in windows for x in w))
    raw = subprocess.run([str(tool)], input=data, stdout=subprocess.PIPE, check=True).stdout
    flat = struct.unpack(f"={2 * len(windows)}d", raw)
    return list(zip(flat[::2], flat[1::2]))


def exact_mean(part):
    total = sum(map(fractions.Fraction, part))
    try:
        return float(total / len(part))  # int / int is rounded once, to nearest even
    except OverflowError:
        return math.copysign(math.inf, total)


@pytest.mark.parametrize("kind", ["money", "wild", "denormal", "bits", "mixed"])
def test_sums_and_means(tool, kind):
    rng = random.Random(f"{SEED} {kind}")
    print("seed", SEED)
    count = WINDOWS // 5
    values, windows, first = [], [], 0
    for end in range(1, count + 1):
        k = rng.choice(("money", "wild", "denormal", "bits")) if kind == "mixed" else kind
        values.append(-values[-1] if values and rng.random() < 0.2 else value(rng, k))
        while first + 1 < end and (end - first > 12 or rng.random() < 0.4):
            first += 1
        windows.append((first, end))
    for i, ((first, end), (total, mean)) in enumerate(zip(windows, slide(tool, values, windows))):
        part = values[first:end]
        assert total == math.fsum(part), (SEED, kind, i, part)
        assert mean == exact_mean(part), (SEED, kind, i, part)
