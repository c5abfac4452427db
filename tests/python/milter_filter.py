#!/usr/bin/env python3
"""A milter on pymilter (libmilter) whose answers are given by arguments; what it is told goes to standard output.

    milter_filter.py SOCKET [WORD=VALUE …]

SOCKET is as libmilter has it: unix:/path, inet:port@127.0.0.1. Each call of libmilter is a line of JSON on
standard output: its name and what it is told. Arguments, of which those that add something may be repeated:

    connect=ANSWER   and hello, mail, data, header, eoh, body, eom: continue (as without), accept, reject,
                     tempfail, discard, skip, crash (the process ends at once)
    rcpt=ANSWER      of each recipient; rcpt=b@x:ANSWER of this one
    reply=550 5.7.1 Text|second line      the words of reject and tempfail
    add=Name: value      at the end of the message; \\n in it is a line end
    insert=0 Name: value
    quarantine=reason    progress=times    wait=seconds, before the end is answered
    actions=addhdrs,quarantine     what it insists on; all: whatever is offered
    silent=connect,header          those callbacks do not answer;  unwanted=…: they are not told
    macros=mail i {mail_addr}      the macros that it wants at this place
    leadspace=1
    symbols=i,j,_        macros of which each call is told with its value

What a file `rules` beside a socket that is a file has, an argument a line, counts instead of those that came
last, from the next SMTP connection on (not `actions`, `silent`, `unwanted`, `leadspace`).
"""
import json
import os
import sys
import time

import Milter
import milter

ANSWERS = {
    "continue": Milter.CONTINUE,
    "accept": Milter.ACCEPT,
    "reject": Milter.REJECT,
    "tempfail": Milter.TEMPFAIL,
    "discard": Milter.DISCARD,
    "skip": Milter.SKIP,
}
ACTIONS = {
    "addhdrs": Milter.ADDHDRS,
    "chghdrs": Milter.CHGHDRS,
    "chgbody": Milter.CHGBODY,
    "addrcpt": Milter.ADDRCPT,
    "delrcpt": Milter.DELRCPT,
    "quarantine": Milter.QUARANTINE,
    "chgfrom": Milter.CHGFROM,
}
CALLS = {
    "connect": "connect", "hello": "hello", "mail": "envfrom", "rcpt": "envrcpt", "data": "data",
    "header": "header", "eoh": "eoh", "body": "body",
}
PLACES = {
    "connect": Milter.M_CONNECT, "hello": Milter.M_HELO, "mail": Milter.M_ENVFROM, "rcpt": Milter.M_ENVRCPT,
    "data": Milter.M_DATA, "eom": Milter.M_EOM, "eoh": Milter.M_EOH,
}

words = [argument.split("=", 1) for argument in sys.argv[2:]]
rules = os.path.join(os.path.dirname(sys.argv[1].removeprefix("unix:")), "rules")


def read_rules():
    if os.path.exists(rules):
        with open(rules, encoding="utf-8") as lines:
            words[:] = [line.rstrip("\n").split("=", 1) for line in lines]


def all_of(word):
    return [value.replace("\\n", "\n") for key, value in words if key == word]


def last_of(word, default=""):
    return (all_of(word) or [default])[-1]


def names_of(word):
    return [name for name in last_of(word).split(",") if name]


class Filter(Milter.Base):
    def tell(self, call, *arguments):
        symbols = {name: self.getsymval(name) for name in names_of("symbols")}
        told = [call, *arguments] + ([symbols] if symbols else [])
        os.write(1, (json.dumps(told) + "\n").encode())

    def answer(self, word, about=None):
        answer = "continue"
        for value in all_of(word):
            of, _, of_one = value.rpartition(":")
            if not of or of == about:
                answer = of_one
        if answer == "crash":
            os._exit(1)
        if answer in ("reject", "tempfail") and last_of("reply"):
            first, *more = last_of("reply").split("|")
            code, enhanced, text = first.split(" ", 2)
            self.setreply(code, enhanced, text, *more)
        return ANSWERS[answer]

    def negotiate(self, opts):
        read_rules()
        super().negotiate(opts)
        for value in all_of("macros"):
            place, *names = value.split()
            self._ctx.setsymlist(PLACES[place], " ".join(names))
        if last_of("actions") == "all":
            self.tell("negotiate", opts[0])
            return Milter.ALL_OPTS
        if last_of("actions"):
            opts[0] = sum(ACTIONS[name] for name in names_of("actions"))
        self.tell("negotiate", opts[0])
        return Milter.CONTINUE

    def connect(self, name, family, address):
        read_rules()
        self.tell("connect", name, list(address) if isinstance(address, tuple) else address)
        return self.answer("connect")

    def hello(self, name):
        self.tell("hello", name)
        return self.answer("hello")

    def envfrom(self, sender, *parameters):
        self.tell("mail", sender, *parameters)
        return self.answer("mail")

    def envrcpt(self, recipient, *parameters):
        self.tell("rcpt", recipient, *parameters)
        return self.answer("rcpt", recipient.strip("<>"))

    def data(self):
        self.tell("data")
        return self.answer("data")

    def header(self, name, value):
        self.tell("header", name, value)
        return self.answer("header")

    def eoh(self):
        self.tell("eoh")
        return self.answer("eoh")

    def body(self, chunk):
        self.tell("body", len(chunk), chunk[:200].decode("latin-1"))
        return self.answer("body")

    def eom(self):
        self.tell("eom")
        for _ in range(int(last_of("progress", "0"))):
            self.progress()
        time.sleep(float(last_of("wait", "0")))
        for added in all_of("add"):
            self.addheader(*added.split(": ", 1))
        for inserted in all_of("insert"):
            index, field = inserted.split(" ", 1)
            self.addheader(*field.split(": ", 1), int(index))
        for reason in all_of("quarantine"):
            self.quarantine(reason)
        return self.answer("eom")

    def abort(self):
        self.tell_end("abort")
        return Milter.CONTINUE

    def close(self):
        self.tell_end("close")
        return Milter.CONTINUE

    def tell_end(self, call):
        os.write(1, (json.dumps([call]) + "\n").encode())


for word in names_of("silent"):
    setattr(Filter, CALLS[word], Milter.noreply(getattr(Filter, CALLS[word])))
for word in names_of("unwanted"):
    setattr(Filter, CALLS[word], Milter.nocallback(getattr(Filter, CALLS[word])))
if last_of("leadspace"):
    Milter.header_leading_space(Filter)

Milter.factory = Filter
Milter.set_flags(0x1FF if last_of("actions") == "all" else milter.ADDHDRS | milter.QUARANTINE)
Milter.runmilter("filter", sys.argv[1])
