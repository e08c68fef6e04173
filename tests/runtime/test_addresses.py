"""Which addresses backends may have."""

import pytest

from stoa_runtime.addresses import AddressRule


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14"])
def test_public_addresses_are_permitted(address: str) -> None:
    assert AddressRule([]).permits(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "64:ff9b::7f00:1",
        "64:ff9b::5db8:d70e",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:4136:e378::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
    ],
)
def test_no_other_address_is_permitted_unless_its_network_is_declared(address: str) -> None:
    assert not AddressRule([]).permits(address)
    assert not AddressRule(["10.9.0.0/16"]).permits(address)


def test_declared_networks_are_permitted() -> None:
    rule = AddressRule(["10.9.0.0/16", "fd00:9::/32"])
    assert rule.permits("10.9.200.1")
    assert rule.permits("::ffff:10.9.0.1")
    assert rule.permits("fd00:9::5")
    assert not rule.permits("10.10.0.1")
