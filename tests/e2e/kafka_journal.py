# SPDX-License-Identifier: Apache-2.0
"""Several streams in Kafka, for tests: reads the journal (src/engine/journal_record.h), puts the events of all topics
into the order that it tells, and asks the same program with a local log what must come out."""
import itertools
import json
import re
import subprocess

import kafka_run
from fraud_data import QUERN
from running import Running


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def read_record(data):
    """(positions, [(stream, moved)]) of a record of the journal."""
    assert data[0] == 1
    count, at = varint(data, 1)
    positions, runs = [], []
    for _ in range(count):
        value, at = varint(data, at)
        positions.append(value)
    while at < len(data):
        stream, at = varint(data, at)
        moved, at = varint(data, at)
        runs.append((stream, moved))
    return positions, runs


def order(broker, journal, topics, group):
    """By partition the (stream, message) of all topics in the order in which they were taken."""
    journals, messages = broker.consume(journal), [broker.consume(t) for t in topics]
    found = []
    for p, records in enumerate(journals):
        at, merged = None, []
        by_stream = [iter(m[p]) for m in messages]
        heads = [next(i, None) for i in by_stream]
        for m in records:
            positions, runs = read_record(m.value())
            assert m.key().decode() == group
            at = positions if at is None else at
            if positions != at:
                assert sum(positions) < sum(at), f"a gap in the journal: {at}, then {positions}"
                continue  # overtaken
            for stream, moved in runs:
                at[stream] += moved
                while heads[stream] is not None and heads[stream].offset() < at[stream]:
                    merged.append((stream, heads[stream]))
                    heads[stream] = next(by_stream[stream], None)
        assert heads == [None] * len(topics), f"partition {p}: events that the journal does not name"
        found.append(merged)
    return found


def printed(folder, topic):
    out = subprocess.run([str(QUERN), "log", "data", "--print", topic], cwd=folder, check=True, stdout=subprocess.PIPE)
    return [json.loads(line)["value"].encode() for line in out.stdout.splitlines()]


def expected(folder, text, names, merged, p):
    """What must come out of a partition: predictions and the values of dead letters. A local log takes the events over
    HTTP, runs of one stream at a time."""
    folder.mkdir()
    local = re.sub(r"(?m)^log: .*", "log: local:./data", re.sub(r"(?m)^(kafka|snapshots|delivery): .*\n", "", text))
    r = Running(folder, local)
    kafka_run.running.append(r.process)
    for stream, run in itertools.groupby(merged, lambda e: e[0]):
        body = b"".join(m.value() + b"\n" for _, m in run)
        answer = r.post(f"/v1/streams/{names[stream]}/events", body.decode(), "application/x-ndjson")
        assert answer.status < 300 or answer.status == 422, answer.body  # 422: none of them is good
    assert r.stop() == 0  # answers all it has taken
    place = f":{names[0]}:0:".encode(), f":{names[0]}:{p}:".encode()
    return [v.replace(*place, 1) for v in printed(folder, "predictions")], printed(folder, "dead")
