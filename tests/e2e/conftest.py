# SPDX-License-Identifier: Apache-2.0
"""What tests of several files share."""
import pytest

import kafka_broker
from fraud_data import QUERN


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """A Kafka broker, one for all tests; topics have names of their own."""
    kafka_broker.need_kafka(QUERN)
    broker = kafka_broker.Broker(tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.stop()
