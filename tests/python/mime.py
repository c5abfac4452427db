"""Delivers generated MIME mail through smtplib and compares what the maildir holds, octet by octet.

Usage: mime.py PORT MAILDIR. Sizes go from nothing to 30 MiB; the seed is fixed.
"""

import os
import random
import re
import smtplib
import sys
from email.message import EmailMessage
from email.policy import SMTP


def generated(index, size, rng):
    """A message with text, lines of dots and an attachment of about `size` octets."""
    message = EmailMessage(policy=SMTP)
    message["From"] = "a@x.test"
    message["To"] = "b@y.test"
    message["Subject"] = f"message {index} \u00e4\u00f6\u00fc"
    message.set_content("dots:\n.\n..\n...text\n" + "word " * rng.randrange(200) + "\n")
    if size:
        message.add_attachment(rng.randbytes(size * 3 // 4), maintype="application", subtype="octet-stream", filename="x")
    return message.as_bytes()


def only_file(folder):
    """The content of the one file in `new`, which is removed."""
    (name,) = os.listdir(os.path.join(folder, "new"))
    path = os.path.join(folder, "new", name)
    with open(path, "rb") as file:
        content = file.read()
    size = int(re.search(r",S=(\d+)", name).group(1))
    assert size == len(content), f"{name}: S={size}, but {len(content)} octets"
    os.remove(path)
    return content


def main():
    port, folder = int(sys.argv[1]), sys.argv[2]
    rng = random.Random(20261122)
    sizes = [0, 100, 4096, 16383, 16384, 16385, 65536, 300_000, 1 << 20, 5 << 20, 30 << 20]
    sizes += [rng.randrange(200_000) for _ in range(40)]
    for index, size in enumerate(sizes):
        message = generated(index, size, rng)
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
            client.sendmail("a@x.test", ["b@y.test"], message)
        stored = only_file(folder)
        expected = message.replace(b"\r\n", b"\n")
        assert stored.endswith(expected), f"message {index} of {len(message)} octets was altered"
        trace = stored[: -len(expected)].decode("ascii")
        assert re.fullmatch(r"Return-Path: <a@x\.test>\nDelivered-To: b@y\.test\nReceived: [^\n]+\n([ \t][^\n]+\n)*", trace), trace
    print(f"{len(sizes)} messages up to {max(sizes)} octets arrived unaltered")


main()
