"""Rules for every test: no network but loopback; rooms whose libraries are absent are left out."""

import gc
import importlib.util
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NEEDS = {
    "student": ("torch", "transformers"),
    "training": ("torch", "trl"),
    "models": ("torch", "transformers"),
    "reporting": ("altair", "vl_convert"),
    "viewer": ("starlette", "uvicorn"),
}
"""Rooms whose tests can only be collected where these libraries are installed."""

SHARED = Path(__file__).parent.parent / "shared"
"""Real data beside the project; tests that need it are skipped where it is absent."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the tests of a room whose libraries are not installed."""
    for room, libraries in NEEDS.items():
        if room in collection_path.parts and any(
            importlib.util.find_spec(library) is None for library in libraries
        ):
            return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the real data where there is none."""
    if SHARED.exists():
        return
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason="the real data is not beside the project"))


@pytest.fixture(scope="module", autouse=True)
def _no_garbage_of_other_modules() -> None:
    """Keep what is there for good, the imported libraries above all, out of later collections.

    The package collects garbage whenever a model is let go. Among the objects of all libraries
    and of all collected tests, that takes longer than training a student of two layers.
    """
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Give everything back to the collector, so that libraries can clean up at exit."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Files are written in the same order, but only a test of a power cut would need `fsync`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # a closed descriptor is still an error
        yield


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def only_loopback(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if host != "localhost" and not _is_loopback(host):
                raise RuntimeError(f"a test tried to reach {host}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_loopback)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
