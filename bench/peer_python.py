#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""peer_python.py ENGINE MODEL ROWS: an engine whose package has no C interface, for bench_peers.c, in a process of its
own on the same core.

catboost-python  MODEL is a .cbm, called as a Python program would, with the raw formula value asked for. A call makes
    a table of the rows first, which costs more than the trees of a small batch; CPU time of all of it.
ydf  MODEL is the same forest as XGBoost JSON, put tree by tree into a YDF model; timed by YDF's own benchmark of its
    C++ engine (`model.benchmark`), which reads rows in the engine's own form, without Python. It takes wall time,
    of which the smallest of five short looks counts.

First the answers to all rows go out, as doubles; then for each line "BATCH START" on standard input the nanoseconds per
row of a pass. What the libraries print goes to standard error.
"""

import json
import os
import sys
import time

import numpy as np

ONE_BY_ONE, ROWS_MAX = 256, 16384  # rows of a pass: single ones, and in batches


class CatBoost:
    def __init__(self, path, rows):
        import catboost

        self.model, self.rows = catboost.CatBoost().load_model(path), rows

    def answers(self):
        return self.predict(self.rows)

    def predict(self, rows):
        return self.model.predict(rows, prediction_type="RawFormulaVal", thread_count=1)

    def run(self, batch, start):
        count = max(1, (ONE_BY_ONE if batch == 1 else ROWS_MAX // 4) // batch)
        at = [(start + i * batch) % (len(self.rows) - batch + 1) for i in range(count)]
        parts = [self.rows[i : i + batch] for i in at]
        begun = time.thread_time_ns()
        for part in parts:
            self.predict(part)
        return (time.thread_time_ns() - begun) / (count * batch)


def ydf_tree(ydf, tree, columns):
    """One XGBoost tree: x >= cut is the positive side, a missing value goes where `default_left` does not say."""
    t = ydf.tree
    made = {}
    left, right, cuts = tree["left_children"], tree["right_children"], tree["split_conditions"]
    order = [0]
    for n in order:
        if left[n] >= 0:
            order += [left[n], right[n]]
    for n in reversed(order):
        if left[n] < 0:
            made[n] = t.Leaf(value=t.RegressionValue(value=float(np.float32(cuts[n])), num_examples=1.0))
            continue
        condition = t.NumericalHigherThanCondition(
            missing=not tree["default_left"][n],
            score=1.0,
            attribute=columns[tree["split_indices"][n]],
            threshold=float(np.float32(cuts[n])),
        )
        made[n] = t.NonLeaf(condition=condition, pos_child=made[right[n]], neg_child=made[left[n]])
    return t.Tree(root=made[0])


class Ydf:
    def __init__(self, path, rows):
        import ydf

        ydf.verbose(0)
        with open(path, encoding="utf-8") as f:
            learner = json.load(f)["learner"]
        base = np.float32(learner["learner_model_param"]["base_score"].strip("[]"))
        if learner["objective"]["name"] == "binary:logistic":
            base = np.float32(-np.log(np.float32(1) / base - np.float32(1)))
        self.rows, inputs = rows, rows.shape[1]
        names = [f"f{i}" for i in range(inputs)]
        self.table = {n: rows[:, i] for i, n in enumerate(names)}
        small = {n: np.arange(200, dtype=np.float32) + i for i, n in enumerate(names)}
        small["y"] = np.arange(200, dtype=np.float32)
        columns = [ydf.Feature(n, ydf.Semantic.NUMERICAL) for n in names]
        self.model = ydf.GradientBoostedTreesLearner(
            label="y", task=ydf.Task.REGRESSION, features=columns, num_trees=1, validation_ratio=0.0
        ).train(small)
        places = {c.name: i for i, c in enumerate(self.model.data_spec().columns)}
        while self.model.num_trees() > 0:
            self.model.remove_tree(0)
        self.model.set_initial_predictions([float(base)])
        for tree in learner["gradient_booster"]["model"]["trees"]:
            self.model.add_tree(ydf_tree(ydf, tree, [places[n] for n in names]))
        print("ydf: engine", self.model.list_compatible_engines(), file=sys.stderr)

    def answers(self):
        return self.model.predict(self.table)

    def run(self, batch, start):
        n = min(len(self.rows), max(1024, 2 * batch))
        at = start % (len(self.rows) - n + 1)
        part = {k: v[at : at + n] for k, v in self.table.items()}
        # wall time: of some short looks the one that others disturbed least
        looks = [
            self.model.benchmark(part, benchmark_duration=0.004, warmup_duration=0.001, batch_size=batch, num_threads=1)
            for _ in range(5)
        ]
        return min(r.duration_per_example for r in looks) * 1e9


def main():
    engine, path, rows_file = sys.argv[1:]
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    columns = int(os.environ["BENCH_COLUMNS"])
    rows = np.fromfile(rows_file, dtype=np.float32).reshape(-1, columns)
    peer = {"catboost-python": CatBoost, "ydf": Ydf}[engine](path, rows)
    out.write(np.ascontiguousarray(peer.answers(), dtype="<f8").tobytes())
    out.flush()
    for line in sys.stdin:
        batch, start = (int(word) for word in line.split())
        out.write(f"{peer.run(batch, start):.3f}\n".encode())
        out.flush()


if __name__ == "__main__":
    main()
