#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed.py [--assets] OUT.c FILE...: writes a C file that holds the bytes of the files. Run by meson.build.

Listed as src/cli/embedded.h says: a file is known by its last two path parts ("card-fraud/card-fraud.yaml"). With
--assets as src/serve/asset.h says: by its name, with media type, ETag and, where that is smaller, gzip.
"""

import gzip
import hashlib
import os
import sys

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".json": "application/json",
         ".png": "image/png", ".ico": "image/x-icon", ".LICENSE": "text/plain; charset=utf-8"}


def literal(data):
    """The bytes as one C array initialiser, 24 numbers a line."""
    lines = [data[i : i + 24] for i in range(0, len(data), 24)]
    return ",\n".join("    " + ",".join(str(b) for b in line) for line in lines)


def read(path):
    with open(path, "rb") as f:
        data = f.read()
    if not data:
        sys.exit(f"{path}: empty")
    return data


def write_embedded(f, paths):
    f.write('#include "cli/embedded.h"\n\n')
    names = []
    for i, path in enumerate(paths):
        data = read(path)
        name = "/".join(os.path.abspath(path).split(os.sep)[-2:])
        names.append((name, len(data)))
        f.write(f"/* {name} */\nstatic const unsigned char file_{i}[] = {{\n{literal(data)}}};\n\n")
    f.write("const struct qn_embedded_file qn_embedded_files[] = {\n")
    for i, (name, size) in enumerate(names):
        f.write(f'    {{"{name}", file_{i}, {size}}},\n')
    f.write("    {0, 0, 0},\n};\n")


def write_assets(f, paths):
    f.write('#include "serve/asset.h"\n\n')
    rows = []
    for i, path in enumerate(paths):
        data, name = read(path), os.path.basename(path)
        kind = TYPES.get(os.path.splitext(name)[1])
        if kind is None:
            sys.exit(f"{path}: an ending whose media type tools/embed.py does not know")
        packed = gzip.compress(data, 9, mtime=0)
        is_smaller = len(packed) < len(data)
        f.write(f"/* {name} */\nstatic const unsigned char file_{i}[] = {{\n{literal(data)}}};\n")
        if is_smaller:
            f.write(f"static const unsigned char gzip_{i}[] = {{\n{literal(packed)}}};\n")
        etag = '\\"' + hashlib.sha256(data).hexdigest()[:16] + '\\"'
        rows.append(f'    {{"{name}", "{kind}", "{etag}", file_{i}, {f"gzip_{i}" if is_smaller else 0}, '
                    f'{len(data)}, {len(packed) if is_smaller else 0}}},\n')
    f.write("\nconst struct qn_asset qn_assets[] = {\n" + "".join(rows) + "    {0, 0, 0, 0, 0, 0, 0},\n};\n")


def main():
    is_assets = sys.argv[1] == "--assets"
    out, *paths = sys.argv[2 if is_assets else 1:]
    with open(out, "w", encoding="ascii") as f:
        f.write("/* Made by tools/embed.py; do not edit. */\n")
        (write_assets if is_assets else write_embedded)(f, paths)


if __name__ == "__main__":
    main()
