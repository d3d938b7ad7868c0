"""ASE trajectories."""

from pathlib import Path

import ase.build
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import Trajectory

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.importing import import_data
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.trajectory import TrajectoryReader
from mlff_distiller.data.storage.store import Store


def run(path: Path, n: int = 5) -> list[ase.Atoms]:
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.calc = EMT()
    frames = []
    with Trajectory(path, "w") as trajectory:
        for seed in range(n):
            atoms.rattle(0.05, seed=seed)
            atoms.set_constraint()
            forces, stress, energy = atoms.get_forces(), atoms.get_stress(voigt=False), atoms.get_potential_energy()
            atoms.set_constraint(FixAtoms([0]))
            trajectory.write(atoms)
            kept = atoms.copy()
            kept.info.update(energy=energy, forces=forces, stress=stress)
            frames.append(kept)
    return frames


def test_a_trajectory_gives_what_its_calculator_said(tmp_path: Path) -> None:
    """The forces on a fixed atom are those of the calculator, not the zeros of the constraint."""
    frames = run(tmp_path / "a.traj")
    done = import_data(tmp_path / "a.traj", ImportPlan(), tmp_path / "store")
    store = Store.open(tmp_path / "store")
    assert (done.format, len(store)) == ("traj", 5)
    for i, atoms in enumerate(frames):
        labels = store.labels(i)
        assert labels.energy == pytest.approx(atoms.info["energy"])
        np.testing.assert_allclose(labels.forces, atoms.info["forces"], atol=1e-12)
        np.testing.assert_allclose(labels.stress, atoms.info["stress"], atol=1e-12)
        np.testing.assert_array_equal(store.structure(i).positions, atoms.positions)
        np.testing.assert_array_equal(store.structure(i).cell, atoms.cell.array)
    first = store.labels(0)
    assert first.forces is not None
    assert np.abs(first.forces[0]).max() > 0.01


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_trajectory_is_refused_or_ends_at_a_whole_frame(tmp_path: Path, keep: float) -> None:
    frames = run(tmp_path / "a.traj")
    content = (tmp_path / "a.traj").read_bytes()
    (tmp_path / "a.traj").write_bytes(content[: int(len(content) * keep)])
    try:
        found = list(TrajectoryReader(tmp_path / "a.traj", ImportPlan()).frames())
    except DataError:
        return
    for frame, atoms in zip(found, frames, strict=False):
        assert float(frame.values["energy"]) == pytest.approx(atoms.info["energy"])
        np.testing.assert_allclose(frame.values["forces"], atoms.info["forces"], atol=1e-12)


def test_a_trajectory_without_labels_is_refused(tmp_path: Path) -> None:
    ase.build.bulk("Cu").write(tmp_path / "a.traj")
    with pytest.raises(DataError, match=r"no energies or forces.*--energy-key"):
        TrajectoryReader(tmp_path / "a.traj", ImportPlan())


def test_units_of_some_images_need_an_option(tmp_path: Path) -> None:
    images = [ase.Atoms("Ar") for _ in range(2)]
    for atoms in images:
        atoms.info["energy"] = -1.0
    images[1].info["energy_unit"] = "kcal/mol"
    file = tmp_path / "a.traj"
    ase.io.write(file, images)
    with pytest.raises(DataError, match=r"only 1 of 2 frames.*--energy-unit"):
        TrajectoryReader(file, ImportPlan())
