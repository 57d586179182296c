# SPDX-License-Identifier: Apache-2.0
"""test_onnx_trees.py - the tree operators of ai.onnx.ml on our kernels, bit for bit as ONNX Runtime with one thread.

Random ensembles made with the onnx package: TreeEnsemble of version 5 in float and double, all node modes; the older
operators with double attributes, equality, averages. The library is the oracle only: Quern runs without it here.
"""
import itertools

import pytest

from test_models import SEED, scorer, tool  # noqa: F401 (fixtures)

np = pytest.importorskip("numpy")
onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

INPUTS = 5
LEQ, LT, GTE, GT, EQ, NEQ, MEMBER = range(7)
NAMES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("QUERN_ONNXRUNTIME", "")


def save(path, op, kind, outputs, **attributes):
    names = ["label", "Y"] if op == "TreeEnsembleClassifier" else ["Y"]
    version = 5 if op == "TreeEnsemble" else 3
    answer = kind if op == "TreeEnsemble" else TensorProto.FLOAT
    types = {"label": TensorProto.INT64, "Y": answer}
    node = helper.make_node(op, ["X"], names, domain="ai.onnx.ml", **attributes)
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("X", kind, ["N", INPUTS])],
                              [helper.make_tensor_value_info(n, types[n], ["N"] if n == "label" else ["N", outputs])
                               for n in names])
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)]
    path.write_bytes(helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString())
    return path


def oracle(path, x):
    one = runtime.SessionOptions()
    one.intra_op_num_threads = 1
    return runtime.InferenceSession(str(path), one, providers=["CPUExecutionProvider"]).run(None, {"X": x})[-1]


def matrix(rng, dtype, rows=200):
    """Columns 0 and 1: whole numbers, as categories are; the others fractions. Missing values in all."""
    x = rng.normal(size=(rows, INPUTS)).astype(dtype)
    x[:, :2] = rng.integers(-2, 12, size=(rows, 2))
    x[rng.random(size=x.shape) < 0.05] = np.nan
    x[rng.random(size=x.shape) < 0.02] = -0.0
    return x


def node_of(rng, modes):
    """Mode, input and threshold of a random node; comparisons for equality look at whole numbers."""
    mode = int(rng.choice(modes))
    if mode >= EQ:
        return mode, int(rng.integers(2)), float(rng.integers(0, 10))
    return mode, int(rng.integers(INPUTS)), float(rng.normal())


def version_5(rng, dtype, trees, targets, modes, sparse=False):
    """Attributes of TreeEnsemble: random shapes, the trees' nodes mixed, a leaf as root here and there."""
    nodes, leaves, roots, members = [], [], [], {}

    def leaf():
        leaves.append((int(rng.integers(targets)), float(rng.normal())))
        return len(leaves) - 1, 1

    def grow(depth):
        at = len(nodes)
        nodes.append(None)
        mode, column, split = node_of(rng, modes)
        if mode == MEMBER:
            members[at] = [float(v) for v in rng.choice(10, size=int(rng.integers(1, 6)), replace=False)]
        sides = [leaf() if depth == 0 or rng.random() < 0.2 else (grow(depth - 1), 0) for _ in range(2)]
        nodes[at] = mode, column, split, sides, int(rng.integers(2))
        return at

    for t in range(trees):
        if t % 10 == 9:  # one leaf, written as a node whose sides are the same leaf
            roots.append(len(nodes))
            nodes.append((LEQ, 0, 0.0, [leaf()] * 2, 0))
        else:
            roots.append(grow(4))
    order = [at for at in range(len(nodes)) if at in members]
    listed = list(itertools.chain.from_iterable(members[at] + [np.nan] for at in order))
    array = numpy_helper.from_array
    found = {
        "n_targets": targets, "tree_roots": roots,
        "nodes_modes": array(np.array([n[0] for n in nodes], dtype=np.uint8)),
        "nodes_featureids": [n[1] for n in nodes],
        "nodes_splits": array(np.array([n[2] for n in nodes], dtype=dtype)),
        "nodes_truenodeids": [n[3][0][0] for n in nodes], "nodes_trueleafs": [n[3][0][1] for n in nodes],
        "nodes_falsenodeids": [n[3][1][0] for n in nodes], "nodes_falseleafs": [n[3][1][1] for n in nodes],
        "leaf_targetids": [v[0] for v in leaves],
        "leaf_weights": array(np.array([v[1] for v in leaves], dtype=dtype)),
    }
    if not sparse:
        found["nodes_missing_value_tracks_true"] = [n[4] for n in nodes]
    if listed:
        found["membership_values"] = array(np.array(listed, dtype=dtype))
    return found


def version_3(rng, doubles, trees, targets, modes, prefix="target", ids=None):
    """Attributes of the older operators: perfect trees of depth 3."""
    nodes = [(t, k, *((None, 0, 0.0) if k >= 7 else node_of(rng, modes))) for t in range(trees) for k in range(15)]
    votes = [(t, k, i, float(rng.normal())) for t, k, mode, *_ in nodes if mode is None
             for i in (range(targets) if ids is None else ids)]
    found = {
        "nodes_treeids": [n[0] for n in nodes], "nodes_nodeids": [n[1] for n in nodes],
        "nodes_modes": ["LEAF" if n[2] is None else NAMES[n[2]] for n in nodes],
        "nodes_featureids": [n[3] for n in nodes],
        "nodes_truenodeids": [0 if n[2] is None else 2 * n[1] + 1 for n in nodes],
        "nodes_falsenodeids": [0 if n[2] is None else 2 * n[1] + 2 for n in nodes],
        "nodes_missing_value_tracks_true": [int(rng.integers(2)) for _ in nodes],
        f"{prefix}_treeids": [v[0] for v in votes], f"{prefix}_nodeids": [v[1] for v in votes],
        f"{prefix}_ids": [v[2] for v in votes],
    }
    for name, values in (("nodes_values", [n[4] for n in nodes]), (f"{prefix}_weights", [v[3] for v in votes])):
        found.update(numbers(name, values, doubles))
    return found


def numbers(name, values, doubles):
    if doubles:
        return {name + "_as_tensor": numpy_helper.from_array(np.array(values, dtype=np.float64))}
    return {name: values}


def equal(scorer, path, x, columns=slice(None)):
    want = oracle(path, x)[:, columns].astype(float)
    for kernel, batch in ((None, 1), (None, 17), (None, 1024), ("walk", 17)):
        facts, margin, predicted = scorer.run(path, x.astype(float), kernel=kernel, batch=batch)
        assert isinstance(facts, dict), facts.stderr
        assert facts["kernel"] != "onnxruntime"
        different = predicted.reshape(want.shape) != want
        assert not different.any(), (facts["kernel"], batch, int(different.sum()), predicted[different][:4])
    return facts, margin


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("modes", [(LEQ,), (LEQ, LT, GTE, GT), (LEQ, EQ, NEQ), (LEQ, GT, EQ, NEQ, MEMBER)])
@pytest.mark.parametrize("targets,aggregate", [(1, 1), (3, 1), (1, 0), (3, 0)])
def test_tree_ensemble(scorer, tmp_path, dtype, modes, targets, aggregate):
    rng = np.random.default_rng(SEED)
    kind = TensorProto.FLOAT if dtype == np.float32 else TensorProto.DOUBLE
    path = save(tmp_path / "m.onnx", "TreeEnsemble", kind, targets, aggregate_function=aggregate,
                **version_5(rng, dtype, 33, targets, modes, sparse=targets == 3))
    facts, margin = equal(scorer, path, matrix(rng, dtype))
    assert facts["objective"] == "TreeEnsemble" and facts["is_float"] == str(int(dtype == np.float32))
    assert facts["trees_in_file"] == "33"


@pytest.mark.parametrize("doubles", [False, True])
@pytest.mark.parametrize("modes", [(LEQ, LT, GTE, GT), (LEQ, EQ, NEQ)])
@pytest.mark.parametrize("targets,aggregate,base", [(1, "SUM", True), (3, "SUM", True), (3, "AVERAGE", False)])
def test_regressor(scorer, tmp_path, doubles, modes, targets, aggregate, base):
    rng = np.random.default_rng(SEED)
    kind = TensorProto.DOUBLE if doubles else TensorProto.FLOAT
    bases = numbers("base_values", list(rng.normal(size=targets)), doubles) if base else {}
    path = save(tmp_path / "m.onnx", "TreeEnsembleRegressor", kind, targets, n_targets=targets,
                aggregate_function=aggregate, **bases, **version_3(rng, doubles, 29, targets, modes))
    equal(scorer, path, matrix(rng, np.float64 if doubles else np.float32))


@pytest.mark.parametrize("doubles", [False, True])
@pytest.mark.parametrize("classes,ids", [(2, [0]), (2, [1]), (3, None)])
def test_classifier(scorer, tmp_path, doubles, classes, ids):
    rng = np.random.default_rng(SEED)
    kind = TensorProto.DOUBLE if doubles else TensorProto.FLOAT
    path = save(tmp_path / "m.onnx", "TreeEnsembleClassifier", kind, classes, classlabels_int64s=list(range(classes)),
                **version_3(rng, doubles, 29, classes, (LEQ, EQ), "class", ids))
    equal(scorer, path, matrix(rng, np.float64 if doubles else np.float32),
          columns=slice(None) if ids is None else slice(1, 2))


def test_fractions_are_no_category(scorer, tmp_path):
    """Equality means equality. ONNX Runtime 1.31 cuts fractions off where a set has three members or more."""
    rng = np.random.default_rng(SEED)
    one = {"n_targets": 1, "tree_roots": [0], "nodes_featureids": [0], "nodes_truenodeids": [0], "nodes_trueleafs": [1],
           "nodes_falsenodeids": [1], "nodes_falseleafs": [1], "leaf_targetids": [0, 0]}
    arrays = {"nodes_modes": np.array([MEMBER], dtype=np.uint8), "nodes_splits": np.zeros(1, dtype=np.float32),
              "leaf_weights": np.array([1, 0], dtype=np.float32),
              "membership_values": np.array([0, 1, 7, np.nan], dtype=np.float32)}
    path = save(tmp_path / "m.onnx", "TreeEnsemble", TensorProto.FLOAT, 1, **one,
                **{k: numpy_helper.from_array(v) for k, v in arrays.items()})
    x = matrix(rng, np.float32, 12)
    x[:, 0] = [0, -0.0, 0.5, 1, 1.5, 7, 7.5, -1, 1e30, -1e30, np.nan, 8]
    for kernel in (None, "walk"):
        facts, margin, _ = scorer.run(path, x.astype(float), kernel=kernel)
        assert margin[:, 0].tolist() == [1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0], facts["kernel"]


def test_what_goes_to_onnx_runtime(scorer, tmp_path):
    rng = np.random.default_rng(SEED)

    def refused(words, op="TreeEnsemble", kind=TensorProto.FLOAT, **attributes):
        p, _, _ = scorer.run(save(tmp_path / "m.onnx", op, kind, 1, **attributes))
        assert not isinstance(p, dict) and words in p.stderr, p

    five = version_5(rng, np.float32, 3, 1, (LEQ, EQ))
    refused("aggregate_function", **five, aggregate_function=2)
    # ONNX Runtime 1.31 takes 1 for LOGISTIC and 2 for SOFTMAX, the specification the other way round
    refused("post_transform", **five, post_transform=1)
    refused("attributes of another type", kind=TensorProto.DOUBLE, **five)
    for value in (-1.0, 0.5, 1e9):
        splits = numpy_helper.to_array(five["nodes_splits"]).copy()
        splits[numpy_helper.to_array(five["nodes_modes"]) == EQ] = value
        refused("no whole number", **{**five, "nodes_splits": numpy_helper.from_array(splits)})
    three = version_3(rng, False, 3, 1, (LEQ,))
    refused("aggregate_function 'MAX'", "TreeEnsembleRegressor", aggregate_function="MAX", **three)
    refused("base_values", "TreeEnsembleRegressor", aggregate_function="AVERAGE", base_values=[0.5], **three)
    second = version_3(rng, False, 3, 2, (LEQ,), "class", [1])
    refused("second class", "TreeEnsembleClassifier", classlabels_int64s=[0, 1], base_values=[0.5], **second)


def test_cast_of_the_answer(scorer, tmp_path):
    """A Cast behind the trees that changes the answer is not passed over."""
    rng = np.random.default_rng(SEED)
    for dtype, to, is_ours in ((np.float32, TensorProto.DOUBLE, True), (np.float32, TensorProto.INT64, False),
                               (np.float64, TensorProto.DOUBLE, True), (np.float64, TensorProto.FLOAT, False)):
        kind = TensorProto.FLOAT if dtype == np.float32 else TensorProto.DOUBLE
        path = save(tmp_path / "m.onnx", "TreeEnsemble", kind, 1, **version_5(rng, dtype, 3, 1, (LEQ,)))
        model = onnx.load(path)
        model.graph.node[0].output[0] = "sums"
        model.graph.node.extend([helper.make_node("Identity", ["sums"], ["same"]),
                                 helper.make_node("Cast", ["same"], ["Y"], to=to)])
        model.graph.output[0].type.tensor_type.elem_type = to
        path.write_bytes(model.SerializeToString())
        if is_ours:
            equal(scorer, path, matrix(rng, dtype))
        else:
            p, _, _ = scorer.run(path)
            assert not isinstance(p, dict) and "Cast" in p.stderr, p


def test_tracks_true_is_one(scorer, tmp_path):
    rng = np.random.default_rng(SEED)
    five = version_5(rng, np.float32, 9, 1, (LEQ, GT))
    five["nodes_missing_value_tracks_true"] = [int(v) for v in rng.integers(-1, 3, size=len(five["nodes_featureids"]))]
    equal(scorer, save(tmp_path / "m.onnx", "TreeEnsemble", TensorProto.FLOAT, 1, **five), matrix(rng, np.float32))


@pytest.mark.parametrize("doubles", [False, True])
def test_two_classes(scorer, tmp_path, doubles):
    rng = np.random.default_rng(SEED)
    kind = TensorProto.DOUBLE if doubles else TensorProto.FLOAT
    x = matrix(rng, np.float64 if doubles else np.float32)
    full = version_3(rng, doubles, 5, 2, (LEQ, GT), "class")
    path, op = tmp_path / "m.onnx", "TreeEnsembleClassifier"
    equal(scorer, save(path, op, kind, 2, classlabels_int64s=[0, 1], **full), x)
    based = {**full, **numbers("base_values", [0.25, 0.5], doubles)}
    weights = "class_weights_as_tensor" if doubles else "class_weights"
    values = numpy_helper.to_array(full[weights]).tolist() if doubles else full[weights]
    for first_only in ([0], [0, 1, 2, 3, 4]):  # trees that lack a weight of the second class in a leaf
        kept = [i for i, (t, n, c) in enumerate(zip(full["class_treeids"], full["class_nodeids"], full["class_ids"]))
                if not (t in first_only and n == 7 and c == 1)]
        sparse = {**full, **{k: [full[k][i] for i in kept] for k in ("class_treeids", "class_nodeids", "class_ids")},
                  **numbers("class_weights", [values[i] for i in kept], doubles)}
        save(path, op, kind, 2, classlabels_int64s=[0, 1], **sparse)
        if len(first_only) == 1:
            equal(scorer, path, x)
        else:
            p, _, _ = scorer.run(path)
            assert not isinstance(p, dict) and "two classes" in p.stderr, p
    p, _, _ = scorer.run(save(path, op, kind, 2, classlabels_int64s=[0, 1], **based))
    assert not isinstance(p, dict) and "two classes" in p.stderr, p


def test_broken(scorer, tmp_path):
    rng = np.random.default_rng(SEED)
    good = version_5(rng, np.float32, 3, 1, (LEQ, MEMBER))

    def refused(words, **attributes):
        p, _, _ = scorer.run(save(tmp_path / "m.onnx", "TreeEnsemble", TensorProto.FLOAT, 1, **{**good, **attributes}))
        assert not isinstance(p, dict) and words in p.stderr, p

    inner = good["nodes_trueleafs"].index(0)
    loop = list(good["nodes_truenodeids"])
    loop[inner] = inner
    refused("reached twice", nodes_truenodeids=loop)
    loop[inner] = 10000
    refused("outside the tree", nodes_truenodeids=loop)
    refused("root", tree_roots=[0, 0])
    refused("root", tree_roots=[-1])
    refused("differ in length", nodes_featureids=[0])
    refused("differ in length", leaf_targetids=[0])
    refused("no members", membership_values=numpy_helper.from_array(np.array([1, np.nan], dtype=np.float32)))
    array = numpy_helper.to_array(good["nodes_modes"]).copy()
    array[0] = 9
    refused("unknown mode", nodes_modes=numpy_helper.from_array(array))
