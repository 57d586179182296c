# SPDX-License-Identifier: Apache-2.0
"""A running pipeline for tests: `quern run` in a folder of its own, on a free port, and a client."""
import datetime
import http.client
import json
import pathlib
import re
import signal
import subprocess
import time

from fraud_data import QUERN

SPEC = """\
quern: 1
name: shop
log: local:./data
storage: {segment: 32MiB}
streams:
  orders:
    id: order_id
    time: at
    key: customer
    fields:
      order_id: string
      at: timestamp
      customer: string
      amount: {type: decimal(2), min: 0}
  returns:
    time: at
    fields: {at: timestamp, customer: string}
features:
  orders_1h: count() by customer over 1h
  spent_1h: sum(amount) by customer over 1h
outputs:
  predictions: {include: [features]}
  large: {when: amount > 100}
"""


def order(number, amount="1.50", customer="C1"):
    """An event of the spec above, a millisecond after the one before it."""
    at = datetime.datetime(2026, 5, 1) + datetime.timedelta(milliseconds=number)
    return {"order_id": f"o{number}", "at": at.isoformat() + "Z", "customer": customer, "amount": float(amount)}


class Answer:
    """Status, headers (small letters) and body of an answer; `.json` parses the body."""

    def __init__(self, response):
        self.status, self.body = response.status, response.read()
        self.headers = {k.lower(): v for k, v in response.getheaders()}

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The code of a problem, checked for its form."""
        assert self.headers["content-type"] == "application/problem+json", self.body
        problem = self.json
        assert problem["status"] == self.status and problem["title"] and problem["detail"]
        assert problem["type"] == "urn:quern:problem:" + problem["code"]
        return problem["code"]


class Running:
    """`quern run` until stop(); started again in the same folder it goes on where it was."""

    def __init__(self, folder, spec=SPEC, http="127.0.0.1:0", options=(), env=None, tls=None):
        (folder / "spec.yaml").write_text(spec)
        self.folder, self.http, self.options, self.env, self.tls = folder, http, options, env, tls
        self.start()

    def start(self):
        self.log = self.folder / "stderr"
        with self.log.open("wb") as err:
            self.process = subprocess.Popen([str(QUERN), "run", "spec.yaml", "--http", self.http, *self.options],
                                            cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=err)
        self.await_true(self.find_port)
        self.await_true(lambda: self.get("/readyz").status == 200)

    def find_port(self):
        found = re.search(rb'url"?[=:]"?(https?)://[^\s"]*:(\d+)"?[\n}]', self.log.read_bytes())
        if found:
            self.port = int(found[2])
        return found is not None

    def await_true(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def connect(self, timeout=60):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None, connection=None, **headers):
        """One request; header names are given with _ for -."""
        c = connection or self.connect()
        c.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = Answer(c.getresponse())
        if not connection:
            c.close()
        return answer

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, body, content_type="application/json", **headers):
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        return self.ask("POST", path, body, content_type=content_type, **headers)

    def catches(self, sig):
        """It has come so far that the signal is its own affair."""
        caught = re.search(r"SigCgt:\s*(\w+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())
        return caught is not None and int(caught[1], 16) >> (sig - 1) & 1 == 1

    def stop(self):
        """Asks it to end; its exit code."""
        if self.process.poll() is None:
            self.await_true(lambda: self.catches(signal.SIGTERM))
        self.process.terminate()
        return self.process.wait(60)

    def kill(self):
        self.process.kill()
        self.process.wait(60)
