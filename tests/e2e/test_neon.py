# SPDX-License-Identifier: Apache-2.0
"""Kernel `neon` on a machine without NEON: the kernels' own unit tests, compiled for 64-bit ARM and run by qemu.

The programs are those of tests/unit/model; only cmocka is replaced (cross/cmocka.h). They compare every kernel with
`walk` bit for bit, at every batch size from 1 to 130, and contributions with their definition; test_kernel_lanes only
`neon`, for the others, which are no different here, are in test_kernel_columns. Skipped where the compiler or qemu is
not there: apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user.
"""

import os
import pathlib
import platform
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(os.environ.get("QUERN_ROOT", pathlib.Path(__file__).resolve().parents[2]))
COMPILER, EMULATOR, SYSROOT = "aarch64-linux-gnu-gcc", "qemu-aarch64", "/usr/aarch64-linux-gnu"
FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", '-DQN_VERSION="test"', "-DXXH_INLINE_ALL", "-O1", "-ffp-contract=off"]
FLAGS += ["-fno-math-errno", "-Wall", "-Werror=implicit-function-declaration", "-I", str(ROOT / "src")]
FLAGS += ["-I", str(ROOT / "tests" / "e2e" / "cross"), "-idirafter", "/usr/include"]


def here():
    """Skips where there is nothing to compile or to run with, or no need."""
    if platform.machine() == "aarch64":
        pytest.skip("this machine has NEON: its unit tests run the kernel")
    missing = [tool for tool in (COMPILER, EMULATOR) if not shutil.which(tool)]
    if missing or not os.path.isdir(SYSROOT):
        pytest.skip(f"{' and '.join(missing or [SYSROOT])} not there: "
                    "apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user")


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    here()
    folder = tmp_path_factory.mktemp("aarch64")
    sources = sorted((ROOT / "src" / "base").glob("*.c")) + sorted((ROOT / "src" / "model").glob("*.c"))
    # the libraries of the other machine are not here, and models need none of these
    sources = [s for s in sources if not re.search(r"#include <(curl|openssl)/", s.read_text())]
    made = []
    for source in sources:
        made.append(str(folder / (source.stem + ".o")))
        done = subprocess.run([COMPILER, *FLAGS, "-c", str(source), "-o", made[-1]], stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr
    return folder, made


@pytest.mark.parametrize("name", ["test_kernel_lanes", "test_kernel_columns", "test_treeshap"])
def test_bits_on_arm(objects, name):
    folder, made = objects
    program = str(folder / name)
    source = str(ROOT / "tests" / "unit" / "model" / (name + ".c"))
    subprocess.run([COMPILER, *FLAGS, source, *made, "-o", program, "-lpthread", "-ldl", "-lm"], check=True)
    done = subprocess.run([EMULATOR, "-L", SYSROOT, program], stdout=subprocess.PIPE, text=True, timeout=1800,
                          env={**os.environ, "QUERN_KERNEL": "neon"})
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    if name == "test_kernel_lanes":
        assert "NEON yes, AVX2 no" in done.stdout, "the kernel did not run"
        runs = [int(n) for n in re.findall(r"(\d+) runs of vector kernels", done.stdout)]
        assert len(runs) >= 5 and all(n >= 6 for n in runs), runs
