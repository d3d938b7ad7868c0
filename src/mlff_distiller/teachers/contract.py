"""The contract of teachers as tests: inherit them, name a plan, and run pytest.

In a package of your own::

    from mlff_distiller.teachers.contract import TeacherContract
    from my_package import MyPlan

    class TestMyTeacher(TeacherContract):
        plan = MyPlan(model="small")

The teacher runs in a process of its own, so that a crash is a failed test; what a test cannot ask of this teacher is
skipped with its reason.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import ClassVar
from unittest import SkipTest

import ase
import ase.build
import numpy as np

from mlff_distiller.atoms.conversion import from_ase, to_ase
from mlff_distiller.atoms.labels import PROPERTIES, Labels, shape
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DistillerError, PredictionError, PropertyError, UnsupportedStructureError
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.calculator import PotentialCalculator
from mlff_distiller.potentials.plan import PotentialPlan
from mlff_distiller.potentials.worker.potential import WorkerPotential


class TeacherContract:
    """What every teacher must keep, whatever it is.

    Attributes
    ----------
    plan : PotentialPlan
        The teacher, as a recipe would name it.
    molecules : tuple of str
        Names that ``ase.build.molecule`` knows; none for a teacher of crystals only.
    has_cells : bool
        Whether it covers cells periodic in three directions.
    n_many : int
        Atoms of the large structure.
    energy_noise, force_noise : float
        How much numbers may differ that ought to be equal: eV per atom and eV/Angstrom; from the precision unless
        given.
    gradient_tolerance : float
        How much forces may differ from finite differences of the energy, eV/Angstrom; from the precision unless
        given.
    is_rotation_covariant : bool
        False for models that learn how forces turn instead of knowing it.
    """

    plan: ClassVar[PotentialPlan]
    molecules: ClassVar[tuple[str, ...]] = ("H2O", "CH4", "CH3CH2OH")
    has_cells: ClassVar[bool] = True
    n_many: ClassVar[int] = 1000
    energy_noise: ClassVar[float | None] = None
    force_noise: ClassVar[float | None] = None
    gradient_tolerance: ClassVar[float | None] = None
    is_rotation_covariant: ClassVar[bool] = True
    _built: ClassVar[WorkerPotential | None] = None

    @classmethod
    def teacher(cls) -> WorkerPotential:
        """Return the teacher, built once for the class."""
        if cls._built is None:
            cls._built = _in_own_process(cls.plan)
            cls._built.is_watched = True
        return cls._built

    @classmethod
    def teardown_class(cls) -> None:
        """End the teacher's process."""
        if cls._built is not None:
            cls._built.close()
            cls._built = None

    @classmethod
    def crystal(cls) -> Structure:
        """Return a cell that the teacher covers, a little disturbed and smaller than most cutoffs."""
        atoms = ase.build.molecule(cls.molecules[0]) if cls.molecules else ase.build.bulk("MgO", "rocksalt", a=4.2)
        if cls.molecules:
            atoms.set_cell([[4.6, 0, 0], [0.5, 4.8, 0], [-0.4, 0.6, 5.0]])
            atoms.pbc = True
            atoms.positions += 1.0
        return _rattled(atoms)

    @classmethod
    def structures(cls) -> list[Structure]:
        """Return some structures of different sizes that the teacher covers."""
        found = [_rattled(ase.build.molecule(name)) for name in cls.molecules]
        if cls.has_cells:
            doubled = to_ase(cls.crystal()).repeat((1, 1, 2))
            found += [cls.crystal(), _rattled(doubled)]
        return found

    @classmethod
    def small(cls) -> Structure:
        """Return one small structure."""
        return cls.structures()[0]

    @property
    def is_single(self) -> bool:
        """Whether the teacher evaluates in single precision."""
        return self.teacher().identity.precision != "float64"

    def assert_same(self, one: Labels, other: Labels, n_atoms: int) -> None:
        """Compare labels of the same structure that were made in two ways."""
        noise = 2e-5 if self.is_single else 1e-8
        energy = (self.energy_noise or noise) * n_atoms + 1e-9
        force = self.force_noise or 20 * noise
        assert one.present == other.present
        for name in one.present:
            error = float(np.abs(np.asarray(getattr(one, name)) - np.asarray(getattr(other, name))).max())
            assert error <= (energy if "energ" in name else force), f"{name} differ by {error:.2e}"

    def test_it_knows_who_it_is(self) -> None:
        """The identity says kind, version, weights, precision and device."""
        identity = self.teacher().identity
        assert identity.kind == getattr(self.plan, "kind", identity.kind)
        assert all([identity.version, identity.weights, identity.precision, identity.device])

    def test_the_settings_survive_a_file(self) -> None:
        """The plan that is written into a run is the plan that was given."""
        again = type(self.plan).parse(self.plan.model_dump(mode="json"), where="a file")
        assert (again.digest(), again.fingerprint()) == (self.plan.digest(), self.plan.fingerprint())

    def test_it_knows_what_it_can(self) -> None:
        """Elements, properties and cutoff are possible ones."""
        teacher = self.teacher()
        assert teacher.elements
        assert teacher.elements <= frozenset(range(1, 119))
        assert {"energy", "forces"} <= teacher.properties <= frozenset(PROPERTIES)
        assert teacher.cutoff is None or 0 < teacher.cutoff < 100

    def test_shapes_and_types(self) -> None:
        """Labels hold what was asked for, in float64; stress only for cells."""
        teacher, structures = self.teacher(), self.structures()
        for structure, labels in zip(structures, teacher.predict(structures, teacher.properties), strict=True):
            expected = teacher.properties if structure.is_periodic else teacher.properties - {"stress"}
            assert set(labels.present) == expected
            assert labels.is_finite
            for name in labels.present:
                value = np.asarray(getattr(labels, name))
                assert value.shape == shape(name, len(structure), labels.widths)
                assert value.dtype == np.float64

    def test_only_what_was_asked_for(self) -> None:
        """A property that was not asked for is absent; one that does not exist is refused."""
        for name in ("energy", "forces"):
            assert self.teacher().predict([self.small()], [name])[0].present == (name,)
        with raised(PropertyError):
            self.teacher().predict([self.small()], ["hessian"])

    def test_nothing_asked(self) -> None:
        """No structures give no labels."""
        assert self.teacher().predict([]) == []

    def test_a_batch_gives_what_single_calls_give_in_any_order(self) -> None:
        """Neither company nor order matters."""
        teacher, structures = self.teacher(), self.structures()
        alone = [teacher.predict([structure], teacher.properties)[0] for structure in structures]
        batched = teacher.predict(structures * 2, teacher.properties)
        turned = teacher.predict(structures[::-1], teacher.properties)[::-1]
        for k, structure in enumerate(structures):
            for other in (batched[k], batched[k + len(structures)], turned[k]):
                self.assert_same(alone[k], other, len(structure))

    def test_one_atom(self) -> None:
        """An isolated atom has an energy and no force, or is refused with a reason."""
        number = next(z for z in (1, 8, 6, 3, *sorted(self.teacher().elements)) if z in self.teacher().elements)
        for spin in (2, 1):
            atom = Structure([number], [[0.1, 0.2, 0.3]], spin=spin)
            try:
                labels = self.teacher().predict([atom])[0]
            except (PredictionError, UnsupportedStructureError):
                continue
            assert np.abs(_forces(labels)).max() < 1e-3

    def test_many_atoms(self) -> None:
        """A large structure is evaluated, or refused with a reason."""
        small = to_ase(self.structures()[-1])
        if not small.pbc.any():
            small.center(vacuum=2.0)
        n = -(-self.n_many // len(small))
        large = small.repeat((1, 1, n))
        large.pbc = small.pbc
        try:
            labels = self.teacher().predict([from_ase(large)])[0]
        except PredictionError as error:
            raise SkipTest(f"refused: {error.reason}") from error
        assert labels.is_finite

    def test_an_unknown_element_is_named(self) -> None:
        """What is not covered is refused before any work is done."""
        missing = sorted(frozenset(range(1, 119)) - self.teacher().elements)
        if not missing:
            raise SkipTest("the teacher claims all elements")
        number = missing[0]
        with raised(UnsupportedStructureError) as error:
            self.teacher().predict([Structure([number], [[0, 0, 0]])])
        assert str(error[0])

    def test_charges(self) -> None:
        """A charge that is covered changes the energy; one that is not is refused."""
        if not self.molecules:
            raise SkipTest("the teacher has no molecules")
        neutral = self.small()
        cation = Structure(neutral.numbers, neutral.positions, charge=1, spin=2)
        charges = self.teacher().charges
        if charges is not None and 1 not in charges:
            with raised(UnsupportedStructureError) as error:
                self.teacher().predict([cation])
            assert "+1" in str(error[0])
            return
        try:
            one, other = self.teacher().predict([neutral, cation], ["energy"])
        except UnsupportedStructureError as error:
            raise SkipTest(str(error)) from error
        assert one.energy is not None
        assert other.energy is not None
        assert abs(one.energy - other.energy) > 1e-4

    def test_images(self) -> None:
        """Atoms moved by lattice vectors are the same atoms."""
        cell = self._cell()
        moves = generator(4, "contract", "images").integers(-2, 3, size=(len(cell), 3))
        moved = cell.moved(cell.positions + moves @ cell.cell)
        self._assert_alike([cell, moved])

    def test_supercell(self) -> None:
        """Twice the cell has twice the energy and the same forces."""
        cell = self._cell()
        if self.teacher().cutoff is None:
            raise SkipTest("the teacher is not local; at the Gamma point, for instance, a supercell is another system")
        one = self.teacher().predict([cell])[0]
        two = self.teacher().predict([from_ase(to_ase(cell).repeat((2, 1, 1)))])[0]
        doubled = Labels(energy=2 * (one.energy or 0.0), forces=np.tile(one.forces, (2, 1)))  # type: ignore[arg-type]
        self.assert_same(doubled, two, 2 * len(cell))

    def test_translation_and_permutation(self) -> None:
        """Where a structure stands and how its atoms are numbered changes nothing."""
        structure = self.structures()[-1] if not self.molecules else self.structures()[len(self.molecules) - 1]
        order = generator(5, "contract", "order").permutation(len(structure))
        moved = structure.moved(structure.positions + np.array([1.1, -2.3, 0.7]))
        mixed = Structure(structure.numbers[order], moved.positions[order], cell=structure.cell, pbc=structure.pbc)
        one, other = self.teacher().predict([structure, mixed])
        back = Labels(energy=other.energy, forces=_forces(other)[np.argsort(order)])
        self.assert_same(one, back, len(structure))

    def test_rotation(self) -> None:
        """Forces turn with the structure."""
        if not self.is_rotation_covariant:
            raise SkipTest("the teacher learned rotations instead of knowing them; `mlffd teacher audit` measures how")
        for structure in self.structures():
            turn = np.linalg.qr(generator(6, "contract", "rotation").normal(size=(3, 3)))[0]
            turn *= np.linalg.det(turn)
            turned = structure.moved(structure.positions @ turn.T, cell=structure.cell @ turn.T)
            one, other = self.teacher().predict([structure, turned])
            self.assert_same(one, Labels(energy=other.energy, forces=_forces(other) @ turn), len(structure))

    def test_forces_are_minus_the_gradient(self) -> None:
        """Forces of a teacher that calls itself conservative are the derivative of its energy."""
        if not self.teacher().is_conservative:
            raise SkipTest("the teacher says itself that its forces are no gradient")
        step, tolerance = (2e-2, 5e-2) if self.is_single else (2e-3, 1e-4)
        for structure in self.structures()[-2:]:
            forces = _forces(self.teacher().predict([structure])[0])
            for atom, axis in [(0, 0), (len(structure) - 1, 2)]:
                push = np.zeros_like(structure.positions)
                push[atom, axis] = step
                slope = self._slope([structure.moved(structure.positions + n * push) for n in (-2, -1, 1, 2)], step)
                assert abs(forces[atom, axis] + slope) < (self.gradient_tolerance or tolerance)

    def test_stress_is_the_derivative_by_strain(self) -> None:
        """Stress has the unit, sign and order of the convention."""
        if "stress" not in self.teacher().properties or not self.teacher().is_conservative:
            raise SkipTest("the teacher has no stress that follows from its energy")
        cell, step = self._cell(), 5e-3 if self.is_single else 5e-4
        stress = self.teacher().predict([cell], ["stress"])[0].stress
        assert stress is not None
        assert np.abs(stress - stress.T).max() < 1e-6
        for i, j in [(0, 0), (2, 2), (0, 1), (1, 2)]:
            strain = np.zeros((3, 3))
            strain[i, j] += step / 2
            strain[j, i] += step / 2
            stretched = [
                cell.moved(cell.positions @ (np.eye(3) + n * strain), cell=cell.cell @ (np.eye(3) + n * strain))
                for n in (-2, -1, 1, 2)
            ]
            error = abs(stress[i, j] - self._slope(stretched, step) / cell.volume)
            assert error < (2e-3 if self.is_single else 1e-5), f"component {i}{j} is off by {error:.1e} eV/A^3"

    def test_atomic_energies_add_up(self) -> None:
        """Energies of atoms sum to the energy."""
        if "atomic_energies" not in self.teacher().properties:
            raise SkipTest("the teacher has no energies of atoms")
        for structure in self.structures():
            labels = self.teacher().predict([structure], ["energy", "atomic_energies"])[0]
            assert labels.atomic_energies is not None
            error = abs(labels.atomic_energies.sum() - (labels.energy or 0.0))
            assert error < (1e-3 if self.is_single else 1e-6) * len(structure)

    def test_nothing_of_the_process_is_changed(self) -> None:
        """Dtypes, threads, seeds, gradient mode and environment are as before, also after an exception."""
        fresh = _in_own_process(self.plan)
        try:
            assert fresh.changed == [], "by loading it"
        finally:
            fresh.close()
        teacher = self.teacher()
        teacher.predict([self.small()])
        assert teacher.changed == [], "by a call"
        broken = self.small().moved(np.full((len(self.small()), 3), np.nan))
        with suppress(DistillerError):
            teacher.predict([broken])
        assert teacher.changed == [], "by a call that failed"

    def test_positions_that_are_no_numbers(self) -> None:
        """They are refused with the index, and the next call is right."""
        good = self.small()
        before = self.teacher().predict([good])[0]
        with raised(PredictionError) as error:
            self.teacher().predict([good, good.moved(np.full((len(good), 3), np.nan))])
        assert getattr(error[0], "index", None) == 1
        self.assert_same(before, self.teacher().predict([good])[0], len(good))

    def test_as_an_ase_calculator(self) -> None:
        """The calculator gives the same numbers, also after the atoms were changed."""
        for structure in self.structures()[-2:]:
            atoms = to_ase(structure)
            atoms.calc = PotentialCalculator(self.teacher())
            labels = self.teacher().predict([structure])[0]
            self.assert_same(
                labels, Labels(energy=atoms.get_potential_energy(), forces=atoms.get_forces()), len(structure)
            )

    def _cell(self) -> Structure:
        if not self.has_cells:
            raise SkipTest("the teacher covers no periodic cells")
        return self.crystal()

    def _assert_alike(self, structures: Sequence[Structure]) -> None:
        first, *others = self.teacher().predict(structures, self.teacher().properties)
        for other in others:
            self.assert_same(first, other, len(structures[0]))

    def _slope(self, structures: Sequence[Structure], step: float) -> float:
        """Return the derivative of the energy, from structures at -2, -1, 1 and 2 steps, to fourth order."""
        energies = [labels.energy for labels in self.teacher().predict(structures, ["energy"])]
        return float(np.dot(energies, [1, -8, 8, -1]) / (12 * step))  # type: ignore[arg-type]


@contextmanager
def raised(kind: type[Exception]) -> Iterator[list[Exception]]:
    """Expect an error of a kind in the block, and hand it over in a list.

    Examples
    --------
    >>> with raised(ZeroDivisionError) as error:
    ...     1 / 0
    >>> str(error[0])
    'division by zero'
    """
    found: list[Exception] = []
    try:
        yield found
    except kind as error:
        found.append(error)
    else:
        raise AssertionError(f"no {kind.__name__} was raised")


def _in_own_process(plan: PotentialPlan) -> WorkerPotential:
    potential = plan.build(own_process=True)
    assert isinstance(potential, WorkerPotential)
    return potential


def _rattled(atoms: ase.Atoms) -> Structure:
    atoms = atoms.copy()
    noise = generator(3, "contract", str(atoms.symbols)).normal(scale=0.04, size=atoms.positions.shape)
    atoms.positions += noise
    return from_ase(atoms)


def _forces(labels: Labels) -> np.ndarray:
    assert labels.forces is not None
    return labels.forces
