#!/bin/sh
# Creates the virtual environment DIRECTORY and installs each REQUIREMENT with the versions in LOCK.
# Usage: environment.sh UV PYTHON DIRECTORY LOCK REQUIREMENT...; UV is a command.  The caller makes a *.stamp afterwards.
set -eu
uv=$1 python=$2 directory=$3 lock=$4
shift 4

# An environment without a stamp is unfinished: an installation was interrupted, perhaps in the middle of a package.
# The stamps go first, so that this also holds if this installation is interrupted.
if ls "$directory"/*.stamp >/dev/null 2>&1; then
    rm -f "$directory"/*.stamp
else
    $uv venv --quiet --clear --python "$("$python" -c 'import sys; print(sys.executable)')" "$directory"
fi
$uv pip install --quiet --python "$directory" -c "$lock" "$@"
