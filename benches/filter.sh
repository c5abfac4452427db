#!/usr/bin/env bash
# What asking a content filter costs a receiver: the hook itself, beside a filter that answers at once.
#
#   benches/filter.sh [ROUNDS] [MESSAGES]          by default 5 rounds of 100,000 messages of 4 KiB
#
# In turn, each round: no filter; one that answers at once over TCP (rspamd's protocol, connections that are kept). The receiver, with
# its station, runs on core 0; loadgen and the filter share core 1. CPU a message of the receiver, all threads, and messages a second.
# RSPAMD=ADDRESS measures one that runs there besides, with a tenth of the messages.
#
# Exit code 1: a message was not accepted.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/ready.sh
rounds=${1:-5} messages=${2:-100000}
ringmx=$(realpath "${RINGMX:-target/release/ringmx}") loadgen=$(realpath "${LOADGEN:-target/release/loadgen}")
[ -x "$ringmx" ] && [ -x "$loadgen" ] || { echo "first: cargo build --release --workspace" >&2; exit 1; }
filter=${FILTER:-}
[ -n "$filter" ] || filter=$(cargo bench --locked --bench answering_filter --no-run 2>&1 | sed -n 's/.*(\(.*answering_filter-[0-9a-f]*\)).*/\1/p')
[ -x "$filter" ] || { echo "the filter could not be built: cargo bench --bench answering_filter --no-run" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/var/tmp}/filter.XXXXXX") server='' beside=''
end() { [ -z "$1" ] || { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }; }
trap 'end "$beside"; end "$server"; rm -rf "$work"' EXIT
port=2702 at=127.0.0.1:2703
taskset -c 1 "$filter" "$at" & beside=$!

config() { # TABLES
  printf 'hostname = "mx.example.org"\ndomains = ["example.org"]\n[[listener]]\naddress = "127.0.0.1:%s"\n[[sink]]\nkind = "discard"\n' "$port"
  printf '[shards]\ncpus = [0]\n[log]\nsessions = false\nmessages = false\n%s\n' "$1"
}
cpu() { cat /proc/"$server"/task/*/schedstat | awk '{s += $1} END {printf "%.0f", s / 1000}'; }
run() { # NAME COUNT TABLES
  config "$3" >"$work/c.toml"
  # Threads of a server start on all cores; its shard and its station are to share one.
  taskset -c 0 "$ringmx" serve --config "$work/c.toml" 2>"$work/log" &
  server=$!
  ready "$work/log" "$server"
  taskset -c 1 "$loadgen" "127.0.0.1:$port" -m 2000 -c 50 --size 4KiB --to a@example.org >/dev/null
  local before after
  before=$(cpu)
  taskset -c 1 "$loadgen" "127.0.0.1:$port" -m "$2" -c 50 --size 4KiB --to a@example.org >"$work/out"
  after=$(cpu)
  grep -q "messages *$2 accepted of $2" "$work/out" || { cat "$work/out"; tail "$work/log"; exit 1; }
  echo "$1 $(awk -v us=$((after - before)) -v count="$2" 'BEGIN {print us / count}') $(sed -n 's/^ *rate *\([0-9]*\).*/\1/p' "$work/out" | head -n 1)" >>"$work/rows"
  end "$server"
  server=''
}
asks() { printf '[[filter]]\nkind = "rspamd"\nurl = "http://%s"\nskip = "nobody"\n' "$1"; }
for _ in $(seq "$rounds"); do
  run none "$messages" ''
  run hook "$messages" "$(asks "$at")"
  [ -z "${RSPAMD:-}" ] || run rspamd "$((messages / 10))" "$(asks "$RSPAMD")"
done
awk '
  {n[$1]++; cpu[$1, n[$1]] = $2; rate[$1, n[$1]] = $3}
  function median(a, name,   i, j, t, s, c) {
    c = n[name]; for (i = 1; i <= c; i++) s[i] = a[name, i]
    for (i = 2; i <= c; i++) for (j = i; j > 1 && s[j - 1] > s[j]; j--) {t = s[j]; s[j] = s[j - 1]; s[j - 1] = t}
    return s[int((c + 1) / 2)]
  }
  END {
    for (name in n) printf "%-8s %6.1f us of CPU a message, %6d a second (medians of %d rounds)\n", name, median(cpu, name), median(rate, name), n[name]
    printf "the hook: %.1f us of CPU a message\n", median(cpu, "hook") - median(cpu, "none")
  }' "$work/rows"
