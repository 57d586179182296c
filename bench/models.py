# SPDX-License-Identifier: Apache-2.0
"""`./dev bench models`: one forest in every engine that is there, in one process (bench_peers.c).

The models are XGBoost files: those of ../shared/prototype/forest where they are there, else trained here. Peers get the
same trees in their own format: LightGBM and lleaves as LightGBM text, ONNX Runtime as a TreeEnsembleRegressor, YDF tree
by tree. Rows are drawn from the cuts of the model and their neighbours, 3 % missing. XGBoost and ONNX Runtime must give
Quern's bits; LightGBM and lleaves add in another type, so their differences are only counted. CatBoost cannot take
trees that are not symmetric: it trains models of its own, as many trees, and Quern, which reads their JSON, must give
the bits of its doubles. Contributions are measured beside XGBoost's and LightGBM's (bench_explain.c). Last, what a call
of ours adds to one of ONNX Runtime. Fails on wrong answers, never on time.
"""

import glob
import gzip
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, "build", "bench", "models")
SHARED = os.environ.get("QUERN_SHARED", os.path.join(ROOT, "..", "shared"))
FOREST = os.path.join(SHARED, "prototype", "forest")
ROWS, MISSING, SEED = 40960, 0.03, 1
CATBOOST_JAVA = "1.2.7"  # the newest that Maven has


def folder_of(package):
    spec = importlib.util.find_spec(package)
    return os.path.dirname(spec.origin) if spec and spec.origin else None


def library(package, pattern):
    found = glob.glob(os.path.join(folder_of(package) or "/nowhere", pattern))
    return found[0] if found else None


# --- the same trees for the peers ------------------------------------------------------------------------------------


def base_margin(document):
    """The margin that XGBoost starts its sum with, as float32; logistic and identity objectives."""
    import numpy as np

    text = document["learner"]["learner_model_param"]["base_score"].strip("[]")
    b = np.float32(text)
    if document["learner"]["objective"]["name"] in ("binary:logistic", "reg:logistic"):
        b = np.float32(-np.log(np.float32(1) / b - np.float32(1)))
    return b


def inputs_of(document):
    return int(document["learner"]["learner_model_param"]["num_feature"])


def trees_of(document):
    return document["learner"]["gradient_booster"]["model"]["trees"]


def below(x):
    import numpy as np

    return float(np.nextafter(np.float32(x), np.float32("-inf")))


def write_lightgbm(document, out, inputs):
    """LightGBM text; x < t as x <= the float below t, and the base margin as a tree whose two leaves are the same:
    lleaves reads no tree of one leaf."""
    lines = [
        "tree",
        "version=v4",
        "num_class=1",
        "num_tree_per_iteration=1",
        "label_index=0",
        f"max_feature_idx={inputs - 1}",
        "objective=regression",
        "feature_names=" + " ".join(f"f{i}" for i in range(inputs)),
        "feature_infos=" + " ".join(["[-1e30:1e30]"] * inputs),
        "",
    ]
    stump = {"left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [0, 0, 0]}
    stump |= {"split_conditions": [0.0] + [float(base_margin(document))] * 2, "default_left": [0, 0, 0]}
    blocks = []
    for number, t in enumerate([stump, *trees_of(document)]):
        left, right = t["left_children"], t["right_children"]
        inner = [i for i in walk(left, right) if left[i] >= 0]
        leaves = [i for i in walk(left, right) if left[i] < 0]
        place = {n: i for i, n in enumerate(inner)} | {n: ~i for i, n in enumerate(leaves)}
        values = [repr(float(t["split_conditions"][n])) for n in leaves]
        if not inner:
            blocks.append([f"Tree={number}", "num_leaves=1", "num_cat=0", f"leaf_value={values[0]}", "is_linear=0"])
            continue
        blocks.append(
            [
                f"Tree={number}",
                f"num_leaves={len(leaves)}",
                "num_cat=0",
                "split_feature=" + " ".join(str(t["split_indices"][n]) for n in inner),
                "split_gain=" + " ".join("1" for _ in inner),
                "threshold=" + " ".join(repr(below(t["split_conditions"][n])) for n in inner),
                "decision_type=" + " ".join(str(8 | 2 * bool(t["default_left"][n])) for n in inner),
                "left_child=" + " ".join(str(place[left[n]]) for n in inner),
                "right_child=" + " ".join(str(place[right[n]]) for n in inner),
                "leaf_value=" + " ".join(values),
                "leaf_weight=" + " ".join("1" for _ in leaves),
                "leaf_count=" + " ".join("1" for _ in leaves),
                "internal_value=" + " ".join("0" for _ in inner),
                "internal_weight=" + " ".join("1" for _ in inner),
                "internal_count=" + " ".join("1" for _ in inner),
                "is_linear=0",
                "shrinkage=1",
            ]
        )
    texts = ["\n".join(b) + "\n\n\n" for b in blocks]
    lines.insert(-1, "tree_sizes=" + " ".join(str(len(x)) for x in texts))
    with open(out, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n" + "".join(texts) + "end of trees\n\nparameters:\nend of parameters\n")
        f.write("\npandas_categorical:null\n")  # lleaves asks for it


def walk(left, right):
    """Nodes that the root reaches, parents first; deleted ones are left out."""
    order = [0]
    for n in order:
        if left[n] >= 0:
            order += [left[n], right[n]]
    return order


def write_onnx(document, out, inputs):
    """One TreeEnsembleRegressor; Neg twice behind it changes no bit and keeps our own kernels away."""
    from onnx import TensorProto, helper

    base = float(base_margin(document))
    names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "tracks")
    a = {k: [] for k in names}
    leaf = {k: [] for k in ("treeids", "nodeids", "ids", "weights")}

    def node(tree, number, feature, value, mode, yes, no, tracks):
        for key, v in zip(a, (tree, number, feature, value, mode, yes, no, tracks)):
            a[key].append(v)

    def add_leaf(tree, number, weight):
        node(tree, number, 0, 0.0, "LEAF", 0, 0, 0)
        for key, v in zip(leaf, (tree, number, 0, weight)):
            leaf[key].append(v)

    add_leaf(0, 0, base)
    for tree, t in enumerate(trees_of(document), 1):
        left, right = t["left_children"], t["right_children"]
        order = walk(left, right)
        place = {n: i for i, n in enumerate(order)}
        for n in order:
            if left[n] < 0:
                add_leaf(tree, place[n], t["split_conditions"][n])
            else:
                yes, no = place[left[n]], place[right[n]]
                value = t["split_conditions"][n]
                node(tree, place[n], t["split_indices"][n], value, "BRANCH_LT", yes, no, int(t["default_left"][n]))
    a["missing_value_tracks_true"] = a.pop("tracks")
    attributes = {f"nodes_{k}": v for k, v in a.items()} | {f"target_{k}": v for k, v in leaf.items()}
    nodes = [
        helper.make_node("TreeEnsembleRegressor", ["X"], ["m"], domain="ai.onnx.ml", n_targets=1, **attributes),
        helper.make_node("Neg", ["m"], ["n"]),
        helper.make_node("Neg", ["n"], ["margin"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", inputs])],
        [helper.make_tensor_value_info("margin", TensorProto.FLOAT, ["N", 1])],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    with open(out, "wb") as f:
        f.write(helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString())


def compile_lleaves(text, out):
    """The model as machine code, in a library of its own; float32 inputs and outputs."""
    import lleaves

    lleaves.Model(model_file=text).compile(cache=out + ".o", use_fp64=False)
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-o", out, out + ".o", "-lm"], check=True)


def write_network(out, widths=(30, 64, 32, 1)):
    """A small neural network, random: what people hand to ONNX Runtime beside trees."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(SEED)
    nodes, weights, at = [], [], "X"
    for i, (above, below_) in enumerate(zip(widths, widths[1:])):
        weights.append(numpy_helper.from_array(rng.normal(size=(above, below_)).astype(np.float32) / above, f"w{i}"))
        weights.append(numpy_helper.from_array(rng.normal(size=below_).astype(np.float32), f"b{i}"))
        last = i == len(widths) - 2
        nodes.append(helper.make_node("Gemm", [at, f"w{i}", f"b{i}"], [f"z{i}"]))
        nodes.append(helper.make_node("Sigmoid" if last else "Relu", [f"z{i}"], ["score" if last else f"h{i}"]))
        at = f"h{i}"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", widths[0]])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", widths[-1]])],
        weights,
    )
    with open(out, "wb") as f:
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        f.write(made.SerializeToString())


# --- rows and models -------------------------------------------------------------------------------------------------


def write_rows(document, out, inputs):
    cuts = [[] for _ in range(inputs)]
    for t in trees_of(document):
        for n in walk(t["left_children"], t["right_children"]):
            if t["left_children"][n] >= 0:
                cuts[t["split_indices"][n]].append(t["split_conditions"][n])
    draw_rows(cuts, out)


def draw_rows(cuts, out):
    """ROWS rows; each value is a cut of its column or the float32 below it, or missing."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    x = np.zeros((ROWS, len(cuts)), dtype=np.float32)
    for i, c in enumerate(cuts):
        c = np.array(c or [0.0], dtype=np.float32)
        c = np.where(np.isfinite(c), c, np.float32(0))
        x[:, i] = rng.choice(c, size=ROWS)
        lower = rng.random(ROWS) < 0.5
        with np.errstate(over="ignore"):  # below the least number is -inf, which is one too
            x[lower, i] = np.nextafter(x[lower, i], np.float32("-inf"))
    x[rng.random(x.shape) < MISSING] = np.nan
    x.tofile(out)


def example():
    """30 columns and a label that a forest can learn."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(20000, 30)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + np.abs(x[:, 3]) + rng.normal(size=len(x)) > 0.8).astype(float)
    x[rng.random(x.shape) < MISSING] = np.nan
    return x, y


def trained(trees):
    """A model like the prototype's, where that is not there."""
    import xgboost as xgb

    x, y = example()
    options = {"objective": "binary:logistic", "max_depth": 6, "tree_method": "hist", "nthread": 2, "seed": SEED}
    return bytes(xgb.train(options, xgb.DMatrix(x, y), trees).save_raw("json"))


def prepare(trees):
    """Files of one model: {kind: path}; made once."""
    made = {k: os.path.join(WORK, f"{trees}.{k}") for k in ("json", "rows", "txt", "onnx", "so")}
    if not os.path.exists(made["json"]):
        source = os.path.join(FOREST, f"fraud{trees}.json.gz")
        if os.path.exists(source):
            with gzip.open(source, "rb") as f:
                data = f.read()
        else:
            data = trained(trees)
        with open(made["json"], "wb") as f:
            f.write(data)
    with open(made["json"], encoding="utf-8") as f:
        document = json.load(f)
    inputs = inputs_of(document)
    for kind, write in (("rows", write_rows), ("txt", write_lightgbm)):
        if not os.path.exists(made[kind]):
            write(document, made[kind], inputs)
    if not os.path.exists(made["onnx"]) and folder_of("onnx"):
        write_onnx(document, made["onnx"], inputs)
    if not os.path.exists(made["so"]) and folder_of("lleaves"):
        compile_lleaves(made["txt"], made["so"])
    return made


def prepare_catboost(trees):
    """CatBoost's own model: symmetric trees of depth 6, 30 columns."""
    import catboost

    made = {k: os.path.join(WORK, f"catboost{trees}.{k}") for k in ("json", "cbm", "rows")}
    if not os.path.exists(made["rows"]):
        x, y = example()
        options = {"iterations": trees, "depth": 6, "loss_function": "Logloss", "random_seed": SEED, "thread_count": 2}
        model = catboost.CatBoost(options | {"allow_writing_files": False}).fit(x, y, silent=True)
        model.save_model(made["cbm"])
        model.save_model(made["json"], format="json")
        with open(made["json"], encoding="utf-8") as f:
            features = json.load(f)["features_info"]["float_features"]
        draw_rows([f["borders"] or [] for f in features], made["rows"])
    return made


def catboost_library():
    """CatBoost's prediction library, out of its Java package, where Maven can get that; else None."""
    out = os.path.join(WORK, "libcatboost4j-prediction.so")
    if os.path.exists(out) or shutil.which("mvn") is None:
        return out if os.path.exists(out) else None
    get = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
    command = ["mvn", "-q", "-B", get, f"-Dartifact=ai.catboost:catboost-prediction:{CATBOOST_JAVA}:jar"]
    subprocess.run(command + [f"-DoutputDirectory={WORK}"], stdout=subprocess.DEVNULL, check=False)
    jar = os.path.join(WORK, f"catboost-prediction-{CATBOOST_JAVA}.jar")
    if not os.path.exists(jar):
        return None
    with zipfile.ZipFile(jar) as z, open(out, "wb") as f:
        f.write(z.read(f"linux-{platform.machine()}/lib/libcatboost4j-prediction.so"))
    return out


PYTHON_PEER = os.path.join(ROOT, "bench", "peer_python.py")


def peers(made):
    found = []
    for name, package, pattern, kind in (
        ("xgboost", "xgboost", "lib/libxgboost.so", "json"),
        ("lightgbm", "lightgbm", "lib/lib_lightgbm.so", "txt"),
        ("onnxruntime", "onnxruntime", "capi/libonnxruntime.so.1*", "onnx"),
    ):
        lib = library(package, pattern)
        if lib and os.path.exists(made[kind]):
            found.append(f"{name}={lib}:{made[kind]}")
    if os.path.exists(made["so"]):
        found.append(f"lleaves={made['so']}:{made['so']}")
    if folder_of("ydf"):
        found.append(f"ydf={PYTHON_PEER}:{made['json']}")
    return found


# --- the run ---------------------------------------------------------------------------------------------------------


def build(name):
    tool = os.path.join(WORK, name)
    libs = [os.path.join(ROOT, "build", f"libqn_{r}.a") for r in ("model", "base")]
    command = [os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O3", "-ffp-contract=off", "-fno-lto"]
    command += ["-I", os.path.join(ROOT, "src"), os.path.join(ROOT, "bench", name + ".c"), "-o", tool]
    subprocess.run(command + libs + ["-lxxhash", "-lpthread", "-ldl", "-lm"], check=True)
    return tool


def cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def versions():
    from importlib import metadata

    found = []
    for name in ("xgboost-cpu", "xgboost", "lightgbm", "onnxruntime", "lleaves", "catboost", "ydf"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            pass
    return ", ".join(found)


BATCHES = (1, 16, 64, 1024)


def table(lines, title):
    facts = next(x for x in lines if "kernel" in x)
    print(f"\n{title}, kernel {facts['kernel']}; ns per row, median (smallest); of {facts['rows']} rows\n")
    print("| engine | 1 | 16 | 64 | 1,024 | other bits |\n|---|---:|---:|---:|---:|---:|")
    engines = {}
    for x in lines:
        if "engine" in x:
            engines.setdefault(x["engine"], {})[x["batch"]] = x
    for engine, of in engines.items():
        cells = [f"{of[b]['ns']:,.0f} ({of[b]['min']:,.0f})" for b in BATCHES]
        print(f"| {engine} | {' | '.join(cells)} | {of[1]['different']:,} |")
    ratios = " | ".join(ratio(engines, b) for b in BATCHES)
    print(f"| **best of the others / quern-rows**, smallest times | {ratios} | |", flush=True)


def ratio(engines, batch):
    """How many times as long the quickest other engine takes; all of them run the same model. The smallest times are
    compared, not medians: one engine is measured in wall time, which others' work makes longer."""
    others = {name: of[batch]["min"] for name, of in engines.items() if not name.startswith("quern")}
    if not others:
        return "-"
    best = min(others, key=others.get)
    return f"{others[best] / engines['quern-rows'][batch]['min']:.1f} ({best})"


def compare(tool, made, words, passes, title):
    """One table; 1 where an engine that promises Quern's bits has others."""
    with open(made["json"], encoding="utf-8") as f:
        document = json.load(f)
    columns = len(document["features_info"]["float_features"]) if "features_info" in document else inputs_of(document)
    env = os.environ | {
        "BENCH_COLUMNS": str(columns),
        "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"],
    }
    command = [tool, made["json"], made["rows"], str(passes)] + words
    p = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=env)
    lines = [json.loads(x) for x in p.stdout.splitlines()]
    if not lines:
        sys.exit("bench: bench_peers failed")
    table(lines, title)
    if p.returncode != 0:
        print("bench: an engine that promises Quern's bits has others", file=sys.stderr)
    return p.returncode


def compare_calls(passes):
    """What a call through qn_model_score adds to a bare Run of the same session."""
    lib = library("onnxruntime", "capi/libonnxruntime.so.1*")
    if lib is None or not folder_of("onnx"):
        return
    network = os.path.join(WORK, "network.onnx")
    if not os.path.exists(network):
        write_network(network)
    print("\nA neural network 30-64-32-1 in ONNX Runtime; ns per call, median (smallest)\n", flush=True)
    subprocess.run([build("bench_onnx"), lib, network, str(passes)], check=True)


def explain(made, passes):
    """Contributions, how many times a score they cost, and peers (bench_explain.c)."""
    others = [p for p in peers(made) if p.split("=")[0] in ("xgboost", "lightgbm")]
    command = [build("bench_explain"), made["json"], str(passes)] + others
    p = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    ns = {(x["engine"], x["batch"]): x for x in map(json.loads, p.stdout.splitlines()) if "engine" in x}
    print("\nContributions, columns in cache; ns per row, median (smallest); of Quern: times a score\n")
    print("| engine | 1 | 16 | 64 | 1,024 |\n|---|---:|---:|---:|---:|")
    names = {"score": "a score of Quern", "without": "quern, no tables made before"}
    for engine in dict.fromkeys(engine for engine, _ in ns):
        cells = []
        for batch in BATCHES:
            x = ns[engine, batch]
            times = f", {x['ns'] / ns['score', batch]['ns']:,.0f}" if engine in ("quern", "without") else ""
            cells.append(f"{x['ns']:,.0f} ({x['min']:,.0f}){times}")
        print(f"| {names.get(engine, engine)} | {' | '.join(cells)} |", flush=True)
    if p.returncode != 0:
        print("bench: contributions are wrong", file=sys.stderr)
    return 1 if p.returncode != 0 else 0


def main(passes):
    os.makedirs(WORK, exist_ok=True)
    tool = build("bench_peers")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"{cpu()}; {platform.system()} {platform.release()}; one core, one thread, CPU time; {versions()}")
    rc = 0
    for trees in (100, 500):
        made = prepare(trees)
        rc |= compare(tool, made, peers(made), passes, f"{trees} trees")
        rc |= explain(made, passes)
        if folder_of("catboost"):
            made = prepare_catboost(trees)
            words = [f"catboost-python={PYTHON_PEER}:{made['cbm']}"]
            if found := catboost_library():
                words.insert(0, f"catboost={found}:{made['cbm']}")
            rc |= compare(tool, made, words, passes, f"CatBoost's own model of {trees} symmetric trees")
    compare_calls(passes)
    return rc
