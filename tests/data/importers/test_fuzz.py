"""Fuzzing: cut or bit-flipped files of every format give a clear error or whole frames; nothing else, ever.

A flipped bit inside a stored number of a format without checksums cannot be noticed; so what is asserted of the frames
that come out is that they are whole and possible: shapes that fit, elements that exist, numbers that are finite.
"""

import io
import json
import warnings
import zlib
from collections.abc import Callable
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DistillerError
from mlff_distiller.data.columns import Columns, pack
from mlff_distiller.data.exporters import EXPORTERS
from mlff_distiller.data.importers import IMPORTERS
from mlff_distiller.data.importers.border import convert
from mlff_distiller.data.importers.frame import Frame, Reader
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.settle import settle

M, N = 5, 4
MOST_FRAMES = 10_000
JUDGED_AT_THE_BORDER = ("extxyz", "ase-db", "aselmdb", "traj")  # their readers pass on labels of any shape

UNITS = {"length_unit": "Angstrom", "energy_unit": "eV", "force_unit": "eV/Angstrom", "stress_unit": "eV/Angstrom^3"}
PLAN = ImportPlan(**UNITS, stress_sign="tension-positive", stress_order="xx,yy,zz,yz,xz,xy")
UNITS_ALONE = ImportPlan(**UNITS)


def frames_of_argon() -> Columns:
    rng = np.random.default_rng(0)
    cell = 6.0 * np.eye(3)
    structures = [
        Structure([18] * N, np.eye(4)[:, :3] * 3.5 + rng.normal(0, 0.1, (N, 3)), cell=cell, pbc=True) for _ in range(M)
    ]
    stress = 1e-3 * np.eye(3)
    return pack(range(M), structures, [Labels(-0.1 * i, rng.normal(0, 0.1, (N, 3)), stress) for i in range(M)])


def exported(name: str) -> bytes:
    with TemporaryDirectory() as folder:
        EXPORTERS.get(name)(frames_of_argon(), None, Path(folder, "file"))
        return Path(folder, "file").read_bytes()


def hdf5(fill: Callable[[h5py.File], None]) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def spice() -> bytes:
    def fill(file: h5py.File) -> None:
        for name in ("a", "b"):
            group = file.create_group(name)
            group["atomic_numbers"] = np.full(N, 18, dtype=np.int16)
            group.create_dataset("conformations", data=np.random.default_rng(1).normal(0, 4, (M, N, 3)), chunks=True)
            group["dft_total_energy"], group["dft_total_gradient"] = np.zeros(M), np.zeros((M, N, 3), dtype=np.float32)
            group["smiles"], group["dft_total_energy"].attrs["units"] = ["[Ar]"], "hartree"

    return hdf5(fill)


def ani() -> bytes:
    def fill(file: h5py.File) -> None:
        group = file.create_group("004")
        group["species"] = [b"Ar", b"H", b"C", b"O"]
        compressed = {"compression": "gzip", "fletcher32": True}
        group.create_dataset("coordinates", data=np.random.default_rng(2).normal(0, 4, (M, N, 3)), **compressed)
        group["energies"], group["forces"] = np.full(M, -640.9), np.zeros((M, N, 3))  # totals, as ANI's are

    return hdf5(fill)


def mace() -> bytes:
    def fill(file: h5py.File) -> None:
        columns = frames_of_argon()
        for i in range(2):
            structure, labels = columns.structure(i), columns.labels(i)
            group = file.create_group(f"config_batch_0/config_{i}")
            group["atomic_numbers"], group["positions"] = structure.numbers, structure.positions
            group["cell"], group["pbc"], group["config_type"] = structure.cell, structure.pbc, "Default"
            group["properties/energy"], group["properties/forces"] = labels.energy, labels.forces
            group["properties/stress"], group["properties/virials"] = labels.stress, "None"

    return hdf5(fill)


def lmdb_of(encode: Callable[[dict[str, object]], bytes]) -> bytes:
    lmdb = pytest.importorskip("lmdb", reason="the package lmdb (extra 'lmdb') is not installed")
    columns = frames_of_argon()
    with TemporaryDirectory() as folder:
        environment = lmdb.open(f"{folder}/file", subdir=False, map_size=1 << 24, lock=False)
        with environment.begin(write=True) as transaction:
            for i in range(M):
                structure, labels = columns.structure(i), columns.labels(i)
                row = {"numbers": structure.numbers.tolist(), "positions": structure.positions.tolist()}
                row |= {"energy": labels.energy, "forces": labels.forces.tolist(), "cell": structure.cell.tolist()}
                transaction.put(str(i).encode(), encode(row))
        environment.close()
        return Path(folder, "file").read_bytes()


def trajectory() -> bytes:
    from ase.io.trajectory import TrajectoryWriter

    from mlff_distiller.atoms.labeled import LabeledStructure
    from mlff_distiller.data.exporters.ase_db import with_results

    columns = frames_of_argon()
    with TemporaryDirectory() as folder:
        with TrajectoryWriter(f"{folder}/file") as writer:
            for i in range(M):
                writer.write(with_results(LabeledStructure(columns.structure(i), columns.labels(i))))
        return Path(folder, "file").read_bytes()


def msgpack(row: dict[str, object]) -> bytes:
    return bytes(pytest.importorskip("msgpack", reason="the package msgpack is not installed").packb(row))


MAKERS: dict[str, Callable[[], bytes]] = {
    "extxyz": lambda: exported("extxyz"),
    "ase-db": lambda: exported("ase-db"),
    "aselmdb": lambda: (pytest.importorskip("lmdb"), exported("aselmdb"))[1],
    "traj": trajectory,
    "npz": lambda: exported("npz"),
    "spice": spice,
    "ani": ani,
    "mace-hdf5": mace,
    "lmdb": lambda: lmdb_of(lambda row: zlib.compress(json.dumps(row).encode())),
    "lmdb msgpack": lambda: lmdb_of(msgpack),
}


@cache
def whole(name: str) -> bytes:
    return MAKERS[name]()


REAL = {
    "spice": "formats/mlip/spice2-1000_429_md_0-1.hdf5",
    "ani": "formats/modelforge/ani1_n5.hdf5",
    "extxyz": "formats/mlip/small_aspirin_with_charge_spin.xyz",
    "ase-db": "formats/graph-pes/schnetpack_data.db",
}


def outcome(name: str, path: Path, plan: ImportPlan = PLAN) -> str:
    """Read a file to its end and through the border; return "refused", or "read" where every frame was whole."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            reader: Reader = IMPORTERS.get(name.split()[0])(path, plan)
            frames = list(islice(reader.frames(), MOST_FRAMES + 1))
            assert len(frames) <= MOST_FRAMES, "more frames than the file can hold"
            if name not in JUDGED_AT_THE_BORDER:
                assert_whole(frames)
            _through_the_border(frames, reader, plan, name.split()[0])
            result = "read"
        except DistillerError:
            result = "refused"
    unexpected = [str(w.message) for w in warned]
    assert not unexpected, unexpected
    return result


def assert_whole(frames: list[Frame]) -> None:
    for frame in frames:
        n = len(frame.numbers)
        assert n >= 1
        assert frame.positions.shape == (n, 3)
        assert frame.cell is None or frame.cell.shape == (3, 3)
        assert np.shape(frame.pbc) == (3,)
        shapes = {
            "forces": [(n, 3)],
            "energy": [(), (1,)],
            "atomic_energies": [(n,)],
        }
        shapes |= {key: [(6,), (9,), (3, 3)] for key in ("stress", "virial")}
        for name, value in frame.values.items():
            assert np.shape(value) in shapes[name], name


def _through_the_border(frames: list[Frame], reader: Reader, plan: ImportPlan, name: str) -> None:
    units = settle(frames, reader.units, plan, format_name=name, where="fuzz")
    for frame in frames:
        structure, labels = convert(frame, units, plan).labeled
        assert labels.is_finite
        assert np.isfinite(structure.positions).all()
        assert ((structure.numbers >= 1) & (structure.numbers <= 118)).all()
        assert labels.forces is None or labels.forces.shape == structure.positions.shape


def cut_or_flipped(content: bytes, where: float, bits: list[tuple[float, int]]) -> bytes:
    """Cut a file at a fraction of its length (1: not at all), then flip bits at fractions of what is left."""
    damaged = bytearray(content[: round(where * len(content))])
    for place, bit in bits:
        if damaged:
            damaged[min(int(place * len(damaged)), len(damaged) - 1)] ^= 1 << bit
    return bytes(damaged)


FRACTION = st.floats(0, 1, allow_nan=False)
FLIPS = st.lists(st.tuples(FRACTION, st.integers(0, 7)), min_size=1, max_size=4)
FUZZ = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", MAKERS)
def test_whole_files_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(whole(name))
    plan = ImportPlan() if name in ("spice", "ani") else PLAN
    assert outcome(name, tmp_path / "file", plan) == "read"


@pytest.mark.parametrize("name", MAKERS)
@FUZZ
@given(where=FRACTION)
def test_cut_files(tmp_path: Path, name: str, where: float) -> None:
    content = cut_or_flipped(whole(name), where, [])
    (tmp_path / "file").write_bytes(content)
    result = outcome(name, tmp_path / "file")
    if name != "extxyz" and len(content) < len(whole(name)) // 2:
        assert result == "refused"


@pytest.mark.parametrize("name", MAKERS)
@FUZZ
@given(bits=FLIPS)
def test_flipped_bits(tmp_path: Path, name: str, bits: list[tuple[float, int]]) -> None:
    (tmp_path / "file").write_bytes(cut_or_flipped(whole(name), 1.0, bits))
    outcome(name, tmp_path / "file")


@pytest.mark.parametrize("name", REAL)
@settings(FUZZ, max_examples=10)
@given(where=st.sampled_from([0.1, 0.5, 0.9, 1.0]), bits=FLIPS)
def test_real_files(tmp_path: Path, shared: Path, name: str, where: float, bits: list[tuple[float, int]]) -> None:
    (tmp_path / "file").write_bytes(cut_or_flipped((shared / "data" / REAL[name]).read_bytes(), where, bits))
    key = "wb97x_dz.energy" if name == "ani" else None
    outcome(name, tmp_path / "file", ImportPlan(**{**UNITS_ALONE.model_dump(), "energy_key": key}))


@cache
def deepmd_files() -> dict[str, bytes]:
    columns = frames_of_argon()
    files = {"type.raw": b"0\n0\n0\n0\n", "type_map.raw": b"Ar\n"}
    arrays = {
        "coord": columns.arrays["positions"].reshape(M, -1),
        "force": columns.arrays["forces"].reshape(M, -1),
        "energy": columns.arrays["energy"],
        "box": columns.arrays["cells"].reshape(M, 9),
        "virial": -columns.arrays["stress"].reshape(M, 9) * 216.0,
    }
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.save(stream, array)
        files[f"set.000/{name}.npy"] = stream.getvalue()
    return files


def write_deepmd(path: Path, files: dict[str, bytes]) -> None:
    (path / "set.000").mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name).write_bytes(content)


def test_a_whole_deepmd_directory_is_read(tmp_path: Path) -> None:
    write_deepmd(tmp_path, deepmd_files())
    assert outcome("deepmd", tmp_path, ImportPlan()) == "read"


@FUZZ
@given(name=st.sampled_from(sorted(deepmd_files())), where=st.just(1.0) | FRACTION, bits=FLIPS | st.just([]))
def test_damaged_deepmd_directories(tmp_path: Path, name: str, where: float, bits: list[tuple[float, int]]) -> None:
    files = deepmd_files()
    damaged = cut_or_flipped(files[name], where, bits)
    write_deepmd(tmp_path, {**files, name: damaged})
    result = outcome("deepmd", tmp_path, ImportPlan())
    if name.endswith(".npy") and len(damaged) < len(files[name]):
        assert result == "refused"
