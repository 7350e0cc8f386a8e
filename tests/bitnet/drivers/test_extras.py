from __future__ import annotations

import sys

import pytest

import bitnet.drivers
from bitnet.errors import MissingExtra


@pytest.mark.parametrize(
    ("name", "package", "home", "extra"),
    [
        ("GRPCSupervisorDriver", "grpc", "bitnet.drivers.rpc", "grpc"),
        ("RaySupervisorDriver", "ray", "bitnet.drivers.cluster", "ray"),
    ],
)
def test_a_driver_whose_package_is_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, home: str, extra: str
) -> None:
    for module in [module for module in sys.modules if module.startswith(home)]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'bitnet-provision\[{extra}\]'"):
        getattr(bitnet.drivers, name)


def test_a_driver_that_does_not_exist_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="SlurmSupervisorDriver"):
        bitnet.drivers.SlurmSupervisorDriver  # noqa: B018
