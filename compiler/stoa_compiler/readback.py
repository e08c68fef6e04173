"""Readback: rendered YAML as its consumers read it, and stricter: a key that is there twice is refused."""

from typing import Any

import yaml

from stoa_compiler.diagnostics import Report, Rule
from stoa_compiler.source import Span

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeys(_Loader):  # type: ignore[misc]
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key is there twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def document(content: bytes) -> Any:
    """The one document of a file; raises `UnicodeDecodeError` and `yaml.YAMLError`."""
    return yaml.load(content.decode(), Loader=_UniqueKeys)


def documents(content: bytes) -> list[Any]:
    """All documents of a file; raises the same."""
    return list(yaml.load_all(content.decode(), Loader=_UniqueKeys))


def objects(path: str, content: bytes, rule: Rule, span: Span, report: Report) -> list[dict[str, Any]]:
    """The objects of a file of manifests; none, with a finding of `rule`, where it holds anything else."""
    try:
        found = documents(content)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        report.add(rule, span, f"`{path}` is no YAML: {str(error).splitlines()[0]}")
        return []
    if not all(isinstance(one, dict) for one in found):
        report.add(rule, span, f"`{path}` holds something else than objects")
        return []
    return found
