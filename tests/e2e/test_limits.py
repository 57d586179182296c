# SPDX-License-Identifier: Apache-2.0
"""test_limits.py - `limits: memory` against a model that knows every event of the state by heart.

The model follows docs/limits.md alone: which keys and ids are held, what they and their events count, which events
find no room, and what the windows then say. It takes nothing from the program but the sizes that `quern check --json`
prints. Then the same over a running pipeline: killed, with other limits, its letters sent again."""
import collections
import json
import math
import os
import random
import subprocess

import pytest

from fraud_data import QUERN
from running import Running

SEED = int(os.environ.get("QUERN_SEED", "1438452579"))
HOUR = 3_600_000_000
LATENESS, WITHIN = 10_000_000, 10_000_000  # the defaults
WINDOWS = {"customer": HOUR // 3, "shop": HOUR // 6}
DEDUP = HOUR // 2
SPEC = """quern: 1
name: limited
log: local:./data
storage: {segment: 32MiB, durability: none}
snapshots: {every: 100ms}
streams:
  orders:
    id: order_id
    time: at
    dedup: 30m
    fields:
      order_id: string
      at: {type: timestamp, unit: us}
      customer: string
      shop: string
      amount: {type: decimal(2), min: 0}
features:
  orders_20m: count() by customer over 20m
  spent_20m: sum(amount) by customer over 20m
  shop_10m: count() by shop over 10m
outputs:
  predictions: {include: [features]}
limits: {memory: MEMORY}
"""


def orders(seed, count=4000):
    """Events of customers that come and go, some late, some broken, some twice."""
    rng = random.Random(seed)
    at, events = 1_700_000_000_000_000, []
    for i in range(count):
        at += rng.randrange(0, 3_000_000)
        if rng.random() < 0.002:
            at += rng.randrange(HOUR)
        base = i // 40  # new customers all the time
        event = {"order_id": f"o{i}", "at": at - (rng.randrange(15_000_000) if rng.random() < 0.1 else 0),
                 "customer": f"customer-of-a-long-name-{base + rng.randrange(60)}" if i % 3 else f"c{rng.randrange(9)}",
                 "shop": f"s{rng.randrange(20) + i // 200}", "amount": rng.randrange(-2, 100)}
        events.append(event)
        if rng.random() < 0.1:
            events.append(rng.choice(events[-100:]))
    return events


class Account:
    """Bytes by time; they leave with their slot, 1/128 of the time wide."""

    def __init__(self, keep):
        self.keep, self.width = keep, keep // 128 + 1
        self.slots = collections.Counter()

    def move_on(self, newest):
        for slot in [s for s in self.slots if s < (newest - self.keep) // self.width]:
            del self.slots[slot]

    def add(self, at, size):
        self.slots[at // self.width] += size

    @property
    def total(self):
        return sum(self.slots.values())


class Model:
    def __init__(self, plan, memory):
        self.memory = memory
        self.held = plan["plan"]["limits"].get("held_bytes", 0)
        groups = {w["by"]: w for w in plan["plan"]["windows"]}
        self.sizes = {by: (groups[by]["key_bytes"], math.ceil(groups[by]["event_bytes"])) for by in WINDOWS}
        self.keeps = {by: over + LATENESS + WITHIN for by, over in WINDOWS.items()}
        self.windows = {by: Account(keep) for by, keep in self.keeps.items()}
        self.ids, self.remembered, self.id_bytes = Account(DEDUP), {}, plan["plan"]["streams"][0]["dedup_id_bytes"]
        self.newest = None
        self.keys = {by: {} for by in WINDOWS}  # key -> [newest time, bytes]
        self.taken = {by: collections.defaultdict(list) for by in WINDOWS}  # key -> (time, amount), in log order

    @staticmethod
    def text_bytes(text):
        """Of a key: what does not fit the record's 16 bytes lies elsewhere, in pieces of 16 bytes."""
        return 0 if len(text) <= 16 else -(-len(text) // 16) * 16

    def event(self, e):
        """The reason it dies of, or its features."""
        if e["amount"] < 0:
            return "out_of_range"
        at = e["at"]
        if self.newest is not None and at < self.newest - LATENESS - WITHIN:
            return "too_late"
        self.newest = at if self.newest is None else max(self.newest, at)
        for account in (*self.windows.values(), self.ids):
            account.move_on(self.newest)
        seen = self.remembered.get(e["order_id"])
        if seen is not None and self.newest - seen <= DEDUP:
            return "duplicate"
        cost = self.id_bytes  # all are short
        for by in WINDOWS:
            cost += self.sizes[by][1]
            if not self.is_held(by, e[by]):
                cost += self.sizes[by][0] + self.text_bytes(e[by])
        used = self.held + self.ids.total + sum(a.total for a in self.windows.values())
        if used + cost > self.memory - self.memory // 8:  # an id is always new
            return "state_full"
        self.take(e)
        return self.features(e)

    def is_held(self, by, key):
        return key in self.keys[by] and self.keys[by][key] >= self.newest - self.keeps[by]

    def take(self, e):
        self.remembered[e["order_id"]] = self.newest
        self.ids.add(self.newest, self.id_bytes)
        for by, account in self.windows.items():
            key, size = e[by], self.sizes[by][0] + self.text_bytes(e[by])
            if not self.is_held(by, key):
                self.taken[by][key].clear()
                account.add(e["at"], size)
                self.keys[by][key] = e["at"]
            elif e["at"] > self.keys[by][key]:
                account.add(self.keys[by][key], -size)
                account.add(e["at"], size)
                self.keys[by][key] = e["at"]
            account.add(e["at"], self.sizes[by][1])
            self.taken[by][key].append((e["at"], e["amount"]))

    def features(self, e):
        def within(by):
            return [amount for at, amount in self.taken[by][e[by]] if e["at"] - WINDOWS[by] < at <= e["at"]]

        mine = within("customer")
        return {"orders_20m": len(mine), "spent_20m": sum(mine), "shop_10m": len(within("shop"))}


def lines(events):
    return "".join(json.dumps(e) + "\n" for e in events)


TREES = """
models:
  unusual: {half_space_trees: {trees: 25, window: 1000, depth: 5}, inputs: [amount, orders_20m]}
score: {model: unusual}
"""


def check(folder, memory, more=""):
    (folder / "spec.yaml").write_text(SPEC.replace("MEMORY", f"{memory // 1000}KB") + more)
    return json.loads(subprocess.run([str(QUERN), "check", "spec.yaml", "--json"], cwd=folder, check=True,
                                     stdout=subprocess.PIPE).stdout)


def pipe(folder, text, *options):
    p = subprocess.run([str(QUERN), "pipe", "spec.yaml", "--dead", "dead.ndjson", "--quiet", *options], cwd=folder,
                       check=True, input=text.encode(), stdout=subprocess.PIPE)
    return p.stdout, (folder / "dead.ndjson").read_bytes()


def predictions(folder):
    """Those in the log, one a line."""
    out = subprocess.run([str(QUERN), "log", "data", "--print", "predictions"], cwd=folder, check=True,
                         stdout=subprocess.PIPE).stdout
    return "".join(json.loads(line)["value"] + "\n" for line in out.splitlines()).encode()


@pytest.mark.parametrize("memory,more", [(60_000, ""), (90_000, ""), (120_000, ""), (200_000, TREES)])
def test_same_as_the_model(tmp_path, memory, more):
    print(f"QUERN_SEED={SEED}")
    plan = check(tmp_path, memory, more)
    model, events = Model(plan, memory), orders(SEED)
    # leaves of two windows, 2 bytes each, and two ranges: held from the start
    assert model.held == (2 * 25 * 1000 * 2 + 2 * 16 if more else 0)
    told = [model.event(e) for e in events]
    first = None
    for options in (["--threads", "1"], ["--threads", "2", "--batch", "7"], ["--threads", "3", "--batch", "1000"]):
        got = pipe(tmp_path, lines(events), *options)
        first = first or got
        assert got == first, options
    scored = [json.loads(p) for p in first[0].splitlines()]
    dead = [json.loads(d) for d in first[1].splitlines()]
    assert [(p["event_id"], p["features"]) for p in scored] == \
        [(e["order_id"], t) for e, t in zip(events, told) if isinstance(t, dict)]
    assert [d["reason"] for d in dead] == [t for t in told if isinstance(t, str) and t != "duplicate"]
    reasons = collections.Counter(t for t in told if isinstance(t, str))
    print(len(scored), "scored,", dict(reasons))
    assert len(scored) > 300 and reasons["state_full"] > 50 and reasons["duplicate"] > 5  # of 150 seeds 812, 85, 8
    assert sum(isinstance(t, dict) for t in told[len(told) // 2:]) > 100, "there is room again when keys have gone"


def test_what_cannot_hold_a_key_is_refused_by_check(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC.replace("MEMORY", "1KiB"))
    p = subprocess.run([str(QUERN), "check", "spec.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert p.returncode == 2 and "not even one key" in p.stderr and "spec.yaml:23:18:" in p.stderr


def test_what_cannot_hold_half_space_trees_is_refused_by_check(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC.replace("MEMORY", "100KB") + TREES)
    p = subprocess.run([str(QUERN), "check", "spec.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert p.returncode == 2 and "not even the half-space trees' windows, 100032 bytes" in p.stderr, p.stderr
    assert "spec.yaml:23:18:" in p.stderr and "a smaller 'window'" in p.stderr


def test_a_running_pipeline(tmp_path):
    """Killed in the middle, its limit raised and lowered, its letters sent again: what was answered stays, and a start
    without snapshots comes to the same answers."""
    events = orders(5, 1500)
    check(tmp_path, 60_000)
    want, dead = pipe(tmp_path, lines(events))
    r = Running(tmp_path, (tmp_path / "spec.yaml").read_text())

    def send(some):
        for i in range(0, len(some), 97):
            answer = r.post("/v1/streams/orders/score", lines(some[i:i + 97]), "application/x-ndjson")
            assert answer.status in (200, 422), answer.body  # 422: all of them dead

    send(events[:700])
    r.kill()
    r.start()
    send(events[700:])
    assert predictions(tmp_path) == want
    letters = [json.loads(d)["reason"] for d in dead.splitlines()]
    refused = letters.count("state_full")
    assert refused > 100

    def counted():
        return {x["reason"]: x["count"] for x in r.get("/v1/status").json["reasons"]}.get("state_full")

    r.await_true(lambda: counted() == refused)  # it is looked once a second
    status = r.get("/v1/status").json
    assert 0 < status["state"]["counted_bytes"] <= status["state"]["limit_bytes"] == 60_000
    assert "quern_state_limit_bytes 60000" in r.get("/metrics").body.decode()
    assert r.stop() == 0
    # more room: nothing of what was said changes, and what was refused is sent again and taken
    (tmp_path / "spec.yaml").write_text(SPEC.replace("MEMORY", "10MB"))
    for snapshots in (True, False):
        if not snapshots:
            for f in (tmp_path / "data" / "snap").iterdir():
                f.unlink()
        r.start()
        assert predictions(tmp_path).startswith(want)
        if snapshots:
            answer = r.post("/v1/dlq/replay?reason=state_full", b"")
            assert answer.status == 200 and answer.json["sent"] == refused, answer.body
            r.await_true(lambda: sum(s["backlog"] for s in r.get("/v1/status").json["streams"]) == 0)
            again = predictions(tmp_path)
        else:
            assert predictions(tmp_path) == again
        # one more event: its windows hold what was taken in the end, however the state was built
        answers = r.post("/v1/streams/orders/score", lines([dict(events[-1], order_id=f"last{snapshots}")]),
                         "application/x-ndjson").json["predictions"]
        if snapshots:
            last = answers[0]["features"]
        else:
            assert answers[0]["features"]["orders_20m"] == last["orders_20m"] + 1
            assert answers[0]["features"]["spent_20m"] == last["spent_20m"] + events[-1]["amount"]
        assert r.stop() == 0
        again = predictions(tmp_path)
    # too little for anything new: what there was stays
    (tmp_path / "spec.yaml").write_text(SPEC.replace("MEMORY", "10KB"))
    for f in (tmp_path / "data" / "snap").iterdir():
        f.unlink()
    r.start()
    assert predictions(tmp_path) == again
    answer = r.post("/v1/streams/orders/score", lines([dict(events[-1], order_id="more")]), "application/x-ndjson")
    assert answer.status == 422 and answer.json["rejected"][0]["reason"] == "state_full", answer.body
    assert r.stop() == 0
