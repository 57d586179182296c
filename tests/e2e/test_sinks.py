# SPDX-License-Identifier: Apache-2.0
"""test_sinks.py - deliveries of a running pipeline against real HTTP servers that are slow, down, flapping, or answer
garbage, and against files of a process that is killed; and scoring beside them is as quick as without.

What is held up against `quern run` stands here: signatures are computed with Python's hmac, CloudEvents read by hand,
gzip by Python's. Moments of kills are drawn from QUERN_SEED."""
import base64
import csv
import gzip
import hashlib
import hmac
import http.server
import json
import os
import random
import shutil
import socket
import socketserver
import ssl
import statistics
import subprocess
import threading
import time

import pytest

from fraud_data import QUERN
from running import Running

SEED = int(os.environ.get("QUERN_SEED", "21"))
KILLS = int(os.environ.get("QUERN_KILLS") or (200 if os.environ.get("QUERN_LONG") else 12))
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
SPEC = """quern: 1
name: shop
log: local:./data
storage: {segment: 32MiB, durability: none}
streams:
  orders:
    id: order_id
    time: at
    key: customer
    fields: {order_id: int64, at: {type: timestamp, unit: s}, customer: string, amount: decimal(2)}
features:
  spent_1h: sum(amount) by customer over 1h
outputs:
"""
QUICK = "retry_from: 20ms, retry_to: 200ms, breaker_after: 3, breaker_wait: 200ms"


class Pipeline(Running):
    """`quern run` with the outputs given; without them, with those of before."""

    def __init__(self, folder, outputs=None, drain="10s"):
        spec = SPEC + outputs if outputs is not None else (folder / "spec.yaml").read_text()
        super().__init__(folder, spec, options=("--drain", drain))
        self.connection = self.connect()

    def said(self):
        return self.log.read_text()

    def send(self, first, count=1):
        """Events [first, first + count); returns when all are scored and durable."""
        body = "".join('{"order_id":%d,"at":%d,"customer":"c%d","amount":%d.25}\n' % (i, 1_700_000_000 + i, i % 7, i)
                       for i in range(first, first + count))
        answer = self.ask("POST", "/v1/streams/orders/score", body, self.connection,
                          content_type="application/x-ndjson")
        assert answer.status == 200 and numbers(answer.json["predictions"]) == list(range(first, first + count))

    def sinks(self):
        return self.get("/v1/status").json["sinks"]

    def wait(self, name, what):
        """Until what(sink) is true of the status of that sink."""
        for _ in range(600):
            seen = next(s for s in self.sinks() if s["name"] == name)
            if what(seen):
                return seen
            time.sleep(0.05)
        raise AssertionError(f"{seen}\n{self.said()}")

    def finish(self):
        assert self.stop() == 0, self.said()


class Hook:
    """An HTTP server that keeps every request; `answer(n, handler)` answers the n-th, and may do what it likes."""

    def __init__(self, answer=None, port=0, certificate=None):
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or each answer waits 40 ms for an acknowledgement

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with hook.lock:
                    n = len(hook.requests)
                    hook.requests.append((self.path, dict(self.headers), body))
                if hook.answer is None or hook.answer(n, self) is None:
                    self.reply(200, b"ok")

            def reply(self, status, body=b"", headers=()):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return True

            def log_message(self, *args):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            allow_reuse_address = True

        self.answer, self.requests, self.lock = answer, [], threading.Lock()
        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}/hook"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def bodies(self):
        with self.lock:
            return [json.loads(body) for _, _, body in self.requests]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def hook():
    h = Hook()
    yield h
    h.close()


def numbers(records):
    return [r["event_id"] for r in records]


def webhook(url, more=""):
    keys = f'url: "{url}", allow_private: true, {QUICK}{more}'
    return "  alerts: {when: amount >= 0, to: {webhook: {%s}}}\n" % keys


# ---- what is sent ----------------------------------------------------------------------------------------------------

def test_cloudevents_signed(tmp_path, hook):
    """Structured CloudEvents with the signature of Standard Webhooks, in order, each once."""
    p = Pipeline(tmp_path, webhook(hook.url, f', secret: {SECRET}, headers: ["X-Team: fraud"]'))
    p.send(0, 30)
    p.wait("alerts.webhook", lambda s: s["delivered"] == 30 and s["lag"] == 0)
    p.finish()
    assert len(hook.requests) == 30
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    for i, (path, headers, body) in enumerate(hook.requests):
        event = json.loads(body)
        assert path == "/hook" and headers["X-Team"] == "fraud"
        assert headers["Content-Type"] == "application/cloudevents+json"
        assert (event["specversion"], event["type"], event["source"]) == ("1.0", "quern.alert", "/quern/shop")
        assert event["id"] == f"shop:orders:0:{i}" == event["data"]["id"] and event["data"]["event_id"] == i
        assert event["time"] == event["data"]["event_time"] and event["datacontenttype"] == "application/json"
        assert headers["Idempotency-Key"] == event["id"] == headers["webhook-id"]
        assert abs(time.time() - int(headers["webhook-timestamp"])) < 300
        text = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
        mine = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        assert hmac.compare_digest(mine, headers["webhook-signature"])


def test_streams_to_sinks_of_their_own(tmp_path, hook):
    """Two streams, two outputs, killed in the middle: each sink has the events of its stream, once and in order, and
    they are what `quern pipe` writes."""
    spec = SPEC.replace("features:", """\
  returns:
    id: number
    time: at
    fields: {number: int64, at: {type: timestamp, unit: s}, customer: string}
features:""") + f"""\
  returned: {{from: [returns], include: event, to: {{webhook: {{url: "{hook.url}", allow_private: true}}}}}}
  archive: {{from: [orders, returns], include: event, to: {{file: archive.ndjson}}}}
"""
    p = Running(tmp_path, spec)
    for i in range(0, 60, 5):
        for stream, name in (("orders", "order_id"), ("returns", "number")):
            body = "".join('{"%s":%d,"at":%d,"customer":"c%d","amount":1.25}\n' % (name, k, 1_700_000_000 + k, k % 3)
                           for k in range(i, i + 5))
            assert p.post(f"/v1/streams/{stream}/events", body, "application/x-ndjson").status == 200
        if i == 30:
            p.kill()
            p.start()
    p.await_true(lambda: all(s["lag"] == 0 for s in p.get("/v1/status").json["sinks"]) and
                 sum(s["backlog"] for s in p.get("/v1/status").json["streams"]) == 0)
    assert p.stop() == 0, p.log.read_text()
    inputs = []
    for stream in ("orders", "returns"):
        out = subprocess.run([str(QUERN), "log", "data", "--print", stream], cwd=tmp_path, check=True,
                             stdout=subprocess.PIPE).stdout
        (tmp_path / f"{stream}.ndjson").write_text("".join(json.loads(r)["value"] + "\n" for r in out.splitlines()))
        inputs += ["--input", f"{stream}={stream}.ndjson"]
    subprocess.run([str(QUERN), "pipe", "spec.yaml", *inputs, "--output", "returned=returned.ndjson", "--output",
                    "archive=plain.ndjson", "--quiet"], cwd=tmp_path, check=True)
    returned = [json.loads(r) for r in (tmp_path / "returned.ndjson").read_text().splitlines()]
    got = [json.loads(body) for _, _, body in hook.requests]
    once = list({e["id"]: e for e in got}.values())  # what was delivered before the crash may have come again
    assert [e["data"] for e in once] == returned and len(returned) == 60
    assert {e["type"] for e in got} == {"quern.event"}
    archive = (tmp_path / "archive.ndjson").read_text().splitlines()
    plain = (tmp_path / "plain.ndjson").read_text().splitlines()
    assert len(archive) == 120 and sorted(archive) == sorted(plain)  # pipe merges by time, the log by arrival
    for stream in ("orders", "returns"):
        mine = [r for r in archive if f'"stream":"{stream}"' in r]
        assert mine == [r for r in plain if f'"stream":"{stream}"' in r]


def test_lists(tmp_path):
    """batch: several records a request; of a list that is refused only the bad record becomes a dead letter."""
    def answer(_, handler):
        records = json.loads(hook.requests[-1][2])
        return handler.reply(422, b"no") if any(r["event_id"] == 13 for r in records) else None

    hook = Hook(answer)
    try:
        p = Pipeline(tmp_path, webhook(hook.url, ", batch: 5, format: raw"))
        p.send(0, 30)
        seen = p.wait("alerts.webhook", lambda s: s["lag"] == 0 and s["dead"] == 1)
        p.finish()
    finally:
        hook.close()
    assert seen["delivered"] == 29
    lists = [json.loads(body) for _, _, body in hook.requests]
    good = [r for records in lists if not any(r["event_id"] == 13 for r in records) for r in records]
    assert numbers(good) == [i for i in range(30) if i != 13] and max(map(len, lists)) <= 5
    assert dead_letters(tmp_path) == ["shop:orders:0:13"]


def dead_letters(folder):
    """Ids of the records in the topic of dead letters."""
    shutil.rmtree(folder / "copy", ignore_errors=True)
    shutil.copytree(folder / "data", folder / "copy")
    done = subprocess.run([str(QUERN), "log", str(folder / "copy"), "--print", "dead"], capture_output=True,
                          text=True, check=True)
    return [json.loads(line)["value"]["id"] if isinstance(json.loads(line).get("value"), dict)
            else json.loads(json.loads(line)["value"])["id"] for line in done.stdout.splitlines()]


def test_slack_and_pagerduty(tmp_path, hook):
    p = Pipeline(tmp_path, f"""  alerts:
    when: amount >= 0
    include: [features]
    to:
      - webhook:
          {{url: "{hook.url}/slack", allow_private: true, format: slack,
           text: "{{event_id}} <&> {{features.spent_1h}}"}}
      - webhook: {{url: "{hook.url}/pd", allow_private: true, format: pagerduty, routing_key: K3Y, severity: warning}}
""")
    p.send(5)
    p.wait("alerts.webhook", lambda s: s["delivered"] == 1)
    p.wait("alerts.webhook-2", lambda s: s["delivered"] == 1)
    p.finish()
    sent = {path: json.loads(body) for path, _, body in hook.requests}
    assert sent["/hook/slack"] == {"text": "5 <&> 5.25"}
    page = sent["/hook/pd"]
    assert (page["routing_key"], page["event_action"], page["payload"]["severity"]) == ("K3Y", "trigger", "warning")
    assert page["dedup_key"].startswith("shop/alerts/") and page["payload"]["custom_details"]["event_id"] == 5


# ---- targets that fail -----------------------------------------------------------------------------------------------

def test_down_then_up(tmp_path):
    """Nobody listens; later somebody does. Scoring goes on, nothing is lost, the order stays."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    p = Pipeline(tmp_path, webhook(f"http://127.0.0.1:{port}/hook"))
    p.send(0, 200)
    seen = p.wait("alerts.webhook", lambda s: s["state"] == "open")
    assert seen["lag"] == 200 and seen["dead"] == 0 and "no answer of the target" in seen["detail"]
    hook = Hook(port=port)
    try:
        p.send(200, 10)
        p.wait("alerts.webhook", lambda s: s["lag"] == 0 and s["state"] == "closed")
        p.finish()
    finally:
        hook.close()
    assert [e["data"]["event_id"] for e in hook.bodies()] == list(range(210))
    assert "delivers again after" in p.said() and "breaker open" in p.said()


def flapping(rng):
    """Answers of a server in a bad state of mind."""
    def answer(n, handler):
        kind = rng.choice(["good", "good", "500", "503", "429", "garbage", "close", "half", "large", "redirect"])
        if kind == "good":
            return None
        if kind in ("500", "503"):
            return handler.reply(int(kind), b"\xff\x00 not today " * 20)
        if kind == "429":
            return handler.reply(429, b"", [("Retry-After", rng.choice(["0", "soon", "-1", "99999999999999999999x"]))])
        if kind == "redirect":
            return handler.reply(302, b"", [("Location", "http://127.0.0.1:1/")])
        if kind == "large":
            handler.reply(503, b"x" * 3_000_000)
        if kind == "garbage":
            handler.wfile.write(rng.choice([b"\x16\x03\x01 garbage\r\n\r\n", b"HTTP/9.9 banana\r\n\r\n",
                                            b"HTTP/1.1 200\r\nContent-Length: x\r\n\r\n", b"\x00" * 5000]))
        if kind == "half":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        handler.close_connection = True
        return True
    return answer


def test_flapping(tmp_path):
    """Whatever it answers: each record reaches it in order, with the same id each time it comes."""
    print("seed", SEED)
    hook = Hook(flapping(random.Random(SEED)))
    try:
        p = Pipeline(tmp_path, webhook(hook.url, ", timeout: 2s"))
        p.send(0, 60)
        p.wait("alerts.webhook", lambda s: s["lag"] == 0)
        p.finish()
    finally:
        hook.close()
    ids = [e["id"] for e in hook.bodies()]
    steps = [i for n, i in enumerate(ids) if n == 0 or ids[n - 1] != i]
    assert steps == [f"shop:orders:0:{i}" for i in range(60)]  # repeats only of the one at hand
    assert len(ids) > 60


def test_slow(tmp_path):
    """A slow target is given its time; one that hangs is cut off at the timeout, and a stop does not wait for it."""
    hook = Hook(lambda n, handler: time.sleep(0.3 if n < 3 else 60))
    try:
        p = Pipeline(tmp_path, webhook(hook.url, ", timeout: 1s"), drain="300ms")
        p.send(0, 5)
        p.wait("alerts.webhook", lambda s: s["delivered"] == 3)
        seen = p.wait("alerts.webhook", lambda s: s["failed"] > 0)
        assert "timed out" in seen["detail"].lower()
        p.send(5, 20)
        begun = time.monotonic()
        p.finish()
        assert time.monotonic() - begun < 20  # the target would take a minute
    finally:
        hook.close()
    again = Hook(port=hook.port)
    try:
        p = Pipeline(tmp_path)
        p.wait("alerts.webhook", lambda s: s["lag"] == 0)
        p.finish()
    finally:
        again.close()
    assert [e["data"]["event_id"] for e in again.bodies()] == list(range(3, 25))


class Bad:
    """A target in a bad state of mind, which can be mended."""

    def __init__(self, state):
        self.hook = None if state == "down" else Hook({"slow": lambda n, handler: time.sleep(0.5),
                                                       "flapping": flapping(random.Random(SEED)),
                                                       "garbage": garbage}[state])
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = self.hook.port if self.hook else s.getsockname()[1]

    def mend(self):
        if self.hook:
            self.hook.answer = None
        else:
            self.hook = Hook(port=self.port)


def garbage(_, handler):
    handler.wfile.write(b"\x00\xff banana\r\n" * 1000)
    handler.close_connection = True
    return True


@pytest.mark.parametrize("state", ["slow", "down", "flapping", "garbage"])
def test_scoring_is_as_quick_as_without(tmp_path, state):
    """Two pipelines are asked in turns, one of them with a bad target; afterwards its backlog comes in order."""
    target = Bad(state)
    for name in ("without", "with"):
        (tmp_path / name).mkdir()
    plain = Pipeline(tmp_path / "without", "  alerts: {when: amount >= 0}\n")
    p = Pipeline(tmp_path / "with", webhook(f"http://127.0.0.1:{target.port}/hook"))
    try:
        took = {plain: [], p: []}
        for i in range(300):
            for each, times in took.items():
                begun = time.monotonic()
                each.send(i)
                times.append(time.monotonic() - begun)
        p.wait("alerts.webhook", lambda s: s["lag"] > 0 or state == "flapping")
        target.mend()
        p.wait("alerts.webhook", lambda s: s["lag"] == 0)
        p.finish()
        plain.finish()
    finally:
        if target.hook:
            target.hook.close()
    without, beside = (statistics.median(times) for times in took.values())
    print(f"{state}: {without * 1e3:.2f} ms without, {beside * 1e3:.2f} ms beside it")
    assert beside < 2 * without + 0.005
    ids = [e["id"] for e in target.hook.bodies()]
    steps = [i for n, i in enumerate(ids) if n == 0 or ids[n - 1] != i]
    assert steps == [f"shop:orders:0:{i}" for i in range(300)]


def test_retry_after(tmp_path):
    hook = Hook(lambda n, handler: handler.reply(429, b"", [("Retry-After", "2")]) if n == 0 else None)
    try:
        p = Pipeline(tmp_path, webhook(hook.url))
        p.send(0)
        begun = time.monotonic()
        p.wait("alerts.webhook", lambda s: s["delivered"] == 1)
        assert time.monotonic() - begun >= 1.5
        p.finish()
    finally:
        hook.close()


def test_gone(tmp_path):
    """410: nothing more is sent until the next start, nothing is lost."""
    hook = Hook(lambda n, handler: handler.reply(410) if n == 2 else None)
    try:
        p = Pipeline(tmp_path, webhook(hook.url))
        p.send(0, 6)
        seen = p.wait("alerts.webhook", lambda s: s["state"] == "stopped")
        assert seen["lag"] == 4 and "410" in seen["detail"]
        time.sleep(0.5)
        assert len(hook.requests) == 3
        p.finish()
        p = Pipeline(tmp_path)
        p.wait("alerts.webhook", lambda s: s["lag"] == 0)
        p.finish()
    finally:
        hook.close()
    assert [e["data"]["event_id"] for e in hook.bodies()] == [0, 1, 2, 2, 3, 4, 5]


def test_private_names(tmp_path, hook):
    """A name that leads to a private address is not connected to, whatever it is called."""
    host = socket.gethostname()
    try:
        private = socket.gethostbyname(host)
    except OSError:
        pytest.skip("this machine's own name has no address")
    if not private.startswith(("127.", "10.", "172.", "192.168.")):
        pytest.skip(f"this machine's own name leads to {private}, which is public")
    p = Pipeline(tmp_path, "  alerts: {to: {webhook: {url: \"http://%s:%d/\", %s}}}\n" % (host, hook.port, QUICK))
    p.send(0)
    seen = p.wait("alerts.webhook", lambda s: s["failed"] > 0)
    assert f"the address {private} of the target is private" in seen["detail"]
    assert hook.requests == []
    p.kill()


def test_certificates(tmp_path):
    """https: an unknown certificate is refused, one that `ca_file` names is taken."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate")
    pem = tmp_path / "server.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=hook", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem),
                    "-out", str(tmp_path / "ca.pem")], check=True, capture_output=True)
    pem.write_text(pem.read_text() + (tmp_path / "ca.pem").read_text())
    hook = Hook(certificate=pem)
    try:
        p = Pipeline(tmp_path, webhook(hook.url))
        p.send(0, 3)
        seen = p.wait("alerts.webhook", lambda s: s["state"] == "open")
        assert "certificate" in seen["detail"] and hook.requests == []
        p.finish()
        p = Pipeline(tmp_path, webhook(hook.url, ", ca_file: ca.pem"))
        p.wait("alerts.webhook", lambda s: s["lag"] == 0)
        p.finish()
    finally:
        hook.close()
    assert [e["data"]["event_id"] for e in hook.bodies()] == [0, 1, 2]


def test_removed_sink(tmp_path, hook):
    """The cursor of a sink that is no longer in the spec is given up: it holds nothing."""
    p = Pipeline(tmp_path, webhook(hook.url))
    p.send(0, 3)
    p.wait("alerts.webhook", lambda s: s["lag"] == 0)
    p.finish()
    p = Pipeline(tmp_path, "  alerts: {when: amount >= 0}\n")
    assert p.sinks() == []
    p.finish()
    assert "alerts.webhook is no longer in the spec: 0 records are not delivered" in p.said()


def test_killed(tmp_path, hook):
    """kill -9: every record comes at least once, the first time in order, always with the same id and bytes."""
    print("seed", SEED)
    rng = random.Random(SEED)
    outputs, sent = webhook(hook.url), 0
    for _ in range(KILLS // 2):
        p = Pipeline(tmp_path, outputs)
        n = rng.randrange(1, 30)
        p.send(sent, n)
        sent += n
        time.sleep(rng.random() * 0.3)
        p.kill()
    p = Pipeline(tmp_path, outputs)
    p.wait("alerts.webhook", lambda s: s["lag"] == 0)
    p.finish()
    firsts = {}
    for event in hook.bodies():
        assert firsts.setdefault(event["id"], event) == event
    assert list(firsts) == [f"shop:orders:0:{i}" for i in range(sent)]


# ---- files -----------------------------------------------------------------------------------------------------------

def lines_of(folder, stem, ending):
    finished = sorted(folder.glob(f"{stem}-*{ending}*"))
    assert not [f for f in finished if f.name.endswith(".tmp")]
    text = b"".join(gzip.decompress(f.read_bytes()) if f.suffix == ".gz" else f.read_bytes() for f in finished)
    growing = folder / f"{stem}{ending}"
    return (text + (growing.read_bytes() if growing.exists() else b"")).decode().splitlines(), finished


def test_file_killed(tmp_path):
    """Each record stands in the files once, in order, however often the process was killed."""
    print("seed", SEED)
    rng = random.Random(SEED + 1)
    outputs = ("  predictions: {to: {file: {path: all.ndjson, rotate_bytes: 4KB, gzip: true}}}\n"
               "  big: {when: amount > 20, to: {file: {path: big.csv, columns: [id, event_id, score]}}}\n")
    sent = 0
    for _ in range(KILLS):
        p = Pipeline(tmp_path, outputs)
        n = rng.randrange(1, 40)
        p.send(sent, n)
        sent += n
        time.sleep(rng.choice([0, 0.05, 1.2]))
        p.kill()
    p = Pipeline(tmp_path, outputs)
    p.wait("predictions.file", lambda s: s["lag"] == 0)
    p.finish()
    lines, finished = lines_of(tmp_path, "all", ".ndjson")
    assert numbers(map(json.loads, lines)) == list(range(sent))
    assert finished and all(f.suffix == ".gz" for f in finished)
    rows = list(csv.reader((tmp_path / "big.csv").read_text().splitlines()))
    assert rows[0] == ["id", "event_id", "score"]
    assert [int(r[1]) for r in rows[1:]] == list(range(20, sent)) and rows[1][2] == ""


def test_full_disk(tmp_path, hook):
    """A file whose disk is full waits; other sinks and scoring go on; it catches up when there is room."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)], capture_output=True,
                             check=False)
    if mounted.returncode != 0:
        pytest.skip("no right to mount a small file system")
    try:
        (small / "filler").write_bytes(b"x" * 150_000)
        p = Pipeline(tmp_path, "  predictions: {to: {file: {path: small/all.ndjson, %s}}}\n" % QUICK
                     + webhook(hook.url))
        p.send(0, 300)
        seen = p.wait("predictions.file", lambda s: s["state"] == "open")
        assert "o space" in seen["detail"] and seen["dead"] == 0
        p.wait("alerts.webhook", lambda s: s["lag"] == 0)
        (small / "filler").unlink()
        p.send(300, 3)
        p.wait("predictions.file", lambda s: s["lag"] == 0)
        p.finish()
        lines, _ = lines_of(small, "all", ".ndjson")
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)
    assert numbers(map(json.loads, lines)) == list(range(303))
    assert numbers([b["data"] for b in hook.bodies()]) == list(range(303))
