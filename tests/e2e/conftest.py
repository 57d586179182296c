# SPDX-License-Identifier: Apache-2.0
"""What tests of several files share."""
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # libraries that train models: several test files run at once

import pytest  # noqa: E402

import kafka_broker  # noqa: E402
import kafka_run  # noqa: E402
import schema_registry  # noqa: E402
from fraud_data import QUERN  # noqa: E402


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """A Kafka broker, one for all tests; topics have names of their own."""
    kafka_broker.need_kafka(QUERN)
    broker = kafka_broker.Broker(tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """A schema registry, one for all tests; subjects have names of their own."""
    pytest.importorskip("confluent_kafka.schema_registry", reason="no confluent-kafka[avro,protobuf,json] in .venv")
    r = schema_registry.Registry(tmp_path_factory.mktemp("registry"))
    yield r
    r.stop()


@pytest.fixture(autouse=True)
def no_process_stays():
    """Pipelines on Kafka that a failed test did not end would go on for ever."""
    yield
    for process in kafka_run.running:
        if process.poll() is None:
            process.kill()
            process.wait()
    kafka_run.running.clear()
