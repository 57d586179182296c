# SPDX-License-Identifier: Apache-2.0
"""Same log, same answers: events of a local log, recorded into topics of 1 and of 12 partitions, give the same
predictions with one process and with four, before and after partitions move. Compared are SHA-256 sums per shard."""
import hashlib
import json
import random
import re
import subprocess

from fraud_data import QUERN
from kafka_run import Process, cards, create, expected, finish, ours, spec
from running import Running

COUNT = 6000


def digest(records):
    return hashlib.sha256(b"".join(r + b"\n" for r in records)).hexdigest()


def shards(broker, topic):
    return [digest(m.value() for m in partition) for partition in broker.consume(f"{topic}.predictions")]


def local_log(folder, text, values):
    """A pipeline on a local log that takes the events over HTTP: what lies in it, events and predictions."""
    folder.mkdir()
    local = re.sub(r"(?m)^log: .*", "log: local:./data", re.sub(r"(?m)^kafka: .*\n", "", text))
    r = Running(folder, local)
    for i in range(0, len(values), 1000):
        r.post("/v1/streams/pay/events", b"\n".join(values[i:i + 1000]).decode() + "\n", "application/x-ndjson")
    assert r.stop() == 0  # answers all it has taken

    def topic(name):
        out = subprocess.run([str(QUERN), "log", "data", "--print", name], cwd=folder, check=True,
                             stdout=subprocess.PIPE)
        return [json.loads(line)["value"].encode() for line in out.stdout.splitlines()]

    return topic("pay"), topic("predictions")


def moved(processes, partitions):
    """Waits until the partitions are shared out among those that run."""
    processes[0].await_true(lambda: sorted(sum(map(ours, processes), [])) == list(range(partitions)), 120)


def test_same_log_same_answers(kafka, tmp_path):
    rng = random.Random(3)
    made = cards(rng, 0, COUNT, 1)
    text = spec(kafka, "recorded")
    events, predictions = local_log(tmp_path / "local", text, [value for _, value, _ in made])
    assert len(events) == COUNT  # broken ones too: they die in the engine
    customers = [customer for _, _, customer in made]
    table = {}
    for partitions in (1, 12):
        parts = [[e for e, c in zip(events, customers) if int(c[1:]) % partitions == p] for p in range(partitions)]
        want = [digest(r) for r in expected(tmp_path, text, parts)["predictions"]]
        for count in (1, 4):
            # the pipeline's name stands in every prediction, so all have one: topics and groups differ
            topic = f"recorded-{partitions}-{count}"
            create(kafka, topic, partitions)
            answers = ", ".join(f"{name}: {topic}.{name}" for name in ("predictions", "large", "dead"))
            ways = (f"topics: {{pay: {topic}, {answers}}}, group: {topic}, commit: 10ms, "
                    "settings: [session.timeout.ms=2000, heartbeat.interval.ms=300]")
            folder = tmp_path / topic
            folder.mkdir()
            mine = re.sub(r"(?m)^kafka: .*", f"kafka: {{{ways}}}", text)
            processes = [Process(folder, mine, str(n)) for n in range(count)]
            for p in processes:
                p.ready()
            moved(processes, partitions)
            records = [(int(c[1:]) % partitions, e, c) for e, c in zip(events, customers)]
            kafka.produce(topic, records[:COUNT // 2])
            if count > 1:  # one leaves, one dies, both come back: shards move while they have work
                processes[0].stop()
                processes[1].kill()
                moved(processes[2:], partitions)
                kafka.produce(topic, records[COUNT // 2:COUNT // 4 * 3])
                for p in processes[:2]:
                    p.start()
                    p.ready()
                moved(processes, partitions)
                kafka.produce(topic, records[COUNT // 4 * 3:])
            else:
                kafka.produce(topic, records[COUNT // 2:])
            finish(processes, kafka, topic, partitions, group=topic)
            table[partitions, count] = shards(kafka, topic)
            assert table[partitions, count] == want, (partitions, count)
    assert table[1, 1] == [digest(predictions)]  # one shard: the local log's own answers
    for (partitions, count), sums in table.items():
        print(f"{partitions} partitions, {count} processes: {' '.join(s[:12] for s in sums)}")
