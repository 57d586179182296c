#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""overload_run.py - offers a running pipeline three times what it can do, and accounts for every event.

    overload_run.py [--seconds S] [--threads N] [--folder DIR] [--quern PROGRAM]

First the rate that it holds is found: clients that have batches scored, each waiting for its answer. Then others send
batches at three times that rate by the clock, whatever comes back, for S seconds from the first refusal on. Beside
them one client has single events scored, before, during and afterwards. Then:

- there were no answers but 200 and 429, and each 429 had a Retry-After;
- memory came to rest: queues and windows are full within 40 s, and then it grows no more, but for noise;
- single events were soon answered as quickly as before;
- by the log, every accepted batch is there once, as a whole, at the offset that was told, and no refused one; each of
  its events has one prediction, in the order of the log, and every answer is such a prediction.

An output with contributions makes the engine work hard, so that it is the one that is short of time, not the clients.
Exit code 0: all of it held. Standard library only; also used by tests/e2e/test_overload.py.
"""
import json
import re
import statistics
import subprocess
import threading
import time
from pathlib import Path

from pipeline import Pipeline, arguments, in_folder

MIB = 1 << 20
SPEC = """\
quern: 1
name: shop
log: local:./data
storage: {segment: 64MiB}
snapshots: {every: 2s}
limits: {wait: WAITs}
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
  orders_now: count() by customer over 2s
  spent_now: sum(amount) by customer over 2s
  most_now: max(amount) by customer over 1s
models:
  risk: {file: risk.txt, inputs: [amount, orders_now, spent_now, most_now]}
score: {model: risk}
outputs:
  predictions: {include: [features]}
  why: {when: amount >= 0, include: [contributions]}
"""
BATCH = 250
CLOSED, OPEN = 6, 24  # clients
FACTOR = 3
WARM_S = 2
WAIT_S = 2  # longest wait of an accepted event for the engine, about


def forest(trees, depth):
    """A LightGBM model of full trees over the inputs of the spec."""
    inner, leaves = (1 << depth) - 1, 1 << depth

    def child(number):
        return number if number < inner else inner - number - 1

    text = ("tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=3\n"
            "objective=binary sigmoid:1\nfeature_names=amount orders_now spent_now most_now\n"
            "feature_infos=[0:100] [0:100] [0:1000] [0:100]\n\n")
    for t in range(trees):
        rows = {
            "num_leaves": [leaves], "num_cat": [0],
            "split_feature": [(t + i) % 4 for i in range(inner)],
            "threshold": [(t * 31 + i * 17) % 97 + 0.5 for i in range(inner)],
            "decision_type": [2] * inner,
            "left_child": [child(2 * i + 1) for i in range(inner)],
            "right_child": [child(2 * i + 2) for i in range(inner)],
            "leaf_value": [((t * 7 + i * 13) % 21 - 10) / 100 for i in range(leaves)],
            "leaf_count": [10] * leaves,
            "internal_count": [10 * (leaves >> ((i + 1).bit_length() - 1)) for i in range(inner)],
            "is_linear": [0], "shrinkage": [1],
        }
        text += f"Tree={t}\n" + "".join(f"{k}={' '.join(map(str, v))}\n" for k, v in rows.items()) + "\n\n"
    return text + "end of trees\n"


class OverloadRun(Pipeline):
    def __init__(self, folder, quern, seconds, threads=1):
        super().__init__(folder, quern, SPEC.replace("WAIT", str(WAIT_S)), threads)
        self.seconds = seconds
        (self.folder / "risk.txt").write_text(forest(200, 6))
        # the name of a batch and its time are put in where @ and # are
        self.batch = "".join(f'{{"order_id":"@@@@@@@@@@-{i}","at":#############,"customer":"k{i * 7}",'
                             f'"amount":{i % 100}.25}}\n' for i in range(BATCH)).encode()
        self.lock = threading.Lock()
        self.is_over, self.is_closed, self.is_done = (threading.Event() for _ in range(3))
        self.batches = 0
        self.accepted = {}  # name of a batch -> (offset, events)
        self.refused = set()  # names
        self.answers, self.singles, self.memory = [], [], []
        self.offered = self.offer = 0
        self.first_refusal = None

    def resident(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s*(\d+) kB", status)[1]) * 1024

    # ---- clients, each a thread

    def send(self, connection, path, count=BATCH):
        """One batch, once; True when it was accepted."""
        with self.lock:
            name = f"b{self.batches:09}"
            self.batches += 1
            self.offered += count
        lines = self.batch if count == BATCH else b"".join(self.batch.splitlines(True)[:count])
        body = lines.replace(b"@@@@@@@@@@", name.encode()).replace(b"#############", b"%d" % (time.time() * 1000))
        connection.request("POST", "/v1/streams/orders/" + path, body, {"content-type": "application/x-ndjson"})
        r = connection.getresponse()
        text = r.read()
        if r.status == 429:
            assert int(r.getheader("retry-after")) >= 1 and json.loads(text)["code"] == "too_busy", text
            self.refused.add(name)
            if self.first_refusal is None:
                self.first_refusal = time.monotonic()
            return False
        assert r.status == 200, f"{r.status}: {text}"
        answer = json.loads(text)
        position = answer["position"]
        assert position["next"] - position["first"] == count and answer["rejected"] == [], text
        self.accepted[name] = (position["first"], count)
        if path == "score" and count == 1:
            self.answers += answer["predictions"]
        return True

    def closed_loop(self):
        c = self.connect()
        while not self.is_closed.is_set():
            self.send(c, "score")

    def open_loop(self, number):
        c, due = self.connect(), time.monotonic() + number * 0.01
        while not self.is_over.is_set():
            self.send(c, "events")
            due = max(due + OPEN * BATCH / self.offer, time.monotonic() - 1)  # what a second cannot make up for is gone
            self.is_over.wait(max(0, due - time.monotonic()))

    def ask(self):
        """Single events, one after the other: (moment, how long it took)."""
        c = self.connect()
        while not self.is_done.is_set():
            begun = time.monotonic()
            if self.send(c, "score", 1):
                self.singles.append((begun, time.monotonic() - begun))
            self.is_done.wait(0.02)

    def usual(self, first, end):
        """Median of the single events that were sent between two moments; None where there are too few."""
        took = [t for at, t in self.singles if first <= at and at + t <= end]
        return statistics.median(took) if len(took) >= 5 else None

    # ---- the run

    def wait(self, seconds, condition=lambda: False):
        """Until the condition is true; False when the time is over before."""
        end = time.monotonic() + seconds
        while not condition():
            self.must_run()
            if time.monotonic() > end:
                return False
            self.memory.append((time.monotonic(), self.resident()))
            time.sleep(0.1)
        return True

    def find_rate(self):
        clients = [self.begin(self.closed_loop) for _ in range(CLOSED)]
        self.wait(WARM_S)
        before, begun = sum(n for _, n in list(self.accepted.values())), time.monotonic()
        self.wait(WARM_S)
        rate = (sum(n for _, n in list(self.accepted.values())) - before) / (time.monotonic() - begun)
        self.is_closed.set()
        for c in clients:
            c.join(60)
        return rate

    def overload(self):
        self.start()
        self.await_ready()
        asking = self.begin(self.ask)
        begun = time.monotonic()
        assert self.wait(60, lambda: self.usual(begun, time.monotonic()) and len(self.singles) >= 50)
        self.unloaded = self.usual(begun, time.monotonic())
        self.rate = self.find_rate()
        self.offer, self.offered = FACTOR * self.rate, 0
        begun, accepted = time.monotonic(), sum(n for _, n in self.accepted.values())
        clients = [self.begin(self.open_loop, n) for n in range(OPEN)]
        while not self.wait(10, lambda: self.first_refusal):
            assert time.monotonic() < begun + 60, f"nothing is refused at {self.offer:.0f} events/s"
            self.offer *= 2  # the machine was busy with something else when the rate was found
        self.wait(self.seconds)
        self.is_over.set()
        for c in clients:
            c.join(120)
        self.ended = time.monotonic()
        self.offered /= self.ended - begun
        self.taken = (sum(n for _, n in self.accepted.values()) - accepted) / (self.ended - begun)
        limit = 20 * self.unloaded + 0.05
        patience = WAIT_S + 10  # for the events that may wait

        def is_quick():
            now = time.monotonic()
            return (self.usual(now - 1, now) or limit) < limit

        has_recovered = self.wait(patience, is_quick)
        self.recovery = time.monotonic() - self.ended
        self.is_done.set()
        asking.join(120)
        assert not self.failures, self.failures
        assert has_recovered, f"{self.unloaded * 1e3:.1f} ms before, afterwards {self.singles[-5:]}"
        self.stop()

    # ---- what must hold

    def records(self, topic):
        """(offset, value) of a topic, in its order."""
        p = subprocess.Popen([self.quern, "log", "data", "--print", topic], cwd=self.folder, stdout=subprocess.PIPE)
        for line in p.stdout:
            record = json.loads(line)
            yield record["offset"], json.loads(record["value"])
        assert p.wait() == 0

    def check(self):
        """Holds memory, answers and log against what was promised; what was found, in words."""
        assert self.refused, "nothing was refused"
        filled = 40 if self.seconds >= 60 else 1
        base = max(m for at, m in self.memory if at <= self.first_refusal + filled)
        grew = max(m for _, m in self.memory) - base
        most = 16 if self.seconds >= 60 else 64
        assert grew < most * MIB, f"memory grew by {grew / MIB:.1f} MiB over {base / MIB:.1f} MiB"
        want = []
        for name, (offset, count) in sorted(self.accepted.items(), key=lambda item: item[1]):
            assert offset == len(want), f"{name} was accepted at {offset}; the batches before it end at {len(want)}"
            want += [f"{name}-{i}" for i in range(count)]
        count = 0
        for offset, event in self.records("orders"):
            assert offset == count < len(want), f"offset {offset} in the log, {count} was due of {len(want)}"
            assert event["order_id"] == want[count], f"{event['order_id']} at {offset}, {want[count]} was due"
            count += 1
        assert count == len(want), f"{count} events in the log, {len(want)} were accepted"
        answers = {a["id"]: a for a in self.answers}
        for output in ("predictions", "why"):
            count = 0
            for offset, prediction in self.records(output):
                assert offset == count < len(want) and prediction["id"] == f"shop:orders:0:{count}"
                assert prediction["event_id"] == want[count], f"{prediction['event_id']}: {want[count]} was due"
                if output == "predictions":
                    assert answers.pop(prediction["id"], prediction) == prediction
                count += 1
            assert count == len(want), f"{output}: {count} records of {len(want)} events"
        assert not answers, f"not in the log: {list(answers)[:3]}"
        worst = max(t for _, t in self.singles)
        return (f"{self.rate:.0f} events/s are held; offered {self.offered:.0f}/s, accepted {self.taken:.0f}/s; "
                f"{len(self.refused)} of {self.batches} requests refused; {len(want)} events taken, each scored once; "
                f"memory {base / MIB:.1f} MiB + {grew / MIB:.1f}; a single event {self.unloaded * 1e3:.1f} ms before, "
                f"{worst * 1e3:.0f} ms at worst, as before after {self.recovery:.1f} s")


def main():
    ap = arguments(__doc__)
    ap.add_argument("--seconds", type=float, default=8)
    args = ap.parse_args()

    def work(run):
        run.overload()
        print(run.check())

    in_folder(args, "overload", lambda folder: OverloadRun(folder, args.quern, args.seconds, args.threads), work)


if __name__ == "__main__":
    main()
