"""Waivers are kept as they were signed, and a damaged file of them is explained."""

from pathlib import Path

import pytest

from mlff_distiller.core.errors import DataError, PlanError
from mlff_distiller.validation.waivers import Waiver, demand_known, read_waivers, write_waivers

SIGNED = Waiver(check="step_time", reason="slow is fine", signed="A. Chemist", date="2025-03-31", student="tiny")


def test_waivers_come_back_and_speak_for_themselves(tmp_path: Path) -> None:
    path = tmp_path / "waivers.json"
    assert read_waivers(path) == []
    write_waivers(path, [SIGNED])
    assert read_waivers(path) == [SIGNED]
    assert SIGNED.sentence == "step_time of tiny is waived by A. Chemist on 2025-03-31: slow is fine"
    assert [SIGNED.concerns(name) for name in ("tiny", "small")] == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": "mlffd-waivers", "version": 1, "waivers": [{"check": "a"}]}', "is damaged"),
        ('{"format": "mlffd-waivers", "version": 9, "waivers": []}', "version 9, this release reads"),
        ('{"format": "other", "version": 1, "waivers": []}', "has format other"),
    ],
)
def test_a_file_that_holds_none_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "waivers.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_waivers(path)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    demand_known([SIGNED], ["step_time"], ["tiny"])
    with pytest.raises(PlanError, match=r"unknown student 'tiny' in a waiver \(did you mean 'tinny'\?\)"):
        demand_known([SIGNED], ["step_time"], ["tinny"])


@pytest.mark.parametrize("field", ["check", "reason", "signed"])
def test_a_waiver_needs_a_check_a_reason_and_a_name(field: str) -> None:
    with pytest.raises(PlanError, match=field):
        Waiver.parse(SIGNED.model_dump() | {field: ""}, where="waiver")
