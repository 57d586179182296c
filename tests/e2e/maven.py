# SPDX-License-Identifier: Apache-2.0
"""What tests fetch by Maven, once a machine, by one process at a time: lanes of tests run beside each other, and
Maven's own folder takes no two that write."""
import contextlib
import fcntl
import os
import pathlib
import subprocess

import pytest

from fraud_data import ROOT

CACHE = pathlib.Path(os.environ.get("QUERN_CACHE", ROOT / ".cache"))


@contextlib.contextmanager
def alone(name="lock"):
    """Nobody else fetches, or whatever that lock is for, meanwhile. Look again, inside, whether it is there already."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def maven(what, *arguments):
    """Runs it; a skip where it fails."""
    done = subprocess.run(["mvn", "-q", "-B", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=600)
    if done.returncode != 0:
        pytest.skip(f"{what} cannot be fetched by Maven: {done.stdout.strip()[-300:]}")
