"""Reads a notice (RFC 3464) from standard input by the standard library, and says what it found as JSON."""

import email
import email.policy
import json
import sys

octets = sys.stdin.buffer.read()
message = email.message_from_bytes(octets, policy=email.policy.default)
defects = [repr(defect) for part in message.walk() for defect in part.defects]
parts = message.get_payload()
groups = [dict(group.items()) for group in parts[1].get_payload()]
print(
    json.dumps(
        {
            "defects": defects,
            "type": message.get_content_type(),
            "report": message.get_param("report-type"),
            "fields": {name: str(value) for name, value in message.items()},
            "parts": [part.get_content_type() for part in parts],
            "text": parts[0].get_content(),
            "status": groups,
            "header": parts[2].get_payload(decode=True).decode("utf-8", "replace")
            if not parts[2].is_multipart()
            else parts[2].get_payload(0).as_string(),
        }
    )
)
