# SPDX-License-Identifier: Apache-2.0
"""The programs bench_*.c, built against the libraries of build/."""

import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOMS = ["engine", "spec", "source", "sink", "score", "model", "feature", "state", "monitor", "log", "event", "base"]
OUTSIDE = ["xxhash", "yaml", "z", "zstd", "lz4", "curl", "crypto", "m", "pthread", "dl"]
if subprocess.run(["pkg-config", "--exists", "rdkafka"], check=False).returncode == 0:  # as meson.build asks
    OUTSIDE.append("rdkafka")


def compiled(name, folder):
    """Builds bench/NAME.c into the folder; where it is then."""
    out = os.path.join(folder, name)
    libs = [os.path.join(ROOT, "build", f"libqn_{r}.a") for r in ROOMS]
    command = [os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O3", "-ffp-contract=off", "-fno-lto"]
    command += ["-I", os.path.join(ROOT, "src"), os.path.join(ROOT, "bench", name + ".c"), "-o", out]
    command += ["-Wl,--start-group", *libs, "-Wl,--end-group", *("-l" + x for x in OUTSIDE)]
    subprocess.run(command, check=True)
    return out
