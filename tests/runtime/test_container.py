"""The image, as far as it can be tried without a builder: what its file says, and its own commands run as they stand.

The commands run in a scratch folder instead of the image's root, and the server as the image's user, who may write to
the state's folder and nowhere else.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from stoa_compiler.cli import serve
from tests.engines.keycloak import free_port
from tests.runtime import world

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Containerfile").read_text()


@dataclass(frozen=True)
class Step:
    """One instruction."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The words of an instruction that starts no shell."""
        words: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return words


def steps() -> list[list[Step]]:
    """The instructions of each stage; those before the first come first."""
    joined = re.sub(r"\\\n\s*", "", "\n".join(line for line in TEXT.splitlines() if not line.startswith("#")))
    stages: list[list[Step]] = [[]]
    for line in filter(None, joined.splitlines()):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append(Step(name, rest))
    return stages


BEFORE, BUILD, FINAL = steps()


def one(name: str, stage: list[Step] = FINAL) -> Step:
    (found,) = [step for step in stage if step.name == name]
    return found


def test_the_base_is_pinned_by_a_tag_that_the_builder_may_change() -> None:
    (argument,) = BEFORE
    assert re.fullmatch(r"PYTHON=3\.1[1-9]-slim-[a-z]+", argument.rest)
    assert {stage[0].rest.split()[0] for stage in (BUILD, FINAL)} == {"python:${PYTHON}"}


def test_it_runs_as_a_numbered_user_without_a_shell() -> None:
    assert re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", one("USER").rest)
    names = [step.name for step in FINAL]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert "RUN" not in names[names.index("USER") :]
    for name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
        assert one(name).words[0] not in ("sh", "bash", "/bin/sh")
    chart = (ROOT / "charts/stoa-runtime/templates/deployment.yaml").read_text()
    assert f"runAsUser: {one('USER').rest.partition(':')[0]}\n" in chart


def test_its_command_is_one_that_the_runtime_takes(tmp_path: Path) -> None:
    entry, (name, *arguments) = one("ENTRYPOINT").words, one("CMD").words
    assert (entry, name) == (["stoa"], "serve")
    arguments[arguments.index("/bundle")] = str(tmp_path)
    parsed = serve.command.make_context(name, arguments).params
    assert (parsed["host"], str(parsed["port"]), str(parsed["state"])) == ("0.0.0.0", one("EXPOSE").rest, "/state")
    assert one("VOLUME").words == ["/state"]


def test_only_what_the_image_is_made_of_goes_to_the_builder(tmp_path: Path) -> None:
    context(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        ".ci", "LICENSE", "README.md", "compiler", "pyproject.toml", "runtime", "schemas"
    }  # fmt: skip
    assert {path.name for path in (tmp_path / ".ci").iterdir()} == {"lock.txt", "locked"}


BESIDE = {"distributed", "drift", "gitlab", "lsp", "publish", "reconcile", "reviews", "signing", "test"}
"""Extras of what runs elsewhere: on an author's machine, in CI."""


def test_the_locked_part_is_what_the_extras_need_and_names_hashes() -> None:
    (install,) = [step.rest for step in BUILD if "/tmp/needed.txt" in step.rest]
    extras = re.search(r"\.ci/locked ([a-z ]+) >", install)
    assert extras is not None
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras[1].split()) == known.keys() - BESIDE
    locked = subprocess.run(
        [sys.executable, ROOT / ".ci" / "locked", *extras[1].split()], capture_output=True, text=True, check=True
    ).stdout
    packages = re.findall(r"(?m)^([a-z0-9-]+)==", locked)
    assert {"aiohttp", "click", "cryptography", "prometheus-client", "redis", "uvloop"} <= set(packages)
    assert not {"pytest", "mypy", "hypothesis"} & set(packages)
    assert locked.count("--hash=sha256:") >= len(packages)
    assert install.count("--require-hashes") == 1


def context(folder: Path) -> None:
    """What `COPY . .` copies: the builder's context, without what is ignored."""
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    for line in lines:
        if line.startswith("!"):
            source, target = ROOT / line[1:], folder / line[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
    assert "*" in lines, "all else is ignored"


def interpreter() -> str:
    """A Python that the image's user may run: one below root's home is none."""
    for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        if not Path(path).exists():
            continue
        base = subprocess.run(
            [path, "-c", "import ensurepip, sys; assert sys.version_info >= (3, 11); print(sys.base_prefix)"],
            capture_output=True, text=True,
        )  # fmt: skip
        prefix = Path(base.stdout.strip() or "/nowhere")
        if base.returncode == 0 and (os.geteuid() != 0 or all(p.stat().st_mode & 1 for p in (prefix, *prefix.parents))):
            return path
    pytest.skip("no Python from 3.11 on, with ensurepip, that another user may run")


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """The image's root, made by the commands of its build; `/opt/stoa` and the like lie below it."""
    python = interpreter()
    root = Path(tempfile.mkdtemp(prefix="stoa-image-"))
    root.chmod(0o755)
    try:
        base = root / "base"
        subprocess.run([python, "-m", "venv", base], check=True)
        for folder in ("opt", "tmp", "source"):
            (root / folder).mkdir()
        context(root / "source")
        for step in BUILD:
            if step.name != "RUN":
                continue
            done = subprocess.run(
                ["sh", "-e", "-c", re.sub(r"(?<![\w.])/(opt|tmp)/", rf"{root}/\1/", step.rest)],
                cwd=root / "source", env={**os.environ, "PATH": f"{base}/bin:{os.environ['PATH']}"},
                capture_output=True, text=True,
            )  # fmt: skip
            if re.search("Connection|Temporary failure|No matching distribution", done.stderr):
                pytest.skip(f"the packages cannot be had here: {done.stderr.strip().splitlines()[-1]}")
            assert done.returncode == 0, done.stderr
        yield root
    finally:
        shutil.rmtree(root)


@pytest.mark.engine
def test_its_own_commands_build_and_serve_and_write_to_the_state_alone(
    image: Path, issuer: world.Issuer, backend: world.Recorder
) -> None:
    tenants = world.catalogs(backend.url)
    world.write_bundle(image / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    state, port = image / "state", free_port()
    state.mkdir()
    user: dict[str, object] = {}
    if os.geteuid() == 0:
        number = int(one("USER").rest.partition(":")[0])
        os.chown(state, number, number)
        user = {"user": number, "group": number, "extra_groups": []}
    else:
        (image / "opt").chmod(0o555)
    replaced = {"/bundle": str(image / "bundle"), "/state": str(state), "8080": str(port), "0.0.0.0": "127.0.0.1"}
    command = [*one("ENTRYPOINT").words, *(replaced.get(word, word) for word in one("CMD").words)]
    environment = {
        "PATH": f"{image}/opt/stoa/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "STOA_SERVE_PORT": str(port),
        "STOA_SECRET_BILLING_API_TOKEN": world.SECRET, "STOA_SECRET_KEYLESS_API_TOKEN": world.SECRET,
    }  # fmt: skip
    before = listing(image)
    health = [f"{image}/opt/stoa/bin/{one('HEALTHCHECK').words[0]}", *one("HEALTHCHECK").words[1:]]

    def is_healthy() -> bool:
        return subprocess.run(health, env=environment, cwd=state, capture_output=True, **user).returncode == 0  # type: ignore[call-overload,no-any-return]

    assert not is_healthy()
    process = subprocess.Popen(  # type: ignore[call-overload]
        [f"{image}/opt/stoa/bin/{command[0]}", *command[1:], "--metrics", "127.0.0.1:0"],
        env=environment, cwd=state, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **user,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line == f"listening on http://127.0.0.1:{port}\n", process.stderr.read()
        assert is_healthy()
        metrics = process.stdout.readline().removeprefix("metrics at ").strip()
        assert "stoa_bundle_info{" in httpx2.get(metrics).text
        assert httpx2.get(f"http://127.0.0.1:{port}/readyz").json()["status"] == "ready"
        seen = world.World(f"http://127.0.0.1:{port}", issuer, backend, state / "audit.jsonl", "")
        assert seen.call("ioi_billing_get_invoice", {"id": "7"})["structuredContent"]["id"] == "7"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert len(seen.audit_lines()) == 1
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert listing(image) == before


def listing(image: Path) -> set[tuple[str, int, int]]:
    """Every file outside of the state's folder, with its size and time."""
    return {
        (str(path), stat.st_size, stat.st_mtime_ns)
        for path in image.rglob("*")
        if not path.is_relative_to(image / "state") and path.is_file() and (stat := path.stat())
    }
