# shellcheck shell=bash
# A Postfix beside what is measured, for the other scripts: they read this file. It has its configuration below $work, runs on core 0,
# and holds what it takes (HOLD).
postfix_up='' postfix_queue=''

# postfix_start PORT QUEUE LINES: one at 127.0.0.1:PORT with its queue there and these lines of main.cf, too. 1 where it does not start.
postfix_start() {
  command -v postfix >/dev/null || { echo "no Postfix here" >&2; return 1; }
  postfix_queue=$2
  mkdir -p "$work/postfix/data" "$postfix_queue"
  chown postfix "$work/postfix/data"
  chmod 755 "$work" "$work/postfix"
  sed -e "s/^smtp      inet  n       -       y /127.0.0.1:$1 inet  n       -       n /" -e 's/^\([a-z]*  *[a-z]*  *[-n]  *-  *\)y/\1n/' \
    /etc/postfix/master.cf >"$work/postfix/master.cf"
  cat >"$work/postfix/main.cf" <<CF
compatibility_level = 3.6
queue_directory = $postfix_queue
data_directory = $work/postfix/data
command_directory = /usr/sbin
daemon_directory = $(postconf -h daemon_directory)
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
local_recipient_maps =
smtpd_recipient_restrictions = check_client_access static:HOLD, permit
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
default_process_limit = 100
# A process that ends takes the account of its CPU along.
max_use = 1000000
maillog_file = /dev/stdout
$3
CF
  taskset -c 0 postfix -c "$work/postfix" start >"$work/postfix.log" 2>&1 || { cat "$work/postfix.log" >&2; return 1; }
  postfix_up=1
  sleep 2
}

# Ends it, and forgets its queue.
postfix_stop() {
  [ -n "$postfix_up" ] || return 0
  postfix -c "$work/postfix" stop >/dev/null 2>&1 || true
  postfix_up=''
  rm -rf "$postfix_queue" "$work/postfix"
}

# Its processes, the master first.
postfix_pids() { local master; master=$(tr -d ' ' <"$postfix_queue/pid/master.pid"); echo "$master" $(pgrep -P "$master" || true); }
