"""Assign loopback addresses to pods.

On Linux all addresses of 127.0.0.0/8 belong to this machine.  Pods with different addresses can use the same port.
"""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Iterator

NETWORK = ipaddress.IPv4Network("127.77.0.0/16")
_BLOCK_PREFIX = 20  # at most 16 clusters on one machine, with 4,093 pods each
_LOCK_PORT = 40404


class Addresses:
    """A block of addresses that no other embedded cluster uses.  Raises OSError if all blocks are in use."""

    def __init__(self) -> None:
        blocks = list(NETWORK.subnets(new_prefix=_BLOCK_PREFIX))
        random.shuffle(blocks)
        for block in blocks:
            self._lock = socket.socket()
            try:
                self._lock.bind(
                    (str(block.broadcast_address - 1), _LOCK_PORT)
                )  # after SIGKILL, the kernel closes the socket and so frees the block
                self._lock.listen(1)
            except OSError:
                self._lock.close()
                continue
            self._block = block
            self._next: Iterator[ipaddress.IPv4Address] = iter(())
            self._used: set[str] = set()
            return
        raise OSError(f"all {len(blocks)} blocks of {NETWORK} are in use by other embedded clusters on this machine")

    def take(self) -> str:
        """Return the free address that was least recently used."""
        for _ in range(2):
            for address in self._next:
                if str(address) not in self._used:
                    self._used.add(str(address))
                    return str(address)
            self._next = (host for host in self._block.hosts() if host < self._block.broadcast_address - 1)
        raise OSError(f"all addresses of {self._block} are in use")

    def free(self, address: str) -> None:
        self._used.discard(address)

    def close(self) -> None:
        self._lock.close()
