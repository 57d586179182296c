# SPDX-License-Identifier: Apache-2.0
"""`quern deploy`: manifests that the strictest validators take, and that scale real processes to zero and back.

Validators, each skipped by name where it cannot be had: Kubernetes' own schemas, strict (kubernetes-validate in .venv);
KEDA's own definitions, read from its Go module, never copied (needs go); kubectl-validate and kubectl kustomize where
they are installed. The scaler of the last tests does KEDA's arithmetic on what the broker says of the group; pods are
processes with the arguments of the manifest."""
import json
import math
import os
import pathlib
import random
import re
import shutil
import subprocess
import time

import pytest

import kafka_stages
from fraud_data import QUERN, ROOT
from kafka_run import Process, cards, compare, create, spec

yaml = pytest.importorskip("yaml", reason="no PyYAML in .venv")

LONG = bool(os.environ.get("QUERN_LONG"))
SEED = int(os.environ.get("QUERN_SEED", "7"))
GOLDEN = ROOT / "tests/golden/deploy"
KUBERNETES = ["1.28", "1.37"]
KEDA = "github.com/kedacore/keda/v2@v2.18.1"
FOLDER = "/etc/quern/"


class Strict(yaml.SafeLoader):
    """Refuses a key that is there twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(k, deep=True) for k, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key twice: {keys}"
        return super().construct_mapping(node, deep)


def deploy(folder, *options, env=None):
    done = subprocess.run([str(QUERN), "deploy", "spec.yaml", *options], cwd=folder, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(text):
    return list(yaml.load_all(text, Strict))


def golden_objects():
    """Every manifest of the golden cases, which are those that the program writes now."""
    found = []
    for case in sorted(GOLDEN.iterdir()):
        files = sorted((case / "expect").rglob("*.yaml")) if (case / "expect").is_dir() else [case / "out"]
        for file in files:
            if file.is_file() and file.name != "kustomization.yaml":
                found += [(case.name, o) for o in objects(file.read_text())]
    assert len(found) >= 20
    return found


def find(all_, kind):
    """The one object of that kind."""
    one, = [o for o in all_ if o["kind"] == kind]
    return one


# ---- validators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_schemas(version):
    """No field that Kubernetes does not know, no value of another type, from an old to the newest version."""
    validate = pytest.importorskip("kubernetes_validate", reason="no kubernetes-validate in .venv")
    count = 0
    for case, o in golden_objects():
        if o["apiVersion"].startswith("keda.sh/"):
            continue
        validate.validate(o, version, strict=True)
        count += 1
        with pytest.raises(validate.ValidationError):
            validate.validate({**o, "unheardOf": 1}, version, strict=True)
    assert count >= 20


def keda_module():
    """The folder of KEDA's Go module, from the module cache; 2.5 MB are fetched where it is not there."""
    if not shutil.which("go"):
        pytest.skip("no go: it fetches KEDA's definitions")
    done = subprocess.run(["go", "mod", "download", "-json", KEDA], cwd="/", stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, env={**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": ""})
    found = json.loads(done.stdout) if done.stdout.strip() else {"Error": done.stderr}
    if "Dir" not in found:
        pytest.skip(f"KEDA's module cannot be fetched: {found.get('Error', '')[-200:]}")
    return pathlib.Path(found["Dir"])


def strict_schema(s):
    """A CRD's schema, in which what is not named is a mistake."""
    if isinstance(s, list):
        return [strict_schema(x) for x in s]
    if not isinstance(s, dict):
        return s
    out = {k: strict_schema(v) for k, v in s.items() if not k.startswith("x-kubernetes") and k != "format"}
    if isinstance(s.get("properties"), dict):
        out["properties"] = {k: strict_schema(v) for k, v in s["properties"].items()}
        if s.get("type") == "object" and not s.get("x-kubernetes-preserve-unknown-fields"):
            out.setdefault("additionalProperties", False)
    if s.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
    return out


def test_keda_definitions():
    """KEDA's custom resources and the parameters of its kafka trigger, from KEDA itself."""
    jsonschema_rs = pytest.importorskip("jsonschema_rs", reason="no jsonschema_rs in .venv")
    keda = keda_module()
    crds = {}
    for file in (keda / "config/crd/bases").glob("keda.sh_*.yaml"):
        crd = yaml.safe_load(file.read_text())
        for v in crd["spec"]["versions"]:
            crds[f"keda.sh/{v['name']}", crd["spec"]["names"]["kind"]] = v["schema"]["openAPIV3Schema"]
    source = (keda / "pkg/scalers/kafka_scaler.go").read_text()  # the trigger has no schema: what its code reads
    known = set(re.findall(r'TriggerMetadata\["(\w+)"\]|MetricName += "(\w+)"', source))
    known = {name for pair in known for name in pair if name}
    assert {"topic", "lagThreshold", "activationLagThreshold", "version", "tls", "sasl"} <= known
    count = 0
    for case, o in golden_objects():
        if not o["apiVersion"].startswith("keda.sh/"):
            continue
        schema = strict_schema(crds[o["apiVersion"], o["kind"]])
        schema["properties"]["metadata"] = {"type": "object"}
        validator = jsonschema_rs.validator_for(schema)
        validator.validate(o)
        assert not validator.is_valid({**o, "spec": {**o["spec"], "unheardOf": 1}})
        count += 1
        if o["kind"] != "ScaledObject":
            continue
        assert o["spec"]["triggers"]
        for trigger in o["spec"]["triggers"]:  # one a stage
            assert trigger["type"] == "kafka"
            for key, value in trigger["metadata"].items():
                assert key in known, f"the kafka trigger has no parameter '{key}'"
                assert isinstance(value, str), f"{key}: a trigger's values are strings"
    assert count >= 3


def test_kubectl_validate(tmp_path):
    """kubectl-validate, the API server's own code, where somebody has installed it."""
    tool = shutil.which("kubectl-validate")
    if not tool:
        pytest.skip("no kubectl-validate: go install sigs.k8s.io/kubectl-validate@v0.0.4")
    keda = keda_module()
    for i, (case, o) in enumerate(golden_objects()):
        (tmp_path / f"{i:03}-{case}.yaml").write_text(yaml.safe_dump(o))
    done = subprocess.run([tool, "--local-crds", str(keda / "config/crd/bases"), str(tmp_path)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def test_kustomization(tmp_path):
    """The folder is what `kubectl apply -k` takes: the same objects, each once."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl")
    shutil.copytree(GOLDEN / "kafka", tmp_path / "kafka")
    deploy(tmp_path / "kafka", "--output", "k8s")
    made = subprocess.run(["kubectl", "kustomize", "k8s"], cwd=tmp_path / "kafka", stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    assert made.returncode == 0, made.stderr
    key = lambda o: (o["kind"], o["metadata"]["name"])  # noqa: E731
    assert sorted(objects(made.stdout), key=key) == sorted(objects(deploy(tmp_path / "kafka")), key=key)


# ---- what it must say ------------------------------------------------------------------------------------------------


def pods():
    return [(case, o, o["spec"]["template"]["spec"]) for case, o in golden_objects()
            if o["kind"] in ("Deployment", "StatefulSet")]


def test_pods_are_restricted():
    """Pod Security Standard "restricted", and a read-only root besides; probes and limits are there."""
    for case, _, pod in pods():
        c, = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        s = c["securityContext"]
        assert s == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                     "capabilities": {"drop": ["ALL"]}}
        assert all(set(v) & {"configMap", "secret", "persistentVolumeClaim", "emptyDir"} for v in pod["volumes"])
        port, = c["ports"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert c[probe]["httpGet"]["port"] == port["name"]
        limits, requests = c["resources"]["limits"], c["resources"]["requests"]
        assert limits["memory"] == requests["memory"] and int(limits["cpu"]) > int(requests["cpu"])
        drain = sum(int(re.search(rf"--{n}=(\d+)s", " ".join(c["args"]))[1]) for n in ("drain", "drain-delay"))
        assert pod["terminationGracePeriodSeconds"] > drain


def meet(all_):
    """Selectors choose the pods, mounts have their volumes and files, targets their objects."""
    mains = [o for o in all_ if o["kind"] in ("Deployment", "StatefulSet")]
    labels = {o["metadata"]["name"]: o["spec"]["template"]["metadata"]["labels"] for o in mains}
    claims = {o["metadata"]["name"] for o in all_ if o["kind"] == "PersistentVolumeClaim"}
    services = {o["metadata"]["name"] for o in all_ if o["kind"] == "Service"}
    config = find(all_, "ConfigMap")
    names = [(o["kind"], o["metadata"]["name"]) for o in all_]
    assert len(names) == len(set(names))

    def chosen(selector):  # of all pods of the pipeline: those of one part
        return [name for name, has in labels.items() if selector.items() <= has.items()]

    for o in all_:
        name = o["metadata"]["name"]
        if o["kind"] == "Service":
            assert chosen(o["spec"]["selector"]) == [name.removesuffix("-pods")]
        if o["kind"] == "PodDisruptionBudget":
            assert chosen(o["spec"]["selector"]["matchLabels"]) == [name]
        if o["kind"] == "ScaledObject":
            main, = [m for m in mains if m["metadata"]["name"] == name]
            assert o["spec"]["scaleTargetRef"]["kind"] == main["kind"]
            assert o["spec"]["scaleTargetRef"]["name"] == name
            assert o["spec"]["minReplicaCount"] <= o["spec"]["maxReplicaCount"]
            assert "replicas" not in main["spec"]
    for main in mains:
        name, pod = main["metadata"]["name"], main["spec"]["template"]["spec"]
        assert chosen(main["spec"]["selector"]["matchLabels"]) == [name]
        if main["kind"] == "StatefulSet":
            assert main["spec"]["serviceName"] in services
        volumes = {v["name"]: v for v in pod["volumes"]}
        volumes |= {t["metadata"]["name"]: t for t in main["spec"].get("volumeClaimTemplates", [])}
        keys = {**config.get("data", {}), **config.get("binaryData", {})}
        for m in pod["containers"][0]["volumeMounts"]:
            v = volumes[m["name"]]
            if "configMap" in v:
                assert v["configMap"]["name"] == config["metadata"]["name"] and m["subPath"] in keys
            if "persistentVolumeClaim" in v:
                assert v["persistentVolumeClaim"]["claimName"] in claims


def test_names_meet(tmp_path):
    by_case = {}
    for case, o in golden_objects():
        by_case.setdefault(case, []).append(o)
    shutil.copytree(GOLDEN / "kafka-stages", tmp_path / "stages")
    text = (tmp_path / "stages/spec.yaml").read_text()
    (tmp_path / "stages/spec.yaml").write_text(text.replace("kafka: {", 'kafka: {instance: "${HOSTNAME}", ', 1))
    by_case["stages with an instance"] = objects(deploy(tmp_path / "stages"))
    for all_ in by_case.values():
        meet(all_)


def test_a_part_for_each_stage():
    """Each stage runs alone in its pods, and is scaled by the lag of its own group; or all of them in each pod."""
    all_ = objects((GOLDEN / "kafka-stages/out").read_text())
    runs = {o["metadata"]["name"]: o["spec"]["template"]["spec"]["containers"][0]["args"] for o in all_
            if o["kind"] == "Deployment"}
    assert {name: [a for a in args if a.startswith("--stage")] for name, args in runs.items()} == {
        "shop-customer": ["--stage=customer"], "shop-terminal": ["--stage=terminal"]}
    reads = {o["metadata"]["name"]: [(t["metadata"]["consumerGroup"], t["metadata"]["topic"])
                                     for t in o["spec"]["triggers"]] for o in all_ if o["kind"] == "ScaledObject"}
    assert reads == {"shop-customer": [("shop.customer", "orders.v1")],
                     "shop-terminal": [("shop.terminal", "shop.terminal.rekey")]}
    together = objects((GOLDEN / "kafka-stages-together/out").read_text())
    c, = find(together, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert not [a for a in c["args"] if a.startswith("--stage")]
    triggers = find(together, "ScaledObject")["spec"]["triggers"]
    assert [(t["metadata"]["consumerGroup"], t["metadata"]["topic"]) for t in triggers] == sum(reads.values(), [])


@pytest.mark.parametrize("case", ["kafka", "local"])
def test_no_value_gets_in(tmp_path, case):
    """Secrets of the machine it is written on stay there: the manifest is the same whatever the environment."""
    shutil.copytree(GOLDEN / case, tmp_path / case)
    words = (tmp_path / case / "cmd").read_text().split()[2:]
    text = (tmp_path / case / "spec.yaml").read_text()
    secret = {name: "hunter2-hunter2-hunter2" for name in re.findall(r"\$\{([A-Z_]+)\}", text)}
    assert secret
    assert deploy(tmp_path / case, *words, env={**os.environ, **secret}) == (GOLDEN / case / "out").read_text()


def materialise(all_, folder):
    """The files that a pod would see of the ConfigMap, under a folder for /etc/quern."""
    config = find(all_, "ConfigMap")
    main = next(o for o in all_ if o["kind"] in ("Deployment", "StatefulSet"))
    for m in main["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]:
        if m["name"] == "spec":
            path = folder / m["mountPath"].removeprefix(FOLDER)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(config["data"][m["subPath"]])


def test_a_pod_finds_its_spec(tmp_path):
    """What the ConfigMap holds is byte for byte what it was made of, and is a good spec where it lies in the pod."""
    all_ = objects((GOLDEN / "local/out").read_text())
    materialise(all_, tmp_path)
    for name in ("spec.yaml", "models/risk.json"):
        assert (tmp_path / name).read_bytes() == (GOLDEN / "local" / name).read_bytes()
    (tmp_path / "write.token").write_text("t" * 20)
    text = (tmp_path / "spec.yaml").read_text().replace("/run/secrets/write.token", "write.token")
    (tmp_path / "spec.yaml").write_text(text)
    env = {**os.environ, "READ_TOKEN": "r" * 20, "ALERT_URL": "https://example.invalid/"}
    done = subprocess.run([str(QUERN), "check", "spec.yaml"], cwd=tmp_path, env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", [
    "\ttab: 1\r\n", "no end", "  begins with blanks\n", "two\n\n", "\u00a0\u2028\u0085\u2029\n", "\x7f\ufeff\u0090é\n",
    "# a comment\n---\n...\n"])
def test_files_of_any_kind(tmp_path, text):
    """A text that a block of YAML would change is quoted; it comes back as it was."""
    shutil.copytree(GOLDEN / "kafka", tmp_path / "kafka")
    (tmp_path / "kafka/certs/ca.pem").write_bytes(text.encode())
    config = find(objects(deploy(tmp_path / "kafka")), "ConfigMap")
    assert config["data"]["certs.ca.pem"] == text


def test_bytes_and_large_models(tmp_path):
    """A binary model is base64; one beyond what a ConfigMap takes is left to the image, and said."""
    import base64

    example = ROOT / "examples/card-fraud"
    shutil.copytree(example, tmp_path / "fraud")
    text = (tmp_path / "fraud/card-fraud.yaml").read_text().replace("storage:", "serve: {insecure: true}\nstorage:", 1)
    (tmp_path / "fraud/spec.yaml").write_text(text)
    config = find(objects(deploy(tmp_path / "fraud")), "ConfigMap")
    assert base64.b64decode(config["binaryData"]["fraud.ubj"]) == (example / "fraud.ubj").read_bytes()
    (tmp_path / "fraud/spec.yaml").write_text(text + "#" * 700_000 + "\n")
    done = subprocess.run([str(QUERN), "deploy", "spec.yaml"], cwd=tmp_path / "fraud", stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0 and "the image must hold it as /etc/quern/fraud.ubj" in done.stderr
    assert "binaryData" not in find(objects(done.stdout), "ConfigMap")


def test_files_stay(tmp_path):
    """What is there already is not replaced unasked."""
    shutil.copytree(GOLDEN / "kafka", tmp_path / "kafka")
    deploy(tmp_path / "kafka", "--output", "k8s")
    done = subprocess.run([str(QUERN), "deploy", "spec.yaml", "-o", "k8s"], cwd=tmp_path / "kafka",
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "is there already; --force replaces it" in done.stderr
    deploy(tmp_path / "kafka", "--output", "k8s", "--force")


# ---- scaling ---------------------------------------------------------------------------------------------------------


def patient(ask):
    """A broker that has just made a topic, or never heard of a group, may say no for a moment."""
    from confluent_kafka import KafkaException

    end = time.monotonic() + 30
    while True:
        try:
            return ask()
        except KafkaException:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def group_lag(broker, group, topic, partitions):
    """As KEDA's kafka scaler reads it, with offsetResetPolicy: earliest: ends of partitions less what the group has
    committed; a partition without a position counts whole."""
    return patient(lambda: group_lag_now(broker, group, topic, partitions))


def group_lag_now(broker, group, topic, partitions):
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    places = [TopicPartition(topic, p) for p in range(partitions)]
    ends = broker.admin().list_offsets({p: OffsetSpec.latest() for p in places}, request_timeout=20)
    asked = broker.admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)],
                                                       request_timeout=20)
    committed = {p.partition: p.offset for p in asked[group].result(20).topic_partitions}
    return {p.partition: f.result(20).offset - max(committed[p.partition], 0) for p, f in ends.items()}


class Scaler:
    """KEDA and the autoscaler behind it, with short waits: pods are `quern run` with the manifest's arguments. stage:
    of one part of several."""

    def __init__(self, broker, all_, folder, partitions, stage=None):
        self.broker, self.folder, self.partitions, self.stage = broker, folder, partitions, stage
        if stage:
            all_ = [o for o in all_ if o["metadata"]["labels"].get("app.kubernetes.io/component") == stage]
        self.scaled, main = find(all_, "ScaledObject")["spec"], find(all_, "Deployment")
        self.trigger = self.scaled["triggers"][0]["metadata"]
        pod = main["spec"]["template"]["spec"]
        args = pod["containers"][0]["args"]
        assert args[:2] == ["run", FOLDER + "spec.yaml"]
        self.options = [a for a in args[2:] if not a.startswith("--http=")]
        self.grace = pod["terminationGracePeriodSeconds"]
        self.text = (folder / "spec.yaml").read_text()
        self.pods, self.leaving, self.started = [], [], 0
        self.history, self.asked = [], []  # (time, wanted); numbers of pods in their order

    def lag(self):
        t = self.trigger
        if self.stage and t["topic"] not in self.broker.admin().list_topics(timeout=20).topics:
            return 0  # KEDA cannot ask for it, and leaves all as it is
        return sum(group_lag(self.broker, t["consumerGroup"], t["topic"], self.partitions).values())

    def wanted(self):
        threshold, lag = int(self.trigger["lagThreshold"]), self.lag()
        if lag <= int(self.trigger["activationLagThreshold"]):
            return self.scaled["minReplicaCount"]
        if lag / threshold > self.partitions:  # allowIdleConsumers: false
            lag = self.partitions * threshold
        return min(max(math.ceil(lag / threshold), 1), self.scaled["maxReplicaCount"])

    def step(self, window=0.7):
        """One look: up at once, down to the most that was wanted of late."""
        now = time.monotonic()
        self.history = [(t, w) for t, w in self.history if now - t < window] + [(now, self.wanted())]
        count = max(w for _, w in self.history)
        if count != len(self.pods):
            self.asked.append(count)
        while len(self.pods) < count:
            self.started += 1
            self.pods.append(Process(self.folder, self.text, f"pod-{self.stage or ''}{self.started}",
                                     options=self.options))
        while len(self.pods) > count:
            pod = self.pods.pop()
            pod.process.terminate()
            self.leaving.append((pod, now + max(self.grace, 60)))
        for pod in self.pods:
            assert pod.process.poll() is None, pod.said()
        for pod, end in self.leaving:
            assert pod.process.poll() in (None, 0, -15), pod.said()  # -15: it had not begun yet
            assert pod.process.poll() is not None or now < end, "did not leave in time:\n" + pod.said()
        self.leaving = [(p, end) for p, end in self.leaving if p.process.poll() is None]

    def until(self, done, seconds=120):
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, "\n".join(p.said() for p in self.pods) or self.asked
            self.step()
            time.sleep(0.1)

    def is_at_rest(self):
        return not self.pods and not self.leaving


def scaler(kafka, tmp_path, topic, partitions, threshold):
    text = spec(kafka, topic, kafka="create: true") + "serve: {insecure: true}\n"
    (tmp_path / "spec.yaml").write_text(text)
    all_ = objects(deploy(tmp_path, "--partitions", str(partitions), "--rate", str(2 * threshold), "--freshness",
                          "500ms", "--drain", "20s", "--drain-delay", "0s"))
    folder = tmp_path / "pods"
    folder.mkdir()
    materialise(all_, folder)
    made = find(all_, "ScaledObject")["spec"]["triggers"][0]["metadata"]
    assert made["lagThreshold"] == str(threshold) and made["topic"] == topic
    return Scaler(kafka, all_, folder, partitions), text


def test_to_zero_and_back(kafka, tmp_path):
    """0 -> 4 -> 0 -> 1 -> 0 pods, driven by the group's lag; each event is answered once, and pods leave in time."""
    topic, rng = "scaled", random.Random(SEED)
    create(kafka, topic, 4)
    s, text = scaler(kafka, tmp_path, topic, 4, 500)
    s.step()
    assert s.is_at_rest()  # nothing has ever been there
    sent = 0
    for count, pods_wanted in [(6000, 4), (60, 1), *([(20000, 4), (600, 2), (1, 1), (2100, 4)] * (5 if LONG else 0))]:
        kafka.produce(topic, cards(rng, sent, count, 4))
        sent += count
        s.step()
        assert len(s.pods) >= min(pods_wanted, 2) and (pods_wanted != 1 or len(s.pods) == 1), s.asked
        s.until(lambda: s.lag() == 0)
        s.until(s.is_at_rest)
        assert s.lag() == 0 and group_lag(kafka, topic, topic, 4) == dict.fromkeys(range(4), 0)
    assert max(s.asked) == 4 and s.asked[-1] == 0 and s.asked.count(0) >= 2, s.asked
    assert compare(kafka, tmp_path, text, topic) > 0.9 * sent


def test_stages_scale_by_themselves(kafka, tmp_path):
    """Each stage has pods of its own, from zero and back: the second one's come for what the first one has sent."""
    topic, rng = "scaled-stages", random.Random(SEED)
    text = kafka_stages.spec(kafka, topic) + "serve: {insecure: true}\n"
    (tmp_path / "spec.yaml").write_text(text)
    all_ = objects(deploy(tmp_path, "--partitions", "2", "--rate", "1000", "--freshness", "500ms", "--drain", "20s",
                          "--drain-delay", "0s"))
    kafka.create(topic, 2)
    folder = tmp_path / "pods"
    folder.mkdir()
    materialise(all_, folder)
    first, last = (Scaler(kafka, all_, folder, 2, stage) for stage in ("customer", "terminal"))
    first.step()
    last.step()
    assert first.is_at_rest() and last.is_at_rest()
    kafka.produce(topic, kafka_stages.cards(rng, 0, 3000, 2))
    first.until(lambda: first.lag() == 0)
    first.until(first.is_at_rest)
    assert not last.asked and last.lag() > 1500
    last.until(lambda: last.lag() == 0)
    last.until(last.is_at_rest)
    assert first.lag() == 0 and max(first.asked) == max(last.asked) == 2
    assert kafka_stages.compare(kafka, tmp_path, text, topic) > 2500


def test_moving_load(kafka, tmp_path):
    """Pods come and go while events come: none is lost or doubled."""
    if not LONG:
        pytest.skip("a campaign: QUERN_LONG=1")
    topic, rng, sent = "wavy", random.Random(SEED), 0
    create(kafka, topic, 4)
    s, text = scaler(kafka, tmp_path, topic, 4, 300)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        count = int(rng.choice([0, 5, 50, 400, 1500]))
        kafka.produce(topic, cards(rng, sent, count, 4))
        sent += count
        quiet = time.monotonic() + rng.random() * 3
        while time.monotonic() < quiet:
            s.step()
            time.sleep(0.1)
    s.until(lambda: s.lag() == 0)
    s.until(s.is_at_rest)
    assert len(set(s.asked)) > 3, s.asked
    assert compare(kafka, tmp_path, text, topic) > 0.9 * sent


def test_what_was_removed_is_no_lag(kafka, tmp_path):
    """A partition that retention has emptied before anybody read it gets a position, or no scaler would ever rest."""
    from confluent_kafka import TopicPartition

    topic = "purged"
    create(kafka, topic, 2)
    kafka.produce(topic, cards(random.Random(SEED), 0, 300, 2))
    length = group_lag(kafka, topic, topic, 2)
    assert all(n > 0 for n in length.values())
    for p, n in length.items():
        patient(lambda p=p, n=n: [done.result(20) for done in kafka.admin().delete_records(
            [TopicPartition(topic, p, n)]).values()])
    assert group_lag(kafka, topic, topic, 2) == length
    s, _ = scaler(kafka, tmp_path, topic, 2, 500)
    s.step()
    assert len(s.pods) == 1
    s.until(s.is_at_rest)
    assert group_lag(kafka, topic, topic, 2) == {0: 0, 1: 0}
