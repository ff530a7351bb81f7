"""The way to the API server: by a kubeconfig, or as the pod's ServiceAccount.

Client certificates, tokens and exec plugins are kubernetes_asyncio's affair.
"""

from __future__ import annotations

import os

import yaml
from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, Configuration


class CannotConnect(RuntimeError):
    """A kubeconfig or a ServiceAccount cannot be used.  The sentence has nothing of what is in them."""


async def connect(kubeconfig: str | None = None) -> ApiClient:
    """By the current context of `kubeconfig`, a path or several as in $KUBECONFIG; else of $KUBECONFIG; else as the
    pod's ServiceAccount.  `configuration.host` of what it returns is the URL.  Raises CannotConnect."""
    configuration = Configuration()
    # Each log that is followed holds a connection; the service itself limits how many.
    configuration.connection_pool_maxsize = 0
    if kubeconfig := kubeconfig or os.environ.get("KUBECONFIG"):
        await _load(kubeconfig, configuration)
    else:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise CannotConnect(
                f"There is no cluster: {error}. Set KUBECONFIG, or run it in a pod with a ServiceAccount."
            ) from None
    return ApiClient(configuration)


async def _load(kubeconfig: str, configuration: Configuration) -> None:
    try:
        await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
    # What the client raises, by accident too, for files that are no kubeconfig (kubernetes_asyncio 36.1).
    except (config.ConfigException, yaml.YAMLError, OSError, KeyError, TypeError, AssertionError) as error:
        raise CannotConnect(f"The kubeconfig {kubeconfig} cannot be used: {_without_secrets(error)}.") from None


def _without_secrets(error: Exception) -> str:
    """PyYAML shows the line, and kubernetes_asyncio 36.1 names a place by all that is in it, tokens included."""
    if not isinstance(error, config.ConfigException):
        return "it is no kubeconfig with a current context"
    return str(error).split(" in ")[0].split("\n")[0]
