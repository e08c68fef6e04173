"""A backend's answer as a tool's result: parsed, checked against its schema, shaped for the client's protocol."""

import base64
import codecs
import functools
import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import orjson

from stoa_runtime import truncation
from stoa_runtime.arguments import listed
from stoa_runtime.backends import Reply
from stoa_runtime.bundles import PreparedTool
from stoa_runtime.multipart import Part, parts
from stoa_runtime.nesting import is_too_deep
from stoa_runtime.results import Result, encode, failure, said
from stoa_schemas import projection

TRUNCATED_KEY = "dev.gostoa/truncated"
MARKER_ROOM = 400
"""Characters that are kept for saying what was left out."""
EXCERPT = 800
"""Characters of a backend's own words about an error."""

_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
_WORDS = ("title", "detail", "message", "error_description", "error", "errors", "code", "field", "fields", "violations")
"""The members of an error answer that say what was wrong: those of RFC 9457 and the usual others."""

_CHARSETS = {
    *("ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "koi8-r", "koi8-u"),
    *("big5", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk", "shift_jis"),
    *(f"cp{page}" for page in range(1250, 1259)),
    *(f"iso8859-{part}" for part in range(1, 17)),
}
"""Charsets of text answers, by the codecs' own names. The others of Python's codecs are none of the Web's."""

Decision = Literal["allowed", "refused", "failed"]


class Shaped(NamedTuple):
    """A result, and what is to be written about it in the audit log."""

    result: Result
    decision: Decision
    rule: str
    deviates: bool = False


def shaped(tool: PreparedTool, reply: Reply, *, legacy: bool) -> Shaped:
    """The result that `reply` makes for clients of this protocol era."""
    if not 200 <= reply.status < 300:
        return Shaped(failure(_refusal(reply)), "failed", "backend-status")
    taken = tool.declared.answer
    if not reply.body or not taken.media_types:
        return _empty(tool, reply, legacy)
    takes = taken.media_types
    if reply.media_type not in takes and not any(_covers(pattern, reply.media_type) for pattern in takes):
        return Shaped(
            failure("The backend's answer is of a media type that the contract does not declare; it is withheld."),
            "refused",
            "answer-media-type",
        )
    if _is_json(reply.media_type):
        try:
            return _checked(tool, _parsed(reply.body), legacy)
        except ValueError:
            return Shaped(failure("The backend's answer is not sound JSON; it is withheld."), "refused", "answer-json")
    if taken.fields is not None:
        # Members are picked from JSON; of anything else, nothing was named.
        return Shaped(
            failure("The backend's answer is not JSON, and only some members of it may be passed on; it is withheld."),
            "refused",
            "answer-media-type",
        )
    if _is_text(reply.media_type):
        text = _text(reply.body, reply.charset)
        return _checked(tool, text, legacy, text)
    if not reply.media_type.startswith("multipart/"):
        return _fitting(tool, Result((_block(tool, reply.media_type, reply.body),)))
    try:
        blocks = tuple(_part(tool, part) for part in parts(reply.body, reply.boundary))
    except ValueError:
        said_so = failure("The backend's answer is not sound multipart; it is withheld.")
        return Shaped(said_so, "refused", "answer-multipart")
    return _fitting(tool, Result(blocks))


def _fitting(tool: PreparedTool, result: Result) -> Shaped:
    """A result that cannot be shortened, or a refusal where it is too long."""
    size = sum(len(b.get("text") or b.get("data") or b.get("resource", {}).get("blob", "")) for b in result.content)
    if size > tool.declared.answer.max_characters:
        return _too_large(tool, size)
    return Shaped(result, "allowed", "granted")


def _too_large(tool: PreparedTool, size: int) -> Shaped:
    text = (
        f"The backend answered, but its answer has {size:,} characters, and at most"
        f" {tool.declared.answer.max_characters:,} are passed on. Ask for less: a narrower search, fewer items, a"
        f" shorter time. `{tool.declared.name}` takes {listed(tool.known)}."
    )
    return Shaped(failure(text), "refused", "answer-size")


def _parsed(body: bytes) -> Any:
    """The value, strictly: no NaN, no lone surrogates; whole numbers beyond 64 bits keep every digit."""
    value = orjson.loads(body)
    if is_too_deep(value, body):
        raise ValueError("nested too deeply")
    return json.loads(body) if _LONG_NUMBER.search(body) else value


_LONG_NUMBER = re.compile(rb"\d{19}")


def _covers(pattern: str, media_type: str) -> bool:
    wanted = pattern.partition(";")[0].strip().lower()
    if wanted in ("*/*", media_type):
        return True
    kind, _, sub = wanted.partition("/")
    if sub == "*":
        return media_type.startswith(f"{kind}/")
    # RFC 6839: `application/problem+json` is JSON to whoever takes `application/json`.
    return wanted == "application/json" and media_type.endswith("+json")


def _is_json(media_type: str) -> bool:
    return media_type in ("application/json", "text/json") or media_type.endswith("+json")


def _is_text(media_type: str) -> bool:
    return media_type.startswith("text/") or media_type.endswith(("/xml", "+xml", "/yaml", "+yaml"))


def _text(body: bytes, charset: str) -> str:
    """The body as text in the charset that it names, where that is one of the Web's; else in UTF-8."""
    try:
        charset = codecs.lookup(charset).name
    except LookupError:
        charset = "utf-8"
    text = body.decode(charset if charset in _CHARSETS else "utf-8", "replace")
    return text.encode("utf-8", "replace").decode()  # No lone surrogates, which some charsets can spell.


def _checked(tool: PreparedTool, value: Any, legacy: bool, text: str | None = None) -> Shaped:
    """The value as a result, where it is what the contract says; `text` stands for it where it is no JSON.

    JSON is written anew: what a parser passed over (the first of two members of one name) is not sent.
    """
    rule = tool.declared.answer
    if rule.fields is not None:
        value = projection.project(value, _tree(tuple(rule.fields)))
    deviates = tool.output is not None and not tool.output.is_valid(value)
    if deviates and tool.declared.answer.check == "enforce":
        return Shaped(
            failure(
                "The backend answered, but not as its contract says, so the answer is withheld. The arguments are"
                " not the cause. The call may have taken effect."
            ),
            "refused",
            "answer-schema",
        )
    encoded = encode(value)
    written = encoded.decode() if text is None else text
    cuts: tuple[Mapping[str, Any], ...] = ()
    meta: dict[str, Any] = {}
    if len(written) > rule.max_characters:
        shorter = _shortened(tool, value, written, text is not None, deviates)
        if shorter is None:
            return _too_large(tool, len(written))
        value, written, marker, meta = shorter
        encoded = encode(value)
        cuts = ({"type": "text", "text": marker},)
    if legacy and rule.wrap:
        encoded, value = b'{"result":%b}' % encoded, {"result": value}
        written = encoded.decode()
    content = ({"type": "text", "text": written}, *cuts)
    if isinstance(value, dict) if legacy else value is not None and (tool.output is not None or type(value) is not str):
        result = Result(content, value, encoded, meta=meta)
    else:
        result = Result(content, meta=meta)
    return Shaped(result, "allowed", "granted", deviates)


def _shortened(
    tool: PreparedTool, value: Any, written: str, is_text: bool, deviates: bool
) -> tuple[Any, str, str, dict[str, Any]] | None:
    """The value made to fit, its text, what is said about it, and what stands in `_meta`; None where it must not be."""
    rule, output = tool.declared.answer, tool.output

    def conforms(candidate: Any) -> bool:
        return deviates or output is None or output.is_valid(candidate)

    limit = rule.max_characters - MARKER_ROOM
    if rule.when_too_large == "refuse":
        return None
    counts: dict[str, Any] = {"characters": len(written)}
    if is_text:
        shown = written[:limit]
        if not conforms(shown):
            return None
        marker = f"[Truncated: the first {len(shown):,} of {len(written):,} characters are shown. Ask for less.]"
        return shown, shown, marker, {TRUNCATED_KEY: {**counts, "keptCharacters": len(shown)}}
    found = truncation.shorten(value, limit, conforms)
    if found is None:
        return None
    shorter, cuts = found
    lists = [{"at": cut.at, "kept": cut.kept, "of": cut.of} for cut in cuts]
    told = ", ".join(f"{c.kept:,} of {c.of:,} items of {f'`{c.at}`' if c.at else 'the list'}" for c in cuts[:3])
    more = f" and {len(cuts) - 3} more lists cut" if len(cuts) > 3 else ""
    marker = f"[Truncated: {told[:240]}{more} are shown, each from its beginning. Ask for less to see the others.]"
    return shorter, encode(shorter).decode(), marker, {TRUNCATED_KEY: {**counts, "lists": lists[:50]}}


@functools.lru_cache(maxsize=4096)
def _tree(fields: tuple[str, ...]) -> projection.Tree:
    return projection.tree(fields)


def _empty(tool: PreparedTool, reply: Reply, legacy: bool) -> Shaped:
    """An answer without content. Where the contract promises content, that is an answer outside its schema."""
    if tool.output is None or tool.declared.request.method == "HEAD":
        return Shaped(said(f"Done: the backend answered {reply.status}, without content."), "allowed", "granted")
    return _checked(tool, None, legacy)


def _part(tool: PreparedTool, part: Part) -> dict[str, Any]:
    if _is_text(part.media_type) or _is_json(part.media_type):
        return {"type": "text", "text": _text(part.body, part.charset)}
    return _block(tool, part.media_type, part.body)


def _block(tool: PreparedTool, media_type: str, body: bytes) -> dict[str, Any]:
    """Bytes as a content block: images and sounds as such, anything else as a resource."""
    data = base64.b64encode(body).decode()
    kind = media_type.partition("/")[0]
    if kind in ("image", "audio"):
        return {"type": kind, "data": data, "mimeType": media_type}
    return {
        "type": "resource",
        "resource": {"uri": f"stoa:answer/{tool.declared.name}", "mimeType": media_type, "blob": data},
    }


def _refusal(reply: Reply) -> str:
    """What a caller can do about an error status. A server's own trouble is not told further."""
    match reply.status:
        case 401 | 403 | 407:
            return (
                f"The backend refused the platform's own credential or its rights ({reply.status}). Other arguments"
                " may be permitted; another sign-in changes nothing. Tell the contract's owner if it stays so."
            )
        case 429:
            after = reply.retry_after
            wait = (
                f" Wait {after} seconds." if after and after.isascii() and after.isdigit() else " Wait, then try again."
            )
            return f"The backend takes no more calls for now (429).{wait}"
        case status if 400 <= status < 500:
            words = _excerpt(reply)
            kind = {404: "found nothing for these arguments", 409: "found a conflict with what is there"}.get(
                status, "refused these arguments"
            )
            return f"The backend {kind} ({status})." + (
                f" It says: {words}" if words else " Change them and try again."
            )
        case status if status >= 500:
            return f"The backend failed ({status}). The arguments are not known to be the cause. Try again later."
        case status:
            return f"The backend answered {status}, which is neither a success nor an error; it is withheld."


def _excerpt(reply: Reply) -> str:
    """The backend's own words about a client error, from the members that are meant for that."""
    if not _is_json(reply.media_type):
        return ""
    try:
        value = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return ""
    if isinstance(value, dict):
        value = {key: value[key] for key in _WORDS if key in value}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if value else ""
    text = _HIDDEN.sub("", text)
    return text if len(text) <= EXCERPT else text[:EXCERPT] + "…"
