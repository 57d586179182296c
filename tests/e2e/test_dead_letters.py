# SPDX-License-Identifier: Apache-2.0
"""test_dead_letters.py - `quern dlq` and `quern replay` over the log of a pipeline that ran: looked at while it runs,
sent again after a fix, once; the log once more gives the same bytes, and another spec gives its own.

What is held up against the commands stands here: which events are broken, what their predictions must be (from `quern
pipe` over the same events), and what a letter says."""
import json
import subprocess

import pytest

from fraud_data import QUERN
from running import Running

EVENTS = 400
SPEC = """quern: 1
name: shop
log: local:./data
storage: {segment: 32MiB, durability: none}
streams:
  orders:
    id: order_id
    time: at
    lateness: 1h
    dedup: 2h
    fields:
      order_id: int64
      at: {type: timestamp, unit: s}
      customer: string
      amount: AMOUNT
features:
  orders_1h: count() by customer over 1h
  spent_1h: sum(amount) by customer over 1h
outputs:
  predictions: {include: [features]}
  large: {when: amount > 250}
"""
BROKEN = SPEC.replace("AMOUNT", "{type: decimal(2), max: 300}")
FIXED = SPEC.replace("AMOUNT", "{type: decimal(2), max: 1000}")


def event(i):
    if i % 40 == 7:
        return b'{"order_id":%d,"at":' % i
    return b'{"order_id":%d,"at":%d,"customer":"c%d","amount":%d.25}' % (i, 1_700_000_000 + i, i % 7, i)


TOO_BIG = [i for i in range(EVENTS) if i % 40 != 7 and i >= 300]
NOT_JSON = [i for i in range(EVENTS) if i % 40 == 7]


class Folder:
    def __init__(self, path):
        self.path = path

    def spec(self, text, name="spec.yaml"):
        (self.path / name).write_text(text)

    def quern(self, *args, code=0):
        p = subprocess.run([str(QUERN), *map(str, args)], cwd=self.path, capture_output=True, check=False, timeout=60)
        assert p.returncode == code, (args, p.stdout.decode(), p.stderr.decode())
        return p.stdout.decode(), p.stderr.decode()

    def start(self):
        return Running(self.path, (self.path / "spec.yaml").read_text())

    def feed(self, p, first, end):
        for i in range(first, end, 10):
            body = b"".join(event(k) + b"\n" for k in range(i, min(i + 10, end)))
            assert p.post("/v1/streams/orders/score", body, "application/x-ndjson").status in (200, 422)

    def stop(self, p):
        """Ends the pipeline when all that lies in its log is scored."""
        assert p.stop() == 0, p.log.read_text()

    def topic(self, name):
        out, _ = self.quern("log", "spec.yaml", "--print", name)
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def folder(tmp_path):
    """A log of EVENTS events, a tenth of them dead."""
    f = Folder(tmp_path)
    f.spec(BROKEN)
    p = f.start()
    f.feed(p, 0, EVENTS)
    f.stop(p)
    return f


def letters(f, *args):
    out, _ = f.quern("dlq", "list", "spec.yaml", "--json", *args)
    return [json.loads(line) for line in out.splitlines()]


def test_letters_are_listed_by_reason_and_shown_in_full(folder):
    out, err = folder.quern("dlq", "list", "spec.yaml")
    lines = out.splitlines()
    assert lines[0] == f"{len(TOO_BIG) + len(NOT_JSON)} dead letters"
    assert lines[1].split()[:2] == [str(len(TOO_BIG)), "out_of_range"]
    assert lines[2].split()[:2] == [str(len(NOT_JSON)), "bad_json"]
    assert len(lines) == 3 + 20 and lines[-1].endswith(event(EVENTS - 1).decode()[:60] + "...")
    assert f"the newest 20 of {len(TOO_BIG) + len(NOT_JSON)}" in err

    broken = letters(folder, "--reason", "bad_json", "--limit", 0)
    assert [x["event"] for x in broken] == [event(i).decode() for i in NOT_JSON]
    assert [x["position"] for x in broken] == [f"orders:0:{i}" for i in NOT_JSON]
    assert len(letters(folder, "--from", broken[2]["offset"], "--limit", 2)) == 2
    assert letters(folder, "--from", broken[2]["offset"], "--limit", 1) == [broken[2]]
    assert letters(folder, "--to", broken[2]["offset"], "--reason", "bad_json") == broken[:2]
    assert not letters(folder, "--stream", "elsewhere")

    out, _ = folder.quern("dlq", "show", "spec.yaml", broken[1]["offset"])
    for words in (f"dead letter {broken[1]['offset']}", "bad_json", f"orders:0:{NOT_JSON[1]}", "sent again no",
                  event(NOT_JSON[1]).decode()):
        assert words in out, out
    out, _ = folder.quern("dlq", "show", "spec.yaml", broken[1]["offset"], "--json")
    assert json.loads(out) == broken[1]


def test_letters_are_looked_at_while_it_runs_and_sent_only_by_the_writer(folder):
    p = folder.start()
    try:
        assert len(letters(folder, "--limit", 0)) == len(TOO_BIG) + len(NOT_JSON)
        out, err = folder.quern("dlq", "replay", "spec.yaml")
        assert f"{len(TOO_BIG) + len(NOT_JSON)} dead letters would be sent again" in out and "--yes" in err
        trial, _ = folder.quern("dlq", "replay", "spec.yaml", "--yes", "--dry-run")
        assert trial == out
        _, err = folder.quern("dlq", "replay", "spec.yaml", "--yes", code=1)
        assert f"process {p.process.pid}" in err and "curl -X POST 'http://127.0.0.1:8090/v1/dlq/replay'" in err, err
        out, _ = folder.quern("replay", "spec.yaml", "--quiet")
        assert len(out.splitlines()) == EVENTS - len(TOO_BIG) - len(NOT_JSON)
    finally:
        folder.stop(p)


def test_cured_letters_are_scored_once(folder):
    before = folder.topic("predictions")
    folder.spec(FIXED)
    out, _ = folder.quern("dlq", "replay", "spec.yaml", "--reason", "out_of_range", "--yes", "--json")
    assert json.loads(out) == {"selected": len(TOO_BIG), "sent": len(TOO_BIG), "sent_before": 0, "of_sinks": 0,
                               "other_streams": 0}
    again = folder.topic("orders")[EVENTS:]
    big = [x["offset"] for x in letters(folder, "--reason", "out_of_range", "--limit", 0)]
    assert [x["value"] for x in again] == [event(i).decode() for i in TOO_BIG]
    assert [x["headers"] for x in again] == [[["quern.dead_letter", f"dead:0:{n}"]] for n in big]
    control = folder.topic("control")
    assert [json.loads(x["value"])["dlq_replayed"]["offset"] for x in control] == big
    assert {x["lsn"] for x in control} == {x["lsn"] for x in again}

    folder.stop(folder.start())
    after = folder.topic("predictions")
    assert after[:len(before)] == before
    new = after[len(before):]
    assert [json.loads(x["value"])["id"] for x in new] == [f"shop:orders:0:{EVENTS + k}" for k in range(len(TOO_BIG))]
    assert [x["headers"] for x in new] == [x["headers"] for x in again]
    assert len(letters(folder, "--limit", 0)) == len(TOO_BIG) + len(NOT_JSON)
    # What was dead stays dead where it lies, though the spec that rebuilt the windows would take it: each counts once.
    (folder.path / "events").write_bytes(b"".join(event(i) + b"\n" for i in [
        *(i for i in range(EVENTS) if i not in TOO_BIG and i not in NOT_JSON), *TOO_BIG]))
    piped, _ = folder.quern("pipe", "spec.yaml", "--input", "events", "--quiet")
    assert [json.loads(x["value"])["features"] for x in after] == [
        json.loads(x)["features"] for x in piped.splitlines()]
    _, err = folder.quern("replay", "spec.yaml", "--compare")
    assert err.startswith(f"{len(new)} predictions are the same bytes") and f"{len(before)} were made by another" in err
    folder.stop(folder.start())
    _, err = folder.quern("replay", "spec.yaml", "--compare")
    assert err.startswith(f"{len(new)} predictions are the same bytes")

    out, _ = folder.quern("dlq", "replay", "spec.yaml", "--reason", "out_of_range", "--yes")
    assert out == f"0 dead letters sent again; {len(TOO_BIG)} skipped: sent again before\n"
    assert len(folder.topic("orders")) == EVENTS + len(TOO_BIG)
    out, _ = folder.quern("dlq", "list", "spec.yaml")
    assert f"{len(TOO_BIG)} of them sent again" in out and "(sent again)" in out
    # Not cured: it dies again, and the new letter says where it comes from.
    out, _ = folder.quern("dlq", "replay", "spec.yaml", "--to", 1, "--yes")
    assert out == "1 dead letter sent again\n"
    folder.stop(folder.start())
    assert letters(folder, "--limit", 1)[0]["event"] == event(NOT_JSON[0]).decode()
    assert folder.topic("dead")[-1]["headers"][0] == ["quern.dead_letter", "dead:0:0"]


def test_the_log_gives_the_same_bytes_again(folder):
    then = [x["value"] for x in folder.topic("predictions")]
    for threads in (1, 2):
        out, err = folder.quern("replay", "spec.yaml", "--threads", threads)
        assert out.splitlines() == then
        assert f"{EVENTS} events replayed, {len(then)} predictions" in err
        _, err = folder.quern("replay", "spec.yaml", "--compare", "--threads", threads)
        assert err == f"{len(then)} predictions are the same bytes as in the log\n"
    out, _ = folder.quern("replay", "spec.yaml", "--from", 100, "--to", 120, "--quiet")
    assert out.splitlines() == [x for x in then if 100 <= int(json.loads(x)["id"].split(":")[-1]) < 120]
    folder.quern("replay", "spec.yaml", "--output", "large=large", "--dead", "dead", "--to", 200, "--quiet")
    assert [json.loads(x)["event"] for x in (folder.path / "dead").read_text().splitlines()] == [
        event(i).decode() for i in NOT_JSON if i < 200]
    assert (folder.path / "large").read_text() == ""
    folder.quern("replay", "spec.yaml", "--output", "large=large", "--quiet")
    assert (folder.path / "large").read_text().splitlines() == [x["value"] for x in folder.topic("large")]


def test_a_range_by_time_is_what_the_log_took_then(folder):
    first = folder.topic("orders")[250]["append_time"]
    ids = [x["offset"] for x in folder.topic("orders") if x["append_time"] >= first]
    out, _ = folder.quern("replay", "spec.yaml", "--from", first, "--quiet")
    got = [int(json.loads(x)["id"].split(":")[-1]) for x in out.splitlines()]
    assert got == [i for i in ids if i not in TOO_BIG and i not in NOT_JSON]
    out, err = folder.quern("replay", "spec.yaml", "--from", "2999-01-01T00:00:00Z")
    assert out == "" and "no event came" in err


def test_what_if(folder):
    """Another spec over the same log answers as `quern pipe` does over the same events, ids apart."""
    folder.spec(FIXED.replace("over 1h", "over 2m"), "what-if.yaml")
    out, _ = folder.quern("replay", "what-if.yaml", "--quiet")
    now = [json.loads(x) for x in out.splitlines()]
    assert len(now) == EVENTS - len(NOT_JSON)
    (folder.path / "events").write_bytes(b"".join(event(i) + b"\n" for i in range(EVENTS)))
    out, _ = folder.quern("pipe", "what-if.yaml", "--input", "events", "--quiet")
    piped = [json.loads(x) for x in out.splitlines()]
    assert [x["features"] for x in now] == [x["features"] for x in piped]
    assert [x["event_id"] for x in now] == [x["event_id"] for x in piped]
    # Made by another spec: nothing to hold it against.
    _, err = folder.quern("replay", "what-if.yaml", "--compare")
    assert "made by another spec" in err and err.startswith("0 predictions"), err


def test_a_damaged_log_is_not_compared(folder):
    segment = sorted((folder.path / "data").glob("*.seg"))[0]
    data = bytearray(segment.read_bytes())
    at = data.rfind(b'"spent_1h":') + len(b'"spent_1h":')
    data[at] = ord("9") if data[at] != ord("9") else ord("8")
    segment.write_bytes(bytes(data))
    out, err = folder.quern("replay", "spec.yaml", "--compare", code=1)
    assert out == "" and segment.name in err


def test_wrong_usage_teaches(folder):
    def says(words, *args, code=2):
        _, err = folder.quern(*args, code=code)
        assert words in err, err

    says("did you mean 'list'", "dlq", "lst", "spec.yaml")
    says("OFFSET is missing", "dlq", "show", "spec.yaml")
    says("is no offset", "dlq", "show", "spec.yaml", "x")
    says("--yes is not an option of it", "dlq", "list", "spec.yaml", "--yes")
    says("a range is --from A --to B", "dlq", "replay", "spec.yaml", "7")
    says("did you mean 'bad_json'", "dlq", "list", "spec.yaml", "--reason", "bad_jsn")
    says("the log holds 0 to", "dlq", "show", "spec.yaml", "4711", code=1)
    says("leave out --from", "replay", "spec.yaml", "--compare", "--from", "1")
    says("neither an offset", "replay", "spec.yaml", "--from", "yesterday")
    says("must lie before", "replay", "spec.yaml", "--from", "7", "--to", "7")
    says("the log holds the records 0 to 400", "replay", "spec.yaml", "--from", "400")
    says("did you mean 'large'", "replay", "spec.yaml", "--output", "larg=x")
    folder.spec(BROKEN.replace("log: local:./data\n", ""), "nolog.yaml")
    says("add 'log: local:./data'", "dlq", "list", "nolog.yaml")
    folder.spec(BROKEN.replace("./data", "./nowhere"), "early.yaml")
    says("'quern run early.yaml' makes it", "replay", "early.yaml", code=1)
    folder.spec(BROKEN.replace("  orders:\n", "  sales:\n"), "other.yaml")
    says("has no topic 'sales'", "replay", "other.yaml", code=1)
