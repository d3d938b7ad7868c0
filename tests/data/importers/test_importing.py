"""From a file to a store: killed and repeated, reported, and never mixed."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlff_distiller.core.errors import DataError, UnknownNameError
from mlff_distiller.data.importers.importing import REPORT, import_data
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.storage.store import Store

HEAD = "Properties=species:S:1:pos:R:3:forces:R:3"

KILLED = """
import os, signal, sys
from pathlib import Path
from mlff_distiller.data.importers import importing
from mlff_distiller.data.importers.plan import ImportPlan
importing._BLOCK = 10
append, calls = importing.StoreWriter.append, []
def dying(self, *arguments, **named):
    append(self, *arguments, **named)
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
importing.StoreWriter.append = dying
importing.import_data(Path(sys.argv[1]), ImportPlan(), Path(sys.argv[2]))
"""


class Told:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.total = self.done = 0

    def start(self, title: str, total: int, *, done: int = 0) -> "Told":
        self.total, self.done = total, done
        return self

    def __call__(self, n: int = 1, *, note: str = "") -> None:
        self.done += n

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.xyz"
    path.write_text(
        "".join(f"2\n{HEAD} energy={-i / 8} molecule=h2\nH 0 0 0 0 0 -1\nH 0 0 {1 + i / 8} 0 0 1\n" for i in range(47))
    )
    return path


def test_an_import_killed_in_the_middle_continues_and_loses_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "store", tmp_path / "whole"
    died = subprocess.run([sys.executable, "-c", KILLED, str(source), str(out)], capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    with pytest.raises(DataError):
        Store.open(out)
    monkeypatch.setattr("mlff_distiller.data.importers.importing._BLOCK", 10)
    plan = ImportPlan()
    first, again = import_data(source, plan, whole), import_data(source, plan, out)
    assert first.to_json() == again.to_json()
    store, expected = Store.open(out), Store.open(whole)
    assert store.ids.tolist() == list(range(47))
    assert [label.energy for label in store.all_labels()] == [-i / 8 for i in range(47)]
    assert store.identity == expected.identity
    for i in range(47):
        np.testing.assert_array_equal(store.labels(i).forces, expected.labels(i).forces)


def test_a_finished_import_repeated_changes_nothing(source: Path, tmp_path: Path) -> None:
    first = import_data(source, ImportPlan(), tmp_path / "store")
    before = Store.open(tmp_path / "store").digest
    assert import_data(source, ImportPlan(), tmp_path / "store").to_json() == first.to_json()
    assert Store.open(tmp_path / "store").digest == before


@pytest.mark.parametrize("change", ["settings", "content"])
def test_another_file_or_setting_does_not_mix_into_a_store(source: Path, tmp_path: Path, change: str) -> None:
    import_data(source, ImportPlan(), tmp_path / "store")
    plan = ImportPlan()
    if change == "settings":
        plan = ImportPlan(energy_unit="meV", force_unit="meV/A")
    else:
        source.write_text(source.read_text().replace("energy=-0.125", "energy=-0.25"))
    with pytest.raises(DataError, match="choose another directory"):
        import_data(source, plan, tmp_path / "store")


def test_the_store_keeps_what_was_settled_and_the_report_what_was_done(source: Path, tmp_path: Path) -> None:
    told = Told()
    done = import_data(source, ImportPlan(energy_unit="eV"), tmp_path / "store", reporter=told)
    store = Store.open(tmp_path / "store")
    assert store.header["source"] == "a.xyz", "the name, not the place on this machine"
    assert str(tmp_path) not in json.dumps([store.header, store.identity])
    assert store.header["units"][1] == {"quantity": "energy", "unit": "eV", "why": "option --energy-unit"}
    assert store.header["settings"] == {"energy_unit": "eV"}
    assert store.identity is not None
    assert (store.identity["kind"], store.identity["version"]) == ("import", "extxyz")
    assert json.loads((tmp_path / "store" / REPORT).read_text()) == done.to_json()
    assert done.counts == {"frames": 47, "imported": 47, "with energy": 47, "with forces": 47}
    assert (told.total, told.done) == (47, 47)
    assert store.structure(3).info == {"molecule": "h2"}


def test_a_file_of_nothing_but_bad_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f"2\n{HEAD} energy=1\nH 0 0 0 0 0 1\nH 0 0 0 0 0 1\n")
    with pytest.raises(DataError, match=r"every frame was set aside.*frame 0: atoms 0 and 1"):
        import_data(path, ImportPlan(skip_bad_frames=True), tmp_path / "store")


def test_unknown_formats_are_refused_with_the_nearest(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'extxyz'"):
        import_data(source, ImportPlan(format="exyz"), tmp_path / "store")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.xyz does not exist"):
        import_data(tmp_path / "gone.xyz", ImportPlan(), tmp_path / "store")


def test_the_default_charge_is_for_frames_that_say_none(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f"1\n{HEAD} energy=1\nH 0 0 0 0 0 1\n1\n{HEAD} energy=1 charge=0 spin=2\nH 0 0 0 0 0 1\n")
    import_data(path, ImportPlan(charge=1), tmp_path / "store")
    structures = Store.open(tmp_path / "store").structures()
    assert [(s.charge, s.spin) for s in structures] == [(1, 1), (0, 2)]


def test_atomic_energies_that_do_not_add_up_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    head = "Properties=species:S:1:pos:R:3:energies:R:1"
    path.write_text("".join(f"2\n{head} energy={e}\nH 0 0 0 0.5\nH 0 0 1 0.5\n" for e in (1.0, 7.0)))
    done = import_data(path, ImportPlan(), tmp_path / "store")
    assert [label.present for label in Store.open(tmp_path / "store").all_labels()] == [
        ("energy", "atomic_energies"),
        ("energy",),
    ]
    assert done.left_out == {"atomic energies left out: they do not add up to the energy": 1}
