# SPDX-License-Identifier: Apache-2.0
"""A real S3 server for tests: s3proxy, which checks signatures, on files of this machine; and a proxy in front of it
that spoils what it is told to spoil. Needs Java and Maven; without them the tests skip and say so."""
import collections
import hashlib
import hmac
import http.client
import pathlib
import re
import shutil
import socketserver
import ssl
import subprocess
import threading
import time
import http.server

import pytest

from maven import alone, maven

VERSION = "4.1.0"
JAR = pathlib.Path.home() / ".m2/repository/org/gaul/s3proxy" / VERSION / f"s3proxy-{VERSION}-jar-with-dependencies.jar"
KEY, SECRET = "test-identity", "test-credential-0123456789abcdef"


def need_jar():
    """The program, fetched by Maven once a machine."""
    for tool in ("java", "mvn"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool}: the S3 server of these tests is a Java program from Maven")
    with alone():
        if not JAR.is_file():
            artifact = f"org.gaul:s3proxy:{VERSION}:jar:jar-with-dependencies"
            maven("s3proxy", "dependency:get", f"-Dartifact={artifact}", "-Dtransitive=false")
            if not JAR.is_file():
                pytest.skip(f"s3proxy {VERSION} is not where Maven should have put it: {JAR}")
    return JAR


class S3Server:
    """s3proxy on a free port of this machine, its buckets as folders; `stop` and `start` keep port and objects."""

    def __init__(self, folder, tls=False):
        self.jar, self.folder, self.tls = need_jar(), folder, tls
        self.objects = folder / "objects"
        self.objects.mkdir(parents=True)
        self.port = 0
        self.ca_file = self.make_certificate() if tls else None
        self.start()

    def make_certificate(self):
        store, pem = self.folder / "keystore.jks", self.folder / "ca.pem"
        subprocess.run(["keytool", "-genkeypair", "-keystore", store, "-storepass", "password", "-alias", "s3",
                        "-keyalg", "EC", "-dname", "CN=s3", "-ext", "SAN=ip:127.0.0.1,dns:localhost", "-validity", "2"],
                       check=True, capture_output=True)
        with pem.open("wb") as out:
            subprocess.run(["keytool", "-exportcert", "-rfc", "-keystore", store, "-storepass", "password",
                            "-alias", "s3"], check=True, stdout=out, stderr=subprocess.DEVNULL)
        return pem

    def start(self):
        scheme = "s3proxy.secure-endpoint=https" if self.tls else "s3proxy.endpoint=http"
        lines = [f"{scheme}://127.0.0.1:{self.port}", "s3proxy.authorization=aws-v2-or-v4",
                 f"s3proxy.identity={KEY}", f"s3proxy.credential={SECRET}", "s3proxy.virtual-host=localhost",
                 "jclouds.provider=filesystem-nio2", "jclouds.identity=local", "jclouds.credential=local",
                 f"jclouds.filesystem.basedir={self.objects}"]
        if self.tls:
            lines += [f"s3proxy.keystore-path={self.folder}/keystore.jks", "s3proxy.keystore-password=password"]
        (self.folder / "s3proxy.conf").write_text("\n".join(lines) + "\n")
        self.log = self.folder / "s3proxy.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", self.jar, "--properties",
                 self.folder / "s3proxy.conf"], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        end = time.monotonic() + 60
        while not (found := re.search(rb"ServerConnector@\S+\{[^}]*\}\{127\.0\.0\.1:(\d+)\}", self.log.read_bytes())):
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)
        self.port = int(found[1])

    def stop(self):
        self.process.kill()
        self.process.wait(30)

    @property
    def endpoint(self):
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    def make_bucket(self, name):
        """By the server, with a signature made here (Signature Version 4); the folder of its objects."""
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        signed = {"host": f"localhost:{self.port}", "x-amz-content-sha256": hashlib.sha256(b"").hexdigest(),
                  "x-amz-date": now}
        names = ";".join(signed)
        request = "\n".join(["PUT", f"/{name}", "", *(f"{k}:{v}" for k, v in signed.items()), "", names,
                             signed["x-amz-content-sha256"]])
        key = b"AWS4" + SECRET.encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        signed["authorization"] = (f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, "
                                   f"Signature={signature}")
        if self.tls:
            trust = ssl.create_default_context(cafile=self.ca_file)
            c = http.client.HTTPSConnection("127.0.0.1", self.port, context=trust)
        else:
            c = http.client.HTTPConnection("127.0.0.1", self.port)
        c.request("PUT", f"/{name}", headers=signed)
        answer = c.getresponse()
        assert answer.status == 200, answer.read()
        c.close()
        return self.objects / name


class Spoiler:
    """Passes requests on to an S3 server, but for those that `plan` says, a word for each request that is no list:

    pass      goes through
    slow      503 SlowDown, and the server hears nothing of it
    lost      the server does it, the client gets no answer
    cut       the answer's body ends in the middle
    dumb      the answer is no XML at all, 502
    """

    def __init__(self, server):
        self.plan, self.seen = collections.deque(), []
        spoiler = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status, body, headers=(), length=None):
                self.send_response(status)
                for k, v in headers:
                    self.send_header(k, v)
                self.send_header("content-length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)

            def pass_on(self, body):
                c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
                c.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for k, v in self.headers.items():
                    c.putheader(k, v)
                c.endheaders()
                c.send(body)
                r = c.getresponse()
                data = r.read()
                c.close()
                return r.status, data

            def do(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                what = "pass" if "list-type" in self.path or not spoiler.plan else spoiler.plan.popleft()
                spoiler.seen.append((what, self.command))
                if what == "slow":
                    self.answer(503, b"<Error><Code>SlowDown</Code><Message>less, please</Message></Error>")
                    return
                if what == "dumb":
                    self.answer(502, b"<html>Bad Gateway")
                    return
                status, data = self.pass_on(body)
                if what == "lost":
                    self.close_connection = True
                elif what == "cut" and len(data) > 1:
                    self.answer(status, data[:len(data) // 2], length=len(data))
                    self.close_connection = True
                elif status == 204:
                    self.send_response(204)
                    self.end_headers()
                else:
                    self.answer(status, data)

            do_GET = do_PUT = do_DELETE = do

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

        self.http = Server(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://localhost:{self.port}"

    def stop(self):
        self.http.shutdown()
        self.http.server_close()
