#!/bin/sh
# Installs the npm package that NAME stands for below ROOT/node_modules.  Begins anew after an interruption.
# Usage: npm_package.sh NAME ROOT NODE; NODE is the directory of the program `node`.
set -eu
case $1 in
    # The hub's proxy.
    proxy) directory=$2 package=configurable-http-proxy@5.3.0 ;;
    # Rules of accessibility, for the tests.  In a directory of its own, because npm removes packages that it does not
    # know, and the demo does not need this one.
    axe) directory=$2/node_modules/.axe package=axe-core@4.14.1 ;;
    *) echo "There is no package $1" >&2 && exit 2 ;;
esac
# This npm would not read the machine's settings on its own.
if [ -z "${npm_config_globalconfig:-}" ] && [ -e /etc/npmrc ]; then
    export npm_config_globalconfig=/etc/npmrc
fi
rm -rf "$directory/node_modules"
mkdir -p "$directory"
# The wheel replaces the symbolic link bin/npm by a copy, which does not find its own files.
"$3/node" "$3/../lib/node_modules/npm/bin/npm-cli.js" install --loglevel=error --no-audit --no-fund --no-update-notifier --no-save \
    --prefix "$directory" "$package" >/dev/null
