"""The process as its users start it; manners_test.go has what it shares with the Go program."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.asgi import SCHEMA

_SIDE = Path(__file__).parents[1]


class _Running:
    def __init__(self, place: Path, **environ: str) -> None:
        self.output = place / "output"
        with self.output.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "starling.predict"],
                cwd=place,
                env={**os.environ, "PYTHONPATH": str(_SIDE / "src"), "HTTP_PORT": "0", **environ},
                stdout=out,
                stderr=subprocess.PIPE,
            )

    def lines(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.output.read_text().splitlines()]
        for line in lines:
            SCHEMA.validate(line)
        return lines

    def port(self) -> int:
        """Waits for the line that says where it listens."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.lines():
                if line["event"] == "process.started":
                    return int(line["port"])
            time.sleep(0.02)
        raise AssertionError(self.output.read_text())


@contextlib.contextmanager
def _running(place: Path, **environ: str) -> Iterator[_Running]:
    running = _Running(place, **environ)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def _get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        body: bytes = answer.read()
    return body


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_ends_when_told(tmp_path: Path, stop: signal.Signals) -> None:
    with _running(tmp_path, STARLING_VERSION="v1-2-g3") as it:
        health = json.loads(_get(it.port(), "/healthz"))
        assert health == {"status": "ok", "version": "v1-2-g3"}
        it.process.send_signal(stop)
        assert it.process.wait(10) == 0
        first, last = it.lines()[0], it.lines()[-1]
        assert (first["service"], first["env"], first["version"]) == ("starling-predict", "dev", "v1-2-g3")
        assert last["event"] == "process.stopped"


def test_metrics_on_a_port_of_their_own(tmp_path: Path) -> None:
    apart = _free_port()
    with _running(tmp_path, METRICS_PORT=str(apart)) as it:
        port = it.port()
        _get(port, "/healthz")
        assert b'starling_predict_requests_total{method="GET",route="/healthz",status="200"} 1.0' in _get(
            apart, "/metrics"
        )
        with pytest.raises(urllib.error.HTTPError, match="404"):
            _get(port, "/metrics")
        it.process.terminate()
        assert it.process.wait(10) == 0


def test_a_port_that_is_taken_ends_it(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        _running(tmp_path, HTTP_PORT=str(taken.getsockname()[1])) as it,
    ):
        _, stderr = it.process.communicate(timeout=30)
        assert it.process.returncode == 1
        assert re.match(rb"starling-predict: listen on port \d+: .*in use", stderr)


def test_the_lock_names_no_registry_and_every_dependency_is_explained() -> None:
    lock = (_SIDE / "requirements.lock").read_text()
    assert "://" not in lock
    project = tomllib.loads((_SIDE / "pyproject.toml").read_text())
    reasons = (_SIDE.parent / "docs" / "adr" / "0002-dependencies.md").read_text(encoding="utf-8")
    for dependency in project["project"]["dependencies"] + project["dependency-groups"]["dev"]:
        name = re.match("[A-Za-z0-9-]+", dependency)
        assert name
        assert f"`{name[0]}`" in reasons, f"docs/adr/0002-dependencies.md has no line for {name[0]}"
