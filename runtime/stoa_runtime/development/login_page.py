"""The development issuer's pages: who signs in, and what went wrong.

Every value is escaped where it is placed; no script runs, nothing is fetched, no other page can frame these.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from stoa_schemas.bundle import DevelopmentPerson

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f3f4f7; --card: #ffffff; --ink: #16181d; --quiet: #555c69; --line: #d9dce3;
  --accent: #2546c7; --accent-soft: #eaeefc; --warn-ink: #6b4300; --warn: #fff3d9; --warn-line: #edcf8f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111318; --card: #1a1d24; --ink: #eceef3; --quiet: #a4abb8; --line: #323743;
    --accent: #9db2ff; --accent-soft: #232a42; --warn-ink: #ffdf9e; --warn: #33270d; --warn-line: #5f4a1a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; min-height: 100vh; padding: 2.5rem 1rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main {
  max-width: 34rem; margin: 0 auto; padding: 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 14px;
}
.note {
  display: inline-block; margin: 0 0 1rem; padding: .15rem .65rem; border-radius: 999px; font-size: .8125rem;
  color: var(--warn-ink); background: var(--warn); border: 1px solid var(--warn-line);
}
h1 { margin: 0 0 .5rem; font-size: 1.5rem; line-height: 1.25; }
h2 { margin: 1.75rem 0 .5rem; font-size: .875rem; font-weight: 600; color: var(--quiet); }
p { margin: 0 0 .5rem; }
ul { list-style: none; margin: 0; padding: 0; display: grid; gap: .5rem; }
code { font: .875em/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
button { font: inherit; color: inherit; cursor: pointer; border-radius: 10px; border: 1px solid var(--line); }
button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.person {
  display: flex; align-items: center; gap: .875rem; width: 100%; padding: .75rem 1rem;
  background: none; text-align: left;
}
.person:hover { background: var(--accent-soft); border-color: var(--accent); }
.initials {
  flex: none; display: grid; place-items: center; width: 2.5rem; height: 2.5rem; border-radius: 50%;
  background: var(--accent-soft); color: var(--accent); font-size: .875rem; font-weight: 600;
}
.who { min-width: 0; }
.who strong, .who span { display: block; overflow-wrap: anywhere; }
.who span { font-size: .875rem; color: var(--quiet); }
.cancel { margin-top: 1.75rem; padding: .5rem 1.125rem; background: none; }
.cancel:hover { border-color: var(--quiet); }
.quiet { color: var(--quiet); }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


@dataclass(frozen=True, slots=True)
class SignIn:
    """What the page shows: who asks, where the answer goes, and who can be chosen."""

    platform: str
    client: str
    redirect_uri: str
    action: str
    """Where the form is sent, on this server."""
    transaction: str
    people: Sequence[DevelopmentPerson]
    tenants: Mapping[str, str]
    """Tenants' display names by name."""


def sign_in_page(sign_in: SignIn) -> HTMLResponse:
    """A page with one button for each person of the bundle."""
    destination = _origin(sign_in.redirect_uri)
    sections = "".join(
        f"<section><h2>{escape(display_name)}</h2><ul>{''.join(map(_person, people))}</ul></section>"
        for display_name, people in _by_tenant(sign_in)
    )
    body = (
        '<p class="note">Development only: no passwords</p>'
        f"<h1>Sign in to {escape(sign_in.platform)}</h1>"
        f"<p><code>{escape(sign_in.client)}</code> asks to act for you. Choose who you are; the answer goes to "
        f"<code>{escape(destination)}</code>.</p>"
        f'<form method="post" action="{escape(sign_in.action)}">'
        f'<input type="hidden" name="transaction" value="{escape(sign_in.transaction)}">'
        f"{sections}"
        '<button class="cancel" name="decision" value="cancel">Cancel</button>'
        "</form>"
    )
    # The answer to the form is a redirect to the client, and browsers apply form-action to it as well.
    # A source expression cannot name an IPv6 address; the scheme has to do there.
    allowed = "http:" if "[" in destination else destination
    return _page(f"Sign in to {sign_in.platform}", body, form_action=f"'self' {allowed}")


def problem_page(title: str, explanation: str, *, status: int = 400) -> HTMLResponse:
    """A page that says what went wrong, for when the browser must not be sent on."""
    body = (
        '<p class="note">Development issuer</p>'
        f'<h1>{escape(title)}</h1><p>{escape(explanation)}</p><p class="quiet">Go back to the application '
        "that sent you here and start again.</p>"
    )
    return _page(title, body, status=status)


def _by_tenant(sign_in: SignIn) -> Iterable[tuple[str, Sequence[DevelopmentPerson]]]:
    for tenant in sorted({person.tenant for person in sign_in.people}):
        people = [person for person in sign_in.people if person.tenant == tenant]
        yield sign_in.tenants.get(tenant, tenant), people


def _person(person: DevelopmentPerson) -> str:
    initials = "".join(word[0] for word in person.display_name.split()[:2]).upper()
    roles = ", ".join(person.roles) or "no roles"
    return (
        f'<li><button class="person" name="person" value="{escape(person.username)}">'
        f'<span class="initials" aria-hidden="true">{escape(initials)}</span>'
        f'<span class="who"><strong>{escape(person.display_name)}</strong>'
        f"<span>{escape(person.username)} · {escape(roles)}</span></span></button></li>"
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _page(title: str, body: str, *, status: int = 200, form_action: str = "'none'") -> HTMLResponse:
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {form_action}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Cross-Origin-Opener-Policy": "same-origin",
        # With `no-referrer` browsers would send the form with `Origin: null`, and its sender could not be checked.
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
    return HTMLResponse(html, status_code=status, headers=headers)
