#!/bin/sh
# Installs configurable-http-proxy below $1, in the newest version that the Node.js found can run (its engines.node).
set -eu
major=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
if [ "$major" -ge 20 ]; then
    version=5.3.0
elif [ "$major" -ge 18 ]; then
    version=5.0.1
else
    version=4.6.3
fi
npm install --silent --no-audit --no-fund --no-save --prefix "$1" "configurable-http-proxy@$version"
