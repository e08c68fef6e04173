"""A bundle's files, parsed strictly: no key twice, nothing that its consumer would not know."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stoa_compiler import readback
from stoa_compiler.targets.keycloak.realm import Realm
from stoa_compiler.verify_bundle.findings import UNREADABLE, Finding, Invariant, Step, pointer
from stoa_schemas import bundle
from stoa_schemas.helm_values import HelmValues

Json = dict[str, Any]

VALUES = "helm/stoa-runtime.values.yaml"


class Unfit(Exception):
    """A file is not what its place asks for; the message says why."""


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    if len({k for k, _ in pairs}) != len(pairs):
        raise Unfit("a key is there twice")
    return dict(pairs)


def read_json(content: bytes) -> Any:
    """The value of a JSON file."""
    try:
        return json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Unfit(f"it is not JSON: {error}") from error


def read_yaml(content: bytes) -> list[Any]:
    """The documents of a YAML file."""
    try:
        return readback.documents(content)
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise Unfit(f"it is not YAML: {str(error).splitlines()[0]}") from error


@dataclass
class Read:
    """A bundle, and what was found wrong with it so far."""

    files: Mapping[str, bytes]
    findings: list[Finding] = field(default_factory=list)

    def add(self, invariant: Invariant, path: str, message: str, *steps: Step) -> None:
        """Adds a finding at a place of an artifact."""
        self.findings.append(Finding(path, pointer(*steps), invariant.code, message))

    def _parsed(self, path: str) -> Any:
        try:
            found = read_json(self.files[path])
        except Unfit as error:
            self.add(UNREADABLE, path, str(error))
            return None
        if found is None:
            self.add(UNREADABLE, path, "it holds nothing")
        return found

    def _model(self, path: str, model: type[bundle.Part]) -> Any:
        """The file as the runtime reads it, plain."""
        data = self._parsed(path)
        if data is None:
            return None
        try:
            model.model_validate_json(self.files[path])
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            self.add(UNREADABLE, path, f"the runtime would refuse it: {first['msg']}", *first["loc"])
            return None
        return data

    @cached_property
    def index(self) -> Json | None:
        """`mcp/platform.json`; None where the bundle serves nothing."""
        found: Json | None = self._model(bundle.PLATFORM_INDEX, bundle.PlatformIndex) if self.serves else None
        return found

    @property
    def serves(self) -> bool:
        """Whether the runtime can be started with it."""
        return bundle.RUNTIME_MANIFEST in self.files or bundle.PLATFORM_INDEX in self.files

    @cached_property
    def manifest(self) -> Json | None:
        """`mcp/manifest.json`."""
        if bundle.RUNTIME_MANIFEST not in self.files:
            return None
        found: Json | None = self._model(bundle.RUNTIME_MANIFEST, bundle.RuntimeManifest)
        return found

    @cached_property
    def development(self) -> Json | None:
        """`mcp/development.json`."""
        if bundle.DEVELOPMENT not in self.files:
            return None
        found: Json | None = self._model(bundle.DEVELOPMENT, bundle.Development)
        return found

    @cached_property
    def catalogs(self) -> Mapping[str, Json]:
        """Catalogs by path."""
        paths = sorted(p for p in self.files if p.startswith("mcp/tenants/"))
        read = {p: self._model(p, bundle.Catalog) for p in paths}
        return {p: c for p, c in read.items() if c is not None}

    @cached_property
    def realms(self) -> Mapping[str, Realm]:
        """Realms by path."""
        found = {}
        for path in sorted(p for p in self.files if p.startswith("keycloak/")):
            data = self._parsed(path)
            if isinstance(data, dict):
                found[path] = Realm(data)
            elif data is not None:
                self.add(UNREADABLE, path, "it is not a realm")
        return found

    @cached_property
    def values(self) -> HelmValues | None:
        """The runtime's Helm values."""
        if VALUES not in self.files:
            return None
        try:
            (data,) = read_yaml(self.files[VALUES]) or [None]
            return HelmValues.model_validate(data)
        except Unfit as error:
            self.add(UNREADABLE, VALUES, str(error))
        except ValueError as error:
            said = str(error).splitlines()[0]
            if isinstance(error, ValidationError):
                first = error.errors(include_url=False, include_input=False)[0]
                self.add(UNREADABLE, VALUES, f"the chart would refuse it: {first['msg']}", *first["loc"])
            else:
                self.add(UNREADABLE, VALUES, said)
        return None

    @cached_property
    def objects(self) -> list[tuple[str, int, Json]]:
        """Kubernetes objects, each with its file and its number there."""
        return list(self._objects())

    def _objects(self) -> Iterator[tuple[str, int, Json]]:
        for path in sorted(p for p in self.files if p.startswith(("kubernetes/", "argocd/"))):
            try:
                documents = read_yaml(self.files[path])
            except Unfit as error:
                self.add(UNREADABLE, path, str(error))
                continue
            for number, found in enumerate(documents):
                metadata = found.get("metadata") if isinstance(found, dict) else None
                if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
                    self.add(UNREADABLE, path, "it is no object with a kind and a name", number)
                else:
                    yield path, number, found


def read_folder(folder: Path) -> Read:
    """The bundle in a folder."""
    return Read({p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if not p.is_dir()})
