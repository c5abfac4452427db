#!/usr/bin/env bash
# What a message costs that rspamd is asked about: ringmx with `[[filter]]`, beside Postfix with rspamd's own milter, in rounds; medians.
#
#   benches/rspamd.sh [ROUNDS] [MESSAGES]      by default 5 rounds of 10,000 messages of 4 KiB, as root for Postfix
#
# Both write each message down below TMPDIR before they answer: ringmx with the sink `spool`, Postfix in its queue (HOLD), where ten
# times fewer messages are sent without rspamd. The receiver runs on core 0; loadgen, with 50 connections, and rspamd share core 1.
# rspamd runs without rules, the DNS and Redis: what it takes to be asked is compared, not what its rules take. CPU is that of the
# receiver's processes (all threads, user and system), and of rspamd's, a message. A receiver that waits for rspamd is woken for each
# message, which costs many times what a message costs one that has always something to do: so each is measured without rspamd at the
# rate that it had with it, too (`paced`).
#
# Exit code 1: a message was not accepted, or rspamd did not see each of them.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/ready.sh
. benches/postfix.sh
rounds=${1:-5} messages=${2:-10000}
ringmx=$(realpath "${RINGMX:-target/release/ringmx}") loadgen=$(realpath "${LOADGEN:-target/release/loadgen}")
[ -x "$ringmx" ] && [ -x "$loadgen" ] || { echo "first: cargo build --release --workspace" >&2; exit 1; }
for program in rspamd postfix; do command -v $program >/dev/null || { echo "not installed: $program" >&2; exit 1; }; done
work=$(mktemp -d "${TMPDIR:-/var/tmp}/rspamd.XXXXXX") receiver='' rspamd=''
end() { [ -z "$1" ] || { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }; }
clean() {
  postfix_stop
  end "$receiver"; end "$rspamd"
  rm -rf "$work"
}
trap clean EXIT
chmod 755 "$work"
port=2705 ask=127.0.0.1:2706 milter=127.0.0.1:2707

mkdir "$work/rspamd"
echo test >"$work/rspamd/domains"
cat >"$work/rspamd/rspamd.conf" <<CONF
options {
  pidfile = "$work/rspamd/pid"; tempdir = "$work/rspamd"; url_tld = "$work/rspamd/domains"; hs_cache_dir = "$work/rspamd";
  cache_file = "$work/rspamd/cache"; control_socket = "$work/rspamd/control.sock mode=0600"; filters = "";
  disable_hyperscan = true; dns { nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }
}
actions { reject = 15; add_header = 6; }
logging { type = "file"; filename = "$work/rspamd/log"; level = "error"; }
worker "normal" { bind_socket = "$ask"; count = 1; mime = true; }
worker "rspamd_proxy" {
  bind_socket = "$milter"; count = 1; milter = true;
  upstream "local" { default = true; self_scan = true; }
}
CONF
taskset -c 1 rspamd --no-fork --insecure --config "$work/rspamd/rspamd.conf" \
  --var=DBDIR="$work/rspamd" --var=RUNDIR="$work/rspamd" --var=LOGDIR="$work/rspamd" >"$work/rspamd/out" 2>&1 &
rspamd=$!
for at in "$ask" "$milter"; do
  for _ in $(seq 600); do ! (exec 3<>"/dev/tcp/${at%:*}/${at#*:}") 2>/dev/null || break; sleep 0.1; done
done

cpu_of() { local files=(); for p in $1; do files+=(/proc/"$p"/task/*/schedstat); done; cat "${files[@]}" 2>/dev/null | awk '{s += $1} END {printf "%.0f", s / 1000}'; }
rspamd_pids() { echo "$rspamd" $(pgrep -P "$rspamd" || true); }

run() { # NAME COUNT PIDS
  local before own after pace=()
  case $1 in *-paced) pace=(--rate "$(awk -v name="${1%-paced}+rspamd" '$1 == name {rate = $2} END {print rate}' "$work/rows")") ;; esac
  taskset -c 1 "$loadgen" "127.0.0.1:$port" -m 500 -c 50 --size 4KiB --to a@example.test >"$work/out" || { cat "$work/out" "$work/log"; exit 1; }
  before=$(cpu_of "$3") own=$(cpu_of "$(rspamd_pids)")
  taskset -c 1 "$loadgen" "127.0.0.1:$port" -m "$2" -c 50 --size 4KiB --to a@example.test "${pace[@]}" >"$work/out"
  after=$(cpu_of "$3") own=$(($(cpu_of "$(rspamd_pids)") - own))
  grep -q "messages *$2 accepted of $2" "$work/out" || { cat "$work/out"; exit 1; }
  echo "$1 $(sed -n 's/^ *rate *\([0-9]*\).*/\1/p' "$work/out" | head -n 1) $(((after - before) * 10 / $2)) $((own * 10 / $2))" >>"$work/rows"
  # A message costs rspamd some hundred microseconds.
  case $1 in *+*) [ "$own" -gt $(($2 * 20)) ] || { echo "rspamd was not asked by $1" >&2; exit 1; } ;; esac
}

ringmx() { # NAME COUNT TABLES
  cat >"$work/ringmx.toml" <<TOML
hostname = "mx.example.test"
domains = ["example.test"]
[[listener]]
address = "127.0.0.1:$port"
[shards]
cpus = [0]
[log]
sessions = false
messages = false
[[sink]]
kind = "spool"
path = "$work/spool"
$3
TOML
  taskset -c 0 "$ringmx" serve --config "$work/ringmx.toml" 2>"$work/log" &
  receiver=$!
  ready "$work/log" "$receiver"
  run "$1" "$2" "$receiver"
  end "$receiver"
  receiver=''
  rm -rf "$work/spool"
}

postfix_beside() { # NAME COUNT LINES
  postfix_start "$port" "$work/queue" "$(printf 'myhostname = mx.example.test\nmydestination = example.test\n%s' "$3")"
  # Warm: the processes of all connections are there, and stay.
  taskset -c 1 "$loadgen" "127.0.0.1:$port" -m 200 -c 50 --size 4KiB --to a@example.test >/dev/null
  run "$1" "$2" "$(postfix_pids)"
  postfix_stop
}

for _ in $(seq "$rounds"); do
  ringmx ringmx "$messages" ''
  ringmx ringmx+rspamd "$messages" "$(printf '[[filter]]\nkind = "rspamd"\nurl = "http://%s"\nskip = "nobody"' "$ask")"
  ringmx ringmx-paced "$messages" ''
  postfix_beside Postfix $((messages / 10)) ''
  postfix_beside Postfix+rspamd $((messages / 10)) "smtpd_milters = inet:$milter"
  postfix_beside Postfix-paced $((messages / 10)) ''
done
python3 - "$work/rows" "$rounds" <<'PY'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    name, *numbers = line.split()
    rows.setdefault(name, []).append([float(number) for number in numbers])
print(f"medians of {sys.argv[2]} rounds\n{'':16}{'messages/s':>12}{'us/message':>12}{'rspamd us':>12}")
for name, runs in rows.items():
    rate, cpu, rspamd = (statistics.median(column) for column in zip(*runs))
    print(f"{name:16}{rate:12.0f}{cpu / 10:12.1f}{rspamd / 10:12.1f}")
PY
