# SPDX-License-Identifier: Apache-2.0
"""A real schema registry for tests: Apicurio Registry from its published archive, on loopback, on a free port, with the
REST API of Confluent's registry. The archive comes once, by Maven, into .cache/ of the repository."""
import contextlib
import pathlib
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import urllib.request

import pytest

from kafka_broker import free_ports
from maven import CACHE as FETCHED
from maven import alone, maven

VERSION = "3.0.9"
CACHE = FETCHED / f"apicurio-{VERSION}"
JAR = f"apicurio-registry-app-{VERSION}-runner.jar"


def unpacked():
    """The folder with the program, fetched where it is not there; a skip where that cannot be."""
    for tool in ("java", "mvn"):
        if not shutil.which(tool) and not (tool == "mvn" and CACHE.is_dir()):
            pytest.skip(f"no {tool}: the tests with a schema registry need a Java runtime, 17 or newer, and Maven")
    part = CACHE.with_name(f"{CACHE.name}.part")
    with alone():
        if not CACHE.is_dir():
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            maven("the schema registry", "dependency:copy", f"-DoutputDirectory={part}",
                  f"-Dartifact=io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all")
            archive = next(part.glob("*.tar.gz"))
            with tarfile.open(archive) as tar:
                tar.extractall(part, filter="data")
            archive.unlink()
            part.rename(CACHE)
    return CACHE


class Registry:
    """One registry, in memory; `url` is what clients of Confluent's registry take."""

    def __init__(self, folder):
        self.home, self.folder = unpacked(), pathlib.Path(folder)
        self.port, management = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        self.log = (self.folder / "registry.log").open("ab")
        self.process = subprocess.Popen(
            ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1",
             f"-Dquarkus.http.port={self.port}", "-Dquarkus.management.host=127.0.0.1",
             f"-Dquarkus.management.port={management}", "-jar", str(self.home / JAR)], cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 120
        while True:
            assert self.process.poll() is None, (self.folder / "registry.log").read_text()[-3000:]
            assert time.monotonic() < end, "the schema registry does not answer in 120 s"
            try:
                with urllib.request.urlopen(self.url + "/subjects", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)

    def client(self):
        from confluent_kafka.schema_registry import SchemaRegistryClient

        return SchemaRegistryClient({"url": self.url})

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Door:
    """A way to the registry that can be closed: connections are then refused. `seen`: what was asked through it."""

    def __init__(self, port):
        self.behind, self.listener, self.seen = port, None, []
        self.port, = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def open(self):
        self.listener, self.connections = socket.create_server(("127.0.0.1", self.port)), []
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                inside, _ = listener.accept()
                outside = socket.create_connection(("127.0.0.1", self.behind))
                self.connections += [inside, outside]
                for pair in ((inside, outside, True), (outside, inside, False)):
                    threading.Thread(target=self.copy, args=pair, daemon=True).start()

    def copy(self, from_, to, is_request):
        with contextlib.suppress(OSError):
            while data := from_.recv(65536):
                if is_request:
                    self.seen.append(data)
                to.sendall(data)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for c in self.connections:
            with contextlib.suppress(OSError):
                c.shutdown(socket.SHUT_RDWR)
            c.close()
