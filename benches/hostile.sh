#!/usr/bin/env bash
# What good clients get beside hostile ones, and what a shard then needs: a table in Markdown.
#
#   benches/hostile.sh [RUNS] [SECONDS] [KINDS] [COUNTS]     by default 5 runs of 5 s, all kinds, 50,200 hostile connections
#
# Two instances run on core 0, all generators on core 1. Good clients are 20 connections that send 100 messages a second in all, at
# intended times (4 KiB, `discard`), to the first instance. The flood goes to that one, too; for the control it goes to the second
# one, so that it takes the same core and the same network. Test and control follow one another in each run; all figures are medians
# of the runs. Then each flood is repeated once against a maildir, whose disk has the flood to write, too: what good clients begin there
# has to be accepted, and `loadgen verify` compares what they sent with what is stored. RSS is the peak of the attacked instance, and the turn is the longest of any that it had, whatever else the machine did.
#
# KINDS, by commas: those of loadgen's scenarios (bare-lf never-reads half-data abort slowloris refused early-talker churn idle), `tls`
# (a handshake a message), and mail data of messages of 1 MiB that are sent as fast as they are taken, each of one line again and again:
# plain, dots (two dots), dot-lines (a dot and text), long-dots (no line end), lf, cr (bare CR), nul (NUL), nul-lines (NUL at the start
# of a line), bdat-lf (bare LF in chunks of 64 KiB), normal-lf, normal-cr and normal-dots (`bare_lf` and `bare_cr` are "normalize").
#
# Exit code 1: a good transaction was not done, or lost, or altered; p50 is over twice or p99 over three times that of the control.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/ready.sh
all=plain,bare-lf,lf,cr,dots,dot-lines,long-dots,nul,nul-lines,bdat-lf,normal-lf,normal-cr,normal-dots
all=$all,never-reads,half-data,abort,slowloris,refused,early-talker,churn,idle,tls
runs=${1:-5} seconds=${2:-5} kinds=${3:-$all} counts=${4:-50,200}
rate=100
ringmx=${RINGMX:-target/release/ringmx} loadgen=${LOADGEN:-target/release/loadgen}
[ -x "$ringmx" ] && [ -x "$loadgen" ] || { echo "first: cargo build --release --workspace" >&2; exit 1; }
ulimit -n "$(ulimit -Hn)"
work=$(mktemp -d "${TMPDIR:-/var/tmp}/hostile.XXXXXX") servers=() flood=''
end() { [ -z "$1" ] || { kill "-$2" "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }; }
clean() {
  end "$flood" KILL
  for server in "${servers[@]}"; do end "$server" KILL; done
  rm -rf "$work"
}
trap clean EXIT
echo known@example.org >"$work/recipients"

# Mail data of one line again and again: python, for loadgen sends nothing that is not mail. One thread waits for all connections.
cat >"$work/flood.py" <<'PY'
import selectors, socket, sys
port, count, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
lines = {"plain": b"x" * 76 + b"\r\n", "dots": b"..\r\n", "dot-lines": b"." + b"x" * 76 + b"\r\n", "long-dots": b".", "lf": b"\n",
         "cr": b"\r", "nul": b"\0", "nul-lines": b"\0\r\n"}
line = lines[kind.removeprefix("normal-").removeprefix("bdat-")]
body = line * ((64 << 10) // len(line))
begin = [b"EHLO hostile.test\r\n", b"MAIL FROM:<a@hostile.test>\r\n", b"RCPT TO:<b@example.test>\r\n"]
chunked = kind == "bdat-lf"
# Until a reply comes a script waits; None is sixteen times the body.
script = begin + ([b"BDAT %d\r\n" % len(body) + body] * 16 + [b"BDAT 0 LAST\r\n"] if chunked else [b"DATA\r\n", None])
poll = selectors.DefaultSelector()
class Client:
    def __init__(self):
        self.socket = None
        self.open()
    def open(self):
        if self.socket:
            poll.unregister(self.socket)
            self.socket.close()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.step, self.out, self.bodies, self.seen = -1, memoryview(b""), 0, b""
        poll.register(self.socket, selectors.EVENT_READ, self)
    def next(self):
        self.step = self.step + 1 if self.step + 1 < len(script) else 1
        part = script[self.step]
        self.bodies = 0 if part else 16
        self.out = memoryview(part or body)
        poll.modify(self.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
    def write(self):
        self.out = self.out[self.socket.send(self.out):]
        if not self.out and self.bodies:
            self.bodies -= 1
            self.out = memoryview(body if self.bodies else b"\r\n.\r\n")
        if not self.out:
            poll.modify(self.socket, selectors.EVENT_READ, self)
    def read(self):
        octets = self.socket.recv(65536)
        if not octets:
            return self.open()
        self.seen += octets
        lines = self.seen.split(b"\r\n")
        if not self.seen.endswith(b"\r\n") or lines[-2][3:4] == b"-":
            return
        self.seen = b""
        # A reply in the middle of mail data, or a refusal before it: from the start.
        if lines[-2][:1] in b"45" and self.step < len(script) - 1 and not chunked:
            return self.open()
        self.next()
clients = [Client() for _ in range(count)]
while True:
    for key, events in poll.select():
        try:
            if events & selectors.EVENT_WRITE and key.data.out:
                key.data.write()
            if events & selectors.EVENT_READ:
                key.data.read()
        except BlockingIOError:
            pass
        except OSError:
            key.data.open()
PY

serve() { # NUMBER KIND SINK
  local line_ends='' recipients=''
  # For all others any address is known, the scripts' own as well.
  [ "$2" != refused ] || recipients="domains = [\"example.org\"]"$'\n'"recipients = \"$work/recipients\""
  case $2 in normal-*) line_ends=$'bare_lf = "normalize"\nbare_cr = "normalize"' ;; esac
  cat >"$work/$1.toml" <<TOML
hostname = "mx.example.test"
$recipients
[[listener]]
address = "127.0.0.1:279$1"
$line_ends
[[sink]]
kind = "$3"
$([ "$3" = discard ] || echo "path = \"$work/store$1\"")
[shards]
cpus = [0]
[tls]
self_signed = true
[log]
sessions = false
messages = false
refusals = false
TOML
  : >"$work/$1.log"
  taskset -c 0 "$ringmx" serve --config "$work/$1.toml" 2>"$work/$1.log" &
  servers[$1]=$!
  ready "$work/$1.log" "${servers[$1]}"
}

attack() { # KIND COUNT NUMBER: in the background, until it is ended
  local load=("127.0.0.1:279$3" --cpus 1 -c "$2" -d 10min)
  case $1 in
    plain | lf | cr | dots | dot-lines | long-dots | nul | nul-lines | bdat-lf | normal-*)
      exec taskset -c 1 python3 "$work/flood.py" "279$3" "$2" "$1" 2>"$work/flood.log" ;;
    tls) exec "$loadgen" "${load[@]}" --scenario churn --tls starttls ;;
    refused) exec "$loadgen" "${load[@]}" --scenario refused --unknown 'nobody-{}@example.org' ;;
    *) exec "$loadgen" "${load[@]}" --scenario "$1" ;;
  esac >"$work/flood.log" 2>&1
}

# measure KIND COUNT SINK ATTACKED LINE [OPTIONS]: good clients at instance 1 beside the flood; appends LINE and the figures to the table.
measure() {
  local kind=$1 count=$2 sink=$3 attacked=$4 line=$5
  shift 5
  rm -rf "$work"/store? "$work/run.json"
  serve 1 "$kind" "$sink"
  serve 2 "$kind" "$sink"
  attack "$kind" "$count" "$attacked" &
  flood=$!
  sleep 1
  "$loadgen" 127.0.0.1:2791 --cpus 1 -c 20 --to known@example.org --rate $rate/s -d "${seconds}s" --json "$work/run.json" "$@" >"$work/good.log" 2>&1 || true
  kill -0 "$flood" 2>/dev/null || { echo "$kind: the flood ended:" >&2; cat "$work/flood.log" >&2; exit 1; }
  local peak
  peak=$(awk '/^VmHWM/ {print $2}' "/proc/${servers[1]}/status")
  end "$flood" KILL
  flood=''
  for number in 1 2; do end "${servers[$number]}" TERM; servers[$number]=''; done
  local turn
  turn=$(sed -n 's/.* stopped .*turn_us_max=\([0-9]*\).*/\1/p' "$work/1.log")
  python3 - "$work/run.json" $((rate * seconds)) "$sink" >"$work/figures" <<'PY'
import json, sys
run = json.load(open(sys.argv[1]))
# Where all goes to a disk, that decides how many are begun.
wanted = sys.argv[2] if sys.argv[3] == "discard" else run["messages_started"]
# Without a result there are no percentiles: the run is as bad as can be.
took = run["result"] and run["result"]["latency_microseconds"]["transaction"]
print(run["messages_accepted"], wanted, *((took["p50"], took["p99"]) if took else ("inf", "inf")))
PY
  echo "$line $(cat "$work/figures") $peak ${turn:-nan}" >>"$work/table"
}

IFS=, read -ra kinds <<<"$kinds"
IFS=, read -ra counts <<<"$counts"
for kind in "${kinds[@]}"; do
  for count in "${counts[@]}"; do
    for _ in $(seq "$runs"); do
      measure "$kind" "$count" discard 1 "$kind $count test - -"
      measure "$kind" "$count" discard 2 "$kind $count control - -"
    done
    rm -f "$work/ledger"
    measure "$kind" "$count" maildir 1 "$kind $count ledger - -" --ledger "$work/ledger"
    # Exit code 1 is its verdict, and is in its text.
    "$loadgen" verify --ledger "$work/ledger" --maildir "$work/store1" >"$work/verdict" 2>&1 || true
    count_of() { awk -v name="$1" '$1 == name {print $2; exit}' "$work/verdict"; }
    sed -i "s/^\($kind $count ledger\) - -/\1 $(count_of lost) $(count_of altered)/" "$work/table"
    echo "$kind, $count connections: done" >&2
  done
done
python3 - "$work/table" <<'PY'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    kind, count, which, lost, altered, *figures = line.split()
    rows.setdefault((kind, count), {}).setdefault(which, []).append([lost, altered, *map(float, figures)])
print("| flood | connections | transactions done | p50, control ms | p50, beside it ms | ratio | p99, control ms | p99, beside it ms | ratio "
      "| lost, altered | peak RSS MiB | longest turn, control ms | longest turn ms |")
print("| --- |" + " ---: |" * 12)
good = True
for (kind, count), runs in rows.items():
    test, control, ledger = runs["test"], runs["control"], runs["ledger"]
    median = lambda runs, column: statistics.median(run[column] for run in runs)
    done, wanted = (sum(run[column] for run in test) for column in (2, 3))
    ratio50, ratio99 = (median(test, column) / median(control, column) for column in (4, 5))
    lost, altered = ledger[0][:2]
    peak = max(run[6] for run in test + ledger) / 1024
    fell_short = done < wanted or ledger[0][2] < ledger[0][3] or (lost, altered) != ("0", "0") or ratio50 > 2 or ratio99 > 3
    good &= not fell_short
    ms = lambda runs, column: f"{median(runs, column) / 1000:.2f}"
    print(f"| {kind} | {count} | {done:.0f} of {wanted:.0f} | {ms(control, 4)} | {ms(test, 4)} | {ratio50:.1f} | {ms(control, 5)} "
          f"| {ms(test, 5)} | {ratio99:.1f} | {lost}, {altered} | {peak:.0f} | {ms(control, 7)} | {ms(test, 7)}{' **(!)**' if fell_short else ''} |")
sys.exit(not good)
PY
