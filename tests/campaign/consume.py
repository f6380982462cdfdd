"""Prints every record of a topic: offset, key and value in hex, by the client that is named.

    consume.py kafka-python|librdkafka HOST:PORT TOPIC RECORDS

Values that forebay has encrypted with key 7 are opened.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples/python"))
from decrypt import HEADER, open_value  # noqa: E402


def by_kafka_python(server, topic):
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(topic, bootstrap_servers=server, auto_offset_reset="earliest",
                             enable_auto_commit=False, check_crcs=True, consumer_timeout_ms=30000)
    for record in consumer:
        yield record.offset, record.key, record.value, record.headers


def by_librdkafka(server, topic):
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": server, "group.id": "campaign", "check.crcs": True})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    while (record := consumer.poll(30)) is not None:
        if record.error():
            sys.exit(str(record.error()))
        yield record.offset(), record.key(), record.value(), record.headers() or []


def text(content):
    return "null" if content is None else content.hex()


def main(client, server, topic, records):
    read = by_librdkafka if client == "librdkafka" else by_kafka_python
    left = int(records)
    for offset, key, value, headers in read(server, topic):
        if any(name == HEADER for name, _ in headers):
            value = open_value(key, value, headers, {7: bytes([7]) * 32})
        print(offset, text(key), text(value))
        left -= 1
        if left == 0:
            break
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
