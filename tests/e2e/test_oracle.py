# SPDX-License-Identifier: Apache-2.0
"""test_oracle.py - random specs over random events: every line Quern writes against the naive engine of oracle.py.

QUERN_SEED chooses the first seed (a failing case prints its own), QUERN_LONG=1 runs many cases from a random seed. A
failing case leaves its spec and inputs in the folder that the message names.
"""
import base64
import gzip
import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import oracle
import oracle_cases
from oracle import Number, Written

QUERN = Path(os.environ.get("QUERN_BUILD", Path(__file__).resolve().parents[2] / "build")) / "quern"
LONG = os.environ.get("QUERN_LONG", "") not in ("", "0")
SEED = int(os.environ.get("QUERN_SEED") or (random.randrange(1 << 32) if LONG else 20240229))
CASES = 1500 if LONG else 80
GROUPS = 20  # tests; each runs its share of the cases


def program(*args, stdin=b""):
    done = subprocess.run([str(QUERN), *map(str, args)], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=120)
    assert done.returncode == 0, f"quern {' '.join(map(str, args))}: exit {done.returncode}\n{done.stderr.decode()}"
    return done.stdout, done.stderr.decode()


def store(folder, name, rng, data):
    """Writes an input plain or compressed; returns the path."""
    how = rng.choice(["", "", ".gz", ".zst"])
    path = folder / (name + how)
    if how == ".gz":
        cut = rng.randrange(len(data) + 1)  # two members are one stream
        data = gzip.compress(data[:cut], 1) + gzip.compress(data[cut:], 1)
    elif how == ".zst" and shutil.which("zstd"):
        data = subprocess.run(["zstd", "-q", "-1", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    path.write_bytes(data)
    return path


def pairs_of(line):
    """A JSON line with its numbers as text and its members in their order; dicts know no doubles."""
    def members(pairs):
        assert len({k for k, _ in pairs}) == len(pairs), f"a member twice: {line}"
        return dict(pairs)
    return json.loads(line, parse_int=Number, parse_float=Number, object_pairs_hook=members)


def typed(kinds, values, names):
    return {n: Written(kinds[n], values[n]) for n in names}


def expected_record(case, plan, e, include):
    main = case.streams[0]
    kinds = {f.name: f.kind for f in main.fields}
    record = {"id": f"oracle:{main.name}:{e.partition}:{e.offset}"}
    if main.id:
        record["event_id"] = Written(kinds[main.id], e.values[main.id])
    record |= {"event_time": oracle.time_text(e.values[main.time]), "pipeline": "oracle", "spec": plan["version"],
               "stream": main.name, "contract": plan["streams"][0]["contract"]}
    if e.is_late:
        record["late"] = True
    names = [n for n, _ in case.lines]
    record["complete"] = all(e.features[n] is not None for n in names)
    if "features" in include:
        record["features"] = typed(case.kinds, e.features, names)
    if "event" in include:
        record["event"] = typed(kinds, e.values, [f.name for f in main.fields])
    return record


class Expected:
    """What a dead letter says was promised, in words: it must at least name the type or the limit."""

    def __init__(self, field, reason):
        limits = [v for v in (field.low, field.high) if v is not None]
        self.word = {"out_of_range": limits and oracle_cases.literal_text(field.kind, limits[0]).split(".")[0],
                     "not_allowed": field.allowed and str(field.allowed[0]), "too_long": str(field.max_length),
                     "wrong_length": str(field.length)}.get(reason, field.kind[0])

    def __eq__(self, got):
        return isinstance(got, str) and self.word in got

    def __ne__(self, got):
        return not self == got

    def __repr__(self):
        return f"words with {self.word!r}"


def expected_letter(plan, letter):
    reason, field, stream, position, raw = letter
    stage, text = oracle.TEXTS[reason]
    out = {"reason": reason, "text": text, "stage": stage}
    if field is not None:
        out["field"] = field.source
        if reason not in ("late_event", "too_late"):
            out["expected"] = Expected(field, reason)
    contract = next(s["contract"] for s in plan["streams"] if s["name"] == stream.name)
    out |= {"stream": stream.name, "position": position, "pipeline": "oracle", "contract": contract}
    try:
        out["event"] = raw.decode("utf-8")
    except UnicodeDecodeError:
        out["event_base64"] = base64.b64encode(raw).decode()
    return out


def differs(want, got):
    """Where two records differ, or None."""
    if isinstance(want, dict):
        if not isinstance(got, dict) or list(want) != list(got):
            return f"members {list(want)}, found {list(got) if isinstance(got, dict) else got}"
        return next((f"{k}: {d}" for k in want if (d := differs(want[k], got[k]))), None)
    return None if want == got else f"expected {want!r}, found {got!r}"


def compare_lines(what, wanted, data):
    text = data.decode("utf-8")
    assert text == "" or text.endswith("\n"), f"{what}: the last line has no end"
    lines = text.split("\n")[:-1]
    for n, (want, line) in enumerate(zip(wanted, lines)):
        d = differs(want, pairs_of(line))
        assert d is None, f"{what}, line {n}: {d}\n{line}"
    assert len(lines) == len(wanted), f"{what}: {len(wanted)} lines expected, found {len(lines)}"


def compare_counts(answers, outputs, err):
    words = re.search(r"^(\d+) events?: (\d+) scored, (\d+) late, (\d+) dead, (\d+) shed$", err, re.M)
    assert words, err
    read, *found = map(int, words.groups())
    assert found == list(answers.counts.values()) and read == sum(found), (answers.counts, err)
    named = {m[0]: int(m[1]) for m in re.findall(r"^  (\w+) +(\d+)  ", err, re.M)}
    assert named == {**answers.reasons, **outputs}, err


def compare_table(case, answers, columns, data, is_csv):
    main = case.streams[0]
    kinds = {**{f.name: f.kind for f in main.fields}, **case.kinds}
    rows = [[Written(kinds[c], e.features[c]) for c in columns] for e in answers.scored]
    if not is_csv:
        compare_lines("features", [dict(zip(columns, row)) for row in rows], data)
        return
    head, *records = oracle.csv_cells(data.decode("utf-8"))
    assert [c for c, _ in head] == list(columns)
    assert len(records) == len(rows)
    for n, (row, record) in enumerate(zip(rows, records)):
        for c, want, (text, quoted) in zip(columns, row, record, strict=True):
            alone = len(columns) == 1 and want.v is None  # "" then: readers skip empty lines
            is_right = (text == "" and quoted) if alone else want.is_cell(text, quoted)
            assert is_right, f"features, row {n}, {c}: expected {want!r}, found {text!r}"


def run_case(seed, folder):
    rng = random.Random(seed)
    case = oracle_cases.Case(rng)
    inputs = oracle_cases.write(case, rng, rng.choice([1, 40, 200, 400] * 8 + [1500]))
    spec = folder / "spec.yaml"
    spec.write_text(case.spec(), encoding="utf-8")
    plan = json.loads(program("check", spec, "--json")[0])["plan"]
    types = {f["name"]: f["type"] for f in plan["features"]}
    wanted = {n: oracle_cases.kind_text(case.kinds[n]) for n, _ in case.lines}
    assert types == wanted, f"types of features: expected {wanted}, found {types}"
    args, stdin = [], b""
    for n, i in enumerate(inputs):
        path = store(folder, f"in{n}.{'csv' if i.header else 'ndjson'}", rng, i.data)
        args += ["--input", f"{i.stream.name}={path}"]
    if len(inputs) == 1 and inputs[0].stream is case.streams[0] and inputs[0].header is None and rng.random() < 0.5:
        args, stdin = [], inputs[0].data
    answers = oracle.run(case.streams, case.features, inputs)

    taken = {name: [e for e in answers.scored if when is None or when.run(e.features) is True]
             for name, when, _ in case.outputs}
    first = None
    for variant in range(2):
        how = ["--threads", rng.choice([1, 1, 2, 3]), "--batch", rng.choice([0, 0, 1, 2, 7, 64, 1000])]
        files = {name: folder / f"{name}.{variant}" for name, _, _ in case.outputs}
        dead = folder / f"dead.{variant}"
        out, err = program("pipe", spec, *args, *how, "--dead", dead, stdin=stdin,
                           *[w for name, path in files.items() for w in ("--output", f"{name}={path}")])
        written = [dead.read_bytes(), *[path.read_bytes() for path in files.values()]]
        assert out == b""
        compare_counts(answers, {name: len(taken[name]) for name, when, _ in case.outputs
                                 if when or name != "predictions"}, err)
        assert first is None or first == written, f"other bytes with {how}"
        first = written
    compare_lines("dead letters", [expected_letter(plan, d) for d in answers.dead], first[0])
    for (name, _, include), data in zip(case.outputs, first[1:]):
        compare_lines(name, [expected_record(case, plan, e, include) for e in taken[name]], data)

    is_csv = rng.random() < 0.6
    table = folder / ("table.csv" if is_csv else "table.ndjson")
    columns = [f.name for f in case.streams[0].fields] + [n for n, _ in case.lines]
    how = []
    if rng.random() < 0.4:
        columns = rng.sample(columns, rng.randrange(1, len(columns) + 1))
        how = ["--columns", ",".join(columns)]
    if not args:
        args = ["--input", "-"]
    program("features", spec, *args, *how, "--output", table, "--threads", rng.choice([1, 2]), stdin=stdin)
    compare_table(case, answers, columns, table.read_bytes(), is_csv)
    return answers


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_line_is_what_the_documents_say(group, tmp_path):
    scored = 0
    for n in range(group, CASES, GROUPS):
        seed = SEED + n
        print("seed", seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            scored += len(run_case(seed, folder).scored)
        except AssertionError as e:
            raise AssertionError(f"seed {seed} (QUERN_SEED={seed}), files in {folder}: {e}") from None
        shutil.rmtree(folder)
    assert scored > 0
