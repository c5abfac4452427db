#!/usr/bin/env bash
# What it costs to authenticate mail (SPF, DKIM, DMARC), beside a receiver that does not: a table in Markdown.
#
#   benches/authentication.sh [ROUNDS] [SECONDS]     by default 3 rounds, no load longer than 10 s
#
# One shard on core 0; loadgen on core 1, and so is the name server, a small one in Python that has the zone of `loadgen zone`. The same
# signed mail of DOMAINS (1000) domains goes to ringmx without and with authentication in turn, as fast as its replies allow (50
# connections). Each load has a fresh receiver that has had mail of every domain before it is measured, so that answers of the DNS and
# keys are known, as those of frequent senders are. Kinds: `none` (not signed: SPF and DMARC only), rsa-2048, ed25519; with 4 KiB and
# 1 MiB (SIZES); the sinks discard and spool (SINKS). A load has MESSAGES (200000) messages or 4 GiB.
#
# A program of the lowest priority keeps core 1 awake. To wake a core that sleeps costs the one that wakes it microseconds on a virtual
# machine, and loadgen sleeps more the more ringmx has to do: authentication would be charged with it.
#
# CPU is that of all threads of the receiver, a message; ratios are paired in each round, and all figures are medians of the rounds.
# Authentication is `[auth]` as it is by default, but that what fails DMARC is marked and never refused: a refusal would be cheap, and no
# result. TABLES=FILE has other tables in its place. PROXY=1 has loadgen send PROXY headers of
# many clients, because some limits and checks spare those of the receiver's own machine.
#
# Exit code 1: a run had no result, or (without TABLES) a message that was stored has no result of DKIM.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/ready.sh
rounds=${1:-3} seconds=${2:-10} domains=${DOMAINS:-1000} messages=${MESSAGES:-200000}
ringmx=$(realpath "${RINGMX:-target/release/ringmx}") loadgen=$(realpath "${LOADGEN:-target/release/loadgen}")
[ -x "$ringmx" ] && [ -x "$loadgen" ] || { echo "first: cargo build --release --workspace" >&2; exit 1; }
tables=${TABLES:+$(realpath "$TABLES")}
ulimit -n "$(ulimit -Hn)"
work=$(mktemp -d "${TMPDIR:-/var/tmp}/authentication.XXXXXX") server='' dns='' awake=''
end() { [ -z "$1" ] || { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }; }
trap 'end "$server"; end "$dns"; end "$awake"; rm -rf "$work"' EXIT
cd "$work"
proxy_from='' from=()
[ -z "${PROXY:-}" ] || { proxy_from='proxy_from = ["127.0.0.0/8"]'; from=(--proxy v2); }
"$loadgen" zone --sign rsa-2048,ed25519,none --sign-domains "$domains" >test.zone

cat >dns.py <<'PY'
import socket, struct
KINDS = {"A": 1, "MX": 15, "TXT": 16}
def wire(name):
    return b"".join(bytes([len(label)]) + label for label in name.rstrip(".").encode().split(b".")) + b"\0"
names, records = {b"test"}, {}
for line in open("test.zone"):
    if line[0] in ";$@":
        continue
    owner, kind, data = line.rstrip("\n").split(" ", 2)
    if kind == "A":
        data = socket.inet_aton(data)
    elif kind == "MX":
        data = struct.pack(">H", int(data.split()[0])) + wire(data.split()[1])
    else:
        data = b"".join(bytes([len(string)]) + string.encode() for string in data.split('"')[1::2])
    owner = f"{owner}.test".encode()
    names.add(owner)
    records.setdefault((owner, KINDS[kind]), []).append(data)
def record(owner, kind, data):
    return owner + struct.pack(">HHIH", kind, 1, 3600, len(data)) + data
soa = record(wire("test"), 6, wire("ns.loadgen.test") + wire("hostmaster.loadgen.test") + struct.pack(">5I", 1, 3600, 600, 86400, 60))
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 2763))
print("ready", flush=True)
while True:
    query, client = server.recvfrom(4096)
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].lower())
        at += 1 + query[at]
    name, kind = b".".join(labels), struct.unpack(">H", query[at + 1:at + 3])[0]
    found = records.get((name, kind), [])
    flags = 0x8580 | (0 if name in names else 3)
    counts = struct.pack(">5H", flags, 1, len(found), int(not found), 0)
    answer = b"".join(record(b"\xc0\x0c", kind, data) for data in found) or soa
    server.sendto(query[:2] + counts + query[12:at + 5] + answer, client)
PY
taskset -c 1 chrt --idle 0 sh -c 'while :; do :; done' &
awake=$!
taskset -c 1 python3 dns.py >dns.log &
dns=$!
for _ in $(seq 200); do
  if grep -q ready dns.log || ! kill -0 "$dns" 2>/dev/null; then break; fi
  sleep 0.05
done
grep -q ready dns.log || { echo "the name server is not ready: is port 2763 of 127.0.0.1 somebody else's?" >&2; exit 1; }

start() { # SINK WITHOUT|WITH
  {
    cat <<TOML
hostname = "mx.example.org"
domains = ["example.test"]
[limits]
connections_per_client_max = 100000
[[listener]]
address = "127.0.0.1:2791"
$proxy_from
[[sink]]
kind = "$1"
$([ "$1" = discard ] || echo 'path = "store"')
[shards]
cpus = [0]
[log]
sessions = false
messages = false
refusals = false
[dns]
servers = ["127.0.0.1:2763"]
TOML
    [ "$2" = without ] || cat "${tables:-/dev/stdin}" <<<$'[auth]\ndmarc = "mark"'
  } >c.toml
  rm -rf store
  : >log
  taskset -c 0 "$ringmx" serve --config c.toml 2>log &
  server=$!
  ready log "$server"
}
stop() { end "$server"; server=''; }
load() { # KIND OPTIONS
  "$loadgen" 127.0.0.1:2791 --cpus 1 -c 50 --sign "$1" --sign-domains "$domains" --json run.json "${from[@]}" "${@:2}" >out 2>&1 || { cat out log >&2; exit 1; }
}
cpu() { cat /proc/"$server"/task/*/schedstat | awk '{s += $1} END {printf "%.0f", s / 1000}'; }

if [ -z "$tables" ]; then
  start spool with
  load rsa-2048 -m 100
  stop
  # All strings of the file, because a segment holds more than text.
  results=$(grep -a -o 'dkim=pass' store/*.segment | wc -l)
  [ "$results" -ge 100 ] || { echo "$results of 100 stored messages have dkim=pass" >&2; exit 1; }
fi
# All domains come within a deal of messages, whose length is a power of two.
warm=4096
while [ "$warm" -lt $((domains * 16)) ]; do warm=$((warm * 2)); done
for _ in $(seq "$rounds"); do
  for sink in ${SINKS:-discard spool}; do
    for size in ${SIZES:-4KiB 1MiB}; do
      count=$messages
      [ "$size" != 1MiB ] || count=$((messages < 4096 ? messages : 4096))
      for kind in none rsa-2048 ed25519; do
        for how in without with; do
          start "$sink" "$how"
          load "$kind" -m "$warm" --size 4KiB
          used=$(cpu)
          load "$kind" -m "$count" -d "${seconds}s" --size "$size"
          used=$(($(cpu) - used))
          stop
          python3 - "$sink" "$size" "$kind" "$how" "$used" >>rows <<'PY'
import json, sys
run = json.load(open("run.json"))
print(*sys.argv[1:5], float(sys.argv[5]) / run["messages_accepted"], run["result"]["messages_per_second"], run["result"]["cpu_busy_percent"])
PY
        done
      done
    done
  done
  echo "a round is done" >&2
done
python3 - <<'PY'
import statistics
rows = {}
for line in open("rows"):
    sink, size, kind, how, *figures = line.split()
    rows.setdefault((sink, size, kind), {}).setdefault(how, []).append([float(figure) for figure in figures])
median = lambda runs, at: statistics.median(run[at] for run in runs)
print("| sink | size | signed | CPU us a message, without | with | more | ratio, paired | messages/s without | with | ratio, paired | loadgen busy, % |\n|" + " --- |" * 11)
for (sink, size, kind), own in rows.items():
    without, authenticated = own["without"], own["with"]
    ratio = lambda at: statistics.median(one[at] / other[at] for one, other in zip(authenticated, without))
    more = statistics.median(one[0] - other[0] for one, other in zip(authenticated, without))
    print(f"| {sink} | {size} | {kind} | {median(without, 0):.1f} | {median(authenticated, 0):.1f} | {more:.1f} | {ratio(0):.2f} "
          f"| {median(without, 1):.0f} | {median(authenticated, 1):.0f} | {ratio(1):.2f} | {median(authenticated, 2):.0f} |")
PY
