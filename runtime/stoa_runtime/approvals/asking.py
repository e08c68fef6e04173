"""A refusal as the clients of protocol 2026-07-28 get it who can ask their users.

A client that did not declare that it can ask is never asked. `requestState` alone would be permitted, but it says
nothing to anybody: clients answer it by trying again within a second, until they give up without a word.
"""

from collections.abc import Mapping
from typing import Any

import mcp_types

from stoa_runtime.approvals.desk import Refused, Retry

_INPUT = "approval"
"""The key of the one question."""


def input_required(refused: Refused) -> mcp_types.InputRequiredResult | None:
    """The result that has the client ask its user and send the call again; None where the refusal is final."""
    if refused.state is None:
        return None
    question = mcp_types.ElicitRequest(
        params=mcp_types.ElicitRequestFormParams(
            message=refused.text, requested_schema={"type": "object", "properties": {}}
        )
    )
    return mcp_types.InputRequiredResult(input_requests={_INPUT: question}, request_state=refused.state)


def retry(
    capabilities: mcp_types.ClientCapabilities | None, state: str | None, responses: Mapping[str, Any] | None
) -> Retry:
    """What a request of protocol 2026-07-28 says about an earlier one; requests of older ones are `Retry()`."""
    asks = capabilities.elicitation if capabilities is not None else None
    answer = (responses or {}).get(_INPUT)
    return Retry(
        # `elicitation: {}` is a form; a client that shows only web pages says `url` alone.
        can_ask=asks is not None and (asks.form is not None or asks.url is None),
        state=state,
        answer=answer.action if isinstance(answer, mcp_types.ElicitResult) else None,
    )
