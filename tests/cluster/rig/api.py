"""A small client of the API server. Objects are plain dictionaries, and field validation is always strict.

Kinds are found by discovery, so it speaks of custom resources as of any other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import requests
import yaml

from .certificates import Pair

Json = dict[str, Any]
Found = TypeVar("Found")
MANAGER = "rig"
# A wait ends as soon as its condition is true, so only a busy machine needs all of it.
PATIENCE_SECONDS = 120.0
# A server that is ready answers within this time. One that is not may accept a connection and never answer.
PROBE_SECONDS = 2.0
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


class Refused(RuntimeError):
    """The API server refused a request. `status` is the HTTP code; the message is the server's."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class _Resource:
    path: str
    plural: str
    namespaced: bool


class Api:
    """Calls as one user, known by a client certificate or a token.  Not for use by several threads at once."""

    def __init__(self, url: str, ca: str, *, pair: Pair | None = None, token: str | None = None) -> None:
        self.url = url
        self._resources: dict[tuple[str, str], _Resource] = {}
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy of this machine is between a cluster and its tests
        self._session.verify = ca
        if pair is not None:
            self._session.cert = (str(pair.certificate), str(pair.key))
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
    ) -> Any:
        """Return the answer's JSON, or its text where it is not JSON. Raises Refused."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        url = self.url + path
        return _content(self._session.request(method, url, params=query, data=data, headers=headers, timeout=60))

    def probe(self, path: str) -> Any:
        """GET that path and return its content. Raises Refused or RequestException, soon when nobody answers."""
        return _content(self._session.get(self.url + path, timeout=PROBE_SECONDS))

    def is_healthy(self) -> bool:
        try:
            return bool(self.probe("/readyz") == "ok")
        except (Refused, requests.RequestException):
            return False

    def create(self, obj: Json, **query: str) -> Json:
        found: Json = self.call("POST", self._path(obj, named=False), obj, fieldValidation="Strict", **query)
        return found

    def apply(self, *objects: Json) -> list[Json]:
        """Apply the objects in order (server-side apply, KEP-555), and take over fields of other managers."""
        return [
            self.call(
                "PATCH", self._path(obj), obj, APPLY, fieldManager=MANAGER, force="true", fieldValidation="Strict"
            )
            for obj in objects
        ]

    def apply_text(self, text: str) -> list[Json]:
        """Apply YAML of several documents."""
        return self.apply(*(document for document in yaml.safe_load_all(text) if document))

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Json:
        found: Json = self.call("GET", self._path(_object(api_version, kind, name, namespace)))
        return found

    def find(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Json | None:
        """Return the object, or None when it does not exist."""
        try:
            return self.get(api_version, kind, name, namespace)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def all_of(self, api_version: str, kind: str, namespace: str | None = None, **query: str) -> list[Json]:
        """List objects of one namespace or of all. Items have apiVersion and kind, which lists leave out."""
        path = self._path(_object(api_version, kind, "", namespace), named=False)
        items = self.call("GET", path, **query)["items"]
        return [{"apiVersion": api_version, "kind": kind, **item} for item in items]

    def patch(self, obj: Json, change: Any, content_type: str = MERGE, subresource: str = "") -> Json:
        found: Json = self.call("PATCH", self._path(obj) + subresource, change, content_type, fieldValidation="Strict")
        return found

    def delete(self, obj: Json, **options: Any) -> None:
        """Delete the object if it exists. `options` are those of DeleteOptions, for example gracePeriodSeconds=0."""
        body = {"propagationPolicy": "Background", **options}
        try:
            self.call("DELETE", self._path(obj), body)
        except Refused as refused:
            if refused.status != 404:
                raise

    def remove(self, *objects: Json) -> None:
        """Delete the objects, and wait until they are gone: one applied before that would be deleted too."""
        for obj in objects:
            self.delete(obj)
        for obj in objects:
            until(partial(self._is_gone, obj), f"{obj['kind']} {obj['metadata']['name']} is gone")

    def _is_gone(self, obj: Json) -> bool:
        metadata = obj["metadata"]
        return self.find(obj["apiVersion"], obj["kind"], metadata["name"], metadata.get("namespace")) is None

    def delete_all(self, api_version: str, kind: str, namespace: str | None = None) -> None:
        """Delete each of them and wait until none is left."""
        for obj in self.all_of(api_version, kind, namespace):
            self.delete(obj)
        until(lambda: not self.all_of(api_version, kind, namespace), f"no {kind} is left")

    def logs(self, namespace: str, pod: str, container: str | None = None) -> str:
        query = {"container": container} if container else {}
        return str(self.call("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", **query))

    def events(self, namespace: str, name: str) -> list[Json]:
        """Return the events about the object of that name, oldest first."""
        found = self.all_of("v1", "Event", namespace, fieldSelector=f"involvedObject.name={name}")
        return sorted(found, key=lambda event: event["metadata"]["creationTimestamp"])

    def _path(self, obj: Mapping[str, Any], *, named: bool = True) -> str:
        resource = self._resource(obj["apiVersion"], obj["kind"])
        metadata = obj["metadata"]
        path = resource.path
        if resource.namespaced and metadata.get("namespace"):
            path += f"/namespaces/{metadata['namespace']}"
        path += f"/{resource.plural}"
        return f"{path}/{metadata['name']}" if named else path

    def _resource(self, api_version: str, kind: str) -> _Resource:
        if (api_version, kind) not in self._resources:
            path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            for found in self.call("GET", path)["resources"]:
                if "/" not in found["name"]:
                    resource = _Resource(path, found["name"], found["namespaced"])
                    self._resources[api_version, found["kind"]] = resource
        try:
            return self._resources[api_version, kind]
        except KeyError:
            raise LookupError(f"The API server knows no {kind} in {api_version}; is its CRD applied?") from None


def _content(answer: requests.Response) -> Any:
    """Return the answer's JSON, or its text. Raises Refused."""
    is_json = "json" in answer.headers.get("Content-Type", "")
    if answer.status_code >= 400:
        said = answer.json() if is_json else {}
        raise Refused(answer.status_code, said.get("reason", ""), said.get("message", answer.text))
    return answer.json() if is_json else answer.text


def _object(api_version: str, kind: str, name: str, namespace: str | None) -> Json:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def until(look: Callable[[], Found], what: str, seconds: float = PATIENCE_SECONDS, every: float = 0.1) -> Found:
    """Return what `look` returns as soon as that is true. Raises TimeoutError with the last value."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise TimeoutError(f"After {seconds:.0f} s still not: {what}. Last seen: {found!r}")
        time.sleep(every)
    return found


def namespace(name: str, **labels: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def documents(texts: Iterable[str]) -> list[Json]:
    """Return all objects of several YAML texts."""
    return [document for text in texts for document in yaml.safe_load_all(text) if document]
