#!/usr/bin/env bash
# The README's first two commands, as a new user runs them: the receiver without configuration, then loadgen against it.
# Needs a release build; uses 127.0.0.1:2525.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
bin=${CARGO_TARGET_DIR:-$root/target}/release
folder=$(mktemp -d)
cd "$folder"
"$bin/ringmx" 2>log &
receiver=$!
trap 'kill $receiver 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 100); do grep -q ' ready' log && break; sleep 0.1; done
grep -q ' ready' log || { cat log; exit 1; }
"$bin/loadgen" 127.0.0.1:2525 --messages 500
count=$(ls ringmx-data/new | wc -l)
[ "$count" = 500 ] || { echo "500 messages were accepted, $count are stored"; exit 1; }
kill -TERM $receiver
wait $receiver
echo "500 messages accepted and stored"
