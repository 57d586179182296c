# SPDX-License-Identifier: Apache-2.0
"""test_onnxruntime.py - ONNX models that are neither trees nor linear, through ONNX Runtime's C library.

The oracle is the same library from Python, one row at a time: answers must be equal bit for bit at every batch size.
The library comes from the onnxruntime wheel; the tests are skipped where that is not installed.
"""
import json
import os
import pathlib
import re
import subprocess

import pytest

from test_models import BUILD, ROOT, SEED, scorer, tool  # noqa: F401 (fixtures)

np = pytest.importorskip("numpy")
onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

QUERN = BUILD / "quern"
RELEASE = int(runtime.__version__.split(".")[1])


@pytest.fixture(scope="module")
def library():
    found = sorted((pathlib.Path(runtime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    if not found:
        pytest.skip("the onnxruntime package has no C library")
    return str(found[0])


@pytest.fixture(autouse=True)
def environment(library, monkeypatch):
    monkeypatch.setenv("QUERN_ONNXRUNTIME", library)


def save(path, nodes, inputs, outputs, weights=(), ml=False):
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(v, n) for n, v in weights])
    sets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid("ai.onnx.ml", 3)] if ml else [])
    path.write_bytes(helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString())
    return path


def tensor(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, list(shape))


def network(path, rng, inputs=7, hidden=16, outputs=1, rows="N", kind=TensorProto.FLOAT):
    dtype = np.float32 if kind == TensorProto.FLOAT else np.float64
    weights = [("w1", rng.normal(size=(inputs, hidden)).astype(dtype)), ("b1", rng.normal(size=hidden).astype(dtype)),
               ("w2", rng.normal(size=(hidden, outputs)).astype(dtype)), ("b2", rng.normal(size=outputs).astype(dtype))]
    nodes = [helper.make_node("Gemm", ["X", "w1", "b1"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
             helper.make_node("Gemm", ["r", "w2", "b2"], ["z"]), helper.make_node("Sigmoid", ["z"], ["score"])]
    return save(path, nodes, [tensor("X", kind, rows, inputs)], [tensor("score", kind, rows, outputs)], weights)


def session(path):
    one = runtime.SessionOptions()
    one.intra_op_num_threads = 1
    try:
        return runtime.InferenceSession(str(path), one, providers=["CPUExecutionProvider"])
    except Exception:  # 1.16 and 1.17 refuse some graphs of doubles that they themselves made
        one.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        return runtime.InferenceSession(str(path), one, providers=["CPUExecutionProvider"])


def oracle(scorer, path, feeds, output=0):
    facts, _, _ = scorer.run(path)
    assert isinstance(facts, dict), facts.stderr
    return answers(path, facts["kernel_reason"], feeds, output)


def answers(path, reason, feeds, output=0):
    """Answers of ONNX Runtime in calls of the size that Quern chose: one row, unless the size would show."""
    padded = re.search(r"padded to (\d+) rows", reason)
    rows, run, count = int(padded[1]) if padded else 1, session(path).run, len(next(iter(feeds.values())))
    pad = -count % rows
    feeds = {k: np.concatenate([v] + [v[-1:]] * pad) for k, v in feeds.items()}
    found = [run(None, {k: v[i:i + rows] for k, v in feeds.items()})[output] for i in range(0, count, rows)]
    return np.concatenate(found)[:count]


def equal(scorer, path, x, want, **options):
    want = np.asarray(want, dtype=float).reshape(len(x), -1)
    for batch in (1, 7, 17, 100, 1024):
        facts, margin, predicted = scorer.run(path, x, batch=batch, **options)
        assert isinstance(facts, dict), facts.stderr
        assert facts["kernel"] == "onnxruntime", facts
        assert margin.tobytes() == predicted.tobytes()
        different = (margin != want) & ~(np.isnan(margin) & np.isnan(want))
        assert not different.any(), (batch, int(different.sum()), margin[different][:4], want[different][:4])
    return facts


@pytest.mark.parametrize("kind,dtype,inputs,outputs", [(TensorProto.FLOAT, np.float32, 7, 1),
                                                       (TensorProto.FLOAT, np.float32, 19, 3),
                                                       (TensorProto.DOUBLE, np.float64, 7, 1)])
def test_network(scorer, tmp_path, kind, dtype, inputs, outputs):
    rng = np.random.default_rng(SEED)
    path = network(tmp_path / "m.onnx", rng, inputs=inputs, outputs=outputs, kind=kind)
    x = rng.normal(size=(200, inputs))
    x[rng.random(size=x.shape) < 0.02] = np.nan
    facts = equal(scorer, path, x, oracle(scorer, path, {"X": x.astype(dtype)}))
    # Eigen's double exp has other bits in a full vector than in what is left over: no calls of one row then; not yet so
    # in ONNX Runtime 1.20
    if RELEASE >= 31 or dtype == np.float32:
        assert ("padded to 8 rows" in facts["kernel_reason"]) == (dtype == np.float64)
    assert "operator 'Gemm'" in facts["kernel_reason"] and runtime.__version__ in facts["kernel_reason"]
    assert facts["is_float"] == str(int(dtype == np.float32)) and facts["outputs"] == str(outputs)
    assert facts["inputs"] == str(inputs)


def test_fixed_batch(scorer, tmp_path):
    rng = np.random.default_rng(SEED)
    path = network(tmp_path / "m.onnx", rng, rows=5)
    x = rng.normal(size=(40, 7))
    run = session(path).run
    want = np.concatenate([run(None, {"X": x[i:i + 5].astype(np.float32)})[0] for i in range(0, 40, 5)])
    assert "batches of 5 rows" in equal(scorer, path, x, want)["kernel_reason"]


def test_named_columns_of_all_types(scorer, tmp_path):
    others = ("whole", "flag", "wide", "small")
    nodes = [helper.make_node("Cast", [n], [n + "_f"], to=TensorProto.FLOAT) for n in others]
    nodes += [helper.make_node("Unsqueeze", ["small_f", "one"], ["small_c"]),
              helper.make_node("Concat", ["price", "whole_f", "flag_f", "wide_f", "small_c"], ["all"], axis=1),
              helper.make_node("ReduceSum", ["all", "one"], ["score"], keepdims=0)]
    path = save(tmp_path / "m.onnx", nodes,
                [tensor("price", TensorProto.FLOAT, "N", 1), tensor("whole", TensorProto.INT64, "N", 1),
                 tensor("flag", TensorProto.BOOL, "N", 1), tensor("wide", TensorProto.DOUBLE, "N", 1),
                 tensor("small", TensorProto.INT32, "N")],
                [tensor("score", TensorProto.FLOAT, "N")], [("one", np.array([1], dtype=np.int64))])
    rng = np.random.default_rng(SEED)
    x = np.stack([rng.normal(size=90), rng.integers(-9, 9, size=90), rng.integers(0, 2, size=90), rng.normal(size=90),
                  rng.integers(-9, 9, size=90)], axis=1)
    want = oracle(scorer, path, {"price": x[:, :1].astype(np.float32), "whole": x[:, 1:2].astype(np.int64),
                                 "flag": x[:, 2:3].astype(bool), "wide": x[:, 3:4], "small": x[:, 4].astype(np.int32)})
    want = want.astype(float)
    # what no whole number can be has no score
    for row, column, value in ((3, 1, np.nan), (4, 1, 0.5), (5, 2, 2), (6, 4, 1e10), (7, 1, 1e300)):
        x[row, column] = value
        want[row] = np.nan
    equal(scorer, path, x, want)
    out = subprocess.run([QUERN, "model", "inspect", path, "--json"], capture_output=True, text=True)
    facts = json.loads(out.stdout)
    assert facts["inputs"] == ["price", "whole", "flag", "wide", "small"] and facts["kernel"] == "onnxruntime"
    assert facts["explains"] is False and "ONNX Runtime" in facts["explains_not"]


def test_a_row_that_fails_takes_no_other_along(scorer, tmp_path):
    path = save(tmp_path / "m.onnx", [helper.make_node("Gather", ["table", "at"], ["score"])],
                [tensor("at", TensorProto.INT64, "N", 1)], [tensor("score", TensorProto.FLOAT, "N", 1)],
                [("table", np.arange(10, dtype=np.float32) * 1.5)])
    x = np.array([[0], [3], [11], [9], [-99], [5]] * 12, dtype=float)
    equal(scorer, path, x, np.where((x >= 0) & (x < 10), x * 1.5, np.nan))


def test_outputs(scorer, tmp_path):
    rng = np.random.default_rng(SEED)
    weights = [("w", rng.normal(size=(3, 2)).astype(np.float32))]
    nodes = [helper.make_node("MatMul", ["X", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["p"], axis=1),
             helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0)]
    path = save(tmp_path / "m.onnx", nodes, [tensor("X", TensorProto.FLOAT, "N", 3)],
                [tensor("label", TensorProto.INT64, "N"), tensor("p", TensorProto.FLOAT, "N", 2)], weights)
    x = rng.normal(size=(20, 3))
    label, p = (oracle(scorer, path, {"X": x.astype(np.float32)}, k) for k in (0, 1))
    equal(scorer, path, x, p[:, 1])  # the probability of the second class, as with other formats
    equal(scorer, path, x, p[:, 0], column=0)
    equal(scorer, path, x, label, output="label")
    for options, words in (({"output": "q"}, "no output 'q'"), ({"column": 2}, "no column 2")):
        refused, _, _ = scorer.run(path, **options)
        assert words in refused.stderr


def test_zipmap(scorer, tmp_path):
    """The tensor before ZipMap is taken, which is no output of the file."""
    nodes = [helper.make_node("Sigmoid", ["X"], ["p"]),
             helper.make_node("ZipMap", ["p"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])]
    maps = helper.make_value_info("maps", helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))))
    path = save(tmp_path / "m.onnx", nodes, [tensor("X", TensorProto.FLOAT, "N", 3)], [maps], ml=True)
    x = np.random.default_rng(SEED).normal(size=(30, 3)).astype(np.float32)
    want = [[row[k] for k in range(3)] for row in oracle(scorer, path, {"X": x})]
    equal(scorer, path, x.astype(float), want)


def test_batch_size_never_shows(scorer, tmp_path):
    """An operator whose answer depends on the size of the batch is pinned to one size."""
    nodes = [helper.make_node("Shape", ["X"], ["shape"]), helper.make_node("Gather", ["shape", "zero"], ["n"]),
             helper.make_node("Cast", ["n"], ["f"], to=TensorProto.FLOAT), helper.make_node("Mul", ["X", "f"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, [tensor("X", TensorProto.FLOAT, "N", 1)],
                [tensor("y", TensorProto.FLOAT, "N", 1)], [("zero", np.array(0, dtype=np.int64))])
    x = np.arange(50, dtype=float).reshape(-1, 1)
    facts = equal(scorer, path, x, x * 64)
    assert "padded to 64 rows" in facts["kernel_reason"]


def test_refusals(scorer, tmp_path, monkeypatch):
    rng = np.random.default_rng(SEED)
    good = network(tmp_path / "m.onnx", rng)

    def refused(path, *words):
        p, _, _ = scorer.run(path)
        assert not isinstance(p, dict) and p.returncode == 1, p
        assert all(w in p.stderr for w in words), p.stderr

    text = save(tmp_path / "t.onnx", [helper.make_node("Identity", ["X"], ["Y"])],
                [tensor("X", TensorProto.STRING, "N", 1)], [tensor("Y", TensorProto.STRING, "N", 1)])
    refused(text, "no output of numbers")
    deep = save(tmp_path / "d.onnx", [helper.make_node("Relu", ["X"], ["Y"])],
                [tensor("X", TensorProto.FLOAT, "N", 2, 2)], [tensor("Y", TensorProto.FLOAT, "N", 2, 2)])
    refused(deep, "input 'X' has another number of dimensions")
    open_ended = save(tmp_path / "o.onnx", [helper.make_node("Relu", ["X"], ["Y"])],
                      [tensor("X", TensorProto.FLOAT, "N", "K")], [tensor("Y", TensorProto.FLOAT, "N", "K")])
    refused(open_ended, "does not say how many columns")
    broken = save(tmp_path / "b.onnx", [helper.make_node("NoSuchThing", ["X"], ["Y"])],
                  [tensor("X", TensorProto.FLOAT, "N", 2)], [tensor("Y", TensorProto.FLOAT, "N", 2)])
    refused(broken, f"ONNX Runtime {runtime.__version__} refuses the model", "NoSuchThing")
    cut = tmp_path / "c.onnx"
    cut.write_bytes(good.read_bytes()[:-40])
    refused(cut, "damaged or cut off")
    monkeypatch.setenv("QUERN_ONNXRUNTIME", str(tmp_path / "nothing.so"))
    refused(good, "operator 'Gemm' is nothing our kernels run", "nothing.so", "pip install onnxruntime")
    monkeypatch.setenv("QUERN_ONNXRUNTIME", "libm.so.6")
    refused(good, "needs ONNX Runtime 1.16 or newer")


def test_in_a_pipeline(scorer, tmp_path):
    """From a spec, with names, one column of an output, and two threads; `quern check` says what runs."""
    rng = np.random.default_rng(SEED)
    weights = [("w", rng.normal(size=(2, 3)).astype(np.float32))]
    nodes = [helper.make_node("Concat", ["amount", "hours"], ["X"], axis=1),
             helper.make_node("MatMul", ["X", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["p"], axis=1)]
    path = save(tmp_path / "m.onnx", nodes,
                [tensor("amount", TensorProto.FLOAT, "N", 1), tensor("hours", TensorProto.FLOAT, "N", 1)],
                [tensor("p", TensorProto.FLOAT, "N", 3)], weights)
    spec = tmp_path / "s.yaml"
    spec.write_text("""quern: 1
name: s
streams:
  orders:
    id: id
    time: at
    key: id
    fields: {id: string, at: {type: timestamp, unit: s}, amount: double, hours: double}
models:
  m: {file: m.onnx, output: p, column: 2}
score: {model: m}
outputs:
  predictions: {to: topic}
""")
    x = rng.normal(size=(300, 2))
    events = "".join(json.dumps({"id": f"e{i}", "at": i, "amount": a, "hours": h}) + "\n" for i, (a, h) in enumerate(x))
    out = subprocess.run([QUERN, "pipe", spec, "--threads", "2"], input=events, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    got = [json.loads(line)["score"] for line in out.stdout.splitlines()]
    f = x.astype(np.float32)
    want = oracle(scorer, path, {"amount": f[:, :1], "hours": f[:, 1:]})[:, 2]
    assert np.array(got, dtype=np.float32).tobytes() == want.tobytes()
    shown = subprocess.run([QUERN, "check", spec], capture_output=True, text=True)
    assert shown.returncode == 0 and "ONNX Runtime" in shown.stdout or "onnxruntime" in shown.stdout, shown.stdout
    out = subprocess.run([QUERN, "check", spec], capture_output=True, text=True,
                         env={**os.environ, "QUERN_ONNXRUNTIME": str(tmp_path / "none.so")})
    assert out.returncode == 2 and "QUERN_ONNXRUNTIME" in out.stderr + out.stdout


def test_place_in_the_batch_never_shows(scorer, tmp_path):
    """An operator whose answer depends on the row's place gets one row a call."""
    nodes = [helper.make_node("CumSum", ["X", "zero"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, [tensor("X", TensorProto.FLOAT, "N", 1)],
                [tensor("y", TensorProto.FLOAT, "N", 1)], [("zero", np.array(0, dtype=np.int64))])
    x = np.arange(50, dtype=float).reshape(-1, 1)
    facts = equal(scorer, path, x, x)
    assert "one row a call" in facts["kernel_reason"]


TEXTS = """quern: 1
name: s
streams:
  orders:
    id: id
    time: at
    key: id
    fields:
      {id: string, at: {type: timestamp, unit: s}, country: {type: string, optional: true}, kind: string,
       amount: double}
models:
  m: {file: m.onnx}
score: {model: m}
outputs:
  predictions: {to: topic}
"""


def text_model(folder, rng, words, rows, **options):
    """A pipeline of scikit-learn over two texts and a number, as skl2onnx writes it, and a spec: both beside the data
    that it was trained on."""
    skl2onnx, compose = pytest.importorskip("skl2onnx"), pytest.importorskip("sklearn.compose")
    pandas = pytest.importorskip("pandas")
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    data = pandas.DataFrame({"country": rng.choice(words["country"], rows), "kind": rng.choice(words["kind"], rows),
                             "amount": rng.normal(size=rows).astype(np.float32)})
    encode = compose.ColumnTransformer([("t", OneHotEncoder(**options), ["country", "kind"])], remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression()).fit(data, rng.integers(0, 2, rows))
    types = [("country", StringTensorType([None, 1])), ("kind", StringTensorType([None, 1])),
             ("amount", FloatTensorType([None, 1]))]
    (folder / "m.onnx").write_bytes(skl2onnx.convert_sklearn(
        model, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3},
        options={"zipmap": False}).SerializeToString())
    (folder / "s.yaml").write_text(TEXTS)
    return data


def inspect(path):
    return json.loads(subprocess.run([QUERN, "model", "inspect", path, "--json"], stdout=subprocess.PIPE).stdout)


def test_texts(tmp_path):
    """A pipeline of scikit-learn over text, numbers and an embedding, as skl2onnx writes it; missing text is empty."""
    words = np.array(["de", "fr", "é" * 40, "a b", ""])
    data = text_model(tmp_path, np.random.default_rng(SEED), {"country": words, "kind": words[:3]}, 300,
                      handle_unknown="ignore")
    path, spec = tmp_path / "m.onnx", tmp_path / "s.yaml"
    data.loc[::7, "country"] = "new"
    events = "".join(json.dumps({"id": f"e{i}", "at": i, "country": r.country or None, "kind": r.kind,
                                 "amount": float(r.amount)}) + "\n" for i, r in enumerate(data.itertuples()))
    feeds = {n: data[[n]].to_numpy(dtype=np.float32 if n == "amount" else object) for n in data}
    want = answers(path, inspect(path)["kernel_reason"], feeds, 1)[:, 1]
    for threads in ("1", "2"):
        out = subprocess.run([QUERN, "pipe", spec, "--threads", threads], input=events, capture_output=True, text=True)
        assert out.returncode == 0, out.stderr
        got = np.array([json.loads(line)["score"] for line in out.stdout.splitlines()], dtype=np.float32)
        assert len(got) == 300 and got.tobytes() == want.tobytes()
    out = subprocess.run([QUERN, "pipe", spec], input="", capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    spec.write_text(spec.read_text().replace("country: {type: string, optional: true}", "country: double"))
    out = subprocess.run([QUERN, "check", spec], capture_output=True, text=True)
    assert out.returncode == 2 and "reads 'country' as text" in out.stdout + out.stderr


def test_several_wide_tensors(scorer, tmp_path):
    nodes = [helper.make_node("Concat", ["embedding", "amount"], ["all"], axis=1),
             helper.make_node("ReduceMax", ["all"], ["score"], axes=[1], keepdims=0)]
    path = save(tmp_path / "m.onnx", nodes, [tensor("embedding", TensorProto.FLOAT, "N", 8),
                                             tensor("amount", TensorProto.FLOAT, "N", 1)],
                [tensor("score", TensorProto.FLOAT, "N")])
    x = np.random.default_rng(SEED).normal(size=(70, 9))
    f = x.astype(np.float32)
    equal(scorer, path, x, oracle(scorer, path, {"embedding": f[:, :8], "amount": f[:, 8:]}))
    assert inspect(path)["inputs"] == [f"embedding_{k}" for k in range(8)] + ["amount"]


def test_two_columns_of_one_name(scorer, tmp_path):
    """A tensor `a` of two columns beside a tensor `a_0`: nobody could say which `a_0` is meant."""
    nodes = [helper.make_node("Concat", ["a", "a_0"], ["all"], axis=1),
             helper.make_node("ReduceMax", ["all"], ["score"], axes=[1], keepdims=0)]
    path = save(tmp_path / "m.onnx", nodes, [tensor("a", TensorProto.FLOAT, "N", 2),
                                             tensor("a_0", TensorProto.FLOAT, "N", 1)],
                [tensor("score", TensorProto.FLOAT, "N")])
    refused, _, _ = scorer.run(path)
    assert refused.returncode == 1 and "two inputs are called 'a_0'" in refused.stderr, refused.stderr
    assert "rename one of them" in refused.stderr


DEVICE = """quern: 1
name: s
streams:
  orders:
    id: id
    time: at
    fields: {id: string, at: {type: timestamp, unit: s}, amount: double, hours: double}
models:
  m: {file: m.onnx, inputs: [amount, hours], PLACE}
score: {model: m}
"""


def check_place(folder, place, **env):
    spec = folder / "s.yaml"
    spec.write_text(DEVICE.replace("PLACE", place))
    return subprocess.run([QUERN, "check", spec], capture_output=True, text=True, env={**os.environ, **env})


def test_without_cuda(tmp_path):
    """The library of these tests was built without CUDA: `auto` takes the CPU, `cuda` is refused, with the way out."""
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    network(tmp_path / "m.onnx", np.random.default_rng(SEED), inputs=2)
    p = check_place(tmp_path, "provider: cuda")
    assert p.returncode == 2 and p.stdout == ""
    assert f"CUDA device 0 cannot be used: this ONNX Runtime, {runtime.__version__}, was built without CUDA" in p.stderr
    assert "onnxruntime-gpu" in p.stderr and "provider: auto" in p.stderr, p.stderr
    p = check_place(tmp_path, "provider: auto")
    assert p.returncode == 0 and "on the CPU, since this ONNX Runtime" in p.stdout, p.stdout + p.stderr
    p = check_place(tmp_path, "device: 1")
    assert p.returncode == 2 and "'device' is a CUDA device, and the model runs on the CPU" in p.stderr, p.stderr
    # our own kernels need none
    save(tmp_path / "m.onnx", [helper.make_node("LinearRegressor", ["X"], ["Y"], domain="ai.onnx.ml",
                                                coefficients=[1.0, 2.0], intercepts=[0.5])],
         [tensor("X", TensorProto.FLOAT, "N", 2)], [tensor("Y", TensorProto.FLOAT, "N", 1)], ml=True)
    p = check_place(tmp_path, "provider: cuda")
    assert p.returncode == 2 and "runs on kernels of our own" in p.stderr, p.stderr
    assert check_place(tmp_path, "provider: auto").returncode == 0


def test_with_a_device(library, tmp_path):
    """What the library is told about a device, and what becomes of its refusals. Its functions for CUDA are a stand-in
    (tool_cuda.c), since no test machine has a device; the session then runs on the CPU."""
    network(tmp_path / "m.onnx", np.random.default_rng(SEED), inputs=2)
    stub, seen = tmp_path / "stub.so", tmp_path / "seen"
    subprocess.run([os.environ.get("CC", "cc"), "-D_GNU_SOURCE", "-shared", "-fPIC", ROOT / "tests/e2e/tool_cuda.c",
                    "-o", stub, "-ldl"], check=True)

    def place(text, fault=""):
        seen.write_text("")
        return check_place(tmp_path, text, QUERN_ONNXRUNTIME=str(stub), REAL_ONNXRUNTIME=library, CUDA_SEEN=str(seen),
                           CUDA_FAULT=fault)

    told = ["option device_id=3", "option cudnn_conv_algo_search=DEFAULT", "option use_tf32=0"]
    p = place("provider: cuda, device: 3")
    assert p.returncode == 0 and "on CUDA device 3, output 'score'" in p.stdout, p.stdout + p.stderr
    assert seen.read_text().splitlines() == ["released providers=2", *told, "released device=1"]
    p = place("provider: auto, device: 3", "tf32")
    assert p.returncode == 0 and "on CUDA device 3" in p.stdout, p.stdout + p.stderr
    assert seen.read_text().splitlines() == ["released providers=2", *told, *told[:2], "released device=1"]
    for fault, words in (("device", "libcublas.so.12: cannot open shared object file"),
                         ("session", "CUDA failure 100: no CUDA-capable device is detected")):
        p = place("provider: cuda", fault)
        assert p.returncode == 2 and "CUDA device 0 cannot be used: " + words in p.stderr, p.stderr
        assert seen.read_text().splitlines()[-1] == "released device=1"
        p = place("provider: auto", fault)
        assert p.returncode == 0 and "on the CPU, since " + words in p.stdout, p.stdout + p.stderr
    place("provider: cpu")
    assert seen.read_text() == ""


def test_texts_that_a_model_refuses(tmp_path):
    """OneHotEncoder as it comes refuses what it does not know, so nothing can be tried at load: one row a call."""
    words = {"country": ["de", "fr", "it"], "kind": ["app", "web"]}
    data = text_model(tmp_path, np.random.default_rng(SEED), words, 150)
    path, spec = tmp_path / "m.onnx", tmp_path / "s.yaml"
    facts = inspect(path)
    assert "refuses texts that it does not know: one row a call" in facts["kernel_reason"]
    run, want, events = session(path).run, [], ""
    data["country"] = data["country"].astype(object)
    data.loc[::11, "country"], data.loc[5::13, "country"] = "new", None
    for i, (country, kind, amount) in enumerate(data.itertuples(index=False)):
        country = country if isinstance(country, str) else None
        events += json.dumps({"id": f"e{i}", "at": i, "country": country, "kind": kind, "amount": float(amount)}) + "\n"
        feeds = {"country": np.array([[country]], dtype=object), "kind": np.array([[kind]], dtype=object),
                 "amount": np.array([[amount]], dtype=np.float32)}
        want.append(float(run(None, feeds)[1][0, 1]) if country in ("de", "fr", "it") else None)
    assert 20 < want.count(None) < 30
    for threads in ("1", "2"):
        for batch in ("1", "7", "64"):
            out = subprocess.run([QUERN, "pipe", spec, "--threads", threads, "--batch", batch], input=events,
                                 capture_output=True, text=True)
            assert out.returncode == 0, out.stderr
            got = [json.loads(line)["score"] for line in out.stdout.splitlines()]
            assert [g if g is None else np.float32(g) for g in got] == [w if w is None else np.float32(w) for w in want]
