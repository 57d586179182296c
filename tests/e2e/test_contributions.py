# SPDX-License-Identifier: Apache-2.0
"""test_contributions.py - contributions against XGBoost's pred_contribs and LightGBM's pred_contrib, and `explain`.

LightGBM computes in double: equal to 1e-9 of the row's size. XGBoost computes in float32 and adds over trees: equal to
1e-4, which its own sums do not keep much better; ours add up to the margin to 1e-5 there, and to 1e-9 for LightGBM.
"""
import json
import os
import pathlib
import re
import subprocess

import pytest

np = pytest.importorskip("numpy")
xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")

ROOT = pathlib.Path(os.environ.get("QUERN_ROOT", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("QUERN_BUILD", ROOT / "build"))
QUERN = pathlib.Path(os.environ.get("QUERN", BUILD / "quern"))
SEED = int(os.environ.get("QUERN_SEED", "20240617"))


@pytest.fixture(scope="session")
def tool(tmp_path_factory):
    libs = [BUILD / "libqn_model.a", BUILD / "libqn_base.a"]
    missing = [str(p) for p in libs if not p.exists()]
    if missing:
        pytest.skip(f"not built: {', '.join(missing)} (set QUERN_BUILD)")
    out = tmp_path_factory.mktemp("tool") / "tool_contributions"
    extra = os.environ.get("QUERN_CFLAGS", "").split()
    symbols = subprocess.run(["nm", str(libs[1])], capture_output=True, text=True).stdout
    if "__asan_init" in symbols:
        extra.append("-fsanitize=address,undefined")
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-fno-lto", f"-I{ROOT}/src",
                    str(ROOT / "tests/e2e/tool_contributions.c"), *map(str, libs), *extra, "-o", str(out),
                    "-lxxhash", "-lpthread", "-lm"], check=True)
    return out


def run(tool, folder, model, x, outputs=1, batch=64, missing=None):
    """Margins [rows, outputs] and contributions [rows, outputs, inputs + 1]."""
    np.ascontiguousarray(x, dtype="<f8").tofile(folder / "in.bin")
    option = [] if missing is None else ["-m", repr(float(missing))]
    p = subprocess.run([str(tool), "-b", str(batch), *option, str(model), str(folder / "in.bin"),
                        str(folder / "out.bin")], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    out = np.fromfile(folder / "out.bin", dtype="<f8").reshape(len(x), outputs * (x.shape[1] + 2))
    return out[:, :outputs], out[:, outputs:].reshape(len(x), outputs, x.shape[1] + 1)


def check(tool, folder, model, x, want, tolerance, total, what, outputs=1, **options):
    margin, got = run(tool, folder, model, x, outputs, **options)
    want = np.asarray(want, dtype=float).reshape(got.shape)
    size = 1 + np.abs(want).sum(axis=2)
    far = (np.abs(got - want).max(axis=2) / size).max()
    rest = (np.abs(got.sum(axis=2) - margin) / size).max()
    print(f"{what}: {len(x)} rows, furthest {far:.1e}, sums {rest:.1e} from the margin")
    assert far <= tolerance, what
    assert rest <= total, what
    for batch in (1, 7, 1000):
        _, other = run(tool, folder, model, x[:130], outputs, batch=batch, **options)
        assert other.tobytes() == got[:130].tobytes(), f"{what}: batch {batch} shows"


def data(rows=600, columns=8, missing=0.1, seed=SEED):
    print(f"QUERN_SEED={seed}")
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)).astype(np.float32).astype(float)
    x[:, 1] = rng.integers(0, 12, size=rows)
    z = x[:, 0] + (x[:, 1] % 3) * x[:, 2] - np.abs(x[:, 3]) + rng.normal(size=rows) * 0.2
    x[rng.random(size=x.shape) < missing] = np.nan
    x[rng.random(size=x.shape) < 0.02] = 0.0
    return x, z


def train_xgb(params, x, y, rounds=20, kinds=None):
    d = xgb.DMatrix(x, y, feature_types=kinds, enable_categorical=kinds is not None)
    return xgb.train({"seed": 1, "nthread": 1, **params}, d, rounds), d


XGB = {
    "deep": {"max_depth": 14, "min_child_weight": 0.01, "lambda": 0.1},
    "logistic": {"objective": "binary:logistic", "max_depth": 6},
    "poisson": {"objective": "count:poisson", "max_depth": 4},
    "stumps": {"max_depth": 1},
    "leafwise": {"grow_policy": "lossguide", "max_leaves": 40, "max_depth": 0, "tree_method": "hist"},
    "forest": {"num_parallel_tree": 5, "subsample": 0.5, "colsample_bynode": 0.5, "max_depth": 5},
    "dart": {"booster": "dart", "rate_drop": 0.3, "max_depth": 4},
    "softprob": {"objective": "multi:softprob", "num_class": 3, "max_depth": 4},
    "gblinear": {"booster": "gblinear"},
}


@pytest.mark.parametrize("name", XGB)
@pytest.mark.parametrize("ending", ["json", "ubj"])
def test_xgboost(tool, tmp_path, name, ending):
    params = XGB[name]
    x, z = data()
    objective = params.get("objective", "")
    y = (z > 0) if "binary" in objective else np.digitize(z, [-1, 1]) if "multi" in objective else \
        np.round(np.exp(np.clip(z, -2, 2))) if "poisson" in objective else z
    booster, d = train_xgb(params, x, y)
    booster.save_model(tmp_path / f"m.{ending}")
    check(tool, tmp_path, tmp_path / f"m.{ending}", x, booster.predict(d, pred_contribs=True), 1e-4, 1e-5,
          f"xgboost {name}", outputs=3 if "multi" in objective else 1)


def test_xgboost_few_columns(tool, tmp_path):
    """One or two inputs on deep paths: the same one many times on a path."""
    for columns in (2, 4):
        x, z = data(columns=4)
        x = x[:, :columns]
        booster, d = train_xgb({"max_depth": 10}, x, z)
        booster.save_model(tmp_path / "m.json")
        check(tool, tmp_path, tmp_path / "m.json", x, booster.predict(d, pred_contribs=True), 1e-4, 1e-5,
              f"xgboost {columns} columns")


def test_xgboost_categories(tool, tmp_path):
    x, z = data(missing=0.05)
    kinds = ["q", "c"] + ["q"] * 6
    for one_hot in (1, 100):
        booster, d = train_xgb({"max_depth": 5, "max_cat_to_onehot": one_hot}, x, z, kinds=kinds)
        booster.save_model(tmp_path / "m.json")
        check(tool, tmp_path, tmp_path / "m.json", x, booster.predict(d, pred_contribs=True), 1e-4, 1e-5,
              f"xgboost categories, one-hot {one_hot}")


def test_xgboost_missing_value(tool, tmp_path):
    x, z = data()
    x = np.where(np.isnan(x), -999.0, x)
    d = xgb.DMatrix(x, z, missing=-999.0)
    booster = xgb.train({"max_depth": 5, "seed": 1}, d, 15)
    booster.save_model(tmp_path / "m.json")
    check(tool, tmp_path, tmp_path / "m.json", x, booster.predict(d, pred_contribs=True), 1e-4, 1e-5,
          "xgboost missing=-999", missing=-999.0)


LGB = {
    "regression": {},
    "deep": {"num_leaves": 200, "min_data_in_leaf": 1, "max_depth": -1},
    "binary": {"objective": "binary"},
    "multiclass": {"objective": "multiclass", "num_class": 3},
    "zero": {"zero_as_missing": True},
    "dart": {"boosting": "dart"},
    "forest": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
    "categories": {"categorical_feature": [1], "min_data_per_group": 5, "cat_smooth": 1, "max_cat_to_onehot": 2},
}


@pytest.mark.parametrize("name", LGB)
def test_lightgbm(tool, tmp_path, name):
    params = dict(LGB[name])
    categorical = params.pop("categorical_feature", "auto")
    x, z = data()
    objective = params.get("objective", "")
    y = (z > 0) if objective == "binary" else np.digitize(z, [-1, 1]) if objective == "multiclass" else z
    set_ = lgb.Dataset(x, y, categorical_feature=categorical, free_raw_data=False)
    booster = lgb.train({"verbose": -1, "seed": 1, "num_threads": 1, **params}, set_, 20)
    booster.save_model(tmp_path / "m.txt")
    booster = lgb.Booster(model_file=str(tmp_path / "m.txt"))
    want = booster.predict(x, pred_contrib=True)
    check(tool, tmp_path, tmp_path / "m.txt", x, want, 1e-9, 1e-9, f"lightgbm {name}",
          outputs=3 if objective == "multiclass" else 1)


def test_refused(tool, tmp_path):
    """Without covers, and with linear leaves: the reason, not numbers."""
    x, z = data()
    booster, _ = train_xgb({"max_depth": 3}, x, z, rounds=2)
    booster.save_model(tmp_path / "m.json")
    model = json.loads((tmp_path / "m.json").read_text())
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        del tree["sum_hessian"]
    (tmp_path / "m.json").write_text(json.dumps(model))
    linear = lgb.train({"verbose": -1, "linear_tree": True}, lgb.Dataset(np.nan_to_num(x), z), 3)
    linear.save_model(tmp_path / "l.txt")
    plain = lgb.train({"verbose": -1}, lgb.Dataset(x, z), 3)
    plain.save_model(tmp_path / "p.txt")
    text = re.sub(r"\n(leaf|internal)_count=[^\n]*", "", (tmp_path / "p.txt").read_text())
    (tmp_path / "p.txt").write_text(re.sub(r"\ntree_sizes=[^\n]*", "", text))
    x.astype("<f8").tofile(tmp_path / "in.bin")
    for file, words in (("m.json", "sum_hessian"), ("p.txt", "internal_count"), ("l.txt", "linear functions")):
        p = subprocess.run([str(tool), str(tmp_path / file), str(tmp_path / "in.bin"), str(tmp_path / "out.bin")],
                           capture_output=True, text=True)
        assert p.returncode == 4 and words in p.stderr, (file, p.returncode, p.stderr)


SPEC = """quern: 1
name: shop
streams:
  orders:
    id: order
    time: at
    key: customer
    fields:
      order: string
      at: timestamp
      customer: string
      amount: double
      age: {type: double, optional: true}
features:
  spent: sum(amount) by customer over 1d
  often: count() by customer over 1d
models:
  m: {file: m.json, inputs: [amount, age, spent, often]}
score: {model: m}
outputs:
  predictions: {include: [features, margin, contributions]}
  high: {when: margin_is_high, include: [contributions]}
"""


def test_pipe_and_explain(tmp_path):
    """The record's contributions and explain's are XGBoost's of the features that were served."""
    if not QUERN.exists():
        pytest.skip(f"not built: {QUERN}")
    rng = np.random.default_rng(SEED)
    names = ["amount", "age", "spent", "often"]
    x = rng.gamma(2, 20, size=(500, 4)).astype(np.float32)
    y = (x[:, 0] + 0.3 * x[:, 2] + rng.normal(size=500) > 60).astype(float)
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 4},
                        xgb.DMatrix(x, y, feature_names=names), 30)
    booster.save_model(tmp_path / "m.json")
    (tmp_path / "spec.yaml").write_text(SPEC.replace("margin_is_high", "score > 0.5"))
    events = [{"order": f"o-{i}", "at": f"2024-05-01T10:{i // 60:02d}:{i % 60:02d}Z", "customer": f"c{i % 7}",
               "amount": float(np.round(rng.gamma(2, 20), 2)), **({"age": float(i % 90)} if i % 5 else {})}
              for i in range(300)]
    (tmp_path / "in.ndjson").write_text("".join(json.dumps(e) + "\n" for e in events))

    def quern(*args):
        return subprocess.run([str(QUERN), *args], cwd=tmp_path, capture_output=True, text=True)

    outs = []
    for threads in ("1", "3"):
        p = quern("pipe", "spec.yaml", "--input", "orders=in.ndjson", "--output", "high=high.ndjson",
                  "--threads", threads, "--batch", "100")
        assert p.returncode == 0, p.stderr
        outs.append((p.stdout, (tmp_path / "high.ndjson").read_text()))
    assert outs[0] == outs[1]
    records = [json.loads(line) for line in outs[0][0].splitlines()]
    served = np.array([[e["amount"], e.get("age", np.nan), r["features"]["spent"], r["features"]["often"]]
                       for e, r in zip(events, records)], dtype=float)
    want = booster.predict(xgb.DMatrix(served, feature_names=names), pred_contribs=True)
    got = np.array([[r["contributions"][n] for n in [*names, "bias"]] for r in records])
    assert np.abs(got - want).max() < 1e-4
    assert np.abs(got.sum(axis=1) - [r["margin"] for r in records]).max() < 1e-5
    by_id = {r["id"]: r for r in records}
    high = [json.loads(line) for line in outs[0][1].splitlines()]
    assert 0 < len(high) < len(records)
    assert all(h["contributions"] == by_id[h["id"]]["contributions"] and "features" not in h for h in high)

    for name in ("o-123", "shop:orders:0:123"):
        p = quern("explain", "spec.yaml", name, "--input", "orders=in.ndjson", "--json")
        assert p.returncode == 0, p.stderr
        told = json.loads(p.stdout)
        parts = told["outputs"][0]["contributions"]
        assert told["event_id"] == "o-123" and told["features"] == records[123]["features"]
        assert told["scores"] == [records[123]["score"]]
        assert {c["input"]: c["contribution"] for c in parts} == \
            {n: v for n, v in records[123]["contributions"].items() if n != "bias"}
        sizes = [abs(c["contribution"]) for c in parts]
        assert sizes == sorted(sizes, reverse=True)
        assert {c["input"]: c.get("sentence") for c in parts}["often"] == "count() by customer over 1d"
    p = quern("explain", "spec.yaml", "o-123", "--input", "orders=in.ndjson")
    assert p.returncode == 0 and all(len(line) <= 100 for line in p.stdout.splitlines())
    assert "sum(amount) by customer over 1d" in p.stdout
    p = quern("explain", "spec.yaml", "o-1234", "--input", "orders=in.ndjson")
    assert p.returncode == 1 and "did you mean 'o-123'?" in p.stderr
    p = quern("model", "inspect", "m.json", "--json")
    facts = json.loads(p.stdout)
    assert facts["inputs"] == names and facts["trees"] == 30 and facts["explains"] is True
    assert facts["objective"] == "binary:logistic" and facts["kernel"] and facts["kernel_reason"]
    assert facts["explain_form"] == "in parts"
    assert facts["explain_ns_alone"] > 0 and facts["explain_ns_batched"] > 0
    told = json.loads(quern("check", "spec.yaml", "--json").stdout)["plan"]["models"][0]
    assert told["explain_form"] == "in parts" and told["explain_ns_alone"] > 0
    assert "      contributions in parts · a row about " in quern("check", "spec.yaml").stdout
    # trees of rounds after the best one do not run where `best` is asked for
    booster.set_attr(best_iteration="9")
    booster.save_model(tmp_path / "best.ubj")
    best = json.loads(quern("model", "inspect", "best.ubj", "--trees", "best", "--json").stdout)
    assert best["trees"] == 10 and best["trees_in_file"] == 30
    words = quern("model", "inspect", "best.ubj").stdout
    assert "  explain   yes, in parts\n            a row about " in words
    assert "trees     30" in words and "amount, age, spent, often" in words
    assert all(len(line) <= 100 for line in words.splitlines())
