#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# find.sh FOLDER PATTERN: the files of a folder by name, sorted, one a line; for meson.build. Run from the source root.
cd "${MESON_SOURCE_ROOT:-.}" || exit 1
[ -d "$1" ] || exit 0
find "$1" -name "$2" -type f | LC_ALL=C sort
