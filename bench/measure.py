# SPDX-License-Identifier: Apache-2.0
"""measure.py OUT CMD...: runs one command and writes what it cost as JSON.

A process of its own, because a child's peak memory begins with that of the process it was forked from: this one is
small.
"""

import json
import os
import sys
import time

out, command = sys.argv[1], sys.argv[2:]
start = time.monotonic()
pid = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(pid, 0)
with open(out, "w", encoding="utf-8") as f:
    json.dump(
        {
            "rc": os.waitstatus_to_exitcode(status),
            "wall": time.monotonic() - start,
            "cpu": usage.ru_utime + usage.ru_stime,
            "mb": usage.ru_maxrss * 1024 / 1e6,
        },
        f,
    )
