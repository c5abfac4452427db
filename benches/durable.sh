#!/usr/bin/env bash
# What durability costs: ringmx with `discard`, `spool` and `maildir`, Postfix (HOLD) and, if NULLSMTP names that program, the
# floor with a log, one after the other on one journaled file system, in rounds; medians and ratios at the end.
#
#   benches/durable.sh [ext4|xfs] [ROUNDS] [MESSAGES] [LOAD]   as root: it mounts an image file, with direct I/O below it
#
# LOAD is b (4 KiB messages, 50 connections), c (100 KiB, 20) or e (1 MiB, 10): persistent connections, no pipelining. Receivers are on
# core 0, loadgen on core 1. `disk` is what the disk does by itself: synced, direct writes of 1 MiB into a file written before (dd), as
# so many messages of that size a second. `spool-consumed` is a spool of which somebody says ten times a second that all but the newest segments
# were consumed, so that the disk takes each octet once: without that new segments are written with zeros first. CPU is that of the receiver's
# processes (all threads, user and system) a message; `machine` is all the machine's but loadgen's: direct I/O and writing back
# move work to kernel threads.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/ready.sh
. benches/postfix.sh
fs=${1:-ext4} rounds=${2:-3} messages=${3:-40000} load=${4:-b}
case $load in
  b) size=4096 connections=50 ;;
  c) size=102400 connections=20 ;;
  e) size=1048576 connections=10 ;;
  *) echo "no load is called $load" >&2; exit 2 ;;
esac
ringmx=target/release/ringmx loadgen=target/release/loadgen
[ -x $ringmx ] && [ -x $loadgen ] || { echo "first: cargo build --release --workspace" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/var/tmp}/durable.XXXXXX") loop='' receiver='' consumer=''
clean() {
  [ -z "$consumer" ] || kill "$consumer" 2>/dev/null || true
  [ -z "$receiver" ] || kill -KILL "$receiver" 2>/dev/null || true
  postfix_stop
  wait 2>/dev/null || true
  umount -l "$work/disk" 2>/dev/null || true
  [ -z "$loop" ] || losetup -d "$loop"
  rm -rf "$work"
}
trap clean EXIT
mkdir "$work/disk"
truncate -s 4G "$work/image"
case $fs in
  ext4) mkfs.ext4 -q -F "$work/image" ;;
  xfs) mkfs.xfs -q "$work/image" ;;
esac
loop=$(losetup --find --show --direct-io=on "$work/image")
mount "$loop" "$work/disk"

ticks() { cat "$@" 2>/dev/null | awk '{s += $1} END {printf "%.0f", s / 1000}'; }
cpu_of() { local files=(); for p in $1; do files+=(/proc/"$p"/task/*/schedstat); done; ticks "${files[@]}"; }
# All that the cores did, in microseconds: user, nice, system, irq, softirq.
machine() { awk -v hz="$(getconf CLK_TCK)" '/^cpu / {printf "%.0f", ($2 + $3 + $4 + $7 + $8) * 1000000 / hz}' /proc/stat; }

# run NAME PORT COUNT PIDS: sends, and appends `name rate cpu machine` to the table.
run() {
  local name=$1 port=$2 count=$3 pids=$4 before after m0 m1
  before=$(cpu_of "$pids") m0=$(machine)
  $loadgen "127.0.0.1:$port" -m "$count" -c $connections -s ${size}B --json "$work/run.json" >/dev/null
  after=$(cpu_of "$pids") m1=$(machine)
  python3 - "$work/run.json" "$name" "$count" $((after - before)) $((m1 - m0)) >>"$work/table" <<'PY'
import json, sys
file, name, count, cpu, machine = sys.argv[1:]
run = json.load(open(file))["result"]
count, own = int(count), run["cpu_microseconds_per_message"]
print(name, run["messages_per_second"], int(cpu) / count, int(machine) / count - own)
PY
}

# Tells that all segments were consumed but the one made ahead, the one in use, which may hold no record yet, and the one before.
consume() {
  taskset -cp 1 "$BASHPID" >/dev/null
  while sleep 0.1; do
    local segments=("$1"/*.segment) used
    [ ${#segments[@]} -ge 3 ] || continue
    used=${segments[-3]##*/}
    echo "${used%.segment}:4096" >"$1/consumed.new" && mv "$1/consumed.new" "$1/consumed"
  done
}

serve() { # NAME PORT SINK-LINES
  cat >"$work/$1.toml" <<TOML
hostname = "mx.example.test"
[[listener]]
address = "127.0.0.1:$2"
[shards]
cpus = [0]
[log]
sessions = false
messages = false
[[sink]]
$3
TOML
  taskset -c 0 $ringmx serve --config "$work/$1.toml" 2>"$work/$1.log" &
  receiver=$!
  ready "$work/$1.log" "$receiver"
  # The next segment is made ahead; let it be done.
  sleep 1
}
stop() { kill -TERM "$receiver"; wait "$receiver" 2>/dev/null || true; receiver=''; }

# disk: appends what the disk does by itself.
disk() {
  local rate
  dd if=/dev/zero of="$work/disk/probe" bs=1M count=256 oflag=direct status=none
  rate=$(LC_ALL=C dd if=/dev/zero of="$work/disk/probe" bs=1M count=256 oflag=direct,dsync conv=notrunc 2>&1 |
    awk -F'[ ,]+' -v size=$size '/copied/ {for (i = 1; i <= NF; i++) if ($i == "s") print $1 / $(i - 1) / size}')
  rm "$work/disk/probe"
  echo "disk $rate nan nan" >>"$work/table"
}

for round in $(seq "$rounds"); do
  disk
  serve discard 2790 'kind = "discard"'; run discard 2790 "$messages" "$receiver"; stop
  serve spool 2791 "kind = \"spool\"
path = \"$work/disk/spool\""; run spool 2791 "$messages" "$receiver"; stop; rm -rf "$work/disk/spool"
  serve spool 2791 "kind = \"spool\"
path = \"$work/disk/spool\""
  consume "$work/disk/spool" & consumer=$!
  run spool-consumed 2791 "$messages" "$receiver"
  kill "$consumer"; wait "$consumer" 2>/dev/null || true; consumer=''; stop; rm -rf "$work/disk/spool"
  serve maildir 2792 "kind = \"maildir\"
path = \"$work/disk/maildir\""; run maildir 2792 "$messages" "$receiver"; stop; rm -rf "$work/disk/maildir"
  if [ -n "${NULLSMTP:-}" ]; then
    taskset -c 0 "$NULLSMTP" 2793 "$work/disk/null.log" 512 & receiver=$!
    sleep 3; run nullsmtp-log 2793 "$messages" "$receiver"; kill "$receiver"; wait "$receiver" 2>/dev/null || true; receiver=''; rm -f "$work/disk/null.log"
  fi
  if postfix_start 2795 "$work/disk/postfix" $'myhostname = mx.example.test\nmydestination = example.test'; then
    # Warm: the processes of all connections are there.
    taskset -c 1 $loadgen 127.0.0.1:2795 -m 200 -c $connections -s ${size}B >/dev/null 2>&1 || true
    run postfix 2795 $((messages / 20)) "$(postfix_pids)"
    postfix_stop
  fi
done
python3 - "$work/table" "$fs" "$load" <<'PY'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    name, *numbers = line.split()
    rows.setdefault(name, []).append([float(number) for number in numbers])
median = {name: [statistics.median(column) for column in zip(*runs)] for name, runs in rows.items()}
print(f"{sys.argv[2]}, load {sys.argv[3]}, medians of {max(map(len, rows.values()))}")
print(f"{'':14}{'messages/s':>12}{'us/message':>12}{'machine us':>12}{'of discard':>12}{'of disk':>12}{'x Postfix':>12}")
for name, (rate, cpu, machine) in median.items():
    of_discard, of_disk = rate / median['discard'][0], rate / median['disk'][0]
    of_postfix = rate / median['postfix'][0] if 'postfix' in median else float('nan')
    print(f"{name:14}{rate:12.0f}{cpu:12.1f}{machine:12.1f}{of_discard:12.2f}{of_disk:12.2f}{of_postfix:12.1f}")
PY
