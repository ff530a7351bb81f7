#!/bin/sh
# Builds the sdist from the tracked files, and the wheel from the sdist, and checks both: their files are those of the
# package, and twine can publish them.
# Usage: build_distributions.sh UV PYTHON DIRECTORY, from the root of the clone; UV is a command.  PYTHON has twine.
set -eu
uv=$1 python=$2 directory=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# From the tracked files alone: an old *.egg-info/SOURCES.txt would add files that a clone does not ship.
git ls-files -z | tar -c --null -T - | tar -x -C "$work"
rm -rf "$directory"
$uv build --quiet --out-dir "$directory" "$work"
"$python" tools/compare_distributions.py "$directory"
"$python" -m twine check --strict "$directory"/*.whl "$directory"/*.tar.gz
