#!/usr/bin/env bash
# What it costs to look into a server and to change it while it works.
#
#   benches/operation.sh costs [ROUNDS] [MESSAGES]            by default 7 rounds of 150,000 messages
#   benches/operation.sh reloads [RELOADS] [RECIPIENTS] [SECONDS]   by default 1,000 reloads of 1,000 recipients within 45 s
#
# `costs`: CPU a message and rate of `discard`, closed loop of 50 connections, in turn: without the sandbox, as it is by default, and
# with ten scrapes of /metrics a second. With BEFORE=BINARY that one, too. The client that scrapes takes CPU of the same cores.
# `reloads`: 5,000 messages a second into a spool while the configuration changes again and again: each reload has another limit, each
# second one other recipients, and a listener comes and goes. The reloads run on the generator's core. Then `loadgen verify`, and how
# many turns of the shard took how long. RELOADS = 0 is the control.
#
# The server runs on core 0, loadgen on core 1. Exit code 1: a message was not accepted or not stored, or a reload was refused.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/ready.sh
ringmx=$(realpath "${RINGMX:-target/release/ringmx}") loadgen=$(realpath "${LOADGEN:-target/release/loadgen}")
[ -x "$ringmx" ] && [ -x "$loadgen" ] || { echo "first: cargo build --release --workspace" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/var/tmp}/operation.XXXXXX") server='' helper=''
end() { [ -z "$1" ] || { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }; }
trap 'end "$helper"; end "$server"; rm -rf "$work"' EXIT
cd "$work"
port=2701 admin=127.0.0.1:9731

# The configuration: a sink, then more tables.
config() {
  printf 'hostname = "mx.example.org"\ndomains = ["example.org", "example.net"]\n%s\n[[listener]]\naddress = "127.0.0.1:%s"\n' "$3" "$port"
  printf '%s\n[shards]\ncpus = [0]\n[log]\nsessions = false\nmessages = false\nrefusals = false\n%s\n' "$1" "$2"
}
# Starts BINARY and waits until it serves.
start() {
  : >log
  "$1" serve --config c.toml 2>log &
  server=$!
  ready log "$server"
}
ticks() { awk '{print $14 + $15}' "/proc/$server/stat"; }

costs() {
  local rounds=${1:-7} messages=${2:-150000} kinds=(no-sandbox sandbox scraped) kind extra binary
  [ -z "${BEFORE:-}" ] || kinds=(before "${kinds[@]}")
  for _ in $(seq "$rounds"); do
    for kind in "${kinds[@]}"; do
      extra='' binary=$ringmx
      case "$kind" in
        before) binary=$(realpath "$BEFORE") ;;
        no-sandbox) extra=$'[run_as]\nsandbox = false' ;;
        scraped) extra=$'[admin]\naddress = "'$admin'"' ;;
      esac
      config $'[[sink]]\nkind = "discard"' "$extra" '' >c.toml
      start "$binary"
      if [ "$kind" = scraped ]; then
        (while :; do curl -s -o /dev/null "http://$admin/metrics" || true; sleep 0.1; done) &
        helper=$!
      fi
      local before
      before=$(ticks)
      taskset -c 1 "$loadgen" "127.0.0.1:$port" -m "$messages" --to a@example.org >out
      printf '%s %s %s\n' "$kind" "$(($(ticks) - before))" "$(sed -n 's/^ *rate *\([0-9]*\).*/\1/p' out | head -n 1)" >>rows
      grep -q "messages *$messages accepted of $messages" out || { cat out; exit 1; }
      end "$helper"; helper=''
      end "$server"; server=''
    done
  done
  python3 - "$messages" "$(getconf CLK_TCK)" <<'PY'
import statistics, sys
messages, ticks = int(sys.argv[1]), int(sys.argv[2])
rows = {}
for line in open("rows"):
    kind, cpu, rate = line.split()
    rows.setdefault(kind, []).append((int(cpu) / ticks * 1e6 / messages, float(rate)))
first = next(iter(rows))
print("| | CPU a message, us | to the first, paired | messages/s | to the first, paired |\n| --- | --- | --- | --- | --- |")
for kind, own in rows.items():
    median = lambda at, values=own: statistics.median(row[at] for row in values)
    paired = lambda at: statistics.median(one[at] / other[at] for one, other in zip(own, rows[first]))
    print(f"| {kind} | {median(0):.2f} | {paired(0):.3f} | {median(1):.0f} | {paired(1):.3f} |")
PY
}

reloads() {
  local count=${1:-1000} recipients=${2:-1000} seconds=${3:-45} number listener load failed=0
  for number in 0 1; do
    awk -v n="$recipients" -v k="$number" 'BEGIN { print "@example.org"; for (i = 0; i < n; i++) print "user" i "." k "@example.net" }' >"r$number"
  done
  cp r0 recipients
  changed() {
    config $'[[sink]]\nkind = "spool"\npath = "store"' "[limits]
recipients_max = $((1000 + $1 % 7))
[admin]
address = \"$admin\"
[control]
socket = \"control.sock\"" 'recipients = "recipients"'
    if [ $(($1 / 100 % 2)) = 1 ]; then printf '[[listener]]\naddress = "127.0.0.1:%s"\n' $((port + 1)); fi
  }
  changed 0 >c.toml
  start "$ringmx"
  turns() { curl -s "http://$admin/metrics" | sed -n 's/^ringmx_turn_duration_seconds_bucket{le="\(.*\)"} /\1 /p'; }
  turns >before
  taskset -c 1 "$loadgen" "127.0.0.1:$port" --rate 5000 --duration "${seconds}s" -c 50 --ledger ledger --to a@example.org >out &
  load=$! helper=$load
  sleep 1
  for number in $(seq "$count"); do
    kill -0 "$load" 2>/dev/null || { echo "the load ended after $number reloads"; break; }
    if [ $((number % 2)) = 0 ]; then cp "r$((number / 2 % 2))" new; mv new recipients; fi
    changed "$number" >new
    mv new c.toml
    taskset -c 1 "$ringmx" reload --config c.toml >answer 2>&1 || { failed=$((failed + 1)); cat answer; }
    sleep 0.02
  done
  wait "$load"
  helper=''
  turns >after
  end "$server"; server=''
  grep -E '^ *(messages|replies|transaction|latency)' out
  "$loadgen" verify --ledger ledger --spool store | tail -n 2
  printf 'reloads refused: %s; ms a reload: ' "$failed"
  { sed -n 's/.*reloaded .*took_ms=\([0-9]*\).*/\1/p' log | sort -n | awk '{v[NR] = $1} END {if (NR) print "half " v[int((NR + 1) / 2)] ", most " v[NR]; else print "none"}'; }
  awk 'NR == FNR { before[$1] = $2; next } { n = $2 - before[$1]; if (n > last) printf "turns up to %s s: %d\n", $1, n - last; last = n }' before after
  sed -n 's/.*\(turn_us_max=[0-9]*\).*/longest since the start: \1/p' log
  [ "$failed" = 0 ] && ! grep -qE 'replies.*× [45][0-9][0-9]' out
}

case "${1:-}" in
  costs | reloads) "$@" ;;
  *) sed -n '2,17s/^# \{0,1\}//p' "$OLDPWD/benches/operation.sh"; exit 2 ;;
esac
