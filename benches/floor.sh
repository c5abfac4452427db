#!/usr/bin/env bash
# What receiving costs, beside a floor: an epoll loop that searches for the end of mail data and checks nothing.
#
#   NULLSMTP=path/to/nullsmtp FASTGEN=path/to/fastgen benches/floor.sh [ROUNDS] [LOADS]
#
# Both are small C programs of their own: any receiver that takes its port as its argument, and any generator with the options used
# below. ringmx (`discard`) and the floor run on core 0, the generator on core 1, in turn. LOADS are of a (4 KiB, a connection a message,
# 50 sessions), b (4 KiB, 50 connections that stay), p (b, pipelined), c (100 KiB on 20), e (1 MiB on 10), m (b on 1,000 connections),
# x (b on 10,000; it needs as many descriptors), and of others as OCTETSxCONNECTIONS that stay, for instance 300000x50. Ratios are those of the
# same round; medians of all rounds.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/ready.sh
rounds=${1:-5} loads=${2:-abpce}
: "${NULLSMTP:?names the floor}" "${FASTGEN:?names the generator}"
ringmx=target/release/ringmx
[ -x $ringmx ] || { echo "first: cargo build --release" >&2; exit 1; }
ulimit -n "$(ulimit -Hn)"
work=$(mktemp -d "${TMPDIR:-/tmp}/floor.XXXXXX") pids=()
clean() {
  [ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap clean EXIT
cat >"$work/ringmx.toml" <<'TOML'
hostname = "mx.example.test"
[[listener]]
address = "127.0.0.1:2798"
[[sink]]
kind = "discard"
[shards]
cpus = [0]
[limits]
connections_per_client_max = 100000
[log]
sessions = false
messages = false
TOML
taskset -c 0 "$NULLSMTP" 2799 & pids+=($!)
$ringmx serve --config "$work/ringmx.toml" 2>"$work/log" & pids+=($!)
ready "$work/log" "${pids[-1]}"

cpu() { cat /proc/"$1"/task/*/schedstat | awk '{s += $1} END {printf "%.0f", s / 1000}'; }
run() { # NAME LOAD PID PORT COUNT OPTIONS
  local name=$1 load=$2 pid=$3 port=$4 count=$5 before after rate
  shift 5
  before=$(cpu "$pid")
  rate=$(taskset -c 1 "$FASTGEN" "$@" -m "$count" "127.0.0.1:$port" | sed 's/.*"rate":\([0-9.]*\).*/\1/')
  after=$(cpu "$pid")
  echo "$load $name $((after - before)) $count $rate" >>"$work/table"
}
for _ in $(seq "$rounds"); do
  for load in $(grep -oE '[0-9]+x[0-9]+|[^,]' <<<"$loads"); do
    case $load in
      a) options=(30000 -s 50 -l 4096) ;;
      b) options=(60000 -d -s 50 -l 4096) ;;
      p) options=(120000 -d -P -s 50 -l 4096) ;;
      c) options=(20000 -d -s 20 -l 102400) ;;
      e) options=(2500 -d -s 10 -l 1048576) ;;
      m) options=(60000 -d -s 1000 -l 4096) ;;
      x) options=(60000 -d -s 10000 -l 4096) ;;
      # As many as take about as long.
      *x*) options=($((3000000000 / (${load%x*} + 50000))) -d -s "${load#*x}" -l "${load%x*}") ;;
      *) echo "no load is called $load" >&2; exit 2 ;;
    esac
    run floor "$load" "${pids[0]}" 2799 "${options[@]}"
    run ringmx "$load" "${pids[1]}" 2798 "${options[@]}"
  done
done
python3 - "$work/table" <<'PY'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    load, name, cpu, count, rate = line.split()
    rows.setdefault(load, {}).setdefault(name, []).append((int(cpu) / int(count), float(rate)))
print(f"{'':14}{'floor us':>10}{'ringmx us':>11}{'ratio':>8}{'floor/s':>10}{'ringmx/s':>10}")
for load, by_name in rows.items():
    floor, ringmx = by_name["floor"], by_name["ringmx"]
    ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in zip(ringmx, floor))
    column = lambda runs, index: statistics.median(run[index] for run in runs)
    print(f"{load:14}{column(floor, 0):10.1f}{column(ringmx, 0):11.1f}{ratio:8.2f}{column(floor, 1):10.0f}{column(ringmx, 1):10.0f}")
PY
