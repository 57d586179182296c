#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks behind `./dev bench`.

job    585,177 card transactions as NDJSON in, 14 exact window features, a 100-tree XGBoost score, NDJSON out: Quern
       with one and two threads, beside polars + XGBoost, pandas + XGBoost and a loop written by hand in Rust, where
       those are there (../shared/peers). All runs of a pass come one after the other, passes are repeated, and medians
       are compared: what else the machine does hits everybody. Answers are checked before numbers are believed.
models one forest in Quern, XGBoost, LightGBM, ONNX Runtime, lleaves and YDF, and CatBoost's own in Quern and CatBoost.
parts  bench_*.c: nanoseconds of decoder, numbers, windows, forest kernels.
kafka  `log: kafka:` with a broker: latency beside a bare loop and Kafka Streams, highest rates, rebalances (kafka.py).
service `quern run`: log to log, appends beside SQLite, latency over HTTP, restart (service.py).

Data: ../shared/data/fraud where it is there, else events that `quern demo --write-events` makes (no published answers
then).
"""

import argparse
import csv
import gzip
import hashlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys

from compiled import compiled

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, "build", "bench")
SHARED = os.environ.get("QUERN_SHARED", os.path.join(ROOT, "..", "shared"))
PEERS = os.path.join(SHARED, "peers")
FRAUD = os.path.join(SHARED, "data", "fraud")
EVENTS = 585177
TREES, DEPTH = 100, 6
EXAMPLE = os.path.join(ROOT, "examples", "card-fraud")


def say(text):
    print(text, file=sys.stderr, flush=True)


def path(*parts):
    return os.path.join(WORK, *parts)


# --- what one run cost -----------------------------------------------------------------------------------------------


def run(name, command, env=None, events=EVENTS):
    """Runs a command; wall and CPU seconds, peak memory of the process, and what it says about itself on stderr."""
    measure = [sys.executable, "-S", "-E", os.path.join(ROOT, "bench", "measure.py"), path("cost.json")]
    with open(path("stderr.txt"), "wb") as err:
        subprocess.run(
            measure + command,
            cwd=WORK,
            env={**os.environ, **(env or {})},
            stdout=subprocess.DEVNULL,
            stderr=err,
            check=True,
        )
    with open(path("stderr.txt"), encoding="utf-8", errors="replace") as f:
        words = f.read()
    with open(path("cost.json"), encoding="utf-8") as f:
        r = json.load(f)
    if r["rc"] != 0:
        sys.exit(f"bench: {name} failed with {r['rc']}:\n{words[-2000:]}")
    r.update(name=name, events=events)
    # Peers tell the time without imports and start-up; ours is counted whole, start-up included.
    if m := re.search(r"STEADY seconds=([\d.]+)", words):
        r["wall"] = float(m.group(1))
    if m := re.search(r"steady_cpu=([\d.]+)", words):
        r["cpu"] = float(m.group(1))
    for line in words.splitlines():
        if line.startswith("{") and "total_ns" in line:
            r["stages"] = json.loads(line)
    return r


def spread(values, digits=0):
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


# --- data and model --------------------------------------------------------------------------------------------------


def make_events(quern):
    """data/tx.ndjson, once."""
    out = path("data", "tx.ndjson")
    if os.path.exists(out):
        return
    source = os.path.join(FRAUD, "transactions-2018-04-05.csv.gz")
    if not os.path.exists(source):
        say(f"bench: no {FRAUD}: generated events instead")
        subprocess.run([quern, "demo", "--write-events", out, "--events", str(EVENTS)], check=True)
        return
    with gzip.open(source, "rt", newline="") as f, open(out + ".part", "w", encoding="utf-8") as o:
        for r in csv.DictReader(f):
            o.write(
                f'{{"transaction_id":"{r["transaction_id"]}","created_at":"{r["tx_datetime"]}",'
                f'"customer_id":"{r["customer_id"]}","terminal_id":"{r["terminal_id"]}",'
                f'"amount":{float(r["tx_amount"])!r},"tx_fraud":{"true" if r["tx_fraud"] == "1" else "false"}}}\n'
            )
    os.rename(out + ".part", out)


def spec(name, model, outputs):
    """The example's spec with another model file and other outputs; model None: without a model."""
    with open(os.path.join(EXAMPLE, "card-fraud.yaml"), encoding="utf-8") as f:
        text = f.read()
    if model is None:
        text = text[: text.index("\nmodels:")] + "\n"
    else:
        text = text[: text.index("\noutputs:")].replace("fraud.ubj", model) + "\n"
    out = path(name)
    with open(out, "w", encoding="utf-8") as f:
        f.write(text + outputs)
    return out


FEATURES = [
    "weekend",
    "night",
    "customer_count_1d",
    "customer_mean_1d",
    "customer_count_7d",
    "customer_mean_7d",
    "customer_count_30d",
    "customer_mean_30d",
    "terminal_count_1d",
    "terminal_risk_1d",
    "terminal_count_7d",
    "terminal_risk_7d",
    "terminal_count_30d",
    "terminal_risk_30d",
]
EXACT = [i for i, n in enumerate(FEATURES) if "mean" not in n]
MEANS = [i for i, n in enumerate(FEATURES) if "mean" in n]


def read_table(file):
    """The numbers and booleans of a CSV with a header, as a dict of float64 columns."""
    import numpy as np
    import pandas as pd

    d = pd.read_csv(file, engine="pyarrow")
    return {c: d[c].to_numpy().astype(np.float64) for c in d.columns if d[c].dtype.kind in "bif"}


def make_model(quern):
    """model/fraud.json and data/expected.npz, once: from the published features where they are there, else ours."""
    import numpy as np
    import xgboost as xgb

    if os.path.exists(path("data", "expected.npz")):
        return
    say("bench: training the model")
    published = os.path.join(FRAUD, "features-2018-04-05.csv.gz")
    own = path("out", "own.csv")
    subprocess.run(
        [
            quern,
            "features",
            spec("features.yaml", None, ""),
            "--input",
            "transactions=" + path("data", "tx.ndjson"),
            "--output",
            own,
            "--quiet",
        ],
        check=True,
    )
    ours = read_table(own)
    if os.path.exists(published):
        table = read_table(published)
        x = np.column_stack([ours["amount"]] + [table[c] for c in table if c != "transaction_id"])
    else:
        x = np.column_stack([ours["amount"]] + [ours[c] for c in FEATURES])
    month = len(x) // 2
    params = {
        "objective": "binary:logistic",
        "base_score": 0.5,
        "max_depth": DEPTH,
        "eta": 0.3,
        "tree_method": "hist",
        "nthread": 2,
        "seed": 0,
    }
    x32 = x.astype(np.float32)
    booster = xgb.train(params, xgb.DMatrix(x32[:month], label=ours["tx_fraud"][:month]), TREES)
    booster.save_model(path("model", "fraud.json"))
    booster = xgb.Booster(model_file=path("model", "fraud.json"))
    np.savez(path("data", "expected.npz"), id=np.arange(len(x)), X=x, score=booster.inplace_predict(x32))


# --- are the answers right? ------------------------------------------------------------------------------------------


def sha256(file):
    with open(file, "rb") as f:
        return (
            hashlib.file_digest(f, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else hashlib.sha256(f.read()).hexdigest()
        )


def check_quern():
    """Features by the data set's rule (counts, flags, risks exactly; averages to 1e-9), scores bit for bit."""
    import numpy as np
    import orjson

    e = np.load(path("data", "expected.npz"))
    own = read_table(path("out", "features.csv"))
    f = np.column_stack([own[c] for c in FEATURES])
    tied = np.zeros(len(f), bool)
    if os.path.exists(os.path.join(FRAUD, "tied-transactions.txt")):
        with open(os.path.join(FRAUD, "tied-transactions.txt"), encoding="utf-8") as t:
            tied[[int(w) for w in re.findall(r"\d+", t.read()) if int(w) < len(f)]] = True
    wrong = (f[:, EXACT] != e["X"][:, 1:][:, EXACT]).any(1) | (
        np.abs(f[:, MEANS] - e["X"][:, 1:][:, MEANS]) > 1e-9
    ).any(1)
    with open(path("out", "quern-1.ndjson"), "rb") as p:
        scores = np.array([orjson.loads(line)["score"] for line in p])
    # Where our mean differs in the last bit from the published one (theirs is a float sum), float32 may round apart.
    same = (f.astype(np.float32) == e["X"][:, 1:].astype(np.float32)).all(1)
    import xgboost as xgb

    booster = xgb.Booster(model_file=path("model", "fraud.json"))
    x = np.column_stack([own["amount"], f]).astype(np.float32)
    exact = scores.astype(np.float32) == booster.inplace_predict(x)
    lines = [
        f"features: {int((wrong & ~tied).sum())} of {len(f):,} rows differ from the expected ones"
        f" ({int((wrong & tied).sum())} more among {int(tied.sum())} rows with equal times, where any order is right);"
        f" largest difference of an average {np.abs(f - e['X'][:, 1:])[~tied][:, MEANS].max():.2g}",
        f"scores: {int((~exact).sum())} differ from XGBoost's own predictions on these features;"
        f" {int((scores.astype(np.float32) != e['score'])[same].sum())} from those on the expected features",
        "two threads: "
        + (
            "the same bytes"
            if sha256(path("out", "quern-1.ndjson")) == sha256(path("out", "quern-2.ndjson"))
            else "OTHER BYTES"
        ),
    ]
    good = not (wrong & ~tied).any() and exact.all() and "OTHER" not in lines[2]
    return good, lines


def check_peers(names):
    """The peers' own checker on the peers' answers."""
    lines = []
    checker = os.path.join(PEERS, "check.py")
    for name in names:
        out = path("out", name + ".ndjson")
        if os.path.exists(checker) and os.path.exists(out):
            p = subprocess.run(
                [sys.executable, checker, out],
                env={**os.environ, "DATA": path("data")},
                capture_output=True,
                text=True,
                check=False,
            )
            lines.append(
                f"{name}: {(p.stdout or p.stderr).strip().splitlines()[-1] if p.stdout or p.stderr else 'no answer'}"
            )
    return lines


# --- the contenders --------------------------------------------------------------------------------------------------


def build_rust():
    """The peers' Rust loop, built in build/bench; None without cargo or peers."""
    binary = path("rust", "target", "release", "fraud14")
    if os.path.exists(binary):
        return binary
    if shutil.which("cargo") is None or not os.path.isdir(os.path.join(PEERS, "rust")):
        say("bench: no cargo or no ../shared/peers/rust: without the Rust loop")
        return None
    say("bench: building the Rust loop (a minute, once)")
    shutil.copytree(os.path.join(PEERS, "rust"), path("rust"), dirs_exist_ok=True, copy_function=shutil.copyfile)
    p = subprocess.run(
        ["cargo", "build", "--quiet", "--release"],
        cwd=path("rust"),
        check=False,
        env={**os.environ, "RUSTFLAGS": "-C target-cpu=native"},
    )
    return binary if p.returncode == 0 else None


def contenders(quern, alone):
    """(key, what it is, command, environment) in the order of a pass."""
    tx = "transactions=" + path("data", "tx.ndjson")
    model = os.path.join(EXAMPLE, "fraud.ubj") if alone else path("model", "fraud.json")
    job = spec("job.yaml", os.path.relpath(model, WORK), "")
    only = spec("only.yaml", None, "outputs:\n  predictions: {when: amount < 0}\n")
    feats = spec("features.yaml", None, "")
    common = ["--input", tx, "--quiet", "--timing"]
    rows = [
        ("quern-only", "Quern, features only, nothing written", [quern, "pipe", only] + common, {}),
        (
            "quern-features",
            "Quern, features to CSV",
            [quern, "features", feats, "--output", "out/features.csv"] + common,
            {},
        ),
        (
            "quern-1",
            "Quern, the job, 1 thread",
            [quern, "pipe", job, "--output", "predictions=out/quern-1.ndjson"] + common,
            {},
        ),
        (
            "quern-2",
            "Quern, the job, 2 threads",
            [quern, "pipe", job, "--output", "predictions=out/quern-2.ndjson", "--threads", "2"] + common,
            {},
        ),
    ]
    if alone:
        return rows
    python = {
        "PYTHONPATH": os.path.join(PEERS, "python"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NT": "1",
        "POLARS_MAX_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    if os.path.isdir(PEERS):
        if rust := build_rust():
            io = ["data/tx.ndjson", "out/rust.ndjson", "model/fraud.json"]
            rows.append(
                (
                    "rust",
                    "Rust by hand, the job (serde, batched trees)",
                    [rust] + io + ["--json", "serde", "--score", "many", "--batch", "256"],
                    {},
                )
            )
            rows.append(
                (
                    "rust-only",
                    "Rust by hand, features only",
                    [rust, "data/tx.ndjson", "out/none.ndjson", "model/fraud.json", "--score", "features"],
                    {},
                )
            )
        for key, what, script in (
            ("polars", "polars + XGBoost, whole file at once", "polars_batch.py"),
            ("pandas", "pandas + XGBoost, whole file at once", "pandas_fast.py"),
        ):
            rows.append(
                (
                    key,
                    what,
                    [sys.executable, os.path.join(PEERS, "python", script), "data/tx.ndjson", f"out/{key}.ndjson"],
                    python,
                )
            )
    else:
        say(f"bench: no {PEERS}: Quern alone")
    return rows


def machine():
    cpu = "unknown CPU"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f}"


def versions(quern, alone):
    words = [subprocess.run([quern, "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]]
    if not alone:
        import pandas
        import polars
        import xgboost

        words += [f"polars {polars.__version__}", f"pandas {pandas.__version__}", f"XGBoost {xgboost.__version__}"]
    words.append(f"Python {platform.python_version()}")
    return ", ".join(words)


def table(rows, results):
    base = statistics.median(r["events"] / r["cpu"] for r in results["quern-1"])
    print(
        "\n| | events/s per CPU second, median (min-max) | events/s of wall time | peak MB | CPU, Quern's job = 1 |"
    )
    print("|---|---:|---:|---:|---:|")
    for key, what, _, _ in rows:
        rs = results[key]
        cpu = [r["events"] / r["cpu"] for r in rs]
        wall = [r["events"] / r["wall"] for r in rs]
        print(
            f"| {what} | {spread(cpu)} | {spread(wall)} | {max(r['mb'] for r in rs):,.0f} |"
            f" {base / statistics.median(cpu):.2f} |"
        )


def stages(results):
    print("\nNanoseconds per event and stage (medians; with two threads: of wall time):\n")
    keys = [k for k in ("quern-only", "quern-features", "quern-1", "quern-2") if "stages" in results[k][0]]
    if not keys:
        return
    names = [n[:-3] for n in results[keys[0]][0]["stages"] if n.endswith("_ns") and n != "total_ns"]
    print("| | " + " | ".join(names) + " | all |\n|---|" + "---:|" * (len(names) + 1))
    for k in keys:
        per = {
            n: statistics.median(r["stages"][n + "_ns"] / r["stages"]["events"] for r in results[k])
            for n in names + ["total"]
        }
        print(f"| {k} | " + " | ".join(f"{per[n]:.0f}" for n in names) + f" | {per['total']:.0f} |")
    print(f"\nEngine's own memory: {max(r['stages']['bytes'] for r in results['quern-1']) / 1e6:.0f} MB")


def program():
    """A copy of build/quern (or of $QUERN), so that a build meanwhile disturbs nothing."""
    for d in ("data", "model", "out"):
        os.makedirs(path(d), exist_ok=True)
    shutil.copy2(os.environ.get("QUERN", os.path.join(ROOT, "build", "quern")), path("quern"))
    return path("quern")


def job(a):
    quern = program()
    make_events(quern)
    if not a.alone:
        make_model(quern)
    rows = [r for r in contenders(quern, a.alone) if not a.only or r[0] in a.only or r[0] == "quern-1"]
    print(f"{machine()}\n{versions(quern, a.alone)}\n{EVENTS:,} events, {a.passes} interleaved passes")
    results = {key: [] for key, _, _, _ in rows}
    for n in range(a.passes + 1):
        for key, what, command, env in rows:
            r = run(key, command, env)
            pass_name = "warm-up" if n == 0 else f"pass {n}"
            say(f"bench: {pass_name}: {what}: {r['events'] / r['cpu']:,.0f} events per CPU second")
            if n > 0:
                results[key].append(r)
    table(rows, results)
    stages(results)
    if "quern-2" in results:
        one = statistics.median(r["wall"] for r in results["quern-1"])
        two = statistics.median(r["wall"] for r in results["quern-2"])
        print(f"\nTwo threads: {one / two:.2f} times as fast (wall time)")
    with open(path("results.json"), "w", encoding="utf-8") as f:
        json.dump(results, f, indent=1)
    if a.alone or a.only:
        return 0
    good, lines = check_quern()
    print("\nAnswers of Quern: " + ("right" if good else "WRONG"))
    for line in lines + check_peers(["polars", "pandas", "rust"]):
        print("- " + line)
    return 0 if good else 3


# --- parts -----------------------------------------------------------------------------------------------------------


# The tools of `models`, `service` and `kafka`.
NO_PARTS = ("bench_peers", "bench_onnx", "bench_service", "bench_http", "bench_kafka")


def parts(a):
    """Builds and runs bench_*.c against the libraries of build/."""
    make_events(program())
    model = os.path.join(EXAMPLE, "fraud.ubj")
    with_file = {"bench_decode": [path("data", "tx.ndjson")], "bench_model": [model], "bench_explain": [model]}
    for f in sorted(os.listdir(os.path.join(ROOT, "bench"))):
        name, ending = os.path.splitext(f)
        if ending != ".c" or name in NO_PARTS or (a.only and name not in a.only):
            continue
        part = compiled(name, WORK)
        print(f"\n{name}", flush=True)
        subprocess.run([part] + with_file.get(name, []), check=True)
    return 0


def main():
    p = argparse.ArgumentParser(
        prog="dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("what", nargs="?", choices=["job", "models", "parts", "service", "kafka"], default="job")
    p.add_argument("--passes", type=int, default=5, metavar="N", help="timed passes after one to warm up (default 5)")
    p.add_argument(
        "--alone", action="store_true", help="Quern without peers, with the example's model: needs no Python package"
    )
    p.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="only these: quern-only quern-features quern-2 rust rust-only polars"
        " pandas (and quern-1, always); parts: bench_decode, ...; service: engine disk http restart; kafka: latency"
        " held read rebalance stages",
    )
    p.add_argument("--quick", action="store_true", help="kafka: one short pass, without the highest rates")
    p.add_argument("--seconds", type=int, default=8, metavar="N", help="kafka: of a step of `held` (default 8)")
    p.add_argument(
        "--realtime", action="store_true", help="service, kafka: under `chrt -r`, where others use the machine too"
    )
    a = p.parse_args()
    if a.what == "models":
        import models

        return models.main(a.passes)
    if a.what == "service":
        import service

        quern = program()
        make_events(quern)
        print(f"{machine()}\n{versions(quern, True)}")
        return service.main(quern, path("data", "tx.ndjson"), a.passes, a.only, a.realtime)
    if a.what == "kafka":
        import kafka

        quern = program()
        return kafka.main(quern, a, f"{machine()}\n{versions(quern, True)}")
    return parts(a) if a.what == "parts" else job(a)


if __name__ == "__main__":
    sys.exit(main())
