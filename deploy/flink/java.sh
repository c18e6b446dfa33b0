#!/usr/bin/env bash
# Java that ends with the driver that started it, however the driver ends: Beam leaves its job server behind otherwise.
set -euo pipefail
if command -v setpriv >/dev/null; then
    exec setpriv --pdeathsig KILL java "$@"
fi
exec java "$@"
