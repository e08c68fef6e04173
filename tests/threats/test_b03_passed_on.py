"""B3: the caller's token and all that it sends of itself never reach a backend, which gets its own credential."""

import json

import pytest

from tests.runtime.world import SECRET
from tests.threats import wire
from tests.threats.process import Attacked

SENT = {
    "Cookie": "session=callers",
    "Proxy-Authorization": "Bearer callers",
    "X-Api-Key": "callers",
    "X-Forwarded-For": "callers",
    "X-Forwarded-Authorization": "callers",
    "Forwarded": "for=callers",
    "Via": "callers",
    "Referer": "https://callers.test",
    "User-Agent": "callers",
    "X-Region": "callers",
    "X-Head": "callers",
    "tracestate": "vendor=callers",
    "baggage": "user=callers",
    "From": "callers@example.test",
    "Accept-Language": "callers",
}
CALLS = {
    "a credential of its own": ("ioi_billing_get_invoice", {"id": "1"}, f"Bearer {SECRET}"),
    "no credential": ("ioi_inventory_list_items", {}, None),
    "a body": ("ioi_billing_create_invoice", {"amount": 1}, f"Bearer {SECRET}"),
    "every place": ("ioi_inventory_place", {"segment": "s", "crumb": "c"}, None),
    "an answer that holds its headers": ("ioi_billing_leak", {}, f"Bearer {SECRET}"),
}


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize("path", ["prepared", "SDK"])
@pytest.mark.parametrize("kind", CALLS)
def test_nothing_of_the_caller_reaches(stoa: Attacked, parzival: str, kind: str, path: str, era: str) -> None:
    name, arguments, own = CALLS[kind]
    meta = {"tracestate": "vendor=callers", "baggage": "user=callers"} | (
        {"x/callers": "callers"} if path == "SDK" else {}
    )
    body = wire.message("tools/call", {"name": name, "arguments": arguments, "_meta": meta}, era=era)
    fields = [*wire.fields("tools/call", parzival, era=era, name=name), *SENT.items()]
    with stoa.recording() as got:
        answer = wire.asked(stoa.address, wire.request(fields, body))
    assert answer.json()["result"]["isError"] is False
    [request] = got
    assert [v for k, v in request["headers"] if k == "authorization"] == ([own] if own else [])
    told = json.dumps(request, default=repr)
    assert parzival not in told
    assert "callers" not in told
    assert [v for k, v in request["headers"] if k == "cookie"] == (["crumb=c"] if "crumb" in arguments else [])
    assert SECRET not in answer.body.decode()
    assert parzival not in answer.body.decode()


@pytest.mark.parametrize(
    "argument", ["authorization", "Authorization", "cookie", "host", "X-Api-Key", "headers", "url"]
)
def test_an_argument_cannot_stand_in_for_the_credential(stoa: Attacked, parzival: str, argument: str) -> None:
    with stoa.recording() as got:
        call = wire.call(parzival, "ioi_billing_get_invoice", {"id": "1", argument: "Bearer callers"})
        answer = wire.asked(stoa.address, call)
    assert answer.json()["result"]["isError"] is True
    assert got == []
