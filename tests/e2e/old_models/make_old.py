# SPDX-License-Identifier: Apache-2.0
"""make_old.py - trains small models with an old XGBoost or LightGBM and records what that version predicts, for
test_models.py: today's libraries do not write the old formats any more.

    pip install --no-deps --target OLD xgboost==0.82 && PYTHONPATH=OLD python make_old.py xgboost [FOLDER]

once for each of xgboost 0.82, 0.90, 1.0.2, 1.6.2, 2.1.4 and lightgbm 2.1.0, 2.2.3, 3.0.0 (with numpy < 2 and
scipy < 1.12). Then, with 2.1.4, `make_old.py reread`: files of XGBoost before 1.3 get that version's predictions, the
last that reads the old binary; the first ones added the base margin to the sum of the trees, later ones begin with it.
LIBRARY-VERSION-NAME.ENDING is the model as the library wrote it, LIBRARY-VERSION-NAME.rows.json {"rows": [[..]], "raw":
[[..]], "prediction": [[..]]}, numbers with all digits, NaN as null.
"""
import importlib
import json
import pathlib
import sys

import numpy as np

for name, was in (("int", int), ("float", float), ("bool", bool), ("object", object)):
    if name not in np.__dict__:  # what old versions still ask for
        setattr(np, name, was)
NAME = sys.argv[1]
FOLDER = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parent)
library = importlib.import_module("xgboost" if NAME == "reread" else NAME)
VERSION = tuple(int(v) for v in library.__version__.split(".")[:2])


def listed(a):
    a = np.asarray(a, dtype=float).reshape(len(a), -1)
    return [[None if v != v else float(v) for v in row] for row in a]


def data():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(400, 4)).astype(np.float32).astype(float)
    x[:, 1] = rng.integers(-3, 4, size=len(x))
    x[rng.random(x.shape) < 0.08] = np.nan
    z = np.nan_to_num(x[:, 0]) + 0.5 * np.nan_to_num(x[:, 1])
    return x, z


def keep(case, raw, prediction, x, ending, save):
    stem = f"{NAME}-{library.__version__}-{case}"
    save(str(FOLDER / f"{stem}.{ending}"))
    (FOLDER / f"{stem}.rows.json").write_text(json.dumps(
        {"rows": listed(x), "raw": listed(raw), "prediction": listed(prediction)}, separators=(",", ":")) + "\n")


def xgboost():
    x, z = data()
    linear = "reg:squarederror" if VERSION >= (0, 83) else "reg:linear"
    cases = {"binary": ({"objective": "binary:logistic"}, z > 0), "regression": ({"objective": linear}, z),
             "poisson": ({"objective": "count:poisson"}, np.ceil(np.exp(np.clip(z, -2, 2)))),
             "classes": ({"objective": "multi:softprob", "num_class": 3}, np.clip(np.floor(z + 1.5), 0, 2)),
             "dart": ({"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.3}, z > 0),
             "linear": ({"objective": "binary:logistic", "booster": "gblinear"}, z > 0)}
    for case, (params, y) in cases.items():
        params = {"max_depth": 4, "seed": 7, "base_score": 0.4, "nthread": 1, **params}
        booster = library.train(params, library.DMatrix(x, label=y.astype(float)), 6)
        rows = library.DMatrix(x[:50])
        ways = {"ntree_limit": 6} if case == "dart" and VERSION < (1, 4) else {}  # without it dart drops trees again
        raw, prediction = booster.predict(rows, output_margin=True, **ways), booster.predict(rows, **ways)
        endings = ["model"] + ["json"] * (VERSION >= (1, 0)) + ["ubj"] * (VERSION >= (1, 6))
        for ending in endings:
            keep(case, raw, prediction, x[:50], ending, booster.save_model)


def lightgbm():
    x, z = data()
    x[:, 3] = np.random.default_rng(8).integers(0, 6, size=len(x))
    cases = {"binary": ({"objective": "binary"}, z > 0), "regression": ({"objective": "regression"}, z),
             "poisson": ({"objective": "poisson"}, np.ceil(np.exp(np.clip(z, -2, 2)))),
             "classes": ({"objective": "multiclass", "num_class": 3}, np.clip(np.floor(z + 1.5), 0, 2)),
             "dart": ({"objective": "binary", "boosting": "dart", "drop_rate": 0.5}, z > 0),
             "forest": ({"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5,
                         "feature_fraction": 0.9}, z > 0)}
    for case, (params, y) in cases.items():
        params = {"num_leaves": 9, "min_data_in_leaf": 5, "seed": 7, "verbose": -1, "num_threads": 1, **params}
        booster = library.train(params, library.Dataset(x, label=y.astype(float), categorical_feature=[3]), 6)
        rows = x[:50].copy()
        rows[:4, 3] = [17, -1, np.nan, 2.7]
        keep(case, booster.predict(rows, raw_score=True), booster.predict(rows), rows, "txt", booster.save_model)


def reread():
    for path in [p for v in ("0.82", "0.90", "1.0.2") for p in FOLDER.glob(f"xgboost-{v}-*.model")]:
        rows = FOLDER / f"{path.stem}.rows.json"
        recorded = json.loads(rows.read_text())
        booster = library.Booster(model_file=str(path))
        data = library.DMatrix(np.array(recorded["rows"], dtype=float))
        recorded["raw"] = listed(booster.predict(data, output_margin=True))
        recorded["prediction"] = listed(booster.predict(data))
        rows.write_text(json.dumps(recorded, separators=(",", ":")) + "\n")


{"xgboost": xgboost, "lightgbm": lightgbm, "reread": reread}[NAME]()
