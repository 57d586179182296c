# SPDX-License-Identifier: Apache-2.0
"""test_docs.py - README and docs tell the truth: their commands are run, and their outputs compared.

Fenced blocks of a page run in order, in one folder of their own:

    ```yaml FILE      (any language) the block is written to FILE
    ```sh             runs with `sh -eu`; `quern` is on the PATH, a copy of examples/ is at hand
    ```text           right behind an sh block: its standard output and standard error must be exactly this; a line that
                      is "..." stands for any number of lines, and "..." inside a line for any text
    ```console        not run here, because it takes long or does not end: ./dev and quern commands that exist, with
                      options that their --help knows; git clone; cd; tools of a virtual environment
"""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(os.environ["QUERN_ROOT"])
BUILD = Path(os.environ["QUERN_BUILD"])
PAGES = [p for p in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("examples/*/*.md"))]
         if "```" in p.read_text(encoding="utf-8")]
FENCE = re.compile(r"^```(\S*)[ ]*([^\n]*)\n(.*?)^```$", re.M | re.S)


def blocks_of(page):
    """[(language, argument, text, line)] of a page's fenced blocks."""
    text = page.read_text(encoding="utf-8")
    return [(m[1], m[2].strip(), m[3], text.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(text)]


def matches(expected, got):
    """Equal, but for what "..." leaves open."""
    parts = []
    for line in expected.splitlines():
        if line.strip() == "...":
            parts.append(r"(?:[^\n]*\n)*")
        else:
            parts.append(re.escape(line).replace(re.escape("..."), r"[^\n]*") + r"\n")
    return re.fullmatch("".join(parts), got if got.endswith("\n") or not got else got + "\n") is not None


def run(script, folder):
    env = dict(os.environ, PATH=f"{BUILD}{os.pathsep}{os.environ['PATH']}", NO_COLOR="1", LC_ALL="C.UTF-8")
    return subprocess.run(["sh", "-eu", "-c", script], cwd=folder, env=env, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)


def check_console(page, line, text):
    known = set(re.findall(r"^#   \./dev (\w+)", (ROOT / "dev").read_text(encoding="utf-8"), re.M))
    for command in filter(None, (s.split("#")[0].strip() for s in text.splitlines())):
        words = command.split()
        where = f"{page.name}:{line}: '{command}'"
        if words[0] == "./dev":
            assert words[1] in known, f"{where}: no such command"
        elif words[0] == "quern":
            told = subprocess.run([str(BUILD / "quern"), words[1], "--help"], text=True, stdout=subprocess.PIPE)
            assert told.returncode == 0, f"{where}: no such command"
            for option in (w.split("=")[0] for w in words[2:] if w.startswith("--")):
                assert re.search(rf"{option}\b", told.stdout), f"{where}: no option {option}"
        else:
            assert words[:2] == ["git", "clone"] or words[0] in ("cd", "python3") or "venv/bin/" in words[0], \
                f"{where} is not run by any test; use an sh block"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_commands_of_the_page(page, tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = None
    for language, argument, text, line in blocks_of(page):
        if language == "text" and done is not None:
            assert matches(text, done.stdout), f"{page.name}:{line}: expected\n{text}\ngot\n{done.stdout}"
        elif language == "console":
            check_console(page, line, text)
        elif argument:
            assert re.fullmatch(r"[\w.-]+", argument), f"{page.name}:{line}: '{argument}' is no plain file name"
            (tmp_path / argument).write_text(text, encoding="utf-8")
        if language == "sh":
            done = run(text, tmp_path)
            assert done.returncode == 0, f"{page.name}:{line}: exit {done.returncode}\n{text}\n{done.stdout}"
        elif language == "text":
            done = None


def test_the_matcher_can_fail():
    assert matches("a\n...\nb ... c\n", "a\n1\n2\nb xyz c\n")
    assert matches("a\n", "a\n")
    assert not matches("a\n", "b\n")
    assert not matches("a ... c\n", "a b d\n")
    assert not matches("a\n", "a\nb\n")
