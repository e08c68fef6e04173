"""Real Helm, as a library, and as the command where it can be had."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engines.helm import helm as helm_command_line

CHART = Path(__file__).parents[2] / "charts" / "stoa-runtime"
RELEASE = "stoa"
NAMESPACE = "mcp-gateway"


class HelmError(Exception):
    """Helm refused; the message is its own."""


class HelmLibrary:
    """Helm 4 as a library; `values` is a file's text."""

    def __init__(self) -> None:
        self._helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed")

    def render(self, values: str) -> list[dict[str, Any]]:
        """Every object of the release."""
        parsed = self._helm.values_from_yaml(values)
        try:
            with self._helm.Chart.load(CHART) as chart:
                chart.validate_schema(parsed)
                rendered = chart.render(parsed, name=RELEASE, namespace=NAMESPACE)
        except self._helm.HelmError as error:
            raise HelmError(str(error)) from error
        return [d for name, text in sorted(rendered.items()) if name.endswith(".yaml") for d in documents(text)]

    def lint(self, values: str) -> list[str]:
        """What `helm lint --strict` finds wrong."""
        report = self._helm.lint(CHART, self._helm.values_from_yaml(values), strict=True, namespace=NAMESPACE)
        return [m["error"] for m in report["messages"] if m["severity"] >= 2] + report["errors"]


class HelmCommand:
    """The same by the command `helm`."""

    def __init__(self, folder: Path) -> None:
        self._command, self._values = str(helm_command_line()), folder / "values.yaml"

    def _run(self, *arguments: str, values: str) -> subprocess.CompletedProcess[str]:
        self._values.write_text(values, encoding="utf-8")
        return subprocess.run(
            [self._command, *arguments, "--values", str(self._values), "--namespace", NAMESPACE],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    def render(self, values: str) -> list[dict[str, Any]]:
        done = self._run("template", RELEASE, str(CHART), values=values)
        if done.returncode:
            raise HelmError(done.stderr)
        return list(documents(done.stdout))

    def lint(self, values: str) -> list[str]:
        done = self._run("lint", "--strict", str(CHART), values=values)
        return [done.stdout + done.stderr] if done.returncode else []


def documents(text: str) -> Iterator[dict[str, Any]]:
    """The objects of one rendered file."""
    return (document for document in yaml.safe_load_all(text) if document)


@pytest.fixture(scope="session")
def helm() -> HelmLibrary:
    return HelmLibrary()


@pytest.fixture(scope="session")
def helm_command(tmp_path_factory: pytest.TempPathFactory) -> HelmCommand:
    return HelmCommand(tmp_path_factory.mktemp("helm"))


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [o for o in objects if o["kind"] == kind]


def the(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = of_kind(objects, kind)
    return found


def mounted(objects: list[dict[str, Any]]) -> dict[str, str]:
    """The bundle's files as the pods see them: the projected volume, filled from the ConfigMaps."""
    data: Mapping[str, Mapping[str, str]] = {o["metadata"]["name"]: o["data"] for o in of_kind(objects, "ConfigMap")}
    volumes = {v["name"]: v for v in the(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]}
    files: dict[str, str] = {}
    for source in volumes["bundle"]["projected"]["sources"]:
        for item in source["configMap"]["items"]:
            assert item["path"] not in files
            files[item["path"]] = data[source["configMap"]["name"]][item["key"]]
    return files


def as_values(value: dict[str, Any]) -> str:
    """`value` as a values file: JSON is YAML."""
    return json.dumps(value)
