#!/usr/bin/env bash
# What a next hop that is down costs: the mail of nine others while a tenth is down, how fast one that was away for a minute has all
# that waited for it, and how long fresh mail for another one takes meanwhile.
#
#   benches/forward_down.sh [ROUNDS] [MESSAGES] [RATE] [AWAY]
#
# MESSAGES of 4 KiB for each of nine domains are in the spool, without and with as many for a tenth whose next hop takes no connection:
# how long it takes until the nine have theirs. Then RATE a second come for one domain; its next hop is away for AWAY seconds. The far
# end is a receiver with `discard` on core 1, the receiver and the forwarder run on core 0.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/forwarding.sh
rounds=${1:-3} messages=${2:-2000} rate=${3:-2000} away=${4:-60}
far
{
  for number in 0 1 2 3 4 5 6 7 8 9; do
    # Nothing listens at the last one.
    [ $number = 9 ] && port=2826 || port=2825
    printf '[[forward]]\ndomains = ["d%s.example.test"]\nto = ["smtp://127.0.0.%s:%s"]\ntls = "off"\n' $number $((number + 1)) $port
  done
  printf '[[forward]]\nto = ["smtp://127.0.0.11:2825"]\ntls = "off"\n'
} | near_config

# nine NAME DOMAINS: how long the nine wait while there is mail for so many.
nine() {
  rm -rf "$work/spool"
  near
  local number
  for number in $(seq 0 $(($2 - 1))); do
    load -c 2 -m "$messages" --to "user@d$number.example.test"
  done
  loaded
  stop "$near"; near=''
  local before start
  before=$(taken) start=$(date +%s%N)
  forward 0
  wait_for $((before + 9 * messages))
  echo "$1 $(($(date +%s%N) - start))" >>"$work/nine"
  stop "$forwarder"; forwarder=''
}

for _ in $(seq "$rounds"); do
  nine without 9
  nine with 10
done
python3 - "$work/nine" "$((9 * messages))" <<'PY'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    name, nanoseconds = line.split()
    rows.setdefault(name, []).append(int(nanoseconds) / 1e9)
count = int(sys.argv[2])
without, dead = (statistics.median(rows[name]) for name in ("without", "with"))
print(f"nine next hops: {count / without:.0f} messages/s; beside a tenth that is down {count / dead:.0f}, {dead / without - 1:+.1%} time")
PY

echo "$rate/s for one next hop, which is away for $away s:"
rm -rf "$work/spool"
near
forward 0
python3 - "$work/samples" <<'PY' &
import re, sys, time, urllib.request
with open(sys.argv[1], "w") as out:
    while True:
        try:
            text = urllib.request.urlopen("http://127.0.0.1:2829/metrics", timeout=1).read().decode()
        except OSError:
            text = ""
        stored = sum(float(n) for n in re.findall(r'^ringmx_messages_total\{.*outcome="stored".*\} (\S+)$', text, re.M))
        connections = sum(float(n) for n in re.findall(r"^ringmx_connections_open(?:\{.*\})? (\S+)$", text, re.M))
        print(time.time(), bool(text), stored, connections, file=out, flush=True)
        time.sleep(0.25)
PY
sampler=$!
others+=("$sampler")
load -c 20 --rate "$rate/s" --duration "$((away + 50))s" --to user@one.example.test
sleep 10
stop "$far"
sleep "$away"
far
echo "back $(date +%s.%N)" >"$work/back"
wait "$load"
sleep 2
kill "$sampler"
wait "$sampler" 2>/dev/null || true
others=()
stop "$near"; near=''
stop "$forwarder"; forwarder=''
python3 - "$work/samples" "$work/back" "$rate" "$away" <<'PY'
import sys
samples, back, rate, away = sys.argv[1:]
back, rate, away = float(open(back).read().split()[1]), float(rate), float(away)
rows = [line.split() for line in open(samples)]
rows = [(float(at) - back, float(stored), float(connections)) for at, up, stored, connections in rows if up == "True" and float(at) > back]
first = next((at for at, stored, _ in rows if stored > 0), None)
speeds = [(b[0], (b[1] - a[1]) / (b[0] - a[0])) for a, b in zip(rows, rows[1:])]
full = max(speed for _, speed in speeds)
reached = next(at for at, speed in speeds if speed >= full / 2)
# All that came until then is there.
caught_up = next((at for at, stored, _ in rows if stored >= (away + at) * rate * 0.98), None)
print(f"first message {first:.1f} s after it is back; half of the full {full:.0f}/s after {reached:.1f} s; nothing waits after "
      f"{'%.1f s' % caught_up if caught_up else 'more than it was watched'}; at most {max(row[2] for row in rows):.0f} connections of 20")
PY

echo "$((rate / 10))/s for another one meanwhile, the forwarder on both cores:"
rm -rf "$work/spool"
{
  printf '[[forward]]\ndomains = ["one.example.test"]\nto = ["smtp://127.0.0.2:2826"]\ntls = "off"\n'
  printf '[[forward]]\nto = ["smtp://127.0.0.11:2825"]\ntls = "off"\n'
} | near_config
# Each delivery tells its age.
sed -i 's/^messages = false/messages = true/' "$work/near.toml"
next_hop away 2826
others+=("$hop")
near
forward 0,1
load -c 4 --rate "$((rate / 10))/s" --duration "$((away + 50))s" --to user@two.example.test
fresh=$load
load -c 20 --rate "$rate/s" --duration "$((away + 50))s" --to user@one.example.test
sleep 10
from=$(date +%s.%N)
stop "$hop"
sleep "$away"
next_hop away 2826
others+=("$hop")
back=$(date +%s.%N)
wait "$fresh" "$load"
stop "$forwarder"; forwarder=''
python3 - "$work/forward.log" "$from" "$back" <<'PY'
import datetime, re, sys
log, down, back = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
ages = {"before": [], "while it is away": [], "in the 30 s after": []}
for line in open(log):
    found = re.match(r"(\S+)Z forwarded .*127\.0\.0\.11:.* age_ms=(\d+)", line)
    if not found:
        continue
    at = datetime.datetime.fromisoformat(found[1] + "+00:00").timestamp()
    phase = "before" if at < down else "while it is away" if at < back else "in the 30 s after" if at < back + 30 else None
    if phase:
        ages[phase].append(int(found[2]))
for phase, all_ages in ages.items():
    all_ages.sort()
    print(f"{phase}: median {all_ages[len(all_ages) // 2]} ms, p99 {all_ages[len(all_ages) * 99 // 100]} ms of {len(all_ages)}")
PY
