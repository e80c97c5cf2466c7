#!/usr/bin/env python3
"""Redis over a unix socket with nothing of a client library in between: values go from and to the caller's
memory. Usage: redis_driver.py SOCKET SERVER_PID [CHUNK_BYTES] [WORKING_SET_BYTES] [REPEATS]"""
import json
import os
import random
import socket
import sys

import common


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self.socket.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
        self.socket.connect(path)
        self.scratch = bytearray(1 << 16)

    def send(self, parts):
        parts = [memoryview(part) for part in parts]
        while parts:
            sent = self.socket.sendmsg(parts)
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            if sent:
                parts[0] = parts[0][sent:]

    def put(self, key, value):
        head = b"*3\r\n$3\r\nSET\r\n$16\r\n%b\r\n$%d\r\n" % (key, len(value))
        self.send([head, value, b"\r\n"])
        assert self.socket.recv(64).startswith(b"+OK")

    def get(self, key, target):
        self.socket.sendall(b"*2\r\n$3\r\nGET\r\n$16\r\n%b\r\n" % key)
        head_bytes = len(b"$%d\r\n" % len(target))
        self.read(memoryview(self.scratch)[:head_bytes])
        assert self.scratch[:1] == b"$"
        self.read(target)
        self.read(memoryview(self.scratch)[:2])

    def read(self, target):
        while len(target):
            target = target[self.socket.recv_into(target):]

    def exists(self, request, count):
        self.socket.sendall(request)
        self.read(memoryview(self.scratch)[:4 * count])


def main():
    path, pid = sys.argv[1], int(sys.argv[2])
    chunk = int(sys.argv[3]) if len(sys.argv) > 3 else 2 << 20
    working_set = int(sys.argv[4]) if len(sys.argv) > 4 else 1 << 30
    repeats = int(sys.argv[5]) if len(sys.argv) > 5 else 5
    client = Client(path)
    count = working_set // chunk
    keys = [number.to_bytes(16, "big") for number in range(count)]
    memory = memoryview(bytearray(os.urandom(1 << 20) * (256 << 20 >> 20)))
    places = [memory[at:at + chunk] for at in range(0, len(memory) - chunk + 1, chunk)]
    put, get = common.Rates([pid]), common.Rates([pid])

    def put_all():
        for number, key in enumerate(keys):
            client.put(key, places[number % len(places)])

    def get_all():
        for number, key in enumerate(random.sample(keys, count)):
            client.get(key, places[number % len(places)])

    for _ in range(repeats):
        put.measure(count * chunk, put_all)
        get.measure(count * chunk, get_all)
    lookups = {}
    for number in (1, 256):
        request = b"".join(b"*2\r\n$6\r\nEXISTS\r\n$16\r\n%b\r\n" % keys[i % count] for i in range(number))
        lookups[str(number)] = common.median_us(500, lambda _: client.exists(request, number))
    get_gbps, cpu_get = get.median()
    put_gbps, cpu_put = put.median()
    print(json.dumps({"peer": "Redis", "how": "unix socket, one client", "chunk_bytes": chunk,
                      "get_gbps": get_gbps, "put_gbps": put_gbps, "cpu_get": cpu_get, "cpu_put": cpu_put,
                      "lookup_us": lookups}))


if __name__ == "__main__":
    main()
