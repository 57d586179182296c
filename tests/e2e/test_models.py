# SPDX-License-Identifier: Apache-2.0
"""test_models.py - the model room against the libraries that trained the models.

Margins must be equal bit for bit, on every kernel and at several batch sizes; predictions may differ by two units in
the last place (exp and log are our own), and the number that differ is printed. Needs numpy, xgboost and lightgbm; the
published pairs need QUERN_SHARED or ../shared. The room is reached through tool_model.c, compiled against the archives
in QUERN_BUILD (default: build/).
"""
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

np = pytest.importorskip("numpy")
xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")

ROOT = pathlib.Path(os.environ.get("QUERN_ROOT", pathlib.Path(__file__).resolve().parents[2]))
SHARED = pathlib.Path(os.environ.get("QUERN_SHARED", ROOT.parent / "shared"))
BUILD = pathlib.Path(os.environ.get("QUERN_BUILD", ROOT / "build"))
SEED = int(os.environ.get("QUERN_SEED", "20240617"))
KERNELS = ["avx512x8", "avx512", "avx2", "neon", "columns16", "walk8", "walk", "linear"]  # the tool says which suit
COLUMN_KERNELS = ("avx512x8", "avx512", "avx2", "neon", "columns16")


@pytest.fixture(scope="session")
def tool(tmp_path_factory):
    libs = [BUILD / "libqn_model.a", BUILD / "libqn_base.a"]
    missing = [str(p) for p in libs if not p.exists()]
    if missing:
        pytest.skip(f"not built: {', '.join(missing)} (set QUERN_BUILD)")
    out = tmp_path_factory.mktemp("tool") / "tool_model"
    extra = os.environ.get("QUERN_CFLAGS", "").split()
    # archives of a sanitizer build need its runtime
    symbols = subprocess.run(["nm", str(libs[1])], capture_output=True, text=True).stdout
    if "__asan_init" in symbols:
        extra.append("-fsanitize=address,undefined")
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-fno-lto", f"-I{ROOT}/src",
                    str(ROOT / "tests/e2e/tool_model.c"), *map(str, libs), *extra, "-o", str(out),
                    "-lxxhash", "-lpthread", "-ldl", "-lm"], check=True)
    return out


class Scorer:
    """Runs tool_model on one model file."""

    def __init__(self, tool, folder):
        self.tool, self.folder = tool, folder

    def run(self, model, x=None, kernel=None, batch=1024, best=False, missing=None, output=None, column=None):
        args = [str(self.tool), "-b", str(batch)]
        if kernel:
            args += ["-k", kernel]
        if best:
            args += ["-t", "best"]
        if missing is not None:
            args += ["-m", repr(float(missing))]
        if output is not None:
            args += ["-o", output]
        if column is not None:
            args += ["-c", str(column)]
        args.append(str(model))
        if x is not None:
            np.ascontiguousarray(x, dtype="<f8").tofile(self.folder / "in.bin")
            args += [str(self.folder / "in.bin"), str(self.folder / "out.bin")]
        p = subprocess.run(args, capture_output=True, text=True)
        if p.returncode != 0:
            return p, None, None
        facts = dict(line.split(" ", 1) for line in p.stdout.splitlines() if " " in line)
        if x is None:
            return facts, None, None
        k, n = int(facts["outputs"]), int(facts["predictions"])
        out = np.fromfile(self.folder / "out.bin", dtype="<f8").reshape(len(x), k + n)
        return facts, out[:, :k], out[:, k:]


@pytest.fixture
def scorer(tool, tmp_path):
    return Scorer(tool, tmp_path)


def bits(a, dtype):
    a = np.ascontiguousarray(a, dtype=dtype)
    return a.view(np.uint32 if dtype == np.float32 else np.uint64)


def ulps(a, b, dtype):
    """Distance in units in the last place; NaN equals NaN."""
    signed = np.int32 if dtype == np.float32 else np.int64
    x, y = (np.ascontiguousarray(v, dtype=dtype).view(signed).astype(object) for v in (a, b))
    low = -(1 << (31 if dtype == np.float32 else 63))
    x, y = (np.where(v < 0, low - v, v) for v in (x, y))
    both_nan = np.isnan(np.asarray(a, dtype=float)) & np.isnan(np.asarray(b, dtype=float))
    return np.where(both_nan, 0, np.abs(x - y))


def check(scorer, model, x, margin, prediction, dtype, what, **options):
    """All suitable kernels and several batch sizes against the library's numbers."""
    margin = np.asarray(margin, dtype=dtype).reshape(len(x), -1)
    prediction = np.asarray(prediction, dtype=dtype).reshape(len(x), -1)
    facts, _, _ = scorer.run(model, **options)
    assert isinstance(facts, dict), facts.stderr
    tried = 0
    for kernel in KERNELS:
        for batch in (1, 5, 17, 64, 1024):
            rows = x if batch > 1 else x[:200]
            got, m, p = scorer.run(model, rows, kernel=kernel, batch=batch, **options)
            if not isinstance(got, dict):
                assert got.returncode == 3, got.stderr
                break
            tried += 1
            n = len(rows)
            assert m.astype(dtype).astype(float).tobytes() == m.tobytes(), "not a value of the type"
            different = (bits(m, dtype) != bits(margin[:n], dtype)) & ~(np.isnan(m) & np.isnan(margin[:n]))
            assert not different.any(), (what, kernel, batch, int(different.sum()),
                                         m[different][:5], margin[:n][different][:5])
            far = ulps(p, prediction[:n], dtype)
            assert far.max() <= 2, (what, kernel, batch, far.max())
    assert tried >= 5
    print(f"{what}: {len(x)} rows, kernel {facts['kernel']}, margins equal, of {prediction.size} predictions "
          f"{int((far > 0).sum())} differ in the last two bits")
    return facts


def matrix(rng, rows, columns, missing=0.05):
    """Normal numbers of many sizes, ties, zeros of both signs, denormals, missing."""
    x = rng.normal(size=(rows, columns))
    x[:, 1 % columns] = rng.integers(-4, 5, size=rows)
    x[:, 2 % columns] *= 10.0 ** rng.integers(-40, 30, size=rows)
    special = rng.random(size=x.shape)
    x[special < 0.02] = 0.0
    x[(special >= 0.02) & (special < 0.04)] = -0.0
    x[(special >= 0.04) & (special < 0.05)] = 1e-40
    x[(special >= 0.05) & (special < 0.06)] = -1e-36
    x[rng.random(size=x.shape) < missing] = np.nan
    return x


def near_thresholds(x, thresholds, rng, dtype):
    """Puts thresholds and their neighbours into the matrix: {column: values}."""
    x = x.copy()
    for column, values in thresholds.items():
        values = np.asarray(sorted(values), dtype=dtype)
        if len(values) == 0:
            continue
        pick = values[rng.integers(0, len(values), size=len(x))]
        way = rng.integers(0, 4, size=len(x))
        with np.errstate(over="ignore"):
            near = np.where(way == 0, np.nextafter(pick, dtype(-np.inf)),
                            np.where(way == 1, np.nextafter(pick, dtype(np.inf)), pick))
        keep = (way == 3) | ~np.isfinite(near)
        x[:, column] = np.where(keep, x[:, column], near)
    return x


# ---- XGBoost ----

def xgboost_thresholds(path):
    model = json.loads(path.read_text())["learner"]["gradient_booster"]
    found = {}
    for tree in model.get("gbtree", model)["model"].get("trees", []):
        for i, left in enumerate(tree["left_children"]):
            if left != -1 and not tree["split_type"][i]:
                found.setdefault(tree["split_indices"][i], set()).add(tree["split_conditions"][i])
    return found


def check_xgboost(scorer, booster, x, what, categories=False, missing=np.nan, near=True, **options):
    rng = np.random.default_rng(SEED)
    text, binary = scorer.folder / "m.json", scorer.folder / "m.ubj"
    booster.save_model(text)
    booster.save_model(binary)
    if near:
        x = near_thresholds(x, xgboost_thresholds(text), rng, np.float32)
    kinds = ["c" if categories and c == 0 else "q" for c in range(x.shape[1])]
    data = xgb.DMatrix(x.astype(np.float32), missing=missing, feature_types=kinds,
                       enable_categorical=categories, feature_names=booster.feature_names)
    limit = (0, booster.best_iteration + 1) if options.get("best") else (0, 0)
    margin = booster.predict(data, output_margin=True, iteration_range=limit)
    prediction = booster.predict(data, iteration_range=limit)
    if not np.isnan(missing):
        options["missing"] = missing
    facts = check(scorer, text, x, margin, prediction, np.float32, what, **options)
    other = check(scorer, binary, x, margin, prediction, np.float32, what + " ubj", **options)
    assert facts["format"] == "xgboost-json" and other["format"] == "xgboost-ubj"
    assert facts["nodes"] == other["nodes"]
    return facts


OBJECTIVES = ["reg:squarederror", "reg:squaredlogerror", "reg:logistic", "reg:pseudohubererror",
              "reg:absoluteerror", "reg:quantileerror", "binary:logistic", "binary:logitraw",
              "binary:hinge", "count:poisson", "reg:gamma", "reg:tweedie", "survival:cox",
              "survival:aft", "rank:pairwise", "rank:ndcg", "rank:map", "multi:softprob",
              "multi:softmax"]


def train_xgboost(objective, booster="gbtree", rounds=20, rows=1500, columns=8, **params):
    rng = np.random.default_rng(SEED)
    x = matrix(rng, rows, columns)
    z = np.nan_to_num(x[:, 0]) + 0.5 * np.nan_to_num(x[:, 1]) + rng.normal(size=rows) * 0.3
    y = (z > 0).astype(float)
    if objective.startswith(("count", "reg:gamma", "reg:tweedie", "survival", "reg:squaredlog")):
        y = np.ceil(np.exp(np.clip(z, -2, 2)))
    elif objective.startswith("multi"):
        y = np.clip(np.floor(z + 1.5), 0, 2)
        params["num_class"] = 3
    elif objective.startswith("reg:") and objective != "reg:logistic":
        y = z
    if objective == "reg:quantileerror":
        params["quantile_alpha"] = 0.3
    data = xgb.DMatrix(x.astype(np.float32), label=y)
    if objective == "survival:aft":
        data.set_float_info("label_lower_bound", y)
        data.set_float_info("label_upper_bound", y + 1)
    if objective.startswith("rank"):
        data.set_group([50] * (rows // 50))
    params = {"objective": objective, "booster": booster, "max_depth": 5, "seed": SEED,
              "verbosity": 0, **params}
    return xgb.train(params, data, rounds), x


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_xgboost_objective(scorer, objective):
    booster, x = train_xgboost(objective)
    facts = check_xgboost(scorer, booster, x, objective)
    assert facts["objective"] == objective
    assert facts["kernel"] in COLUMN_KERNELS


@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic", "multi:softprob"])
def test_xgboost_dart(scorer, objective):
    booster, x = train_xgboost(objective, booster="dart", rate_drop=0.3, rounds=15)
    check_xgboost(scorer, booster, x, "dart " + objective)


@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic", "multi:softprob"])
def test_xgboost_linear(scorer, objective):
    rng = np.random.default_rng(SEED)
    x = np.nan_to_num(rng.normal(size=(800, 5)))
    x[rng.random(x.shape) < 0.1] = np.nan
    y = (np.nan_to_num(x[:, 0]) > 0).astype(float)
    params = {"objective": objective, "booster": "gblinear", "verbosity": 0}
    if objective.startswith("multi"):
        params["num_class"] = 3
    booster = xgb.train(params, xgb.DMatrix(x.astype(np.float32), label=y), 10)
    facts = check_xgboost(scorer, booster, x, "gblinear " + objective, near=False)
    assert facts["kernel"] == "linear"


@pytest.mark.parametrize("params", [{"max_depth": 1}, {"max_depth": 2}, {"max_depth": 3}, {"max_depth": 4},
                                    {"max_depth": 6}, {"max_depth": 8}, {"max_depth": 14, "min_child_weight": 0},
                                    {"grow_policy": "lossguide", "max_depth": 0, "max_leaves": 60},
                                    {"num_parallel_tree": 3, "subsample": 0.5},
                                    {"base_score": 0.2}, {"max_depth": 6, "gamma": 2.0, "tree_method": "exact"}],
                         ids=lambda p: "-".join(f"{k}={v}" for k, v in p.items()))
def test_xgboost_shape(scorer, params):
    booster, x = train_xgboost("binary:logistic", **params)
    check_xgboost(scorer, booster, x, str(params))


def test_xgboost_many_cuts(scorer):
    """More cuts in a column than a code holds."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(6000, 2))
    x[rng.random(x.shape) < 0.05] = np.nan
    y = np.nan_to_num(np.sin(x[:, 0] * 40) + np.cos(x[:, 1] * 60))
    booster = xgb.train({"tree_method": "exact", "max_depth": 6, "min_child_weight": 0},
                        xgb.DMatrix(x.astype(np.float32), label=y), 60)
    path = scorer.folder / "cuts.json"
    booster.save_model(path)
    assert max(len(v) for v in xgboost_thresholds(path).values()) > 600
    check_xgboost(scorer, booster, x, "many cuts")


def test_xgboost_one_leaf(scorer):
    x = np.random.default_rng(SEED).normal(size=(100, 3))
    booster = xgb.train({"objective": "reg:squarederror"}, xgb.DMatrix(x, label=np.ones(100) * 3), 3)
    check_xgboost(scorer, booster, x, "one leaf")


def test_xgboost_no_trees(scorer):
    x = np.random.default_rng(SEED).normal(size=(100, 3))
    booster = xgb.train({"objective": "binary:logistic", "base_score": 0.3},
                        xgb.DMatrix(x, label=np.arange(100) % 2), 0)
    check_xgboost(scorer, booster, x, "no trees")


def test_xgboost_infinities(scorer):
    """A DMatrix refuses them; the model itself does not."""
    booster, x = train_xgboost("binary:logistic", rows=600)
    rng = np.random.default_rng(SEED)
    x[rng.random(x.shape) < 0.1] = np.inf
    x[rng.random(x.shape) < 0.1] = -np.inf
    path = scorer.folder / "inf.json"
    booster.save_model(path)
    rows = x.astype(np.float32)
    check(scorer, path, x, booster.inplace_predict(rows, predict_type="margin"), booster.inplace_predict(rows),
          np.float32, "infinities")


SLOW = ("walk8", "walk")  # for 5,000 trees
LARGE = {  # what a model can look like: deep, wide, long, finely cut. Parameters, rounds, rows, columns
    "depth 20": ({"max_depth": 20, "min_child_weight": 0}, 2, 6000, 4),
    "5,000 trees": ({"max_depth": 2, "eta": 0.05}, 5000, 300, 4),
    "300 columns": ({"max_depth": 6, "colsample_bytree": 0.3, "gamma": 0}, 80, 500, 300),
    "one column": ({"max_depth": 6}, 20, 700, 1),
    "5,000 cuts": ({"tree_method": "exact", "max_depth": 10, "min_child_weight": 0, "eta": 0.1}, 160, 9000, 2),
    "255 cuts": ({"max_depth": 8, "min_child_weight": 0}, 100, 6000, 2),
    "classes": ({"objective": "multi:softprob", "num_class": 3, "max_depth": 6}, 20, 1500, 8)}


@pytest.mark.parametrize("name", LARGE)
def test_xgboost_large(scorer, name):
    """Every kernel in batches of every size from 1 to 130, on one thread and on two, against XGBoost."""
    params, rounds, rows, columns = LARGE[name]
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(rows, columns))
    x[rng.random(x.shape) < 0.05] = np.nan
    y = np.sin(np.nan_to_num(x).sum(axis=1) * 40) + rng.normal(size=rows)
    if "num_class" in params:
        y = np.clip(np.floor(y + 1.5), 0, 2)
    booster = xgb.train({"verbosity": 0, "seed": SEED, **params}, xgb.DMatrix(x.astype(np.float32), label=y), rounds)
    text = scorer.folder / "large.json"
    booster.save_model(text)
    cuts = xgboost_thresholds(text)
    few = 140 if name in ("5,000 trees", "300 columns") else 300
    x = near_thresholds(x[:few], cuts, np.random.default_rng(SEED), np.float32)
    data = xgb.DMatrix(x.astype(np.float32))
    margin = booster.predict(data, output_margin=True).reshape(len(x), -1)
    tried = []
    for kernel in KERNELS:
        batch = 64 if rounds == 5000 and kernel in SLOW else 0
        facts, m, _ = scorer.run(text, x, kernel=kernel, batch=batch)
        if isinstance(facts, dict):
            assert m.astype(np.float32).tobytes() == margin.tobytes(), (name, kernel)
            tried.append(kernel)
        else:
            assert facts.returncode == 3, facts.stderr
    facts, _, _ = scorer.run(text)
    most = max(map(len, cuts.values()))
    print(f"{name}: {facts['trees']} trees, depth {facts['depth_max']}, {facts['inputs']} columns, up to {most} cuts, "
          f"kernel {facts['kernel']}; {', '.join(tried)} have the same bits")
    assert int(facts["depth_max"]) == params["max_depth"] and tried[-2:] == ["walk8", "walk"]
    assert int(facts["trees"]) == rounds * params.get("num_class", 1) and int(facts["inputs"]) == columns
    assert most > {"5,000 cuts": 5000, "255 cuts": 250}.get(name, 0)


@pytest.mark.parametrize("missing", [0.0, -999.0])
def test_xgboost_missing_value(scorer, missing):
    rng = np.random.default_rng(SEED)
    x = matrix(rng, 1000, 6)
    x[rng.random(x.shape) < 0.1] = missing
    y = (np.nan_to_num(x[:, 0]) > 0).astype(float)
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 4},
                        xgb.DMatrix(x.astype(np.float32), label=y, missing=missing), 15)
    check_xgboost(scorer, booster, x, f"missing {missing}", missing=missing)


@pytest.mark.parametrize("onehot", [1, 100])
def test_xgboost_categories(scorer, onehot):
    rng = np.random.default_rng(SEED)
    x = matrix(rng, 3000, 4)
    x[:, 0] = rng.integers(0, 40, size=3000)
    x[rng.random(3000) < 0.05, 0] = np.nan
    y = ((np.nan_to_num(x[:, 0]) * 7) % 5 > 2).astype(float)
    data = xgb.DMatrix(x.astype(np.float32), label=y, feature_types=["c", "q", "q", "q"],
                       enable_categorical=True)
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 5, "max_cat_to_onehot": onehot}, data, 20)
    strange = x.copy()
    strange[:400, 0] = rng.choice([41, 100, 16777215, 16777216, 1e9, 39, 0, -0.0], size=400)
    check_xgboost(scorer, booster, strange, f"categories onehot={onehot}", categories=True)


def test_xgboost_best_iteration(scorer):
    rng = np.random.default_rng(SEED)
    x = matrix(rng, 800, 5)
    y = (np.nan_to_num(x[:, 0]) + rng.normal(size=800) > 0).astype(float)
    train = xgb.DMatrix(x[:400].astype(np.float32), label=y[:400])
    valid = xgb.DMatrix(x[400:].astype(np.float32), label=y[400:])
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 6}, train, 200, evals=[(valid, "v")],
                        early_stopping_rounds=10, verbose_eval=False)
    check_xgboost(scorer, booster, x, "all trees")
    facts = check_xgboost(scorer, booster, x, "best trees", best=True)
    assert int(facts["trees"]) == booster.best_iteration + 1 < int(facts["trees_in_file"])


def test_xgboost_names(scorer):
    x = np.random.default_rng(SEED).normal(size=(100, 2))
    data = xgb.DMatrix(x, label=x[:, 0], feature_names=["amount", "größe Infinity"])
    path = scorer.folder / "names.json"
    xgb.train({}, data, 2).save_model(path)
    p = subprocess.run([str(scorer.tool), str(path)], capture_output=True, text=True, check=True)
    assert re.findall("^input (.*)$", p.stdout, re.M) == ["amount", "größe Infinity"]


def test_xgboost_many_inputs(scorer):
    """Few trees on many inputs: coding all inputs would cost more than it saves."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(500, 300))
    booster = xgb.train({"max_depth": 2, "colsample_bytree": 0.1}, xgb.DMatrix(x, label=x.sum(axis=1)), 3)
    check_xgboost(scorer, booster, x, "many inputs")


# ---- LightGBM ----

def lightgbm_thresholds(text):
    found = {}
    for block in text.split("Tree=")[1:]:
        rows = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if not rows.get("split_feature"):
            continue
        for f, t, d in zip(rows["split_feature"].split(), rows["threshold"].split(), rows["decision_type"].split()):
            if not int(d) & 1:
                found.setdefault(int(f), set()).add(float(t))
    return found


def check_lightgbm(scorer, booster, x, what):
    path = scorer.folder / "m.txt"
    booster.save_model(path)
    x = near_thresholds(x, lightgbm_thresholds(path.read_text()), np.random.default_rng(SEED), np.float64)
    margin = booster.predict(x, raw_score=True)
    prediction = booster.predict(x)
    return check(scorer, path, x, margin, prediction, np.float64, what)


LIGHTGBM = ["regression", "regression_l1", "huber", "fair", "quantile", "mape", "poisson", "gamma", "tweedie",
            "binary", "cross_entropy", "cross_entropy_lambda", "lambdarank", "rank_xendcg", "multiclass",
            "multiclassova"]


def train_lightgbm(objective, rounds=20, rows=2000, columns=8, categorical=False, **params):
    rng = np.random.default_rng(SEED)
    x = matrix(rng, rows, columns)
    x[rng.random(rows) < 0.01, 3 % columns] = np.inf
    x[rng.random(rows) < 0.01, 3 % columns] = -np.inf
    if categorical:
        x[:, 0] = rng.integers(0, 60, size=rows)
        x[rng.random(rows) < 0.05, 0] = np.nan
    z = np.nan_to_num(x[:, 0]) % 7 - 3 + 0.5 * np.nan_to_num(x[:, 1]) + rng.normal(size=rows) * 0.3
    y = z
    if objective in ("poisson", "gamma", "tweedie", "mape"):
        y = np.ceil(np.exp(np.clip(z, -2, 2)))
    elif objective in ("binary", "cross_entropy", "cross_entropy_lambda", "lambdarank", "rank_xendcg"):
        y = (z > 0).astype(float)
    elif objective.startswith("multiclass"):
        y = np.clip(np.floor(z + 1.5), 0, 2)
        params["num_class"] = 3
    group = [50] * (rows // 50) if objective in ("lambdarank", "rank_xendcg") else None
    data = lgb.Dataset(x, label=y, group=group, categorical_feature=[0] if categorical else [], free_raw_data=False)
    params = {"objective": objective, "verbosity": -1, "seed": SEED, "deterministic": True, "num_threads": 1,
              **params}
    return lgb.train(params, data, rounds), x


@pytest.mark.parametrize("objective", LIGHTGBM)
def test_lightgbm_objective(scorer, objective):
    booster, x = train_lightgbm(objective)
    check_lightgbm(scorer, booster, x, objective)


@pytest.mark.parametrize("params", [
    {"num_leaves": 2}, {"num_leaves": 255, "min_data_in_leaf": 2}, {"max_depth": 6, "num_leaves": 64},
    {"zero_as_missing": True}, {"use_missing": False}, {"reg_sqrt": True}, {"sigmoid": 2.5},
    {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, {"boosting": "dart"},
    {"max_bin": 4000, "min_data_in_bin": 1, "num_leaves": 200, "min_data_in_leaf": 1},
    {"linear_tree": True}, {"min_data_in_leaf": 100000}], ids=lambda p: "-".join(f"{k}={v}" for k, v in p.items()))
def test_lightgbm_shape(scorer, params):
    objective = "binary" if "sigmoid" in params else "regression"
    booster, x = train_lightgbm(objective, **params)
    if params.get("linear_tree"):
        x = np.where(np.isinf(x), np.nan, x)
    check_lightgbm(scorer, booster, x, str(params))


@pytest.mark.parametrize("params", [{}, {"max_cat_to_onehot": 100}, {"zero_as_missing": True},
                                    {"use_missing": False}, {"num_leaves": 200, "min_data_in_leaf": 3}],
                         ids=lambda p: "-".join(f"{k}={v}" for k, v in p.items()) or "default")
def test_lightgbm_categories(scorer, params):
    booster, x = train_lightgbm("regression", categorical=True, min_data_per_group=5, cat_smooth=1, **params)
    strange = [61, 1000, -1, -0.5, -0.0, 0.7, 2147483647, 2147483648, -2147483649, 1e18, np.inf, -np.inf]
    x[:600, 0] = np.random.default_rng(SEED).choice(strange, size=600)
    check_lightgbm(scorer, booster, x, f"categories {params}")


def test_lightgbm_every_batch(scorer):
    booster, x = train_lightgbm("multiclass", categorical=True, num_leaves=31)
    path = scorer.folder / "every.txt"
    booster.save_model(path)
    margin = booster.predict(x[:500], raw_score=True).reshape(500, -1)
    tried = 0
    for kernel in KERNELS:
        facts, m, _ = scorer.run(path, x[:500], kernel=kernel, batch=0)
        if isinstance(facts, dict):
            assert m.tobytes() == margin.tobytes(), kernel
            tried += 1
        else:
            assert facts.returncode == 3, facts.stderr
    assert tried >= 3


# ---- files of old versions ----

OLD = ROOT / "tests" / "e2e" / "old_models"


@pytest.mark.parametrize("path", sorted(p for p in OLD.iterdir() if p.suffix in (".model", ".ubj", ".txt") or
                                        (p.suffix == ".json" and not p.stem.endswith(".rows"))), ids=lambda p: p.name)
def test_old_version(scorer, path):
    """What versions of years ago wrote (make_old.py): as today's library reads it, to the bit; it may read it in
    another order of adding than theirs."""
    recorded = json.loads((OLD / f"{path.stem}.rows.json").read_text())
    rows, margin, prediction = (np.array(recorded[k], dtype=float) for k in ("rows", "raw", "prediction"))
    dtype = np.float64 if path.suffix == ".txt" else np.float32
    if path.name == "xgboost-1.0.2-linear.json":  # 3.2 takes its base score for a margin; 1.0 to 2.1 do not
        now = margin, prediction
    elif path.suffix == ".txt":
        booster = lgb.Booster(model_file=path)
        now = booster.predict(rows, raw_score=True), booster.predict(rows)
    elif path.suffix != ".model":
        booster = xgb.Booster(model_file=path)
        now = booster.predict(xgb.DMatrix(rows), output_margin=True), booster.predict(xgb.DMatrix(rows))
    else:  # today's does not read the old binary any more: recorded from the last that does
        now = margin, prediction
    facts = check(scorer, path, rows, *now, dtype, path.name)
    assert facts["format"] in {".txt": ["lightgbm-text"], ".json": ["xgboost-json"], ".ubj": ["xgboost-ubj"],
                               ".model": ["xgboost-binary", "xgboost-ubj"]}[path.suffix]
    assert np.allclose(np.reshape(now[0], margin.shape), margin, rtol=1e-5, atol=1e-6)


# ---- the published pairs ----

def shared(*parts):
    path = SHARED.joinpath("data", "models", *parts)
    if not path.exists():
        pytest.skip(f"{path} is missing (set QUERN_SHARED)")
    return path


def sparse(path, columns, empty):
    rows = [line.split()[1:] for line in path.read_text().splitlines() if line.strip()]
    x = np.full((len(rows), columns), empty)
    for r, row in enumerate(rows):
        for item in row:
            column, value = item.split(":")
            x[r, int(column)] = float(value)
    return x


def test_mushroom(scorer):
    folder = shared("xgboost-mushroom")
    facts, _, _ = scorer.run(folder / "mushroom.model")
    x = sparse(folder / "agaricus.test", int(facts["inputs"]), np.nan)
    margin = np.array((folder / "agaricus.test.margin").read_text().split(), dtype=np.float32)
    prob = np.array((folder / "agaricus.test.prob").read_text().split(), dtype=np.float32)
    check(scorer, folder / "mushroom.model", x, margin, prob, np.float32, "mushroom")
    assert facts["format"] == "xgboost-binary"
    _, _, p = scorer.run(folder / "mushroom.model", x)
    assert (p[:, 0].astype(np.float32) == prob).all()


def test_toy_categorical(scorer):
    folder = shared("lightgbm-toy-categorical")
    x = sparse(folder / "toy_categorical.test", 2, 0.0)
    want = [float(v) for v in (folder / "toy_categorical.test.pred").read_text().split()]
    for kernel in KERNELS[:-1]:
        facts, _, p = scorer.run(folder / "toy_categorical_model.txt", x, kernel=kernel)
        if kernel in COLUMN_KERNELS[:-1] and not isinstance(facts, dict):
            assert facts.returncode == 3, facts.stderr  # this CPU has not got it
            continue
        assert isinstance(facts, dict), facts.stderr
        assert list(p[:, 0]) == want


def test_nyc_taxi(scorer):
    folder = shared("lightgbm-nyc-taxi")
    booster = lgb.Booster(model_file=str(folder / "model.txt"))
    rng = np.random.default_rng(SEED)
    x = np.column_stack([rng.integers(0, 9, 2000), rng.integers(0, 7, 2000), rng.integers(0, 24, 2000),
                         rng.integers(0, 60, 2000), rng.exponential(4, 2000)]).astype(float)
    check_lightgbm(scorer, booster, x, "nyc taxi")


# ---- linear models ----

@pytest.mark.parametrize("link,outputs", [("identity", 1), ("logistic", 1), ("softmax", 3), ("exp", 2)])
def test_linear(scorer, link, outputs):
    rng = np.random.default_rng(SEED)
    w, b = rng.normal(size=(outputs, 4)), rng.normal(size=outputs)
    mean, scale = rng.normal(size=4), rng.random(4) + 0.5
    x = rng.normal(size=(300, 4))
    x[::7, 2] = np.nan
    x[::11, 3] = np.nan
    model = {"format": "quern-linear", "version": 1, "inputs": list("abcd"), "coefficients": w.tolist(),
             "intercepts": b.tolist(), "link": link, "mean": mean.tolist(), "scale": scale.tolist(),
             "fill": [None, None, 0.25, None]}
    path = scorer.folder / "linear.json"
    path.write_text(json.dumps(model))
    filled = x.copy()
    filled[np.isnan(x[:, 2]), 2] = 0.25
    margin = np.tile(b, (300, 1))
    for i in range(4):
        margin = margin + w[:, i] * ((filled[:, i] - mean[i]) / scale[i])[:, None]
    with np.errstate(invalid="ignore"):
        if link == "softmax":
            e = np.exp(margin - margin.max(axis=1, keepdims=True))
            total = e[:, 0] + e[:, 1] + e[:, 2]
            prediction = e / total[:, None]
        else:
            prediction = {"identity": margin, "logistic": 1 / (1 + np.exp(-margin)),
                          "exp": np.exp(margin)}[link]
    margin[np.isnan(margin)] = np.nan
    facts, m, p = scorer.run(path, x)
    assert isinstance(facts, dict), facts.stderr
    nan = np.isnan(margin)
    assert (np.isnan(m) == nan).all() and (m[~nan] == margin[~nan]).all()
    assert ulps(p, prediction, np.float64).max() <= 3
    assert facts["kernel"] == "linear"


# ---- refusals ----

def refused(scorer, path, *words):
    p, _, _ = scorer.run(path)
    assert not isinstance(p, dict), "it was loaded"
    assert p.returncode == 1, p.stderr
    for word in words:
        assert word in p.stderr, p.stderr
    return p.stderr


def test_refusals(scorer):
    folder = scorer.folder
    booster, x = train_xgboost("binary:logistic", rounds=3)
    (folder / "raw").write_bytes(b"bs64" + b"AAAA")
    refused(scorer, folder / "raw", "save_model")
    import pickle
    (folder / "p").write_bytes(pickle.dumps(booster))
    refused(scorer, folder / "p", "pickle", "save_model")
    booster.dump_model(folder / "dump.txt")
    refused(scorer, folder / "dump.txt", "save_model")
    booster.dump_model(folder / "dump.json", dump_format="json")
    refused(scorer, folder / "dump.json", "save_model")
    (folder / "config.json").write_text(booster.save_config())
    refused(scorer, folder / "config.json", "save_model")
    (folder / "serial").write_bytes(booster.__getstate__()["handle"])
    refused(scorer, folder / "serial", "save_model")
    gbm, _ = train_lightgbm("binary", rounds=3)
    (folder / "dump").write_text(json.dumps(gbm.dump_model()))
    refused(scorer, folder / "dump", "save_model")
    (folder / "empty").write_bytes(b"")
    refused(scorer, folder / "empty", "empty")
    refused(scorer, folder / "nowhere")
    multi = xgb.train({"multi_strategy": "multi_output_tree", "tree_method": "hist"},
                      xgb.DMatrix(np.nan_to_num(x[:, :2]), label=np.nan_to_num(x[:, :2])), 2)
    multi.save_model(folder / "vector.json")
    refused(scorer, folder / "vector.json", "vector leaves")


def test_cut_off(scorer):
    """Every prefix of a file is refused, never misread."""
    booster, _ = train_xgboost("binary:logistic", rounds=2, columns=3, max_depth=2)
    gbm, _ = train_lightgbm("binary", rounds=2, num_leaves=4)
    folder = scorer.folder
    booster.save_model(folder / "m.ubj")
    booster.save_model(folder / "m.json")
    gbm.save_model(folder / "m.txt")
    for name in ("m.ubj", "m.json"):
        whole = (folder / name).read_bytes()
        for n in np.linspace(1, len(whole) - 1, 25).astype(int):
            (folder / "cut").write_bytes(whole[:n])
            refused(scorer, folder / "cut")
    whole = (folder / "m.txt").read_bytes()
    for n in np.linspace(1, whole.index(b"Tree=1") + 8, 12).astype(int):
        (folder / "cut").write_bytes(whole[:n])
        refused(scorer, folder / "cut")


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q", "-s"]))


# ---- categories as text, from data frames ----


def text_frame(rng, rows, strange="São Tomé"):
    pd = pytest.importorskip("pandas")
    words = ["de", "fr", "it", strange, 'quote "x"', "", "a,b"]
    return pd.DataFrame({
        "amount": rng.normal(size=rows),
        "country": pd.Categorical(rng.choice(words, size=rows), categories=words + ["never"]),
        "only": pd.Categorical(["z"] * rows),
        "size": rng.normal(size=rows),
        "channel": pd.Categorical(rng.choice(["web", "shop"], size=rows))})


@pytest.mark.parametrize("library,ending", [("xgboost", "json"), ("xgboost", "ubj"), ("lightgbm", "txt")])
def test_categories_as_text(tmp_path, library, ending):
    """Text fields go into a model that was trained on them; unknown words as the library has it."""
    rng = np.random.default_rng(SEED)
    x = text_frame(rng, 800, "St. Tome" if library == "xgboost" else "São Tomé")
    y = x.amount + 2.0 * x.country.isin(["fr", ""]) - x.country.isin(["de"]) + 0.5 * (x.channel == "web")
    x.loc[rng.random(len(x)) < 0.05, "country"] = None
    path = tmp_path / f"model.{ending}"
    if library == "xgboost":
        model = xgb.train({"max_depth": 4, "max_cat_to_onehot": 1}, xgb.DMatrix(x, y, enable_categorical=True), 12)
        model.save_model(path)
        want = model.predict(xgb.DMatrix(x, enable_categorical=True), output_margin=True).astype(np.float32)
    else:
        parameters = {"objective": "regression", "verbose": -1, "min_data_per_group": 5, "cat_smooth": 1}
        model = lgb.train(parameters, lgb.Dataset(x, y), 12)
        model.save_model(path)
        # a word that training did not have is missing to LightGBM's data frames
        x["country"] = x.country.astype(object)
        x.loc[:9, "country"] = "nowhere"
        frame = x.copy()
        frame["country"] = frame.country.astype("category")
        want = model.predict(frame, raw_score=True)
    spec = tmp_path / "s.yaml"
    spec.write_text(f"""quern: 1
name: s
streams:
  orders:
    id: id
    time: at
    key: id
    fields:
      id: string
      at: {{type: timestamp, unit: s}}
      amount: double
      country: {{type: string, optional: true}}
      only: string
      size: double
      channel: string
models:
  m: {{file: model.{ending}}}
score: {{model: m}}
outputs:
  predictions: {{to: topic}}
""")
    rows = json.loads(x.to_json(orient="records", double_precision=15))
    for row, amount, size in zip(rows, x["amount"], x["size"]):  # to_json cuts digits off
        row.update(amount=amount, size=size)
    events = "".join(json.dumps({"id": f"e{i}", "at": i, **row}) + "\n" for i, row in enumerate(rows))
    out = subprocess.run([BUILD / "quern", "pipe", spec], input=events, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    got = np.array([json.loads(line)["score"] for line in out.stdout.splitlines()], dtype=want.dtype)
    assert len(got) == len(want)
    assert got.tobytes() == want.tobytes(), x["country"][got != want].value_counts(dropna=False)
    assert len(set(got)) > 20
    if library == "xgboost":  # whose files cut words with letters beyond ASCII short: no words, rather than wrong ones
        x = text_frame(rng, 200)
        strange = xgb.train({"max_cat_to_onehot": 1}, xgb.DMatrix(x, x.amount, enable_categorical=True), 2)
        strange.save_model(path)
        out = subprocess.run([BUILD / "quern", "check", spec], capture_output=True, text=True)
        assert out.returncode == 2 and "'country' is a string" in out.stderr, out.stderr
        assert "'channel'" not in out.stderr


def test_inspect_together(tmp_path):
    """Models of one table and several labels are cut at the same numbers: their columns are coded once."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(400, 5)).astype(np.float32)
    names = [f"{label}.ubj" for label in "abc"]
    for i, name in enumerate(names):
        trained = xgb.DMatrix(x, x[:, i] + x[:, 3] * x[:, 4] > 0, feature_names=list("vwxyz"))
        options = {"objective": "binary:logistic", "max_depth": 4, "max_bin": 32}
        xgb.train(options, trained, 40).save_model(tmp_path / name)

    def inspect(*options):
        command = [BUILD / "quern", "model", "inspect", *options]
        env = {**os.environ, "QUERN_CPU": "portable"}
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=env).stdout

    told = json.loads(inspect(*names, "--json"))
    assert [m["file"] for m in told["models"]] == names
    assert told["together"].pop("bytes") > 0
    assert told["together"] == {"models": 3, "share": 3, "bundles": 1, "coded_columns": 5, "coded_columns_alone": 15}
    assert "share     3 of 3 models, in 1 bundle\n  a row     5 columns are coded instead of 15\n" in inspect(*names)
    assert "together" not in inspect(names[0])
