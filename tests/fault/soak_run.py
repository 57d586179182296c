#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""soak_run.py - a running pipeline at a steady rate for minutes or hours: nothing may grow, slow down or be lost.

    soak_run.py [--minutes M] [--rate N] [--note BYTES] [--window S] [--keep S] [--threads N] [--folder DIR]
                [--quern PROGRAM]

One client sends batches of events with the time of the wall clock, for keys that come and go; another has single
events scored and measures how long that takes. A file and a webhook are delivered to, a stream of predictions is read,
metrics are scraped over a new connection each second, and clients break off in the middle of a request. Afterwards:

- memory, keys, descriptors and bytes of the log stayed flat; segments were removed; snapshots were taken;
- the answers of the last quarter came as fast as those of the second;
- sinks kept up; the file holds every acknowledged event once and in order, the webhook and the stream their part;
- the program's own log has no warning, and its exit code is 0.

Prints a line a minute. Exit code 0: all of it held. Standard library only; also used by tests/e2e/test_soak.py.
"""
import gzip
import http.server
import json
import re
import socket
import statistics
import threading
import time

from pipeline import Pipeline, arguments, in_folder

MIB = 1 << 20
SPEC = """\
quern: 1
name: shop
log: local:./data
storage: {segment: 32MiB, keep: KEEPs}
snapshots: {every: 2s}
streams:
  orders:
    id: order_id
    time: at
    lateness: 1s
    fields:
      order_id: string
      at: {type: timestamp, unit: ms}
      customer: string
      amount: {type: decimal(2), min: 0}
      note: string
features:
  orders_now: count() by customer over WINDOWs
  spent_now: sum(amount) by customer over WINDOWs
  usual: mean(amount) by customer over WINDOWs excluding current
outputs:
  predictions: {include: [features], to: {file: {path: all.ndjson, rotate_bytes: 8MB, gzip: true}}}
  large: {when: amount > 90, to: {webhook: {url: "URL", allow_private: true, format: raw, batch: 100}}}
"""
BATCHES_A_SECOND = 20
CUSTOMERS = 500  # at a time; new ones come twice in a window


class Hook:
    """The target of the webhook: takes everything and keeps the offsets."""

    def __init__(self):
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                records = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.offsets += [offset_of(r) for r in (records if isinstance(records, list) else [records])]
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.offsets = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"


def offset_of(record):
    return int(record["id"].rsplit(":", 1)[1])


def slope(points):
    """Of the line nearest to (x, y) points, per x."""
    return statistics.linear_regression(*zip(*points)).slope


class SoakRun(Pipeline):
    def __init__(self, folder, quern, seconds, rate=500, note=200, window=60, keep=60, threads=1):
        self.hook = Hook()
        spec = SPEC.replace("KEEP", str(keep)).replace("WINDOW", str(window)).replace("URL", self.hook.url)
        super().__init__(folder, quern, spec, threads)
        self.seconds, self.rate, self.note, self.window, self.keep = seconds, rate, "n" * note, window, keep
        self.stopping = threading.Event()
        self.samples, self.latencies, self.streamed = [], [], []
        self.sent = self.large = self.refused = 0
        self.lock = threading.Lock()
        self.segments = set()

    # ---- clients, each a thread

    def event(self, name, i):
        now = time.time()
        amount = i * 7919 % 10000
        with self.lock:
            self.sent += 1
            self.large += amount > 9000
        customer = f"c{int(now / self.window * 2)}-{i % CUSTOMERS}"
        return (f'{{"order_id":"{name}{i}","at":{int(now * 1000)},"customer":"{customer}",'
                f'"amount":{amount // 100}.{amount % 100:02},"note":"{self.note}"}}')

    def post(self, connection, path, kind, body):
        """Until it is taken; a refusal is counted."""
        while True:
            connection.request("POST", "/v1/streams/orders/" + path, body, {"content-type": kind})
            r = connection.getresponse()
            text = r.read()
            if r.status == 200:
                return json.loads(text)
            assert r.status == 429, f"{r.status}: {text}"
            self.refused += 1
            time.sleep(0.1)

    def send(self):
        c, i, due = self.connect(), 0, time.monotonic()
        while not self.stopping.is_set():
            n = self.rate // BATCHES_A_SECOND
            body = "\n".join(self.event("o", i + k) for k in range(n))
            i += n
            assert self.post(c, "events", "application/x-ndjson", body)["accepted"] == n
            due += 1 / BATCHES_A_SECOND
            time.sleep(max(0, due - time.monotonic()))

    def ask(self):
        c, i = self.connect(), 0
        while not self.stopping.is_set():
            body = self.event("a", i)
            begun = time.monotonic()
            answer = self.post(c, "score", "application/json", body)
            self.latencies.append((begun, time.monotonic() - begun))
            assert answer["predictions"][0]["event_id"] == f"a{i}"
            i += 1
            self.stopping.wait(0.1)

    def read_stream(self):
        c = self.connect()
        c.request("GET", "/v1/predictions", headers={"accept": "text/event-stream"})
        r = c.getresponse()
        self.is_streaming.set()
        while line := r.readline():
            if line.startswith(b"data:"):
                self.streamed.append(offset_of(json.loads(line[5:])))

    def break_off(self):
        """Clients that go away in the middle of a request, or before they read the answer."""
        head = b"POST /v1/streams/orders/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        while not self.stopping.wait(1):
            for text in (head[:50], head + b"content-length: 900\r\n\r\n{\"order_id\":",
                         b"GET /v1/predictions?limit=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n",
                         b"GET /v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n"):
                with socket.create_connection(("127.0.0.1", self.port), timeout=60) as s:
                    s.sendall(text)

    # ---- the run

    def scrape(self):
        c = self.connect()
        c.request("GET", "/metrics")
        text = c.getresponse().read().decode()
        c.close()
        values = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        present = {p.name for p in (self.folder / "data").rglob("*.seg")}
        self.segments |= present
        sample = {
            "at": time.monotonic(),
            "rss": values["process_resident_memory_bytes"],
            "fds": values["process_open_fds"],
            "log": values["quern_log_bytes"],
            "keys": sum(v for n, v in values.items() if n.startswith("quern_state_keys")),
            "state": sum(v for n, v in values.items() if n.startswith("quern_state_bytes")),
            "lag": max(v for n, v in values.items() if n.startswith("quern_sink_lag")),
            "age": values["quern_snapshot_age_seconds"],
            "cpu": values["process_cpu_seconds_total"],
            "removed": len(self.segments - present),
        }
        self.samples.append(sample)
        return sample

    def describe(self, s, begun):
        took = sorted(t for at, t in self.latencies if at > s["at"] - 60) or [0]
        p50, p99 = (took[len(took) * p // 100] * 1e3 for p in (50, 99))
        print(f"{s['at'] - begun:6.0f} s  {self.sent} events  rss {s['rss'] / MIB:.1f} MiB  "
              f"state {s['state'] / MIB:.1f} MiB in {s['keys']:.0f} keys  log {s['log'] / MIB:.0f} MiB, "
              f"{s['removed']} segments removed  fds {s['fds']:.0f}  lag {s['lag']:.0f}  p50 {p50:.1f} ms  "
              f"p99 {p99:.1f} ms  cpu {s['cpu']:.0f} s  refused {self.refused}", flush=True)

    def soak(self):
        self.start()
        self.await_ready()
        self.is_streaming = threading.Event()
        self.begin(self.read_stream)
        assert self.is_streaming.wait(60)
        clients = [self.begin(work) for work in (self.send, self.ask, self.break_off)]
        begun = time.monotonic()
        told = begun
        step = min(60, self.seconds / 4)
        while time.monotonic() < begun + self.seconds:
            time.sleep(1)
            self.must_run()
            s = self.scrape()
            if s["at"] >= told + step:
                told += step
                self.describe(s, begun)
        self.stopping.set()
        for c in clients:
            c.join(60)
        end = time.monotonic() + 60
        while self.scrape()["lag"] > 0 or len(self.streamed) < self.sent:
            assert time.monotonic() < end, f"lag {self.samples[-1]['lag']}, {len(self.streamed)} streamed"
            time.sleep(0.2)
        del self.samples[-1]
        self.stop()
        self.hook.server.shutdown()

    # ---- what must hold

    def quarter(self, number, points):
        """Those of the run's quarter 1 to 4; points begin with their moment."""
        first, last = self.samples[0]["at"], self.samples[-1]["at"]
        edge = first + (last - first) * (number - 1) / 4
        return [p for p in points if edge <= p[0] <= edge + (last - first) / 4]

    def series(self, name, *quarters):
        points = [(s["at"], s[name]) for s in self.samples]
        return [p for q in quarters for p in self.quarter(q, points)]

    def flat(self, name, slack):
        """The most of the last quarter is hardly more than that of the second."""
        before, after = (max(v for _, v in self.series(name, q)) for q in (2, 4))
        return [] if after <= before + slack else [f"{name} grew: {before:.0f} in the second quarter, {after:.0f} in "
                                                   "the last"]

    def check(self):
        """All that did not hold, in words."""
        wrong = list(self.failures)
        half = self.series("rss", 3, 4)
        grew = slope(half) * (half[-1][0] - half[0][0])
        allowed = (8 if self.seconds >= 600 else 32) * MIB
        if grew > allowed:
            wrong.append(f"memory grew by {grew / MIB:.1f} MiB in the second half")
        wrong += self.flat("keys", CUSTOMERS) + self.flat("fds", 4)
        alive = 2 * CUSTOMERS / self.window * (self.window + 2)  # twice the lateness longer than the window
        if max(k for _, k in self.series("keys", 4)) > 1.5 * alive + CUSTOMERS:
            wrong.append("keys stay that no window holds")
        a_second = self.rate * (len(self.note) + 600)
        bound = a_second * (self.keep + 10) + 4 * 32 * MIB
        if max(v for _, v in self.series("log", 1, 2, 3, 4)) > bound:
            wrong.append(f"the log grew beyond {bound / MIB:.0f} MiB")
        if self.samples[-1]["removed"] == 0:
            wrong.append("no segment was removed")
        if max(v for _, v in self.series("age", 2, 3, 4)) > 30:
            wrong.append("no snapshot in 30 s")
        before, after = (sorted(t for _, t in self.quarter(q, self.latencies)) for q in (2, 4))
        for percent, slack in ((50, 0.02), (99, 0.5)):
            b, a = (took[len(took) * percent // 100] for took in (before, after))
            if a > 5 * b + slack:
                wrong.append(f"p{percent} went from {b * 1e3:.1f} to {a * 1e3:.1f} ms")
        if max(v for _, v in self.series("lag", 2, 3, 4)) > 10 * self.rate:
            wrong.append("a sink fell behind by more than 10 s")
        wrong += [f"the program says: {line}" for line in self.words().splitlines() if re.search("warn|error", line)]
        return wrong + self.check_records()

    def check_records(self):
        wrong, want = [], list(range(self.sent))
        files = sorted(self.folder.glob("all-*.ndjson.gz"))
        offsets = []
        for name in files + [self.folder / "all.ndjson"]:
            with (gzip.open(name) if name.suffix == ".gz" else name.open("rb")) as f:
                offsets += [offset_of(json.loads(line)) for line in f]
        if offsets != want:
            wrong.append(f"the file holds {len(offsets)} records of {self.sent}, or not in order")
        if self.streamed != want:
            wrong.append(f"the stream had {len(self.streamed)} records of {self.sent}, or not in order")
        hooked = self.hook.offsets
        if len(hooked) != self.large or any(a >= b for a, b in zip(hooked, hooked[1:])):
            wrong.append(f"the webhook got {len(hooked)} records of {self.large}, or not in order")
        return wrong


def main():
    ap = arguments(__doc__)
    ap.add_argument("--minutes", type=float, default=5)
    ap.add_argument("--rate", type=int, default=500, help="events a second")
    ap.add_argument("--note", type=int, default=200, help="bytes of a text in each event")
    ap.add_argument("--window", type=int, default=60, help="seconds of the features")
    ap.add_argument("--keep", type=int, default=60, help="seconds of the log")
    args = ap.parse_args()

    def make(folder):
        return SoakRun(folder, args.quern, args.minutes * 60, args.rate, args.note, args.window, args.keep,
                       args.threads)

    def work(run):
        run.soak()
        wrong = run.check()
        assert not wrong, "\n".join(wrong)
        print(f"held: {run.sent} events, {run.samples[-1]['removed']} segments removed")

    in_folder(args, "soak", make, work)


if __name__ == "__main__":
    main()
