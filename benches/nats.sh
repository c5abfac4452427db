#!/usr/bin/env bash
# What mail for a JetStream stream costs, beside a bare publisher with the same window: three servers on this machine, file storage,
# each message synced before it is acknowledged (sync_interval: always).
#
#   NATS_SERVER=PATH benches/nats.sh [ROUNDS] [MESSAGES]      by default 5 rounds of 20,000 messages of 4 KiB
#
# In turn, each round: the bare publisher (benches/bare_nats.rs); ringmx with kind = "nats", under loadgen; ringmx with kind = "spool".
# The servers share core 1, and whoever publishes has core 0, loadgen with it: so the cluster is what both wait for. CORES=shared lets
# all of them share all cores, where what SMTP and loadgen take is taken from the servers.
# Prints medians: messages a second, the time of an acknowledgement (of loadgen: of the reply to the mail data), CPU a message of the
# receiver with all its threads.
#
# Exit code 1: a message was not accepted.
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/ready.sh
rounds=${1:-5} messages=${2:-20000} window=${WINDOW:-256} connections=${CONNECTIONS:-512}
case ${CORES:-apart} in
  apart) publish=(taskset -c 0) serve=(taskset -c 1) ;;
  shared) publish=() serve=() ;;
  *) echo "CORES is apart or shared" >&2; exit 2 ;;
esac
ringmx=$(realpath "${RINGMX:-target/release/ringmx}") loadgen=$(realpath "${LOADGEN:-target/release/loadgen}")
[ -x "$ringmx" ] && [ -x "$loadgen" ] || { echo "first: cargo build --release --workspace" >&2; exit 1; }
server_of_nats=${NATS_SERVER:-nats-server}
"$server_of_nats" --version >/dev/null || { echo "NATS_SERVER names no nats-server (2.15 or later)" >&2; exit 1; }
bare=${BARE:-}
[ -n "$bare" ] || bare=$(cargo bench --locked --bench bare_nats --no-run 2>&1 | sed -n 's/.*(\(.*bare_nats-[0-9a-f]*\)).*/\1/p')
[ -x "$bare" ] || { echo "the publisher could not be built: cargo bench --bench bare_nats --no-run" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/var/tmp}/nats.XXXXXX") server='' nodes=()
end() { [ -z "$1" ] || { kill "$1" 2>/dev/null || true; wait "$1" 2>/dev/null || true; }; }
trap 'end "$server"; for node in "${nodes[@]}"; do end "$node"; done; rm -rf "$work"' EXIT
port=2702 client=4322 route=6322
for number in 0 1 2; do
  cat >"$work/n$number.conf" <<CONF
server_name: n$number
listen: "127.0.0.1:$((client + number))"
jetstream { store_dir: "$work/n$number", sync_interval: always }
cluster { name: bench, listen: "127.0.0.1:$((route + number))", no_advertise: true
  routes: ["nats://127.0.0.1:$route", "nats://127.0.0.1:$((route + 1))", "nats://127.0.0.1:$((route + 2))"] }
CONF
  "${serve[@]}" "$server_of_nats" -c "$work/n$number.conf" -l "$work/n$number.log" & nodes+=($!)
done
config() { # SINK
  printf 'hostname = "mx.example.org"\ndomains = ["example.org"]\n[[listener]]\naddress = "127.0.0.1:%s"\n[[sink]]\n%s\n' "$port" "$1"
  printf '[shards]\ncpus = [0]\n[limits]\nconnections_per_client_max = 10000\n[log]\nsessions = false\nmessages = false\n'
}
cpu() { cat /proc/"$server"/task/*/schedstat | awk '{s += $1} END {printf "%.0f", s / 1000}'; }
run() { # NAME SINK
  config "$2" >"$work/c.toml"
  "${publish[@]}" "$ringmx" serve --config "$work/c.toml" 2>"$work/log" & server=$!
  ready "$work/log" "$server"
  "${publish[@]}" "$loadgen" "127.0.0.1:$port" -m 1000 -c "$connections" --size 4KiB --to a@example.org >/dev/null
  local before after
  before=$(cpu)
  "${publish[@]}" "$loadgen" "127.0.0.1:$port" -m "$messages" -c "$connections" --size 4KiB --to a@example.org >"$work/out"
  after=$(cpu)
  grep -q "messages *$messages accepted of $messages" "$work/out" || { cat "$work/out"; tail "$work/log"; exit 1; }
  cp "$work/out" "$work/out.$1"
  echo "$1 $(sed -n 's/^ *rate *\([0-9]*\).*/\1/p' "$work/out" | head -n 1) $(awk -v us=$((after - before)) -v count="$messages" 'BEGIN {print us / count}')" >>"$work/rows"
  end "$server"
  server=''
}
nats() { printf 'kind = "nats"\nservers = ["nats://127.0.0.1:%s"]\nstream = "MAIL"\ncreate = true\nwindow = %s\n' "$client" "$window"; }
# The cluster has to find itself first, and the stream its leader.
for _ in $(seq 60); do
  cat "$work"/n?.log 2>/dev/null | grep -q 'new JetStream cluster metadata leader' && break
  sleep 0.5
done
config "$(nats)" >"$work/c.toml"
for _ in $(seq 30); do
  timeout 5 "$ringmx" serve --config "$work/c.toml" 2>"$work/log" || true
  grep -q 'is stored by' "$work/log" && break
done
grep -q 'is stored by' "$work/log" || { tail "$work/log" "$work"/n0.log; exit 1; }
for _ in $(seq "$rounds"); do
  "${publish[@]}" "$bare" "nats://127.0.0.1:$client" mail.default.0 "$messages" 4096 "$window" >"$work/bare"
  echo "bare $(cut -d' ' -f1 "$work/bare") 0" >>"$work/rows"
  run nats "$(nats)"
  rm -rf "$work/spool"
  run spool "$(printf 'kind = "spool"\npath = "%s/spool"\n' "$work")"
done
cat "$work/bare"
grep -E '^ *(latency|accepted) ' "$work/out.nats" || true
awk '
  {n[$1]++; rate[$1, n[$1]] = $2; cpu[$1, n[$1]] = $3}
  function median(a, name,   i, j, t, s, c) {
    c = n[name]; for (i = 1; i <= c; i++) s[i] = a[name, i]
    for (i = 2; i <= c; i++) for (j = i; j > 1 && s[j - 1] > s[j]; j--) {t = s[j]; s[j] = s[j - 1]; s[j - 1] = t}
    return s[int((c + 1) / 2)]
  }
  END {
    for (name in n) printf "%-6s %6d a second, %6.1f us of CPU a message (medians of %d rounds)\n", name, median(rate, name), median(cpu, name), n[name]
    printf "nats: %.2f of the bare publisher, %.2f of the spool\n", median(rate, "nats") / median(rate, "bare"), median(rate, "nats") / median(rate, "spool")
  }' "$work/rows"
