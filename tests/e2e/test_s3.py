# SPDX-License-Identifier: Apache-2.0
"""test_s3.py - snapshots in a bucket of a real S3 server: killed and restored, objects lost and damaged, requests
spoiled on the way, a server that is gone; and snapshots that are of another history of the same log."""
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from fraud_data import QUERN
from running import SPEC, Running, order
from s3_server import KEY, SECRET, S3Server, Spoiler

BUCKET = "quern-test"


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.make_bucket(BUCKET)
    yield server
    server.stop()


def environment(secret=SECRET):
    """Without what the machine's own variables say of AWS."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return {**env, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": secret}


def spec_of(endpoint, prefix, more=""):
    return SPEC + (f"snapshots: {{every: 100ms, to: s3://{BUCKET}/{prefix}, endpoint: '{endpoint}', timeout: 2s{more}}}"
                   "\n")


class Pipeline(Running):
    """`quern run` with its snapshots in a bucket; `to` None: in the folder."""

    def __init__(self, folder, endpoint, prefix, more="", env=None):
        spec = spec_of(endpoint, prefix, more) if endpoint else SPEC + "snapshots: {every: 100ms}\n"
        super().__init__(folder, spec, options=("--drain", "20s"), env=env or environment())

    def send(self, first, count):
        events = [order(i, customer=f"C{i % 13}") for i in range(first, first + count)]
        answer = self.post("/v1/streams/orders/score", events)
        assert answer.status == 200, answer.body

    def snapshot(self):
        return self.get("/v1/status").json["snapshot"]

    def published(self):
        """One more snapshot of what was sent, and perhaps one that was under way."""
        before = self.snapshot()["count"]
        self.await_true(lambda: self.snapshot()["count"] > before)

    def predictions(self):
        page, all_of_them = {"next": "0", "predictions": [0]}, []
        while page["predictions"]:
            page = self.get(f"/v1/predictions?limit=1000&after={page['next']}").json
            all_of_them += page["predictions"]
        return all_of_them

    def said(self):
        return self.log.read_text()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """What a pipeline says that is never interrupted."""
    p = Pipeline(tmp_path_factory.mktemp("reference"), None, None)
    for first in range(0, 900, 100):
        p.send(first, 100)
    said = p.predictions()
    assert len(said) == 900 and p.stop() == 0
    return said


def go_on(p, first, reference):
    """The rest of the events, and all answers as if nothing had been."""
    for at in range(first, 900, 100):
        p.send(at, 100)
    assert p.predictions() == reference
    assert p.stop() == 0, p.said()


def objects(s3, prefix, ending=""):
    return sorted(p for p in (s3.objects / BUCKET / prefix).rglob("*" + ending) if p.is_file())


# ---- dying -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kills", [1, 4])
def test_killed_and_restored_from_the_bucket(s3, tmp_path, reference, kills):
    p = Pipeline(tmp_path, s3.endpoint, f"killed-{kills}")
    for round_ in range(kills):
        p.send(100 * round_, 100)
        p.published()
        p.kill()
        assert not (tmp_path / "data" / "snap").exists()
        p.start()
        assert " restored: " in p.said(), p.said()
    log_id = {path.parent.name for path in objects(s3, f"killed-{kills}")}
    assert len(log_id) == 1 and len(log_id.pop()) == 32
    go_on(p, 100 * kills, reference)
    assert len(objects(s3, f"killed-{kills}", ".snap")) == 2


def spoil_manifests(found):
    for path in found:
        if path.suffix == ".snap":
            path.write_bytes(path.read_bytes()[:-7])


def spoil_packs(found):
    for path in found:
        if path.suffix == ".pack":
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 4
            path.write_bytes(data)


def lose_packs(found):
    for path in found:
        if path.suffix == ".pack":
            path.unlink()


def lose_all(found):
    for path in found:
        path.unlink()


@pytest.mark.parametrize("harm, words", [(spoil_manifests, "passed over"), (spoil_packs, "passed over"),
                                         (lose_packs, "NoSuchKey"), (lose_all, "replaying")])
def test_what_is_lost_costs_time_only(s3, tmp_path, reference, harm, words):
    p = Pipeline(tmp_path, s3.endpoint, harm.__name__)
    for first in (0, 100, 200):
        p.send(first, 100)
        p.published()
    p.kill()
    harm(objects(s3, harm.__name__))
    p.start()
    assert words in p.said() and " restored: " not in p.said() and "replaying 300 events" in p.said(), p.said()
    go_on(p, 300, reference)


# ---- a network that does what it likes -------------------------------------------------------------------------------

@pytest.mark.parametrize("plan", [["slow", "lost", "dumb", "pass"] * 2, ["lost", "pass"] * 4,
                                  ["cut", "slow", "slow", "pass"] * 2])
def test_spoiled_requests_are_tried_again(s3, tmp_path, reference, plan):
    spoiler = Spoiler(s3)
    p = Pipeline(tmp_path, spoiler.endpoint, "spoiled-" + "-".join(plan[:3]))
    spoiler.plan.extend(plan)
    for first in (0, 100, 200):
        p.send(first, 100)
        p.published()
    assert p.snapshot()["failed"] == 0 and not spoiler.plan, p.said()
    p.kill()
    spoiler.plan.extend(plan)  # of the restore
    p.start()
    assert " restored: " in p.said() and "passed over" not in p.said(), p.said()
    assert len(spoiler.plan) < len(plan)
    spoiler.plan.clear()
    go_on(p, 300, reference)
    spoiler.stop()


def test_a_list_of_many_pages(s3, tmp_path, reference):
    p = Pipeline(tmp_path, s3.endpoint, "pages")
    p.send(0, 100)
    p.published()
    p.kill()
    folder = objects(s3, "pages", ".snap")[0].parent
    for number in range(10_000, 11_234):
        (folder / f"{number:020}.pack").write_bytes(b"of a snapshot that was given up")
    p.start()
    p.send(100, 100)
    p.await_true(lambda: not any(10_000 <= int(path.stem) < 11_234 for path in objects(s3, "pages", ".pack")))
    go_on(p, 200, reference)


def test_a_server_that_is_gone(tmp_path, reference):
    s3 = S3Server(tmp_path / "s3")
    s3.make_bucket(BUCKET)
    (tmp_path / "p").mkdir()
    p = Pipeline(tmp_path / "p", s3.endpoint, "gone")
    p.send(0, 100)
    p.published()
    s3.stop()
    p.send(100, 100)
    p.await_true(lambda: p.snapshot()["failed"] > 0)
    assert "quern_snapshot_failed_total 1" in p.get("/metrics").body.decode()
    assert p.said().count("no answer") == 1 and SECRET not in p.said(), p.said()
    p.process.send_signal(signal.SIGHUP)  # nothing is ended that could not begin again
    p.await_true(lambda: "the old spec goes on" in p.said())
    p.send(200, 100)
    s3.start()
    p.await_true(lambda: "published again" in p.said())
    p.process.send_signal(signal.SIGHUP)
    p.await_true(lambda: "the new spec runs" in p.said())
    p.kill()
    p.start()
    assert " restored: " in p.said() and "passed over" not in p.said(), p.said()
    s3.stop()
    p.send(300, 100)
    p.process.terminate()  # the last snapshot has nowhere to go: that keeps nobody
    began = time.monotonic()
    assert p.process.wait(60) == 0 and time.monotonic() - began < 25, p.said()
    s3.start()
    p.start()
    go_on(p, 400, reference)
    s3.stop()


# ---- starting --------------------------------------------------------------------------------------------------------

def refused(folder, spec, env=None):
    """What a start says that fails, and how long it takes."""
    (folder / "spec.yaml").write_text(spec)
    done = subprocess.run([str(QUERN), "run", "spec.yaml", "--http", "127.0.0.1:0"], cwd=folder,
                          env=env or environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode in (1, 2) and SECRET not in done.stderr, done.stderr
    return done.stderr


def test_starts_that_are_refused(s3, tmp_path):
    good = spec_of(s3.endpoint, "refused")
    assert "is the secret the one of this key?" in refused(tmp_path, good, environment("a-wrong-secret-0123456789"))
    assert "NoSuchBucket" in refused(tmp_path, good.replace(f"s3://{BUCKET}", "s3://no-such-bucket"))
    said = refused(tmp_path, spec_of("http://127.0.0.1:1", "x"))
    assert "127.0.0.1:1/" in said and "no answer" in said
    without = {k: v for k, v in environment().items() if not k.startswith("AWS_")}
    assert "AWS_ACCESS_KEY_ID" in refused(tmp_path, good, without)


def test_hosts_tls_and_secrets_from_files(tmp_path, reference):
    s3 = S3Server(tmp_path / "s3", tls=True)
    bucket = s3.make_bucket(BUCKET)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "secret").write_text(SECRET + "\n")
    (tmp_path / "p" / "ca.pem").write_bytes(s3.ca_file.read_bytes())
    env = {k: v for k, v in environment().items() if not k.startswith("AWS_")}
    said = refused(tmp_path / "p", spec_of(s3.endpoint, "tls"), environment())
    assert "'ca_file' names those that are" in said, said
    more = f", ca_file: ca.pem, access_key: {KEY}, secret_key: '${{file:secret}}', region: eu-central-1"
    p = Pipeline(tmp_path / "p", s3.endpoint, "tls", more, env)
    p.send(0, 100)
    p.published()
    p.kill()
    p.start()
    assert " restored: " in p.said() and any(bucket.rglob("*.snap")), p.said()
    go_on(p, 100, reference)
    s3.stop()


def test_the_bucket_in_front_of_the_host(s3, tmp_path, reference):
    endpoint = f"http://localhost:{s3.port}"
    p = Pipeline(tmp_path, endpoint, "a/b=c~d", ", path_style: false")
    p.send(0, 100)
    p.published()
    assert objects(s3, "a/b=c~d", ".snap")
    p.kill()
    p.start()
    assert " restored: " in p.said()
    go_on(p, 100, reference)


# ---- another history -------------------------------------------------------------------------------------------------

def copies(tmp_path, one, other, reference):
    """A log and its copy go on by themselves; the copy must not believe what the other saved."""
    for first in (0, 100):
        one.send(first, 100)
    one.published()
    one.kill()
    shutil.copytree(one.folder / "data", other / "data", ignore=shutil.ignore_patterns("lock"))
    one.start()
    for first in (200, 300):  # events that the copy never sees
        one.send(first + 5000, 100)
        one.published()
    one.kill()


def test_of_another_history_in_a_folder(tmp_path, reference):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one = Pipeline(tmp_path / "one", None, None)
    copies(tmp_path, one, tmp_path / "other", reference)
    shutil.rmtree(tmp_path / "other" / "data" / "snap")
    p = Pipeline(tmp_path / "other", None, None)
    for first in (200, 300, 400):
        p.send(first, 100)
    p.kill()
    shutil.rmtree(tmp_path / "other" / "data" / "snap", ignore_errors=True)
    shutil.copytree(tmp_path / "one" / "data" / "snap", tmp_path / "other" / "data" / "snap")
    p.start()
    assert "of another history of this log" in p.said() and "is passed over" in p.said(), p.said()
    go_on(p, 500, reference)


def test_of_another_history_in_a_bucket(s3, tmp_path, reference):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one = Pipeline(tmp_path / "one", s3.endpoint, "copies")
    copies(tmp_path, one, tmp_path / "other", reference)
    p = Pipeline(tmp_path / "other", s3.endpoint, "copies")
    assert "ahead of the log" in p.said() or " restored: " in p.said(), p.said()
    for first in (200, 300, 400):
        p.send(first, 100)
    go_on(p, 500, reference)
