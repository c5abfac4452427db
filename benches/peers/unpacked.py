"""Receivers that `unpack` brought into target/peers. They are not installed, so each runs in a mount namespace of its own, where the users and
folders exist that it was built for."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from receivers import Receiver, version_of

# Users that Debian's packages would have made. Their numbers need only be free.
USERS = {"Debian-exim": 64901, "opensmtpd": 64902, "opensmtpq": 64903}


class Unpacked(Receiver):
    folder_name = ""
    program = ""
    needs_no_root = False

    def unpacked(self):
        return self.repository / "target/peers" / self.folder_name

    def missing(self):
        if not (self.unpacked() / self.program).exists():
            return "first: benches/peers/unpack"
        return None if self.needs_no_root or os.geteuid() == 0 else "only root can give it its users and folders"

    def libraries(self):
        return ":".join(sorted({str(found.parent) for found in self.unpacked().rglob("*.so.*")}))

    def accounts(self):
        """Copies of the system's users and groups, with those of the packages: what to mount over which file."""
        mounts = {}
        for file, fields in (("passwd", "{0}:x:{1}:{1}::/nonexistent:/usr/sbin/nologin\n"), ("group", "{0}:x:{1}:\n")):
            copy = self.folder / file
            own = "".join(fields.format(name, number) for name, number in USERS.items())
            # Somebody else's of the same name would come first and count.
            others = [line for line in Path("/etc", file).read_text().splitlines() if line.split(":")[0] not in USERS]
            copy.write_text("\n".join(others) + "\n" + own)
            mounts[f"/etc/{file}"] = copy
        return mounts

    def in_namespace(self, mounts, command):
        """The command that mounts these and becomes `command`."""
        script = "".join(f"mount --bind {shlex.quote(str(what))} {where} && " for where, what in mounts.items())
        environment = ["env", f"LD_LIBRARY_PATH={self.libraries()}"]
        return ["unshare", "--mount", "sh", "-c", script + 'exec "$@"', "sh", *environment, *map(str, command)]


class Exim(Unpacked):
    """It stores every message and tries to deliver none."""

    name, disk, folder_name, program = "Exim (queue only)", True, "exim", "usr/sbin/exim4"

    def version(self):
        command = self.in_namespace(self.accounts(), [self.unpacked() / self.program, "-bV"])
        return version_of(command, r"(?<=Exim version )\S+")

    def command(self, port):
        spool = self.disk_folder / "exim"
        spool.mkdir(exist_ok=True)
        os.chown(spool, USERS["Debian-exim"], USERS["Debian-exim"])
        config = self.folder / "exim.conf"
        config.write_text(f"""primary_hostname = mx.example.test
tls_advertise_hosts =
spool_directory = {spool}
log_file_path = {spool}/%slog
keep_environment =
queue_only = true
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_connect_backlog = 1024
rfc1413_query_timeout = 0s
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
all:
  driver = redirect
  data = :blackhole:
""")
        daemon = [self.unpacked() / self.program, "-C", config, "-bdf", "-oX", f"127.0.0.1.{port}"]
        return self.in_namespace(self.accounts(), daemon)

    def stop(self):
        super().stop()
        shutil.rmtree(self.disk_folder / "exim", ignore_errors=True)


class OpenSmtpd(Unpacked):
    """It stores every message, tries to deliver none, and syncs nothing (`strace` shows renames and no fsync)."""

    name, folder_name, program = "OpenSMTPD", "opensmtpd", "usr/sbin/smtpd"

    def version(self):
        return version_of(["dpkg-deb", "-f", *self.unpacked().with_suffix(".packages").glob("opensmtpd_*"), "Version"])

    def command(self, port):
        folders = {where: (self.disk_folder or self.folder) / "opensmtpd" / where[1:] for where in ("/var/spool", "/var/lib", "/run")}
        for path in ("/var/spool/smtpd", "/var/lib/opensmtpd/empty", "/run"):
            made = (self.disk_folder or self.folder) / "opensmtpd" / path[1:]
            made.mkdir(parents=True, exist_ok=True)
            made.chmod(0o711 if path.endswith("smtpd") else 0o755)
        config = self.folder / "smtpd.conf"
        config.write_text(f"""listen on 127.0.0.1 port {port} hostname mx.example.test
smtp limit max-mails 100000000
action "hold" relay host smtp://127.0.0.1:9
match from any for any action "hold"
""")
        daemon = [self.unpacked() / self.program, "-d", "-P", "mta", "-f", config]
        return self.in_namespace(self.accounts() | folders, daemon)

    def stop(self):
        super().stop()
        shutil.rmtree((self.disk_folder or self.folder) / "opensmtpd", ignore_errors=True)


class Haraka(Unpacked):
    name, folder_name, program = "Haraka (queue/discard)", "haraka", "node_modules/.bin/haraka"
    needs_no_root = True

    def missing(self):
        return super().missing() if shutil.which("node") else "Node.js is not installed"

    def version(self):
        return version_of(["node", "-p", f"require('{self.unpacked()}/node_modules/Haraka/package.json').version"])

    def command(self, port):
        program, made = str(self.unpacked() / self.program), self.folder / "haraka"
        subprocess.run([program, "-i", made], capture_output=True, check=True, timeout=60)
        config = made / "config"
        for name, text in {
            "smtp.ini": f"listen=127.0.0.1:{port}\nnodes=0\n",
            "plugins": "rcpt_to.in_host_list\nqueue/discard\n",
            "host_list": "example.test\nloadgen.test\n",
            "log.ini": "level=error\n",
        }.items():
            (config / name).write_text(text)
        return ["env", "YES_REALLY_DO_DISCARD=1", program, "-c", str(made)]

    def stop(self):
        super().stop()
        shutil.rmtree(self.folder / "haraka", ignore_errors=True)


RECEIVERS = [OpenSmtpd, Haraka, Exim]
