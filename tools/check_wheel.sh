#!/bin/sh
# Installs the wheel with the oldest and with the newest dependencies that setup.cfg allows, each into an empty
# environment, and uses it from another directory.
# Usage: check_wheel.sh UV OLDEST_PYTHON NEWEST_PYTHON WHEEL, from the root of the clone; UV is a command.
set -eu
uv=$1 oldest=$2 newest=$3 wheel=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The demo as root runs its pods as other users, who must be able to read the installed package.
chmod 755 "$work"

# A copy, because setuptools leaves files beside what it builds.
cp -R jupyter_research_spawner/client/end_notices "$work"

use() { # PYTHON RESOLUTION
    environment=$work/$2
    $uv venv --quiet --python "$1" "$environment"
    $uv pip compile --quiet --python "$environment" --resolution "$2" --extra demo --extra test setup.cfg \
        -o "$work/$2.txt"
    $uv pip install --quiet --python "$environment" -r "$work/$2.txt" "$wheel"
    # The extension for images that shall have it of their own.
    $uv pip install --quiet --python "$environment" "$work/end_notices"
    # Only the tests: the package itself must come from the environment.
    mkdir "$work/use-$2"
    cp -R tests pyproject.toml "$work/use-$2"
    (
        cd "$work/use-$2"
        PATH=$environment/bin:$PATH
        printf '\nThe wheel with %s and the dependencies of --resolution %s:\n' "$(python -V)" "$2"
        research-spawner --version
        python -m pytest -q -p no:cacheprovider tests/wheel/pages.py
        jupyter labextension list 2>&1 | grep 'research-end-notices v[0-9.]* .*enabled'
        python -m jupyter_research_spawner.demo --tour only
    )
}

use "$oldest" lowest-direct
use "$newest" highest
