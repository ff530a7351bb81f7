"""Connects to the API server with a kubeconfig or the pod's ServiceAccount.

kubernetes_asyncio handles client certificates, tokens and exec plugins.
"""

from __future__ import annotations

import os

import yaml
from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, Configuration


class CannotConnect(RuntimeError):
    """A kubeconfig or a ServiceAccount cannot be used.  The message contains no part of their secrets."""


async def connect(kubeconfig: str | None = None) -> ApiClient:
    """Return a client for the current context of a kubeconfig. Without a kubeconfig it uses the pod's ServiceAccount.

    kubeconfig: a path, or several as in $KUBECONFIG; default: $KUBECONFIG.  Raises CannotConnect.
    """
    configuration = Configuration()
    # 0 means no limit. Each followed log keeps a connection open, and the batch service limits their number.
    configuration.connection_pool_maxsize = 0
    if kubeconfig := kubeconfig or os.environ.get("KUBECONFIG"):
        await _load(kubeconfig, configuration)
    else:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise CannotConnect(
                f"No cluster is configured: {error}. Set KUBECONFIG, or run in a pod with a ServiceAccount."
            ) from None
    return ApiClient(configuration)


async def _load(kubeconfig: str, configuration: Configuration) -> None:
    try:
        await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
    # The exceptions that kubernetes_asyncio 36.1 raises for a file that is not a valid kubeconfig.
    except (config.ConfigException, yaml.YAMLError, OSError, KeyError, TypeError, AssertionError) as error:
        raise CannotConnect(f"The kubeconfig {kubeconfig} cannot be used: {_without_secrets(error)}.") from None


def _without_secrets(error: Exception) -> str:
    """Return a message for the error that quotes nothing from the kubeconfig.

    The messages of PyYAML quote lines of the file, and those of kubernetes_asyncio 36.1 quote tokens.
    """
    if not isinstance(error, config.ConfigException):
        return "it is not a valid kubeconfig with a current context"
    return str(error).split(" in ")[0].split("\n")[0]
