# SPDX-License-Identifier: Apache-2.0
"""make_catboost.py - trains small CatBoost models and records what CatBoost predicts, for test_formats.py.

    pip install catboost==1.2.10 numpy pandas && python make_catboost.py [FOLDER] [SEED] [ROWS]

CatBoost itself is too large for the test environment, so its models (JSON export, unchanged but for the training
parameters that do not matter) and its predictions lie beside this script: NAME.json the model, NAME.rows.json
{"rows": [[..]], "raw": [[..]], "prediction": [[..]]}, numbers with all digits, NaN as null.
"""
import json
import pathlib
import sys

import numpy as np
import pandas as pd
from catboost import CatBoost, CatBoostClassifier, CatBoostRegressor, Pool

FOLDER = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 7
ROWS = int(sys.argv[3]) if len(sys.argv) > 3 else 60


def features(rng, n):
    x = rng.normal(size=(n, 4)).astype(np.float32).astype(float)
    x[:, 1] = rng.integers(-3, 4, size=n)
    x[rng.random(x.shape) < 0.08] = np.nan
    return x


def near_borders(x, borders, rng):
    for column, values in borders.items():
        if len(values) == 0:
            continue
        at = np.float32(values)[rng.integers(0, len(values), size=len(x))]
        up, down = np.nextafter(at, np.float32(np.inf)), np.nextafter(at, np.float32(-np.inf))
        middle = (at.astype(float) + up) / 2
        for way, v in enumerate([at, up, down, middle, np.nextafter(middle, 9e9), np.nextafter(middle, -9e9)]):
            pick = rng.random(len(x)) < 0.08
            x[pick, column] = v[pick]
    return x


def listed(a):
    a = np.asarray(a, dtype=float).reshape(len(a), -1)
    return [[None if v != v else float(v) for v in row] for row in a]


def record(name, model, rows, frame, prediction, pool=None):
    path = FOLDER / f"{name}.json"
    model.save_model(str(path), format="json", pool=pool)
    document = json.loads(path.read_text())
    params = document["model_info"]["params"]
    document["model_info"] = {k: v for k, v in document["model_info"].items() if k in ("class_params",)}
    document["model_info"]["params"] = {"loss_function": params["loss_function"]}
    path.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    raw = model.predict(frame, prediction_type="RawFormulaVal")
    (FOLDER / f"{name}.rows.json").write_text(json.dumps(
        {"rows": listed(rows), "raw": listed(raw), "prediction": listed(prediction)}, separators=(",", ":")) + "\n")
    return document


def numeric(name, kind, classes, outputs=1, **options):
    rng = np.random.default_rng(SEED)
    x = features(rng, 1200)
    score = np.nan_to_num(x[:, 0]) + 0.5 * np.nan_to_num(x[:, 1]) + rng.normal(size=len(x))
    if classes == 0:
        y = np.exp(score / 3) if options.get("loss_function", "").startswith(("Poisson", "Tweedie")) else score + 5
    else:
        y = np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))
    if outputs > 1:
        y = np.column_stack([score, score ** 2])
    model = kind(random_seed=SEED, verbose=False, allow_writing_files=False, thread_count=1, **options).fit(x, y)
    borders = model.get_borders()
    rows = near_borders(features(rng, ROWS), {int(k): v for k, v in borders.items()}, rng)
    if classes == 0:
        prediction = model.predict(rows)
    else:
        prediction = model.predict_proba(rows)
        prediction = prediction[:, 1] if classes == 2 else prediction
    record(name, model, rows, rows, prediction)


def one_hot():
    rng = np.random.default_rng(SEED)

    def frame_of(x, c):
        return pd.DataFrame({"amount": x[:, 0], "kind": c[:, 0].astype(str), "age": x[:, 1], "shop": c[:, 1]})

    x, c = features(rng, 1200), rng.integers(0, 6, size=(1200, 2))
    y = (np.nan_to_num(x[:, 0]) + (c[:, 0] == 3) - (c[:, 1] % 2) + rng.normal(size=len(x)) > 0).astype(int)
    pool = Pool(frame_of(x, c), y, cat_features=["kind", "shop"])
    model = CatBoostClassifier(iterations=20, depth=4, one_hot_max_size=20, random_seed=SEED, verbose=False,
                               allow_writing_files=False, thread_count=1).fit(pool)
    x, c = features(rng, ROWS), rng.integers(0, 8, size=(ROWS, 2))
    frame = frame_of(x, c)
    rows = np.column_stack([x[:, 0], c[:, 0], x[:, 1], c[:, 1]])
    record("one-hot", model, rows, frame, model.predict_proba(frame)[:, 1], pool)


def ctr():
    """A model that must be refused."""
    rng = np.random.default_rng(SEED)
    frame = pd.DataFrame({"c": rng.integers(0, 40, size=400).astype(str)})
    y = (frame.c.astype(int) % 3 == 0).astype(int)
    pool = Pool(frame, y, cat_features=["c"])
    model = CatBoost(dict(loss_function="Logloss", iterations=3, depth=1, one_hot_max_size=2, max_ctr_complexity=1,
                          random_seed=SEED, verbose=False, allow_writing_files=False,
                          thread_count=1)).fit(pool)
    document = record("ctr", model, np.zeros((1, 1)), frame[:1], model.predict(frame[:1]), pool)
    document.pop("ctr_data", None)
    (FOLDER / "ctr.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")
    (FOLDER / "ctr.rows.json").unlink()


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    numeric("binary", CatBoostClassifier, 2, iterations=40, depth=6, border_count=32)
    numeric("classes", CatBoostClassifier, 3, iterations=8, depth=4, loss_function="MultiClass")
    numeric("one-vs-all", CatBoostClassifier, 3, iterations=6, depth=3, loss_function="MultiClassOneVsAll")
    numeric("regression", CatBoostRegressor, 0, iterations=30, depth=5)
    numeric("poisson", CatBoostRegressor, 0, iterations=10, depth=3, loss_function="Poisson")
    numeric("quantile", CatBoostRegressor, 0, iterations=10, depth=1, loss_function="Quantile:alpha=0.8")
    numeric("multi-rmse", CatBoostRegressor, 0, outputs=2, iterations=7, depth=3, loss_function="MultiRMSE")
    numeric("nan-max", CatBoostRegressor, 0, iterations=9, depth=3, nan_mode="Max")
    numeric("lossguide", CatBoostClassifier, 2, iterations=12, max_leaves=12, depth=8, grow_policy="Lossguide")
    numeric("depthwise", CatBoostClassifier, 3, iterations=4, depth=4, grow_policy="Depthwise",
            loss_function="MultiClass")
    one_hot()
    ctr()


if __name__ == "__main__":
    main()
