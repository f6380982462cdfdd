#!/usr/bin/env python3
"""Opens values that forebay encrypted, wherever they are read: a broker's topic, or a log's files.

    decrypt.py KEYS --kafka HOST:PORT TOPIC     with kafka-python
    dump LOG... | decrypt.py KEYS               the example `dump` prints what a log's files hold

KEYS is a file with a line for each key: its number, and its 32 bytes in hex. Prints a line for each
record: offset, record key and value. Needs the package `cryptography`. `open_value` is small enough
to be copied into a consumer.
"""

import json
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

HEADER = "forebay.enc"


def open_value(key, value, headers, keys):
    """The plain value of a record. `headers` are pairs of name and bytes, `keys` is a dict from
    number to bytes. KeyError for a key that is not there, ValueError for a record that is not
    encrypted, InvalidTag where the key is another one or the record was changed."""
    found = [content for name, content in headers if name == HEADER]
    if len(found) != 1 or found[0] is None or value is None:
        raise ValueError("the record is not encrypted")
    if found[0][:1] != b"\x01" or len(found[0]) != 45:
        raise ValueError("the header " + HEADER + " is none of version 1")
    number, log, nonce = struct.unpack(">I16s24s", found[0][1:])
    data = log + (b"\x00" if key is None else b"\x01" + key)
    # XChaCha20: a key of its own from the first 16 bytes of the nonce, the rest is ChaCha20's.
    cipher = ChaCha20Poly1305(hchacha20(keys[number], nonce[:16]))
    return cipher.decrypt(b"\0\0\0\0" + nonce[16:], value, data)


def hchacha20(key, nonce):
    """draft-irtf-cfrg-xchacha-03, 2.2."""
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter_round(state, a, b, c, d)
    return struct.pack("<8I", *(state[:4] + state[12:]))


def quarter_round(state, a, b, c, d):
    for into, by, turned, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[into] = (state[into] + state[by]) & 0xFFFFFFFF
        mixed = state[turned] ^ state[into]
        state[turned] = (mixed << bits | mixed >> (32 - bits)) & 0xFFFFFFFF


def records_of_dump(lines):
    """What the example `dump` prints: a JSON document for each file."""
    text, decoder, at = lines.read(), json.JSONDecoder(), 0
    unhex = lambda field: None if field is None else bytes.fromhex(field)
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        for batch in document["batches"]:
            for record in batch["records"]:
                headers = [(name, unhex(content)) for name, content in record["headers"]]
                yield record["offset"], unhex(record["key"]), unhex(record["value"]), headers


def records_of_topic(server, topic):
    """What a topic holds now."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(topic, bootstrap_servers=server, auto_offset_reset="earliest",
                             enable_auto_commit=False, consumer_timeout_ms=5000)
    for record in consumer:
        yield record.offset, record.key, record.value, record.headers


def main(arguments):
    if len(arguments) not in (1, 4) or len(arguments) == 4 and arguments[1] != "--kafka":
        sys.exit(__doc__)
    with open(arguments[0], encoding="ascii") as file:
        keys = {int(number): bytes.fromhex(key) for number, key in map(str.split, file)}
    topic = len(arguments) == 4
    records = records_of_topic(*arguments[2:]) if topic else records_of_dump(sys.stdin)
    closed = 0
    for offset, key, value, headers in records:
        try:
            plain = open_value(key, value, headers, keys)
            print(offset, "-" if key is None else key.decode(), plain.decode())
        except (InvalidTag, KeyError, ValueError) as error:
            closed += 1
            print(f"{offset}: {type(error).__name__} {error}", file=sys.stderr)
    sys.exit(1 if closed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
