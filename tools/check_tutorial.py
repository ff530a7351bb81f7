"""Follow docs/tutorial/class-on-a-test-cluster.md on a test cluster: run its commands, and see what it says at its end.

It needs what the page needs, and KUBECONFIG with the rights of an administrator.  The namespace jhub must not exist. At
the end everything is removed, except the directories on the node.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jupyter_research_spawner.demo.hub import free_port
from jupyter_research_spawner.demo.user_session import UnexpectedResult, UserSession

TREE = Path(__file__).parents[1]
PAGE = TREE / "docs" / "tutorial" / "class-on-a-test-cluster.md"
REPOSITORY = "https://hub.jupyter.org/helm-chart/"
# The first files of the page, in its order.
FILES = ("site.yaml", "volumes.yaml", "hub-database.yaml")
CLASS = "Statistics 101"
STORAGE_CLASSES = "kubectl get storageclass --output name"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def block_with(words: str) -> str:
    (found,) = (block for block in blocks("sh") if words in block)
    return found


class Tutorial:
    """The page's commands in a directory of their own."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options = options
        self.directory = directory
        self.began = time.monotonic()
        self.environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:4.0f} s] {text}", flush=True)

    def sh(self, script: str, *, shell: str = "sh", directory: Path | None = None) -> str:
        """Run a script of the page, with the registry and the repository of the options, and return its output."""
        script = script.replace("REGISTRY", self.options.registry).replace(REPOSITORY, self.options.helm_repository)
        command = [*shell.split(), "-eu"]
        place = directory or self.directory
        done = subprocess.run(
            command, input=script, cwd=place, env=self.environment, text=True, capture_output=True, check=False
        )
        if done.returncode:
            raise UnexpectedResult(f"This ended with {done.returncode}:\n{script}\n{done.stdout}{done.stderr}")
        return done.stdout

    def write_files(self) -> None:
        shutil.copytree(TREE / "helm-values", self.directory, dirs_exist_ok=True)
        for name, text in zip(FILES, blocks("yaml"), strict=False):
            (self.directory / name).write_text(text.replace("REGISTRY", self.options.registry))
        self.sh(block_with("people.passwd <<"))

    def install(self) -> None:
        self.say("research-spawner try --check")
        print(self.sh(block_with("--check")))
        self.sh(block_with("mkdir -p"), shell=self.options.node_shell)
        if not self.options.has_image:
            self.say("the image of the hub")
            self.sh(block_with("make dist"), directory=TREE / "helm-values")
        self.say("the installation")
        install = block_with("helm repo add")
        if not self.sh(STORAGE_CLASSES):
            install = install.replace("# kubectl apply", "kubectl apply")
        self.sh(install)

    @contextmanager
    def hub(self) -> Iterator[str]:
        """Return the address of the hub while kubectl forwards a port to it."""
        port = free_port("127.0.0.1")
        command = block_with("port-forward").replace("8000:80", f"{port}:80").split()
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True) as forward:
            try:
                assert forward.stdout and forward.stdout.readline(), "kubectl port-forward ended"
                yield f"http://127.0.0.1:{port}"
            finally:
                forward.terminate()

    def console(self) -> None:
        """Run the commands of the student's terminal, and see that they print what the page shows."""
        (shown,) = blocks("console")
        for step in re.split(r"^\$ ", shown, flags=re.MULTILINE)[1:]:
            command, _, wanted = step.partition("\n")
            words = ["kubectl", "exec", "--namespace", "jhub", "jupyter-bob", "--container", "notebook", "--"]
            done = subprocess.run(
                [*words, "sh", "-c", command], env=self.environment, text=True, capture_output=True, check=False
            )
            print(f"$ {command}\n{done.stdout}{done.stderr}", flush=True)
            if done.returncode or not done.stdout.endswith(wanted):
                raise UnexpectedResult(f"The page says: {wanted or 'no error'}")

    def remove(self) -> None:
        self.sh(block_with("helm uninstall"))


async def see_the_class(url: str, password: str) -> None:
    async with UserSession(url, "bob", password) as bob:
        await bob.log_in()
        await bob.start_server(CLASS)
    for user, is_offered in (("alice", False), ("carol", True)):
        async with UserSession(url, user, password) as session:
            await session.log_in()
            async with session.http.get(f"{url}/hub/spawn") as answer:
                if (CLASS in await answer.text()) != is_offered:
                    raise UnexpectedResult(f"{user} is {'not ' if is_offered else ''}offered the class.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", required=True, help="registry from which the cluster pulls, as host:port or host")
    parser.add_argument("--has-image", action="store_true", help="the registry has the hub's image")
    parser.add_argument("--helm-repository", default=REPOSITORY, help="Helm repository of the chart: %(default)s")
    parser.add_argument(
        "--node-shell", default="sh", help="command that runs a script on the node as root: %(default)s"
    )
    parser.add_argument("--keep", action="store_true", help="leave the hub running")
    options = parser.parse_args()
    if "KUBECONFIG" not in os.environ:
        parser.error("set KUBECONFIG: the default cluster of this machine may be in use")
    with tempfile.TemporaryDirectory() as directory:
        tutorial = Tutorial(options, Path(directory))
        if tutorial.sh("kubectl get namespace jhub --ignore-not-found --output name"):
            parser.error("the cluster has a namespace jhub, which this would remove")
        tutorial.write_files()
        (password,) = re.findall(r"user_password: (\S+)\}", (tutorial.directory / "site.yaml").read_text())
        try:
            tutorial.install()
            with tutorial.hub() as url:
                tutorial.say("the student")
                asyncio.run(see_the_class(url, password))
                tutorial.console()
        except UnexpectedResult as error:
            print(tutorial.sh("kubectl get pods,events --namespace jhub"), file=sys.stderr)
            sys.exit(str(error))
        finally:
            if not options.keep:
                tutorial.say("removal")
                tutorial.remove()
        tutorial.say("The class works as the page says.")


if __name__ == "__main__":
    main()
