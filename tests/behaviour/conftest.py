"""Fixtures of kube.py for all tests here."""

from kube import kube, server

__all__ = ["kube", "server"]
