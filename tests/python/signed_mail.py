"""Writes messages that others signed: dkimpy, opendkim, and both in the shapes that large senders and lists give them.

Usage: signed_mail.py FOLDER. Each message is a file NAME.eml with the line ends of SMTP. `zone.txt` has the records of their keys,
a name, a tab and a text a line. Keys are made anew each time. What dkimpy does not verify is called `…-broken`.
"""

import base64
import os
import socket
import struct
import subprocess
import sys
import time

import dkim
import nacl.signing

TEXT = (
    b"A line,\r\n"
    b"  blanks  in \t it \t \r\n"
    b".\r\n"
    b"From here\r\n" + b"long " * 180 + b"\r\n"
    b"\r\n"
    b" \t\r\n"
    b"\r\n"
)
BODIES = {"text": TEXT, "empty": b"", "lines": b"\r\n\r\n\r\n", "cut": b"no line end", "eight": "gr\u00fc\u00df\r\n".encode() * 3}
FORMS = ("simple", "relaxed")


def header(sender, more=b""):
    """Fields with folds and blanks in them."""
    return (
        more
        + b"From: An Author <%s>\r\n" % sender
        + b"To: known@example.org,\r\n\tother@example.org\r\n"
        + b"Subject: a subject   with blanks\r\n  and a fold\r\n"
        + b"Date: Sun, 29 Nov 2026 08:00:00 +0000\r\n"
        + b"Message-ID: <1@signed.example>\r\n"
        + b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    )


class Keys:
    """Key pairs, and the records that tell of them."""

    def __init__(self, folder):
        self.folder, self.zone = folder, []
        self.rsa_path = os.path.join(folder, "rsa.pem")
        self.ed25519_path = os.path.join(folder, "ed25519.pem")
        run("openssl", "genrsa", "-traditional", "-out", self.rsa_path, "2048")
        run("openssl", "genpkey", "-algorithm", "ed25519", "-out", self.ed25519_path)
        with open(self.rsa_path, "rb") as file:
            self.rsa = file.read()
        self.rsa_record = "v=DKIM1; k=rsa; p=" + encoded(run("openssl", "rsa", "-in", self.rsa_path, "-pubout", "-outform", "DER"))
        # The last 32 octets of either form are the key itself (RFC 8410).
        private = run("openssl", "pkey", "-in", self.ed25519_path, "-outform", "DER")[-32:]
        public = run("openssl", "pkey", "-in", self.ed25519_path, "-pubout", "-outform", "DER")[-32:]
        assert bytes(nacl.signing.SigningKey(private).verify_key) == public
        self.ed25519 = encoded(private).encode()
        self.ed25519_record = "v=DKIM1; k=ed25519; p=" + encoded(public)

    def tell(self, name, text):
        self.zone.append(f"{name}\t{text}\n")

    def ask(self, name, timeout=5):
        """What the DNS will say, for a verifier."""
        name = name.decode().rstrip(".")
        return next((text.rstrip("\n").encode() for line in self.zone for at, text in [line.split("\t")] if at == name), None)

    def publish(self, domain):
        """The keys `rsa` and `ed25519` of a domain."""
        self.tell(f"rsa._domainkey.{domain}", self.rsa_record)
        self.tell(f"ed25519._domainkey.{domain}", self.ed25519_record)

    def sign(self, message, domain, algorithm="rsa", forms=("relaxed", "relaxed"), **more):
        """The message with a signature of dkimpy on top."""
        key = self.rsa if algorithm == "rsa" else self.ed25519
        forms = tuple(form.encode() for form in forms)
        field = dkim.sign(
            message, algorithm.encode(), domain.encode(), key, canonicalize=forms, signature_algorithm=f"{algorithm}-sha256".encode(), **more
        )
        return field + message


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def encoded(octets):
    return base64.b64encode(octets).decode()


def write(folder, name, message):
    with open(os.path.join(folder, name + ".eml"), "wb") as file:
        file.write(message)


def by_dkimpy(folder, keys):
    """Every combination of forms and algorithm, with every body."""
    keys.publish("dkimpy.example")
    for head in FORMS:
        for body in FORMS:
            for algorithm in ("rsa", "ed25519"):
                for name, text in BODIES.items():
                    message = header(b"a@dkimpy.example") + b"\r\n" + text
                    write(folder, f"dkimpy-{head}-{body}-{algorithm}-{name}", keys.sign(message, "dkimpy.example", algorithm, (head, body)))


class Milter:
    """An MTA's side of the milter protocol (libmilter, version 6), as much of it as a filter that signs needs."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        # No step is left out, and each has an answer.
        self.send(b"O", struct.pack(">III", 6, 0x1FF, 0))
        assert self.receive()[0] == b"O"

    def send(self, command, data=b""):
        self.socket.sendall(struct.pack(">I", len(data) + 1) + command + data)

    def receive(self):
        (count,) = struct.unpack(">I", self.exactly(4))
        data = self.exactly(count)
        return data[:1], data[1:]

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "the filter closed"
            data += more
        return data

    def ask(self, command, data=b""):
        self.send(command, data)
        answer = self.receive()[0]
        assert answer in b"ca", (command, answer)

    def sign(self, message, sender):
        """The fields that the filter puts on top, with the message below them."""
        head, body = message.split(b"\r\n\r\n", 1)
        self.ask(b"C", b"localhost\x004" + struct.pack(">H", 25) + b"127.0.0.1\x00")
        self.ask(b"H", b"localhost\x00")
        self.ask(b"M", b"<%s>\x00" % sender)
        self.ask(b"R", b"<known@example.org>\x00")
        for field in (b"\r\n" + head).replace(b"\r\n ", b"\n ").replace(b"\r\n\t", b"\n\t").split(b"\r\n")[1:]:
            name, value = field.split(b": ", 1)
            self.ask(b"L", name + b"\x00" + value + b"\x00")
        self.ask(b"N")
        if body:
            self.ask(b"B", body)
        self.send(b"E")
        fields = b""
        while True:
            answer, data = self.receive()
            if answer in (b"a", b"c"):
                return fields + message
            if answer == b"i":
                name, value = data[4:].rstrip(b"\x00").split(b"\x00")
                fields += name + b": " + value.lstrip(b" ").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"
            elif answer == b"h":
                raise AssertionError("a signature stands on top")


def by_opendkim(folder, keys):
    """Every combination of forms and algorithm."""
    keys.publish("opendkim.example")
    for head in FORMS:
        for body in FORMS:
            for algorithm in ("rsa", "ed25519"):
                name = f"{head}-{body}-{algorithm}"
                path, config = os.path.join(folder, name + ".socket"), os.path.join(folder, name + ".conf")
                with open(config, "w", encoding="ascii") as file:
                    file.write(
                        f"Mode s\nDomain opendkim.example\nSelector {algorithm}\nCanonicalization {head}/{body}\n"
                        f"KeyFile {keys.rsa_path if algorithm == 'rsa' else keys.ed25519_path}\nSignatureAlgorithm {algorithm}-sha256\n"
                        f"Socket local:{path}\nBackground no\nRequireSafeKeys no\nSyslog no\nOversignHeaders From\n"
                    )
                filter_process = subprocess.Popen(["opendkim", "-f", "-x", config], env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"})
                try:
                    for body_name, text in BODIES.items():
                        # What has no line end at its end gets one from every MTA.
                        if not text.endswith(b"\n"):
                            continue
                        message = header(b"a@opendkim.example") + b"\r\n" + text
                        signed = Milter(path).sign(message, b"a@opendkim.example")
                        assert signed.startswith(b"DKIM-Signature: "), signed[:100]
                        # Ed25519 of 2.11.0~beta2 is often not that of the octets, at random.
                        is_good = dkim.verify(signed, dnsfunc=keys.ask)
                        write(folder, f"opendkim-{name}-{body_name}" + ("" if is_good else "-broken"), signed)
                finally:
                    # It takes its time otherwise.
                    filter_process.kill()
                    filter_process.wait()


def in_shapes(folder, keys):
    """The shapes of real mail."""
    for domain in ("webmail.example", "tenant.example", "tenant.hoster.example", "strict.example", "lists.example"):
        keys.publish(domain)
    # A large webmail: relaxed, names twice against additions, a field of its own that looks like a signature.
    names = b"to subject message-id date from mime-version from to cc subject date message-id reply-to".split()
    message = header(b"someone@webmail.example", b"X-Gm-Message-State: AOJu0Yx\r\n") + b"\r\n" + TEXT
    signed = keys.sign(message, "webmail.example", include_headers=names)
    look_alike = signed.split(b"From:", 1)[0].replace(b"DKIM-Signature:", b"X-Google-DKIM-Signature:").replace(b"X-Gm-Message-State: AOJu0Yx\r\n", b"")
    write(folder, "webmail", look_alike + signed)
    # A tenant of a large hoster: the hoster's signature and the tenant's, results without an id, a set of ARC.
    message = header(b"someone@tenant.example", b"X-MS-Exchange-Transport: x\r\n") + b"\r\n" + TEXT
    signed = keys.sign(message, "tenant.hoster.example")
    signed = keys.sign(signed, "tenant.example", identity=b"@tenant.example")
    results = b"Authentication-Results: hoster.example; spf=pass smtp.mailfrom=tenant.example; dkim=pass header.d=tenant.example; arc=none\r\n"
    sealed = dkim.arc_sign(results + signed, b"rsa", b"tenant.hoster.example", keys.rsa, b"hoster.example")
    own = (
        b"Authentication-Results: dkim=none (message not signed)\r\n header.d=none;dmarc=none action=none header.from=tenant.example;\r\n"
    )
    write(folder, "tenant", own + b"".join(sealed) + signed)
    # A list changes the subject and adds a footer, so that the author's signature breaks; its own holds.
    message = header(b"author@strict.example") + b"\r\n" + b"To all\r\n"
    signed = keys.sign(message, "strict.example")
    changed = signed.replace(b"Subject: ", b"Subject: [list] ") + b"_____\r\nlist@lists.example\r\n"
    fields = b"List-Id: A list <list.lists.example>\r\nList-Unsubscribe: <mailto:leave@lists.example>\r\nSender: list@lists.example\r\nPrecedence: list\r\n"
    write(folder, "list", keys.sign(fields + changed, "lists.example"))
    # The same with the list as author.
    munged = changed.replace(b"From: An Author <author@strict.example>", b"From: An Author via list <list@lists.example>\r\nReply-To: author@strict.example")
    write(folder, "list-as-author", keys.sign(fields + munged, "lists.example"))
    # A list that changes nothing, and what a forwarder adds on top.
    write(folder, "plain-list", fields + signed)
    write(folder, "forwarded", b"Received: from a by b; Sun, 29 Nov 2026 08:00:01 +0000\r\nX-Forwarded-For: a@x.example\r\n" + signed)
    # A part of the body, which is never enough.
    write(folder, "partial", keys.sign(message, "strict.example", length=True) + b"More\r\n")


def main():
    folder = sys.argv[1]
    keys = Keys(folder)
    by_dkimpy(folder, keys)
    by_opendkim(folder, keys)
    in_shapes(folder, keys)
    with open(os.path.join(folder, "zone.txt"), "w", encoding="ascii") as file:
        file.writelines(keys.zone)


main()
