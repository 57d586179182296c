# SPDX-License-Identifier: Apache-2.0
"""`./dev bench service`: the running service, durable to the disk it lies on.

engine   from log to log (bench_service.c), the job's 14 features and forest, 1 and 2 threads
disk     appends beside plain write + fdatasync of the same bytes (bench_log.c), and beside SQLite in WAL mode with
         synchronous=FULL, which is what one would otherwise write events to without a server
http     `quern run` under a load that does not wait (bench_http.c): latency at given rates, and the highest rate held
restart  1,000,000 keys, a snapshot, more events, SIGKILL: how long until /readyz, and without the snapshot; how long
         the engine stands still for snapshots under load

Every cell has a log of its own in build/bench/service; passes are interleaved, and medians are shown with the best,
because a disk and cores that others use too differ by the minute. --realtime runs everything under `chrt -r`, so that
other processes do not push it aside; they still share caches, memory and the disk. The load runs on the same machine.
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import time

from compiled import ROOT, compiled

WORK = os.path.join(ROOT, "build", "bench", "service")
PORT = int(os.environ.get("QUERN_BENCH_PORT", "8091"))
HELD_MS = 100  # a rate is held while p99 stays below
KEYS, KEY_RATE = 1_000_000, 20  # distinct customers, and their events in a second of event time
REALTIME = False  # --realtime
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def path(*parts):
    return os.path.join(WORK, *parts)


def make_spec(name, example, **changes):
    """The example with a log in WORK and, over HTTP, room for events that overtake each other."""
    text = open(example, encoding="utf-8").read()
    text = text[: text.index("\noutputs:")] + "\n"
    text = text.replace("file: fraud.ubj", "file: " + os.path.join(os.path.dirname(example), "fraud.ubj"))
    text = re.sub(r"\nlog: .*\n", f"\nlog: local:./{name}.log\n{changes.get('more', '')}", text)
    text = text.replace("lateness: 10s", f"lateness: {changes.get('lateness', '10s')}")
    with open(path(name + ".yaml"), "w", encoding="utf-8") as f:
        f.write(text)
    return path(name + ".yaml"), path(name + ".log")


def fast(command):
    """The command, before other processes where that was asked for."""
    return ["chrt", "-r", "1", *command] if REALTIME else command


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)


def load():
    return f"load {os.getloadavg()[0]:.1f}"


def median(values, digits):
    return f"{statistics.median(values):,.{digits}f}"


# --- engine ----------------------------------------------------------------------------------------------------------


def engine(tools, example, events, passes):
    spec, log = make_spec("engine", example)
    results = {1: [], 2: []}
    for n in range(passes + 1):  # the first to warm up
        for threads, cells in results.items():
            remove(log)
            command = fast([tools["bench_service"], spec, events, str(threads)])
            p = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            if n > 0:
                cells.append(json.loads(p.stdout))
    remove(log)
    print(f"\nEngine, local log to local log, durable ({passes} passes, {load()}):\n")
    print("| | events/s per CPU second, median (best) | events/s of wall time, median (best) | MB written | syncs |")
    print("|---|---:|---:|---:|---:|")
    for threads, cells in results.items():
        cpu = [r["events"] / r["cpu"] for r in cells]
        wall = [r["events"] / r["wall"] for r in cells]
        print(
            f"| {threads} thread{'s' if threads > 1 else ''} | {median(cpu, 0)} ({max(cpu):,.0f})"
            f" | {median(wall, 0)} ({max(wall):,.0f}) | {cells[0]['bytes_out'] / 1e6:,.0f}"
            f" | {median([r['syncs'] for r in cells], 0)} |"
        )


# --- disk ------------------------------------------------------------------------------------------------------------


def sqlite_appends(per_sync, seconds=2):
    """Events a second into a table with an ascending key, one transaction per per_sync."""
    file = path("appends.sqlite")
    for ending in ("", "-wal", "-shm"):
        if os.path.exists(file + ending):
            os.remove(file + ending)
    db = sqlite3.connect(file, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE events (offset INTEGER PRIMARY KEY, time INTEGER, key BLOB, value BLOB)")
    rows = [(i, b"k" * 16, b"v" * 184) for i in range(per_sync)]
    n, start = 0, time.monotonic()
    while time.monotonic() - start < seconds:
        db.execute("BEGIN")
        db.executemany("INSERT INTO events (time, key, value) VALUES (?, ?, ?)", rows)
        db.execute("COMMIT")
        n += per_sync
    rate = n / (time.monotonic() - start)
    db.close()
    os.remove(file)
    return rate


def disk(tools, passes):
    rates = {}
    for _ in range(passes):
        out = subprocess.run(fast([tools["bench_log"], WORK]), check=True, stdout=subprocess.PIPE, text=True).stdout
        for m in re.finditer(r"append +([\d.]+) events/s at +(\d+) per append; plain write\+fdatasync +([\d.]+)", out):
            cell = rates.setdefault(int(m.group(2)), {"log": [], "plain": [], "sqlite": []})
            cell["log"].append(float(m.group(1)))
            cell["plain"].append(float(m.group(3)))
        for per_sync, cell in rates.items():
            cell["sqlite"].append(sqlite_appends(per_sync))
    print(f"\nAppends of 200-byte events, events/s, median (best) of {passes} passes, SQLite {sqlite3.sqlite_version}"
          f" ({load()}):\n")
    print("| events per sync | Quern's log | plain write + fdatasync | SQLite, WAL, synchronous=FULL |")
    print("|---:|---:|---:|---:|")
    for per_sync, cell in rates.items():
        words = [f"{median(cell[k], 0)} ({max(cell[k]):,.0f})" for k in ("log", "plain", "sqlite")]
        print(f"| {per_sync:,} | {' | '.join(words)} |")


# --- http ------------------------------------------------------------------------------------------------------------


class Server:
    """`quern run` until the block ends."""

    def __init__(self, quern, spec, keep=None):
        self.command = [quern, "run", spec, "--http", f"127.0.0.1:{PORT}", "--log-level", "warn"]
        self.log = None if keep else spec[: -len(".yaml")] + ".log"

    def __enter__(self):
        if self.log:
            remove(self.log)
        self.began = time.monotonic()
        self.process = subprocess.Popen(fast(self.command))
        while self.get("/readyz")[0] != 200:
            if self.process.poll() is not None:
                raise SystemExit(f"bench: quern run left with {self.process.returncode}")
            time.sleep(0.005)
        self.ready_s = time.monotonic() - self.began
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
        if self.log:
            remove(self.log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def get(self, what):
        c = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        try:
            c.request("GET", what)
            r = c.getresponse()
            return r.status, r.read().decode()
        except (OSError, socket.timeout):
            return 0, ""
        finally:
            c.close()

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            words = f.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / CLOCK_TICKS


def ask(tools, events, what, rate, batch, seconds, first=0):
    """One run of the load; rate in events a second."""
    command = [tools["bench_http"], str(PORT), f"/v1/streams/transactions/{what}", events]
    command += [str(rate / batch), str(batch), str(seconds), "256", str(first)]
    p = subprocess.run(fast(command), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(p.stdout)


def one_cell(quern, tools, spec, events, what, rate, batch, seconds):
    with Server(quern, spec) as server:
        ask(tools, events, what, 500, 50, 1)  # threads, pages and the first keys
        before = server.cpu()
        r = ask(tools, events, what, rate, batch, seconds, 500)
        r["cpu_us"] = (server.cpu() - before) / max(1, r["done"] * batch) * 1e6
    return r


CELLS = [(1, 1, 10), (1000, 1, 5), (10000, 1, 5), (1000, 100, 5), (10000, 100, 5)]
STEPS = {1: [5000, 10000, 15000, 20000, 30000, 40000], 100: [25000, 50000, 100000, 150000, 200000, 300000]}


def is_held(r):
    return r["lost"] == 0 and r["other"] == 0 and r["ms"][2] < HELD_MS


def highest(quern, tools, spec, events, what, batch, tries):
    """The highest step that was held in one of the tries."""
    best = None
    for rate in STEPS[batch]:
        for _ in range(tries):
            r = one_cell(quern, tools, spec, events, what, rate, batch, min(3, 500_000 / rate))
            if is_held(r):
                best = r
                break
        else:
            break
    return best


def over_http(quern, tools, example, events, passes):
    spec, _ = make_spec("http", example, lateness="1d")
    results = {}
    for _ in range(passes):
        for what in ("score", "events"):
            for rate, batch, seconds in CELLS:
                r = one_cell(quern, tools, spec, events, what, rate, batch, seconds)
                results.setdefault((what, rate, batch), []).append(r)
    print(f"\nHTTP, durable before the answer, ms from when a request was due; medians of {passes} passes (best pass),"
          f" 256 connections; failed: not answered, or not with 200 ({load()}):\n")
    print("| | events/s | per request | p50 | p99 | p99.9 | failed | CPU of the server, us/event |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for (what, rate, batch), cells in results.items():
        times = [[r["ms"][q] for r in cells] for q in (0, 2, 3)]
        words = [f"{median(t, 1)} ({min(t):,.1f})" for t in times]
        cpu = median([r["cpu_us"] for r in cells], 1)
        if rate < 100:  # too few to speak of
            words[1] = words[2] = cpu = "-"
        print(f"| `{what}` | {rate:,} | {batch} | {' | '.join(words)} | {sum(r['lost'] + r['other'] for r in cells)}"
              f" | {cpu} |")
    print(f"\nHighest rate held (p99 < {HELD_MS} ms, all answered with 200; steps {STEPS[1]} and {STEPS[100]};"
          f" {passes} tries a step; {load()}):\n")
    print("| | per request | events/s | p50 | p99 |\n|---|---:|---:|---:|---:|")
    for what in ("score", "events"):
        for batch in (1, 100):
            r = highest(quern, tools, spec, events, what, batch, passes)
            words = "none | - | -" if r is None else f"{r['rate'] * batch:,.0f} | {r['ms'][0]:.1f} | {r['ms'][2]:.1f}"
            print(f"| `{what}` | {batch} | {words} |")


# --- restart ---------------------------------------------------------------------------------------------------------


def make_keys(file, begin, count):
    """Events of that many customers, each one once; 10,000 terminals."""
    with open(file, "w", encoding="ascii") as f:
        stamp = ""
        for i in range(begin, begin + count):
            if i % KEY_RATE == 0 or not stamp:
                stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_600_000_000 + i // KEY_RATE))
            f.write(
                f'{{"transaction_id":"{i}","created_at":"{stamp}","customer_id":"c{i % KEYS}",'
                f'"terminal_id":"t{i * 7919 % 10007}","amount":{i % 900}.5,"tx_fraud":false}}\n'
            )


def pauses(text):
    """(count, sum, smallest bound with 99 % below it) of quern_snapshot_pause_seconds."""
    buckets = [(float(b), float(n)) for b, n in re.findall(r'pause_seconds_bucket\{le="([^"]+)"\} (\S+)', text)]
    total = buckets[-1][1]
    return total, float(re.search(r"pause_seconds_sum (\S+)", text).group(1)), next(
        (b for b, n in buckets if n >= 0.99 * total), float("inf")
    )


def restart(quern, tools, example):
    spec, log = make_spec("restart", example, lateness="1d", more="snapshots: {every: 3s}\n")
    first, more = path("keys.ndjson"), path("more.ndjson")
    make_keys(first, 0, KEYS)
    make_keys(more, KEYS, 200_000)
    remove(log)
    subprocess.run([tools["bench_service"], spec, first, "1"], check=True, stdout=subprocess.DEVNULL)
    with Server(quern, spec, keep=True) as server:
        clean = server.ready_s
        r = ask(tools, more, "events", 10000, 100, 15)
        count, total, p99 = pauses(server.get("/metrics")[1])
        status = json.loads(server.get("/v1/status")[1])
        server.kill()
    snapshots = sum(os.path.getsize(os.path.join(log, "snap", f)) for f in os.listdir(os.path.join(log, "snap")))
    with Server(quern, spec, keep=True) as server:
        killed = server.ready_s
        server.kill()
    remove(os.path.join(log, "snap"))
    with Server(quern, spec, keep=True) as server:
        without = server.ready_s
    remove(log)
    os.remove(first)
    os.remove(more)
    print(f"\nRestart with {KEYS:,} customers ({load()}):\n")
    print("| | |\n|---|---:|")
    print(f"| to /readyz after a clean stop | {clean:.2f} s |")
    print(f"| after SIGKILL under load, newest snapshot and the log behind it | {killed:.2f} s |")
    print(f"| after SIGKILL, every snapshot removed: {KEYS + r['done'] * 100:,} events replayed | {without:.2f} s |")
    print(f"| files of snapshots | {snapshots / 1e6:,.0f} MB |")
    print(f"| pauses for snapshots every 3 s at 10,000 events/s: {count:.0f}, mean | {total / count * 1e3:.2f} ms |")
    print(f"| 99 % of them below | {p99 * 1e3:g} ms |")
    print(f"| the longest | {status['snapshot']['pause_ms']:.2f} ms |")
    print(f"| latency of `events` meanwhile, p50, p99 | {r['ms'][0]:.1f}, {r['ms'][2]:.1f} ms |")


# --- all -------------------------------------------------------------------------------------------------------------


def main(quern, events, passes, only, realtime):
    global REALTIME
    REALTIME = realtime
    example = os.path.join(ROOT, "examples", "card-fraud", "card-fraud.yaml")
    remove(WORK)
    os.makedirs(WORK)
    tools = {name: compiled(name, WORK) for name in ("bench_service", "bench_http", "bench_log")}
    wanted = only or ["engine", "disk", "http", "restart"]
    if "engine" in wanted:
        engine(tools, example, events, passes)
    if "disk" in wanted:
        disk(tools, passes)
    if "http" in wanted:
        over_http(quern, tools, example, events, passes)
    if "restart" in wanted:
        restart(quern, tools, example)
    return 0
