#!/bin/sh
# Builds the images of containers/ with buildah, on bases that are made here with debootstrap, and runs each as the users
# that the cluster gives it.  As root, on Debian, with the packages buildah and debootstrap.  dist/ has the wheel.
# Usage: check_images.sh PYTHON, from the root of the clone.
set -eu
python=$1
work=$(mktemp -d)
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
store() { buildah --root "$work/storage" --runroot "$work/run" "$@"; }
trap 'rm -rf "$work"' EXIT

# pip finds packages in the images as it does here.
"$python" - >"$work/pip.conf" <<'END'
import ast, subprocess, sys

found = {}
for line in subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True).splitlines():
    name, _, value = line.partition("=")
    found[name.rpartition(".")[2]] = ast.literal_eval(value)
print("[global]", *(f"{option} = {value}" for option, value in found.items()), sep="\n")
END
set -- --volume /etc/ssl/certs:/etc/ssl/certs:ro --volume "$work/pip.conf:/etc/pip.conf:ro"
for directory in $(sed -n 's/^find-links = //p' "$work/pip.conf"); do
    [ ! -d "$directory" ] || set -- "$@" --volume "$directory:$directory:ro"
done
build() { # IMAGE FILE ARGUMENT=VALUE...
    image=$1 file=$2
    shift 2
    store build --quiet "$@" --tag "localhost/$image" --file "$file" . >"$work/$image.log" 2>&1 || {
        cat "$work/$image.log" >&2
        return 1
    }
}
use() { # IMAGE UID COMMAND
    container=$(store from "localhost/$1")
    printf '%s as uid %s: ' "$1" "$2"
    store run --user "$2:$2" "$container" -- sh -euc "cd /tmp; export HOME=/tmp; $3"
    store rm "$container" >"$work/rm.log"
}

debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
    "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$work/debian" >"$work/debootstrap.log"
rm -f "$work"/debian/usr/lib/python3*/EXTERNALLY-MANAGED
container=$(store from scratch)
tar -C "$work/debian" -cf "$work/debian.tar" .
store add --quiet "$container" "$work/debian.tar" / >"$work/add.log"
store commit --quiet "$container" localhost/python >"$work/commit.log"

# As Zero to JupyterHub 4.4.0 has it: the hub in the system's Python, with KubeSpawner 7.0, which the image replaces.
cat >"$work/hub.Containerfile" <<'END'
FROM localhost/python
COPY requirements-hub5.lock /tmp/
RUN sed -i /^jupyterhub-kubespawner==/d /tmp/requirements-hub5.lock \
    && python3 -m pip install --no-cache-dir --constraint /tmp/requirements-hub5.lock jupyterhub jupyterhub-kubespawner==7.0.0
END
build k8s-hub "$work/hub.Containerfile" "$@"
build research-hub containers/hub.Containerfile "$@" --build-arg HUB_IMAGE=localhost/k8s-hub
build research-batch containers/batch.Containerfile "$@" --build-arg PYTHON_IMAGE=localhost/python
build research-notebook containers/notebook.Containerfile "$@" --build-arg PYTHON_IMAGE=localhost/python

use research-hub 1000 'research-spawner --version; jupyterhub --version; python3 -c "import jupyter_research_spawner"'
use research-batch 1000 'research-spawner --version; python3 -m jupyter_research_spawner.batch --help >/dev/null'
use research-notebook 30001 'jupyterhub-singleuser --version; jupyter labextension list 2>&1 | grep "research-end-notices v[0-9.]* .*enabled"'
for image in research-hub research-batch research-notebook; do
    user=$(store inspect --type image --format '{{.OCIv1.Config.User}}' "localhost/$image")
    case $user in
        "" | 0 | root) echo "$image runs as ${user:-root} where a pod sets no user" >&2 && exit 1 ;;
    esac
done
