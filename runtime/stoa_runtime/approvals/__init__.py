"""Human approval of calls: a call that demands it is made once another person has said yes, and once only."""

from stoa_runtime.approvals.desk import Approvals, Call, DecisionRefused, Granted, NoApproval, Refused, Retry
from stoa_runtime.approvals.records import ApprovalsUnavailable, Store
from stoa_runtime.approvals.shown import Listed, Shown, Verdict

__all__ = [
    "Approvals",
    "ApprovalsUnavailable",
    "Call",
    "DecisionRefused",
    "Granted",
    "Listed",
    "NoApproval",
    "Refused",
    "Retry",
    "Shown",
    "Store",
    "Verdict",
]
