#!/bin/sh
# Says in one sentence what is missing on this machine, with the command that installs it.  PYTHON is what make was given.
set -eu

missing() {
    echo "$1 Install it: $2" >&2
    exit 1
}

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo "
python=${PYTHON:-python3}

[ "$(uname -s)" = Linux ] || {
    echo "The embedded cluster runs pods as Linux processes, and this is $(uname -s): use a Linux machine, a container or a virtual machine." >&2
    exit 1
}
command -v "$python" >/dev/null 2>&1 ||
    missing "There is no $python." "${as_root}apt-get install python3 python3-venv"
"$python" -c '' 2>/dev/null ||
    missing "$python is there but does not run (a version manager's shim, perhaps)." \
        "${as_root}apt-get install python3 python3-venv, then: make $* PYTHON=/usr/bin/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    missing "$python is $("$python" -c 'import platform; print(platform.python_version())'), and Python 3.10 or newer is needed." \
        "a newer one beside it, then: make $* PYTHON=python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    missing "$python cannot make virtual environments." \
        "${as_root}apt-get install python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
