# SPDX-License-Identifier: Apache-2.0
"""Faults on a cluster of three brokers while two processes share a topic: whatever fails, a read_committed reader finds
the answers to every event once, in order, as `quern pipe` gives them.

Faults come from a deck with one of each kind, shuffled by QUERN_SEED; `./dev check --long` goes through 20 decks."""
import os
import random
import signal
import time

import pytest

import kafka_broker
import kafka_proxy
from fraud_data import QUERN
from kafka_run import Process, Writer, compare, create, finish, spec

SEED = int(os.environ.get("QUERN_SEED", "11"))
DECKS = 20 if os.environ.get("QUERN_LONG") else 1
PARTITIONS = 4
SESSION, TRANSACTION = 7.0, 3.0  # seconds until a member, a transaction counts as dead


@pytest.fixture
def cluster(tmp_path):
    kafka_broker.need_kafka(QUERN)
    c = kafka_broker.Cluster(tmp_path / "cluster")
    c.proxies = [kafka_proxy.Proxy(n) for n in c.nodes]
    yield c
    for p in c.proxies:
        p.stop()
    c.stop()


class Run:
    def __init__(self, cluster, folder, rng):
        self.cluster, self.rng, self.hits = cluster, rng, 0
        create(cluster, "faults", PARTITIONS)
        self.text = spec(cluster, "faults", kafka=(
            'commit: 10ms, instance: "${INSTANCE}", settings: [session.timeout.ms=%d, heartbeat.interval.ms=300, '
            "transaction.timeout.ms=%d, reconnect.backoff.max.ms=300]" % (SESSION * 1000, TRANSACTION * 1000)))
        self.through = self.text.replace(cluster.bootstrap, ",".join(p.bootstrap for p in cluster.proxies))
        self.processes = [Process(folder, self.through, name, name) for name in "ab"]

    def one(self):
        return self.rng.choice(self.processes)

    # ---- the faults

    def kill(self):
        p = self.one()
        p.kill()
        time.sleep(self.rng.random())
        p.start()

    def freeze(self, seconds):
        p = self.one()
        p.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        p.process.send_signal(signal.SIGCONT)

    def transaction_runs_out(self):
        self.freeze(TRANSACTION + 2.5)

    def partitions_move_meanwhile(self):
        """A third process comes, and goes, while one finds its transaction gone."""
        third = Process(self.processes[0].folder, self.through, "c", "c")
        self.freeze(TRANSACTION + 2.0)
        time.sleep(self.rng.random() * 2)
        third.kill()

    def zombie(self):
        self.freeze(SESSION + 1.5)

    def broker_killed(self):
        node = self.rng.choice(self.cluster.nodes)
        node.kill()
        time.sleep(self.rng.random() * 2)
        node.start()
        time.sleep(1)  # back in step with the others, so that the next one may fail

    def leaders_and_coordinators_move(self):
        """A broker that leaves in order hands all of that over."""
        node = self.rng.choice(self.cluster.nodes)
        node.stop()
        node.start()
        time.sleep(1)

    def network_cut(self):
        for p in self.cluster.proxies:
            p.cut(True)
        time.sleep(0.2 + self.rng.random() * 2)
        for p in self.cluster.proxies:
            p.cut(False)

    def ruled(self, rule, seconds):
        for p in self.cluster.proxies:
            p.rule = rule
        time.sleep(seconds)
        for p in self.cluster.proxies:
            p.rule = lambda key: None

    def network_slow(self):
        self.ruled(lambda key: ("slow", 0.15), 2)

    def commit(self, *what):
        left = [3]

        def rule(key):
            if key != kafka_proxy.END_TXN or left[0] == 0:
                return None
            left[0] -= 1
            self.hits += 1
            return what
        self.ruled(rule, 2)

    def commit_late(self):
        self.commit("hold", 1.0 + self.rng.random() * 3)

    def commit_answer_lost(self):
        self.commit("deaf")

    def commit_lost(self):
        self.commit("cut")

    DECK = (kill, transaction_runs_out, partitions_move_meanwhile, zombie, broker_killed, leaders_and_coordinators_move,
            network_cut, network_slow, commit_late, commit_answer_lost, commit_lost)


def test_faults(cluster, tmp_path):
    print(f"QUERN_SEED={SEED}")
    rng = random.Random(SEED)
    folder = tmp_path / "run"
    folder.mkdir()
    run = Run(cluster, folder, rng)
    writer = Writer(cluster, "faults", PARTITIONS, random.Random(SEED), rate=1000)
    writer.start()
    for p in run.processes:
        p.ready()
    for _ in range(DECKS):
        for fault in rng.sample(run.DECK, len(run.DECK)):
            print(f"{time.monotonic():.1f} {fault.__name__}", flush=True)
            fault(run)
            time.sleep(rng.random())
            for p in run.processes:
                assert p.process.poll() is None, p.said()
    writer.end()
    finish(run.processes, cluster, "faults", PARTITIONS)
    count = compare(cluster, folder, run.text, "faults")
    print(f"{DECKS * len(run.DECK)} faults, {writer.count} events, {count} predictions, {run.hits} commits in doubt")
    assert count > 0.9 * writer.count and run.hits > 0
