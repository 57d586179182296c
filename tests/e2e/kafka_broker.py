# SPDX-License-Identifier: Apache-2.0
"""A real Kafka broker for tests: Apache Kafka from its published jars, one node, on loopback, on free ports.

The jars come once, by Maven, into .cache/ of the repository. Where Java or Maven are not there, tests are skipped and
say so.
"""
import functools
import hashlib
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

from maven import CACHE as FETCHED
from maven import alone, maven

VERSION = "4.3.1"
CACHE = FETCHED / f"kafka-{VERSION}"
CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"
JAVA = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>quern.test</groupId><artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""

# Retention goes by the time of messages, and these are of other years; the rest is for quick starts and takeovers.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxied}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.retention.ms=-1
log.message.timestamp.after.max.ms=9223372036854775807
log.cleaner.dedupe.buffer.size=4194304
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
"""


def jars():
    """The class path, fetched where it is not there; a skip where that cannot be."""
    if not shutil.which("java"):
        pytest.skip("no java: install a Java runtime, 17 or newer, for the tests with a Kafka broker")
    folder, part = CACHE / "jars", CACHE / "part"
    with alone():
        if not folder.is_dir():
            if not shutil.which("mvn"):
                pytest.skip("no mvn: install Maven, which fetches Kafka's jars for the tests with a broker")
            shutil.rmtree(part, ignore_errors=True)
            CACHE.mkdir(exist_ok=True)
            (CACHE / "pom.xml").write_text(POM)
            maven("Kafka's jars", "-f", str(CACHE / "pom.xml"), "dependency:copy-dependencies",
                  "-DincludeScope=runtime", f"-DoutputDirectory={part}")
            part.rename(folder)
    return f"{folder}/*"


@functools.cache
def shared_classes():
    """Options with which Java takes Kafka's classes as an earlier broker left them, loaded and verified: half the work
    of a start. Made once by the first test, for this Java; Java itself ignores what does not fit."""
    java = pathlib.Path(shutil.which("java")).resolve()
    made = hashlib.sha256(f"{java} {java.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    archive = CACHE / f"classes-{made}.jsa"
    with alone("classes.lock"):
        if not archive.is_file():
            part = archive.with_suffix(".part")
            with tempfile.TemporaryDirectory(prefix="quern-kafka-") as folder:
                first = Broker(folder, java=[], begin=False)
                first.java[1:1] = [f"-XX:ArchiveClassesAtExit={part}"]
                first.start()
                first.create("first")
                first.stop()
            if first.process.returncode < 0 or not part.is_file():  # killed, or a Java that cannot
                return []
            part.rename(archive)
    return [f"-XX:SharedArchiveFile={archive}"]


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Broker:
    """One broker; `bootstrap` is its address, `proxied` the address that it gives to those who come by a proxy."""

    nodes = None

    def __init__(self, folder, extra="", proxied="", ports=None, begin=True, java=None):
        """extra: lines that replace those of the same key; proxied "same": that listener has no proxy in front; java:
        options instead of those that share classes."""
        self.folder, self.classes, self.process = pathlib.Path(folder), jars(), None
        self.admin_ = self.producer = None
        self.replicas = 1
        self.port, self.behind, self.controller, self.proxied = ports or free_ports(4)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.config = self.folder / "server.properties"
        if proxied == "same":
            self.proxied = self.behind
        lines = PROPERTIES.format(port=self.port, behind=self.behind, controller=self.controller, proxied=self.proxied,
                                  data=self.folder / "data").splitlines() + extra.splitlines()
        self.config.write_text("".join(line + "\n" for line in {s.split("=", 1)[0]: s for s in lines}.values()))
        self.java = ["java", *(shared_classes() if java is None else java), *JAVA, self.classes]
        done = subprocess.run([*self.java, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(self.config)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
        if begin:
            self.start()

    def start(self):
        self.launch()
        self.await_answer()

    def launch(self):
        self.log = (self.folder / "broker.log").open("ab")
        self.process = subprocess.Popen([*self.java, "kafka.Kafka", str(self.config)],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)

    def await_answer(self):
        end = time.monotonic() + 90
        while True:
            assert self.process.poll() is None, (self.folder / "broker.log").read_text()[-3000:]
            assert time.monotonic() < end, "the broker does not answer in 90 s"
            try:
                self.admin().list_topics(timeout=2)
                return
            except Exception:  # noqa: BLE001 - not there yet
                time.sleep(0.05)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    # ---- what tests ask of it

    def admin(self):
        from confluent_kafka.admin import AdminClient

        if self.admin_ is None:
            self.admin_ = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self.admin_

    def create(self, topic, partitions=1, **config):
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.admin import NewTopic

        end = time.monotonic() + 30
        while True:
            made = self.admin().create_topics([NewTopic(topic, partitions, self.replicas, config=config)])
            try:
                made[topic].result(20)
                break
            except KafkaException as why:  # a broker that was too busy for its heartbeat is none for a moment
                if why.args[0].code() != KafkaError.INVALID_REPLICATION_FACTOR or time.monotonic() > end:
                    raise
            time.sleep(0.1)
        for node in self.nodes or [self]:  # each hears of it in its own time
            while len(node.admin().list_topics(topic, timeout=20).topics[topic].partitions) != partitions:
                assert time.monotonic() < end, f"nobody knows of {topic} yet"
                time.sleep(0.02)

    def produce(self, topic, records):
        """Records of (partition, value[, key[, headers]]), each once, in their order. The producer is kept: the first
        message of a new one waits half a second."""
        from confluent_kafka import Producer

        failed = []
        if self.producer is None:
            self.producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 2})
        for partition, value, *more in records:
            while True:
                try:
                    self.producer.produce(topic, value, more[0] if more else None, partition,
                                          headers=more[1] if len(more) > 1 else None,
                                          on_delivery=lambda e, _: failed.append(e) if e else None)
                    break
                except BufferError:
                    self.producer.poll(0.1)
        self.producer.flush()
        assert not failed, failed[0]

    def consume(self, topic, committed=True):
        """All messages of a topic up to its end now, by partition; committed: as read_committed sees it. What an open
        transaction hides is waited for, until its owner or the broker ends it."""
        from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

        c = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "looking", "enable.auto.commit": False,
                      "enable.partition.eof": True, "auto.offset.reset": "earliest",
                      "isolation.level": "read_committed" if committed else "read_uncommitted"})
        count = len(self.admin().list_topics(topic, timeout=20).topics[topic].partitions)
        all_ = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "looking",
                         "isolation.level": "read_uncommitted"})
        ends = [self.end_of(all_, topic, p) for p in range(count)]
        all_.close()
        found, open_ = [[] for _ in range(count)], set(range(count))
        c.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(count)])
        end = time.monotonic() + 120
        while open_:
            assert time.monotonic() < end, f"{topic}: no end of partitions {open_} in 120 s"
            for m in c.consume(10000, 0.5):
                if m.error() is None:
                    found[m.partition()].append(m)
                elif m.error().code() == KafkaError._PARTITION_EOF:
                    if m.offset() >= ends[m.partition()]:
                        open_.discard(m.partition())
                else:
                    raise AssertionError(m.error())
        c.close()
        return found

    def patiently(self, ask):
        """A broker that was too busy for its heartbeat leads and coordinates nothing for a moment."""
        from confluent_kafka import KafkaException

        end = time.monotonic() + 30
        while True:
            try:
                return ask()
            except KafkaException:
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)

    def end_of(self, consumer, topic, partition):
        from confluent_kafka import TopicPartition

        return self.patiently(lambda: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)[1])

    def values(self, topic, committed=True):
        return [[m.value().decode() for m in partition] for partition in self.consume(topic, committed)]

    def committed(self, group, topic, partitions):
        """The offsets that a group has committed."""
        from confluent_kafka import Consumer, TopicPartition

        c = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        got = self.patiently(lambda: c.committed([TopicPartition(topic, p) for p in range(partitions)], timeout=20))
        c.close()
        return [p.offset for p in got]


CLUSTERED = """\
node.id={node}
controller.quorum.voters={voters}
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
replica.lag.time.max.ms=3000
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=300
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
controller.quorum.election.backoff.max.ms=300
"""


class Cluster(Broker):
    """Three brokers, everything on all of them; what is asked of a broker is asked of all, but start and stop of one:
    nodes[i]. Processes are ended by kill: the last of a quorum would wait for the others for minutes."""

    def __init__(self, folder):
        ports = free_ports(12)
        voters = ",".join(f"{i + 1}@127.0.0.1:{ports[4 * i + 2]}" for i in range(3))
        self.nodes, self.admin_, self.producer, self.replicas = [], None, None, 3
        for i in range(3):
            place = pathlib.Path(folder) / f"node-{i + 1}"
            place.mkdir(parents=True)
            self.nodes.append(Broker(place, CLUSTERED.format(node=i + 1, voters=voters), "",
                                     ports[4 * i:4 * i + 4], begin=False))
        self.bootstrap = ",".join(n.bootstrap for n in self.nodes)
        for n in self.nodes:
            n.launch()
        for n in self.nodes:
            n.await_answer()

    def stop(self):
        for n in self.nodes:
            if n.process.poll() is None:
                n.kill()


def need_kafka(quern):
    """Skips where the program was built without Kafka, or the Python client is missing."""
    pytest.importorskip("confluent_kafka", reason="no confluent-kafka in .venv")
    said = subprocess.run([quern, "version"], stdout=subprocess.PIPE, text=True).stdout
    if "librdkafka" not in said:
        pytest.skip("this program was built without librdkafka (Debian: librdkafka-dev)")
