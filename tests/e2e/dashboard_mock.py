# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a running pipeline: serves the files of src/serve/dashboard under the server's content security
policy and plays the JSON of /v1/live, /v1/status, /v1/predictions, /v1/dlq and /v1/features. For working on the page
and for its tests; standard library only.

    python3 tests/e2e/dashboard_mock.py --port 21300 [--scene NAME] [--speed N] [--behind SECONDS]

--speed N plays N seconds in one; --behind makes the first answer come with that much history, all at once.
`POST /mock/scene?name=NAME` changes the scene of a running one. The scenes are the keys of SCENES.
"""
import argparse
import base64
import http.server
import json
import math
import pathlib
import random
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ROOT / "src" / "serve" / "dashboard"
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
         ".js": "text/javascript; charset=utf-8"}
TOKEN = "a-token-of-sixteen-bytes"
SCENES = {
    "running": "events flow, everything is well",
    "starting": "a snapshot was restored, the log behind it is replayed",
    "full": "no space left: nothing is accepted, reads go on",
    "failed": "a sync failed: the process must leave",
    "draining": "told to stop, finishes what is in the log",
    "sink-down": "the webhook does not answer, its breaker is open",
    "quiet": "running, and nobody sends anything",
    "bare": "a server that knows nothing but its phase",
    "token": "asks for a bearer token",
    "many": "several streams, outputs, models, sinks; long names",
}
REASONS = [("bad_json", "the event is not one JSON object"), ("missing_field", "a field that must be there is not"),
           ("out_of_range", "a value is below its min or above its max"), ("wrong_type", "a value has another type")]


def moment(seconds):
    whole = math.floor(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1e6):06d}Z"


class Pipeline:
    """The made-up pipeline: tick() moves it on by one second, status() is what /v1/status answers."""

    def __init__(self, scene="running", seed=7, now=1780000000.0):
        self.random = random.Random(seed)
        self.scene, self.started, self.now = scene, now, now
        self.read = self.scored = self.late = self.dead = self.alerts = self.seconds = 0
        self.reasons = dict.fromkeys((r for r, _ in REASONS), 0)
        self.alert_records, self.dead_records = [], []
        self.rate, self.lag, self.done, self.bins = 0.0, 0, 0, [0] * 20
        self.stages = dict.fromkeys(("read", "decode", "contract", "features", "score", "route", "commit"), 0)
        self.lock = threading.Lock()

    def tick(self):
        r, t = self.random, self.seconds
        self.seconds += 1
        self.now += 1
        if self.scene == "starting":
            self.done = min(self.done + 5_300, 5_000_000)
        flows = self.scene in ("running", "sink-down", "token", "many", "draining")
        target = 1250 + 420 * math.sin(t / 95) + 160 * math.sin(t / 17) if flows else 0
        if 300 < t % 900 < 345:
            target *= 2.3 if flows else 0
        self.rate = target * r.uniform(0.93, 1.07)
        events = int(self.rate)
        dead = sum(r.random() < 0.15 for _ in range(3)) if events else 0
        late = int(events * 0.0011)
        alerts = sum(r.random() < 0.12 for _ in range(2)) if events else 0
        self.read += events
        self.dead += dead
        self.late += late
        self.scored += events - dead - late
        self.alerts += alerts
        for i in range(20):
            weight = math.exp(-i / 1.6) + 0.0016 * math.exp(-((i - 18) / 1.5) ** 2)
            self.bins[i] = int(events * 60 * weight / 2.17 * r.uniform(0.9, 1.1))
        for name, ns in zip(self.stages, (70, 410, 35, 620, 480, 25, 190)):
            self.stages[name] += int(events * ns * r.uniform(0.9, 1.1))
        for _ in range(dead):
            self.add_dead()
        for _ in range(alerts):
            self.add_alert()
        self.lag = self.lag + alerts if self.scene == "sink-down" else 0

    def add_alert(self):
        r, n = self.random, self.alerts + len(self.alert_records)
        self.alert_records.insert(0, {
            "id": f"card-fraud:transactions:0:{self.read}", "event_id": f"T{900000 + n * 37}",
            "event_time": moment(self.now - r.uniform(0, 1)), "pipeline": "card-fraud", "spec": "9f2c41d07be85a63",
            "stream": "transactions", "contract": "51be20aa94c7d3f8", "model": "fraud",
            "model_version": "c0ffee5a1d2b3c4e", "score": round(r.uniform(0.9, 0.999), 6), "complete": r.random() > 0.1,
            "features": {"weekend": False, "night": True, "customer_count_1d": r.randrange(30),
                         "customer_mean_1d": round(r.uniform(5, 400), 2), "terminal_risk_7d": round(r.random(), 4)}})
        if r.random() < 0.2:
            self.alert_records[0]["late"] = True
        del self.alert_records[100:]

    def add_dead(self):
        r = self.random
        reason, text = r.choice(REASONS)
        self.reasons[reason] += 1
        event = {"transaction_id": f"T{r.randrange(10 ** 6)}", "created_at": moment(self.now),
                 "customer_id": f"C{r.randrange(5000)}", "terminal_id": f"M{r.randrange(10000)}",
                 "amount": -12.5 if reason == "out_of_range" else "twelve"}
        letter = {"offset": self.dead, "dead_at": moment(self.now), "reason": reason, "text": text,
                  "stage": "VALUE_CONVERTER" if reason in ("bad_json", "wrong_type") else "TRANSFORMATION",
                  "stream": "transactions", "position": f"transactions:0:{self.read}", "pipeline": "card-fraud",
                  "contract": "51be20aa94c7d3f8", "event": json.dumps(event)}
        if reason == "bad_json":
            letter["event"] = letter["event"][:61]
            if r.random() < 0.4:
                del letter["event"]
                letter["event_base64"] = base64.b64encode(bytes(r.randrange(256) for _ in range(75))).decode()
        elif reason == "missing_field":
            del event["terminal_id"]
            letter |= {"field": "terminal_id", "expected": "string", "event": json.dumps(event)}
        else:
            letter |= {"field": "amount", "expected": "decimal(2), at least 0"}
        self.dead_records.insert(0, letter)
        del self.dead_records[100:]

    def status(self):
        r, scene = random.Random(self.seconds), self.scene  # the same answer until the next tick
        phase = scene if scene in ("starting", "full", "failed", "draining") else "running"
        s = {"pipeline": "card-fraud", "spec": "9f2c41d07be85a63", "version": "0.2.0", "phase": phase,
             "detail": {"full": "no space left on device: 12.0 MB needed, 3.1 MB free in ./data",
                        "failed": "sync of 00000000000012582912.seg failed: input/output error; start again when the "
                                  "disk is well, nothing acknowledged is lost"}.get(scene, ""),
             "started": moment(self.started), "now": moment(self.now), "uptime_s": self.now - self.started}
        if scene == "bare":
            return s
        flows = self.rate > 0
        age = 1.1 + 0.4 * math.sin(self.seconds / 40) + r.uniform(0, 0.2)
        p99 = age * 3.3 + (22 if 300 < self.seconds % 900 < 345 else 0) * r.uniform(0.5, 1)
        down = scene == "sink-down"
        s |= {
            "streams": [{"name": "transactions", "main": True, "read": self.read, "scored": self.scored,
                         "late": self.late, "dead": self.dead, "shed": 0,
                         "backlog": 5_000_000 - self.done if scene == "starting" else r.randrange(40) if flows else 0,
                         "rate": self.rate}],
            "reasons": [{"stream": "transactions", "reason": k, "text": t, "count": self.reasons[k]}
                        for k, t in REASONS if self.reasons[k]],
            "watermark": moment(self.now - 10.2) if self.read else None,
            "newest_event": moment(self.now - 0.2) if self.read else None,
            "age_ms": {"p50": age, "p90": age * 1.7, "p99": p99, "count": int(self.rate * 60)} if flows else
                      {"p50": None, "p90": None, "p99": None, "count": 0},
            "scores": {"count": sum(self.bins), "mean": 0.031 if flows else None, "bins": self.bins},
            "stages_ns": dict(self.stages),
            "models": [{"name": "fraud", "version": "c0ffee5a1d2b3c4e", "format": "xgboost", "trees": 100,
                        "kernel": "avx512", "in_use": True}],
            "outputs": [{"name": "predictions", "records": self.scored, "rate": self.rate},
                        {"name": "alerts", "when": "score > 0.9", "records": self.alerts,
                         "rate": 0.24 if flows else 0}],
            "sinks": [{"name": "alerts.webhook", "kind": "webhook", "lag": self.lag,
                       "delivered": self.alerts - self.lag, "failed": self.lag * 3, "dead": 0,
                       "state": "open" if down else "closed",
                       "detail": "connect to 127.0.0.1:9 refused; next try in 12 s" if down else ""},
                      {"name": "predictions.file", "kind": "file", "lag": r.randrange(30) if flows else 0,
                       "delivered": self.scored, "failed": 0, "dead": 0, "state": "closed", "detail": ""}],
            "sources": [{"name": "transactions.http", "kind": "http", "records": self.read,
                         "state": "reading" if flows else "waiting", "detail": ""}],
            "log": {"bytes": 210 * self.read + 4096, "segments": 1 + self.read // 400_000, "first_lsn": 0,
                    "end_lsn": 210 * self.read + 4096, "full": scene == "full",
                    "sync_ms": {"p50": 0.31, "p99": 1.12}, "syncs_per_s": 118 if flows else 0},
            "snapshot": {"age_s": self.seconds % 30 + 0.4, "bytes": 18_400_000, "duration_ms": 112, "pause_ms": 0.41,
                         "count": self.seconds // 30},
            "state": {"keys": 14_870, "bytes": 92_300_000,
                      "groups": [{"by": "customer_id", "source": "transactions", "keys": 4980, "bytes": 31_000_000},
                                 {"by": "terminal_id", "source": "transactions", "keys": 9890, "bytes": 61_300_000}]},
            "process": {"rss_bytes": 184_000_000 + 20_000 * (self.seconds % 60), "cpu_s": self.seconds * 0.21,
                        "fds": 31},
        }
        s["progress"] = {"done": self.done, "total": 5_000_000} if scene == "starting" else {"done": 70, "total": 70}
        if scene == "many":
            self.more(s)
        return s

    def more(self, s):
        """The scene `many`: what does not fit easily."""
        s["streams"] += [
            {"name": "chargebacks_of_the_acquiring_bank", "main": False, "read": self.read // 50,
             "scored": self.read // 50, "late": 0, "dead": 0, "shed": 0, "backlog": 0, "rate": self.rate / 50},
            {"name": "logins", "main": False, "read": self.read // 3, "scored": self.read // 3 - self.dead, "late": 0,
             "dead": self.dead, "shed": 0, "backlog": 12, "rate": self.rate / 3}]
        s["models"] += [{"name": "fraud_challenger_with_a_long_name", "version": "7d1f00aa3c5e9b24",
                         "format": "lightgbm", "trees": 1250, "kernel": "avx512", "in_use": False}]
        s["outputs"] += [{"name": "review", "when": "score > 0.4 and score <= 0.9 and not (customer_count_30d < 3)",
                          "records": self.alerts * 7, "rate": 1.7}]
        s["sinks"] += [{"name": "review.webhook", "kind": "webhook", "lag": 1_280_411, "delivered": 12, "failed": 3,
                        "dead": 2, "state": "half-open", "detail": "answered 503 Service Unavailable"}]
        s["sources"] += [{"name": "chargebacks.file", "kind": "file", "records": self.read // 50, "state": "waiting",
                          "detail": ""},
                         {"name": "logins.file", "kind": "file", "records": 0, "state": "failed",
                          "detail": "cannot read 'logins.ndjson': permission denied"}]
        s["state"]["groups"] += [{"by": "customer_id, country", "source": "logins", "keys": 12, "bytes": 4096}]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def answer(self, code, body, kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        if code == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(data)

    def problem(self, code, text):
        self.answer(code, {"title": text, "status": code, "detail": text}, "application/problem+json")

    def do_POST(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/mock/scene":
            self.server.pipeline.scene = urllib.parse.parse_qs(url.query)["name"][0]
            self.answer(200, {})

    def do_GET(self):
        if self.server.stopped.is_set():  # a connection that was kept: it ends as well
            self.close_connection = True
            return
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        if url.path.startswith("/v1/"):
            if self.server.pipeline.scene == "token" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.problem(401, "a bearer token is needed")
            return self.api(url.path[4:], query)
        path = FILES / (url.path.lstrip("/") or "index.html")
        if path.parent != FILES or not path.is_file():
            return self.problem(404, "no such page")
        self.answer(200, path.read_bytes(), TYPES.get(path.suffix, "text/plain; charset=utf-8"))

    def api(self, path, query):
        p = self.server.pipeline
        last = int(query.get("last", ["100"])[0])
        if path == "live":
            return self.live()
        if path == "status":
            return self.answer(200, p.status())
        if path == "predictions":
            return self.answer(200, {"predictions": p.alert_records[:last][::-1], "next": "1"})
        if path == "dlq":
            return self.answer(200, {"dead_letters": p.dead_records[:last][::-1], "next": "1"})
        if path.startswith("features/"):
            return self.features(urllib.parse.unquote(path[9:]), query.get("key", []))
        self.problem(404, "no such path")

    def features(self, by, key):
        names = [n.strip() for n in by.split(",")]
        if len(key) != len(names) or not all(key):
            return self.problem(400, f"'{by}' has {len(names)} fields: give one key= for each")
        if not all(k[:1] in "CM" for k in key):
            return self.problem(404, f"no events of {by} '{', '.join(key)}' are in the windows")
        self.answer(200, {"key": dict(zip(names, key)), "as_of": moment(self.server.pipeline.now - 3), "features": {
            "customer_count_1d": 3, "customer_mean_1d": 61.236666666666665, "customer_count_7d": 19,
            "customer_mean_7d": 57.1, "customer_count_30d": 88, "customer_mean_30d": 55.47318181818182,
            "customer_max_30d": None}})

    def live(self):
        server = self.server
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.close_connection = True
        try:
            for past in list(server.past) if server.with_past else []:
                self.wfile.write(b"data: " + past + b"\n\n")
            while not server.stopped.is_set():
                self.wfile.write(b": keep\ndata: " + json.dumps(server.pipeline.status()).encode() + b"\n\n")
                self.wfile.flush()
                server.stopped.wait(1 / server.speed)
        except OSError:
            pass  # the reader has left


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port, scene="running", speed=1.0, behind=0, seed=7, now=1780000000.0, moves=True):
        super().__init__(("127.0.0.1", port), Handler)
        self.pipeline, self.speed, self.stopped = Pipeline(scene, seed, now), speed, threading.Event()
        self.past, self.with_past = [], behind > 0
        for _ in range(behind):
            self.tick()
        for target in (self.serve_forever, *((self.play,) if moves else ())):
            threading.Thread(target=target, daemon=True).start()

    def tick(self):
        self.pipeline.tick()
        self.past.append(json.dumps(self.pipeline.status()).encode())
        del self.past[:-600]

    def play(self):
        while not self.stopped.wait(1 / self.speed):
            self.tick()

    def stop(self):
        self.stopped.set()
        self.shutdown()
        self.server_close()


if __name__ == "__main__":
    words = argparse.ArgumentParser(description="a stand-in for a running pipeline")
    words.add_argument("--port", type=int, default=21300)
    words.add_argument("--scene", choices=SCENES, default="running")
    words.add_argument("--speed", type=float, default=1)
    words.add_argument("--behind", type=int, default=0)
    given = words.parse_args()
    mock = Server(given.port, given.scene, given.speed, given.behind, now=time.time() - given.behind)
    print(f"http://127.0.0.1:{given.port}/")
    mock.stopped.wait()
