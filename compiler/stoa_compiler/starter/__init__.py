"""A new source: its files as text, from the few names that a newcomer gives.

What lies in `files/` is complete but for `<<name>>` and the like. In YAML each stands for a whole value, which is
written so that it is read back as text, whatever it is.
"""

import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files as resources
from typing import Any

import yaml

from stoa_compiler import __version__
from stoa_schemas import emit

SCHEMAS = ".schemas"
"""The folder of JSON Schemas in a new source. It is kept in Git, so that a clone has them without a network."""

_GAP = re.compile(r"<<([a-z_]+)>>")
_PLAIN = re.compile(r"[a-z][a-z0-9+-]*((:(//)?|[./@#])[a-z0-9-]+)*")


def starter(name: str, tenant: str, domain: str) -> Iterator[tuple[str, str]]:
    """Every file's path and text: documents, schemas, settings of editors, a pipeline, a README."""
    values = {
        "name": name,
        "tenant": tenant,
        "domain": domain,
        "version": __version__,
        "gateway": f"https://mcp.{domain}",
        "issuer": f"https://id.{domain}/realms/stoa",
        "backend_host": f"*.{tenant}.{domain}",
        "backend_dev": f"http://127.0.0.1:8082/{tenant}/notes",
        "backend_prod": f"https://notes.{tenant}.{domain}/v1",
        "email_noor": f"noor@{domain}",
        "email_mira": f"mira@{tenant}.{domain}",
        "email_jonas": f"jonas@{tenant}.{domain}",
        "every_tool": f"{tenant}:notes:*",
        "tool_list": f"{tenant}:notes:list_notes",
        "tool_get": f"{tenant}:notes:get_note",
        "secrets": f"tenants/{tenant}",
        "secret": f"vault:tenants/{tenant}/notes#api-token",
    }
    for path, kept in (
        ("platform.yaml", "platform.yaml"),
        (f"{tenant}/tenant.yaml", "tenant.yaml"),
        (f"{tenant}/contracts/notes.yaml", "notes.yaml"),
    ):
        yield path, _filled(kept, {k: _scalar(v) for k, v in values.items()})
    for file in ("README.md", "gitlab-ci.yml"):
        yield file if file == "README.md" else f".{file}", _filled(file, values)
    yield ".gitignore", "# Bundles, and what `stoa dev` leaves.\n/.stoa/\n"
    yield ".vscode/settings.json", _json({"yaml.schemas": {f"./{SCHEMAS}/{s}": p for s, p in _ASSOCIATIONS.items()}})
    yield ".vscode/tasks.json", _json(_TASKS)
    yield ".vscode/extensions.json", _json({"recommendations": ["redhat.vscode-yaml"]})
    for file, content in emit.files():
        yield f"{SCHEMAS}/{file}", content.decode()


_ASSOCIATIONS: Mapping[str, str] = {
    emit.schema_file("Platform"): "**/platform.yaml",
    emit.schema_file("Tenant"): "**/tenant.yaml",
    emit.schema_file("UniversalAPIContract"): "**/contracts/*.yaml",
    emit.schema_file("Consumer"): "**/consumers/*.yaml",
    emit.schema_file("Plan"): "**/plans/*.yaml",
    emit.schema_file("Subscription"): "**/subscriptions/*.yaml",
}
"""Which schema an editor uses for which files, also for one that has no first line yet to say so."""

_TASKS: Mapping[str, Any] = {
    "version": "2.0.0",
    "tasks": [
        {
            "label": "stoa check",
            "type": "process",
            "command": "stoa",
            "args": ["check", "."],
            "group": {"kind": "build", "isDefault": True},
            "presentation": {"reveal": "silent"},
            "problemMatcher": {
                "owner": "stoa",
                "source": "stoa",
                "fileLocation": ["relative", "${workspaceFolder}"],
                "pattern": {
                    "regexp": r"^(\S.*?):(\d+):(\d+): (error|warning)\[(STOA\d+)\]: (.*)$",
                    "file": 1,
                    "line": 2,
                    "column": 3,
                    "severity": 4,
                    "code": 5,
                    "message": 6,
                },
            },
        }
    ],
}
"""`stoa check` as VS Code's build task, whose findings it shows at their places."""


def _filled(file: str, values: Mapping[str, str]) -> str:
    text = (resources("stoa_compiler") / "starter" / "files" / file).read_text(encoding="utf-8")
    return _GAP.sub(lambda gap: values[gap[1]], text)


def _scalar(text: str) -> str:
    """`text` as a YAML scalar: bare where every reader takes it for this very text, else in double quotes."""
    if _PLAIN.fullmatch(text) and yaml.safe_load(text) == text:
        return text
    return json.dumps(text)


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
