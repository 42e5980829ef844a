"""The examples of docs/services-applications.md, run as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.build_helpers import ROOT
from tests.services_clones import secrets_folder, shell

if TYPE_CHECKING:
    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration


def example(language: str) -> str:
    text = (ROOT / "docs/services-applications.md").read_text()
    [found] = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)
    return str(found)


def run(stack: Clone, *argv: str, given: str = "") -> list[str]:
    """Run a program with what `eval "$(inv services.env)"` gives it; return the lines that it prints."""
    variables = stack.inv("services.env").json["variables"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **variables, "PATH": path}
    done = subprocess.run(
        argv, input=given, cwd=stack.root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")


def test_python(stack: Clone) -> None:
    assert run(stack, sys.executable, "-c", example("python")) == ["postgres", "redis", "nats", ""]


def test_shell(stack: Clone) -> None:
    assert run(stack, "sh", "-eu", given=example("sh"))[:3] == ["postgres", "OK", "redis"]


@pytest.mark.long
def test_go(stack: Clone, tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text(example("go"))
    apt = f"{stack.root}/docker/build/image/apt.conf:/etc/apt/apt.conf.d/90synos:ro"
    trust = "/etc/ssl/certs/ca-certificates.crt:/synos/certificates.pem:ro"
    install = "apt-get update -qq && apt-get install -qq -y --no-install-recommends golang-go >/dev/null 2>&1"
    names = ("REDIS_HOST", "REDIS_PORT", "REDIS_USER", "REDIS_PASSWORD_FILE")
    secrets = secrets_folder(stack)
    argv = [
        "docker",
        "run",
        "--rm",
        f"--label={stack.label}",
        "--network=host",
        f"--volume={tmp_path}:/app:ro",
    ]
    argv += [f"--volume={secrets}:{secrets}:ro", f"--volume={apt}", f"--volume={trust}"]
    argv += [*(f"--env={name}" for name in names), "debian:trixie-slim", "sh", "-euc"]
    assert run(stack, *argv, f"{install}; go run /app/main.go")[-3:] == ["+OK\r", "+OK\r", ""]
    assert shell(stack, "services.redis-cli", "--", "GET", "example").stdout == "go\n"
