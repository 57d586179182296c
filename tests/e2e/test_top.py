# SPDX-License-Identifier: Apache-2.0
"""test_top.py - `quern top` in front of a stand-in for the server (dashboard_mock.py): once, as lines, and live on a
terminal that changes its size and a server that goes away."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

import dashboard_mock

QUERN = Path(os.environ["QUERN_BUILD"]) / "quern"
PATIENCE_S = 30


@pytest.fixture
def serve():
    started = []

    def start(scene="running", port=0, **words):
        server = dashboard_mock.Server(port, scene, **({"moves": False, "behind": 90} | words))
        server.with_past = False
        started.append(server)
        return server
    yield start
    for server in started:
        if not server.stopped.is_set():
            server.stop()


def top(*words, code=0, **environment):
    done = subprocess.run([str(QUERN), "top", *map(str, words)], stdin=subprocess.DEVNULL, text=True, encoding="utf-8",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S,
                          env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment})
    assert done.returncode == code, done.stderr
    return done


def test_once_shows_the_pipeline(serve):
    server = serve()
    s = server.pipeline.status()
    stream = s["streams"][0]
    for address in (f"http://127.0.0.1:{server.server_port}/", f"127.0.0.1:{server.server_port}"):
        text = top(address, "--once").stdout
        assert "\033" not in text
        assert text.startswith(f"card-fraud  running  up 1 min 30 s  spec {s['spec'][:8]}  quern 0.2.0")
        assert (f"{stream['read']:,} read = {stream['scored']:,} scored + {stream['late']} late + "
                f"{stream['dead']} dead + 0 shed") in text
        assert f"throughput    {stream['rate']:,.0f}/s" in text
        assert f"p99 {s['age_ms']['p99']:.2f} ms" in text
        assert re.search(rf"^alerts .* {s['outputs'][1]['records']}   score > 0.9$", text, re.M)
        assert "fraud: xgboost, 100 trees, avx512" in text and "14,870 keys" in text
    assert json.loads(top(address, "--json").stdout) == s


@pytest.mark.parametrize("scene", sorted(set(dashboard_mock.SCENES) - {"token"}))
def test_every_scene_has_its_words(serve, scene):
    text = top(f"127.0.0.1:{serve(scene).server_port}", "--once").stdout
    said = {"starting": "replaying the log", "full": "no space left on device", "failed": "input/output error",
            "sink-down": "connect to 127.0.0.1:9 refused", "many": "logins", "bare": "p99 -"}
    assert said.get(scene, "p99") in text
    assert not re.search(r"\b(nan|inf|null)\b", text)


def test_what_is_wrong_is_said(serve, tmp_path):
    server = serve("token")
    url = f"127.0.0.1:{server.server_port}"
    assert "--token-file" in top(url, "--once", code=1).stderr
    assert "401" in top(url, "--once", code=1, QUERN_TOKEN="wrong").stderr
    assert "card-fraud" in top(url, "--once", QUERN_TOKEN=dashboard_mock.TOKEN).stdout
    secret = tmp_path / "token"
    secret.write_text(dashboard_mock.TOKEN + "\n")
    assert "card-fraud" in top(url, "--once", "--token-file", secret, QUERN_TOKEN="wrong").stdout
    secret.write_text("two words\n")
    assert "more than one word" in top(url, "--once", "--token-file", secret, code=2).stderr
    secret.write_text("\n")
    assert "is empty" in top(url, "--once", "--token-file", secret, code=2).stderr
    assert "no such file" in top(url, "--once", "--token-file", tmp_path / "nothing", code=1).stderr.lower()
    server.stop()
    assert "does not answer" in top(url, "--once", code=1).stderr
    assert "is no address" in top("ftp://127.0.0.1:1", "--once", code=2).stderr
    assert "404" in top(f"127.0.0.1:{serve().server_port}/not/here", "--once", code=1).stderr


def test_a_pipe_gets_a_line_a_second(serve):
    server = serve(moves=True)
    process = subprocess.Popen([str(QUERN), "top", f"127.0.0.1:{server.server_port}"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"]})
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    process.stdout.close()
    assert all(re.match(r"\d\d:\d\d:\d\d  running +[\d,]+/s  age p99 ", line) for line in lines), lines
    assert len({line[:8] for line in lines}) > 1, "the clock stands still"


class Terminal:
    """The command on a pseudo terminal."""

    def __init__(self, *words, rows=24, columns=80):
        self.main, other = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen([str(QUERN), *words], stdin=other, stdout=other, stderr=other,
                                        start_new_session=True,
                                        env={"PATH": os.environ["PATH"], "TERM": "xterm", "LC_ALL": "C.UTF-8"})
        os.close(other)
        self.text = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait(self, condition):
        end = time.monotonic() + PATIENCE_S
        while not condition(self.text):
            assert time.monotonic() < end, self.text[-2000:]
            if select.select([self.main], [], [], 0.1)[0]:
                self.text += os.read(self.main, 65536).decode("utf-8", "replace")

    def end(self):
        self.process.send_signal(signal.SIGINT)
        try:
            while some := os.read(self.main, 65536):  # the rest, until the other end is closed
                self.text += some.decode("utf-8", "replace")
        except OSError:
            pass
        os.close(self.main)
        return self.process.wait(PATIENCE_S)


def test_live_it_redraws_resizes_and_waits_for_the_server(serve):
    server = serve(moves=True, speed=2)
    port = server.server_port
    t = Terminal("top", f"127.0.0.1:{port}")
    try:
        t.wait(lambda text: text.count("\033[J\033[?25h") >= 2)
        frames = t.text.split("\033[?25l")[1:]
        assert frames[1].startswith("\033[") and "A\r" in frames[1][:8], "the second frame goes up to the first"
        assert all(f.count("\n") <= 23 for f in frames)
        assert "\033[32mrunning" in t.text and "processor time" not in t.text
        t.resize(60, 100)
        t.wait(lambda text: "processor time" in text)
        server.stop()
        t.wait(lambda text: "connection lost" in text and "trying again" in text)
        at = len(t.text)
        serve(port=port)
        t.wait(lambda text: "\033[32mrunning" in text[at:])
    finally:
        code = t.end()
    assert code == 130
    assert t.text.rfind("\033[?25h") > t.text.rfind("\033[?25l"), "the cursor is hidden"
