# SPDX-License-Identifier: Apache-2.0
"""`./dev bench kafka`: a pipeline whose log lies in Kafka, beside a loop that does nothing but read and write.

latency    the bare loop (bench_kafka.c), Quern with 14 features and a forest, and Kafka Streams doing the same, one
           after the other in each pass, at 10,000 and 100,000 events/s, at least once and exactly once: milliseconds
           from when an event was due until a read_committed reader has its answer, and CPU per event
held       the highest rate, by steps, at which the answers of the last third still come within HELD_MS
read       a topic read and decoded alone: no features, no answers
stages     what a hop costs: the example's own features, by customer and by terminal, in two stages in one process,
           beside the same ones in one stage (each partition for itself)
rebalance  two processes with 1,000,000 keys; one ends, one is killed: the longest silence of a partition that moved

Broker (the one of the tests, with Java's usual compiler), load, pipeline and reader share the machine. Answers are
checked before a number is believed: each event exactly once, and Quern's records, hashed in their order by partition,
are those of `quern pipe`. Wrong answers fail the bench; time never does.
"""

import http.client
import json
import os
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import time

from compiled import ROOT, compiled

WORK = os.path.join(ROOT, "build", "bench", "kafka")
SHARED = os.environ.get("QUERN_SHARED", os.path.join(ROOT, "..", "shared"))
PEERS = os.path.join(SHARED, "peers", "java", "src", "main", "java", "peers")
EXAMPLE = os.path.join(ROOT, "examples", "card-fraud")
PARTITIONS = 4
KEYS = 5000
COMMIT_MS = 10
HELD_MS = 1000
MODES = {"plain": "at least once", "exact": "exactly once"}
GOALS = {("plain", 100_000): 15, ("exact", 100_000): 50, ("exact", 10_000): 25}  # p99, ms
STEPS = [100_000, 150_000, 200_000, 250_000, 300_000, 350_000, 400_000, 500_000, 600_000, 700_000]
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
REALTIME = False

SPEC = """\
quern: 1
name: bench
log: kafka:{brokers}
kafka: {{topics: {{transactions: {tin}, predictions: {tout}, dead: {dead}}}, group: {group}{more}}}
snapshots: {{every: 30s}}
{delivery}
streams:
  transactions:
    id: transaction_id
    time: created_at
    key: customer_id
    lateness: 10s
    fields:
      transaction_id: string
      created_at: timestamp
      customer_id: string
      terminal_id: string
      amount: {{type: decimal(2), min: 0}}
      tx_fraud: {{type: bool, optional: true}}
"""


def path(*parts):
    return os.path.join(WORK, *parts)


def say(text):
    print(text, file=sys.stderr, flush=True)


class Report:
    """What is printed, kept in table.md: ready to be pasted into docs/benchmarks.md."""

    def __init__(self):
        self.file = open(path("table.md"), "w", encoding="utf-8")

    def __call__(self, text=""):
        print(text, flush=True)
        print(text, file=self.file, flush=True)


def fast(command):
    return ["chrt", "-r", "1", *command] if REALTIME else command


# --- the job ---------------------------------------------------------------------------------------------------------


def job(by="customer_id"):
    """Features and model of the example; what it counts by terminal is counted by customer, whose partition it is; or
    by terminal indeed, which takes two stages."""
    with open(os.path.join(EXAMPLE, "card-fraud.yaml"), encoding="utf-8") as f:
        text = f.read()
    text = text[text.index("\nfeatures:") : text.index("\noutputs:")] + "\noutputs:\n  predictions: {}\n"
    text = text.replace(" by terminal_id ", f" by {by} ")
    return text.replace("file: fraud.ubj", "file: " + os.path.join(EXAMPLE, "fraud.ubj"))


def spec(folder, broker, cell, mode, what, more=""):
    os.makedirs(folder, exist_ok=True)
    text = SPEC.format(
        brokers=broker.bootstrap, tin=cell, tout=cell + ".out", dead=cell + ".dead", group=cell,
        delivery="delivery: at-least-once" if mode == "plain" else "", more=more,
    ) + what
    file = os.path.join(folder, "spec.yaml")
    if not os.path.exists(file):
        with open(file, "w", encoding="utf-8") as f:
            f.write(text)
    return file


class UBJson:
    """A reader for the example's model file: what Kafka Streams gets are the same trees."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, kind):
        shape = {"i": ">b", "U": ">B", "I": ">h", "l": ">i", "L": ">q", "d": ">f", "D": ">d"}[kind]
        value = struct.unpack_from(shape, self.data, self.at)[0]
        self.at += struct.calcsize(shape)
        return value

    def kind(self):
        self.at += 1
        return chr(self.data[self.at - 1])

    def text(self):
        n = self.number(self.kind())
        self.at += n
        return self.data[self.at - n : self.at].decode()

    def value(self, kind=None):
        kind = kind or self.kind()
        if kind == "S":
            return self.text()
        if kind in "TFZ":
            return {"T": True, "F": False, "Z": None}[kind]
        if kind not in "[{":
            return self.number(kind)
        of, count, end = None, None, "]" if kind == "[" else "}"
        if chr(self.data[self.at]) == "$":
            self.at += 1
            of = self.kind()
        if chr(self.data[self.at]) == "#":
            self.at += 1
            count = self.number(self.kind())
        found = [] if kind == "[" else {}
        while len(found) < count if count is not None else chr(self.data[self.at]) != end:
            if kind == "[":
                found.append(self.value(of))
            else:
                name = self.text()
                found[name] = self.value(of)
        self.at += count is None
        return found


def write_forest():
    """Trees, nodes, base; where each tree begins; per node: feature (-1: a leaf), threshold or value, children."""
    with open(os.path.join(EXAMPLE, "fraud.ubj"), "rb") as f:
        model = UBJson(f.read()).value()["learner"]
    base = float(model["learner_model_param"]["base_score"].strip("[]"))
    if base != 0.5:
        raise SystemExit("bench: the example's model has another base score than its forest is written for")
    trees = model["gradient_booster"]["model"]["trees"]
    roots, nodes = [], []
    for t in trees:
        first = len(nodes)
        roots.append(first)
        for i, left in enumerate(t["left_children"]):
            leaf = left < 0
            nodes.append((-1 if leaf else t["split_indices"][i], t["split_conditions"][i],
                          0 if leaf else first + left, 0 if leaf else first + t["right_children"][i]))
    with open(path("forest.txt"), "w", encoding="ascii") as f:
        f.write(f"{len(trees)} {len(nodes)} 0\n{' '.join(map(str, roots))}\n")
        f.writelines(f"{a} {b!r} {c} {d}\n" for a, b, c, d in nodes)


def build_streams():
    """Kafka Streams and our job for it, once; its class path, or None and why."""
    folder = os.path.join(ROOT, "build", "bench", "streams")
    ready = os.path.join(folder, "ready")
    if not shutil.which("mvn"):
        return None, "Maven is not there"
    if not os.path.isdir(PEERS):
        return None, "../shared/peers/java is not there"
    sources = [os.path.join(ROOT, "bench", "streams", "KafkaJob.java")]
    sources += [os.path.join(PEERS, f"{name}.java") for name in ("CustomerWindow", "TerminalWindow", "Event")]
    newest = max(os.path.getmtime(f) for f in sources)
    if not os.path.exists(ready) or os.path.getmtime(ready) < newest:
        say("bench: building the job for Kafka Streams (a minute the first time)")
        to = os.path.join(folder, "src", "main", "java", "peers")
        os.makedirs(to, exist_ok=True)
        for f in sources:
            shutil.copyfile(f, os.path.join(to, os.path.basename(f)))
        shutil.copyfile(os.path.join(ROOT, "bench", "streams", "pom.xml"), os.path.join(folder, "pom.xml"))
        p = subprocess.run(
            ["mvn", "-q", "-B", "compile", "dependency:copy-dependencies", "-DoutputDirectory=jars"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )
        if p.returncode != 0:
            return None, "Maven: " + p.stdout.strip()[-300:]
        with open(ready, "w", encoding="ascii"):
            pass
    return f"{folder}/target/classes:{folder}/jars/*", None


# --- processes -------------------------------------------------------------------------------------------------------


class Process:
    """Something that reads IN and writes OUT until the block ends."""

    def __init__(self, name, command, cwd=WORK):
        self.name, self.command, self.cwd = name, command, cwd
        self.err = path(f"stderr-{name}.txt")

    def __enter__(self):
        with open(self.err, "wb") as err:
            self.process = subprocess.Popen(fast(self.command), cwd=self.cwd, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=err)
        try:
            self.await_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                say(f"bench: {self.name} does not end: killed")
                self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def said(self):
        with open(self.err, encoding="utf-8", errors="replace") as f:
            return f.read()

    def until(self, condition, seconds=120):
        end = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"bench: {self.name} is not there:\n{self.said()[-2000:]}")
            time.sleep(0.01)

    def await_ready(self):
        time.sleep(0.5)  # the bare loop says nothing

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            words = f.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / CLOCK_TICKS


class Quern(Process):
    def __init__(self, name, quern, file, options=(), waits=True):
        command = [quern, "run", os.path.basename(file), "--http", "127.0.0.1:0", *options]
        super().__init__(name, command, os.path.dirname(file))
        self.port, self.waits = 0, waits

    def find_port(self):
        found = re.search(r'url"?[=:]"?https?://[^\s"]*:(\d+)"?[\n}]', self.said())
        self.port = int(found[1]) if found else 0
        return self.port > 0

    def get(self, what):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            c.request("GET", what)
            r = c.getresponse()
            return r.status, r.read().decode()
        except OSError:
            return 0, ""
        finally:
            c.close()

    def await_ready(self):
        self.until(self.find_port)
        if self.waits:
            self.until(lambda: self.get("/readyz")[0] == 200)

    def ours(self):
        status, text = self.get("/v1/status")
        if status != 200:
            return []
        return sorted(s["partition"] for s in json.loads(text)["log"]["ours"] if s["state"] == "live")


class Streams(Process):
    def await_ready(self):
        self.until(lambda: "running" in self.said())


# --- cells -----------------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, broker, quern, tool, streams):
        self.broker, self.quern, self.tool, self.streams = broker, quern, tool, streams
        self.count, self.right, self.hashes = 0, True, {}

    def topics(self, what, keep_out=True):
        self.count += 1
        cell = f"{what}-{self.count}"
        for name in (cell, cell + ".out", cell + ".dead") if keep_out else (cell,):
            self.broker.create(name, PARTITIONS)
        return cell

    def remove(self, cell):
        names = [t for t in self.broker.admin().list_topics(timeout=20).topics if t.startswith(cell)]
        for done in self.broker.admin().delete_topics(names).values():
            done.result(30)
        shutil.rmtree(path(cell), ignore_errors=True)

    def contender(self, kind, mode, cell):
        if kind == "bare":
            command = [self.tool, "loop", self.broker.bootstrap, cell, cell, cell + ".out", mode,
                       str(COMMIT_MS if mode == "exact" else 100)]
            return Process(cell, command)
        if kind == "quern":
            return Quern(cell, self.quern, spec(path(cell), self.broker, cell, mode, job()))
        if kind in STAGED:
            return Quern(cell, self.quern, spec(path(cell), self.broker, cell, mode, job("terminal_id"), STAGED[kind]))
        guarantee = "exactly_once_v2" if mode == "exact" else "at_least_once"
        command = ["java", "-Xmx1g", "-cp", self.streams, "peers.KafkaJob", self.broker.bootstrap, cell, cell + ".out",
                   guarantee, "100", path("forest.txt"), path(cell)]
        return Streams(cell, command)

    def load(self, cell, rate, seconds, warm, keys=KEYS, first=0):
        command = [self.tool, "load", self.broker.bootstrap, cell, cell + ".out", str(rate), str(seconds), str(warm),
                   str(keys), str(first)]
        return subprocess.Popen(fast(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def loaded(self, load):
        out, err = load.communicate()
        if load.returncode != 0:
            raise SystemExit(f"bench: the load failed: {err[-2000:]}")
        return json.loads(out)

    def cell(self, kind, mode, rate, seconds, warm):
        """One run of one contender; None where it could not keep up at all."""
        cell = self.topics(f"{kind}-{mode}")
        with self.contender(kind, mode, cell) as p:
            load = self.load(cell, rate, seconds, warm)
            before = p.cpu()
            r = self.loaded(load)
            r["cpu_us"] = (p.cpu() - before) / max(1, r["answered"]) * 1e6
        self.check(kind, mode, r)
        self.remove(cell)
        words = "all there" if r["missing"] == 0 else f"{r['missing']:,} not there in time"
        say(f"bench: {kind}, {MODES[mode]}, {rate:,}/s: p50 {r['ms'][0]:.1f}, p99 {r['ms'][1]:.1f}, max"
            f" {r['ms'][3]:.1f} ms, CPU {r['cpu_us']:.1f} us, {words}")
        return r

    # ---- are the answers right?

    def expected(self, total, keys=KEYS):
        """What `quern pipe` says of each partition's events: hashes, and how many records."""
        if (total, keys) not in self.hashes:
            self.hashes[total, keys] = [self.pipe_hash(total, keys, p) for p in range(PARTITIONS)]
        return self.hashes[total, keys]

    def pipe_hash(self, total, keys, partition):
        file = path("pipe.yaml")
        with open(file, "w", encoding="utf-8") as f:
            text = SPEC.format(brokers="", tin="", tout="", dead="", group="", more="", delivery="")
            f.write(re.sub(r"(?m)^(log|kafka|snapshots):.*\n", "", text) + job())
        events = subprocess.Popen([self.tool, "events", str(total), str(keys), str(partition)], stdout=subprocess.PIPE)
        pipe = subprocess.Popen([self.quern, "pipe", file, "--input", "transactions=-", "--quiet"],
                                stdin=events.stdout, stdout=subprocess.PIPE)
        said = subprocess.run([self.tool, "hash", str(partition)], stdin=pipe.stdout, stdout=subprocess.PIPE, text=True,
                              check=True).stdout.split()
        if events.wait() != 0 or pipe.wait() != 0:
            raise SystemExit("bench: quern pipe failed")
        return said[0], int(said[1])

    def check(self, kind, mode, r):
        wrong = []
        if r["missing"] and (kind == "quern" or kind in STAGED):  # the load waits as long as anything comes
            wrong.append(f"{r['missing']:,} events were not answered")
        if r["doubled"] and mode == "exact":
            wrong.append(f"{r['doubled']:,} answers came twice")
        if r["foreign"]:
            wrong.append(f"{r['foreign']:,} answers of nothing")
        if kind == "quern" and not r["missing"] and not r["doubled"]:
            want = self.expected(r["asked"])
            if [h for h, _ in want] != r["chain"] or sum(n for _, n in want) != r["asked"]:
                wrong.append("other answers than quern pipe")
        for text in wrong:
            self.right = False
            say(f"bench: WRONG: {kind}, {MODES[mode]}, {r['rate']:,}/s: {text}")


NAMES = {"bare": "bare loop", "quern": "**Quern, 14 features and forest**", "streams": "Kafka Streams, the same job",
         "together": "one stage, each partition for itself", "staged": "**two stages, by customer, then by terminal**"}
STAGED = {"together": ", rekey: false", "staged": ", create: true"}


def ratio(value, base):
    return f"{value / base:.2f}" if base > 0 else "-"


def latency(b, report, a):
    kinds = ["bare", "quern"] + (["streams"] if b.streams else [])
    rates = [(mode, rate) for rate in (10_000, 100_000) for mode in ("plain", "exact")]
    seconds, warm = (2, 1.5) if a.quick else (6, 4)
    results = {}
    for n in range(a.passes):
        for mode, rate in rates:
            if a.quick and (mode, rate) == ("plain", 10_000):
                continue  # two minutes are short
            for kind in kinds:
                if a.quick and kind == "streams" and (mode, rate) != ("exact", 10_000):
                    continue
                results.setdefault((mode, rate, kind), []).append(b.cell(kind, mode, rate, seconds, warm))
    report(f"\nMilliseconds from when an event was due until a read_committed reader had its answer; medians of"
           f" {a.passes} passes of {seconds} s behind {warm} s to warm up (best); CPU of the process alone."
           f" {load()}.\n")
    report("| | events/s | | p50 | p99 | longest | p99, bare loop = 1 | CPU, us/event | goal |")
    report("|---|---:|---|---:|---:|---:|---:|---:|---:|")
    for (mode, rate, kind), cells in results.items():
        times = [[r["ms"][q] for r in cells] for q in (0, 1, 3)]
        words = [f"{statistics.median(t):,.1f} ({min(t):,.1f})" for t in times]
        bare = statistics.median(r["ms"][1] for r in results[mode, rate, "bare"])
        is_behind = any(r["missing"] or r["last_ms"][0] > HELD_MS for r in cells)
        if is_behind:
            rate_now = statistics.median(r["answered"] / r["seconds"] for r in cells)
            words = [f"falls behind: {rate_now:,.0f} answers/s", "-", "-"]
        goal = GOALS.get((mode, rate)) if kind == "quern" else None
        report(f"| {MODES[mode]} | {rate:,} | {NAMES[kind]} | {' | '.join(words)}"
               f" | {'-' if is_behind else ratio(statistics.median(times[1]), bare)}"
               f" | {statistics.median(r['cpu_us'] for r in cells):.1f} | {f'p99 < {goal}' if goal else ''} |")


def stages(b, report, a):
    rate = 10_000
    seconds, warm = (2, 1.5) if a.quick else (6, 4)
    results = {kind: [b.cell(kind, "exact", rate, seconds, warm) for _ in range(a.passes)] for kind in STAGED}
    report(f"\nWhat a hop adds, exactly once, {rate:,} events/s; milliseconds as above, medians of {a.passes} passes. "
           f"{load()}.\n")
    report("| | p50 | p99 | longest | CPU, us/event |\n|---|---:|---:|---:|---:|")
    for kind, cells in results.items():
        words = [f"{statistics.median(r['ms'][q] for r in cells):,.1f}" for q in (0, 1, 3)]
        report(f"| {NAMES[kind]} | {' | '.join(words)} | {statistics.median(r['cpu_us'] for r in cells):.1f} |")


def load():
    return f"Load of the machine: {os.getloadavg()[0]:.1f}"


def held(b, report, a):
    report(f"\nHighest rate held: every answer came, and 99 % of the last third's within {HELD_MS} ms; steps"
           f" {STEPS[0]:,} to {STEPS[-1]:,}, {a.seconds} s behind 3 s to warm up. {load()}.\n")
    report("| | | events/s | p50, ms | p99, ms | CPU, us/event |\n|---|---|---:|---:|---:|---:|")
    for mode in MODES:
        for kind in ["bare", "quern"] + (["streams"] if b.streams else []):
            best = None
            for rate in ([25_000, 50_000] if kind == "streams" else []) + STEPS:
                r = b.cell(kind, mode, rate, a.seconds, 3)
                if r["missing"] or r["last_ms"][1] > HELD_MS:
                    r = b.cell(kind, mode, rate, a.seconds, 3)  # a neighbour's moment
                if r["missing"] or r["last_ms"][1] > HELD_MS:
                    break
                best = r
            words = "none | - | - | -" if best is None else (
                f"{best['rate']:,} | {best['ms'][0]:.1f} | {best['ms'][1]:.1f} | {best['cpu_us']:.1f}")
            report(f"| {MODES[mode]} | {NAMES[kind]} | {words} |")


# --- reading and decoding --------------------------------------------------------------------------------------------

ALONE = "outputs:\n  predictions: {when: amount < 0}\n"


def read_rate(b, p, group, topic, total):
    """Events a second from when the first ones are not yet committed until the last ones are, and CPU per event."""
    from confluent_kafka import Consumer, TopicPartition

    c = Consumer({"bootstrap.servers": b.broker.bootstrap, "group.id": group})
    seen = [(time.monotonic(), 0, p.cpu())]
    while seen[-1][1] < total:
        got = c.committed([TopicPartition(topic, n) for n in range(PARTITIONS)], timeout=20)
        seen.append((time.monotonic(), sum(max(0, o.offset) for o in got), p.cpu()))
        if p.process.poll() is not None:
            raise SystemExit(f"bench: {p.name} left:\n{p.said()[-2000:]}")
        time.sleep(0.005)
    c.close()
    first = [s for s in seen if s[1] == 0][-1]
    last = seen[-1]
    return total / (last[0] - first[0]), (last[2] - first[2]) / total * 1e6


def drain(b, cell, total):
    out = subprocess.run(fast([b.tool, "drain", b.broker.bootstrap, cell, str(total)]), stdout=subprocess.PIPE,
                         text=True, check=True).stdout
    r = json.loads(out)
    return r["events"] / r["seconds"], r["cpu"] / r["events"] * 1e6


def reading(b, report, a):
    total = 1_000_000 if a.quick else 5_000_000
    cell = b.topics("read")
    subprocess.run(fast([b.tool, "fill", b.broker.bootstrap, cell, str(total), str(KEYS)]), check=True)
    rates = {"bare": [], "quern": [], "job": []}
    for n in range(a.passes):
        rates["bare"].append(drain(b, cell, total))
        for kind, what in (("quern", ALONE), ("job", job())):
            more = f"{cell}-{kind}{n}"
            file = spec(path(more), b.broker, cell, "exact", what)
            with open(file, encoding="utf-8") as f:
                text = f.read().replace(f"group: {cell}", f"group: {more}")
            with open(file, "w", encoding="utf-8") as f:
                f.write(text)
            with Quern(more, b.quern, file, waits=False) as p:
                rates[kind].append(read_rate(b, p, more, cell, total))
            shutil.rmtree(path(more), ignore_errors=True)
    b.remove(cell)
    report(f"\nA topic of {total:,} events of 200 bytes in {PARTITIONS} partitions, read to its end. {load()}.\n")
    report("| | events/s, median (best) | CPU, us/event | goal |\n|---|---:|---:|---:|")
    for kind, what, goal in (("bare", "consumed alone, one thread in C", ""),
                             ("quern", "**Quern, decoded, no features, no answers, exactly once**", "1,000,000"),
                             ("job", "**Quern, the job, exactly once**", "")):
        events = [r[0] for r in rates[kind]]
        report(f"| {what} | {statistics.median(events):,.0f} ({max(events):,.0f})"
               f" | {statistics.median(r[1] for r in rates[kind]):.2f} | {goal} |")


# --- a process less --------------------------------------------------------------------------------------------------


def rebalance(b, report, a):
    keys = 100_000 if a.quick else 1_000_000
    rate = 10_000
    cell = b.topics("move")
    more = ", settings: [session.timeout.ms=3000, heartbeat.interval.ms=500]"
    file = spec(path(cell), b.broker, cell, "exact", job(), more)
    subprocess.run(fast([b.tool, "fill", b.broker.bootstrap, cell, str(keys), str(keys)]), check=True)
    found, first = {}, keys
    with Quern(cell + "-a", b.quern, file) as one:
        one.until(lambda: read_of(one) >= keys)
        for what in ("a second process comes", "it ends (SIGTERM)", "it is killed (session 3 s)"):
            two = Quern(cell + "-b", b.quern, file)
            if what != "a second process comes":
                two.__enter__()
                two.until(lambda: len(two.ours()) == PARTITIONS // 2, 60)
                time.sleep(1)
            seconds = 4 if a.quick else 12
            before = b.load(cell, rate, seconds, 2, keys, first)
            before.stderr.readline()  # it has begun
            time.sleep(3)
            if what == "a second process comes":
                two.__enter__()
            elif "killed" in what:
                two.kill()
            else:
                two.end()
            r = b.loaded(before)
            first += r["asked"]
            if r["missing"] or r["doubled"] or r["foreign"]:
                b.right = False
                say(f"bench: WRONG: {what}: {r['missing']} missing, {r['doubled']} twice")
            found[what] = max(r["longest_ms"]), r["ms"]
            two.end()
            one.until(lambda: len(one.ours()) == PARTITIONS, 60)
    b.remove(cell)
    report(f"\nTwo processes with {keys:,} customers, {rate:,} events/s, exactly once: the longest silence of a"
           f" partition, and latency of all events meanwhile. {load()}.\n")
    report("| | longest silence, s | p50, ms | p99, ms | goal |\n|---|---:|---:|---:|---:|")
    for what, (ms, quantiles) in found.items():
        goal = "< 3 s" if "SIGTERM" in what or "comes" in what else "session + 3 s"
        report(f"| {what} | {ms / 1e3:.2f} | {quantiles[0]:,.1f} | {quantiles[1]:,.1f} | {goal} |")


def read_of(p):
    status, text = p.get("/v1/status")
    return sum(s["read"] for s in json.loads(text)["streams"]) if status == 200 else 0


# --- all -------------------------------------------------------------------------------------------------------------


def start_broker():
    """The broker of the tests, with the compiler and memory that servers run with; None, and said, where it cannot."""
    sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
    try:
        import kafka_broker
        import pytest
    except ImportError as why:
        say(f"bench: skipped: {why} (the tests' Python environment: ./dev check makes it)")
        return None
    kafka_broker.JAVA = ["-Xmx1g", "-XX:+UseSerialGC", "-cp"]
    shutil.rmtree(path("broker"), ignore_errors=True)
    os.makedirs(path("broker"))
    try:
        return kafka_broker.Broker(path("broker"), "broker.session.timeout.ms=9000\nlog.segment.bytes=268435456\n")
    except pytest.skip.Exception as why:
        say(f"bench: skipped: {why}")
        return None


def main(quern, a, head):
    global REALTIME
    REALTIME = a.realtime
    a.passes = 1 if a.quick else a.passes
    os.makedirs(WORK, exist_ok=True)
    if "librdkafka" not in subprocess.run([quern, "version"], stdout=subprocess.PIPE, text=True, check=True).stdout:
        say("bench: skipped: this program was built without librdkafka (Debian: librdkafka-dev)")
        return 0
    broker = start_broker()
    if broker is None:
        return 0
    if REALTIME:
        subprocess.run(["chrt", "-a", "-r", "-p", "1", str(broker.process.pid)], check=True)
    try:
        write_forest()
        streams, why = build_streams()
        b = Bench(broker, quern, compiled("bench_kafka", WORK), streams)
        report = Report()
        report(head)
        report(f"Kafka {os.path.basename(os.path.dirname(os.path.dirname(broker.classes)))[6:]}, {java()}")
        if streams is None:
            report(f"\nKafka Streams: skipped: {why}.")
        wanted = a.only or ["latency", "stages", "read", "rebalance"] + ([] if a.quick else ["held"])
        warm_up(b, a)
        parts = {"latency": latency, "stages": stages, "read": reading, "rebalance": rebalance, "held": held}
        for name, part in parts.items():
            if name in wanted:
                part(b, report, a)
        report(f"\nAnswers: {'right' if b.right else 'WRONG'}.")
        say(f"bench: the tables are in {path('table.md')}")
        return 0 if b.right else 3
    finally:
        broker.stop()
        shutil.rmtree(path("broker"), ignore_errors=True)


def java():
    said = subprocess.run(["java", "-version"], stderr=subprocess.PIPE, text=True, check=True).stderr
    return said.splitlines()[0].replace('"', "")


def warm_up(b, a):
    """A broker that has just begun is slow: its code is compiled while it works."""
    cell = b.topics("warm")
    with b.contender("bare", "exact", cell):
        b.loaded(b.load(cell, 50_000, 2 if a.quick else 30, 1))
    b.remove(cell)
