#!/usr/bin/env bash
# Each fuzz target for a few seconds, with AddressSanitizer. Needs a nightly compiler of rustup and a C++ compiler, and not
# cargo-fuzz: the flags are those that cargo-fuzz gives. Where one of them is missing it says so and succeeds.
#
#   smoke.sh [seconds a target, 7 when left out] [targets, all when left out]
set -euo pipefail
cd "$(dirname "$0")"

seconds="${1:-7}"
shift || true
host=x86_64-unknown-linux-gnu

skip() {
  printf 'skipped: fuzz targets: %s\n' "$1"
  exit 0
}
[ "$(uname -m)" = x86_64 ] || skip "the flags are for x86_64, this is $(uname -m)"
cargo +nightly --version >/dev/null 2>&1 || skip 'no nightly compiler (rustup toolchain install nightly)'
libraries="$(rustc +nightly --print sysroot)/lib/rustlib/$host/lib"
compgen -G "$libraries/librustc*rt.asan.a" >/dev/null || skip "no AddressSanitizer in $libraries"
# libFuzzer comes as C++ with the crate libfuzzer-sys.
"${CXX:-c++}" --version >/dev/null 2>&1 || skip 'no C++ compiler (Debian: g++)'

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/../../target}/fuzz"
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Zsanitizer=address -Clink-dead-code"
cargo +nightly build --release --locked --target "$host"

[ $# -gt 0 ] || set -- $(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"$/\1/p' Cargo.toml)
found="$(mktemp -d)"
trap 'rm -rf "$found"' EXIT

# Runs one target and says what came of it.
run() {
  local target="$1" log="$found/$1.log"
  mkdir -p "$found/$target" "corpus/$target" "artifacts/$target"
  # A list of octets that no memory can hold is a failure of the allocator, which the program survives. What a message leaks outside its
  # shard is by design.
  if ASAN_OPTIONS=allocator_may_return_null=1:detect_odr_violation=0 \
    "$CARGO_TARGET_DIR/$host/release/$target" "$found/$target" "corpus/$target" -artifact_prefix="artifacts/$target/" \
    -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -detect_leaks=0 >"$log" 2>&1; then
    printf '%-14s %s\n' "$target" "$(tail -n 1 "$log")"
  else
    cat "$log"
    printf 'the fuzz target %s failed: the input is in tests/fuzz/artifacts/%s\n' "$target" "$target"
    return 1
  fi
}
export -f run
export found host seconds
# One a core.
printf '%s\n' "$@" | xargs -P "$(nproc)" -I '{}' bash -c 'run {}'
