#!/usr/bin/env bash
# CPU a message of loadgen, fastgen and smtp-source against the same receiver (ringmx, sink discard), alternating in one
# run: medians and ratios; and how busy the receiver's shard is meanwhile. Usage: generator_cost.sh [RUNS [MESSAGES]].
# FASTGEN names the source of fastgen.c, BEFORE another loadgen to compare with; what is not there is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${1:-5} messages=${2:-100000} port=2926
bin=${CARGO_TARGET_DIR:-target}/release
folder=$(mktemp -d)
before=${BEFORE:-} fastgen='' source=''
if [ -n "${FASTGEN:-}" ]; then
  fastgen=$folder/fastgen
  gcc -O2 -o "$fastgen" "$FASTGEN"
fi
if command -v smtp-source >/dev/null; then source=smtp-source; fi
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
# Nanoseconds that the receiver's shard has run.
shard=$(dirname "$(grep -lx shard-0 /proc/$receiver/task/*/comm)")
ran() { cut -d' ' -f1 "$shard/schedstat"; }
# User and system time of the command, in microseconds a message.
cost() {
  local name=$1
  shift
  TIMEFORMAT='%U %S %R'
  local before
  before=$(ran)
  { time taskset -c 1 "$@" >/dev/null 2>&1; } 2>"$folder/time"
  awk -v n="$messages" -v ran="$(($(ran) - before))" '{
    print ($1 + $2) * 1e6 / n, $1 * 1e6 / n, $2 * 1e6 / n, ran / $3 / 1e7
  }' "$folder/time" >>"$folder/$name.cost"
}
target=127.0.0.1:$port
common=("$target" --connections 50 --messages "$messages" --cpus 1)
for _ in $(seq "$runs"); do
  cost loadgen "$bin/loadgen" "${common[@]}"
  [ -z "$before" ] || cost before "$before" "${common[@]}"
  [ -z "$fastgen" ] || cost fastgen "$fastgen" -s 50 -m "$messages" -l 4096 -d "$target"
  [ -z "$source" ] || cost smtp-source "$source" -s 50 -m "$messages" -l 4096 -d -f a@x.test -t b@y.test "$target"
  cost loadgen-pipelining "$bin/loadgen" "${common[@]}" --pipelining
  [ -z "$before" ] || cost before-pipelining "$before" "${common[@]}" --pipelining
  [ -z "$fastgen" ] || cost fastgen-pipelining "$fastgen" -s 50 -m "$messages" -l 4096 -d -P "$target"
done
median() { cut -d' ' -f"${2:-1}" "$folder/$1.cost" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
for name in loadgen before fastgen smtp-source loadgen-pipelining before-pipelining fastgen-pipelining; do
  [ -e "$folder/$name.cost" ] || continue
  printf '%-20s %5.2f µs of CPU a message (user %.2f, system %.2f), receiver %.0f %% busy; medians of %s\n' \
    "$name" "$(median $name)" "$(median $name 2)" "$(median $name 3)" "$(median $name 4)" "$runs"
done
ratio() {
  [ -e "$folder/$2.cost" ] || return 0
  awk -v a="$(median "$1")" -v b="$(median "$2")" -v n="$1 / $2" 'BEGIN { printf "%-40s %.3f\n", n, a / b }'
}
ratio loadgen before
ratio loadgen smtp-source
ratio loadgen fastgen
ratio loadgen-pipelining before-pipelining
ratio loadgen-pipelining fastgen-pipelining
