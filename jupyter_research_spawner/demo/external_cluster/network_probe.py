"""A script that a pod runs before the tour, to check that pods and the hub's machine can connect to each other.

It sends WORD to HUB (HOST:PORT).  Then it waits on PORT for half a minute, and sends WORD to the first client.  It
needs only Python 3.8.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

SECONDS = 30.0


def call(hub: str, word: bytes) -> None:
    host, _, port = hub.rpartition(":")
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(word)
            return
        time.sleep(0.5)


def be_called(address: str, port: int, word: bytes) -> None:
    with socket.create_server((address, port)) as server:
        server.settimeout(SECONDS)
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.sendall(word)


if __name__ == "__main__":
    secret = os.environ["WORD"].encode()
    calling = threading.Thread(target=call, args=(os.environ["HUB"], secret), daemon=True)
    calling.start()
    be_called(os.environ["ADDRESS"], int(os.environ["PORT"]), secret)
    calling.join(SECONDS)
