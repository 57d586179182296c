# SPDX-License-Identifier: Apache-2.0
"""State of `log: kafka:`: snapshots in a bucket of a real S3 server, limits, warm copies, and positions that were
forgotten.

Answers are compared byte for byte with those of `quern pipe` over each partition, as in test_kafka_log.py."""
import os
import random
import re

import pytest

from kafka_run import Process, Writer, cards, compare, create, finish, ours, spec
from s3_server import KEY, SECRET, S3Server

SEED = int(os.environ.get("QUERN_SEED", "13"))
BUCKET = "quern-test"
QUICK = "settings: [session.timeout.ms=4000, heartbeat.interval.ms=300]"


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.make_bucket(BUCKET)
    yield server
    server.stop()


def in_bucket(s3, text, prefix="state"):
    return re.sub(r"(?m)^snapshots: .*$", f"snapshots: {{every: 200ms, to: 's3://{BUCKET}/{prefix}', "
                                          f"endpoint: '{s3.endpoint}', timeout: 2s}}", text)


def started(folder, name, text, instance=None):
    """A process in a folder of its own: nothing that it needs lies in another's."""
    own = folder / name
    own.mkdir(exist_ok=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return Process(own, text, name, instance, ("--drain", "20s"),
                   {**env, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET})


def states(p):
    return {s["partition"]: s["state"] for s in p.get("/v1/status").json["log"]["ours"]}


def committed(p):
    return {s["partition"]: s["committed"] for s in p.get("/v1/status").json["log"]["ours"]}


def saved(p):
    return p.get("/v1/status").json["snapshot"]


# ---- a bucket --------------------------------------------------------------------------------------------------------

def test_restored_from_a_bucket_elsewhere(kafka, s3, tmp_path):
    """Killed; another process with nothing on its disk goes on from the bucket, and gives it back."""
    create(kafka, "bucket", 3)
    rng, text = random.Random(SEED), in_bucket(s3, spec(kafka, "bucket", kafka=QUICK))
    kafka.produce("bucket", cards(rng, 0, 3000, 3))
    p = started(tmp_path, "a", text)
    p.ready()
    for n, name in enumerate("bab"):
        p.await_true(lambda: saved(p).get("count", 0) >= 3)
        kafka.produce("bucket", cards(rng, 3000 + 500 * n, 500, 3))
        p.kill()
        p = started(tmp_path, name, text)
        p.ready()
        said = p.said()
        assert len(re.findall(r"partition \d: \d+ restored: ", said)) == 3 and "passed over" not in said, said
        assert not (tmp_path / name / "snapshots").exists()
    finish([p], kafka, "bucket", 3)
    assert compare(kafka, tmp_path, text, "bucket") > 4000
    manifests = {}
    for path in (s3.objects / BUCKET / "state" / "bucket").rglob("*.snap"):
        manifests.setdefault(path.parent.name, []).append(int(path.stem))
    assert sorted(manifests) == ["0", "1", "2"] and all(len(m) == 2 for m in manifests.values()), manifests


def test_a_bucket_that_is_gone(kafka, tmp_path):
    """What is there goes on, what moves waits for the bucket and is restored when it is back; nobody is stopped."""
    server = S3Server(tmp_path / "s3")
    server.make_bucket(BUCKET)
    create(kafka, "bucketless", 4)
    text = in_bucket(server, spec(kafka, "bucketless", kafka=QUICK))
    writer = Writer(kafka, "bucketless", 4, random.Random(SEED))
    writer.start()
    a, b = started(tmp_path, "a", text), started(tmp_path, "b", text)
    for p in (a, b):
        p.ready()
        p.await_true(lambda p=p: list(states(p).values()) == ["live"] * 2 and saved(p).get("count", 0) >= 2)
    own = ours(b)
    server.stop()
    b.await_true(lambda: saved(b)["failed"] > 0, 120)
    b.await_true(lambda: "quern_snapshot_failed_total 0" not in b.get("/metrics").body.decode())
    a.kill()
    b.await_true(lambda: len(ours(b)) == 4 and "waits for its snapshot" in b.said())
    at = committed(b)
    b.await_true(lambda: all(committed(b)[p] > at[p] + 100 for p in own))
    assert [p for p, s in states(b).items() if s == "restoring"] == sorted(set(range(4)) - set(own)), b.said()
    assert b.get("/readyz").status == 200 and SECRET not in b.said()
    server.start()
    b.await_true(lambda: list(states(b).values()) == ["live"] * 4)
    assert "restored" in b.said()
    b.await_true(lambda: "published again" in b.said())
    server.stop()
    writer.end()
    finish([b], kafka, "bucketless", 4)  # the last snapshots have nowhere to go: that keeps nobody
    assert compare(kafka, tmp_path, text, "bucketless") > 0.9 * writer.count
    with pytest.raises(AssertionError, match="no answer"):  # a start asks for it
        started(tmp_path, "c", text).ready()


# ---- limits ----------------------------------------------------------------------------------------------------------

def test_limits_are_those_of_a_partition(kafka, tmp_path):
    """Which keys are refused does not depend on who has how many partitions, nor on restarts."""
    topic = "limits"
    create(kafka, topic, 4)
    text = spec(kafka, topic, kafka=QUICK).replace("features:\n", "limits: {memory: 24KiB}\nfeatures:\n")
    rng = random.Random(SEED)
    kafka.produce(topic, cards(rng, 0, 2000, 4))
    all_ = [Process(tmp_path, text, "0")]
    all_[0].ready()
    all_[0].await_true(lambda: committed(all_[0]).get(0, 0) > 0)
    kafka.produce(topic, cards(rng, 2000, 1000, 4))
    all_.append(Process(tmp_path, text, "1"))
    all_[1].ready()
    kafka.produce(topic, cards(rng, 3000, 1000, 4))
    all_[0].kill()
    all_[0].start()
    all_[0].ready()
    all_[0].await_true(lambda: [len(ours(p)) for p in all_] == [2, 2])
    for p in all_:
        p.await_true(lambda p=p: p.get("/v1/status").json["state"]["limit_bytes"] == len(ours(p)) * 24 * 1024)
        p.await_true(lambda p=p: 0 < p.get("/v1/status").json["state"]["counted_bytes"] <= len(ours(p)) * 24 * 1024)
    finish(all_, kafka, topic, 4)
    assert compare(kafka, tmp_path, text, topic) > 300
    refused = [dict(m.headers())["quern.reason"] for part in kafka.consume(f"{topic}.dead") for m in part]
    assert refused.count(b"state_full") > 100


# ---- warm copies -----------------------------------------------------------------------------------------------------

def shares(count, partitions=5):
    """What the assignor `range` gives so many members."""
    sizes = [partitions // count + (n < partitions % count) for n in range(count)]
    return [set(range(sum(sizes[:n]), sum(sizes[:n + 1]))) for n in range(count)]


def standing_by(processes):
    """Each has its share, and copies of what would come to it if any one other process were gone."""
    found = [p.get("/v1/status").json["log"] for p in processes]
    own = [{s["partition"] for s in f["ours"]} for f in found]
    for has, f in zip(own, found):
        if has not in shares(len(found)):
            return False
        n, less = shares(len(found)).index(has), shares(len(found) - 1)
        wanted = (less[n - 1] if n > 0 else set()) | (less[n] if n < len(less) else set())
        copies = {s["partition"] for s in f["standby"] if s["state"] == "following" and s["lag"] < 1000}
        if copies != wanted - has:
            return False
    return all(s["state"] == "live" for f in found for s in f["ours"])


def test_warm_copies_take_over(kafka, tmp_path):
    """Nothing shared, no snapshots: one is killed, one leaves, and copies go on with their partitions."""
    create(kafka, "standby", 5)
    text = spec(kafka, "standby", every="1h", kafka="standby: 1, settings: [session.timeout.ms=4000, "
                                                    "heartbeat.interval.ms=300]")
    writer = Writer(kafka, "standby", 5, random.Random(SEED), rate=1000)
    writer.start()
    all_ = [started(tmp_path, name, text) for name in "abc"]
    for p in all_:
        p.ready()
    for end in (Process.kill, Process.stop):
        all_[-1].await_true(lambda: standing_by(all_))
        before = [p.said().count("the copy goes on") for p in all_[1:]]
        end(all_.pop(0))
        all_[-1].await_true(lambda: {n for p in all_ for n in ours(p)} == set(range(5)))
        taken = [p.said().count("the copy goes on") - n for p, n in zip(all_, before)]
        if not any("given our partitions to others" in p.said() for p in all_):  # a machine that is too slow
            assert sum(taken) > 0, [p.said() for p in all_]
    found = re.findall(r"quern_standby_lag.*", all_[0].get("/metrics").body.decode())
    assert any(line.startswith('quern_standby_lag{topic="standby",partition="') for line in found), found
    writer.end()
    finish(all_, kafka, "standby", 5)
    assert compare(kafka, tmp_path, text, "standby") > 0.9 * writer.count


# ---- positions that are gone -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_forgotten_positions(kafka, s3, tmp_path, place):
    """The brokers forget a group without members: what was answered is not answered again without a word."""
    topic = f"forgotten-{place}"
    create(kafka, topic, 2)
    text = spec(kafka, topic)
    if place == "bucket":
        text = in_bucket(s3, text)
    kafka.produce(topic, cards(random.Random(SEED), 0, 500, 2))
    p = started(tmp_path, "a", text)
    p.ready()
    finish([p], kafka, topic, 2)
    kafka.admin().delete_consumer_groups([topic])[topic].result(20)
    p.start()
    assert p.process.wait(60) == 1
    assert f"the group '{topic}' has no position in partition" in p.said() and "use another group" in p.said()
    assert kafka.committed(topic, topic, 2) == [-1001, -1001]
    p = started(tmp_path, "b", text.replace("commit: 10ms", f"group: {topic}-2"))
    p.ready()
    finish([p], kafka, topic, 2, group=f"{topic}-2")
