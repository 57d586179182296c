# SPDX-License-Identifier: Apache-2.0
"""How processes with `log: kafka:` end, and what one that was killed leaves behind."""
import os
import random
import time

import pytest

import kafka_broker
import kafka_proxy
from fraud_data import QUERN
from kafka_run import Process, cards, caught_up, compare, create, finish, ours, spec

SEED = int(os.environ.get("QUERN_SEED", "7"))
FOR_EVER = 3600


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A broker that ends no transaction because of its age: only who has opened it can."""
    kafka_broker.need_kafka(QUERN)
    b = kafka_broker.Broker(tmp_path_factory.mktemp("patient"),
                            "transaction.abort.timed.out.transaction.cleanup.interval.ms=86400000")
    yield b
    b.stop()


def hidden(broker, topic):
    """How many records of its one partition an open transaction keeps from those who read what is committed."""
    from confluent_kafka import Consumer, TopicPartition

    ends = []
    for isolation in ("read_uncommitted", "read_committed"):
        c = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "looking", "isolation.level": isolation})
        ends.append(c.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)[1])
        c.close()
    return ends[0] - ends[1]


def members(broker, group):
    """Their instances."""
    found = broker.admin().describe_consumer_groups([group])[group].result(20).members
    return sorted(m.group_instance_id for m in found)


def killed_in_a_commit(patient, proxy, folder, topic, text, instance):
    """A process whose second commit never reached the brokers: its transaction stays open."""
    rng, held = random.Random(SEED), []

    def hold(key):
        if key != kafka_proxy.END_TXN:
            return None
        held.append(key)
        return "hold", FOR_EVER

    create(patient, topic, 1)
    dead = Process(folder, text.replace(patient.bootstrap, proxy.bootstrap), "dead", instance)
    dead.ready()
    patient.produce(topic, cards(rng, 0, 100, 1))
    dead.await_true(lambda: caught_up(patient, topic, topic, 1))
    proxy.rule = hold
    patient.produce(topic, cards(rng, 100, 100, 1))
    dead.await_true(lambda: held)
    dead.kill()
    assert hidden(patient, f"{topic}.predictions") > 0


def test_who_takes_over_ends_what_is_open(patient, tmp_path):
    """Processes without names: no other can come back under the name of the dead one, so its place is enough."""
    topic, proxy = "taken", kafka_proxy.Proxy(patient)
    text = spec(patient, topic, kafka="commit: 10ms, settings: [session.timeout.ms=2000, heartbeat.interval.ms=300]")
    try:
        killed_in_a_commit(patient, proxy, tmp_path, topic, text, None)
        other = Process(tmp_path, text, "other")
        finish([other], patient, topic, 1)
        assert "ended what a process that is gone had left open" in other.said()
        assert compare(patient, tmp_path, text, topic) > 180
    finally:
        proxy.stop()


def test_what_was_left_open_is_ended_at_once(patient, tmp_path):
    """Killed in the middle of a commit; another process has its partition when it comes back, and waits for the end of
    that transaction. It is there at the first thing that the process does, before it has a place in the group."""
    topic, proxy = "open", kafka_proxy.Proxy(patient)
    text = spec(patient, topic, kafka='commit: 10ms, instance: "${INSTANCE}", settings: [session.timeout.ms=2000, '
                                      'heartbeat.interval.ms=300]')
    try:
        killed_in_a_commit(patient, proxy, tmp_path, topic, text, "z")
        other = Process(tmp_path, text, "other", "a")
        other.await_true(other.find_port)
        other.await_true(lambda: members(patient, topic) == ["a"])  # it has the partition
        time.sleep(0.5)
        assert hidden(patient, f"{topic}.predictions") > 0 and ours(other) == []
        back = Process(tmp_path, text, "dead", "z")
        back.await_true(lambda: hidden(patient, f"{topic}.predictions") == 0)
        for p in (back, other):
            p.ready()
        other.await_true(lambda: (ours(other), ours(back)) == ([0], []))
        finish([back, other], patient, topic, 1)
        assert compare(patient, tmp_path, text, topic) > 180
    finally:
        proxy.stop()


@pytest.mark.parametrize("asked", ["positions", "ends"])
def test_stopped_while_partitions_come(kafka, tmp_path, asked):
    """Brokers that no longer answer keep nobody: what is asked of partitions that come is of no use to who goes."""
    topic = f"stopped-{asked}"
    create(kafka, topic, 2)
    proxy = kafka_proxy.Proxy(kafka)
    held, is_frozen = [], False

    def rule(key):
        if key == {"positions": kafka_proxy.OFFSET_FETCH, "ends": kafka_proxy.LIST_OFFSETS}[asked]:
            held.append(key)
            return "hold", FOR_EVER
        return ("hold", FOR_EVER) if is_frozen else None

    try:
        proxy.rule = rule
        p = Process(tmp_path, spec(kafka, topic).replace(kafka.bootstrap, proxy.bootstrap),
                    options=("--drain", "30s"))
        p.await_true(lambda: held)
        is_frozen = asked == "positions"
        assert p.stop() == 0, p.said()  # beyond --drain it would not be 0
        assert "stopped" in p.said()
    finally:
        proxy.stop()
