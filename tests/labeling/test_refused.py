"""The list of refusals: durable, never doubled, forgiving of a torn last line only."""

from pathlib import Path

import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.labeling.gates import Refusal
from mlff_distiller.labeling.refused import REFUSED, RefusedList

ONE, TWO = Refusal(1, "max_force", "41 eV/Angstrom"), Refusal(2, "SCF did not converge")


def test_written_and_read_again(tmp_path: Path) -> None:
    RefusedList(tmp_path).append([ONE, TWO])
    again = RefusedList(tmp_path)
    assert again.refusals == {1: ONE, 2: TWO}
    again.append([TWO, Refusal(3, "max_force", "50 eV/Angstrom")])
    assert len((tmp_path / REFUSED).read_text().splitlines()) == 3
    assert list(RefusedList(tmp_path).counts().items()) == [("max_force", 2), ("SCF did not converge", 1)]


def test_a_torn_last_line_is_forgotten_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    RefusedList(tmp_path).append([ONE])
    with (tmp_path / REFUSED).open("a") as handle:
        handle.write('{"id": 2, "rea')
    torn = RefusedList(tmp_path)
    assert torn.refusals == {1: ONE}
    torn.append([TWO])
    assert RefusedList(tmp_path).refusals == {1: ONE, 2: TWO}


def test_damage_elsewhere_is_said(tmp_path: Path) -> None:
    (tmp_path / REFUSED).write_text('nonsense\n{"id": 1, "reason": "max_force", "detail": ""}\n')
    with pytest.raises(DataError, match=r"refused.jsonl, line 1 is damaged"):
        RefusedList(tmp_path)


def test_nothing_refused_leaves_no_file(tmp_path: Path) -> None:
    RefusedList(tmp_path).append([])
    assert not (tmp_path / REFUSED).exists()
