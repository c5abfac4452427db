#!/usr/bin/env bash
# CPU a message of loadgen, fastgen and smtp-source against the same receiver (ringmx, sink discard), alternating in one run:
# medians and ratios. Usage: generator_cost.sh [RUNS [MESSAGES]]; FASTGEN names the source of fastgen.c.
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${1:-5} messages=${2:-40000} port=2926
bin=${CARGO_TARGET_DIR:-target}/release
folder=$(mktemp -d)
gcc -O2 -o "$folder/fastgen" "${FASTGEN:-/work/shared/limit/fastgen.c}"
cat >"$folder/ringmx.toml" <<TOML
hostname = "mx1.example.org"
domains = ["*.test"]
[[listener]]
address = "127.0.0.1:$port"
[[sink]]
kind = "discard"
[shards]
cpus = [0]
TOML
"$bin/ringmx" serve --config "$folder/ringmx.toml" >"$folder/log" 2>&1 &
receiver=$!
trap 'kill $receiver; rm -r "$folder"' EXIT
sleep 1
# User and system time of the command, in microseconds a message.
cost() {
  local name=$1
  shift
  TIMEFORMAT='%U %S'
  { time taskset -c 1 "$@" >/dev/null 2>&1; } 2>"$folder/time"
  awk -v n="$messages" '{ printf "%.2f\n", ($1 + $2) * 1e6 / n }' "$folder/time" >>"$folder/$name.cost"
}
for _ in $(seq "$runs"); do
  cost loadgen "$bin/loadgen" "127.0.0.1:$port" --connections 50 --messages "$messages" --cpus 1
  cost fastgen "$folder/fastgen" -s 50 -m "$messages" -l 4096 -d "127.0.0.1:$port"
  cost smtp-source smtp-source -s 50 -m "$messages" -l 4096 -d -f a@x.test -t b@y.test "127.0.0.1:$port"
  cost loadgen-pipelining "$bin/loadgen" "127.0.0.1:$port" --connections 50 --messages "$messages" --cpus 1 --pipelining
  cost fastgen-pipelining "$folder/fastgen" -s 50 -m "$messages" -l 4096 -d -P "127.0.0.1:$port"
done
median() { sort -n "$folder/$1.cost" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
for name in loadgen fastgen smtp-source loadgen-pipelining fastgen-pipelining; do
  printf '%-20s %s µs of CPU a message, median of %s\n' "$name" "$(median $name)" "$runs"
done
ratio() { awk -v a="$(median "$1")" -v b="$(median "$2")" -v n="$1 / $2" 'BEGIN { printf "%-40s %.2f\n", n, a / b }'; }
ratio loadgen smtp-source
ratio loadgen fastgen
ratio loadgen-pipelining fastgen-pipelining
