#!/usr/bin/env bash
# What refusing costs, beside a floor that checks nothing: a table in Markdown.
#
#   NULLSMTP=path/to/nullsmtp benches/refused.sh [ROUNDS] [SESSIONS] [REFUSALS]   by default 5 rounds of 60,000 and 1,000,000
#
# The floor is a small C program of its own: any receiver that takes its port as its argument and answers EHLO, MAIL, RCPT and QUIT,
# with whatever codes. Sessions: connect, EHLO, MAIL, one RCPT to an unknown mailbox, QUIT, 50 at a time, from addresses of 127.1.0.0/16;
# the floor and ringmx in turn, paired in each round. Refusals: 50 standing connections with transactions of 100 RCPT, each RCPT
# after the reply to the last one (`alone`), or all of a transaction in one write (`grouped`); ringmx only, so that nothing is subtracted.
# With TABLES=FILE a second ringmx has these tables at the end of its configuration, for instance a part of front_line.toml: what is in
# them must let all sessions come as far as RCPT. PROXY=1 has loadgen send PROXY headers of many clients to ringmx, whose limits spare
# those of its own machine.
#
# Each receiver runs on core 0, loadgen on core 1. CPU is that of all threads of the receiver. Exit code 1: a session was not served to
# its end, or ringmx refused an RCPT not at all or with another reply than 550.
# (!) marks a session of over 1.2 times the floor's or under 12,000/s, and a refused RCPT of over 1.5 us of user time.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/ready.sh
rounds=${1:-5} sessions=${2:-60000} refusals=${3:-1000000}
: "${NULLSMTP:?names the floor}"
ringmx=$(realpath "${RINGMX:-target/release/ringmx}") loadgen=$(realpath "${LOADGEN:-target/release/loadgen}")
[ -x "$ringmx" ] && [ -x "$loadgen" ] || { echo "first: cargo build --release --workspace" >&2; exit 1; }
floor=$(realpath "$NULLSMTP") tables=${TABLES:+$(realpath "$TABLES")}
ulimit -n "$(ulimit -Hn)"
work=$(mktemp -d "${TMPDIR:-/tmp}/refused.XXXXXX") pids=()
clean() {
  [ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap clean EXIT
cd "$work"
echo known@example.org >recipients
proxy_from='' proxy=()
[ -z "${PROXY:-}" ] || { proxy_from='proxy_from = ["127.0.0.0/8"]'; proxy=(--proxy v2); }
serve() { # NUMBER [TABLES]
  cat - ${2:+"$2"} >"$1.toml" <<TOML
hostname = "mx.example.org"
domains = ["example.org"]
recipients = "recipients"
[limits]
errors_max = 1000000
idle_commands_max = 1000000
connections_per_client_max = 100000
[[listener]]
address = "127.0.0.1:279$1"
$proxy_from
[[sink]]
kind = "discard"
[shards]
cpus = [0]
[log]
sessions = false
messages = false
refusals = false
TOML
  : >"$1.log"
  taskset -c 0 "$ringmx" serve --config "$1.toml" 2>"$1.log" &
  pids[$1]=$!
  ready "$1.log" "${pids[$1]}"
}
taskset -c 0 "$floor" 2790 &
pids[0]=$!
for _ in $(seq 200); do (exec 3<>/dev/tcp/127.0.0.1/2790) 2>/dev/null && break; sleep 0.05; done
kinds=(ringmx)
serve 1
[ -z "$tables" ] || { serve 2 "$tables"; kinds+=(tables); }

# User time in ms, and all CPU time in us.
cpu() { echo "$(awk -v hz="$(getconf CLK_TCK)" '{print $14 * 1000 / hz}' "/proc/$1/stat") $(cat /proc/"$1"/task/*/schedstat | awk '{s += $1} END {printf "%.0f", s / 1000}')"; }
run() { # WHAT NAME NUMBER OPTIONS
  local what=$1 name=$2 number=$3 before
  shift 3
  before=$(cpu "${pids[$number]}")
  "$loadgen" "127.0.0.1:279$number" --cpus 1 -c 50 --unknown 'nobody-{}@example.org' --json run.json "$@" >out || { cat out >&2; exit 1; }
  kill -0 "${pids[$number]}" || { echo "$name ended" >&2; exit 1; }
  echo "$what $name $before $(cpu "${pids[$number]}") $(python3 - "$what" <<'PY'
import json, sys
run = json.load(open("run.json"))
result, refused = run["result"], run["result"]["latency_microseconds"]["refused"]["count"]
# All replies of 4yz and 5yz that are not the one to an unknown mailbox.
others = sum(times for code, times in run["replies"].items() if code >= "400" and code != "550")
unknown = run["replies"].get("550", 0)
session = sys.argv[1] == "session"
count = result["latency_microseconds"]["session"]["count"] if session else refused
print(count, refused, unknown, others, result["sessions_per_second" if session else "refusals_per_second"], result["cpu_busy_percent"])
PY
)" >>rows
}
session=(--scenario bots --bots refused --bot-time 60s -m "$sessions" --source 127.1.0.0/16)
standing=(--scenario refused --per-connection 1000000000 --recipients 100 -m $((refusals / 100)))
for _ in $(seq "$rounds"); do
  run session floor 0 "${session[@]}"
  for at in "${!kinds[@]}"; do run session "${kinds[$at]}" $((at + 1)) "${session[@]}" "${proxy[@]}"; done
  for at in "${!kinds[@]}"; do
    run alone "${kinds[$at]}" $((at + 1)) "${standing[@]}" "${proxy[@]}"
    run grouped "${kinds[$at]}" $((at + 1)) "${standing[@]}" "${proxy[@]}" --pipelining
  done
done
python3 - "$sessions" "$refusals" <<'PY'
import statistics, sys
# A transaction has 100 RCPT.
wanted = {"session": int(sys.argv[1]), "alone": int(sys.argv[2]) // 100 * 100, "grouped": int(sys.argv[2]) // 100 * 100}
rows, wrong = {}, False
for line in open("rows"):
    what, name, user0, all0, user1, all1, count, refused, unknown, others, rate, busy = line.split()
    count = int(count)
    # The floor answers as it likes.
    as_wanted = name == "floor" or (int(refused), int(unknown), int(others)) == (count, count, 0)
    wrong |= count != wanted[what] or not as_wanted
    rows.setdefault((what, name), []).append(
        ((float(user1) - float(user0)) * 1000 / count, (float(all1) - float(all0)) / count, float(rate), float(busy)))
print("| | user us | CPU us | to the floor, paired | a second | core 0 could a second | loadgen busy, % |\n| --- | --- | --- | --- | --- | --- | --- |")
floor = rows[("session", "floor")]
for (what, name), own in rows.items():
    user, cpu, rate, busy = (statistics.median(row[at] for row in own) for at in range(4))
    ratio = statistics.median(one[1] / other[1] for one, other in zip(own, floor)) if what == "session" else None
    over = (ratio > 1.2 or 1e6 / cpu < 12000) if what == "session" else user > 1.5
    print(f"| {what}, {name}{' **(!)**' if over and name != 'floor' else ''} | {user:.2f} | {cpu:.2f} | {'' if ratio is None else f'{ratio:.2f}'} "
          f"| {rate:.0f} | {1e6 / cpu:.0f} | {busy:.0f} |")
if wrong:
    print("not all were refused with 550 as they should (count, refused, 550, other 4yz and 5yz):", *open("rows"), sep="\n", file=sys.stderr)
sys.exit(wrong)
PY
