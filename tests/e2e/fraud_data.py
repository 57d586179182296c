# SPDX-License-Identifier: Apache-2.0
"""The Fraud Detection Handbook's transactions as Quern reads them: where they lie, as NDJSON, and the spec for them."""
import csv
import gzip
import os
import pathlib
import subprocess

ROOT = pathlib.Path(os.environ.get("QUERN_ROOT", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("QUERN_BUILD", ROOT / "build"))
SHARED = pathlib.Path(os.environ.get("QUERN_SHARED", ROOT.parent / "shared"))
QUERN = BUILD / "quern"
FRAUD = SHARED / "data" / "fraud"
TRANSACTIONS = FRAUD / "transactions-2018-04-05.csv.gz"
PUBLISHED = FRAUD / "features-2018-04-05.csv.gz"

FEATURES = [
    "weekend", "night",
    "customer_count_1d", "customer_mean_1d", "customer_count_7d", "customer_mean_7d",
    "customer_count_30d", "customer_mean_30d",
    "terminal_count_1d", "terminal_risk_1d", "terminal_count_7d", "terminal_risk_7d",
    "terminal_count_30d", "terminal_risk_30d",
]
INPUTS = ["amount"] + FEATURES

SPEC = """\
quern: 1
name: fraud
streams:
  transactions:
    id: transaction_id
    time: created_at
    key: customer_id
    fields:
      transaction_id: string
      created_at: {type: timestamp, from: tx_datetime}
      customer_id: string
      terminal_id: string
      amount: {type: AMOUNT_TYPE, from: tx_amount}
      tx_fraud: bool
features:
  weekend: weekday(created_at) >= 5
  night: hour(created_at) <= 6
"""
for days in (1, 7, 30):
    SPEC += f"  customer_count_{days}d: count() by customer_id over {days}d\n"
    SPEC += f"  customer_mean_{days}d: mean(amount) by customer_id over {days}d\n"
for days in (1, 7, 30):
    SPEC += f"  terminal_count_{days}d: count() by terminal_id over {days}d delayed 7d\n"
    SPEC += f"  terminal_risk_{days}d: mean(tx_fraud) by terminal_id over {days}d delayed 7d or 0\n"
SPEC += "outputs:\n  predictions: {include: [features, margin]}\n"


def spec(amount="decimal(2)", extra=""):
    return SPEC.replace("AMOUNT_TYPE", amount) + extra


def model_spec(path):
    return spec(extra=f"models:\n  m: {{file: {path}, inputs: [{', '.join(INPUTS)}]}}\nscore: {{model: m}}\n")


def write_ndjson(target, limit=None):
    """The CSV's rows as NDJSON with our field types; returns how many."""
    n = 0
    with gzip.open(TRANSACTIONS, "rt") as f, open(target, "w") as out:
        for n, r in enumerate(csv.DictReader(f)):
            if limit is not None and n >= limit:
                return n
            out.write('{"transaction_id":"%s","tx_datetime":"%s","customer_id":"%s","terminal_id":"%s",'
                      '"tx_amount":%s,"tx_fraud":%s}\n' % (
                          r["transaction_id"], r["tx_datetime"], r["customer_id"], r["terminal_id"],
                          repr(float(r["tx_amount"])), "true" if r["tx_fraud"] == "1" else "false"))
    return n + 1


def quern(*args, stdin=None, stdout=None, check=True):
    """Runs the binary; returns CompletedProcess with text of stderr and bytes of stdout."""
    r = subprocess.run([str(QUERN), *map(str, args)], stdin=stdin or subprocess.DEVNULL,
                       stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE)
    if check and r.returncode != 0:
        raise AssertionError(f"quern {' '.join(map(str, args))}: exit {r.returncode}\n{r.stderr.decode()}")
    return r
