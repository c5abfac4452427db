#!/bin/sh
# Whether the sandbox refuses a system call that ringmx makes: runs tests with strace beside every server that
# they start, and prints the calls that a filter has answered. It fails where there is one, where no server was
# traced, and where the tests fail. Needs root, strace and a build of the tests.
#
#     tests/refused_calls.sh cargo test --test system
set -eu
traces=$(mktemp -d)
trap 'rm -rf "$traces"' EXIT
trap 'exit 1' HUP INT TERM
status=0
RINGMX_TRACE=$traces "$@" || status=$?
servers=$(find "$traces" -type f | sed 's/\.[0-9]*$//' | sort -u | wc -l)
echo "servers: $servers, the tests ended with $status"
if [ "$servers" = 0 ]
then echo 'no server was traced: is strace there, and do these tests start servers?' >&2; exit 1
fi
# EPERM and ENOSYS are what the filters answer. What they let through whatever its arguments, somebody else has
# refused: a file system, or the kernel to an ordinary user. clone3 is meant to look missing; setuid is tried to
# see that root is gone.
let_through=$(sed -n 's/^    libc::SYS_\(.*\),$/\1/p' "$(dirname "$0")/../src/sandbox/calls.rs" | paste -sd '|')
refused=$(grep -rhE '= -1 (EPERM|ENOSYS)' "$traces" | sed -E 's/\(.*= -1/ = -1/' |
    grep -vE "^($let_through|clone3|setuid) " | sort | uniq -c | sort -rn || true)
if [ -n "$refused" ]
then printf 'these calls were refused; is one of them needed?\n%s\n' "$refused"; status=1
else echo "no call was refused"
fi
exit $status
