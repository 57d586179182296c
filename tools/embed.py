#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed.py OUT.c FILE...: writes a C file that holds the bytes of the files, listed as src/cli/embedded.h says.

A file is known by its last two path parts ("card-fraud/card-fraud.yaml"). Run by meson.build.
"""

import os
import sys


def literal(data):
    """The bytes as one C array initialiser, 24 numbers a line."""
    lines = [data[i : i + 24] for i in range(0, len(data), 24)]
    return ",\n".join("    " + ",".join(str(b) for b in line) for line in lines)


def main():
    out, paths = sys.argv[1], sys.argv[2:]
    with open(out, "w", encoding="ascii") as f:
        f.write('/* Made by tools/embed.py; do not edit. */\n#include "cli/embedded.h"\n\n')
        names = []
        for i, path in enumerate(paths):
            with open(path, "rb") as g:
                data = g.read()
            if not data:
                sys.exit(f"{path}: empty")
            name = "/".join(os.path.abspath(path).split(os.sep)[-2:])
            names.append((name, len(data)))
            f.write(f"/* {name} */\nstatic const unsigned char file_{i}[] = {{\n{literal(data)}}};\n\n")
        f.write("const struct qn_embedded_file qn_embedded_files[] = {\n")
        for i, (name, size) in enumerate(names):
            f.write(f'    {{"{name}", file_{i}, {size}}},\n')
        f.write("    {0, 0, 0},\n};\n")


if __name__ == "__main__":
    main()
