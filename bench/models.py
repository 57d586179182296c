# SPDX-License-Identifier: Apache-2.0
"""`./dev bench models`: one forest in every engine that is there, in one process (bench_peers.c).

The models are XGBoost files: those of ../shared/prototype/forest where they are there, else trained here. Peers get the
same trees in their own format: LightGBM and lleaves as LightGBM text, ONNX Runtime as a TreeEnsembleRegressor. Rows are
drawn from the cuts of the model and their neighbours, 3 % missing. XGBoost and ONNX Runtime must give Quern's bits;
LightGBM and lleaves add in another type, so their differences are only counted. Fails on wrong bits, never on time.
"""

import glob
import gzip
import importlib.util
import json
import os
import platform
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, "build", "bench", "models")
SHARED = os.environ.get("QUERN_SHARED", os.path.join(ROOT, "..", "shared"))
FOREST = os.path.join(SHARED, "prototype", "forest")
ROWS, MISSING, SEED = 40960, 0.03, 1


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


def trees_of(document):
    return document["learner"]["gradient_booster"]["model"]["trees"]


def below(x):
    import numpy as np

    return float(np.nextafter(np.float32(x), np.float32("-inf")))


def write_lightgbm(document, out, inputs):
    """LightGBM text; x < t as x <= the float below t, and the base margin as a tree of one leaf."""
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
    blocks = [["Tree=0", "num_leaves=1", "num_cat=0", f"leaf_value={float(base_margin(document))!r}", "is_linear=0"]]
    for number, t in enumerate(trees_of(document), 1):
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


# --- rows and models -------------------------------------------------------------------------------------------------


def write_rows(document, out, inputs):
    import numpy as np

    rng = np.random.default_rng(SEED)
    cuts = [[] for _ in range(inputs)]
    for t in trees_of(document):
        for n in walk(t["left_children"], t["right_children"]):
            if t["left_children"][n] >= 0:
                cuts[t["split_indices"][n]].append(t["split_conditions"][n])
    x = np.zeros((ROWS, inputs), dtype=np.float32)
    for i, c in enumerate(cuts):
        c = np.array(c or [0.0], dtype=np.float32)
        c = np.where(np.isfinite(c), c, np.float32(0))
        x[:, i] = rng.choice(c, size=ROWS)
        lower = rng.random(ROWS) < 0.5
        x[lower, i] = np.nextafter(x[lower, i], np.float32("-inf"))
    x[rng.random(x.shape) < MISSING] = np.nan
    x.tofile(out)


def trained(trees):
    """A model like the prototype's, where that is not there."""
    import numpy as np
    import xgboost as xgb

    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(20000, 30)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + np.abs(x[:, 3]) + rng.normal(size=len(x)) > 0.8).astype(float)
    x[rng.random(x.shape) < MISSING] = np.nan
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
    inputs = int(document["learner"]["learner_model_param"]["num_feature"])
    for kind, write in (("rows", write_rows), ("txt", write_lightgbm)):
        if not os.path.exists(made[kind]):
            write(document, made[kind], inputs)
    if not os.path.exists(made["onnx"]) and folder_of("onnx"):
        write_onnx(document, made["onnx"], inputs)
    if not os.path.exists(made["so"]) and folder_of("lleaves"):
        compile_lleaves(made["txt"], made["so"])
    return made


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
    return found


# --- the run ---------------------------------------------------------------------------------------------------------


def build():
    tool = os.path.join(WORK, "bench_peers")
    libs = [os.path.join(ROOT, "build", f"libqn_{r}.a") for r in ("model", "base")]
    command = [os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O3", "-ffp-contract=off", "-fno-lto"]
    command += ["-I", os.path.join(ROOT, "src"), os.path.join(ROOT, "bench", "bench_peers.c"), "-o", tool]
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
    for name in ("xgboost-cpu", "xgboost", "lightgbm", "onnxruntime", "lleaves"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            pass
    return ", ".join(found)


def table(lines, trees):
    facts = next(x for x in lines if "kernel" in x)
    print(f"\n{trees} trees, kernel {facts['kernel']}; ns per row, median (smallest); of {facts['rows']} rows\n")
    print("| engine | 1 | 16 | 64 | 1,024 | other bits |\n|---|---:|---:|---:|---:|---:|")
    for engine in dict.fromkeys(x["engine"] for x in lines if "engine" in x):
        of = {x["batch"]: x for x in lines if x.get("engine") == engine}
        cells = [f"{of[b]['ns']:,.0f} ({of[b]['min']:,.0f})" for b in (1, 16, 64, 1024)]
        print(f"| {engine} | {' | '.join(cells)} | {of[1]['different']:,} |", flush=True)


def main(passes):
    os.makedirs(WORK, exist_ok=True)
    tool = build()
    print(f"{cpu()}; {platform.system()} {platform.release()}; one thread, CPU time; {versions()}")
    rc = 0
    for trees in (100, 500):
        made = prepare(trees)
        command = [tool, made["json"], made["rows"], str(passes)] + peers(made)
        p = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        lines = [json.loads(x) for x in p.stdout.splitlines()]
        if not lines:
            sys.exit("bench: bench_peers failed")
        table(lines, trees)
        if p.returncode != 0:
            print("bench: an engine that promises Quern's bits has others", file=sys.stderr)
            rc = 1
    return rc
