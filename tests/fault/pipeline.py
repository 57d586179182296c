# SPDX-License-Identifier: Apache-2.0
"""A running pipeline as the harnesses of this folder need it: `quern run` in a folder, its words, its clients.

Standard library only.
"""
import argparse
import http.client
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


class Pipeline:
    """`quern run spec.yaml` in a folder; started again it listens where it did."""

    def __init__(self, folder, quern, spec, threads=1):
        self.folder, self.quern, self.threads = Path(folder), quern, threads
        self.process, self.port, self.failures = None, 0, []
        self.is_ending = threading.Event()
        (self.folder / "spec.yaml").write_text(spec)

    def start(self):
        """Starts it; the port is known once it listens."""
        self.stderr = (self.folder / "stderr").open("w+b")
        self.process = subprocess.Popen(
            [self.quern, "run", "spec.yaml", "--http", f"127.0.0.1:{self.port}", "--threads", str(self.threads)],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.stderr)

    def words(self):
        return (self.folder / "stderr").read_text(errors="replace")

    def must_run(self):
        assert self.process.poll() is None, "it ended by itself:\n" + self.words()
        assert not self.failures, self.failures

    def await_ready(self, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.must_run()
            found = re.search(r"url=http://[^ \n]*:(\d+)", self.words())
            if found:
                self.port = int(found[1])
                try:
                    c = self.connect(5)
                    c.request("GET", "/readyz")
                    if c.getresponse().status == 200:
                        return
                except OSError:
                    pass
            time.sleep(0.005)
        raise AssertionError("not ready in time:\n" + self.words())

    def stop(self):
        self.is_ending.set()
        self.process.terminate()
        assert self.process.wait(60) == 0, self.words()

    def connect(self, timeout=120):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def begin(self, work, *args):
        """A client in a thread; what it fails of is told by must_run."""
        def guarded():
            try:
                work(*args)
            except Exception as error:  # noqa: BLE001 - told by the main thread
                if not self.is_ending.is_set():
                    self.failures.append(f"{work.__name__}: {error!r}")

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread


def arguments(doc):
    """A parser with what all harnesses take."""
    ap = argparse.ArgumentParser(description=doc.split("\n\n", maxsplit=1)[0])
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--folder", default=None, help="kept afterwards; default: a temporary one")
    ap.add_argument("--quern", default=str(Path(__file__).resolve().parents[2] / "build" / "quern"))
    return ap


def in_folder(args, name, make, work):
    """work(make(folder)); the folder goes if it was made here and all went well, the process in any case."""
    folder = args.folder or tempfile.mkdtemp(prefix=f"quern-{name}-")
    Path(folder).mkdir(parents=True, exist_ok=True)
    run = make(folder)
    try:
        work(run)
    except BaseException:
        if run.process and run.process.poll() is None:
            run.process.kill()
        print(f"kept: {folder}", file=sys.stderr)
        raise
    if not args.folder:
        shutil.rmtree(folder)
