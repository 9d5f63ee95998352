"""What a user installs: the wheel in an environment of its own, and the editable tree that developers use."""

from __future__ import annotations

import runpy
import smtplib
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.integration.lab.ports import HOST, free_ports, listens, wait_until

PROJECT = Path(__file__).resolve().parents[2]
PIN = PROJECT / "requirements-ci.txt"


def _run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    _run(sys.executable, "-m", "pip", "wheel", *options, PROJECT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel and nothing of the source tree."""
    folder = tmp_path_factory.mktemp("installed")
    _run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    programs = folder / "venv" / "bin"
    _run(programs / "pip", "install", "--quiet", "--constraint", PIN, wheel, cwd=folder)
    return programs


def test_the_wheel_holds_the_plugin_and_makes_no_package_of_twisteds_folder(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "twisted/plugins/smtpproxy_plugin.py" in names
    assert not [name for name in names if name.startswith("twisted/") and name.endswith("__init__.py")]
    assert not [name for name in names if name.startswith(("tests/", "certs/", "benchmarks/"))]


def test_what_deploys_it_is_in_the_wheel_and_in_the_sources(wheel: Path, tmp_path: Path) -> None:
    deploy = {str(path.relative_to(PROJECT)) for path in (PROJECT / "deploy").rglob("*") if path.is_file()}
    shared = f"{wheel.name.rsplit('-', 3)[0]}.data/data/share/smtpproxy"
    assert {f"{shared}/{name}" for name in deploy} <= set(zipfile.ZipFile(wheel).namelist())
    _run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path, cwd=PROJECT)
    (sources,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sources) as archive:
        assert deploy <= {name.partition("/")[2] for name in archive.getnames()}


def test_twistd_lists_it_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    assert "smtpproxy" in _run(installed / "twistd", "--help", cwd=tmp_path)


def test_twistd_describes_it_as_the_package_does() -> None:
    plugin = runpy.run_path(str(PROJECT / "twistd_plugins" / "smtpproxy_plugin.py"))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert plugin["service_maker"].description == project["description"]


def test_twistd_lists_it_from_the_editable_tree(tmp_path: Path) -> None:
    assert "smtpproxy" in _run(Path(sys.executable).parent / "twistd", "--help", cwd=tmp_path)


def test_every_module_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(PROJECT)) for path in (PROJECT / "smtpproxy").rglob("*.py")}
    assert sources <= names


def test_the_installed_wheel_carries_a_message(installed: Path, tmp_path: Path) -> None:
    home = tmp_path / "gateway"
    _run(installed / "smtpproxy", "init", "--demo", home, cwd=tmp_path)
    configuration = home / "config" / "demo.yaml"
    port, *others = free_ports(4)
    _change_ports(configuration, port, *others)
    gateway = (installed / "twistd", "--nodaemon", "--pidfile=", "smtpproxy", "--config", configuration)
    _run(*gateway, "--check", cwd=tmp_path)
    log = tmp_path / "twistd.log"
    with log.open("wb") as output:
        process = subprocess.Popen(gateway, cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: listens(port) or process.poll() is not None, "the gateway listens")
        assert process.poll() is None, log.read_text()
        with smtplib.SMTP(HOST, port, "client.test", timeout=20) as client:
            client.sendmail("a@client.test", ["b@example.test"], b"Subject: x\r\n\r\nfrom the wheel\r\n")
    finally:
        process.terminate()
        process.wait(20)
    (message,) = (home / "var" / "maildir" / "new").iterdir()
    assert message.read_bytes() == b"Subject: x\r\n\r\nfrom the wheel\r\n"


def _change_ports(path: Path, smtp: int, smtps: int, upstream_smtp: int, upstream_smtps: int) -> None:
    """Keep what ``init`` wrote but for the ports, which may be taken."""
    document = yaml.safe_load(path.read_text())
    document["interception"]["ports"] = {"smtp": [smtp], "smtps": [smtps]}
    document["embedded"] |= {"smtp": upstream_smtp, "smtps": upstream_smtps}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
