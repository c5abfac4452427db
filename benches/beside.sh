#!/usr/bin/env bash
# What good clients get beside many hostile sessions, and what the receiver then needs: a table in Markdown.
#
#   benches/beside.sh [RUNS] [SECONDS] [HOSTILE] [RATE]     by default 3 runs of 50 s, 250,000 hostile sessions in each, half load
#
# One shard on core 0; loadgen on core 1, the hostile sessions in a thread that gives way to the good one. Good clients: 50 connections
# that stay and send RATE messages a second in all, at intended times (4 KiB, `discard`); by default half of what a closed loop gets.
# They run alone, then beside HOSTILE sessions of bots (BOTS: their kinds, BOT_TIME: 5s) from 127.9.0.0/16, of which CONNECTIONS
# (12000) are there at a time at most. Each run has a fresh receiver; figures are medians of the runs. The same again with a spool, and
# `loadgen verify` compares what the good clients sent (LEDGER_RATE, 1000 messages a second) with what is stored.
# RSS is that of the receiver before the load, at its peak, and 3 s after it.
#
# With TABLES=FILE all of it is done twice: without and with these tables at the end of the configuration. Those of front_line.toml
# are the front line with a name server that never answers: here one hears everything at 127.0.0.1:2753 and says nothing. PROXY=1 has loadgen send PROXY headers: good clients are of 198.18.0.0/16
# and hostile ones of 198.19.0.0/16, because limits of clients spare those of the receiver's own machine.
#
# Exit code 1: in any run a good message that was begun was not accepted, more than a thousandth of those due were not begun, an accepted
# one is not in the ledger, lost or altered; or p99 is over twice what it is alone. Standard error names the run.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/ready.sh
runs=${1:-3} seconds=${2:-50} hostile=${3:-250000} rate=${4:-}
ringmx=$(realpath "${RINGMX:-target/release/ringmx}") loadgen=$(realpath "${LOADGEN:-target/release/loadgen}")
[ -x "$ringmx" ] && [ -x "$loadgen" ] || { echo "first: cargo build --release --workspace" >&2; exit 1; }
tables=${TABLES:+$(realpath "$TABLES")}
ulimit -n "$(ulimit -Hn)"
work=$(mktemp -d "${TMPDIR:-/var/tmp}/beside.XXXXXX") server='' dns=''
end() { [ -z "$1" ] || { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }; }
trap 'end "$server"; end "$dns"; rm -rf "$work"' EXIT
cd "$work"
echo known@example.org >recipients
python3 -c 'import signal, socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("127.0.0.1", 2753)); signal.pause()' &
dns=$!
proxy_from='' good=(--source 127.0.0.9) bad=(--beside-source 127.9.0.0/16)
if [ -n "${PROXY:-}" ]; then
  proxy_from='proxy_from = ["127.0.0.0/8"]'
  good+=(--proxy v2 --proxy-clients 198.18.0.0/16)
  bad+=(--beside-proxy-clients 198.19.0.0/16)
fi
[ -z "${BOTS:-}" ] || bad+=(--bots "$BOTS")
bad+=(--beside bots --beside-rate "$((hostile / (seconds + 8)))/s" --beside-messages "$hostile" --bot-time "${BOT_TIME:-5s}"
  --beside-connections "${CONNECTIONS:-12000}" --unknown 'nobody-{}@example.org')

start() { # SINK [TABLES]
  cat - ${2:+"$2"} >c.toml <<TOML
hostname = "mx.example.org"
domains = ["example.org"]
recipients = "recipients"
[limits]
connections_per_client_max = 100000
[[listener]]
address = "127.0.0.1:2781"
$proxy_from
[[sink]]
kind = "$1"
$([ "$1" = discard ] || echo 'path = "store"')
[shards]
cpus = [0]
[tls]
self_signed = true
[log]
sessions = false
messages = false
refusals = false
TOML
  : >log
  taskset -c 0 "$ringmx" serve --config c.toml 2>log &
  server=$!
  ready log "$server"
}
stop() { end "$server"; server=''; }
load() { rm -f run.json; "$loadgen" 127.0.0.1:2781 --cpus 1 -c 50 --to known@example.org --json run.json "${good[@]}" "$@" >out 2>&1 || true; }
rss() { awk -v name="$1:" '$1 == name {print $2}' "/proc/$server/status"; }
cpu() { cat /proc/"$server"/task/*/schedstat | awk '{s += $1} END {printf "%.0f", s / 1000}'; }

measure() { # KIND HOW RATE SINK TABLES OPTIONS: appends a row
  local kind=$1 how=$2 rate=$3 before used row
  start "$4" "$5"
  shift 5
  # As it is once it has received something.
  load -d 1s --rate 100/s --settle 7s
  before=$(rss VmRSS) used=$(cpu)
  # Good clients that nobody knows wait for the greeting, and for lists that do not answer: not while they are measured.
  load -d "${seconds}s" --rate "$rate/s" --settle 7s "$@"
  used=$(($(cpu) - used))
  sleep 3
  row="$before $(rss VmHWM) $(rss VmRSS) $used"
  stop
  python3 - "$kind" "$how" "$rate" "$seconds" $row >>rows <<'PY' || { cat out >&2; exit 1; }
import json, sys
kind, how, rate, seconds, *memory, used = sys.argv[1:]
run = json.load(open("run.json"))
took = run["result"] and run["result"]["latency_microseconds"]["transaction"]
beside = run["beside_class"] or {"messages_started": 0, "messages_unsent": 0, "result": {"cpu_busy_percent": 0}}
busy = sum(one["result"]["cpu_busy_percent"] for one in (run, beside) if one["result"])
print(kind, how, run["messages_accepted"], int(rate) * int(seconds), *((took["p50"], took["p99"]) if took else ("inf", "inf")),
      beside["messages_started"], beside["messages_unsent"], float(used) / 1e4 / float(seconds), busy, *memory,
      int(run["result"] is not None), run["messages_started"], run["messages_unsent"])
PY
}
if [ -z "$rate" ]; then
  start discard ''
  load -d 5s
  stop
  rate=$(python3 -c 'import json; print(int(json.load(open("run.json"))["result"]["messages_per_second"] / 2))')
fi
kinds=(plain)
[ -z "$tables" ] || kinds+=(tables)
for kind in "${kinds[@]}"; do
  with=''
  [ "$kind" = plain ] || with=$tables
  for _ in $(seq "$runs"); do
    measure "$kind" alone "$rate" discard "$with"
    measure "$kind" beside "$rate" discard "$with" "${bad[@]}"
    echo "$kind: a run is done" >&2
  done
  sed -n '/^beside it/,$p' out >"bots.$kind"
  rm -rf store ledger
  measure "$kind" ledger "${LEDGER_RATE:-1000}" spool "$with" "${bad[@]}" --ledger ledger
  # Exit code 1 is its verdict, and is in its text.
  "$loadgen" verify --ledger ledger --spool store >verdict 2>&1 || true
  count_of() { awk -v name="$1" '$1 == name {print $2; exit}' verdict; }
  echo "$kind $(count_of lost) $(count_of altered) $(count_of accepted)" >>verdicts
done
python3 - "$rate" <<'PY'
import statistics, sys
rows, good = {}, True
for line in open("rows"):
    kind, how, *figures = line.split()
    rows.setdefault(kind, {}).setdefault(how, []).append([float(figure) for figure in figures])
verdicts = {kind: figures for kind, *figures in (line.rstrip("\n").split(" ") for line in open("verdicts"))}
print(f"{sys.argv[1]} good messages a second.\n")
print("| | good done | p50 alone, ms | beside | p99 alone, ms | beside | ratio | hostile sessions | due, not begun | core 0, % alone | beside "
      "| loadgen, % | RSS before, peak, after, MiB | lost, altered |\n|" + " --- |" * 14)
for kind, own in rows.items():
    alone, beside = own["alone"], own["beside"]
    median = lambda runs, at: statistics.median(run[at] for run in runs)
    ratio = median(beside, 3) / median(alone, 3)
    *lost, recorded = verdicts[kind]
    wrong = ["p99 beside is over twice that alone"] if ratio > 2 else []
    if lost != ["0", "0"]:
        wrong.append(f"lost, altered: {', '.join(lost)}")
    # A class without messages has no line in the verdict.
    if float(recorded or 0) != own["ledger"][0][0]:
        wrong.append(f"{recorded} accepted messages are in the ledger, of {own['ledger'][0][0]:.0f}")
    for how, runs in own.items():
        for number, (accepted, due, *_, has_result, started, unsent) in enumerate(runs, 1):
            # Each run counts by itself: a median hides one.
            if not has_result or accepted != started:
                wrong.append(f"{how}, run {number}: {accepted:.0f} accepted of {started:.0f} begun{'' if has_result else ', NO RESULT'}")
            # A message that was due at the very end may not have been begun.
            if unsent > 0.001 * due:
                wrong.append(f"{how}, run {number}: {unsent:.0f} of {due:.0f} due were not begun")
    for words in wrong:
        print(f"{kind}: {words}", file=sys.stderr)
    fell_short = bool(wrong)
    good &= not fell_short
    ms = lambda runs, at: f"{median(runs, at) / 1000:.2f}"
    memory = ", ".join(f"{median(beside, at) / 1024:.1f}" for at in (8, 9, 10))
    print(f"| {kind}{' **(!)**' if fell_short else ''} | {min(run[0] / run[1] for run in beside):.4f} | {ms(alone, 2)} | {ms(beside, 2)} | {ms(alone, 3)} "
          f"| {ms(beside, 3)} | {ratio:.2f} | {median(beside, 4):.0f} | {median(beside, 5):.0f} | {median(alone, 6):.0f} | {median(beside, 6):.0f} "
          f"| {median(beside, 7):.0f} | {memory} | {', '.join(lost)} |")
for kind in rows:
    print(f"\nThe hostile sessions of the last run, {kind}:\n\n" + "".join("    " + line for line in open(f"bots.{kind}")))
sys.exit(not good)
PY
