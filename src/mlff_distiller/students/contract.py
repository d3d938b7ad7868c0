"""The contract of students as tests: inherit them, name a plan, and run pytest.

In a package of your own::

    from mlff_distiller.students.contract import StudentContract
    from my_package import MyPlan

    class TestMyStudent(StudentContract):
        plan = MyPlan(preset="small")

All of it holds by construction, so random weights do; nothing is trained.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Final

import ase
import ase.build
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from mlff_distiller.atoms.conversion import from_ase, to_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.derivatives import derive
from mlff_distiller.students import checkpoint
from mlff_distiller.students.plan import StudentPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.probes import STEPS, along, arguments, energies_and_forces, graph_of, hessian, pull, slope
from mlff_distiller.students.student import Student

Floats = NDArray[np.float64]

REFERENCE_ENERGIES: Final[dict[int, float]] = {1: -10.7, 6: -49.0, 7: -71.0, 8: -102.0}
"""Elements of the structures below, with energies such as a training set would give, eV."""


class StudentContract:
    """What every student must keep, whatever its architecture.

    Attributes
    ----------
    plan : StudentPlan
        The architecture, as a recipe would name it.
    scale, neighbor_norm : float
        What the training set would say.
    n_many : int
        Atoms of the large structure.
    single_noise : float
        How much float32 may differ from float64, relative to the largest force or atomic energy.
    largest_force : float
        Bound of the RMS force component of an untrained student, in units of the scale per Angstrom.
    """

    plan: ClassVar[StudentPlan]
    scale: ClassVar[float] = 1.4
    neighbor_norm: ClassVar[float] = 2.8
    n_many: ClassVar[int] = 3000
    single_noise: ClassVar[float] = 2e-5
    largest_force: ClassVar[float] = 3.0

    @classmethod
    def student(cls, dtype: torch.dtype = torch.float64, *, seed: int = 3) -> Student:
        """Return an untrained student."""
        student = Student(cls.plan, REFERENCE_ENERGIES, scale=cls.scale, neighbor_norm=cls.neighbor_norm, seed=seed)
        return student.to(dtype)

    @classmethod
    def potential(cls, dtype: torch.dtype = torch.float64) -> StudentPotential:
        """Return an untrained student as a potential that evaluates any batch at once."""
        return StudentPotential(cls.student(dtype), batching=Batching(10**9), backend="eager")

    @classmethod
    def structures(cls) -> list[Structure]:
        """Return a molecule, one with atoms pressed into repulsion, and a small triclinic cell."""
        molecule = _rattled(ase.build.molecule("CH3CONH2"))
        return [molecule, molecule.moved(0.6 * molecule.positions), cls.crystal()]

    @classmethod
    def crystal(cls) -> Structure:
        """Return a triclinic cell much smaller than the cutoff, with atoms outside of it."""
        atoms = ase.build.molecule("HCOOH")
        atoms.set_cell([[4.1, 0, 0], [0.7, 4.0, 0], [-0.4, 0.9, 4.4]])
        atoms.pbc = True
        return _rattled(atoms)

    def test_the_settings_survive_a_file(self) -> None:
        """The plan that is written into a file is the plan that was given."""
        again = type(self.plan).parse(self.plan.model_dump(mode="json"), where="a file")
        assert again.digest() == self.plan.digest()

    def test_the_student_survives_a_file(self) -> None:
        """What is read back gives the same numbers, in each precision, and passes its own check."""
        for dtype in (torch.float32, torch.float64):
            student, structures = self.student(dtype), self.structures()
            with TemporaryDirectory() as folder:
                path = Path(folder) / "student.safetensors"
                checkpoint.save(student, path, references=structures)
                loaded = checkpoint.load(path)
            for one, other in zip(
                *(StudentPotential(s, backend="eager").predict(structures) for s in (student, loaded)), strict=True
            ):
                assert (one.energy, _forces(one).tolist()) == (other.energy, _forces(other).tolist())

    def test_weights_depend_on_the_seed_alone(self) -> None:
        """The same seed gives the same weights, another seed others, and the global state is left alone."""
        before = torch.get_rng_state()
        one, same, other = (self.student(seed=seed).state_dict() for seed in (5, 5, 6))
        assert torch.equal(before, torch.get_rng_state())
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)

    def test_every_parameter_matters(self) -> None:
        """No weight is carried along, or stored, for nothing."""
        student, structures = self.student(), self.structures()
        energies = student(graph_of(student, structures))
        weights = generator(0, "contract", "weights").normal(size=len(energies))
        named = dict(student.named_parameters())
        gradients = torch.autograd.grad((energies * torch.from_numpy(weights)).sum(), list(named.values()))
        for name, gradient in zip(named, gradients, strict=True):
            used = (gradient != 0).double().mean().item()
            assert used > 0.5, f"{name}: only {used:.0%} of it have a gradient"

    def test_it_starts_small(self) -> None:
        """Forces of an untrained student are of the size of those it will learn, or training begins with unlearning."""
        plan = self.plan.model_copy(update={"repulsion": "none"})
        student = Student(plan, REFERENCE_ENERGIES, scale=1.0, neighbor_norm=self.neighbor_norm)
        forces = _forces(StudentPotential(student.double(), backend="eager").predict([self.structures()[0]])[0])
        assert 1e-4 < float(np.sqrt(np.square(forces).mean())) < self.largest_force

    def test_forces_are_minus_the_gradient(self) -> None:
        """Every force agrees with finite differences of the energy to eight digits or so."""
        potential = self.potential()
        for structure in self.structures():
            forces, step = _forces(potential.predict([structure])[0]), 1e-4
            for atom, axis in [(0, 0), (1, 1), (len(structure) - 1, 2)]:
                push = np.zeros_like(structure.positions)
                push[atom, axis] = step
                moved = [structure.moved(structure.positions + n * push) for n in STEPS]
                gradient = slope(_energies(potential.predict(moved)), step)
                _assert_close(forces[atom, axis], -gradient, 1e-7 * (1 + np.abs(forces).max()))

    def test_stress_is_the_derivative_by_strain(self) -> None:
        """Stress has the unit, sign and order of the convention; molecules have none."""
        potential, cell, step = self.potential(), self.crystal(), 1e-4
        stress = potential.predict([cell], ["stress"])[0].stress
        assert stress is not None
        for i, j in [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)]:
            strain = np.zeros((3, 3))
            strain[i, j] += step / 2
            strain[j, i] += step / 2
            deformed = [_mapped(cell, np.eye(3) + n * strain) for n in STEPS]
            expected = slope(_energies(potential.predict(deformed)), step) / cell.volume
            _assert_close(stress[i, j], expected, 1e-8)
        assert potential.predict([self.structures()[0]], ["energy", "stress"])[0].present == ("energy",)

    def test_rotation_and_inversion(self) -> None:
        """Energies and features of atoms stay and forces turn, in proper and improper rotations."""
        turn = np.linalg.qr(generator(6, "contract", "rotation").normal(size=(3, 3)))[0]
        for structure in self.structures():
            for matrix in (turn, -turn):
                both = [structure, _mapped(structure, matrix)]
                one, other = self.potential().predict(both, ("energy", "forces", "embeddings"))
                self._assert_same(one, Labels(energy=other.energy, forces=_forces(other) @ matrix))
                _assert_close(np.asarray(one.embeddings), np.asarray(other.embeddings), 1e-5)

    def test_translation_and_permutation(self) -> None:
        """Where a structure stands and how its atoms are numbered changes nothing."""
        for structure in self.structures():
            order = generator(5, "contract", "order").permutation(len(structure))
            positions = structure.positions[order] + [1.1, -2.3, 0.7]
            mixed = Structure(structure.numbers[order], positions, cell=structure.cell, pbc=structure.pbc)
            one, other = self.potential().predict([structure, mixed])
            self._assert_same(one, Labels(energy=other.energy, forces=_forces(other)[np.argsort(order)]))

    def test_images(self) -> None:
        """Atoms moved by lattice vectors, and another choice of lattice vectors, are the same crystal."""
        cell = self.crystal()
        moves = generator(4, "contract", "images").integers(-2, 3, size=(len(cell), 3))
        sheared = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]) @ cell.cell
        one, moved, other = self.potential().predict(
            [cell, cell.moved(cell.positions + moves @ cell.cell), cell.moved(cell.positions, cell=sheared)]
        )
        self._assert_same(one, moved)
        self._assert_same(one, other)

    def test_supercell(self) -> None:
        """Twelve times the cell has twelve times the energy and the same forces and stress."""
        cell = self.crystal()
        large = from_ase(to_ase(cell).repeat((2, 3, 2)))
        one, many = self._alone([cell, large])
        tiled = Labels(energy=12 * (one.energy or 0.0), forces=np.tile(_forces(one), (12, 1)), stress=one.stress)
        self._assert_same(tiled, many)

    def test_mixed_boundaries(self) -> None:
        """A direction that is not periodic is one with much vacuum."""
        cell = to_ase(self.crystal())
        for axis in range(3):
            opened, padded = cell.copy(), cell.copy()
            opened.pbc[axis] = False
            normal = np.cross(cell.cell[axis - 2], cell.cell[axis - 1])
            padded.cell[axis] = (2 * self.plan.cutoff + 30) * normal / np.linalg.norm(normal)
            one, other = self.potential().predict([from_ase(opened), from_ase(padded)])
            self._assert_same(one, other)

    def test_smooth_at_the_cutoff(self) -> None:
        """Energy, force and its derivative are continuous when an atom comes within the cutoff of another."""
        student, rc = self.student(), self.plan.cutoff
        inside, outside = (pull(student, rc * (1 + n * 1e-6)) for n in (-1, 1))
        usual = np.max([np.abs(pull(student, x * rc) - outside) for x in (0.6, 0.7, 0.8, 0.9)], axis=0)
        assert (usual > 0).all(), "atoms within the cutoff do not feel each other"
        jumps = np.abs(inside - outside) / usual
        assert jumps.max() < 1e-3, f"energy, force and second derivative jump by {jumps} of what is usual inside"

    def test_edges_beyond_the_cutoff_count_for_nothing(self) -> None:
        """A neighbor list with a skin gives the same energies."""
        student, structures = self.student(), self.structures()
        graphs = [graph_of(student, structures, skin=skin) for skin in (0.0, 1.0)]
        assert len(graphs[0].centers) < len(graphs[1].centers)
        one, other = (student(graph).detach().numpy() for graph in graphs)
        _assert_close(one, other, 1e-9 * (1 + np.abs(one).max()))

    def test_isolated_atoms(self) -> None:
        """An atom alone has its reference energy plus a constant, wherever it is, and no forces of any order."""
        potential, elements = self.potential(), tuple(REFERENCE_ENERGIES)
        alone = self._alone(Structure([z], [[0.1, 0.2, z]]) for z in elements)
        places = np.array([[100.0 * k, 0, 0] for k in range(len(elements))])
        together = potential.predict([Structure(elements, places)], potential.properties)[0]
        assert together.energy is not None
        assert together.atomic_energies is not None
        assert np.isfinite(together.energy)
        assert not _forces(together).any()
        _assert_close(together.atomic_energies, _energies(alone), 1e-9)
        graph = graph_of(self.student(), [Structure([1], [[0, 0, 0]])])
        derived = derive(self.student(), graph, create_graph=True)
        assert derived.forces is not None
        assert not derived.forces.any()

    def test_far_copies_add_up(self) -> None:
        """Structures out of each other's reach do not know of each other."""
        one = self.structures()[0]
        far = np.concatenate([one.positions, one.positions + 10 * self.plan.cutoff])
        single, double = self._alone([one, Structure(np.tile(one.numbers, 2), far)])
        expected = Labels(energy=2 * (single.energy or 0.0), forces=np.tile(_forces(single), (2, 1)))
        self._assert_same(expected, double)

    def test_second_derivatives(self) -> None:
        """The Hessian is symmetric and its product with a direction is the finite difference of forces."""
        for structure in self.structures():
            second, potential, step = hessian(self.student(), structure), self.potential(), 1e-4
            size = float(np.abs(second).max())
            _assert_close(second, second.T, 1e-10 * size)
            way = generator(7, "contract", "direction").normal(size=structure.positions.shape)
            moved = [structure.moved(structure.positions + n * step * way) for n in STEPS]
            forces = np.array([_forces(labels).ravel() for labels in potential.predict(moved)])
            _assert_close(second @ way.ravel(), -slope(forces, step), 1e-6 * size)

    def test_symmetric_molecules_have_second_derivatives(self) -> None:
        """Linear and planar molecules, in which vectors vanish by symmetry, give finite numbers."""
        for name in ("CO2", "HCN", "C2H2", "H2", "C6H6", "CH4", "C2H4"):
            second = hessian(self.student(), from_ase(ase.build.molecule(name)))
            assert np.isfinite(second).all(), name
            _assert_close(second, second.T, 1e-9 * np.abs(second).max())

    def test_gradients_of_a_loss_of_forces(self) -> None:
        """Forces in a loss need second derivatives; a wrong one trains to a wrong student without a sound."""
        student = self.student()
        graph = graph_of(student, [self.structures()[0], self.crystal()])

        def loss() -> Tensor:
            derived = derive(student, graph, {"energy", "forces", "stress"}, create_graph=True)
            assert derived.forces is not None
            assert derived.virial is not None
            return derived.forces.square().sum() + derived.virial.square().sum() + derived.energy.square().sum() * 1e-3

        named = dict(student.named_parameters())
        gradients = torch.autograd.grad(loss(), list(named.values()))
        for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
            size = torch.linalg.vector_norm(gradient)
            found, expected = along(parameter, gradient / size, loss, step=1e-4), float(size)
            assert abs(found - expected) <= 1e-5 * expected + 1e-6, f"{name}: {found}, not {expected}"

    def test_float32_agrees_with_float64(self) -> None:
        """Single precision loses digits, not meaning."""
        exact, fast = self.potential(), self.potential(torch.float32)
        for one, other in zip(exact.predict(self.structures()), fast.predict(self.structures()), strict=True):
            size = self.single_noise * (1 + float(np.abs(_forces(one)).max()))
            _assert_close(_forces(one), _forces(other), size)
            assert abs((one.energy or 0.0) - (other.energy or 0.0)) < size * len(_forces(one))

    def test_large_energies_keep_their_digits(self) -> None:
        """A small step changes a total energy of 10^5 eV by force times step, in float32 as well."""
        student = self.student(torch.float32)
        student.reference.energies += 1e5
        molecule = self.structures()[0]
        push = np.zeros_like(molecule.positions)
        push[0] = _forces(StudentPotential(student, backend="eager").predict([molecule])[0])[0]
        push *= 5e-3 / np.linalg.norm(push)
        near, here, far = StudentPotential(student.double().float(), backend="eager").predict(
            [molecule.moved(molecule.positions + n * push) for n in (-1, 0, 1)]
        )
        work = float((_forces(here) * push).sum())
        assert abs((near.energy or 0.0) - (far.energy or 0.0) - 2 * work) < 0.1 * abs(work)

    def test_atoms_that_come_close(self) -> None:
        """At a tenth of an Angstrom everything is finite, and with a repulsion every pair is driven apart."""
        for dtype in (torch.float64, torch.float32):
            for pair in combinations_with_replacement(REFERENCE_ENERGIES, 2):
                labels = self.potential(dtype).predict([Structure(pair, [[0.0, 0.0, 0.0], [0.0, 0.0, 0.1]])])[0]
                assert labels.is_finite
                assert self.plan.repulsion == "none" or _forces(labels)[1, 2] > 100, f"{pair} attract each other"

    def test_batch_equals_single(self) -> None:
        """Neither company nor order matters."""
        structures = [*self.structures(), Structure([1], [[0, 0, 0]])]
        potential, properties = self.potential(), ("energy", "forces", "stress")
        alone = self._alone(structures)
        for order in (1, -1):
            together = potential.predict(structures[::order], properties)[::order]
            for one, other in zip(alone, together, strict=True):
                self._assert_same(one, other)
        assert potential.predict([]) == []

    def test_a_thousand_structures_at_once(self) -> None:
        """A batch of many tiny structures, all different, is each of them."""
        base = from_ase(ase.build.molecule("H2O"))
        noise = generator(8, "contract", "many").normal(scale=0.1, size=(1000, *base.positions.shape))
        structures = [base.moved(base.positions + some) for some in noise]
        together = self.potential().predict(structures)
        for k in (0, 499, 999):
            self._assert_same(self.potential().predict([structures[k]])[0], together[k])

    def test_many_atoms(self) -> None:
        """An endless row of molecules has the same energy with one of them in its cell as with thousands of atoms."""
        molecule = to_ase(self.structures()[0])
        molecule.set_cell([6.0, 30.0, 30.0])
        molecule.pbc = [True, False, False]
        n = -(-self.n_many // len(molecule))
        unit, row = self._alone([from_ase(molecule), from_ase(molecule.repeat((n, 1, 1)))], torch.float32)
        assert row.is_finite
        assert abs((row.energy or 0.0) / n - (unit.energy or 0.0)) < 20 * self.single_noise * len(molecule)

    def test_it_can_be_traced(self) -> None:
        """Energies and forces, traced once with symbolic sizes, hold for others; no size depends on the data."""
        student = self.student()
        first, *others = [self.structures()[:2], [self.crystal()], self.structures()[::-1]]
        traced = make_fx(energies_and_forces(student), tracing_mode="symbolic")(*arguments(student, first))
        sizes = [node.meta["val"] for node in traced.graph.nodes if "val" in node.meta]
        assert not any(free_unbacked_symbols(size) for size in sizes), "a shape depends on the data"
        for structures in (first, *others):
            given = arguments(student, structures)
            for found, expected in zip(traced(*given), energies_and_forces(student)(*given), strict=True):
                _assert_close(found.numpy(), expected.numpy(), 1e-9 * (1 + expected.abs().max().item()))

    def _alone(self, structures: Iterable[Structure], dtype: torch.dtype = torch.float64) -> list[Labels]:
        """Evaluate each structure by itself."""
        potential = self.potential(dtype)
        return [potential.predict([structure], ("energy", "forces", "stress"))[0] for structure in structures]

    def _assert_same(self, one: Labels, other: Labels) -> None:
        """Compare labels that differ by rounding in float64 only."""
        size = 1e-10 * (1 + float(np.abs(_forces(one)).max()))
        _assert_close(one.energy or 0.0, other.energy or 0.0, size * len(_forces(one)))
        _assert_close(_forces(one), _forces(other), size)
        if one.stress is not None and other.stress is not None:
            _assert_close(one.stress, other.stress, size)


def _assert_close(one: float | Floats, other: float | Floats, tolerance: float) -> None:
    error = float(np.abs(np.subtract(one, other)).max())
    assert error <= tolerance, f"differs by {error:.2e}, more than {tolerance:.2e}"


def _energies(labels: Sequence[Labels]) -> Floats:
    return np.array([entry.energy for entry in labels])


def _forces(labels: Labels) -> Floats:
    assert labels.forces is not None
    return labels.forces


def _mapped(structure: Structure, matrix: Floats) -> Structure:
    return structure.moved(structure.positions @ matrix.T, cell=structure.cell @ matrix.T)


def _rattled(atoms: ase.Atoms) -> Structure:
    noise = generator(3, "contract", str(atoms.symbols)).normal(scale=0.04, size=atoms.positions.shape)
    atoms.positions += noise
    return from_ase(atoms)
