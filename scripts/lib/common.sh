# shellcheck shell=bash disable=SC2034
# Shared by the scripts beside this directory: sourced by bash, from anywhere below or outside of the checkout.

# Debian's interpreter, with the modules that Debian's packages bring: another python3 may come first in PATH.
PYTHON=/usr/bin/python3
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONDONTWRITEBYTECODE=1

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# How many jobs make may run: the processors there are.
jobs_of_make() {
    nproc 2>/dev/null || say 2
}

# Runs a command quietly: its output is shown only where it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -ne 0 ]; then
        tail -n 60 "$log" >&2
    fi
    rm -f "$log"
    return "$status"
}
