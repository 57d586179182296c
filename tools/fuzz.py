#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fuzz.py - what `./dev fuzz [SECONDS] [TARGET...]` runs: libFuzzer on the targets of build-fuzz, two at a time.

Each target starts from its corpus tests/fuzz/corpus/<name>; what it finds new goes to build-fuzz/found/<name>, what
breaks it to build-fuzz/crash/<name>. A find worth keeping is copied into the corpus by hand (small, a name that says
what it is); ./dev check replays the corpus ever after. Standard library only.
"""
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build-fuzz"
DONE = re.compile(r"Done (\d+) runs in (\d+) second")
COVER = re.compile(r"cov: (\d+)")


class Run:
    """One target at work: its process, log and folders."""

    def __init__(self, program, seconds):
        self.program, self.name = program, program.name[len("fuzz_"):]
        self.found, self.crash = BUILD / "found" / self.name, BUILD / "crash" / self.name
        for folder in (self.found, self.crash):
            folder.mkdir(parents=True, exist_ok=True)
        corpus = ROOT / "tests/fuzz/corpus" / self.name
        dictionary = ROOT / "tests/fuzz" / f"{self.name}.dict"
        limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=0"]
        command = [str(program), str(self.found), *limits, f"-artifact_prefix={self.crash}/"]
        if corpus.is_dir():
            command.append(str(corpus))
        if dictionary.is_file():
            command.append(f"-dict={dictionary}")
        env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1",
                   UBSAN_OPTIONS="print_stacktrace=1", QUERN_ROOT=str(ROOT))
        self.log_path = BUILD / f"{self.name}.log"
        self.log = self.log_path.open("wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env,
                                        cwd=BUILD)

    def finish(self):
        """Prints how it went; true when nothing broke."""
        self.log.close()
        text = self.log_path.read_text(errors="replace")
        runs, cover = DONE.search(text), COVER.findall(text)
        if self.process.returncode == 0:
            count = int(runs[1]) if runs else 0
            print(f"ok   {self.name:16} {count:>12,} runs, coverage {cover[-1] if cover else '?'}", flush=True)
            return True
        crashes = sorted(self.crash.iterdir(), key=lambda p: p.stat().st_mtime)
        print(f"FAIL {self.name:16} exit {self.process.returncode}")
        for line in [s for s in text.splitlines() if re.search(r"ERROR|runtime error|assert|#[0-9] ", s)][:20]:
            print("    " + line)
        print(f"    log:       {self.log_path.relative_to(ROOT)}")
        if crashes:
            path = crashes[-1].relative_to(ROOT)
            print(f"    reproduce: build-fuzz/fuzz_{self.name} {path}")
            print(f"    then keep: cp {path} tests/fuzz/corpus/{self.name}/", flush=True)
        return False


def main(argv):
    seconds, names = 60, []
    for word in argv:
        if word.isdigit():
            seconds = int(word)
        else:
            names.append(word.removeprefix("fuzz_"))
    programs = {p.name[len("fuzz_"):]: p for p in sorted(BUILD.glob("fuzz_*")) if p.is_file() and os.access(p, os.X_OK)}
    for name in names:
        if name not in programs:
            print(f"fuzz: unknown target '{name}'; known: {', '.join(programs)}", file=sys.stderr)
            return 2
    if not programs:
        print("fuzz: there are no targets (tests/fuzz/fuzz_<name>.c)", file=sys.stderr)
        return 1
    waiting = [programs[n] for n in (names or programs)]
    at_once = max(1, min(int(os.environ.get("QUERN_JOBS") or os.cpu_count() or 1), 8))
    print(f"{len(waiting)} targets, {seconds} s each, {at_once} at a time", flush=True)
    running, good = [], 0
    total = len(waiting)
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(Run(waiting.pop(0), seconds))
            time.sleep(0.2)
            for run in [r for r in running if r.process.poll() is not None]:
                running.remove(run)
                good += run.finish()
    except KeyboardInterrupt:
        for run in running:
            run.process.terminate()
            run.process.wait()
        return 130
    print(f"{good} passed, {total - good} failed")
    return 0 if good == total else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
