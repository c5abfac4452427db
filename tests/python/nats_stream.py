"""Makes, fills and reads a stream of mail by nats-py, as docs/cluster.md describes it.

    nats_stream.py URL create STREAM [BYTES_MAX [RETENTION]]
                                                   the stream, three replicas, and its bucket for large mail
    nats_stream.py URL create-stream STREAM …      the same without the bucket
    nats_stream.py URL step-down STREAM            its leader leads it no more
    nats_stream.py URL publish STREAM              lines of `ringmx spool follow` on standard input
    nats_stream.py URL read STREAM [FOLDER]        a line of JSON each; payloads to files of the folder
    nats_stream.py URL state STREAM                messages, octets, first and last, as JSON
    nats_stream.py URL delete STREAM               the stream, not the bucket
    nats_stream.py URL remove STREAM ID            the message with this id
    nats_stream.py URL remove-object STREAM NAME   the object
    nats_stream.py URL objects STREAM              the names of the objects in the bucket, a line each
"""

import asyncio
import base64
import hashlib
import json
import os
import ssl
import subprocess
import sys
import tempfile

import nats
from nats.js.api import DiscardPolicy, ObjectStoreConfig, StorageType, StreamConfig
from nats.js.errors import NotFoundError

REPLICAS = 3
# The window in which the stream knows an id again, in seconds.
DUPLICATES = 120
# Headers and payload are one message to the server; this is more than headers that it takes beside a payload.
HEADERS_MAX = 64 << 10
CHUNK = 512 << 10
PATIENCE = 30


def tls():
    """What the environment says of TLS."""
    if "NATS_CA" not in os.environ:
        return None
    context = ssl.create_default_context(cafile=os.environ["NATS_CA"])
    if "NATS_CERTIFICATE" in os.environ:
        context.load_cert_chain(os.environ["NATS_CERTIFICATE"], os.environ["NATS_KEY"])
    return context


def credentials():
    """The callbacks for a file of credentials, which openssl signs with: nats-py wants a package more."""
    if "NATS_CREDENTIALS" not in os.environ:
        return {}
    with open(os.environ["NATS_CREDENTIALS"]) as file:
        parts = [line.strip() for line in file if line.strip() and not line.startswith("-")]
    token, seed = parts
    # Two octets of kind in front, two of a checksum behind.
    key = base64.b32decode(seed + "=" * (-len(seed) % 8))[2:34]
    # A private key of Ed25519 in PKCS #8 (RFC 8410 section 7).
    der = bytes.fromhex("302e020100300506032b657004220420") + key

    def sign(nonce):
        with tempfile.TemporaryDirectory() as folder:
            for name, octets in (("key", der), ("nonce", nonce.encode())):
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(octets)
            command = "openssl pkeyutl -sign -rawin -keyform DER -inkey key -in nonce".split()
            signature = subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout
        return base64.b64encode(signature)

    return {"signature_cb": sign, "user_jwt_cb": token.encode}


async def create(js, stream, *settings):
    await create_stream(js, stream, *settings)
    config = ObjectStoreConfig(storage=StorageType.FILE, replicas=REPLICAS)
    await js.create_object_store(f"{stream}-large", config=config)


async def create_stream(js, stream, bytes_max="-1", retention="limits"):
    await js.add_stream(
        StreamConfig(
            name=stream,
            subjects=["mail.>"],
            storage=StorageType.FILE,
            num_replicas=REPLICAS,
            discard=DiscardPolicy.NEW,
            duplicate_window=DUPLICATES,
            max_bytes=int(bytes_max),
            retention=retention,
        )
    )


async def publish(js, stream, payload_max):
    store = await js.object_store(f"{stream}-large")
    for line in sys.stdin:
        envelope = json.loads(line)
        content = base64.b64decode(envelope.pop("data_base64"))
        envelope.pop("cursor", None)
        headers = {"Nats-Msg-Id": envelope["id"], "Ringmx-Envelope": json.dumps(envelope)}
        if len(content) + HEADERS_MAX > payload_max:
            meta = nats.js.api.ObjectMeta(name=envelope["id"])
            meta.options = nats.js.api.ObjectMetaOptions(max_chunk_size=CHUNK)
            await store.put(envelope["id"], content, meta=meta)
            headers["Ringmx-Object"], content = f"{stream}-large/{envelope['id']}", b""
        await js.publish("mail.default.0", content, headers=headers)


async def read(js, stream, folder=None):
    state = (await js.stream_info(stream)).state
    if state.messages == 0:
        return
    subscription = await js.subscribe(
        ">", stream=stream, ordered_consumer=True, pending_msgs_limit=-1, pending_bytes_limit=-1
    )
    store = None
    while True:
        message = await subscription.next_msg(timeout=PATIENCE)
        headers, payload = message.headers or {}, message.data
        place = headers.get("Ringmx-Object")
        problem = None
        if place is not None:
            bucket, name = place.split("/")
            store = store or await js.object_store(bucket)
            try:
                payload = (await store.get(name)).data
            except NotFoundError:
                problem = "no such object"
        sequence = message.metadata.sequence.stream
        told = {
            "sequence": sequence,
            "subject": message.subject,
            "id": headers.get("Nats-Msg-Id"),
            "envelope": json.loads(headers.get("Ringmx-Envelope", "null")),
            "object": place,
            "problem": problem,
            "bytes": len(payload),
            "sha256": hashlib.sha256(payload).hexdigest(),
        }
        print(json.dumps(told))
        if folder:
            with open(os.path.join(folder, str(sequence)), "wb") as file:
                file.write(payload)
        if message.metadata.num_pending == 0:
            return


async def state(js, stream):
    state = (await js.stream_info(stream)).state
    print(json.dumps({"messages": state.messages, "bytes": state.bytes, "first": state.first_seq, "last": state.last_seq}))


async def step_down(js, stream):
    await js._nc.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", b"", timeout=PATIENCE)
    await asyncio.sleep(1)


async def delete(js, stream):
    await js.delete_stream(stream)


async def remove(js, stream, id):
    state = (await js.stream_info(stream)).state
    for sequence in range(state.first_seq, state.last_seq + 1):
        try:
            message = await js.get_msg(stream, sequence)
        except NotFoundError:
            continue
        if message.headers["Nats-Msg-Id"] == id:
            await js.delete_msg(stream, sequence)


async def remove_object(js, stream, name):
    await (await js.object_store(f"{stream}-large")).delete(name)


async def objects(js, stream):
    store = await js.object_store(f"{stream}-large")
    try:
        entries = await store.list()
    except NotFoundError:
        return
    for entry in entries:
        print(entry.name)


async def main(url, command, *arguments):
    connection = await nats.connect(url, tls=tls(), connect_timeout=10, allow_reconnect=False, **credentials())
    js = connection.jetstream(timeout=PATIENCE)
    if command == "publish":
        arguments += (connection.max_payload,)
    commands = [create, create_stream, step_down, publish, read, state, delete, remove, remove_object, objects]
    await {each.__name__: each for each in commands}[command.replace("-", "_")](js, *arguments)
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
