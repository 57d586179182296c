# SPDX-License-Identifier: Apache-2.0
"""test_gpu.py - NVIDIA devices among the metrics: of a library that the test builds, since no test machine has one, and
of none at all, which every test machine can tell."""
import os
import re
import subprocess

import pytest

from fraud_data import ROOT
from running import Running


def scrape(folder, env=None):
    r = Running(folder, env=env)
    try:
        return [r.get("/metrics").body.decode() for _ in range(2)]
    finally:
        assert r.stop() == 0


def test_two_devices(tmp_path):
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", str(ROOT / "tests/e2e/tool_nvml.c"), "-o",
                    str(library)], check=True)
    (tmp_path / "p").mkdir()
    for text in scrape(tmp_path / "p", {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}):
        found = re.findall(r"^(quern_gpu\S+) (\S+)$", text, re.M)
        assert found == [('quern_gpu_utilization_ratio{device="0"}', "0.37"),
                         ('quern_gpu_memory_used_bytes{device="0"}', "1000000000"),
                         ('quern_gpu_memory_used_bytes{device="1"}', "1000000000"),
                         ('quern_gpu_memory_total_bytes{device="0"}', "8000000000"),
                         ('quern_gpu_memory_total_bytes{device="1"}', "4000000000")]
        assert text.count("# TYPE quern_gpu_utilization_ratio gauge") == 1


def test_no_library(tmp_path):
    if os.path.exists("/dev/nvidiactl"):
        pytest.skip("this machine has NVIDIA's driver")
    assert all("quern_gpu" not in text and "process_cpu_seconds_total" in text for text in scrape(tmp_path))
