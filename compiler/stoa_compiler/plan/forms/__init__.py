"""The plan in the forms that people and machines read. Each form is one module and a line here."""

from collections.abc import Callable, Mapping

from stoa_compiler.plan.changes import Plan
from stoa_compiler.plan.forms.markdown import as_markdown
from stoa_compiler.plan.forms.terraform import as_terraform
from stoa_compiler.plan.forms.text import as_text


def _text(plan: Plan) -> bytes:
    return as_text(plan, everything=True).encode()


def _json(plan: Plan) -> bytes:
    return plan.to_json()


FORMS: Mapping[str, Callable[[Plan], bytes]] = {
    "text": _text,
    "markdown": as_markdown,
    "json": _json,
    "terraform": as_terraform,
}
