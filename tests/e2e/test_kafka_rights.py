# SPDX-License-Identifier: Apache-2.0
"""Kafka behind TLS and SASL, and users who may not everything: `settings` reach librdkafka, what is missing is said."""
import random
import shutil
import subprocess
import time

import pytest

import kafka_broker
from fraud_data import QUERN
from kafka_run import Process, cards, compare, create, spec

USERS = {"quern": "right-password", "poor": "poor-password"}
EXTRA = """\
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:SASL_SSL,CONTROLLER:PLAINTEXT
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
sasl.enabled.mechanisms=PLAIN
listener.name.proxied.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
listener.name.proxied.ssl.keystore.type=PEM
listener.name.proxied.ssl.keystore.location={folder}/server.pem
"""


def certificate(folder):
    """A key and a certificate for 127.0.0.1, signed by itself."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem"), "-out",
                    str(folder / "cert.pem")], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    (folder / "server.pem").write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A broker whose second listener wants TLS and a user."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl, which makes the certificates")
    kafka_broker.need_kafka(QUERN)
    folder = tmp_path_factory.mktemp("secured")
    certificate(folder)
    users = " ".join(f'user_{name}="{password}"' for name, password in USERS.items())
    broker = kafka_broker.Broker(folder, EXTRA.format(users=users, folder=folder), proxied="same")
    yield broker
    broker.stop()


def allow(broker, user, *rights, pattern="PREFIXED"):
    """(resource type, name, operation) each, by prefix."""
    from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

    acls = [AclBinding(ResourceType[kind], name, ResourcePatternType[pattern], f"User:{user}", "*",
                       AclOperation[operation], AclPermissionType.ALLOW) for kind, name, operation in rights]
    for done in broker.admin().create_acls(acls).values():
        done.result(20)


def settings(broker, user="quern", password=None, ca="cert.pem"):
    return ("commit: 10ms, settings: [security.protocol=SASL_SSL, sasl.mechanism=PLAIN, "
            f"sasl.username={user}, sasl.password={password or USERS[user]}, ssl.ca.location={broker.folder / ca}]")


def secured_spec(broker, topic, **more):
    return spec(broker, topic, kafka=settings(broker, **more)).replace(
        broker.bootstrap, f"127.0.0.1:{broker.behind}")


def run(folder, text):
    (folder / "spec.yaml").write_text(text)
    done = subprocess.run([str(QUERN), "run", "spec.yaml"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=90)
    assert done.returncode == 1, done.stderr
    assert not any(secret in done.stderr for secret in [*USERS.values(), "wrong-password"])
    return done.stderr


def says_soon(words, folder, text):
    """A broker under load knows of a right some time after it was given."""
    end = time.monotonic() + 30
    while words not in (said := run(folder, text)):
        assert time.monotonic() < end, said


def test_with_all_rights(secured, tmp_path):
    create(secured, "safe", 2)
    allow(secured, "quern", ("TOPIC", "safe", "READ"), ("TOPIC", "safe", "WRITE"), ("GROUP", "safe", "READ"),
          ("TRANSACTIONAL_ID", "safe", "WRITE"), ("TRANSACTIONAL_ID", "safe", "DESCRIBE"))
    text = secured_spec(secured, "safe")
    secured.produce("safe", cards(random.Random(1), 0, 500, 2))
    p = Process(tmp_path, text)
    p.ready()
    p.await_true(lambda: p.get("/v1/status").json["streams"][0]["read"] == 500)
    assert p.stop() == 0
    assert compare(secured, tmp_path, text, "safe") > 450


def test_who_is_not_let_in(secured, tmp_path):
    """A wrong password, a certificate of somebody else, a client without TLS."""
    assert "uthentication failed" in run(tmp_path, secured_spec(secured, "safe", password="wrong-password"))
    (tmp_path / "other").mkdir()
    certificate(tmp_path / "other")
    said = run(tmp_path, secured_spec(secured, "safe").replace(str(secured.folder / "cert.pem"),
                                                              str(tmp_path / "other" / "cert.pem")))
    assert "certificate verify failed" in said
    assert "no broker can be asked" in run(tmp_path, spec(secured, "safe").replace(
        secured.bootstrap, f"127.0.0.1:{secured.behind}"))


def test_missing_rights_are_named(secured, tmp_path):
    """One right after the other, until it runs: each is asked for by name."""
    create(secured, "bare", 1)
    text = secured_spec(secured, "bare", user="poor")
    says_soon("the topic 'bare' may not be seen", tmp_path, text)
    allow(secured, "poor", ("TOPIC", "bare", "DESCRIBE"))
    says_soon("rights Write and Describe on that transactional id", tmp_path, text)
    allow(secured, "poor", ("TRANSACTIONAL_ID", "bare", "WRITE"), ("TRANSACTIONAL_ID", "bare", "DESCRIBE"))
    says_soon("may not read 'bare' as a member of group 'bare'", tmp_path, text)
    allow(secured, "poor", ("GROUP", "bare", "READ"))
    secured.produce("bare", cards(random.Random(1), 0, 50, 1))
    says_soon("may not read 'bare' as a member of group 'bare'", tmp_path, text)
    allow(secured, "poor", ("TOPIC", "bare", "READ"))
    says_soon("needs the right Write on bare.predictions, bare.large, bare.dead", tmp_path, text)
    allow(secured, "poor", ("TOPIC", "bare", "WRITE"))
    p = Process(tmp_path, text)
    p.ready()
    p.await_true(lambda: p.get("/v1/status").json["streams"][0]["read"] == 50)
    assert p.stop() == 0
    assert compare(secured, tmp_path, text, "bare") > 40


def test_a_sink_has_a_group_of_its_own(secured, tmp_path):
    """Without a right on that group the sink says so and stops; the pipeline goes on."""
    create(secured, "narrow", 1)
    allow(secured, "poor", ("TOPIC", "narrow", "READ"), ("TOPIC", "narrow", "WRITE"),
          ("TRANSACTIONAL_ID", "narrow", "WRITE"), ("TRANSACTIONAL_ID", "narrow", "DESCRIBE"))
    allow(secured, "poor", ("GROUP", "narrow", "READ"), pattern="LITERAL")
    text = secured_spec(secured, "narrow", user="poor").replace(
        "{when: amount > 90}", '{when: amount > 90, to: {webhook: "https://example.com/hook"}}')
    p = Process(tmp_path, text)
    p.ready()
    p.await_true(lambda: p.get("/v1/status").json["sinks"][0]["state"] == "stopped")
    assert ("may not read 'narrow.large' as a member of group 'narrow.large.webhook': it needs Read on both"
            in p.get("/v1/status").json["sinks"][0]["detail"])
    secured.produce("narrow", cards(random.Random(1), 0, 100, 1))
    p.await_true(lambda: p.get("/v1/status").json["streams"][0]["read"] == 100)
    assert p.stop() == 0 and not any(secret in p.said() for secret in USERS.values())
