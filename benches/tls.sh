#!/usr/bin/env bash
# What TLS costs over the wire: CPU of the receiver a message, with and without TLS, full and resumed handshakes.
#
#   benches/tls.sh [ROUNDS] [MESSAGES]
#
# Receiver (`discard`) on core 0, loadgen on core 1, in turn; medians. First 4 KiB messages on a connection each, then 1 MiB
# messages on ten connections that stay. Tickets: the second listener sends TLS 1.3 tickets (`tls_tickets`), the first does not; TLS
# 1.2 resumes by session id there. Without tickets every TLS 1.3 handshake is a full one.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/ready.sh
rounds=${1:-5} messages=${2:-4000}
ringmx=target/release/ringmx loadgen=target/release/loadgen
[ -x $ringmx ] && [ -x $loadgen ] || { echo "first: cargo build --release --workspace" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/tls.XXXXXX") receiver=''
clean() {
  [ -z "$receiver" ] || kill -KILL "$receiver" 2>/dev/null || true
  rm -rf "$work"
}
trap clean EXIT
cat >"$work/ringmx.toml" <<'TOML'
hostname = "mx.example.test"
[[listener]]
address = "127.0.0.1:2796"
[[listener]]
address = "127.0.0.1:2797"
tls_tickets = true
[[sink]]
kind = "discard"
[shards]
cpus = [0]
[tls]
self_signed = true
[log]
sessions = false
messages = false
TOML
$ringmx serve --config "$work/ringmx.toml" 2>"$work/log" &
receiver=$!
ready "$work/log" "$receiver"

cpu() { cat /proc/"$receiver"/task/*/schedstat | awk '{s += $1} END {printf "%.0f", s / 1000}'; }
run() { # NAME PORT COUNT OPTIONS
  local name=$1 port=$2 count=$3 before after
  shift 3
  before=$(cpu)
  $loadgen "127.0.0.1:$port" -m "$count" --cpus 1 --json "$work/run.json" "$@" >/dev/null
  after=$(cpu)
  python3 - "$work/run.json" "$name" "$count" $((after - before)) >>"$work/table" <<'PY'
import json, sys
file, name, count, cpu = sys.argv[1:]
result = json.load(open(file))["result"]
print(name, int(cpu) / int(count), result["messages_per_second"], result.get("handshakes_per_second") or 0)
PY
}
for _ in $(seq "$rounds"); do
  small=(-c 50 -s 4KiB --per-connection 1) large=(-c 10 -s 1MiB)
  run 4K-plain 2796 "$messages" "${small[@]}"
  for version in 1.2 1.3; do
    run "4K-$version-full" 2796 "$messages" "${small[@]}" --tls starttls --tls-version $version
    run "4K-$version-resumed" 2797 "$messages" "${small[@]}" --tls starttls --tls-version $version --tls-resume
  done
  run 4K-1.2-resumed-by-id 2796 "$messages" "${small[@]}" --tls starttls --tls-version 1.2 --tls-resume
  run 1M-plain 2796 $((messages / 8)) "${large[@]}"
  for version in 1.2 1.3; do
    run "1M-$version" 2796 $((messages / 8)) "${large[@]}" --tls starttls --tls-version $version
  done
done
python3 - "$work/table" <<'PY'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    name, *numbers = line.split()
    rows.setdefault(name, []).append([float(number) for number in numbers])
median = {name: [statistics.median(column) for column in zip(*runs)] for name, runs in rows.items()}
print(f"{'':22}{'us/message':>12}{'of plain':>10}{'messages/s':>12}{'handshakes/s':>14}")
for name, (cpu, rate, handshakes) in median.items():
    of_plain = cpu / median[name[:2] + "-plain"][0]
    print(f"{name:22}{cpu:12.1f}{of_plain:10.2f}{rate:12.0f}{handshakes:14.0f}")
PY
