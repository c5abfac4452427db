"""The receivers that `run` compares. Each knows how it is found, started on a port, and which processes are its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
RECEIVER_CORE = "0"


def version_of(command, pattern=r"\S.*"):
    """The first match in what a command prints, or "?"."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return "?"
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(0).strip() if found else "?"


class Receiver:
    """A receiver. `disk` tells that its 250 promises a message on disk."""

    name = ""
    disk = False
    # Whether it checks who vouches for mail; then its load is signed.
    authenticates = False
    # How long the load goes on before the run that counts, until all its processes are there.
    warm_up_seconds = 1

    def __init__(self, repository, folder, disk_folder):
        self.repository, self.folder, self.disk_folder = repository, folder, disk_folder
        self.process = None

    def missing(self):
        """Why it cannot be run here; none when it can."""
        return None

    def version(self):
        """As shown in the table."""
        raise NotImplementedError

    def command(self, port):
        """What is run, after its configuration was written."""
        raise NotImplementedError

    def start(self, port):
        command = ["taskset", "-c", RECEIVER_CORE, *self.command(port)]
        log = open(self.folder / "receiver.log", "wb")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def has_ended(self):
        """Whether it ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def last_words(self):
        """The last line of its output, for who looks why it does not answer."""
        try:
            lines = (self.folder / "receiver.log").read_text(errors="replace").split("\n")
        except OSError:
            lines = []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")

    def root(self):
        """The process all others of this receiver descend from."""
        return self.process.pid

    def roots(self):
        """All processes that are started for it; the others descend from them."""
        return {self.root()}

    def headers(self):
        """Header sections of some messages that it has stored; none where nothing is to be seen."""
        return []

    def cpu_seconds(self):
        """User and system time of its processes and of the children they have waited for."""
        total, parents, roots = 0, {}, self.roots()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                parents[int(entry.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
        for process, (_, ticks) in parents.items():
            ancestor = process
            while ancestor in parents and ancestor not in roots:
                ancestor = parents[ancestor][0]
            if ancestor in roots:
                total += ticks
        return total / TICKS

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                pass
        if self.process:
            # Whatever of it is left: a child may keep the port.
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
        self.process = None


class Ringmx(Receiver):
    sink = ""
    more_config = ""

    def version(self):
        return version_of([self.binary(), "--version"], r"\d[\d.]*")

    def binary(self):
        return str(self.repository / "target/release/ringmx")

    def missing(self):
        return None if os.access(self.binary(), os.X_OK) else "first: cargo build --release --workspace"

    def command(self, port):
        path = f'path = "{self.disk_folder}/{self.sink}"\n' if self.disk else ""
        config = self.folder / "ringmx.toml"
        config.write_text(
            f'hostname = "mx.example.test"\n[[listener]]\naddress = "127.0.0.1:{port}"\n'
            f'[shards]\ncpus = [{RECEIVER_CORE}]\n[log]\nsessions = false\nmessages = false\n'
            f'[[sink]]\nkind = "{self.sink}"\n{path}{self.more_config}'
        )
        return [self.binary(), "serve", "--config", str(config)]

    def stop(self):
        super().stop()
        if self.disk:
            shutil.rmtree(self.disk_folder / self.sink, ignore_errors=True)


class RingmxDiscard(Ringmx):
    name, sink = "ringmx discard", "discard"


class RingmxSpool(Ringmx):
    name, sink, disk = "ringmx spool", "spool", True


class RingmxMaildir(Ringmx):
    name, sink, disk = "ringmx maildir", "maildir", True


class SmtpSink(Receiver):
    name = "smtp-sink"

    def missing(self):
        return None if shutil.which("smtp-sink") else "smtp-sink (of Postfix) is not installed"

    def version(self):
        return version_of(["postconf", "-h", "mail_version"])

    def command(self, port):
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        return ["smtp-sink", *user, "-c", f"127.0.0.1:{port}", "1000"]


class Aiosmtpd(Receiver):
    name = "aiosmtpd"

    def python(self):
        # Debian's package is for Debian's interpreter, which need not be the first on the path.
        for python in (sys.executable, "/usr/bin/python3"):
            done = subprocess.run([python, "-c", "import aiosmtpd"], capture_output=True, check=False)
            if done.returncode == 0:
                return python
        return None

    def missing(self):
        return None if self.python() else "aiosmtpd is not installed"

    def version(self):
        return version_of([self.python(), "-c", "import aiosmtpd; print(aiosmtpd.__version__)"])

    def command(self, port):
        handler = ["-c", "aiosmtpd.handlers.Sink", "-l", f"127.0.0.1:{port}"]
        return [self.python(), "-m", "aiosmtpd", "-n", *handler]


class Postfix(Receiver):
    """Every message is put on hold: it is stored, and nothing is done with it."""

    name, disk = "Postfix (HOLD)", True
    # What is asked before a message is put on hold, and lines more of main.cf and master.cf.
    restrictions = more_main = more_master = ""

    def missing(self):
        return None if shutil.which("postfix") else "Postfix is not installed"

    def version(self):
        return version_of(["postconf", "-h", "mail_version"])

    def start(self, port):
        (self.folder / "receiver.log").unlink(missing_ok=True)
        self.config, self.queue = self.folder / "postfix", self.disk_folder / "postfix/spool"
        self.config.mkdir(exist_ok=True)
        data = self.disk_folder / "postfix/data"
        for folder in (self.queue, data):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(data, "postfix")
        # The port in place of smtp, and nothing in a chroot.
        lines = Path("/etc/postfix/master.cf").read_text().splitlines()
        service = re.compile(r"^(\S+\s+(?:inet|unix|unix-dgram|fifo|pass)\s+\S+\s+\S+\s+)\S+(.*)$")
        smtp = re.compile(r"^smtp(\s+inet)")
        lines = [service.sub(r"\1n\2", smtp.sub(rf"127.0.0.1:{port}\1", line)) for line in lines]
        (self.config / "master.cf").write_text("\n".join(lines) + "\n" + self.more_master)
        (self.config / "main.cf").write_text(f"""compatibility_level = 3.6
queue_directory = {self.queue}
data_directory = {data}
command_directory = {version_of(["postconf", "-h", "command_directory"])}
daemon_directory = {version_of(["postconf", "-h", "daemon_directory"])}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.example.test
mydestination = example.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
local_recipient_maps =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = {self.restrictions}check_client_access static:HOLD, permit
smtpd_client_connection_count_limit = 0
default_process_limit = 100
maillog_file = /dev/stdout
{self.more_main}""")
        command = ["taskset", "-c", RECEIVER_CORE, "postfix", "-c", str(self.config), "start"]
        subprocess.run(command, capture_output=True, check=True, timeout=60)

    def root(self):
        return int((self.queue / "pid/master.pid").read_text())

    def stop(self):
        subprocess.run(["postfix", "-c", str(self.config), "stop"], capture_output=True, check=False, timeout=60)
        time.sleep(1)
        shutil.rmtree(self.disk_folder / "postfix", ignore_errors=True)


RECEIVERS = [RingmxDiscard, SmtpSink, Aiosmtpd, RingmxSpool, RingmxMaildir, Postfix]
