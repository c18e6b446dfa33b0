#!/usr/bin/env bash
# Runs Java and ends it when the driver that started it ends in any way; otherwise Beam leaves its job server behind.
set -euo pipefail
if command -v setpriv >/dev/null; then
    exec setpriv --pdeathsig KILL java "$@"
fi
exec java "$@"
