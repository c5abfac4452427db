"""What others' libraries say: pyspf, dkimpy, authres. tests/oracles asks, a line of JSON each way.

`oracles.py spf|dkim|results`: whoever starts it has looked whether the module is there.
"""

import base64
import json
import re
import sys


def main():
    answer = {"spf": spf_oracle, "dkim": dkim_oracle, "results": results_oracle}[sys.argv[1]]()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def spf_oracle():
    import spf

    zone = {}

    def look_up(name, kind, *_):
        host = zone.get(name.lower())
        if host is None:
            return
        if kind in host["silent"]:
            raise spf.TempError("DNS timeout")
        if host["cname"]:
            yield (name, "CNAME"), host["cname"]
            return
        for value in host[kind]:
            if kind == "TXT":
                value = tuple(string.encode("latin-1") for string in value)
            yield (name, kind), tuple(value) if kind == "MX" else value

    spf.DNSLookup = look_up
    query = query_by_the_letter(spf)

    def answer(asked):
        zone.clear()
        zone.update(asked["zone"])
        one = query(set(asked["rules"]), asked)
        one.set_default_explanation("DEFAULT")
        try:
            result, _, text = one.check()
        except Exception as error:  # A bug of pyspf is an answer, too.
            return {"result": "exception", "explanation": None, "problem": repr(error)}
        explanation = text if result == "fail" and text != "DEFAULT" else None
        return {"result": result, "explanation": explanation, "problem": text}

    return answer


# RFC 7208 section 7.1.
MACRO = r"%(?:%|_|-|\{[slodiphcrtv](?:0*[1-9][0-9]*)?r?[-.+,/_=]*\})"
NAME = re.compile(r"(?:[!-$&-~]|%s)*" % MACRO, re.I)
TEXT = re.compile(r"(?:[ -$&-~]|%s)*" % MACRO, re.I)
MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.I | re.S)


def query_by_the_letter(spf):
    """pyspf's query, with those of its rules put right that are asked for; tests/oracles/spf.rs lists them."""

    class Query(spf.query):
        def __init__(self, rules, asked):
            self.rules = rules
            self.voids = 0
            # Depth of records within records.
            self.depth = 0
            # A term was counted whose look-up comes next.
            self.is_counted = False
            # Modifiers `redirect` that are counted though nobody has followed them.
            self.uncounted = 0
            self.is_for_macro = False
            super().__init__(i=asked["client"], s=asked["from"], h=asked["helo"], receiver=asked["receiver"])
            self.t = str(asked["now"])
            if "sender" in rules:
                self.s = "%s@%s" % (self.l, self.o)

        def count_void(self, name, found):
            is_name = all(0 < len(label) < 64 for label in name.split("."))
            if "void" in self.rules and is_name and not found:
                self.voids += 1
                if self.voids > 2:
                    raise spf.PermError("more than two void look-ups")

        def dns(self, name, qtype, cnames=None, ignore_void=False):
            self.is_counted = False
            return super().dns(name, qtype, cnames=cnames, ignore_void=ignore_void or "void" in self.rules)

        def dns_a(self, domainname, A="A"):
            found = super().dns_a(domainname, A)
            self.count_void(domainname, found)
            return found

        def dns_mx(self, domainname):
            names = self.dns(domainname, "MX")
            self.count_void(domainname, names)
            if len(names) > 10:
                raise spf.PermError("more than ten exchangers")
            found = (address for _, name in sorted(names) if name for address in self.dns(name, self.A))
            return found if "mx" in self.rules else list(found)

        def cidrmatch(self, ipaddrs, n):
            return any(super(Query, self).cidrmatch([one], n) for one in ipaddrs)

        def validated_ptrs(self):
            reverse = "%s.%s.arpa" % (spf.reverse_dots(self.i), self.v)
            names = self.unless_it_fails(reverse, "PTR")
            if names is None:
                return []
            if not self.is_for_macro:
                self.count_void(reverse, names)
            found = [(name, self.unless_it_fails(name, self.A)) for name in names[:10]]
            return [name for name, addresses in found if self.cidrmatch(addresses or [], self.cidrmax)]

        def unless_it_fails(self, name, kind):
            try:
                return self.dns(name, kind)
            except spf.TempError:
                if "ptr" not in self.rules:
                    raise
                return None

        def getp(self):
            if "p" in self.rules:
                self.p = None
            self.is_for_macro = True
            try:
                return super().getp()
            finally:
                self.is_for_macro = False

        def check_lookups(self):
            if self.uncounted:
                self.uncounted -= 1
                return
            self.is_counted = True
            super().check_lookups()

        def dns_spf(self, domain):
            if "redirect" in self.rules and self.depth and not self.is_counted:
                super().check_lookups()
            self.is_counted = False
            return super().dns_spf(domain)

        def check0(self, spf_text, recursion):
            version, *terms = (spf_text or "").split(" ")
            if "modifiers" in self.rules:
                terms = [term for term in map(self.without_unknown_modifiers, terms) if term is not None]
            is_redirected = any(term.startswith("redirect=") for term in terms)
            self.uncounted = 1 if "redirect" in self.rules and is_redirected else 0
            self.depth += 1
            try:
                return super().check0(" ".join([version, *terms]), recursion)
            finally:
                self.depth -= 1

        def without_unknown_modifiers(self, term):
            found = MODIFIER.fullmatch(term)
            if not found:
                return term
            name, value = found[1].lower(), found[2]
            if name in ("redirect", "exp"):
                return "%s=%s" % (name, value)
            if not NAME.fullmatch(value):
                raise spf.PermError("a modifier that is none", term)
            return None

        def validate_mechanism(self, mech):
            try:
                return super().validate_mechanism(mech)
            except spf.PermError as error:
                found = re.fullmatch(r"([-+?~]?)include:(.+)", mech, re.I)
                if "include" not in self.rules or not found or error.msg != "include has trivial recursion":
                    raise
                result = spf.RESULTS[found[1] or "+"]
                return mech, "include", self.expand_domain(found[2]), self.cidrmax, result

        def expand_domain(self, arg):
            # A mechanism without a domain has that of its record.
            if "default" in self.rules and arg is self.d:
                return arg
            return super().expand_domain(arg)

        def expand(self, s, stripdot=True):
            if "grammar" in self.rules and not (NAME if stripdot else TEXT).fullmatch(s):
                raise spf.PermError("a macro-string that is none", s)
            if "reverse" in self.rules:
                s = re.sub(r"(%\{[a-z][0-9]*)R", r"\1r", s, flags=re.I)
            expanded = super().expand(s, stripdot)
            while "length" in self.rules and stripdot and len(expanded) > 253 and "." in expanded:
                expanded = expanded[expanded.index(".") + 1 :]
            return expanded

    return Query


def dkim_oracle():
    import dkim

    def answer(asked):
        message = base64.b64decode(asked["message"])
        if asked["do"] == "sign":
            field = dkim.sign(
                message,
                b"s",
                b"x.test",
                asked["key"].encode(),
                canonicalize=(asked["header"].encode(), asked["body"].encode()),
                signature_algorithm=asked["algorithm"].encode(),
                include_headers=[name.encode() for name in asked["include"]] if asked["include"] else None,
            )
            return {"field": base64.b64encode(field).decode()}
        try:
            return {"good": dkim.verify(message, dnsfunc=lambda *_, **__: asked["record"].encode())}
        except dkim.DKIMException as error:
            return {"good": False, "problem": repr(error)}

    return answer


def results_oracle():
    import authres

    features = authres.all_features()

    def answer(asked):
        field = base64.b64decode(asked["field"]).decode().replace("\r\n", "")
        try:
            parsed = features.parse(field)
        except Exception as error:
            return {"problem": repr(error)}
        results = []
        for one in parsed.results or []:
            properties = [[f"{value.type}.{value.name}", value.value] for value in one.properties or []]
            results.append({"method": one.method, "result": one.result, "properties": properties})
        return {"id": parsed.authserv_id, "results": results}

    return answer


main()
