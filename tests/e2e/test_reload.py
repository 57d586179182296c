# SPDX-License-Identifier: Apache-2.0
"""SIGHUP to a running pipeline: a good spec takes over with its features rebuilt, any other is refused."""
import json
import signal
import time

import pytest

from running import SPEC, Running, order


@pytest.fixture
def server(tmp_path):
    r = Running(tmp_path, options=("--drain", "20s", "--log-format", "json", "--log-level", "debug"))
    yield r
    assert r.stop() == 0, r.log.read_text()


def hang_up(server, spec, until):
    """Writes another spec, asks for it, and waits for a line of the program's log."""
    seen = len(server.log.read_text())
    (server.folder / "spec.yaml").write_text(spec)
    server.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 30
    while until not in server.log.read_text()[seen:]:
        assert server.process.poll() is None and time.monotonic() < end, server.log.read_text()
        time.sleep(0.02)
    server.await_true(lambda: server.get("/readyz").status == 200)


def spec_of(server):
    return server.get("/v1/status").json["spec"]


def score(server, event):
    answer = server.post("/v1/streams/orders/score", event)
    assert answer.status == 200, answer.body
    return answer.json["predictions"][0]["features"]


def test_a_new_feature_is_rebuilt_from_the_log(server):
    port = server.port
    assert [score(server, order(i))["orders_1h"] for i in range(3)] == [1, 2, 3]
    hang_up(server, SPEC.replace("  spent_1h:", "  most_1h: max(amount) by customer over 1h\n  spent_1h:"),
            "the new spec runs")
    assert server.port == port
    features = score(server, order(3, amount="0.50"))
    assert features["orders_1h"] == 4 and features["spent_1h"] == 5.0
    assert features["most_1h"] == 1.5  # of the events before the feature was there
    # what was answered before stays as it was
    records = server.get("/v1/predictions?limit=100").json["predictions"]
    assert [r["features"].get("most_1h") for r in records] == [None, None, None, 1.5]


def test_a_spec_with_mistakes_is_refused(server):
    before = spec_of(server)
    score(server, order(0))
    hang_up(server, SPEC.replace("count()", "cuont()"), "the old spec goes on")
    assert spec_of(server) == before
    assert "did you mean" in server.log.read_text()
    assert score(server, order(1))["orders_1h"] == 2


def test_another_log_is_refused(server):
    before = spec_of(server)
    hang_up(server, SPEC.replace("local:./data", "local:./other"), "another log needs another process")
    assert spec_of(server) == before
    assert score(server, order(0))["orders_1h"] == 1


def test_again_and_again(server):
    for i in range(9):
        assert score(server, order(i))["orders_1h"] == i + 1
        hang_up(server, SPEC.replace("amount > 100", f"amount > {200 + i}"), "the new spec runs")
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    assert not [x for x in lines if x["level"] == "error"], lines
