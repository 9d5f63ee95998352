"""Homes whose gateway need not run, with policies and name servers of a test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.pki import Pair

PROGRAM = Path(sys.executable).with_name("smtpproxy")


_UNUSED = {"name": "unused", "direction": "outbound", "upstream": {"host": "mx.invalid"}, "source_address": "gateway"}


class Home:
    """A copy of what ``smtpproxy init`` makes."""

    def __init__(self, made: Path, folder: Path) -> None:
        self.path = Path(shutil.copytree(made, folder / "home"))
        self.main = self.path / "config" / "smtpproxy.yaml"
        self._content: dict[str, Any] = yaml.safe_load(self.main.read_text())
        self._content["policies"] = []

    def policy(self, name: str, upstream: Mapping[str, Any], action: Mapping[str, Any], **more: Any) -> None:  # noqa: ANN401
        """Add a policy with a proxy action of its own."""
        direction = more.get("direction", "outbound")
        folder = self.main.parent / "proxy-actions"
        folder.mkdir(exist_ok=True)
        kind = "client" if direction == "outbound" else "server"
        (folder / f"{name}.yaml").write_text(json.dumps({"kind": kind, **action}))
        policy = {"name": name, "direction": direction, "source": ["any"], "destination": ["any"]}
        policy |= {"tls_support": "disabled", "proxy_action": name, "upstream": upstream, "source_address": "gateway"}
        self._content["policies"].append({**policy, **more})

    def profile(self, name: str, **keys: object) -> None:
        """Add a TLS profile."""
        folder = self.main.parent / "tls-profiles"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(json.dumps(keys))

    def set(self, **sections: object) -> None:
        """Set whole sections of the main file."""
        self._content |= sections

    def put(self, name: str, pair: Pair) -> None:
        """Put a certificate and its key among the others."""
        (self.path / "certs" / f"{name}.pem").write_bytes(pair.pem)
        key = self.path / "certs" / f"{name}.key"
        key.touch(0o600)
        key.write_bytes(pair.key_pem)

    def trust(self, pem: bytes) -> None:
        """Have upstreams verified against these authorities."""
        (self.path / "certs" / "trusted.pem").write_bytes(pem)
        certificates = {**self._content["certificates"], "trusted": "certs/trusted.pem"}
        self.set(certificates=certificates)

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        self._content["policies"] = self._content["policies"] or [_UNUSED]
        self.main.write_text(json.dumps(self._content, indent=1))
        return subprocess.run(
            [PROGRAM, *command.split(), "-c", self.main, *arguments],
            env={**os.environ, "COLUMNS": "160"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
