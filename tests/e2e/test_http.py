# SPDX-License-Identifier: Apache-2.0
"""test_http.py - the HTTP face of a running pipeline: every route, every refusal, tokens, TLS, slow and greedy clients,
requests that are sent again, also after a kill."""
import gzip
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from fraud_data import QUERN
from running import SPEC, Answer, Running, order

KIB = 1024
numbers = iter(range(10**9))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    r = Running(tmp_path_factory.mktemp("http"))
    yield r
    assert r.stop() == 0, r.log.read_text()


def fresh(amount="1.50", customer="C1"):
    return order(next(numbers), amount, customer)


# ---- events in -------------------------------------------------------------------------------------------------------

def test_one_event(server):
    a = server.post("/v1/streams/orders/events", fresh())
    assert a.status == 200 and a.headers["content-type"] == "application/json"
    position = a.json["position"]
    assert a.json["accepted"] == 1 and a.json["rejected"] == []
    assert position["topic"] == "orders" and position["next"] == position["first"] + 1


def test_array_and_lines_keep_their_order(server):
    events = [fresh() for _ in range(5)]
    a = server.post("/v1/streams/orders/score", events)
    b = server.post("/v1/streams/orders/score", "\n".join(map(json.dumps, events)) + "\n\n", "application/x-ndjson")
    for answer in (a, b):
        assert answer.status == 200
        assert [p["event_id"] for p in answer.json["predictions"]] == [e["order_id"] for e in events]
    assert b.json["position"]["first"] == a.json["position"]["next"]
    spent = [p["features"]["spent_1h"] for p in a.json["predictions"]]
    assert spent == sorted(spent)


def test_broken_events_do_not_fail_the_others(server):
    good, bad = fresh(), fresh()
    del bad["at"]
    a = server.post("/v1/streams/orders/events", [good, bad, 5, {**good, "amount": -1}])
    assert a.status == 200 and a.json["accepted"] == 1
    rejected = [(r["index"], r["reason"], r.get("field")) for r in a.json["rejected"]]
    assert rejected == [(1, "missing_field", "at"), (2, "not_an_object", None), (3, "out_of_range", "amount")]
    a = server.post("/v1/streams/orders/score", [bad, good])
    assert a.status == 200 and a.json["predictions"][0] is None and a.json["predictions"][1]["event_id"]
    assert [(r["index"], r["reason"]) for r in a.json["rejected"]] == [(0, "missing_field")]


def test_all_rejected(server):
    for route in ("events", "score"):
        a = server.post(f"/v1/streams/orders/{route}", {"order_id": "x"})
        assert a.status == 422 and a.code == "all_rejected"
        assert [r["index"] for r in a.json["rejected"]] == [0]
        assert a.json["position"]["topic"] == "orders"


def test_dead_letters_can_be_read(server):
    raw = b'{"order_id": "dead-one", "at": "no time"}'
    assert server.post("/v1/streams/orders/score", raw).status == 422
    letter = server.get("/v1/dlq?last=1").json["dead_letters"][0]
    assert letter["event"].encode() == raw and letter["reason"] == "bad_time" and letter["field"] == "at"


def test_dead_letters_are_sent_again_once(server):
    assert server.post("/v1/streams/orders/score", b'{"order_id": "again"}').status == 422
    letter = server.get("/v1/dlq?last=1").json["dead_letters"][0]
    one = f"/v1/dlq/replay?from={letter['offset']}&to={letter['offset'] + 1}"
    counts = {"selected": 1, "sent": 1, "sent_before": 0, "of_sinks": 0, "other_streams": 0}
    for _ in range(2):
        assert server.post(one + "&dry_run=true&stream=orders", "").json == counts
    assert server.post(one + "&reason=bad_json", "").json["selected"] == 0
    assert server.post(one + "&reason=missing_field&dry_run=false", "").json == counts
    assert server.post(one, "").json == {**counts, "sent": 0, "sent_before": 1}
    server.await_true(lambda: server.get("/v1/dlq?last=1").json["dead_letters"][0]["offset"] > letter["offset"])
    again = server.get("/v1/dlq?last=1").json["dead_letters"][0]
    assert again["event"] == letter["event"] and again["reason"] == "missing_field"
    for query, status, words in (("reason=missing_fild", 400, "did you mean 'missing_field'"),
                                 ("stream=order", 404, "did you mean 'orders'"), ("dry_run=yes", 400, "true or false"),
                                 ("from=x", 400, "whole number"), ("limit=1", 400, "unknown parameter")):
        a = server.post("/v1/dlq/replay?" + query, "")
        assert a.status == status and words in a.json["detail"], a.body
    a = server.post(one, "", origin="http://evil.example")
    assert a.status == 403 and a.code == "cross_origin"
    assert server.get("/v1/dlq/replay").headers["allow"] == "POST"


@pytest.mark.parametrize("body, code", [
    ("", "no_events"), ("[]", "no_events"), ("   ", "no_events"), ("{", "bad_json"), ("nonsense", "bad_json"),
    ("[{}", "bad_json"), ("[{},]", "bad_json"), ("[{}] x", "bad_json"), ('{"a":1} {"a":2}', "bad_json"),
])
def test_bodies_that_cannot_be_read(server, body, code):
    a = server.post("/v1/streams/orders/events", body)
    assert a.status == 400 and a.code == code


def test_names(server):
    a = server.post("/v1/streams/order/events", "{}")
    assert a.status == 404 and a.code == "unknown_stream" and "did you mean 'orders'" in a.json["detail"]
    a = server.post("/v1/stream/orders/events", "{}")
    assert a.status == 404 and a.code == "unknown_path" and "/v1/streams/{stream}/events" in a.json["detail"]
    a = server.get("/v1/predictions?output=larg")
    assert a.status == 404 and a.code == "unknown_output" and "did you mean 'large'" in a.json["detail"]
    a = server.get("/v1/predictions?limt=1")
    assert a.status == 400 and a.code == "unknown_parameter" and "did you mean 'limit'" in a.json["detail"]
    a = server.post("/v1/streams/returns/score", "{}")
    assert a.status == 400 and a.code == "not_scored"
    a = server.ask("DELETE", "/v1/predictions")
    assert a.status == 405 and a.headers["allow"] == "GET, HEAD" and a.code == "method_not_allowed"
    a = server.get("/v1/streams/orders/events")
    assert a.status == 405 and a.headers["allow"] == "POST"
    assert server.get("/nothing.js").status == 404
    assert server.get("/v1/streams/%zz/events").status == 404


def test_types_and_encodings(server):
    event = json.dumps(fresh()).encode()
    for type_ in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.shop+json"):
        assert server.post("/v1/streams/orders/events", event, type_).status == 200
    for type_ in ("application/x-www-form-urlencoded", "text/plain", "application/xml"):
        a = server.post("/v1/streams/orders/events", event, type_)
        assert a.status == 415 and a.code == "unknown_type" and "application/x-ndjson" in a.headers["accept-post"]
    a = server.post("/v1/streams/orders/events", gzip.compress(event), content_encoding="gzip")
    assert a.status == 200 and a.json["accepted"] == 1
    zstd = shutil.which("zstd")
    if zstd:
        packed = subprocess.run([zstd, "-q"], input=event, stdout=subprocess.PIPE, check=True).stdout
        assert server.post("/v1/streams/orders/events", packed, content_encoding="zstd").status == 200
    a = server.post("/v1/streams/orders/events", event, content_encoding="br")
    assert a.status == 415 and a.headers["accept-encoding"] == "gzip, zstd"
    assert server.post("/v1/streams/orders/events", event, content_encoding="gzip").status == 400
    assert server.post("/v1/streams/orders/events", gzip.compress(event)[:-5], content_encoding="gzip").status == 400
    a = server.post("/v1/streams/orders/events", gzip.compress(b" " * (5 * KIB * KIB)), content_encoding="gzip")
    assert a.status == 413


def test_cloudevents(server):
    event = fresh()
    ce = {"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "order", "partitionkey": "C1", "data": event}
    a = server.post("/v1/streams/orders/score", ce, "application/cloudevents+json")
    assert a.status == 200 and a.json["predictions"][0]["event_id"] == event["order_id"]
    a = server.post("/v1/streams/orders/score", [ce, {**ce, "data": fresh()}], "application/cloudevents-batch+json")
    assert a.status == 200 and len(a.json["predictions"]) == 2
    binary = {"ce_specversion": "1.0", "ce_id": "a%20b", "ce_source": "/shop", "ce_type": "order"}
    a = server.post("/v1/streams/orders/score", fresh(), **binary)
    assert a.status == 200 and len(a.json["predictions"]) == 1
    headers = log_headers(server, a.json["position"]["first"])
    assert headers["ce_id"] == "a b" and headers["ce_source"] == "/shop"
    assert headers["content-type"] == "application/json"
    del binary["ce_type"]
    a = server.post("/v1/streams/orders/events", fresh(), **binary)
    assert a.status == 400 and a.code == "bad_cloudevent" and "no 'type'" in a.json["detail"]
    a = server.post("/v1/streams/orders/events", {**ce, "specversion": "0.3"}, "application/cloudevents+json")
    assert a.status == 400 and a.code == "bad_cloudevent"
    a = server.post("/v1/streams/orders/events", [ce], "application/cloudevents+json")
    assert a.status == 400 and a.code == "bad_cloudevent"


ENVELOPES = """\
quern: 1
name: shop
log: local:./data
storage: {segment: 32MiB, durability: none}
streams:
  orders:
    id: event_id
    time: at
    envelope: cloudevents
    fields: {event_id: {type: string, from: ce.id}, at: {type: timestamp, from: ce.time}, amount: decimal(2)}
  rows:
    id: id
    time: at
    envelope: debezium
    fields: {id: int64, at: {type: timestamp, from: source.ts_ms, unit: ms}}
main: orders
outputs:
  predictions: {include: [event]}
"""


def test_envelopes(tmp_path):
    """Streams with an envelope take it over HTTP, too: attributes are fields in each mode, a delete is no refusal."""
    server = Running(tmp_path, ENVELOPES)
    ce = {"specversion": "1.0", "id": "a b", "source": "/s", "type": "t", "time": "2026-05-01T10:00:00Z",
          "data": {"amount": 1}}
    binary = {"ce_" + k: v.replace(" ", "%20") for k, v in ce.items() if k != "data"}
    score = "/v1/streams/orders/score"
    answers = [server.post(score, ce, "application/cloudevents+json"), server.post(score, ce),
               server.post(score, ce["data"], **binary)]
    for a in answers:
        event = a.json["predictions"][0]["event"]
        assert event == {"event_id": "a b", "at": "2026-05-01T10:00:00.000000Z", "amount": 1.0}
    a = server.post("/v1/streams/orders/events", ce["data"])
    assert a.status == 422 and a.json["rejected"][0]["reason"] == "bad_envelope"
    change = {"op": "d", "before": {"id": 1}, "after": None, "source": {"ts_ms": 5}}
    a = server.post("/v1/streams/rows/events", [change, {**change, "op": "c", "after": {"id": 1}}, {"op": "c"}])
    assert a.status == 200 and a.json["accepted"] == 2
    assert [(r["index"], r["reason"]) for r in a.json["rejected"]] == [(2, "bad_envelope")]
    assert server.post("/v1/streams/rows/events", change).status == 200
    assert server.stop() == 0


def log_headers(server, offset):
    done = subprocess.run([str(QUERN), "log", "data", "--print", "orders", "--from", str(offset), "--limit", "1"],
                          cwd=server.folder, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout).get("headers", []))


def test_trace_context_travels(server):
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    a = server.post("/v1/streams/orders/events", fresh(), traceparent=parent, tracestate="a=b")
    headers = log_headers(server, a.json["position"]["first"])
    assert headers["traceparent"] == parent and headers["tracestate"] == "a=b"
    a = server.post("/v1/streams/orders/events", fresh(), traceparent="00-zz")
    assert not log_headers(server, a.json["position"]["first"])


# ---- records out -----------------------------------------------------------------------------------------------------

def test_pages_are_complete_and_in_order(server):
    sent = [fresh() for _ in range(25)]
    server.post("/v1/streams/orders/score", sent)
    ids, cursor = [], None
    while True:
        page = server.get("/v1/predictions?limit=7" + (f"&after={cursor}" if cursor else "")).json
        cursor = page["next"]
        ids += [p["event_id"] for p in page["predictions"]]
        if not page["predictions"]:
            break
    assert ids[-25:] == [e["order_id"] for e in sent]
    assert server.get(f"/v1/predictions?after={cursor}").json == {"predictions": [], "next": cursor}
    last = server.get("/v1/predictions?last=3").json
    assert [p["event_id"] for p in last["predictions"]] == [e["order_id"] for e in sent[-3:]]
    a = server.get(f"/v1/predictions?after={int(cursor) + 1}")
    assert a.status == 404 and a.code == "unknown_cursor"
    a = server.get("/v1/predictions", last_event_id="x")
    assert a.status == 400 and a.code == "bad_parameter"


def test_records_as_lines(server):
    server.post("/v1/streams/orders/score", fresh())
    a = server.get("/v1/predictions?last=2", accept="application/x-ndjson")
    assert a.headers["content-type"] == "application/x-ndjson" and a.body.endswith(b"\n")
    records = server.get("/v1/predictions?last=2").json["predictions"]
    assert [json.loads(line) for line in a.body.splitlines()] == records
    assert a.headers["quern-next"] == server.get("/v1/predictions?last=0").json["next"]


def test_outputs_have_their_own_records(server):
    server.post("/v1/streams/orders/score", [fresh("500.00"), fresh("5.00")])
    large = server.get("/v1/predictions?output=large&last=1").json["predictions"]
    assert len(large) == 1 and large[0]["event_id"] == f"o{next(numbers) - 2}"


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=", "after=-1", "after=x", "last=1001",
                                   "after=99999999999999999999", "limit=%", "output=%ff", "=", "x"])
def test_bad_parameters(server, query):
    a = server.get("/v1/predictions?" + query)
    assert a.status == 400 and a.code in ("bad_parameter", "unknown_parameter")


def read_messages(server, path, count, **headers):
    """The first messages of a stream, as dicts of their fields."""
    c = server.connect()
    c.request("GET", path, headers={"accept": "text/event-stream", **headers})
    r = c.getresponse()
    assert r.status == 200 and r.getheader("content-type") == "text/event-stream"
    messages, fields = [], {}
    while len(messages) < count:
        line = r.readline().decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            messages.append(fields)
            fields = {}
    c.close()
    return messages


def test_stream_of_predictions(server):
    server.post("/v1/streams/orders/score", [fresh() for _ in range(3)])
    end = int(server.get("/v1/predictions?last=0").json["next"])
    old = read_messages(server, f"/v1/predictions?after={end - 3}", 2)
    assert [int(m["id"]) for m in old] == [end - 2, end - 1]
    again = read_messages(server, "/v1/predictions", 1, **{"last-event-id": old[-1]["id"]})
    assert int(again[0]["id"]) == end
    got = []
    t = threading.Thread(target=lambda: got.extend(read_messages(server, "/v1/predictions", 2)))
    t.start()
    sent = []
    while t.is_alive() and len(sent) < 500:  # a stream begins with what comes after it was opened
        sent.append(fresh())
        server.post("/v1/streams/orders/score", sent[-1])
        t.join(0.02)
    t.join(10)
    ids = [json.loads(m["data"])["event_id"] for m in got]
    assert len(ids) == 2 and "".join(ids) in "".join(e["order_id"] for e in sent)


def test_features(server):
    event = fresh("20.00", "Müller & Söhne")
    server.post("/v1/streams/orders/score", event)
    a = server.get("/v1/features/customer?key=M%C3%BCller%20%26%20S%C3%B6hne")
    assert a.status == 200 and a.json["key"] == {"customer": "Müller & Söhne"}
    assert a.json["features"]["orders_1h"] == 1 and a.json["features"]["spent_1h"] == 20
    assert server.get("/v1/features/customer?key=nobody").status == 404
    a = server.get("/v1/features/custome?key=C1")
    assert a.status == 404 and "customer" in a.json["detail"]
    for query in ("", "?key=a" * 1 + "&key=b" * 9):
        assert server.get("/v1/features/customer" + query).code == "bad_parameter"


def test_status_and_live(server):
    status = server.get("/v1/status").json
    assert status["pipeline"] == "shop" and status["phase"] == "running"
    messages = read_messages(server, "/v1/live", 2)
    assert all(json.loads(m["data"])["pipeline"] == "shop" for m in messages)


def test_probes(server):
    for path in ("/livez", "/readyz", "/startupz"):
        a = server.get(path)
        assert a.status == 200 and a.json == {"phase": "running"}


def test_metrics(server, tmp_path):
    a = server.get("/metrics")
    assert a.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = a.body.decode().splitlines()
    taken = [line for line in lines if line.startswith('quern_http_requests_total{route="events",code="200"}')]
    assert taken and float(taken[0].split()[-1]) > 0
    a = server.get("/metrics", accept="application/openmetrics-text")
    assert a.headers["content-type"].startswith("application/openmetrics-text") and a.body.endswith(b"# EOF\n")


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (package prometheus)")
def test_metrics_as_prometheus_reads_them(server):
    done = subprocess.run(["promtool", "check", "metrics"], input=server.get("/metrics").body, capture_output=True)
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()


def test_dashboard(server):
    a = server.get("/")
    assert a.status == 200 and a.headers["content-type"] == "text/html; charset=utf-8"
    assert a.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in a.headers["content-security-policy"]
    script = server.get("/dashboard.js", accept_encoding="gzip, br")
    assert script.headers["content-encoding"] == "gzip" and script.headers["content-type"].startswith("text/javascript")
    plain = server.get("/dashboard.js")
    assert gzip.decompress(script.body) == plain.body and "content-encoding" not in plain.headers
    a = server.get("/dashboard.js", if_none_match=plain.headers["etag"])
    assert a.status == 304 and a.body == b""


def test_openapi_names_what_is_there(server):
    document = server.get("/openapi.json").json
    assert document["openapi"] == "3.0.3"
    streams = document["paths"]["/v1/streams/{stream}/events"]["post"]["parameters"][0]["schema"]["enum"]
    assert streams == ["orders", "returns"]
    for path, operations in document["paths"].items():
        for method in operations:
            if path == "/v1/live":  # never ends
                continue
            body = "{}" if method == "post" else None
            a = server.ask(method.upper(), path.replace("{", "x").replace("}", "x"), body)
            assert a.status != 405 and a.status < 500, path


def test_head_is_get_without_a_body(server):
    for path in ("/v1/status", "/", "/metrics", "/v1/predictions", "/readyz"):
        a = server.ask("HEAD", path)
        assert a.status == 200 and a.body == b"" and int(a.headers["content-length"]) > 0
    assert server.ask("HEAD", "/v1/live").status == 200


# ---- connections -----------------------------------------------------------------------------------------------------

def test_a_connection_is_kept(server):
    c = server.connect()
    for _ in range(20):
        assert server.ask("GET", "/readyz", connection=c).status == 200
        assert server.ask("POST", "/v1/streams/orders/score", json.dumps(fresh()), c,
                          content_type="application/json").status == 200
        assert server.ask("GET", "/none/such", connection=c).status == 404
        assert server.ask("POST", "/v1/streams/none/score", "x" * 100000, c).status == 404
    c.close()


def test_requests_behind_each_other_in_one_packet(server):
    with socket.create_connection(("127.0.0.1", server.port), 30) as s:
        body = json.dumps(fresh()).encode()
        one = (b"POST /v1/streams/orders/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        s.sendall(one * 3 + b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while chunk := s.recv(65536):
            received += chunk
        assert received.count(b"HTTP/1.1 200 OK") == 4 and received.count(b'"predictions":[{') == 3


def test_chunked_bodies(server):
    c = server.connect()
    c.request("POST", "/v1/streams/orders/events", iter([b"[", json.dumps(fresh()).encode(), b"]"]),
              {"content-type": "application/json"}, encode_chunked=True)
    assert Answer(c.getresponse()).json["accepted"] == 1
    c.close()


def test_huge_bodies(server):
    huge = b"[" + b"1," * (2 * KIB * KIB + 100) + b"1]"
    a = server.post("/v1/streams/orders/events", huge)
    assert a.status == 413 and a.code == "too_large"
    c = server.connect()
    c.request("POST", "/v1/streams/orders/events", iter([huge] * 2), {"content-type": "application/json"},
              encode_chunked=True)
    assert Answer(c.getresponse()).status == 413
    c.close()
    with socket.create_connection(("127.0.0.1", server.port), 30) as s:  # a client that asks first is told at once
        s.sendall(b"POST /v1/streams/orders/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n"
                  b"Expect: 100-continue\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 413")


def test_huge_headers(server):
    with socket.create_connection(("127.0.0.1", server.port), 30) as s:
        s.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100000 + b"\r\n\r\n")
        received = s.recv(100)
        assert not received or received.split()[1] in (b"413", b"431", b"400")
    assert server.get("/readyz").status == 200


def test_garbage(server):
    absolute = b"GET http://127.0.0.1/readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    negative = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n"
    for request, status in ((b"\0\1\2\3\r\n\r\n", None), (b"GET\r\n\r\n", None), (b"GET / HTTP/9.9\r\n\r\n", b"505"),
                            (negative, b"400"), (absolute, b"200")):
        with socket.create_connection(("127.0.0.1", server.port), 30) as s:
            s.sendall(request)
            assert status is None or s.recv(100).split()[1] == status
    assert server.get("/readyz").status == 200


def test_slow_clients_are_cut_off(tmp_path):
    r = Running(tmp_path, SPEC + "serve: {timeout: 1s}\n")
    head = b"POST /v1/streams/orders/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    clients = [socket.create_connection(("127.0.0.1", r.port), 60) for _ in range(3)]
    end = time.monotonic() + 60
    clients[1].sendall(head)  # a body that drips; clients[0] drips its first line, clients[2] says nothing
    cut = set()
    while len(cut) < 3:
        assert time.monotonic() < end, cut
        time.sleep(0.2)
        for i, s in enumerate(clients):
            try:
                if i < 2:
                    s.send(b"G")
                s.settimeout(0.01)
                if s.recv(1000) == b"":
                    cut.add(i)
            except (TimeoutError, BlockingIOError):
                pass
            except OSError:
                cut.add(i)
    assert r.get("/readyz").status == 200
    assert r.stop() == 0


def test_clients_that_leave(tmp_path):
    """Those that break off in the middle of a request hold no connection, long before the timeout."""
    r = Running(tmp_path, SPEC + "serve: {timeout: 10m}\n")

    def descriptors():
        return len(os.listdir(f"/proc/{r.process.pid}/fd"))

    before = descriptors()
    head = b"POST /v1/streams/orders/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
    for text in [head, head[:40], b"GET /v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n"] * 20:
        with socket.create_connection(("127.0.0.1", r.port), 60) as s:
            s.sendall(text)
    r.await_true(lambda: descriptors() <= before)
    with socket.create_connection(("127.0.0.1", r.port), 60) as s:  # it has asked, and waits for the answer
        s.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        assert s.recv(12) == b"HTTP/1.1 200"
    r.await_true(lambda: descriptors() <= before)
    assert r.stop() == 0


# ---- who may ---------------------------------------------------------------------------------------------------------

TOKENS = {"READ_TOKEN": "read-read-read-read", "WRITE_TOKEN": "write-write-write-w",
          "ADMIN_TOKEN": "admin-admin-admin-a"}
TOKEN_SPEC = SPEC + """\
serve:
  tokens: {read: ["${READ_TOKEN}"], write: ["${WRITE_TOKEN}"], admin: ["${ADMIN_TOKEN}"]}
"""


def bearer(name):
    return {"authorization": "Bearer " + TOKENS[name]}


def test_tokens(tmp_path):
    r = Running(tmp_path, TOKEN_SPEC, env={**os.environ, **TOKENS})
    for path in ("/livez", "/readyz", "/startupz", "/", "/dashboard.js", "/openapi.json"):
        assert r.get(path).status == 200
    for path in ("/v1/status", "/v1/predictions", "/v1/dlq", "/metrics", "/v1/live"):
        a = r.get(path)
        assert a.status == 401 and a.code == "no_token" and a.headers["www-authenticate"] == "Bearer"
        assert r.get(path, authorization="Bearer " + TOKENS["READ_TOKEN"][:-1] + "x").status == 401
        assert r.get(path, authorization="Basic " + TOKENS["READ_TOKEN"]).status == 401
    for name in TOKENS:
        assert r.get("/v1/status", **bearer(name)).status == 200
    a = r.post("/v1/streams/orders/events", fresh(), **bearer("READ_TOKEN"))
    assert a.status == 403 and a.code == "wrong_role"
    assert r.post("/v1/streams/orders/events", fresh()).status == 401
    for name in ("WRITE_TOKEN", "ADMIN_TOKEN"):
        assert r.post("/v1/streams/orders/events", fresh(), **bearer(name)).status == 200
    for name, status in (("READ_TOKEN", 403), ("WRITE_TOKEN", 403), ("ADMIN_TOKEN", 200)):
        assert r.post("/v1/dlq/replay", "", **bearer(name)).status == status
    assert r.stop() == 0
    said = r.log.read_text()
    assert not any(token in said for token in TOKENS.values())


def test_pages_of_other_sites(server):
    event = fresh()
    here = f"127.0.0.1:{server.port}"
    assert server.post("/v1/streams/orders/events", event, origin=f"http://{here}").status == 200
    for origin in ("http://evil.example", "null", f"http://{here}.evil.example"):
        a = server.post("/v1/streams/orders/events", event, origin=origin)
        assert a.status == 403 and a.code == "cross_origin"
    a = server.get("/v1/status", host="evil.example:80")
    assert a.status == 421 and a.code == "host_not_allowed"
    for host in ("localhost", "LOCALHOST:1", "shop.localhost:5", "127.0.0.1", "[::1]:8"):
        assert server.get("/v1/status", host=host).status == 200
    assert not any(h.startswith("access-control") for h in server.get("/v1/status").headers)


def run_once(folder, spec, *options, env=None):
    (folder / "spec.yaml").write_text(spec)
    return subprocess.run([str(QUERN), "run", "spec.yaml", *options], cwd=folder, env=env, capture_output=True,
                          text=True, timeout=60, check=False)


def test_no_listening_beyond_this_machine_by_accident(tmp_path):
    done = run_once(tmp_path, SPEC, "--http", "0.0.0.0:0")
    assert done.returncode != 0 and "'tokens' and 'tls'" in done.stderr
    assert "running" not in done.stderr and not (tmp_path / "data").exists()  # it is said before anything begins
    done = run_once(tmp_path, TOKEN_SPEC, "--http", "0.0.0.0:0", env={**os.environ, **TOKENS})
    assert done.returncode != 0 and "'tokens' and 'tls'" in done.stderr
    done = run_once(tmp_path, SPEC, "--http", "example.com:80")
    assert done.returncode != 0 and "no number of this machine" in done.stderr


def test_an_address_in_use(tmp_path, server):
    done = run_once(tmp_path, SPEC, "--http", f"127.0.0.1:{server.port}")
    assert done.returncode != 0 and f"port {server.port} cannot be listened on" in done.stderr


def make_certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1"], cwd=folder, check=True, capture_output=True)
    return ssl.create_default_context(cafile=folder / "cert.pem")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_tls(tmp_path):
    trust = make_certificate(tmp_path)
    spec = TOKEN_SPEC + "  tls: {cert: cert.pem, key: key.pem}\n"
    r = Running(tmp_path, spec, env={**os.environ, **TOKENS}, tls=trust)
    assert r.get("/v1/status", **bearer("READ_TOKEN")).status == 200
    a = r.post("/v1/streams/orders/score", [fresh() for _ in range(500)], **bearer("WRITE_TOKEN"))
    assert a.status == 200 and len(a.json["predictions"]) == 500
    with pytest.raises(ssl.SSLCertVerificationError):
        r.tls = ssl.create_default_context()
        r.get("/readyz")
    r.tls = trust
    done = subprocess.run(["openssl", "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect",
                           f"127.0.0.1:{r.port}"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode != 0  # too old
    assert r.stop() == 0
    (tmp_path / "key.pem").write_text("nonsense")
    done = run_once(tmp_path, spec, "--http", "127.0.0.1:0", env={**os.environ, **TOKENS})
    assert done.returncode != 0 and "key.pem' is no private key" in done.stderr


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_a_new_certificate_on_sighup(tmp_path):
    before = make_certificate(tmp_path)
    spec = TOKEN_SPEC + "  tls: {cert: cert.pem, key: key.pem}\n"
    r = Running(tmp_path, spec, env={**os.environ, **TOKENS}, tls=before)

    def hang_up(until):
        seen = len(r.log.read_text())
        r.process.send_signal(signal.SIGHUP)
        r.await_true(lambda: until in r.log.read_text()[seen:])

    own_key = (tmp_path / "key.pem").read_text()
    after = make_certificate(tmp_path)
    new_key = (tmp_path / "key.pem").read_text()
    (tmp_path / "key.pem").write_text(own_key)  # of the certificate before
    hang_up("the old spec goes on")
    assert "is not that of the first certificate" in r.log.read_text()
    assert r.get("/readyz").status == 200
    (tmp_path / "key.pem").write_text(new_key)
    hang_up("the new spec runs")
    with pytest.raises(ssl.SSLCertVerificationError):
        r.get("/readyz")
    r.tls = after
    r.await_true(lambda: r.get("/readyz").status == 200)
    assert r.stop() == 0


def test_not_ready_and_still_answering(tmp_path):
    r = Running(tmp_path, options=("--drain-delay", "1h"))
    r.process.terminate()
    r.await_true(lambda: r.get("/readyz").status == 503)
    assert r.get("/livez").status == 200
    a = r.post("/v1/streams/orders/score", fresh())
    assert a.status == 200 and len(a.json["predictions"]) == 1
    r.process.terminate()  # enough
    assert r.process.wait(60) != 0
    r.options = ("--drain-delay", "1ms")
    r.start()
    assert int(r.get("/v1/predictions?last=0").json["next"]) == 1
    assert r.stop() == 0


# ---- again -----------------------------------------------------------------------------------------------------------

def test_the_same_request_again(server):
    events = [fresh(), {"order_id": "no"}, fresh()]
    for route in ("events", "score"):
        first = server.post(f"/v1/streams/orders/{route}", events, idempotency_key=f"again-{route}")
        again = server.post(f"/v1/streams/orders/{route}", events, idempotency_key=f"again-{route}")
        assert first.status == 200 and again.status == 200 and first.body == again.body
        a = server.post(f"/v1/streams/orders/{route}", [fresh()], idempotency_key=f"again-{route}")
        assert a.status == 409 and a.code == "other_body"
    other = server.post("/v1/streams/orders/events", events, idempotency_key="another")
    assert other.json["position"] != first.json["position"]
    for key in ("", "a b", "x" * 256, "é"):
        a = server.post("/v1/streams/orders/events", events, idempotency_key=key.encode())
        assert a.status == 400 and a.code == "bad_idempotency_key"


def test_a_refused_request_leaves_its_key_free(server):
    assert server.post("/v1/streams/orders/events", "[{}", idempotency_key="free").status == 400
    assert server.post("/v1/streams/orders/events", fresh(), idempotency_key="free").status == 200


def test_the_same_request_after_a_kill(tmp_path):
    r = Running(tmp_path)
    sent = [[fresh() for _ in range(n)] + [{"order_id": "no"}] for n in (1, 3, 40)]
    answers = [r.post("/v1/streams/orders/score", events, idempotency_key=f"k{i}") for i, events in enumerate(sent)]
    alone = r.post("/v1/streams/orders/events", sent[0], idempotency_key="alone")
    assert all(a.status == 200 for a in answers)
    r.kill()
    r.start()
    for i, events in enumerate(sent):
        again = r.post("/v1/streams/orders/score", events, idempotency_key=f"k{i}")
        assert again.status == 200 and again.body == answers[i].body
    assert r.post("/v1/streams/orders/events", sent[0], idempotency_key="alone").body == alone.body
    assert r.post("/v1/streams/orders/score", [fresh()], idempotency_key="k0").status == 409
    total = r.get("/v1/predictions?last=0").json["next"]
    assert int(total) == 45
    assert r.stop() == 0


def test_the_same_key_at_the_same_time(server):
    events = [fresh() for _ in range(50)]
    answers = []

    def send():
        for _ in range(100):
            a = server.post("/v1/streams/orders/score", events, idempotency_key="at-once")
            if a.status != 409:
                break
            assert a.code == "in_progress" and a.headers["retry-after"] == "1"
        answers.append(a.body)
    threads = [threading.Thread(target=send) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(set(answers)) == 1 and len(answers) == 8


# ---- many, and the end -----------------------------------------------------------------------------------------------

def test_many_clients(server):
    failures, ids = [], []

    def client(number):
        c = server.connect()
        for i in range(30):
            events = [fresh(customer=f"C{number}") for _ in range(i % 4 + 1)]
            a = server.ask("POST", "/v1/streams/orders/score", json.dumps(events), c, content_type="application/json")
            found = [p and p["event_id"] for p in a.json.get("predictions", [])]
            if a.status != 200 or found != [e["order_id"] for e in events]:
                failures.append(a.body)
            else:
                ids.extend(p["id"] for p in a.json["predictions"])
        c.close()
    threads = [threading.Thread(target=client, args=(n,)) for n in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures and len(set(ids)) == len(ids)


def test_stopping_with_streams_and_requests_under_way(tmp_path):
    r = Running(tmp_path, options=("--drain", "20s", "--log-format", "text", "--log-level", "debug"))
    streams = []
    for path in ("/v1/live", "/v1/predictions"):
        c = r.connect()
        c.request("GET", path, headers={"accept": "text/event-stream"})
        streams.append((c, c.getresponse()))
    statuses, stop = [], threading.Event()

    def client():
        while not stop.is_set():
            try:
                statuses.append(r.post("/v1/streams/orders/score", [fresh() for _ in range(20)]).status)
            except OSError:
                break
    threads = [threading.Thread(target=client) for _ in range(4)]
    for t in threads:
        t.start()
    r.await_true(lambda: len(statuses) > 20)
    began = time.monotonic()
    assert r.stop() == 0
    assert time.monotonic() - began < 20
    stop.set()
    for t in threads:
        t.join()
    for c, response in streams:
        response.read()  # ends
        c.close()
    assert set(statuses) <= {200, 503} and 200 in statuses
    answered = statuses.count(200) * 20
    r.start()
    assert int(r.get("/v1/predictions?last=0").json["next"]) >= answered
    assert r.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root may mount a small file system")
def test_a_full_disk_and_space_again(tmp_path):
    (tmp_path / "data").mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", tmp_path / "data"], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.decode().strip()}")
    r = None
    try:
        r = Running(tmp_path, SPEC.replace("32MiB}", "32MiB, durability: none}"))  # of memory: it is quick
        filler = tmp_path / "data" / "filler"
        with filler.open("wb", buffering=0) as f, pytest.raises(OSError):
            while True:
                f.write(bytes(1 << 20))
        answers = []

        def is_full():  # 429 while the engine is behind
            batch = [fresh() | {"customer": "x" * 2000} for _ in range(500)]
            answers.append(r.post("/v1/streams/orders/events", batch))
            return answers[-1].status == 507
        r.await_true(is_full)
        accepted = 500 * sum(a.status == 200 for a in answers)
        assert {a.status for a in answers} <= {200, 429, 507}
        assert answers[-1].code == "disk_full" and int(answers[-1].headers["retry-after"]) > 0
        assert accepted > 0
        assert r.get("/v1/predictions?limit=1").status == 200  # what is there can be read
        assert r.get("/livez").status == 200 and r.get("/v1/status").status == 200
        filler.unlink()
        r.await_true(lambda: r.post("/v1/streams/orders/score", fresh()).status == 200)
        r.await_true(lambda: r.get("/readyz").status == 200)
        assert r.stop() == 0
        r.start()
        assert int(r.get("/v1/predictions?last=0").json["next"]) == accepted + 1
        assert r.stop() == 0
    finally:
        if r and r.process.poll() is None:
            r.kill()
        subprocess.run(["umount", tmp_path / "data"], check=True)
