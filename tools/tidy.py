#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tidy.py - the house rules as a test: what `./dev lint` runs. Standard library only.

    tools/tidy.py [--brief] [--write]

Every rule is one function below that yields findings (path, line, text); it passes when it yields none. EXEMPT is the
one table of exceptions, each with its reason; an exception that is no longer needed is a finding too. --brief leaves
out what is only to be looked at (the ten longest functions). --write regenerates the reference pages of docs/ from the
program's own tables instead of comparing them.
"""
import argparse
import ast
import fnmatch
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Rooms from the lowest up; a room may include those before it, but for the neighbours that do not know each other.
ROOMS = ["base", "event", "log", "monitor", "state", "feature", "model", "score", "sink", "source", "spec", "engine",
         "serve", "cli"]
NEIGHBOURS = {"source", "sink", "score", "model", "feature", "monitor"}
SIDEWAYS = {("score", "model")}

# (rule, file pattern, part of the finding or "" for any) -> why.
EXEMPT = {
    ("banned calls", "src/cli/main.c", "getenv"):
        "main() is where the environment enters; what it finds is handed on in struct qn_cli",
    ("words", "tools/tidy.py", ""):
        "names the words it looks for",
}

BANNED = {  # everywhere in C
    "strtok": "qn_str knows how to split", "gets": "read with a length", "alloca": "use an arena",
    "system": "no shell", "popen": "no shell",
}
BANNED_OUTSIDE_TESTS = {  # a test may build its own small texts, and runs under AddressSanitizer
    "strcpy": "copy with a length", "strcat": "use a qn_buf", "sprintf": "snprintf or qn_buf_printf",
    "vsprintf": "vsnprintf or qn_buf_printf",
}
DOORS = {  # outside base/ only through the doors of base/
    "malloc": "base/memory.h", "calloc": "base/memory.h", "realloc": "base/memory.h", "free": "base/memory.h",
    "atoi": "base/number.h", "atol": "base/number.h", "atof": "base/number.h",
    "strdup": "base/memory.h", "strndup": "base/memory.h", "posix_memalign": "base/memory.h",
    "aligned_alloc": "base/memory.h", "time": "base/clock.h", "clock_gettime": "base/clock.h",
    "gettimeofday": "base/clock.h", "localtime": "base/timestamp.h", "gmtime": "base/timestamp.h",
    "mktime": "base/timestamp.h", "rand": "base/clock.h", "random": "base/clock.h", "srand": "base/clock.h",
    "getrandom": "base/clock.h", "fopen": "base/file.h", "open": "base/file.h", "strtod": "base/number.h",
    "strtof": "base/number.h", "strtol": "base/number.h", "strtoul": "base/number.h", "strtoll": "base/number.h",
    "strtoull": "base/number.h", "sscanf": "base/number.h", "setlocale": "no locale", "getenv": "qn_cli.environment",
}
BAD_FILE_WORDS = {"util", "utils", "misc", "common", "helper", "helpers", "tools"}
BAD_WORDS = [re.compile(p) for p in (r"\b(TODO|FIXME|XXX|HACK)\b", r"(?<![\w.])/work/", r"(?<![\w.])/root/\w",
                                     r"(?<![\w.])/home/\w")]
PAGES = {"docs/commands.md": "commands", "docs/spec.md": "spec", "docs/expressions.md": "expressions",
         "docs/errors.md": "errors", "docs/metrics.md": "metrics",
         "docs/http.md": "http", "docs/spec.schema.json": "json-schema"}
C_COLUMNS, OTHER_COLUMNS = 100, 120


def files(*patterns):
    """Files of the repository by pattern, sorted; build folders and what git ignores are never looked at."""
    found = set()
    for pattern in patterns:
        found.update(p for p in ROOT.glob(pattern) if p.is_file())
    return sorted(p for p in found if not re.match(r"(build|\.venv|\.git/|.*__pycache__)", name(p)))


def name(path):
    return path.relative_to(ROOT).as_posix()


def text_of(path):
    return path.read_text(encoding="utf-8", errors="replace")


def sources():
    return files("src/**/*.[ch]", "src/**/*.inc", "include/*.h")


def all_c():
    """Sources in C; .inc is C that is compiled more than once."""
    return files("src/**/*.[ch]", "src/**/*.inc", "include/*.h", "tests/**/*.[ch]", "bench/**/*.[ch]",
                 "examples/**/*.[ch]")


_BLANK = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_of(path, keep_strings=False):
    """The text with comments and the inside of literals blanked, every line where it was."""
    def blank(m):
        s = m[0]
        if s[0] in "\"'":
            return s if keep_strings else s[0] + " " * (len(s) - 2) + s[-1]
        return re.sub(r"[^\n]", " ", s)
    return _BLANK.sub(blank, text_of(path))


def line_at(text, offset):
    return text.count("\n", 0, offset) + 1


def room_of(path):
    parts = name(path).split("/")
    return parts[1] if parts[0] == "src" and len(parts) > 2 else None


class Missing(Exception):
    """What a rule needs is not on this machine: it is skipped, visibly."""


# ---- the rules ------------------------------------------------------------------------------------------------------

def rule_arrows():
    """Includes point down the list of rooms, are written "room/file.h" and exist."""
    include = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', re.M)
    for path in sources():
        text, room = code_of(path, keep_strings=True), room_of(path)
        for m in include.finditer(text):
            where, target = line_at(text, m.start()), m[1]
            if target == "quern.h":
                if room not in (None, "engine", "cli"):
                    yield path, where, f"the public header is for engine and cli, not for {room}"
                continue
            if "/" not in target or not (ROOT / "src" / target).is_file():
                yield path, where, f'"{target}" is no header of a room (write "room/file.h")'
                continue
            other = target.split("/")[0]
            if room is None:
                yield path, where, f'a public header must not include "{target}"'
            elif other == room:
                continue
            elif room not in ROOMS or other not in ROOMS:
                yield path, where, f"room '{room if room not in ROOMS else other}' is not in the list of rooms"
            elif ROOMS.index(other) > ROOMS.index(room):
                yield path, where, f'"{target}" points up: {room} stands below {other}'
            elif {room, other} <= NEIGHBOURS and (room, other) not in SIDEWAYS:
                yield path, where, f'"{target}" points sideways: {room} and {other} do not know each other'
            elif target.endswith("_int.h"):
                yield path, where, f'"{target}" is the inside of {other}'


def rule_headers_alone():
    """Every header compiles by itself."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        raise Missing("no C compiler")

    def one(path):
        warnings = ["-Wall", "-Wextra", "-Wundef", "-Werror", "-Wno-unused-parameter"]
        done = subprocess.run([*compiler.split(), "-std=gnu17", "-D_GNU_SOURCE", *warnings, "-Isrc", "-Iinclude",
                               "-fsyntax-only", "-x", "c", "-"], cwd=ROOT, text=True, stderr=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, input='#include "%s"\n' % name(path).split("/", 1)[1])
        return path, done
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for path, done in pool.map(one, files("src/**/*.h", "include/*.h")):
            if done.returncode != 0:
                first = next((s for s in done.stderr.splitlines() if "error" in s), "does not compile")
                yield path, 1, f"does not compile alone: {first}"


def rule_banned_calls():
    """Calls that are never right, and calls of the outside world that have a door in base/."""
    call = re.compile(r"(?<![\w.>])(\w+)\s*\(")
    for path in all_c():
        text = code_of(path)
        banned = BANNED if name(path).startswith("tests/") else BANNED | BANNED_OUTSIDE_TESTS
        at_doors = name(path).startswith(("src/", "include/")) and room_of(path) != "base"
        for m in call.finditer(text):
            word = m[1]
            if word in banned:
                yield path, line_at(text, m.start()), f"{word}() is banned: {banned[word]}"
            elif at_doors and word in DOORS:
                yield path, line_at(text, m.start()), f"{word}() outside base/: {DOORS[word]}"


def rule_heads():
    """Every file begins with its licence line and, but for data, a comment that says what it is for."""
    for path in all_c():
        text = text_of(path)
        head = text.split("*/", 1)[0]
        lines = head.splitlines()
        if not lines or not lines[0].startswith("/* SPDX-License-Identifier: Apache-2.0"):
            yield path, 1, "the first line is '/* SPDX-License-Identifier: Apache-2.0'"
        elif len(lines) < 2 or not lines[1].startswith(f" * {path.name} - "):
            yield path, 2, f"the second line is ' * {path.name} - what it is for'"
        elif not name(path).startswith("src/"):
            continue
        elif len(lines) < 4:
            yield path, 2, "the head says more: where on the path, which invariant, whose thread and memory"
        elif not re.search(r"\b([Tt]hreads?|[Ww]orkers?)\b", head):
            yield path, 2, "the head does not say which thread may call this"
    for path in files("dev", ".ci/run", "tools/*", "bench/**/*.py", "bench/run", "tests/**/*.py", "examples/**/*.py",
                      "meson.build"):
        if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(text_of(path).splitlines()[:3]):
            yield path, 1, "no SPDX line at the top"


def objects():
    """[(archive member or object, defined, undefined)] of the release build; symbols that are global."""
    build = ROOT / "build"
    archives = sorted(build.glob("libqn_*.a"))
    if not archives or not shutil.which("nm"):
        raise Missing("no release build (./dev build)")
    out = []
    for archive in archives + sorted(build.glob("*.p/*.o")):
        if archive.suffix == ".o" and archive.parent.name.startswith("libqn_"):
            continue
        done = subprocess.run(["nm", "-A", "-g", str(archive)], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        members = {}
        for line in done.stdout.splitlines():
            where, _, rest = line.rpartition(":")
            words = rest.split()
            if len(words) < 2 or words[-1].startswith("__gnu_lto"):
                continue
            defined, undefined = members.setdefault(where, (set(), set()))
            (undefined if words[-2] in "Uw" else defined).add(words[-1])
        out += [(where, d, u) for where, (d, u) in members.items()]
    return out


def rule_symbols():
    """Global symbols of the libraries are qn_..., and somebody outside their file uses each of them."""
    parts = objects()
    tests = set(re.findall(r"\bqn_\w+", "".join(code_of(p) for p in files("tests/**/*.[ch]", "bench/**/*.[ch]"))))
    public = set(re.findall(r"\b(qn_\w+)\s*\(", "".join(code_of(p) for p in files("include/*.h"))))
    used = {}
    for where, _, undefined in parts:
        for symbol in undefined:
            used.setdefault(symbol, set()).add(where)
    for where, defined, _ in parts:
        if "libqn_" not in where:
            continue
        path = member_path(where)
        if path is None:
            continue  # generated, or a file that is gone since the build
        generated_by_sanitizers = re.compile(r"^(_|\.|asan|ubsan|tsan)")
        for symbol in sorted(defined):
            if generated_by_sanitizers.match(symbol):
                continue
            if not symbol.startswith("qn_"):
                yield path, 1, f"'{symbol}' is visible outside its file and does not begin with qn_"
            elif symbol not in used and symbol not in public | tests:
                yield path, 1, f"nobody outside this file uses '{symbol}': make it static, or delete it"


def member_path(where):
    """.../src_base_text.c.o -> src/base/text.c; None where there is no such file."""
    m = re.search(r"[/:]src_([a-z]+)_([^/:]+\.c)\.o$", where)
    path = ROOT / "src" / m[1] / m[2] if m else None
    return path if path and path.is_file() else None


def rule_dead_files():
    """A source that only tests use, or a header that nobody includes, is dead."""
    includes = {}
    for path in all_c():
        for target in re.findall(r'#[ \t]*include[ \t]+"([^"]+)"', text_of(path)):
            includes.setdefault(target.split("/")[-1], set()).add(path)
    for path in files("src/**/*.h"):
        if not includes.get(path.name, set()) - {path}:
            yield path, 1, "nobody includes this header"
    parts = objects()
    public = set(re.findall(r"\b(qn_\w+)\s*\(", "".join(code_of(p) for p in files("include/*.h"))))
    tests = re.compile(r"/[a-z]+_test_[^/]*\.p/|/fuzz_[^/]*\.p/")
    used = {}
    for where, _, undefined in parts:
        if not tests.search(where):
            for symbol in undefined:
                used.setdefault(symbol, set()).add(where)
    for where, defined, _ in parts:
        path = member_path(where) if "libqn_" in where else None
        mine = {s for s in defined if s.startswith("qn_")}
        if path and not any(s in public or used.get(s, set()) - {where} for s in mine):
            yield path, 1, "nothing but tests uses this file"


def rule_names():
    """File names are unique in src and none is a drawer for anything."""
    seen = {}
    for path in sources():
        if path.name in seen:
            yield path, 1, f"there is already a {name(seen[path.name])}"
        seen.setdefault(path.name, path)
    for path in all_c() + files("tools/*", "tests/**/*.py", "bench/**/*.py", "examples/**/*.py"):
        words = re.split(r"[_\-.]", path.stem)
        if BAD_FILE_WORDS & set(words):
            yield path, 1, "a file is named after what it does; this name fits anything"


def rule_columns():
    """Lines fit: 100 columns in C, 120 elsewhere; no tabs, no trailing blanks, one line end at the end."""
    others = files("dev", ".ci/run", "tools/*", "tests/**/*.py", "bench/**/*.py", "bench/run", "examples/**/*.py",
                   "meson.build", "meson_options.txt")
    for path in all_c() + others:
        limit = C_COLUMNS if path.suffix in (".c", ".h", ".inc") else OTHER_COLUMNS
        text = text_of(path)
        for i, line in enumerate(text.split("\n"), 1):
            if len(line) > limit:
                yield path, i, f"{len(line)} columns, {limit} fit"
            if line != line.rstrip():
                yield path, i, "blanks at the end of the line"
            if "\t" in line:
                yield path, i, "a tab"
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            yield path, text.count("\n"), "ends with one line end"


def rule_format():
    """clang-format has nothing to change (./dev lint --write lets it)."""
    tool = shutil.which("clang-format-14")
    if not tool:
        raise Missing("clang-format-14 is not installed")
    listed = [str(p) for p in all_c()]
    done = subprocess.run([tool, "--dry-run", "--ferror-limit=1", *listed], cwd=ROOT, text=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    first = {}
    for m in re.finditer(r"^(\S+?):(\d+):\d+: (?:warning|error): code should be clang-formatted", done.stderr, re.M):
        first.setdefault(m[1], int(m[2]))
    for path, line in first.items():
        yield Path(path), line, "clang-format-14 -i would change this file"


def rule_words():
    """No notes to oneself, no paths of somebody's machine."""
    for path in files("src/**/*", "include/*", "tests/**/*.[ch]", "tests/**/*.py", "tests/**/*.md", "tests/*.txt",
                      "tools/*", "bench/**/*", "examples/**/*", "docs/**/*.md", "*.md", "dev", ".ci/run", "meson*"):
        if path.suffix in (".ubj", ".gz", ".zst", ".png"):
            continue
        for i, line in enumerate(text_of(path).split("\n"), 1):
            for word in BAD_WORDS:
                m = word.search(line)
                if m:
                    yield path, i, f"'{m[0]}' has no place here"


def rule_pages(write=False):
    """Reference pages are what the program prints from its tables."""
    quern = ROOT / "build/quern"
    if not quern.is_file():
        raise Missing("no release build (./dev build)")
    for page, word in PAGES.items():
        done = subprocess.run([str(quern), "reference", word], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        path = ROOT / page
        if done.returncode != 0 or not done.stdout:
            yield path, 1, f"'quern reference {word}' failed: {done.stderr.decode(errors='replace').strip()[:200]}"
            continue
        if write:
            path.write_bytes(done.stdout)
            continue
        there = path.read_bytes() if path.is_file() else b""
        if there != done.stdout:
            mine, new = there.splitlines(), done.stdout.splitlines()
            at = next((i for i, (a, b) in enumerate(zip(mine, new), 1) if a != b), min(len(mine), len(new)) + 1)
            yield path, at, "is not what the tables say (./dev lint --write)"


def option_rows():
    """(path, line, row text) of every row of every option table, and of every QN_..._ROWS of them, in the sources."""
    table = re.compile(r"struct\s+qn_(?:option|key)\s+\w+\[\]\s*=\s*\{|#define\s+QN_\w+_ROWS\(")
    for path in files("src/**/*.[ch]"):
        text, blanked = code_of(path, keep_strings=True), code_of(path)
        for m in table.finditer(blanked):
            end = re.compile(r"(?<!\\)\n").search(blanked, m.end()).start() if m[0][0] == "#" else len(blanked)
            depth, begin, i = 0, 0, m.end()
            while i < end and depth >= 0:
                if blanked[i] == "{":
                    depth += 1
                    begin = i if depth == 1 else begin
                elif blanked[i] == "}":
                    depth -= 1
                    if depth == 0:
                        yield path, line_at(text, begin), text[begin:i + 1]
                i += 1


def rule_options():
    """Every option of a command and every key of the spec has its help, and a test sets it."""
    tests = "".join(text_of(p) for p in files("tests/**/*.[ch]", "tests/**/*.py", "tests/golden/**/cmd", "README.md",
                                              "docs/**/*.md") if name(p) != "docs/commands.md")
    specs = tests + "".join(text_of(p) for p in files("tests/**/*.yaml", "examples/**/*.yaml"))
    for path, line, row in option_rows():
        m = re.search(r'\.name\s*=\s*"([^"]+)"', row) or re.match(r'\{\s*"([^"]+)"', row)
        if not m:
            continue  # the row that ends the table
        if not re.search(r'\.help\s*=\s*("[^"]+"|\w+)', row):
            yield path, line, f"'{m[1]}' has no help"
        if name(path).startswith("src/cli/") and f"--{m[1]}" not in tests:
            yield path, line, f"no test sets '--{m[1]}'"
        has_keys = name(path).startswith(("src/spec/", "src/source/", "src/sink/"))
        if has_keys and not re.search(rf"\b{re.escape(m[1])}[\"']?:", specs):
            yield path, line, f"no test has the key '{m[1]}'"


def rule_scripts():
    """Shell scripts pass shellcheck, Python parses."""
    for path in files("tools/*.py", "tests/**/*.py", "bench/**/*.py", "examples/**/*.py"):
        try:
            ast.parse(text_of(path), str(path))
        except SyntaxError as error:
            yield path, error.lineno or 1, f"no Python: {error.msg}"
    if not shutil.which("shellcheck"):
        raise Missing("shellcheck is not installed")
    scripts = [p for p in files("dev", ".ci/run", "tools/*", "bench/*", "tests/**/*.sh", "examples/**/*.sh")
               if re.match(r"#!.*\b(sh|bash)\b", text_of(p)[:40])]
    done = subprocess.run(["shellcheck", "-f", "gcc", *[name(p) for p in scripts]], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for m in re.finditer(r"^([^:\n]+):(\d+):\d+: (.*)$", done.stdout, re.M):
        yield ROOT / m[1], int(m[2]), m[3]


def rule_links():
    """Links of the documentation lead to files that are there; never to line numbers."""
    link = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
    for path in files("*.md", "docs/**/*.md", "examples/**/*.md", "tests/**/*.md"):
        for i, line in enumerate(text_of(path).split("\n"), 1):
            for m in link.finditer(line):
                target = m[1].split("#")[0]
                if re.match(r"[a-z]+:", m[1]) or not target:
                    continue
                if re.search(r"#L\d", m[1]):
                    yield path, i, f"'{m[1]}' is a line number; link to the file or the function"
                if not (path.parent / target).exists():
                    yield path, i, f"'{target}' is not there"


def rule_tests_by_place():
    """A unit test mirrors a source of its room; a fuzz target has a corpus."""
    for path in files("tests/unit/*/test_*.c"):
        if path.parent.name not in ROOMS:
            yield path, 1, f"there is no room '{path.parent.name}'"
    for path in files("tests/fuzz/fuzz_*.c"):
        corpus = ROOT / "tests/fuzz/corpus" / path.stem[len("fuzz_"):]
        count = len(list(corpus.iterdir())) if corpus.is_dir() else 0
        if count == 0:
            yield path, 1, f"no corpus in {name(corpus)}"
        elif count > 80:
            yield path, 1, f"{count} files in {name(corpus)}: keep the few that differ"


def functions():
    """(lines, branches, function, path) of every function of src, by the brace in column 0."""
    out = []
    branch = re.compile(r"\b(if|for|while|case)\b|&&|\|\||\?")
    for path in files("src/**/*.c"):
        lines = code_of(path).split("\n")
        start = None
        for i, line in enumerate(lines):
            if line == "{" and i and start is None:
                head = i - 1
                while head > 0 and lines[head - 1].strip() and not lines[head - 1].endswith((";", "}")):
                    head -= 1
                declared = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", " ".join(lines[head:i]))
                words = re.search(r"(\w+)\s*\(", declared)
                start = (i, words[1] if words else "?")
            elif line.startswith("}") and start is not None:
                body = lines[start[0]:i + 1]
                out.append((len(body), len(branch.findall("\n".join(body))), start[1], path))
                start = None
    return out


RULES = [
    ("arrows", rule_arrows), ("headers alone", rule_headers_alone), ("banned calls", rule_banned_calls),
    ("heads", rule_heads), ("symbols", rule_symbols), ("dead files", rule_dead_files), ("file names", rule_names),
    ("columns", rule_columns), ("format", rule_format), ("words", rule_words), ("reference pages", rule_pages),
    ("option tables", rule_options), ("scripts", rule_scripts), ("links", rule_links),
    ("tests by place", rule_tests_by_place),
]


def exempt(rule, path, text, used):
    for key in EXEMPT:
        if key[0] == rule and fnmatch.fnmatch(name(path), key[1]) and key[2] in text:
            used.add(key)
            return True
    return False


def main():
    ap = argparse.ArgumentParser(prog="./dev lint", description="the house rules")
    ap.add_argument("--brief", action="store_true", help="findings and counts only")
    ap.add_argument("--write", action="store_true", help="format the sources and regenerate the reference pages")
    args = ap.parse_args()
    if args.write:
        if shutil.which("clang-format-14"):
            subprocess.run(["clang-format-14", "-i", *[str(p) for p in all_c()]], check=False)
        list(rule_pages(write=True))
    passed = failed = 0
    skips, used = [], set()
    for title, rule in RULES:
        findings, seen_missing = [], None
        try:
            findings += [f for f in rule() if not exempt(title, f[0], f[2], used)]
        except Missing as missing:
            seen_missing = missing
        if seen_missing:
            skips.append(f"lint {title}: {seen_missing}")
            print(f"skip: lint {title}: {seen_missing}")
        elif findings:
            failed += 1
            print(f"{title}: {(rule.__doc__ or '').strip().splitlines()[0]}")
            for path, line, text in findings[:40]:
                print(f"  {name(path)}:{line}: {text}")
            if len(findings) > 40:
                print(f"  and {len(findings) - 40} more")
        else:
            passed += 1
    stale = [key for key in EXEMPT if key not in used]
    for key in stale:
        print(f"exemptions: {key} is not needed any more")
    failed, passed = failed + bool(stale), passed + (not stale)
    if not args.brief:
        found = functions()
        print("note: longest functions (lines, branches): people decide")
        for lines, branches, function, path in sorted(found, key=lambda f: (f[0], f[1]), reverse=True)[:10]:
            print(f"note:   {lines:4} {branches:4}  {function} ({name(path)})")
        print("note: most branches")
        for lines, branches, function, path in sorted(found, key=lambda f: (f[1], f[0]), reverse=True)[:10]:
            print(f"note:   {branches:4} {lines:4}  {function} ({name(path)})")
    print(f"{passed} passed, {failed} failed" + (f", {len(skips)} skipped" if skips else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
