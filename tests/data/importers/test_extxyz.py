"""The reader of extended XYZ against ASE's, and against files that end or go wrong somewhere."""

import subprocess
import sys
from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlff_distiller.core.errors import DataError, DistillerError
from mlff_distiller.data.importers.border import convert
from mlff_distiller.data.importers.extxyz import ExtxyzReader
from mlff_distiller.data.importers.frame import Frame
from mlff_distiller.data.importers.importing import import_data
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.settle import settle
from mlff_distiller.data.storage.store import Store


def read(path: Path, **options: str) -> list[Frame]:
    return list(ExtxyzReader(path, ImportPlan(**options)).frames())


def labeled(seed: int) -> ase.Atoms:
    rng = np.random.default_rng(seed)
    atoms = ase.build.molecule("CH3OH") if seed % 2 else ase.build.bulk("NaCl", "rocksalt", a=5.6)
    atoms.rattle(0.1, seed=seed)
    results = {
        "energy": rng.normal(),
        "forces": rng.normal(size=(len(atoms), 3)),
        "energies": rng.normal(size=len(atoms)),
    }
    if atoms.pbc.any():
        results["stress"] = rng.normal(size=6)
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info.update(name=f'set "{seed}", part = 1', step=seed, charge=-1, spin=2, done=True, weight=0.5)
    return atoms


def test_frames_are_those_of_ase(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    ase.io.write(path, [labeled(seed) for seed in range(6)], format="extxyz")
    frames, expected = read(path), ase.io.read(path, index=":")
    assert len(frames) == len(expected) == 6
    for frame, atoms in zip(frames, expected, strict=True):
        results = atoms.calc.results
        np.testing.assert_array_equal(frame.numbers, atoms.numbers)
        np.testing.assert_array_equal(frame.positions, atoms.positions)
        np.testing.assert_array_equal(frame.pbc, atoms.pbc)
        np.testing.assert_array_equal(np.zeros((3, 3)) if frame.cell is None else frame.cell, atoms.cell.array)
        np.testing.assert_array_equal(frame.values["forces"], results["forces"])
        np.testing.assert_array_equal(frame.values["atomic_energies"], results["energies"])
        assert float(frame.values["energy"]) == results["energy"]
        assert (frame.charge, frame.spin) == (-1.0, 2.0)
        assert frame.info == {"name": atoms.info["name"], "step": atoms.info["step"], "done": True, "weight": 0.5}
        if "stress" in results:
            full = frame.values["stress"].reshape(3, 3)
            np.testing.assert_array_equal(full[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], results["stress"])


HEAD = "Properties=species:S:1:pos:R:3:forces:R:3"
GOOD = f'3\n{HEAD} energy=-1.25 pbc="F F F"\n' + "".join(
    f"{s} {x:.6f} 0.000000 {x / 3:.6f} 0.100000 -0.200000 {0.3 + x:.6f}\n"
    for s, x in (("O", 0.0), ("H", 0.96), ("H", -0.75))
)


def test_a_file_cut_anywhere_is_refused_or_whole_up_to_there(tmp_path: Path) -> None:
    """Every byte: nothing but complete frames may come out, with the numbers of the complete file."""
    path, content = tmp_path / "a.xyz", GOOD * 2
    path.write_text(content)
    whole = read(path)
    refused = 0
    for length in range(1, len(content)):
        path.write_text(content[:length])
        try:
            frames = read(path)
        except DataError:
            refused += 1
            continue
        assert length in (len(GOOD) - 1, len(GOOD), len(content) - 1), f"cut at byte {length} was not seen"
        for frame, expected in zip(frames, whole[: len(frames)], strict=True):
            np.testing.assert_array_equal(frame.values["forces"], expected.values["forces"])
    assert refused == len(content) - 1 - 3


def test_a_truncated_last_frame_is_named_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(GOOD * 3 + GOOD[: GOOD.rindex("H")])
    with pytest.raises(DataError, match=r"inside frame 3 of 3 atoms.*truncated"):
        ExtxyzReader(path, ImportPlan())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 8 * len(GOOD) - 1))
def test_a_flipped_bit_never_crashes_and_never_lets_nonsense_in(tmp_path: Path, bit: int) -> None:
    damaged = bytearray(GOOD.encode())
    damaged[bit // 8] ^= 1 << (bit % 8)
    path = tmp_path / "a.xyz"
    path.write_bytes(bytes(damaged))
    try:
        frames = read(path)
        units = settle(frames, {}, ImportPlan(), format_name="extxyz", where="a.xyz")
        labels = [convert(frame, units, ImportPlan()).labeled.labels for frame in frames]
    except DistillerError:
        return
    assert all(label.is_finite for label in labels)


ODD = {
    "blank lines between frames": (
        f"\n1\n{HEAD} energy=1\nH 0 0 0 0 0 1\n\n\n1\n{HEAD} energy=2\nH 0 0 0 0 0 2\n\n",
        [1, 2],
    ),
    "no line end at the end": (f"1\n{HEAD} energy=1\nH 0 0 0 0 0 1", [1]),
    "windows line ends": (f"1\r\n{HEAD} energy=1\r\nH 0 0 0 0 0 1\r\n", [1]),
    "a column of atomic numbers": ("1\nProperties=Z:I:1:pos:R:3:forces:R:3 energy=1\n1 0 0 0 0 0 1\n", [1]),
    "capital symbols": (f"1\n{HEAD} energy=1\nCL 0 0 0 0 0 1\n", [1]),
    "fortran exponents": (f"1\n{HEAD} energy=1\nH 0 0 0 0 0 1.0D+00\n", [1]),
    "energy in brackets": (f'1\n{HEAD} energy="[1.0]"\nH 0 0 0 0 0 1\n', [1]),
    "other order of columns": ("1\nProperties=forces:R:3:species:S:1:pos:R:3 energy=1\n0 0 1 H 0 0 0\n", [1]),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_but_clear_files_are_read(tmp_path: Path, name: str) -> None:
    content, energies = ODD[name]
    path = tmp_path / "a.xyz"
    path.write_bytes(content.encode())
    frames = read(path)
    assert [float(np.squeeze(frame.values["energy"])) for frame in frames] == energies
    assert [frame.values["forces"].tolist() for frame in frames] == [[[0, 0, e]] for e in energies]
    assert frames[0].numbers.tolist() == [17 if "capital" in name else 1]


WRONG = {
    "text for a number": (f"1\n{HEAD} energy=low\nH 0 0 0 0 0 1\n", "'energy' is not made of numbers"),
    "a column too few": (f"1\n{HEAD} energy=1\nH 0 0 0 0 0\n", "has 6 columns, not the 7"),
    "a column too many": (f"1\n{HEAD} energy=1\nH 0 0 0 0 0 1 2\n", "has 8 columns, not the 7"),
    "properties cut": ("1\nProperties=species:S:1:pos:R energy=1\nH 0 0 0\n", "Properties=.*cannot be understood"),
    "no positions": ("1\nProperties=species:S:1:forces:R:3 energy=1\nH 0 0 0\n", "Properties names no 'pos'"),
    "a lattice of eight": (f'1\n{HEAD} energy=1 Lattice="1 0 0 0 1 0 0 0"\nH 0 0 0 0 0 1\n', "Lattice must be nine"),
    "too few atoms": (f"2\n{HEAD} energy=1\nH 0 0 0 0 0 1\n1\n{HEAD} energy=1\nH 0 0 0 0 0 1\n", "frame 0|frame 1"),
    "two charges": (f'1\n{HEAD} energy=1 charge="0 1"\nH 0 0 0 0 0 1\n', "--charge-key"),
    "two units": (
        f"1\n{HEAD} energy=1 energy_unit=eV\nH 0 0 0 0 0 1\n1\n{HEAD} energy=1 energy_unit=Ha\nH 0 0 0 0 0 1\n",
        r"more than one unit of energy \(Ha, eV\)",
    ),
    "no frames": ("\n\n", "holds no frames"),
    "binary": ("1\n\udcff\n", "cannot be read as text"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    content, message = WRONG[name]
    path = tmp_path / "a.xyz"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert "a.xyz" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["****", "nan", "1.2.3"])
def test_a_number_that_is_none_is_left_to_the_border(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f"1\n{HEAD} energy=1\nH 0 0 0 0 0 {text}\n")
    assert np.isnan(read(path)[0].values["forces"][0, 2])


@pytest.mark.parametrize("symbol", ["Xx", "C1", "D", "0"])
def test_an_unknown_element_is_refused_at_the_border(tmp_path: Path, symbol: str) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f"1\n{HEAD} energy=1\n{symbol} 0 0 0 0 0 1\n")
    frames = read(path)
    units = settle(frames, {}, ImportPlan(), format_name="extxyz", where="a.xyz")
    with pytest.raises(DataError, match=r"a\.xyz, frame 0: atomic numbers must lie in 1 to 118"):
        convert(frames[0], units, ImportPlan())


def test_declared_units_come_with_their_source(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f'1\n{HEAD} energy=1 units="_JSON {{\\"energy\\": \\"Ha\\"}}" forces_unit=eV/A\nH 0 0 0 0 0 1\n')
    units = ExtxyzReader(path, ImportPlan()).units
    assert {name: (said.unit, said.why) for name, said in units.items()} == {
        "energy": ("Ha", "'units' of the file"),
        "forces": ("eV/A", "'forces_unit' of the file"),
    }


def test_a_unit_that_only_some_frames_declare_needs_an_option(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f"1\n{HEAD} energy=1 energy_unit=Ha\nH 0 0 0 0 0 1\n1\n{HEAD} energy=1\nH 0 0 0 0 0 1\n")
    with pytest.raises(DataError, match=r"only 1 of 2 frames.*--energy-unit"):
        ExtxyzReader(path, ImportPlan())
    assert ExtxyzReader(path, ImportPlan(energy_unit="Ha")).n_frames == 2


def test_frames_without_a_label_need_not_declare_its_unit(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f"1\n{HEAD} energy=1 Energy_Unit=Ha\nH 0 0 0 0 0 1\n1\n{HEAD}\nH 0 0 0 0 0 1\n")
    assert ExtxyzReader(path, ImportPlan()).units["energy"].unit == "Ha"


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("kcal/mol", {"energy": "kcal/mol"}),
        ('"eV, Angstrom, eV/A"', {"length": "Angstrom", "energy": "eV", "forces": "eV/A"}),
        ("metal", {"length": "metal", "energy": "metal", "forces": "metal"}),
    ],
)
def test_units_as_a_text_are_understood_or_refused(tmp_path: Path, text: str, units: dict[str, str]) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(f"1\n{HEAD} energy=1 units={text}\nH 0 0 0 0 0 1\n")
    found = {quantity: said.unit for quantity, said in ExtxyzReader(path, ImportPlan()).units.items()}
    assert found == units
    if text == "metal":
        with pytest.raises(DataError, match=r"unknown unit of length 'metal'.*--length-unit"):
            import_data(path, ImportPlan(), tmp_path / "store")


def test_text_keeps_backslashes_and_unicode_as_we_and_ase_write_them(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    texts = r'''smiles="F/C=C\\F" bare=F/C=C\F ours="_JSON \"\\u6c34 F/C=C\\\\F\"" theirs="_JSON \"\u6c34\""'''
    path.write_text(f"1\n{HEAD} energy=1 {texts}\nH 0 0 0 0 0 1\n")
    assert next(ExtxyzReader(path, ImportPlan()).frames()).info == {
        "smiles": r"F/C=C\F",
        "bare": r"F/C=C\F",
        "ours": "\u6c34 F/C=C\\F",
        "theirs": "\u6c34",
    }


def test_short_information_is_kept_and_the_rest_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    free = f'temperature_K=300.5 grid="2 2 1" note={"x" * 900} long={"x" * 2000} bad=nan MACE_energy=1.5'
    path.write_text(f"1\n{HEAD} energy=1 {free}\nH 0 0 0 0 0 1\n")
    done = import_data(path, ImportPlan(energy_key="energy", forces_key="forces"), tmp_path / "store")
    info = Store.open(tmp_path / "store").structure(0).info
    assert info == {"temperature_K": 300.5, "grid": [2, 2, 1], "note": "x" * 900}
    assert done.left_out == {"info 'long'": 1, "info 'bad'": 1, "info 'MACE_energy'": 1}


PEAK = """
import sys, tracemalloc
from pathlib import Path
from mlff_distiller.data.importers.extxyz import ExtxyzReader
from mlff_distiller.data.importers.plan import ImportPlan
for path in sys.argv[1:]:
    tracemalloc.start()
    n_frames = sum(1 for _ in ExtxyzReader(Path(path), ImportPlan()).frames())
    print(n_frames, tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """In a process of its own, where nothing else allocates; the first file warms up."""
    paths = [tmp_path / f"{copies}.xyz" for copies in (10, 200, 3000)]
    for path in paths:
        path.write_text(GOOD * int(path.stem))
    told = subprocess.run([sys.executable, "-c", PEAK, *map(str, paths)], capture_output=True, check=True, text=True)
    (_, _), (_, small), (n_frames, large) = (map(int, line.split()) for line in told.stdout.splitlines())
    assert n_frames == 3000
    assert large < small + 1_500_000, "3,000 frames held would be 4 MB; Python's own tables may grow by one"
