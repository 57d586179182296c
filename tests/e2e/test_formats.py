# SPDX-License-Identifier: Apache-2.0
"""test_formats.py - models of scikit-learn (through python/quern_export.py), CatBoost and ONNX against Quern.

Sums equal the library's bit for bit on every kernel and batch size, at thresholds and their neighbours in float32 and
in double too; predictions may differ by two units in the last place where a logistic function, exp or 2^x is applied,
and the number that differ is printed. Tools and helpers: test_models.py.
"""
import importlib.util
import json
import os
import pathlib

import pytest

from test_models import ROOT, SEED, bits, check, matrix, scorer, tool, ulps  # noqa: F401 (fixtures)

np = pytest.importorskip("numpy")
pytest.importorskip("sklearn")

from sklearn import ensemble, tree  # noqa: E402

COLUMNS = 6


def load_exporter():
    spec = importlib.util.spec_from_file_location("quern_export", ROOT / "python" / "quern_export.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


exporter = load_exporter()


def finite(rng, rows, missing):
    """scikit-learn refuses infinities and what overflows float32."""
    return np.clip(matrix(rng, rows, COLUMNS, missing), -1e30, 1e30)


def at_thresholds(x, thresholds, rng):
    """Thresholds, the floats and doubles beside them, and the middles between two floats."""
    x = x.copy()
    for column, values in thresholds.items():
        values = np.asarray(sorted(values))
        values = values[np.isfinite(values)]
        if len(values) == 0:
            continue
        pick = values[rng.integers(0, len(values), size=len(x))]
        near = pick.astype(np.float32)
        up, down = np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))
        middle = (near.astype(float) + up.astype(float)) / 2
        low = (near.astype(float) + down.astype(float)) / 2
        choices = [pick, near, up, down, middle, low, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf),
                   np.nextafter(low, np.inf), np.nextafter(low, -np.inf), np.nextafter(pick, np.inf)]
        way = rng.integers(0, 2 * len(choices), size=len(x))
        for i, v in enumerate(choices):
            x[way == i, column] = v[way == i]
    return x


def thresholds_of(document):
    found = {}
    for t in document["trees"]:
        for left, column, threshold in zip(t["left"], t["feature"], t["threshold"]):
            if left >= 0:
                found.setdefault(column, set()).add(float(threshold))
    return found


def rows_for(document, rng, missing):
    x = finite(rng, 3000, missing)
    return np.clip(at_thresholds(x, thresholds_of(document), rng), -1e30, 1e30)


def export(model, tmp_path, **options):
    path = tmp_path / "model.json"
    exporter.export(model, path, **options)
    return path, json.loads(path.read_text())


def sums(document, leaves, x):
    """The document's own arithmetic in numpy, in tree order: leaves(t, x) = node of each row."""
    out = np.tile(np.asarray(document.get("start", [0.0] * document["outputs"])), (len(x), 1))
    for i, t in enumerate(document["trees"]):
        at = leaves(i, x)
        for k, values in enumerate(t["values"]):
            out[:, t.get("output", 0) + k] += np.asarray(values)[at]
    return out


def target(rng, x, classes):
    score = np.nan_to_num(x[:, 0]) + 0.4 * np.nan_to_num(x[:, 1]) + rng.normal(size=len(x))
    return score if classes == 0 else np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))


FORESTS = [
    (ensemble.RandomForestClassifier, dict(n_estimators=25, max_depth=8), 2, 0.05),
    (ensemble.RandomForestClassifier, dict(n_estimators=12, max_depth=5), 4, 0.05),
    (ensemble.RandomForestRegressor, dict(n_estimators=40, max_depth=6), 0, 0.05),
    (ensemble.RandomForestRegressor, dict(n_estimators=7, max_depth=None), 0, 0),
    (ensemble.ExtraTreesClassifier, dict(n_estimators=30, max_depth=7), 3, 0),
    (ensemble.ExtraTreesRegressor, dict(n_estimators=30, max_depth=4), 0, 0.05),
    (tree.DecisionTreeClassifier, dict(max_depth=6), 2, 0.05),
    (tree.DecisionTreeRegressor, dict(max_depth=20), 0, 0.05),
    (tree.DecisionTreeRegressor, dict(max_depth=1), 0, 0),
    (tree.ExtraTreeRegressor, dict(max_depth=6), 0, 0),
]


@pytest.mark.parametrize("kind,options,classes,missing", FORESTS)
def test_forest(scorer, tmp_path, kind, options, classes, missing):
    rng = np.random.default_rng(SEED)
    x = finite(rng, 1500, missing)
    model = kind(random_state=SEED % 1000, **options).fit(x, target(rng, x, classes))
    path, document = export(model, tmp_path)
    rows = rows_for(document, rng, missing)
    estimators = getattr(model, "estimators_", [model])
    margin = sums(document, lambda i, v: estimators[i].apply(v), rows)
    want = model.predict(rows) if classes == 0 else model.predict_proba(rows)
    want = want[:, 1] if classes == 2 else want
    facts = check(scorer, path, rows, margin, want, np.float64, kind.__name__)
    assert facts["format"] == "forest-json"
    _, _, got = scorer.run(path, rows)
    assert (bits(got, np.float64) == bits(np.asarray(want).reshape(len(rows), -1), np.float64)).all()


def test_forest_of_two_targets(scorer, tmp_path):
    rng = np.random.default_rng(SEED)
    x = finite(rng, 800, 0)
    y = np.column_stack([target(rng, x, 0), target(rng, x, 0)])
    model = ensemble.RandomForestRegressor(n_estimators=9, max_depth=5, random_state=1).fit(x, y)
    path, document = export(model, tmp_path)
    rows = rows_for(document, rng, 0)
    _, _, got = scorer.run(path, rows)
    assert (bits(got, np.float64) == bits(model.predict(rows), np.float64)).all()


BOOSTED = [
    (ensemble.GradientBoostingClassifier, dict(n_estimators=40), 2),
    (ensemble.GradientBoostingClassifier, dict(n_estimators=40, loss="exponential"), 2),
    (ensemble.GradientBoostingClassifier, dict(n_estimators=15, max_depth=2), 3),
    (ensemble.GradientBoostingClassifier, dict(n_estimators=15, init="zero"), 2),
    (ensemble.GradientBoostingRegressor, dict(n_estimators=60, subsample=0.7), 0),
    (ensemble.GradientBoostingRegressor, dict(n_estimators=20, loss="huber", max_depth=7), 0),
    (ensemble.GradientBoostingRegressor, dict(n_estimators=20, loss="quantile", alpha=0.8), 0),
    (ensemble.HistGradientBoostingClassifier, dict(max_iter=30), 2),
    (ensemble.HistGradientBoostingClassifier, dict(max_iter=10), 4),
    (ensemble.HistGradientBoostingRegressor, dict(max_iter=50, max_leaf_nodes=63), 0),
    (ensemble.HistGradientBoostingRegressor, dict(max_iter=20, loss="poisson"), 0),
    (ensemble.HistGradientBoostingRegressor, dict(max_iter=20, loss="gamma"), 0),
]


@pytest.mark.parametrize("kind,options,classes", BOOSTED)
def test_boosted(scorer, tmp_path, kind, options, classes):
    rng = np.random.default_rng(SEED)
    histogram = kind.__name__.startswith("Hist")
    missing = 0.05 if histogram else 0
    x = finite(rng, 1500, missing)
    y = target(rng, x, classes)
    y = np.exp(np.clip(y / 10, -3, 3)) if options.get("loss") in ("poisson", "gamma") else y
    model = kind(random_state=SEED % 1000, **options).fit(x, y)
    path, document = export(model, tmp_path)
    rows = rows_for(document, rng, missing)
    if histogram:
        margin = model._raw_predict(rows)
        want = model.predict(rows) if classes == 0 else model.predict_proba(rows)
    else:
        margin = model._raw_predict(rows.astype(np.float32)) if classes == 0 else model.decision_function(rows)
        want = model.predict(rows) if classes == 0 else model.predict_proba(rows)
    want = want[:, 1] if classes == 2 else want
    check_close(scorer, path, rows, margin, want, f"{kind.__name__} {options}")


def check_close(scorer, path, rows, margin, want, what, units=4):
    """Margins to the bit; softmax and the logistic function of scipy within a few units in the last place."""
    margin = np.asarray(margin).reshape(len(rows), -1)
    want = np.asarray(want).reshape(len(rows), -1)
    _, got_margin, got = scorer.run(path, rows)
    check(scorer, path, rows, margin, got, np.float64, what)
    assert (bits(got_margin, np.float64) == bits(margin, np.float64)).all()
    far = ulps(got, want, np.float64)
    print(f"{what}: {int((far > 0).sum())} of {far.size} predictions differ, by at most {far.max()} units")
    assert far.max() <= units, (what, far.max())


ISOLATION = [
    (dict(), 0, None),
    (dict(n_estimators=50, contamination=0.1, max_samples=100), 0, "decision_function"),
    (dict(n_estimators=30, max_features=0.5, max_samples=1.0), 0, "score_samples"),
    (dict(n_estimators=64, max_samples=2), 0, "anomaly"),
]


@pytest.mark.parametrize("options,missing,output", ISOLATION)
def test_isolation(scorer, tmp_path, options, missing, output):
    rng = np.random.default_rng(SEED)
    x = finite(rng, 2000, missing)
    model = ensemble.IsolationForest(random_state=SEED % 1000, **options).fit(x)
    path, document = export(model, tmp_path, output=output)
    rows = rows_for(document, rng, missing)
    want = model.decision_function(rows) if output == "decision_function" else model.score_samples(rows)
    want = -want if output == "anomaly" else want

    def leaves(i, v):
        return model.estimators_[i].apply(v[:, model.estimators_features_[i]].astype(np.float32))

    margin = sums(document, leaves, rows)
    facts, got_margin, got = scorer.run(path, rows)
    check(scorer, path, rows, margin, got, np.float64, f"isolation forest {options}")
    assert facts["objective"] == "isolation " + (output or "score_samples")
    # the 2^x of numpy depends on libm; a decision function near 0 magnifies one unit of the score
    scale = np.maximum(np.abs(want), 0.5) * np.finfo(float).eps
    different = int((got[:, 0] != want).sum())
    print(f"isolation forest {options}: {different} of {len(rows)} values differ from scikit-learn's")
    assert (np.abs(got[:, 0] - want) <= scale).all()


def test_names(scorer, tmp_path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"amount": [1.0, 2, 3, 4], "größe": [0.0, 1, 0, 1]})
    model = tree.DecisionTreeRegressor().fit(frame, [0.0, 1, 2, 3])
    path, document = export(model, tmp_path)
    assert document["inputs"] == ["amount", "größe"]
    facts, _, _ = scorer.run(path)
    assert facts["input"] == "größe"  # the last one


def test_exporter_refuses():
    x, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    with pytest.raises(ValueError, match="cannot be exported"):
        exporter.document(ensemble.AdaBoostClassifier().fit(x, y))
    with pytest.raises(ValueError, match="init="):
        exporter.document(ensemble.GradientBoostingRegressor(init=tree.DecisionTreeRegressor()).fit(x, y))
    with pytest.raises(ValueError, match="categorical"):
        exporter.document(ensemble.HistGradientBoostingRegressor(categorical_features=[0]).fit(x, y))
    with pytest.raises(ValueError, match="isolation"):
        exporter.document(tree.DecisionTreeRegressor().fit(x, y), output="anomaly")
    with pytest.raises(ValueError, match="names"):
        exporter.document(tree.DecisionTreeRegressor().fit(x, y), inputs=["a"])


# ---- CatBoost: models and predictions recorded by tests/e2e/catboost/make_catboost.py ----

CATBOOST = pathlib.Path(os.environ.get("QUERN_CATBOOST", ROOT / "tests" / "e2e" / "catboost"))


@pytest.mark.parametrize("name", ["binary", "classes", "one-vs-all", "regression", "poisson", "quantile", "multi-rmse",
                                  "nan-max", "lossguide", "depthwise", "one-hot"])
def test_catboost(scorer, name):
    recorded = json.loads((CATBOOST / f"{name}.rows.json").read_text())
    rows = np.array(recorded["rows"], dtype=float)
    margin = np.array(recorded["raw"], dtype=float)
    want = np.array(recorded["prediction"], dtype=float)
    path = CATBOOST / f"{name}.json"
    check_close(scorer, path, rows, margin, want, f"catboost {name}", units=16)  # it has an exp of its own
    facts, _, _ = scorer.run(path)
    assert facts["format"] == "catboost-json"


def test_catboost_refuses_ctr(scorer):
    p, _, _ = scorer.run(CATBOOST / "ctr.json")
    assert p.returncode == 1 and "CTR" in p.stderr and "one_hot_max_size" in p.stderr, p.stderr


# ---- ONNX: tree ensembles against ONNX Runtime with one thread; skipped where it is not installed ----


def onnx_case(scorer, tmp_path, model, rows, what, **options):
    to_onnx = pytest.importorskip("skl2onnx").to_onnx
    runtime = pytest.importorskip("onnxruntime")
    is_classifier = hasattr(model, "classes_")
    if is_classifier:
        options["options"] = {type(model): {"zipmap": False, **({"raw_scores": True} if "Grad" in what else {})}}
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(model, rows[:1], **options).SerializeToString())
    one = runtime.SessionOptions()
    one.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(path), one, providers=["CPUExecutionProvider"])
    return path, session.run(None, {session.get_inputs()[0].name: rows})[1 if is_classifier else 0]


@pytest.mark.parametrize("kind,options,classes", [
    (ensemble.RandomForestRegressor, dict(n_estimators=30, max_depth=6), 0),
    (ensemble.ExtraTreesRegressor, dict(n_estimators=120, max_depth=9), 0),
    (ensemble.GradientBoostingRegressor, dict(n_estimators=40), 0),
    (ensemble.RandomForestClassifier, dict(n_estimators=30, max_depth=6), 2),
    (ensemble.RandomForestClassifier, dict(n_estimators=9, max_depth=5), 4),
    (ensemble.GradientBoostingClassifier, dict(n_estimators=30), 2),
    (tree.DecisionTreeRegressor, dict(max_depth=12), 0),
])
def test_onnx(scorer, tmp_path, kind, options, classes):
    rng = np.random.default_rng(SEED)
    x = finite(rng, 1200, 0)
    model = kind(random_state=3, **options).fit(x, target(rng, x, classes))
    _, document = export(model, tmp_path)
    rows = rows_for(document, rng, 0).astype(np.float32)
    path, want = onnx_case(scorer, tmp_path, model, rows, kind.__name__)
    want = want[:, 1] if classes == 2 and want.shape[1] == 2 else want
    facts, _, predicted = scorer.run(path, rows)
    check(scorer, path, rows, want, predicted, np.float32, f"onnx {kind.__name__}")
    assert facts["format"] == "onnx"


# ---- ONNX: linear models. ONNX Runtime's own float32 sums depend on the batch, ours are double ----


@pytest.mark.parametrize("kind,steps,classes", [
    ("LinearRegression", (), 0), ("LinearRegression", (), -2), ("Ridge", ("StandardScaler",), 0),
    ("LogisticRegression", (), 2), ("LogisticRegression", (), 3),
    ("LogisticRegression", ("SimpleImputer", "StandardScaler"), 2),
])
def test_onnx_linear(scorer, tmp_path, kind, steps, classes):
    to_onnx = pytest.importorskip("skl2onnx").to_onnx
    runtime = pytest.importorskip("onnxruntime")
    from sklearn import impute, linear_model, pipeline, preprocessing
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(300, COLUMNS)).astype(np.float32)
    y = rng.integers(0, classes, size=300) if classes > 0 else rng.normal(size=(300, -classes) if classes else 300)
    if "SimpleImputer" in steps:
        x[rng.random(size=x.shape) < 0.1] = np.nan
    made = [getattr(impute if s == "SimpleImputer" else preprocessing, s)() for s in steps]
    model = pipeline.make_pipeline(*made, getattr(linear_model, kind)()).fit(x, y)
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(model, x[:1]).SerializeToString())
    facts, _, predicted = scorer.run(path, x)
    assert isinstance(facts, dict), facts.stderr
    assert facts["kernel"] == "linear" and facts["objective"].startswith("Linear"), facts
    answers = runtime.InferenceSession(str(path)).run(None, {"X": x})
    want = np.array([[row[k] for k in range(classes)] for row in answers[1]]) if classes > 0 else answers[0]
    want = want[:, 1:] if classes == 2 else want
    assert predicted.shape == want.shape and np.abs(predicted - want).max() < 1e-6


def test_onnx_linear_order_counts(scorer, tmp_path, monkeypatch):
    """A scaler in front of an imputer is not what kernel `linear` does; nothing is guessed."""
    to_onnx = pytest.importorskip("skl2onnx").to_onnx
    from sklearn import impute, linear_model, pipeline, preprocessing
    monkeypatch.setenv("QUERN_ONNXRUNTIME", str(tmp_path / "none.so"))
    x = np.random.default_rng(SEED).normal(size=(100, 3)).astype(np.float32)
    model = pipeline.make_pipeline(preprocessing.StandardScaler(), impute.SimpleImputer(), linear_model.Ridge())
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(model.fit(x, x[:, 0]), x[:1]).SerializeToString())
    refused, _, _ = scorer.run(path)
    assert "ONNX Runtime" in refused.stderr, refused.stderr
