#!/bin/sh
# Does what Binder does with binder/, in an empty environment and a clone of its own, and executes the notebook.
# Usage: check_binder.sh UV PYTHON, from the root of the clone; UV is a command.
set -eu
uv=$1 python=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/clone"
git ls-files -z | tar -c --null -T - | tar -x -C "$work/clone"
$uv venv --quiet --seed --python "$python" "$work/environment"
cd "$work/clone"
export PATH="$work/environment/bin:$PATH" JUPYTER_PLATFORM_DIRS=1
python3 -m pip install --quiet --no-cache-dir -c requirements.lock -r binder/requirements.txt
binder/postBuild
binder/start jupyter execute --timeout=300 binder/demo.ipynb
