"""Reads KV-cache events as routers do, with ZeroMQ's and MessagePack's own libraries.

Usage: kv_events.py ADDRESS MESSAGES
Prints "subscribed", then each message as a line of JSON: topic, number, payload.
"""
import json
import sys

import msgpack
import zmq


def main() -> None:
    address, count = sys.argv[1], int(sys.argv[2])
    socket = zmq.Context().socket(zmq.SUB)
    socket.setsockopt(zmq.RCVTIMEO, 60_000)
    monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    socket.setsockopt(zmq.SUBSCRIBE, b"kv@")
    socket.connect(address)
    if not monitor.poll(60_000):
        sys.exit("no handshake")
    print("subscribed", flush=True)
    for _ in range(count):
        topic, number, payload = socket.recv_multipart()
        message = [topic.decode(), int.from_bytes(number, "big"), msgpack.unpackb(payload)]
        print(json.dumps(message), flush=True)


main()
