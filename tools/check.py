#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check.py - what `./dev check` runs, phase by phase, and the one closing line: N passed, N failed[, N skipped].

One line a phase with its counts and seconds; details only of what failed; every skip says what is missing. A phase that
cannot run (its build broke) counts as one failure, so that nothing disappears from the sum. Standard library only.

    tools/check.py [--long] [--only PHASE[,PHASE]]

--long sets QUERN_LONG=1, which tests may read to do their campaigns. The builds are those of ./dev: build (release),
build-asan, build-tsan.
"""
import argparse
import atexit
import fnmatch
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLOSING = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")
TAP = re.compile(r"^(ok|not ok) (\d+)(?: - | )(.*)$")
DETAIL_LINES = 60  # of one failure; the rest is in the log it names


class Result:
    """Counts of one phase; `details` are printed when something failed, `skips` always."""

    def __init__(self, passed=0, failed=0, skips=(), details=(), note=""):
        self.passed, self.failed = passed, failed
        self.skips, self.details, self.note = list(skips), list(details), note


def environment(long):
    """The variables every test may rely on."""
    env = dict(os.environ)
    env["QUERN_ROOT"] = str(ROOT)
    env["QUERN_BUILD"] = str(ROOT / "build")
    if not env.get("QUERN_SHARED") and (ROOT.parent / "shared").is_dir():
        env["QUERN_SHARED"] = str(ROOT.parent / "shared")
    if long:
        env["QUERN_LONG"] = "1"
    env["CMOCKA_MESSAGE_OUTPUT"] = "TAP"
    # Not detect_stack_use_after_return: gcc 12 aligns its frames too little for AVX-512 (gcc bug 110027).
    env["ASAN_OPTIONS"] = "detect_leaks=1:strict_string_checks=1"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    env["TSAN_OPTIONS"] = "halt_on_error=1:second_deadlock_stack=1"
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    return env


def tail(text, lines=DETAIL_LINES):
    """The last lines of a text, with a mark where something was left out."""
    all_lines = text.rstrip().splitlines()
    left_out = len(all_lines) - lines
    return ([f"... {left_out} lines before"] if left_out > 0 else []) + all_lines[-lines:]


def compile_kind(kind, env, targets=()):
    """Builds; returns None when all is well, else the Result of a broken build."""
    done = subprocess.run([str(ROOT / "dev"), "_compile", kind, *targets], env=env, cwd=ROOT, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
    if done.returncode == 0:
        return None
    wrong = [line for line in done.stdout.splitlines()
             if re.search(r"error|undefined reference|FAILED|warning:", line) and " -o " not in line]
    return Result(failed=1, details=[f"the {kind} build failed:"] + (wrong or tail(done.stdout))[:DETAIL_LINES])


def read_test(entry, result):
    """Adds one program of meson's testlog.json to the counts: its cmocka cases, or itself as one case."""
    name, text = entry["name"].rsplit(" ", 1)[-1], (entry.get("stdout") or "") + "\n" + (entry.get("stderr") or "")
    passed = failed = skipped = 0
    reasons = [line.strip() for line in text.splitlines() if "skip" in line.lower() and not TAP.match(line)]
    for line in text.splitlines():
        case = TAP.match(line)
        if not case:
            continue
        if "# SKIP" in line:
            skipped += 1
            why = reasons[min(skipped, len(reasons)) - 1] if reasons else "no reason given"
            result.skips.append(f"{name}: {case[3].replace('# SKIP', '').strip()}: {why}")
        elif case[1] == "ok":
            passed += 1
        else:
            failed += 1
    good = entry["result"] in ("OK", "EXPECTEDFAIL")
    if entry["result"] == "SKIP":
        result.skips.append(f"{name}: {reasons[0] if reasons else 'no reason given'}")
        return
    if good and passed + failed + skipped == 0:
        passed = 1
    if not good and failed == 0:
        failed = 1
    result.passed += passed
    result.failed += failed
    if failed:
        result.details += [f"{name}: {entry['result'].lower()}, exit {entry['returncode']}"]
        result.details += ["    " + line for line in tail(text)]


def meson_tests(folder, env, names=()):
    """Runs the tests of a build folder that is up to date and counts their cases."""
    log = ROOT / folder / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    jobs = env.get("QUERN_JOBS") or str(min(os.cpu_count() or 2, 8))
    done = subprocess.run(["meson", "test", "-C", folder, "--no-rebuild", "--num-processes", jobs, "-t", "4", *names],
                          env=env, cwd=ROOT, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, errors="replace")
    if not log.is_file():
        if "No tests defined" in done.stdout:
            return Result(failed=1, details=["there are no unit tests in this build"])
        return Result(failed=1, details=["meson test did not run:"] + tail(done.stdout))
    result = Result()
    with log.open(errors="replace") as lines:
        programs = [json.loads(line) for line in lines if line.strip()]
    for entry in programs:
        read_test(entry, result)
    result.note = f"{len(programs)} programs"
    return result


def script(command, env):
    """Runs a tool of ours that prints 'skip: ...' lines and ends with the closing line."""
    done = subprocess.run(command, env=env, cwd=ROOT, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, errors="replace")
    lines = done.stdout.rstrip().splitlines()
    closing = CLOSING.match(lines[-1]) if lines else None
    if not closing:
        return Result(failed=1, details=[f"{' '.join(command)} ended with {done.returncode}:"] + tail(done.stdout))
    result = Result(int(closing[1]), int(closing[2]), [s[6:] for s in lines if s.startswith("skip: ")])
    if done.returncode != 0 and result.failed == 0:
        result.failed = 1
    result.details = [s for s in lines[:-1] if not s.startswith(("skip: ", "note: "))]
    return result


def phase_build(env, _):
    return compile_kind("release", env) or Result(passed=1, note="build/quern")


def phase_lint(env, _):
    return script([sys.executable, "tools/tidy.py", "--brief"], env)


def phase_asan(env, _):
    return compile_kind("asan", env) or meson_tests("build-asan", env)


def phase_release(env, _):
    return meson_tests("build", env)


# With threads and a broker: two threads a step, at-least-once, looks at a running service, partitions that come and go,
# stages.
TSAN_KAFKA = ("test_kafka_log.py::test_same_answers[4-2]", "test_kafka_log.py::test_at_least_once",
              "test_kafka_log.py::test_http_says_where_events_go", "test_kafka_log.py::test_four_processes",
              "test_kafka_stages.py::test_three_stages", "test_kafka_sinks.py::test_down_and_shared",
              "test_kafka_sinks.py::test_refused_records_become_dead_letters")


def start_tsan_lane(env, args, result):
    """The program itself under TSan on a real broker, as one more lane beside what comes after; the short tests."""
    broken = compile_kind("tsan", env, ["quern"])
    shim = ROOT / "build-tsan" / "c11_threads.so"
    done = broken or subprocess.run([env.get("CC") or "cc", "-O1", "-g", "-shared", "-fPIC", "-o", str(shim),
                                     str(ROOT / "tests/tsan/c11_threads.c")], stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True)
    if broken or done.returncode != 0:
        result.failed += 1
        result.details += broken.details if broken else ["tests/tsan/c11_threads.c:"] + tail(done.stdout)
        return
    own = {"QUERN_BUILD": str(ROOT / "tests/tsan"), "QUERN_KILLS": "3", "QUERN_LONG": ""}
    lane = start_lane({**env, **own}, "tsan", [f"tests/e2e/{name}" for name in TSAN_KAFKA])
    if args.beside is None:
        end_lane(*lane, result)
    else:
        args.beside.append(lane)


def phase_tsan(env, args):
    """Only the programs of tests/tsan.txt are built and run; --long: and Quern with a broker."""
    listing = subprocess.run(["meson", "introspect", "--tests", "build-asan"], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        known = [test["name"] for test in json.loads(listing.stdout)]
    except ValueError:
        return Result(failed=1, details=["the list of tests cannot be read (meson introspect --tests build-asan)"])
    patterns = [s.strip() for s in (ROOT / "tests/tsan.txt").read_text().splitlines()
                if s.strip() and not s.startswith("#")]
    unknown = [p for p in patterns if not fnmatch.filter(known, p)]
    names = [n for n in known if any(fnmatch.fnmatch(n, p) for p in patterns)]
    if not names:
        return Result(failed=1, details=["tests/tsan.txt matches no test"])
    result = compile_kind("tsan", env, names) or meson_tests("build-tsan", env, names)
    if args.long and not result.failed:
        start_tsan_lane(env, args, result)
    for pattern in unknown:
        result.failed += 1
        result.details.append(f"tests/tsan.txt: '{pattern}' matches no test")
    return result


def phase_golden(env, _):
    """The cases on the release program and once more under the sanitizers."""
    total = Result()
    for folder in ("build", "build-asan"):
        one = script([sys.executable, "tests/golden/run.py", "--quern", f"{folder}/quern"], env)
        total.passed += one.passed
        total.failed += one.failed
        total.skips += one.skips if folder == "build" else []
        total.details += [f"({folder}) {s}" for s in one.details] if one.failed else []
    total.note = "release and sanitizers"
    return total


# Tests that mostly wait for servers of others run beside the rest, a lane each, from when there is a release build.
LANES = [("test_kafka_log.py", "test_kafka_streams.py", "test_kafka_ends.py"),
         ("test_kafka_faults.py", "test_kafka_recorded.py", "test_kafka_stages.py"),
         ("test_kafka_modules.py", "test_kafka_sinks.py", "test_kafka_rights.py", "test_neon.py", "test_s3.py",
          "test_deploy.py"),
         ("test_kafka_formats.py", "test_kafka_protobuf.py", "test_kafka_log_formats.py", "test_kafka_envelopes.py",
          "test_kafka_state.py", "test_kafka_stage_formats.py", "test_half_space.py")]


def start_lane(env, name, files):
    report = ROOT / "build" / f"e2e-{name}.xml"
    report.unlink(missing_ok=True)
    command = [str(ROOT / ".venv/bin/python"), "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider",
               f"--junitxml={report}", "--tb=short", *files]
    with report.with_suffix(".txt").open("wb") as out:
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT)
    atexit.register(process.kill)
    return report, process


def end_lane(report, process, result):
    process.wait()
    out = report.with_suffix(".txt").read_text(errors="replace")
    if not report.is_file():
        result.failed += 1
        result.details += ["pytest did not run:"] + tail(out)
        return
    before = result.failed
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kinds = {child.tag: child for child in case}
        if "failure" in kinds or "error" in kinds:
            result.failed += 1
        elif "skipped" in kinds:
            result.skips.append(f"e2e {case.get('name')}: {kinds['skipped'].get('message')}")
        else:
            result.passed += 1
    if process.returncode not in (0, 1) and result.failed == before:
        result.failed += 1
    if result.failed > before:
        result.details += tail(out, 200)


# The rest goes in two halves: what trains models and compares them, and everything else.
MODELS = ("test_contributions.py", "test_formats.py", "test_fraud.py", "test_models.py", "test_numbers.py",
          "test_onnx_trees.py", "test_onnxruntime.py")


def start_beside(env):
    return [start_lane(env, i + 1, [f"tests/e2e/{name}" for name in lane]) for i, lane in enumerate(LANES)]


def start_halves(env):
    beside = {name for lane in LANES for name in lane}
    rest = [p.name for p in sorted((ROOT / "tests" / "e2e").glob("test_*.py")) if p.name not in beside]
    halves = [[f"tests/e2e/{name}" for name in rest if (name in MODELS) == is_models] for is_models in (False, True)]
    return [start_lane(env, f"half-{i}", half) for i, half in enumerate(halves)]


def phase_e2e(env, args):
    result = Result()
    for report, process in [*(args.halves or start_halves(env)), *args.beside]:
        end_lane(report, process, result)
    return result


PHASES = [  # name, what it is, function, the phase it needs
    ("build", "release build", phase_build, None),
    ("lint", "house rules", phase_lint, "build"),
    ("asan", "unit tests and corpora, ASan + UBSan", phase_asan, None),
    ("release", "unit tests and corpora, release", phase_release, "build"),
    ("tsan", "tests with threads, TSan", phase_tsan, "asan"),
    ("golden", "golden cases", phase_golden, "build"),
    ("e2e", "end to end", phase_e2e, "build"),
]


def main():
    ap = argparse.ArgumentParser(prog="./dev check", description="everything that must hold before a push")
    ap.add_argument("--long", action="store_true", help="the campaigns too (QUERN_LONG=1)")
    ap.add_argument("--only", default="", metavar="PHASE,...", help=", ".join(p[0] for p in PHASES))
    args = ap.parse_args()
    only = [p for p in args.only.split(",") if p]
    for name in only:
        if name not in [p[0] for p in PHASES]:
            ap.error(f"unknown phase '{name}'; known: {', '.join(p[0] for p in PHASES)}")
    args.beside = args.halves = None
    env = environment(args.long)
    total, broken, started = Result(), set(), time.monotonic()
    for name, title, run, needs in PHASES:
        if only and name not in only:
            continue
        begun = time.monotonic()
        if needs in broken:
            result = Result(failed=1, details=[f"not run: {needs} did not build"])
        else:
            try:
                if name == "e2e" and args.beside is None:
                    args.beside = start_beside(env)
                result = run(env, args)
            except OSError as error:
                result = Result(failed=1, details=[f"cannot run: {error}"])
        if result.details and "build failed" in result.details[0]:
            broken.add(name)
        for line in result.details if result.failed else []:
            print("    " + line)
        if name == "build" and not result.failed and (not only or "e2e" in only):
            args.beside = start_beside(env)
        if name == "asan" and args.beside and not only:  # the lanes are about to end
            args.halves = start_halves(env)
        counts = f"{result.passed} passed"
        counts += f", {result.failed} failed" if result.failed else ""
        counts += f", {len(result.skips)} skipped" if result.skips else ""
        print(f"{'FAIL' if result.failed else 'ok  '} {name:8} {title:38} {counts:28} "
              f"{time.monotonic() - begun:6.1f} s  {result.note}".rstrip(), flush=True)
        total.passed += result.passed
        total.failed += result.failed
        total.skips += result.skips
    for skip in total.skips:
        print(f"skipped: {skip}")
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    print(f"took {minutes} min {seconds:02} s")
    print(f"{total.passed} passed, {total.failed} failed" + (f", {len(total.skips)} skipped" if total.skips else ""))
    return 1 if total.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
