"""Reads Authentication-Results fields with authres, and says what it finds.

Usage: results.py < FIELDS. A field stands on one line, with its name. For each there is a line of JSON: the authserv-id, and for each
result its method, its result and its properties.
"""

import json
import sys

import authres

for line in sys.stdin.buffer:
    header = authres.AuthenticationResultsHeader.parse(line.decode("utf-8").rstrip("\n"))
    results = [
        [result.method, result.result, {f"{each.type}.{each.name}": each.value for each in result.properties}] for result in header.results
    ]
    print(json.dumps([header.authserv_id, results], separators=(",", ":"), ensure_ascii=True))
