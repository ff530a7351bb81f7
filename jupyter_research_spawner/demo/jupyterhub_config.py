"""The JupyterHub configuration of the demo.  Values that differ between runs come from environment variables."""

import json
import os
import sys

import jupyter_research_spawner

c = get_config()  # type: ignore[name-defined]  # noqa: F821

address, password = os.environ["DEMO_ADDRESS"], os.environ["DEMO_PASSWORD"]
c.JupyterHub.bind_url = f"http://{address}:{os.environ['DEMO_PORT']}"
# Pods also reach the hub at this address.
c.JupyterHub.hub_bind_url = f"http://{address}:{os.environ['DEMO_HUB_PORT']}"
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = password
c.Authenticator.allowed_users = {"alice", "bob", "carol"}
c.JupyterHub.allow_named_servers = True
c.JupyterHub.named_server_limit_per_user = 3
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.cookie_secret_file = os.environ["DEMO_COOKIE_SECRET"]
c.JupyterHub.log_level = os.environ.get("DEMO_LOG_LEVEL", "INFO")
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{os.environ['DEMO_PROXY_API_PORT']}"
c.ConfigurableHTTPProxy.pid_file = os.environ["DEMO_PROXY_PID"]
c.KubeSpawner.cmd = ["jupyterhub-singleuser"]
c.KubeSpawner.default_url = "/lab"
c.KubeSpawner.args = json.loads(os.environ["DEMO_NOTEBOOK_ARGUMENTS"])

# The batch service needs these for the cluster, including kubeconfig plugins.  By DEMO_SITE the demo finds and stops a
# service that survived a crash.
HANDED_ON = ("KUBECONFIG", "DEMO_SITE", "HOME", "TMPDIR", "https_proxy", "HTTPS_PROXY", "no_proxy")
site = os.environ["DEMO_SITE"]
jupyter_research_spawner.configure(
    c,
    site,
    # On a real site the service is a Deployment.  Here the hub runs it, so that Ctrl-C also stops it.
    managed_batch={
        "url": f"http://127.0.0.1:{os.environ['DEMO_BATCH_PORT']}",
        "command": [sys.executable, "-m", "jupyter_research_spawner.batch", "--site", site],
        "environment": {name: os.environ[name] for name in HANDED_ON if name in os.environ},
    },
)
