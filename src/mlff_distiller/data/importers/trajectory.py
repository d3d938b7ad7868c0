"""ASE trajectories (.traj): frames with the results of the calculator that ran them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.declarations import Declarations
from mlff_distiller.data.importers.frame import Frame
from mlff_distiller.data.importers.keys import choose
from mlff_distiller.data.importers.picking import pick
from mlff_distiller.data.importers.plan import ImportPlan


class TrajectoryReader:
    """An ASE trajectory, opened; see :class:`~mlff_distiller.data.importers.frame.Reader`.

    Results are taken as the calculator gave them: constraints of the run do not zero any force.

    Parameters
    ----------
    path : Path
        The ``.traj`` file.
    plan : ImportPlan
        Names of the labels, where the user gave them.

    Raises
    ------
    DataError
        If the file is no ASE trajectory, damaged or empty, or names are ambiguous.

    Examples
    --------
    >>> import tempfile, ase.build
    >>> from ase.calculators.emt import EMT
    >>> atoms = ase.build.bulk("Cu", cubic=True)
    >>> atoms.calc = EMT()
    >>> _ = atoms.get_potential_energy()
    >>> file = Path(tempfile.mkdtemp(), "copper.traj")
    >>> atoms.write(file)
    >>> sorted(next(TrajectoryReader(file, ImportPlan()).frames()).values)
    ['atomic_energies', 'energy', 'forces', 'stress']
    """

    def __init__(self, path: Path, plan: ImportPlan) -> None:
        self._path, self._plan = path, plan
        names: Counter[str] = Counter()
        self.n_frames = 0
        declarations = Declarations()
        for atoms in self._images():
            self.n_frames += 1
            found = _found(atoms)
            names.update(found.keys())
            declarations.add(atoms.info, found)
        if not self.n_frames:
            raise DataError(f"{path} holds no frames; check the path of the trajectory")
        self._keys = choose(names, plan, where=str(path))
        self.units = declarations.agreed(self._keys, plan, where=str(path))

    def frames(self) -> Iterator[Frame]:
        """Yield all frames, in the order of the file."""
        for number, atoms in enumerate(self._images()):
            where = f"{self._path.name}, frame {number}"
            yield Frame(
                where=where,
                numbers=atoms.numbers,
                positions=atoms.positions,
                cell=atoms.cell.array if atoms.cell.rank else None,
                pbc=atoms.pbc,
                **pick(self._kept(atoms), self._keys, self._plan, where=where),
            )

    def _kept(self, atoms: ase.Atoms) -> dict[str, Any]:
        """Return labels and free information, but no results that are no labels (dipoles, magnetic moments)."""
        return {k: v for k, v in _found(atoms).items() if k in self._keys.values() or k in atoms.info}

    def _images(self) -> Iterator[ase.Atoms]:
        from ase.io.trajectory import TrajectoryReader as AseTrajectory

        if not self._path.is_file():
            raise DataError(f"{self._path} does not exist; check the path of the trajectory")
        number = 0
        try:
            with self._path.open("rb") as handle:  # ASE leaves a damaged file open that it opened itself
                trajectory = AseTrajectory(handle)
                for number in range(len(trajectory)):
                    yield trajectory[number]
        except Exception as error:  # ASE's reader raises whatever it hits first
            raise DataError(
                f"{self._path} cannot be read at frame {number} ({type(error).__name__}: {error}); it is damaged or no "
                "ASE trajectory"
            ) from error


def _found(atoms: ase.Atoms) -> dict[str, Any]:
    """Return results of the calculator and free information under their names."""
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    return {**atoms.info, **{k: v for k, v in results.items() if v is not None}}
