#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quern_export.py - writes scikit-learn tree models as a JSON that Quern loads (docs/models.md, "Forest JSON").

    from quern_export import export
    export(model, "model.json")                                       # in the program that trains
    export(isolation_forest, "model.json", output="decision_function")

    python quern_export.py model.joblib model.json                    # from a saved model (pickle or joblib)

Random forests, extra trees, decision trees, gradient boosting, histogram gradient boosting (numeric inputs), isolation
forests; classifiers and regressors. Needs nothing but the scikit-learn that trained the model. Every number is written
with all its digits, so Quern computes what scikit-learn computes. What cannot be represented exactly raises ValueError.
"""
import argparse
import json

FORESTS = ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor")
TREES = ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
BOOSTED = ("GradientBoostingClassifier", "GradientBoostingRegressor")
HISTOGRAM = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")
ISOLATION_OUTPUTS = ("score_samples", "decision_function", "anomaly")


def _number(v):
    """A float as JSON has it; infinities as text."""
    v = float(v)
    return v if v - v == 0 else "inf" if v > 0 else "-inf"


def _splits(tree, columns=None):
    """Structure of one tree_: parallel lists, a leaf has left = -1."""
    left, feature = tree.children_left.tolist(), tree.feature.tolist()
    missing = getattr(tree, "missing_go_to_left", None)
    if missing is None:
        missing = [0] * len(left)
    return {
        "left": left,
        "right": tree.children_right.tolist(),
        "feature": [0 if at < 0 else f if columns is None else int(columns[f]) for f, at in zip(feature, left)],
        "threshold": [0 if at < 0 else _number(t) for t, at in zip(tree.threshold.tolist(), left)],
        "missing_left": [0 if at < 0 else int(m) for m, at in zip(missing, left)],
    }


def _forest_trees(model, estimators):
    """Trees with the values that predict or predict_proba adds, one list per output."""
    import sklearn

    is_classifier = hasattr(model, "classes_")
    if is_classifier and model.n_outputs_ > 1:
        raise ValueError("a classifier with several targets cannot be exported; train one model per target")
    counts = tuple(int(p) for p in sklearn.__version__.split(".")[:2]) < (1, 3)
    trees, outputs = [], None
    for e in estimators:
        value = e.tree_.value  # (nodes, targets, classes)
        if is_classifier:
            value = value[:, 0, :model.n_classes_]
            if counts:  # before 1.3 leaves held samples per class
                total = value.sum(axis=1)[:, None]
                total[total == 0.0] = 1.0
                value = value / total
            value = value[:, 1:] if model.n_classes_ == 2 else value
        else:
            value = value[:, :, 0]
        tree = _splits(e.tree_)
        tree["values"] = value.T.tolist()
        outputs = len(tree["values"])
        trees.append(tree)
    return {"outputs": outputs, "divide": len(trees), "trees": trees}


def _boosted(model):
    """raw = init + sum of learning_rate * leaf."""
    import numpy as np

    if model.init is not None and not isinstance(model.init, str):
        raise ValueError("gradient boosting on top of another model (init=...) cannot be exported")
    start = np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32)), dtype=float)
    start = start.reshape(-1).tolist()
    trees = []
    for row in model.estimators_:
        for k, e in enumerate(row):
            tree = _splits(e.tree_)
            tree["output"] = k
            tree["values"] = [(float(model.learning_rate) * e.tree_.value[:, 0, 0]).tolist()]
            trees.append(tree)
    out = {"outputs": len(start), "start": start, "trees": trees}
    if hasattr(model, "classes_"):
        out["link"] = "logistic" if len(start) == 1 else "softmax"
        if model.loss == "exponential":
            out["slope"] = 2
    return out


def _histogram(model):
    categorical = getattr(model, "is_categorical_", None)
    if categorical is not None and any(categorical):
        raise ValueError("categorical inputs of histogram gradient boosting cannot be exported; encode them as numbers "
                         "before training, or train the model with LightGBM or XGBoost")
    start = model._baseline_prediction
    start = [float(v) for v in (start.reshape(-1) if hasattr(start, "reshape") else [start])]
    trees = []
    for row in model._predictors:
        for k, p in enumerate(row):
            n = p.nodes
            leaf = n["is_leaf"].tolist()
            trees.append({
                "output": k,
                "left": [-1 if at else int(v) for v, at in zip(n["left"].tolist(), leaf)],
                "right": [-1 if at else int(v) for v, at in zip(n["right"].tolist(), leaf)],
                "feature": [0 if at else int(v) for v, at in zip(n["feature_idx"].tolist(), leaf)],
                "threshold": [0 if at else _number(v) for v, at in zip(n["num_threshold"].tolist(), leaf)],
                "missing_left": [0 if at else int(v) for v, at in zip(n["missing_go_to_left"].tolist(), leaf)],
                "values": [n["value"].tolist()],
            })
    out = {"input_type": "float64", "outputs": len(start), "start": start, "trees": trees}
    if hasattr(model, "classes_"):
        out["link"] = "logistic" if len(start) == 1 else "softmax"
    elif model.loss in ("poisson", "gamma"):
        out["link"] = "exp"
    return out


def _isolation(model, output):
    """One constant per leaf: nodes on the path + expected path of the leaf's samples - 1."""
    import numpy as np
    from sklearn.ensemble._iforest import _average_path_length

    trees = []
    for e, columns in zip(model.estimators_, model.estimators_features_):
        t = e.tree_
        on_path = np.zeros(t.node_count, dtype=np.float64)
        on_path[0] = 1
        for i in range(t.node_count):  # a child stands behind its parent
            if t.children_left[i] >= 0:
                on_path[t.children_left[i]] = on_path[t.children_right[i]] = on_path[i] + 1
        values = on_path + _average_path_length(t.n_node_samples) - 1.0
        tree = _splits(t, columns)
        tree["values"] = [values.tolist()]
        trees.append(tree)
    denominator = len(trees) * float(_average_path_length([model._max_samples])[0])
    if denominator == 0:
        raise ValueError("an isolation forest with max_samples=1 gives one score to everything")
    out = {"outputs": 1, "link": "isolation", "output": output, "divide": denominator, "trees": trees}
    if output == "decision_function":
        out["offset"] = float(model.offset_)
    return out


def document(model, inputs=None, output=None):
    """The JSON document of a fitted model, as a dict. `inputs`: names, where the model was trained without any.
    `output` chooses what an isolation forest predicts: score_samples (default), decision_function, or anomaly
    (-score_samples: near 1 = strange, below 0.5 = ordinary)."""
    import sklearn

    kind = type(model).__name__
    if output is not None and (kind != "IsolationForest" or output not in ISOLATION_OUTPUTS):
        raise ValueError("output is for isolation forests: " + ", ".join(ISOLATION_OUTPUTS))
    if kind in FORESTS:
        body = _forest_trees(model, model.estimators_)
    elif kind in TREES:
        body = _forest_trees(model, [model])
    elif kind in BOOSTED:
        body = _boosted(model)
    elif kind in HISTOGRAM:
        body = _histogram(model)
    elif kind == "IsolationForest":
        body = _isolation(model, output or "score_samples")
    else:
        raise ValueError(f"{kind} cannot be exported: " + ", ".join(FORESTS + TREES + BOOSTED + HISTOGRAM) +
                         ", IsolationForest can")
    n = int(model.n_features_in_)
    names = inputs if inputs is not None else getattr(model, "feature_names_in_", None)
    names = [f"x{i}" for i in range(n)] if names is None else [str(v) for v in names]
    if len(names) != n:
        raise ValueError(f"the model has {n} inputs, {len(names)} names were given")
    out = {"format": "quern-forest", "version": 1, "model": kind, "library": "scikit-learn " + sklearn.__version__,
           "inputs": names}
    if hasattr(model, "classes_"):
        out["classes"] = [str(c) for c in model.classes_]
    out.update(body)
    return out


def export(model, path, inputs=None, output=None):
    """Writes a fitted model to `path`."""
    text = json.dumps(document(model, inputs, output), allow_nan=False, separators=(",", ":"))
    with open(path, "w", encoding="utf-8") as f:
        f.write(text + "\n")


def main():
    parser = argparse.ArgumentParser(description="Writes a scikit-learn tree model as JSON for Quern.")
    parser.add_argument("model", help="model saved with joblib or pickle (a program: only open your own)")
    parser.add_argument("out", help="JSON file to write")
    parser.add_argument("--output", choices=ISOLATION_OUTPUTS, help="what an isolation forest predicts")
    args = parser.parse_args()
    import joblib

    export(joblib.load(args.model), args.out, output=args.output)


if __name__ == "__main__":
    main()
