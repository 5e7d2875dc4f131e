# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the tests of both servers share: how a server starts, answers and ends.
set -euo pipefail

work=$(mktemp -d)
server=
trap 'kill -KILL $server $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# start COMMAND...: sets `server` and `url`
start() {
    : >"$work/out"
    "$@" >"$work/out" 2>"$work/err" &
    server=$!
    for _ in $(seq 2000); do
        url=$(sed -n 's/^listening on //p' "$work/out")
        [ -z "$url" ] || return 0
        sleep 0.05
    done
    fail "the server did not start: $(cat "$work/err")"
}

# stop SIGNAL: the server ends by itself, with 0 and nothing on its standard error
stop() {
    local status=0
    kill -"$1" "$server"
    wait "$server" || status=$?
    server=
    [ $status = 0 ] || fail "exit status $status after SIG$1: $(cat "$work/err")"
    [ ! -s "$work/err" ] || fail "on standard error: $(cat "$work/err")"
}

# get CURL-OPTION...: prints the status, leaves the body in $work/body
get() {
    curl --silent --max-time 600 --output "$work/body" --write-out '%{http_code}' "$@" || true
}

# expect STATUS CURL-OPTION...
expect() {
    local wanted=$1 status
    shift
    status=$(get "$@")
    [ "$status" = "$wanted" ] || fail "$* answered $status, not $wanted"
}
