#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py - golden cases: one folder each, `tests/golden/<topic>/<name>/`, run as a user would, compared byte by byte.

    run.py [--quern PROGRAM] [--update] [TOPIC[/NAME] ...]

A case is a folder with the file `cmd`. Its files:

    cmd        arguments of quern, one line, split as a shell would but run without one, in a copy of the folder
    in         bytes for standard input; or in.py, a script that prints them (for what is too large to keep)
    out        standard output as it must be
    err        standard error as it must be
    code       exit code (no file: 0)
    expect/F   bytes of the file F that the run writes; expect/F.sha256 holds size and hash where it is large
    about      one line: what the case shows (for people)

A case whose `cmd` begins with `pipe` or `features` runs three times, with --threads 1, 2 and 3, and must write the same
bytes each time. --update writes out, err, code and expect/* (those files that are there; new outputs named in `cmd`
after --dead or --output are added), to be read critically before they are committed. Nothing may depend on where the
case lies or when it runs. Standard library only.
"""
import argparse
import difflib
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
THREADED = {"pipe": ("1", "2", "3"), "features": ("1", "2", "3")}
TIMEOUT_S = 60
LARGE_BYTES = 64 * 1024


class Answer:
    """What one run left: standard output, standard error, exit code and the files it wrote."""

    def __init__(self, out, err, code, files):
        self.out, self.err, self.code, self.files = out, err, code, files

    def parts(self):
        """Everything that is compared, by the name of the file that holds the expectation."""
        named = {"out": self.out, "err": self.err, "code": b"%d\n" % self.code}
        for name, data in self.files.items():
            if len(data) <= LARGE_BYTES:
                named[f"expect/{name}"] = data
            else:
                text = f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}\n"
                named[f"expect/{name}.sha256"] = text.encode()
        return named


def environment():
    env = {k: v for k, v in os.environ.items() if not k.startswith("QUERN_")}
    env.update(NO_COLOR="1", TERM="dumb", LC_ALL="C.UTF-8", TZ="UTC")
    return env


def stdin_of(case):
    script = case / "in.py"
    if script.is_file():
        return subprocess.run([sys.executable, str(script)], cwd=case, stdout=subprocess.PIPE, check=True).stdout
    plain = case / "in"
    return plain.read_bytes() if plain.is_file() else b""


def run_once(quern, case, arguments):
    """Runs in a fresh copy of the folder, so that what is written never mixes with what is expected."""
    with tempfile.TemporaryDirectory(prefix="quern-golden-") as folder:
        work = Path(folder) / case.name
        shutil.copytree(case, work, ignore=shutil.ignore_patterns("expect", "out", "err", "code", "in", "about"))
        before = {p for p in work.rglob("*") if p.is_file()}
        done = subprocess.run([str(quern), *arguments], cwd=work, input=stdin_of(case), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env=environment(), timeout=TIMEOUT_S)
        written = {p.relative_to(work).as_posix(): p.read_bytes() for p in work.rglob("*")
                   if p.is_file() and p not in before}
        return Answer(done.stdout, done.stderr, done.returncode, written)


def show(what, expected, got):
    """A short difference, for people."""
    left = expected.decode("utf-8", "backslashreplace").splitlines()
    right = got.decode("utf-8", "backslashreplace").splitlines()
    lines = list(difflib.unified_diff(left, right, f"{what} expected", f"{what} got", lineterm="", n=1))
    return ["    " + line[:400] for line in lines[:30]] or [f"    {what} differs in line ends only"]


def expected_of(case):
    want = {"out": b"", "err": b"", "code": b"0\n"}
    for name in want:
        if (case / name).is_file():
            want[name] = (case / name).read_bytes()
    for path in sorted((case / "expect").rglob("*")) if (case / "expect").is_dir() else []:
        if path.is_file():
            want[f"expect/{path.relative_to(case / 'expect').as_posix()}"] = path.read_bytes()
    return want


def check_case(quern, case, update):
    """The findings of one case; empty when it is as it must be."""
    words = shlex.split((case / "cmd").read_text(encoding="utf-8"))
    runs = THREADED.get(words[0] if words else "", ())
    variants = [[*words, "--threads", n] for n in runs] if runs and "--threads" not in words else [words]
    try:
        answers = [run_once(quern, case, v) for v in variants]
    except (OSError, subprocess.SubprocessError) as error:
        return [f"    cannot run: {error}"]
    findings = []
    for variant, answer in zip(variants[1:], answers[1:]):
        for name, value in answers[0].parts().items():
            other = answer.parts().get(name)
            if other != value:
                findings.append(f"    {name} with {' '.join(variant[-2:])} differs from --threads 1")
                findings += show(name, value, other or b"")
    got = answers[0].parts()
    if update:
        write(case, got)
        return findings
    want = expected_of(case)
    for name in sorted(set(want) | set(got)):
        if name not in got:
            findings.append(f"    {name.removeprefix('expect/')} was not written")
        elif name not in want:
            findings.append(f"    {name.removeprefix('expect/')} was written and is not expected")
        elif want[name] != got[name]:
            findings += show(name, want[name], got[name])
    return findings


def write(case, got):
    """Makes the folder expect what it got."""
    shutil.rmtree(case / "expect", ignore_errors=True)
    for name, value in got.items():
        path = case / name
        if (name == "code" and value == b"0\n") or (name in ("out", "err") and not value):
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)


def main():
    ap = argparse.ArgumentParser(description="runs the golden cases")
    ap.add_argument("--quern", default=str(ROOT / "build/quern"))
    ap.add_argument("--update", action="store_true", help="write what the program says as what is expected")
    ap.add_argument("names", nargs="*", metavar="TOPIC[/NAME]")
    args = ap.parse_args()
    quern = Path(args.quern)
    quern = (quern if quern.is_absolute() else Path.cwd() / quern).resolve()
    cases = [p.parent for p in sorted(HERE.glob("*/*/cmd"))]
    if args.names:
        cases = [c for c in cases if any(c.relative_to(HERE).as_posix() == n.strip("/") or c.parent.name == n.strip("/")
                                         for n in args.names)]
    if not quern.is_file():
        print(f"{quern} is not there (./dev build)")
        print(f"0 passed, {max(len(cases), 1)} failed")
        return 1
    if not cases:
        print("there are no such cases")
        print("0 passed, 1 failed")
        return 1
    failed = 0
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for case, findings in zip(cases, pool.map(lambda c: check_case(quern, c, args.update), cases)):
            if findings:
                failed += 1
                print(f"FAIL {case.relative_to(HERE)}: quern {(case / 'cmd').read_text().strip()}")
                print("\n".join(findings))
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
