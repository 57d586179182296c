#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains fraud.ubj, the model of the card-fraud example, on a training set that `quern features` wrote.

    quern demo card-fraud --write-events events.ndjson --events 1200000 --seed 7
    quern features examples/card-fraud/card-fraud.yaml --input transactions=events.ndjson --output train.csv
    python3 examples/card-fraud/train.py train.csv examples/card-fraud/fraud.ubj

Needs numpy and xgboost (or xgboost-cpu). One thread and no sampling: the same training set and the same version of
XGBoost give the same bytes. The columns are taken by name, so their order in the file does not matter.
"""

import argparse
import csv
import sys

import numpy as np
import xgboost as xgb

# What the spec calls the model's inputs, in the model's order.
INPUTS = [
    "amount",
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
TIME, LABEL = "created_at", "tx_fraud"
TREES, DEPTH, ETA = 100, 6, 0.1
THRESHOLD = 0.5  # where the spec raises an alert
DELAY_DAYS = 7  # a label is known so many days later: no training day is nearer to the test than that
TRAIN_SHARE = 0.65  # of the days

WORDS = {"": np.nan, "true": 1.0, "false": 0.0}


def number(text):
    return WORDS[text] if text in WORDS else float(text)


def read(path):
    """The training set: inputs as float32 (what XGBoost sees), label, day of each row as text."""
    rows, labels, days = [], [], []
    with open(path, newline="", encoding="utf-8") as f:
        reader = csv.reader(f)
        header = next(reader)
        missing = [c for c in INPUTS + [TIME, LABEL] if c not in header]
        if missing:
            sys.exit(f"{path}: no column {', '.join(missing)}; it has {', '.join(header)}")
        at = [header.index(c) for c in INPUTS]
        label, time = header.index(LABEL), header.index(TIME)
        for r in reader:
            rows.append(np.array([number(r[i]) for i in at], dtype=np.float32))
            labels.append(r[label] in ("true", "1"))
            days.append(r[time][:10])
    return np.vstack(rows), np.array(labels), np.array(days)


def roc_auc(y, s):
    """Area under the ROC curve by ranks; equal scores share their mean rank."""
    _, inverse, count = np.unique(s, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    rank = (last - (count - 1) / 2.0)[inverse]
    pos = int(y.sum())
    return (rank[y].sum() - pos * (pos + 1) / 2.0) / (pos * (len(y) - pos))


def average_precision(y, s):
    """Sum of precision times the step of recall, at each distinct score from the top."""
    order = np.argsort(-s, kind="stable")
    y, s = y[order], s[order]
    end = np.append(np.flatnonzero(np.diff(s)), len(s) - 1)
    hits = np.cumsum(y)[end]
    return float((np.diff(np.append(0, hits)) * hits / (end + 1)).sum() / y.sum())


def main():
    p = argparse.ArgumentParser(description="train the model of the card-fraud example")
    p.add_argument("training_set", help="CSV that `quern features` wrote")
    p.add_argument("model", help="file to write, ending in .ubj or .json")
    a = p.parse_args()

    x, y, day = read(a.training_set)
    names = np.unique(day)
    cut = names[int(len(names) * TRAIN_SHARE)]
    test_from = names[min(int(len(names) * TRAIN_SHARE) + DELAY_DAYS, len(names) - 1)]
    train, test = day < cut, day >= test_from
    print(
        f"{len(y):,} rows, {int(y.sum()):,} frauds; train before {cut}: {int(train.sum()):,}; "
        f"test from {test_from}: {int(test.sum()):,}"
    )

    params = {
        "objective": "binary:logistic",
        "base_score": 0.5,
        "max_depth": DEPTH,
        "eta": ETA,
        "tree_method": "hist",
        "nthread": 1,
        "seed": 0,
    }
    booster = xgb.train(params, xgb.DMatrix(x[train], label=y[train], feature_names=INPUTS, nthread=1), TREES)
    s = booster.predict(xgb.DMatrix(x[test], feature_names=INPUTS, nthread=1))
    alert = s > THRESHOLD
    print(
        f"test ROC AUC {roc_auc(y[test], s):.4f}, average precision {average_precision(y[test], s):.4f}; "
        f"above {THRESHOLD}: precision {y[test][alert].mean():.3f}, recall {y[test][alert].sum() / y[test].sum():.3f}"
    )
    booster.save_model(a.model)
    leaves = sum(t.count("leaf") for t in booster.get_dump())
    print(f"{a.model}: {TREES} trees, {leaves:,} leaves, XGBoost {xgb.__version__}")


if __name__ == "__main__":
    main()
