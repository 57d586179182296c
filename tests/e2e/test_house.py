# SPDX-License-Identifier: Apache-2.0
"""test_house.py - the front door and the guards of the house: each lint rule can fail, and so can the golden runner.

A rule that never finds anything is no rule: every one is shown a small house that breaks it, and one that does not.
"""
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(os.environ["QUERN_ROOT"])
HEAD = "/* SPDX-License-Identifier: Apache-2.0\n * {} - an example.\n *\n * Thread: any. */\n"


@pytest.fixture
def house(tmp_path):
    """A copy of the rules that looks at an empty house; .add(path, text) puts a file into it."""
    spec = importlib.util.spec_from_file_location("tidy_of_test", ROOT / "tools/tidy.py")
    tidy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tidy)
    tidy.ROOT = tmp_path

    def add(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
        return tidy
    tidy.add = add
    return tidy


def found(rule):
    return [text for _, _, text in rule()]


@pytest.mark.parametrize("source, include, word", [
    ("src/base/a.c", "event/b.h", "points up"),
    ("src/model/a.c", "feature/b.h", "points up|points sideways"),
    ("src/feature/a.c", "model/b.h", "points up|points sideways"),
    ("src/sink/a.c", "score/b.h", "points sideways"),
    ("src/engine/a.c", "spec/b_int.h", "is the inside"),
    ("src/engine/a.c", "b.h", "no header of a room"),
    ("src/attic/a.c", "base/b.h", "not in the list"),
    ("src/cli/a.c", "base/gone.h", "no header of a room"),
])
def test_arrows_that_are_refused(house, source, include, word):
    if include != "base/gone.h":
        house.add(f"src/{include}", "")
    house.add("src/base/b.h", "")
    house.add(source, f'#include "{include}"\n')
    assert any(w in t for t in found(house.rule_arrows) for w in word.split("|")), found(house.rule_arrows)


@pytest.mark.parametrize("source, include", [
    ("src/score/a.c", "model/b.h"), ("src/feature/a.c", "state/b.h"), ("src/engine/a.c", "score/b.h"),
    ("src/spec/a.c", "spec/b_int.h"), ("src/cli/a.c", "engine/b.h"), ("src/source/a.c", "log/b.h"),
])
def test_arrows_that_are_right(house, source, include):
    house.add(f"src/{include}", "")
    house.add(source, f'#include "{include}"\n/* #include "cli/none.h" */\n')
    assert found(house.rule_arrows) == []


def test_headers_alone(house):
    house.add("src/base/good.h", "#include <stddef.h>\nsize_t qn_size(void);\n")
    assert found(house.rule_headers_alone) == []
    house.add("src/base/leaning.h", "size_t qn_size(void);\n")
    assert len(found(house.rule_headers_alone)) == 1


def test_banned_calls(house):
    house.add("src/event/fine.c",
              '/* strcpy( */ const char *a = "malloc(";\nvoid qn_x(void) { qn_free(a); p->free(p); }\n')
    house.add("src/base/door.c", "void *qn_mem(void) { return malloc(1); }\n")
    house.add("tests/unit/base/test_a.c", "void t(void) { strcpy(a, malloc(1)); }\n")
    assert found(house.rule_banned_calls) == []
    house.add("src/event/wrong.c", "void qn_y(void) { strcpy(a, b); free(a); }\n")
    house.add("tests/unit/base/test_b.c", "void t(void) { system(a); }\n")
    assert len(found(house.rule_banned_calls)) == 3


def test_heads(house):
    house.add("src/base/good.c", HEAD.format("good.c"))
    assert found(house.rule_heads) == []
    house.add("src/base/nameless.c", HEAD.format("other.c"))
    house.add("src/base/bare.c", "int x;\n")
    house.add("src/base/careless.c", HEAD.format("careless.c").replace("Thread: any", "Memory: none"))
    assert len(found(house.rule_heads)) == 3


def test_names_columns_words(house):
    house.add("src/base/text.c", "int x; /* see lib/work/shop */\n")
    for rule in (house.rule_names, house.rule_columns, house.rule_words):
        assert found(rule) == []
    house.add("src/event/text.c", "int y;\n")
    house.add("src/base/string_utils.c", "int z;  \n" + "/" * 101 + "\n")
    house.add("docs/a.md", "look in " + "/wo" + "rk/there, " + "TO" + "DO\n")
    assert len(found(house.rule_names)) == 2
    assert len(found(house.rule_columns)) == 2
    assert len(found(house.rule_words)) >= 1


def test_option_tables(house):
    row = '    {{.name = "{0}", .type = QN_OPT_FLAG{1}}},\n'
    table = "static const struct qn_option options[] = {\n%s    {.name = NULL},\n};\n"
    house.add("tests/golden/a/b/cmd", "pipe spec.yaml --known\n")
    house.add("src/cli/cmd_a.c", table % row.format("known", ', .help = "it is known"'))
    assert found(house.rule_options) == []
    house.add("src/cli/cmd_a.c", table % (row.format("known", "") + row.format("unset", ', .help = "nobody sets it"')))
    assert sorted(found(house.rule_options)) == ["'known' has no help", "no test sets '--unset'"]


def test_links(house):
    house.add("docs/a.md", "[b](b.md) [web](https://example.org) [here](#part)\n")
    house.add("docs/b.md", "[a](a.md#part)\n")
    assert found(house.rule_links) == []
    house.add("docs/c.md", "[gone](gone.md) [line](a.md#L12)\n")
    assert len(found(house.rule_links)) == 2


def test_fuzz_targets_have_a_corpus(house):
    house.add("tests/fuzz/fuzz_a.c", "")
    assert len(found(house.rule_tests_by_place)) == 1
    house.add("tests/fuzz/corpus/a/one", "x")
    assert found(house.rule_tests_by_place) == []


def golden(tmp_path, script, *arguments):
    """Runs the golden runner on a house of its own with a script in quern's place."""
    runner = tmp_path / "tests/golden/run.py"
    runner.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "tests/golden/run.py", runner)
    program = tmp_path / "quern"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    done = subprocess.run([sys.executable, str(runner), "--quern", str(program), *arguments], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def test_golden_runner(tmp_path):
    case = tmp_path / "tests/golden/topic/one"
    case.mkdir(parents=True)
    (case / "cmd").write_text("pipe spec.yaml --dead dead.ndjson\n")
    (case / "in").write_text("hello\n")
    says = 'cat; echo dead > "$4"; echo words >&2; exit 3'
    assert golden(tmp_path, says)[0] == 1, "nothing is expected yet"
    assert golden(tmp_path, says, "--update")[0] == 0
    assert {p.relative_to(case).as_posix(): p.read_text() for p in case.rglob("*") if p.is_file()} == {
        "cmd": "pipe spec.yaml --dead dead.ndjson\n", "in": "hello\n", "out": "hello\n", "err": "words\n",
        "code": "3\n", "expect/dead.ndjson": "dead\n"}
    assert golden(tmp_path, says) == (0, "1 passed, 0 failed\n")
    for other in (says.replace("cat", "echo x"), says.replace("dead >", "alive >"), says.replace("words", "word"),
                  says.replace("3", "2"), says + "; touch more", says.replace('> "$4"', "")):
        code, text = golden(tmp_path, "true\n" + other.replace("; touch more", "").replace("cat", "touch more; cat")
                            if "touch more" in other else other)
        assert code == 1 and text.endswith("0 passed, 1 failed\n"), other
    code, text = golden(tmp_path, 'echo "$6"; ' + says)
    assert code == 1 and "--threads 2 differs" in text


def test_front_door_says_what_it_knows():
    done = subprocess.run([str(ROOT / "dev"), "help"], text=True, stdout=subprocess.PIPE, cwd="/")
    assert done.returncode == 0
    for command in ("demo", "check", "build", "bench", "fuzz", "lint", "help"):
        assert f"./dev {command}" in done.stdout
    done = subprocess.run([str(ROOT / "dev"), "chekc"], text=True, stderr=subprocess.PIPE)
    assert done.returncode == 2 and "unknown command 'chekc'" in done.stderr


def test_front_door_names_what_is_missing(tmp_path):
    """Neither root nor sudo, no compiler: the exact command is printed and nothing is tried."""
    for tool in ("sh", "sed", "find", "sort", "cat", "dirname", "getconf", "mktemp", "rm", "python3"):
        where = shutil.which(tool)
        if where:
            (tmp_path / tool).symlink_to(where)
    for name, text in (("id", "echo 1000"), ("apt-get", "exit 1"), ("sudo", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(["sh", str(ROOT / "dev"), "build"], text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                          env={"PATH": str(tmp_path)})
    assert done.returncode == 2, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("    sudo apt-get update && sudo apt-get install -y gcc "), done.stderr
    for package in ("meson", "ninja-build", "pkg-config", "libyaml-dev", "libzstd-dev", "libxxhash-dev", "zlib1g-dev"):
        assert f" {package}" in line
