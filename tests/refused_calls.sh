#!/bin/sh
# Whether the sandbox refuses a system call that ringmx makes: runs tests with strace beside every server that
# they start, and prints the calls that a filter has answered. It fails where there is one, where no server was
# traced, and where the tests fail. Needs root, strace and a build of the tests.
#
#     tests/refused_calls.sh cargo test --test system
set -eu
traces=$(mktemp -d)
trap 'rm -rf "$traces"' EXIT
status=0
RINGMX_TRACE=$traces "$@" || status=$?
servers=$(find "$traces" -type f | wc -l)
echo "servers: $servers, the tests ended with $status"
if [ "$servers" = 0 ]
then echo 'no server was traced: is strace there, and do these tests start servers?' >&2; exit 1
fi
# EPERM and ENOSYS are what the filters answer. clone3 is meant to look missing; before the filter comes,
# programs ask for what a kernel may lack.
refused=$(grep -rhE '= -1 (EPERM|ENOSYS)' "$traces" | sed -E 's/^[0-9]+ +//; s/\(.*= -1/ = -1/' |
    grep -v '^clone3 ' | sort | uniq -c | sort -rn || true)
if [ -n "$refused" ]
then printf 'these calls were refused; is one of them needed?\n%s\n' "$refused"; status=1
else echo "no call was refused"
fi
exit $status
