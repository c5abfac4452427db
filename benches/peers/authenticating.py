"""Receivers that check SPF, DKIM and DMARC of the mail they take, and the DNS that all of them ask: one resolver on loopback, which holds the
zone of the load, in a network of its own. Postfix and its helpers ask whom /etc/resolv.conf names, so that is mounted over."""

import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from receivers import RECEIVER_CORE, Postfix, RingmxDiscard, RingmxSpool, version_of

UNPACKED = "target/peers/authentication"
NETWORK_MARK = "--in-own-network"
SIGN = ["--sign", "rsa-2048", "--sign-domains", "1000"]
# Stored messages that are looked at after a run.
LOOKED_AT = 20
# Neither checks mail of this machine; so "this machine" is somebody else.
NOBODY = "192.0.2.254\n"


def enter_own_network(is_there):
    """Begins this program again in a network and a mount namespace of its own: nobody else's port 53, nobody else's resolver."""
    if not is_there:
        os.execvp("unshare", ["unshare", "--net", "--mount", "--", sys.executable, *sys.argv, NETWORK_MARK])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def environment(unpacked):
    """Where its programs find their libraries and modules."""
    libraries = ":".join(sorted({str(found.parent) for found in unpacked.rglob("*.so.*")}))
    return ["env", f"LD_LIBRARY_PATH={libraries}", f"PYTHONPATH={unpacked / 'usr/lib/python3/dist-packages'}"]


def missing(repository):
    """Why nothing of this can be run; none when it can."""
    if not (repository / UNPACKED / "usr/sbin/unbound").exists():
        return "first: benches/peers/unpack"
    if os.geteuid() != 0:
        return "only root can give it a network of its own"
    done = subprocess.run([repository / "target/release/loadgen", "zone", *SIGN], capture_output=True, check=False)
    return None if done.returncode == 0 else "this loadgen cannot sign"


class Resolver:
    """unbound on the core of loadgen, with the zone of the load, for all receivers in turn. It begins with empty caches and keeps them."""

    def __init__(self, repository, folder):
        self.folder = folder / "resolver"
        self.folder.mkdir()
        zone = subprocess.run([repository / "target/release/loadgen", "zone", *SIGN], capture_output=True, check=True).stdout
        (self.folder / "zone").write_bytes(zone)
        config = self.folder / "unbound.conf"
        config.write_text(f"""server:
  interface: 127.0.0.1
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{self.folder}"
  pidfile: ""
  use-syslog: no
  logfile: ""
  module-config: "iterator"
  local-zone: "test." nodefault
auth-zone:
  name: "test."
  zonefile: "{self.folder / 'zone'}"
  for-downstream: no
  for-upstream: yes
remote-control:
  control-enable: no
""")
        names = self.folder / "resolv.conf"
        names.write_text("nameserver 127.0.0.1\n")
        subprocess.run(["mount", "--bind", names, Path("/etc/resolv.conf").resolve()], check=True)
        unpacked = repository / UNPACKED
        command = ["taskset", "-c", "1", *environment(unpacked), unpacked / "usr/sbin/unbound", "-d", "-c", config]
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.wait()

    def wait(self):
        # TXT of loadgen.test. An answer with records shows that it has the zone.
        question = bytes([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + b"\x07loadgen\x04test\x00" + bytes([0, 16, 0, 1])
        for _ in range(100):
            if self.process.poll() is not None:
                break
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.settimeout(0.2)
                try:
                    asking.connect(("127.0.0.1", 53))
                    asking.send(question)
                    answer = asking.recv(512)
                    if answer[3] & 15 == 0 and answer[7] > 0:
                        return
                except OSError:
                    time.sleep(0.1)
        self.close()
        raise RuntimeError(f"the resolver does not answer: {(self.folder / 'log').read_text()[-300:]}")

    def close(self):
        self.process.terminate()
        self.process.wait()
        subprocess.run(["umount", Path("/etc/resolv.conf").resolve()], capture_output=True, check=False)


class Ringmx:
    """Before the sink of another class: with all checks as they are by default."""

    authenticates = True
    more_config = '[auth]\n[dns]\nservers = ["127.0.0.1:53"]\n'

    def missing(self):
        why = super().missing() or missing(self.repository)
        if why:
            return why
        keys = subprocess.run([self.binary(), "config"], capture_output=True, text=True, check=False).stdout
        return None if "[auth]" in keys else "this ringmx has no [auth]"


class RingmxDiscardChecks(Ringmx, RingmxDiscard):
    name = "ringmx discard, SPF DKIM DMARC"


class RingmxSpoolChecks(Ringmx, RingmxSpool):
    name = "ringmx spool, SPF DKIM DMARC"

    def headers(self):
        spool = str(self.disk_folder / self.sink)
        with subprocess.Popen([self.binary(), "spool", "list", spool], stdout=subprocess.PIPE, text=True) as listing:
            numbers = [line.split(maxsplit=1)[0] for line in itertools.islice(listing.stdout, LOOKED_AT)]
            listing.terminate()
        show = [self.binary(), "spool", "show", spool]
        shown = [subprocess.run([*show, number], capture_output=True, check=True).stdout for number in numbers]
        return [message.partition(b"\r\n\r\n")[0].decode(errors="replace") for message in shown]


class PostfixChecks(Postfix):
    """policyd-spf asked at RCPT, then opendkim and opendmarc as milters. All mark only, and what fails temporarily fails the run."""

    name, authenticates = "Postfix (HOLD), policyd-spf opendkim opendmarc", True
    # A policyd-spf is started for each smtpd, and that takes Python a quarter of a second of the core.
    warm_up_seconds = 30
    restrictions = "check_policy_service unix:private/policyd-spf, "
    more_main = """smtpd_milters = inet:127.0.0.1:8891, inet:127.0.0.1:8893
milter_default_action = tempfail
policyd-spf_time_limit = 3600
"""

    def missing(self):
        return super().missing() or missing(self.repository)

    def version(self):
        packages = self.repository / f"{UNPACKED}.packages"
        found = [next(packages.glob(f"{name}_*"), None) for name in ("postfix-policyd-spf-python", "opendkim", "opendmarc")]
        others = [version_of(["dpkg-deb", "-f", package, "Version"]) if package else "?" for package in found]
        return " ".join([super().version(), *others])

    def unpacked(self):
        """Where everybody may read it: the repository may be root's alone."""
        copy = self.folder / "authentication"
        if not copy.exists():
            shutil.copytree(self.repository / UNPACKED, copy, symlinks=True)
        return copy

    def start(self, port):
        unpacked, folder = self.unpacked(), self.folder
        run = environment(unpacked)
        (folder / "nobody").write_text(NOBODY)
        (folder / "spf.conf").write_text("HELO_reject = False\nMail_From_reject = False\nskip_addresses = 192.0.2.254/32\nHeader_Type = AR\n"
                                         "Authserv_Id = mx.example.test\ndebugLevel = 0\n")
        (folder / "dkim.conf").write_text(f"Mode v\nSocket inet:8891@127.0.0.1\nBackground no\nSyslog no\nAuthservID mx.example.test\n"
                                          f"InternalHosts {folder}/nobody\nNameservers 127.0.0.1\n")
        (folder / "dmarc.conf").write_text(f"Socket inet:8893@127.0.0.1\nBackground false\nSyslog false\nAuthservID mx.example.test\n"
                                           f"TrustedAuthservIDs mx.example.test\nIgnoreHosts {folder}/nobody\nRejectFailures false\n")
        policy = " ".join(map(str, [*run, "/usr/bin/python3", unpacked / "usr/bin/policyd-spf", folder / "spf.conf"]))
        self.more_master = f"policyd-spf unix - n n - 0 spawn\n  user=nobody argv=/usr/bin/{policy}\n"
        log = open(folder / "milters.log", "wb")
        milter = ["taskset", "-c", RECEIVER_CORE, *run]
        self.milters = [
            subprocess.Popen([*milter, unpacked / f"usr/sbin/{name}", "-f", "-x" if name == "opendkim" else "-c", folder / config],
                             stdout=log, stderr=log)
            for name, config in (("opendkim", "dkim.conf"), ("opendmarc", "dmarc.conf"))
        ]
        super().start(port)

    def roots(self):
        return super().roots() | {milter.pid for milter in self.milters}

    def headers(self):
        held = (found.name for found in (self.queue / "hold").rglob("*") if found.is_file())
        show = ["postcat", "-c", str(self.config), "-h", "-q"]
        shown = [subprocess.run([*show, name], capture_output=True, check=True).stdout for name in itertools.islice(held, LOOKED_AT)]
        return [header.decode(errors="replace") for header in shown]

    def stop(self):
        super().stop()
        for milter in getattr(self, "milters", []):
            milter.terminate()
            milter.wait()


def check(headers):
    """That all three were looked for in each message, and found: a receiver that does not check is fast. Not all domains have a policy."""
    lacking = {result for header in headers for result in ("spf=", "dkim=pass", "dmarc=") if result not in header}
    if not any("dmarc=pass" in header for header in headers):
        lacking.add("dmarc=pass")
    if lacking:
        raise RuntimeError(f"messages were stored without {' and '.join(sorted(lacking))}")


RECEIVERS = [RingmxDiscardChecks, RingmxSpoolChecks, PostfixChecks]
