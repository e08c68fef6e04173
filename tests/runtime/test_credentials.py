"""Backends' credentials: read where they are kept, and never somewhere else."""

from pathlib import Path

import pytest

from stoa_runtime.bundles import BundleError
from stoa_runtime.credentials import (
    CredentialMissing,
    EnvironmentCredentials,
    FileCredentials,
    shared_variables,
    variable,
)
from stoa_runtime.server import application
from stoa_runtime.settings import Settings
from tests.runtime import world


def test_files(tmp_path: Path) -> None:
    (tmp_path / "ioi/billing").mkdir(parents=True)
    (tmp_path / "ioi/billing/token").write_text("s3cret\n")
    credentials = FileCredentials(tmp_path)
    assert credentials.read("vault:ioi/billing#token") == "s3cret"
    (tmp_path / "ioi/billing/token").write_text("rotated")
    assert credentials.read("vault:ioi/billing#token") == "rotated"


@pytest.mark.parametrize("value", ["", "\n", "a\nb", "a\r\nX-Admin: 1", "é"])
def test_values_that_a_header_cannot_carry_are_refused_without_being_told(tmp_path: Path, value: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_text(value)
    with pytest.raises(CredentialMissing) as refused:
        FileCredentials(tmp_path).read("vault:a#b")
    assert value.strip() == "" or value not in str(refused.value)


@pytest.mark.parametrize(
    "reference", ["vault:a/..#b", "vault:a/../../etc#passwd", "vault:a#..", "a#b", "vault:#b", "vault:a", "vault:a#b\n"]
)
def test_references_stay_in_the_folder(tmp_path: Path, reference: str) -> None:
    with pytest.raises(CredentialMissing):
        FileCredentials(tmp_path).read(reference)


def test_environment() -> None:
    credentials = EnvironmentCredentials({"STOA_SECRET_IOI_BILLING_API_KEY": "s3cret"})
    assert variable("vault:ioi/billing#api-key") == "STOA_SECRET_IOI_BILLING_API_KEY"
    assert credentials.read("vault:ioi/billing#api-key") == "s3cret"
    with pytest.raises(CredentialMissing, match="STOA_SECRET_IOI_OTHER_X is not set"):
        credentials.read("vault:ioi/other#x")


def test_two_references_never_share_a_variable(empty: Path, tmp_path: Path) -> None:
    assert shared_variables(["vault:a/b#c", "vault:a-b#c"]) == ["STOA_SECRET_A_B_C"]
    assert shared_variables(["vault:a/b#c", "vault:a/b#c", "vault:a/b#d"]) == []
    tenants = world.catalogs("http://127.0.0.1:9")
    [entry] = tenants["greg"].contracts
    auth = world.bundle.BackendAuthRule(type="bearer", secret="vault:billing-api#token")
    backend = entry.backend.model_copy(update={"auth": auth})
    tenants["greg"] = tenants["greg"].model_copy(update={"contracts": [entry.model_copy(update={"backend": backend})]})
    world.write_bundle(empty, world.index("http://127.0.0.1:9", tenants), tenants)
    with pytest.raises(BundleError, match="share the variable STOA_SECRET_BILLING_API_TOKEN"):
        application(Settings(bundle=empty, audit=tmp_path / "a.jsonl"))
