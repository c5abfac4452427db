# shellcheck shell=bash
# Waiting for a server, for the other scripts: they read this file.

# ready LOG PID: returns when the log of this process says that it serves. If it has ended, or says nothing for 30 s, the log is shown
# and the script ends.
ready() {
  local _
  for _ in $(seq 600); do
    if grep -q ' ready$' "$1"; then return; fi
    kill -0 "$2" 2>/dev/null || break
    sleep 0.05
  done
  cat "$1" >&2
  exit 1
}
