#!/usr/bin/env bash
# What the forwarder costs: a spool that is delivered, beside Postfix with a quarter as many held messages that are released; how long a
# message is on its way at a rate; and how far the backlog grows where mail is received and forwarded at once.
#
#   benches/forward.sh [ROUNDS] [MESSAGES] [RATE] [SECONDS]   as root for Postfix, which is left out where it is not installed
#
# Messages have 4 KiB. The far end is a receiver with `discard` on core 1, the forwarder (and Postfix) runs on core 0 with 20
# connections; the spool and Postfix's queue are on one file system, below TMPDIR. A message counts when the far end has answered it.
# CPU is that of the forwarder, or of Postfix's processes (all threads, user and system) a message; Postfix's that ended meanwhile are
# counted by their parent. `on its way` is `age_ms` of the log: from the end of the mail data here to the next hop's 250.
#
# It takes two cores. With no more than these the last part is one of a machine that is full: the receiver has core 0, the forwarder
# shares core 1 with the far end, and the load runs on both.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/forwarding.sh
. benches/postfix.sh
rounds=${1:-3} messages=${2:-20000} rate=${3:-2000} seconds=${4:-20}
# A message costs Postfix many times as much.
postfix_messages=$((messages / 4 > 0 ? messages / 4 : 1))
end() {
  postfix_stop
  clean
}
trap end EXIT

ticks() { cat "$@" 2>/dev/null | awk '{s += $1} END {printf "%.0f", s / 1000}'; }
cpu_of() { local files=(); for p in $1; do files+=(/proc/"$p"/task/*/schedstat); done; ticks "${files[@]}"; }
now() { date +%s%N; }

far
near_config <<'TOML'
[[forward]]
to = ["smtp://127.0.0.1:2825"]
tls = "off"
connections_max = 20
TOML
to=(--to user@example.test)

# row NAME COUNT NANOSECONDS CPU-MICROSECONDS
row() { awk -v n="$1" -v c="$2" -v t="$3" -v u="$4" 'BEGIN {printf "%s %.0f %.1f\n", n, c / (t / 1e9), u / c}' >>"$work/table"; }

drain() {
  rm -rf "$work/spool"
  near
  load "${to[@]}" -m "$messages" -c 20
  loaded
  stop "$near"; near=''
  local before start
  before=$(taken) start=$(now)
  forward 0
  wait_for $((before + messages))
  row forward "$messages" $(($(now) - start)) "$(cpu_of "$forwarder")"
  stop "$forwarder"; forwarder=''
}

beside() {
  postfix_start 2835 "$work/queue" "$(cat <<CF
myhostname = near.example.test
mydestination =
relay_domains = example.test
relayhost = [127.0.0.1]:2825
smtp_destination_concurrency_limit = 20
relay_destination_concurrency_limit = 20
initial_destination_concurrency = 20
smtp_connection_cache_destinations = [127.0.0.1]:2825
smtp_tls_security_level = none
CF
  )"
}

# Microseconds of CPU of the master, of those that it has waited for, and of its processes now.
postfix_cpu() {
  local files=() p
  for p in $(postfix_pids); do files+=(/proc/"$p"/stat); done
  { cat "${files[@]}" 2>/dev/null || true; } | sed 's/.*) //' |
    awk -v t="$(getconf CLK_TCK)" 'NR == 1 {s += $14 + $15} {s += $12 + $13} END {printf "%.0f", s * 1e6 / t}'
}

released() {
  $loadgen 127.0.0.1:2835 -s 4KiB --to user@example.test -m "$postfix_messages" -c 20 >/dev/null
  local before start cpu
  before=$(taken) start=$(now) cpu=$(postfix_cpu)
  postsuper -c "$work/postfix" -H ALL >/dev/null 2>&1
  # It would look at its deferred mail within five minutes.
  postqueue -c "$work/postfix" -f
  wait_for $((before + postfix_messages))
  row postfix "$postfix_messages" $(($(now) - start)) $(($(postfix_cpu) - cpu))
}

if command -v postfix >/dev/null && [ "$(id -u)" = 0 ]; then beside; else echo "no Postfix here, or not root: left out" >&2; fi
for _ in $(seq "$rounds"); do
  drain
  [ -z "$postfix_up" ] || released
done
python3 - "$work/table" <<'PY'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    name, rate, cpu = line.split()
    rows.setdefault(name, []).append((float(rate), float(cpu)))
for name, all in rows.items():
    rate, cpu = (statistics.median(column) for column in zip(*all))
    print(f"{name:10} {rate:9.0f} messages/s {cpu:8.1f} us CPU a message   ({len(all)} rounds: {', '.join(f'{r:.0f}' for r, _ in all)})")
PY
postfix_stop

echo "at $rate/s for $seconds s, received and forwarded at once:"
rm -rf "$work/spool"
near
# The forwarder logs each message, the receiver does not.
sed -i 's/^messages = false/messages = true/' "$work/near.toml"
before=$(taken)
forward 1
sleep 1
load "${to[@]}" --rate "$rate/s" --duration "${seconds}s" -c 20
loaded
came=$(($(taken) - before))
grep -E '^(rate|accepted)' "$work/load.txt" || true
stop "$forwarder"; forwarder=''
stop "$near"; near=''
python3 - "$work/forward.log" "$came" "$((rate * seconds))" <<'PY'
import re, sys
file, came, made = sys.argv[1:]
ages = sorted(int(age) for age in re.findall(r" forwarded .*?age_ms=(\d+)", open(file).read()))
if not ages:
    sys.exit(f"nothing was forwarded; when the load ended {came} of {made} were there: see {file}")
at = lambda share: ages[min(len(ages) - 1, int(len(ages) * share))]
print(f"forwarded {len(ages)}; when the load ended {came} of {made} were there; on its way: median {at(0.5)} ms, "
      f"99 of 100 within {at(0.99)} ms, longest {ages[-1]} ms")
PY
