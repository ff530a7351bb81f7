"""The cluster's own bridge: an address that its pods and this machine share, and a /24 that nobody else has."""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of each /24 here the first address is the bridge's (and the API server's), the last ones are for programs apart, and
# the rest are the pods': the CNI plugin host-local goes round, so in time pods get every address that is theirs.
POOL = ipaddress.ip_network("10.213.0.0/16")
FOR_PROGRAMS = 8


class NoNetwork(RuntimeError):
    """No subnet is free, or the bridge cannot be created. The message says why."""


@dataclass(frozen=True)
class Network:
    bridge: str
    subnet: str
    address: str

    @classmethod
    def of(cls, state: Path) -> Network | None:
        """Return the network of the cluster in `state`, or None when it has none."""
        name = bridge_of(state)
        for link in _ip("-4", "address", "show"):
            if link["ifname"] == name and link["addr_info"]:
                address = link["addr_info"][0]["local"]
                return cls(name, str(ipaddress.ip_network(f"{address}/24", strict=False)), address)
        return None

    @classmethod
    def make(cls, state: Path) -> Network:
        """Create a bridge with the first /24 of the pool that no interface or route of this machine uses."""
        if found := cls.of(state):
            return found
        with _alone():
            subnet = _free()
            network = cls(bridge_of(state), str(subnet), str(next(subnet.hosts())))
            _run("link", "add", network.bridge, "type", "bridge")
            _run("address", "add", f"{network.address}/24", "dev", network.bridge)
            _run("link", "set", network.bridge, "up")
        return network

    def apart(self, number: int) -> str:
        """An address that no pod ever gets.  number: from 0 on, less than FOR_PROGRAMS."""
        assert 0 <= number < FOR_PROGRAMS
        return str(ipaddress.ip_network(self.subnet)[-2 - number])

    @property
    def last_of_pods(self) -> str:
        return str(ipaddress.ip_network(self.subnet)[-2 - FOR_PROGRAMS])

    def remove(self) -> None:
        _run("link", "delete", self.bridge)


def bridge_of(state: Path) -> str:
    """An interface's name has 15 characters at most."""
    return "rig" + hashlib.sha256(str(state).encode()).hexdigest()[:10]


def _free() -> ipaddress.IPv4Network:
    taken = [ipaddress.ip_network(found, strict=False) for found in _taken()]
    for subnet in POOL.subnets(new_prefix=24):
        if not any(subnet.overlaps(other) for other in taken):
            assert isinstance(subnet, ipaddress.IPv4Network)
            return subnet
    raise NoNetwork(f"Every /24 of {POOL} is in use on this machine (ip route); stop a cluster that is left over.")


def _taken() -> Iterator[str]:
    for route in _ip("-4", "route", "show"):
        if route["dst"] != "default":
            yield route["dst"]
    for link in _ip("-4", "address", "show"):
        for address in link["addr_info"]:
            yield f"{address['local']}/{address['prefixlen']}"


@contextmanager
def _alone() -> Iterator[None]:
    """Two clusters that start at once would choose the same subnet."""
    with Path("/run/rig-network.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ip(*arguments: str) -> list[Any]:
    done = subprocess.run(["ip", "-json", *arguments], check=True, capture_output=True, text=True)
    found: list[Any] = json.loads(done.stdout or "[]")
    return found


def _run(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise NoNetwork(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
