# SPDX-License-Identifier: Apache-2.0
"""test_service_manager.py - `quern run` as systemd sees it: what it tells at NOTIFY_SOCKET, and the unit in deploy/."""
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(os.environ["QUERN_ROOT"])
QUERN = Path(os.environ["QUERN_BUILD"]) / "quern"
SPEC = """quern: 1
name: orders
log: local:./log
storage: {durability: none}
streams:
  orders:
    id: order_id
    time: at
    fields: {order_id: int64, at: {type: timestamp, unit: s}}
"""


def test_ready_alive_and_stopping(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(30)
    env = dict(os.environ, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="100000")
    p = subprocess.Popen([str(QUERN), "run", "spec.yaml"], cwd=tmp_path, env=env, stderr=subprocess.PIPE)
    try:
        told = []
        while told.count("WATCHDOG=1") < 3 or "READY=1" not in told:
            told += manager.recv(4096).decode().splitlines()
        assert "STATUS=running" in told
        assert told.count("READY=1") == 1
        p.send_signal(signal.SIGTERM)
        while told[-1] != "STOPPING=1":
            told += manager.recv(4096).decode().splitlines()
        assert p.wait(30) == 0, p.stderr.read()
    finally:
        p.kill()
        p.wait()


def test_no_manager_that_can_be_reached(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    env = dict(os.environ, NOTIFY_SOCKET="vsock:2:1")
    done = subprocess.run([str(QUERN), "run", "spec.yaml"], cwd=tmp_path, env=env, capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode == 1
    assert "NOTIFY_SOCKET is 'vsock:2:1'" in done.stderr


def test_the_unit_is_one(tmp_path):
    tool = shutil.which("systemd-analyze")
    if not tool:
        pytest.skip("systemd-analyze is not installed")
    unit = (ROOT / "deploy/quern.service").read_text()
    assert "ExecStart=/usr/local/bin/quern run " in unit
    (tmp_path / "quern.service").write_text(unit.replace("/usr/local/bin/quern", str(QUERN)))
    done = subprocess.run([tool, "verify", str(tmp_path / "quern.service")], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    assert "quern.service" not in done.stderr, done.stderr
