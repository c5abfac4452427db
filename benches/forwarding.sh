# shellcheck shell=bash
# What benches of the forwarder share; sourced, from the repository's root. The far end is a receiver with `discard` on core 1, the
# receiver before it ("near") has a spool and core 0. Everything lies below $work, which is removed at the end with all that runs.
. benches/ready.sh
[ "$(nproc)" -ge 2 ] || { echo "two cores are needed" >&2; exit 1; }
ringmx=${RINGMX:-target/release/ringmx} loadgen=${LOADGEN:-target/release/loadgen}
[ -x $ringmx ] && [ -x $loadgen ] || { echo "first: cargo build --release --workspace" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/var/tmp}/forward.XXXXXX") near='' far='' forwarder=''
# What runs besides and has to end.
others=()
clean() {
  for process in $near $far $forwarder "${others[@]}"; do kill -KILL "$process" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap clean EXIT
stop() { kill -TERM "$1"; wait "$1" 2>/dev/null || true; }

# receiver NAME LISTENER CORE: a configuration without a sink.
receiver() {
  cat <<TOML
hostname = "$1.example.test"
domains = ["example.test", "*.example.test"]
[[listener]]
address = "$2"
[shards]
cpus = [$3]
[limits]
connections_per_client_max = 1000
[log]
sessions = false
messages = false
TOML
}

# next_hop NAME PORT [MORE]: a receiver with `discard` on core 1; $hop is its process. Next hops are told apart by addresses of 127.0.0.0/8.
next_hop() {
  {
    receiver "$1" "0.0.0.0:$2" 1
    printf '%s[[sink]]\nkind = "discard"\n' "${3-}"
  } >"$work/$1.toml"
  taskset -c 1 $ringmx serve --config "$work/$1.toml" 2>"$work/$1.log" &
  hop=$!
  ready "$work/$1.log" "$hop"
}

# The far end, which tells what it has.
far() {
  next_hop far 2825 $'[admin]\naddress = "127.0.0.1:2829"\n'
  far=$hop
}

# What the far end has answered with 250.
taken() { curl -s http://127.0.0.1:2829/metrics | awk '/^ringmx_messages_total.*outcome="stored"/ {s += $NF} END {printf "%d", s}'; }

# wait_for COUNT: until the far end has so many; 1 where that does not come.
wait_for() {
  local until=$((SECONDS + 300))
  until [ "$(taken)" -ge "$1" ]; do
    [ $SECONDS -lt $until ] || { echo "only $(taken) of $1 came" >&2; return 1; }
    sleep 0.02
  done
}

# near_config: standard input has its [[forward]] tables.
near_config() {
  {
    receiver near 127.0.0.1:2820 0
    printf '[[sink]]\nkind = "spool"\npath = "%s"\n' "$work/spool"
    cat
  } >"$work/near.toml"
}

near() {
  taskset -c 0 $ringmx serve --config "$work/near.toml" 2>"$work/near.log" &
  near=$!
  ready "$work/near.log" "$near"
}

# forward CORE
forward() {
  taskset -c "$1" $ringmx forward --config "$work/near.toml" 2>"$work/forward.log" &
  forwarder=$!
}

# load ARGUMENTS: messages of 4 KiB to the near end; $load is the process.
load() {
  $loadgen 127.0.0.1:2820 -s 4KiB "$@" >"$work/load.txt" &
  load=$!
  others+=("$load")
}

# loaded: waits until all that runs besides has ended.
loaded() {
  wait "${others[@]}"
  others=()
}
