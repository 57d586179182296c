#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill_run.py - kills a running pipeline again and again, and accounts for every event that was acknowledged.

    kill_run.py [--kills N] [--clients N] [--seed S] [--memory SIZE] [--threads N] [--folder DIR] [--quern PROGRAM]

Several clients send events over HTTP, some of them broken, to be made durable or to be scored, and repeat what was not
acknowledged with the same Idempotency-Key. Meanwhile the process is killed with SIGKILL at random moments: while it
takes snapshots, rolls segments, commits, and while it recovers; now and then its snapshots are deleted. Afterwards, by
the log alone:

- every event stands in the log exactly once, those that were acknowledged at the offset that was told;
- predictions, alerts and dead letters are, byte for byte and in order, what `quern pipe` makes of the same events
  without a crash; every answer a client got is one of them; with --memory too little for all keys, so is what found no
  room;
- `quern log --verify` finds nothing.

Prints its seed first. Exit code 0: all of it held. Standard library only; also used by tests/e2e/test_kill.py.
"""
import http.client
import json
import random
import shutil
import subprocess
import threading
import time

from pipeline import Pipeline, arguments, in_folder

SPEC = """\
quern: 1
name: shop
log: local:./data
storage: {segment: 32MiB}
snapshots: {every: 100ms}
streams:
  orders:
    id: order_id
    time: at
    fields:
      order_id: string
      at: {type: timestamp, unit: ms}
      customer: string
      amount: {type: decimal(2), min: 0}
features:
  orders_1h: count() by customer over 1h
  spent_1h: sum(amount) by customer over 1h
  most_1d: max(amount) by customer over 1d
  usual: mean(amount) by customer over 7d excluding current
outputs:
  predictions: {include: [features]}
  large: {when: amount > 90}
"""


class Client(threading.Thread):
    """Sends batches of its own events, each until it is acknowledged."""

    def __init__(self, run, number, seed):
        super().__init__(daemon=True)
        self.run_, self.number, self.rng = run, number, random.Random(f"{seed}/{number}")
        self.acked = {}  # order_id -> offset
        self.rejected = set()
        self.answers = []
        self.batches = self.repeats = 0
        self.failure = None

    def event(self, i):
        order = f"c{self.number}-{i}"
        at = 1_700_000_000_000 + int((time.monotonic() - self.run_.begun) * 1000) + self.rng.randrange(-3000, 3000)
        amount = "-1" if self.rng.random() < 0.03 else f"{self.rng.randrange(100)}.{self.rng.randrange(100):02}"
        return order, f'{{"order_id":"{order}","at":{at},"customer":"k{self.rng.randrange(300)}","amount":{amount}}}'

    def post(self, path, body, key):
        """The answer's status and document; None where nobody knows what became of it."""
        try:
            c = self.run_.connect(20)
            c.request("POST", path, body, {"content-type": "application/x-ndjson", "idempotency-key": key})
            r = c.getresponse()
            status, text = r.status, r.read()
            c.close()
            return status, json.loads(text)
        except (OSError, http.client.HTTPException, ValueError):
            return None, None

    def settle(self, events, document, wants_score):
        rejected = {r["index"] for r in document.get("rejected", []) if r["reason"] == "out_of_range"}
        first = document["position"]["first"]
        for i, (order, _) in enumerate(events):
            self.acked[order] = first + i
            if i in rejected:
                self.rejected.add(order)
        if wants_score:
            self.answers += [p for p in document["predictions"] if p is not None]

    def run(self):
        try:
            self.work()
        except Exception as error:  # noqa: BLE001 - told by the main thread
            self.failure = error

    def work(self):
        i = 0
        while not self.run_.enough.is_set():
            events = [self.event(i + k) for k in range(self.rng.choice([1, 1, 1, 2, 5, 20, 60]))]
            i += len(events)
            self.batches += 1
            wants_score = self.rng.random() < 0.4
            path = "/v1/streams/orders/" + ("score" if wants_score else "events")
            body = "\n".join(text for _, text in events) + "\n"
            key, end = f"{self.number}-{self.batches}", time.monotonic() + 120
            while True:
                status, document = self.post(path, body, key)
                if status in (200, 422):
                    break
                if status is not None and status not in (409, 429, 503):
                    raise AssertionError(f"answer {status}: {document}")
                if time.monotonic() > end:
                    raise AssertionError(f"not acknowledged in 120 s: {status} {document}")
                self.repeats += 1
                time.sleep(0.01)
            self.settle(events, document, wants_score)


class KillRun(Pipeline):
    def __init__(self, folder, quern, seed, threads=1, memory=None):
        super().__init__(folder, quern, SPEC + (f"limits: {{memory: {memory}}}\n" if memory else ""), threads)
        self.memory = memory
        self.seed, self.rng, self.begun = seed, random.Random(seed), time.monotonic()
        self.enough, self.kills = threading.Event(), 0

    def kill(self):
        self.must_run()
        self.process.kill()
        self.process.wait()
        self.kills += 1

    # ---- the run

    def torment(self, kills, clients):
        self.start()
        self.await_ready()
        self.clients = [Client(self, n, self.seed) for n in range(clients)]
        for c in self.clients:
            c.start()
        for n in range(kills):
            if n % 4 == 3:  # while it recovers, or soon after
                time.sleep(self.rng.random() * 0.06)
            else:
                self.await_ready()
                time.sleep(self.rng.random() * self.rng.choice([0.02, 0.1, 0.3]))
            self.kill()
            if n % 10 == 7:  # costs time, never answers
                shutil.rmtree(self.folder / "data" / "snap", ignore_errors=True)
            self.start()
            for c in self.clients:
                assert c.failure is None, f"client {c.number}: {c.failure}"
        self.await_ready()
        self.enough.set()
        for c in self.clients:
            c.join(150)
            assert c.failure is None and not c.is_alive(), f"client {c.number}: {c.failure}"
        self.stop()

    def topic(self, name):
        out = subprocess.run([self.quern, "log", "data", "--print", name], cwd=self.folder, check=True,
                             stdout=subprocess.PIPE).stdout
        records = [json.loads(line) for line in out.splitlines()]
        assert [r["offset"] for r in records] == list(range(len(records))), f"{name}: gaps or repeats"
        return records

    def check(self):
        """Holds the log against what was acknowledged and against a run without a crash; what was found, in words."""
        subprocess.run([self.quern, "log", "data", "--verify"], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
        events = [r["value"] for r in self.topic("orders")]
        at = {}
        for offset, text in enumerate(events):
            order = json.loads(text)["order_id"]
            assert order not in at, f"{order} stands in the log twice: {at[order]} and {offset}"
            at[order] = offset
        acked = {}
        for c in self.clients:
            acked.update(c.acked)
        for order, offset in acked.items():
            assert at.get(order) == offset, f"{order} was acknowledged at {offset} and lies at {at.get(order)}"
        assert len(at) == len(acked), "events in the log that nobody sent to the end"
        (self.folder / "events.ndjson").write_text("".join(e + "\n" for e in events))
        with (self.folder / "plain.ndjson").open("wb") as out:
            subprocess.run([self.quern, "pipe", "spec.yaml", "--input", "orders=events.ndjson", "--dead",
                            "dead.ndjson", "--output", "large=large.ndjson", "--quiet"], cwd=self.folder, check=True,
                           stdout=out, stderr=subprocess.DEVNULL)
        counts = []
        for topic, file in (("predictions", "plain.ndjson"), ("large", "large.ndjson")):
            got = [r["value"] for r in self.topic(topic)]
            want = (self.folder / file).read_text().splitlines()
            assert len(got) == len(want), f"{topic}: {len(got)} records, {len(want)} without a crash"
            for i, (g, w) in enumerate(zip(got, want)):
                assert g == w, f"{topic} {i}:\n  {g}\n  {w}"
            counts.append(len(got))
        dead = [(r["value"], dict(r["headers"])["quern.reason"]) for r in self.topic("dead")]
        want = [json.loads(line) for line in (self.folder / "dead.ndjson").read_text().splitlines()]
        assert dead == [(w["event"], w["reason"]) for w in want], "dead letters differ"
        full = sum(w["reason"] == "state_full" for w in want)
        assert (full > 0) == bool(self.memory), f"{full} events found no room"
        by_id = {json.loads(p)["id"]: json.loads(p) for p in (self.folder / "plain.ndjson").read_text().splitlines()}
        answers = [a for c in self.clients for a in c.answers]
        for a in answers:
            assert by_id[a["id"]] == a, f"a client was answered {a}"
        rejected = set().union(*(c.rejected for c in self.clients))
        assert {json.loads(w["event"])["order_id"] for w in want if w["reason"] == "out_of_range"} == rejected
        return (f"{self.kills} kills, {len(events)} events acknowledged once, {counts[0]} predictions, "
                f"{counts[1]} alerts, {len(dead)} dead letters, {len(answers)} answers compared, "
                f"{sum(c.repeats for c in self.clients)} requests repeated")


def main():
    ap = arguments(__doc__)
    ap.add_argument("--kills", type=int, default=20)
    ap.add_argument("--clients", type=int, default=4)
    ap.add_argument("--seed", type=int, default=None)
    ap.add_argument("--memory", default=None, help="limits: memory, such as 150KB")
    args = ap.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)

    def work(run):
        run.torment(args.kills, args.clients)
        print(run.check())

    in_folder(args, "kill", lambda folder: KillRun(folder, args.quern, seed, args.threads, args.memory), work)


if __name__ == "__main__":
    main()
