#!/bin/sh
# Installs configurable-http-proxy into $1/node_modules, with the Node.js in folder $2.  Begins anew after an interruption.
set -eu
# This npm would not read the machine's settings on its own.
if [ -z "${npm_config_globalconfig:-}" ] && [ -e /etc/npmrc ]; then
    export npm_config_globalconfig=/etc/npmrc
fi
rm -rf "$1/node_modules"
# The wheel replaces the symbolic link bin/npm by a copy, which does not find its own files.
"$2/node" "$2/../lib/node_modules/npm/bin/npm-cli.js" install --loglevel=error --no-audit --no-fund --no-save --prefix "$1" \
    configurable-http-proxy@5.3.0 >/dev/null
