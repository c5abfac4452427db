"""Sends message after message, each over a connection of its own, until SIGTERM. Says what became of them."""

import signal
import smtplib

running = True


def stop(*_):
    global running
    running = False


signal.signal(signal.SIGTERM, stop)
accepted = refused = broken = 0
last = ""
while running:
    try:
        with smtplib.SMTP("127.0.0.1", 25, timeout=30) as client:
            client.sendmail("me@example.com", ["anna@example.org"], f"Subject: {accepted}\r\n\r\ntext\r\n")
            accepted += 1
    except smtplib.SMTPResponseException as error:
        # 421 as the server stops: the client was let in, and comes again.
        broken += 1
        last = str(error)
    except smtplib.SMTPServerDisconnected as error:
        broken += 1
        last = str(error)
    except OSError as error:
        refused += 1
        last = str(error)
print(f"accepted {accepted} messages, told to come again {broken} times, {refused} refused {last}")
