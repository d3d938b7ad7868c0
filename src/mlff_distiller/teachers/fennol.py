"""FeNNol: neural network potentials in JAX, among them the ANI models and FeNNix-Bio1, from an ``.fnx`` file."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import TeacherError
from mlff_distiller.core.units import HARTREE
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.calculator import PlanCalculator
from mlff_distiller.potentials.foreign import ForeignPotential, library, reason, versions
from mlff_distiller.potentials.memory import Memory
from mlff_distiller.potentials.plan import PotentialPlan

_SMALL: Final = 64  # atoms; structures up to here share a batch, larger ones only with their like
_FAR: Final = 1000.0  # edge of the cell of a system that is padding, Angstrom
_CUDA_ATOMS: Final = 4096  # JAX does not say what it took; a batch that is too large is halved
_CHARGE_SWITCHES: Final = ("charge_embedding", "use_charge_encoding")


class FeNNolPlan(PotentialPlan):
    """FeNNol: ANI, FeNNix-Bio1 or your own model.

    Source: doi:10.1063/5.0217688.

    Examples
    --------
    >>> FeNNolPlan(model="ani2x_model0.fnx").precision
    'float64'
    """

    requirements: ClassVar = ("fennol>=2026.6",)
    files: ClassVar = ("model",)

    kind: Literal["fennol"] = Field(
        "fennol", description="A model of the library FeNNol: ANI, FeNNix-Bio1 or your own."
    )
    model: str = Field(min_length=1, description="File of the model (.fnx); it may run code, so it must be trusted.")
    elements: tuple[str, ...] | None = Field(
        None, min_length=1, description="Symbols of the elements it covers; read from the file unless given."
    )
    precision: Literal["float32", "float64"] = Field(
        "float64", description="Floating-point type; float32 rounds total energies to about a millielectronvolt."
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where it is evaluated.")
    batch_atoms: int | None = Field(
        None, ge=1, description="Most atoms in a batch; found from the memory unless given."
    )

    def load(self) -> Potential:
        """Return the teacher; see :meth:`PotentialPlan.load`."""
        return FeNNol(self)


class FeNNol(ForeignPotential):
    """The potential behind :class:`FeNNolPlan`.

    JAX compiles anew for every shape of its arrays, which takes seconds. Atoms and systems are therefore filled up to
    powers of two, and every such shape keeps FeNNol's sizes of neighbor lists to itself, which only grow.

    Parameters
    ----------
    plan : FeNNolPlan
        Settings.
    """

    spins = frozenset({1})
    boundaries = frozenset({0, 3})
    is_conservative = True

    def __init__(self, plan: FeNNolPlan) -> None:
        cuda = plan.device == "cuda"
        atoms = plan.batch_atoms or (_CUDA_ATOMS if cuda else None)
        super().__init__(Batching(atoms, memory=Memory(limit_GB=None if cuda else plan.memory_limit_GB)))
        self._dtype = np.dtype(plan.precision)
        with self.isolation.inside():
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or it takes most of the GPU's memory
            self._jax = library("jax", kind="fennol")
            fennol = library("fennol", kind="fennol")
            self._jax.config.update("jax_enable_x64", plan.precision == "float64")
            self._jax.config.update("jax_default_matmul_precision", "highest")
            self._device = _device(self._jax, plan.device)
            with self._on_device():
                self._model = _loaded(fennol, plan.model)
                modules = _modules(library("fennol.models.modules", kind="fennol"), self._model)
                self._takes_charge = any(_reads_charge(module, settings) for module, settings in modules)
                self.properties = self._found_properties()
            self._eV = HARTREE / self._model.Ha_to_model_energy
        self._states: dict[tuple[int, ...], Any] = {}
        self.charges = None if self._takes_charge else frozenset({0})
        self.elements = _elements(plan, [settings for _, settings in modules])
        graphs = self._model.preprocessing.get_graphs_properties()
        self.cutoff: float = max(float(graph["cutoff"]) for graph in graphs.values())
        version = f"{Path(plan.model).name}, {versions('fennol', 'jax')}"
        self.identity = Identity("fennol", version, plan.fingerprint(), plan.precision, plan.device)

    def evaluate(self, structures: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        """Return labels of one batch; see :meth:`ForeignPotential.evaluate`."""
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, structure in enumerate(structures):
            groups[self._group(structure)].append(index)
        labels: dict[int, Labels] = {}
        with self._on_device():
            for group, indices in groups.items():
                found = self._labels(group, [structures[k] for k in indices], properties)
                labels.update(zip(indices, found, strict=True))
        return [labels[k] for k in range(len(structures))]

    def _group(self, structure: Structure) -> tuple[int, ...]:
        """Return what structures of one call have in common: boundary conditions, and about the same size."""
        size = max(_SMALL, 1 << (len(structure) - 1).bit_length())
        if not structure.is_periodic:
            return 0, size
        widths = 1.0 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
        # In a wide cell the nearest image of an atom is the only one in reach, and FeNNol need not look at the others.
        return (1 if widths.min() > 2.001 * self.cutoff else 2), size

    def _labels(
        self, group: tuple[int, ...], structures: Sequence[Structure], properties: Collection[str]
    ) -> list[Labels]:
        inputs = self._inputs(structures, is_periodic=group[0] > 0)
        if group[0] == 1:
            inputs["flags"] = {"minimum_image": None}
        shape = (*group, len(inputs["species"]), len(inputs["natoms"]))
        has_stress = group[0] > 0 and "stress" in properties
        self._model.preproc_state = self._states.get(shape) or self._fresh_state(shape[2])
        evaluate = self._model.energy_and_forces_and_virial if has_stress else self._model.energy_and_forces
        found = evaluate(**inputs)[-1]
        self._states[shape] = self._model.preproc_state
        return self._cut(found, structures, has_stress=has_stress)

    def _cut(self, found: Mapping[str, Any], structures: Sequence[Structure], *, has_stress: bool) -> list[Labels]:
        """Return what belongs to each structure, in our units."""
        names = ("total_energy", "forces", "atomic_energies", "virial_tensor")
        values = {name: np.asarray(found[name], np.float64) * self._eV for name in names if name in found}
        ends = np.cumsum([len(structure) for structure in structures])
        labels = []
        for k, (structure, last) in enumerate(zip(structures, ends, strict=True)):
            own = slice(last - len(structure), last)
            labels.append(
                Labels(
                    energy=float(values["total_energy"][k]),
                    forces=values["forces"][own],
                    stress=_symmetric(values["virial_tensor"][k]) / structure.volume if has_stress else None,
                    atomic_energies=values["atomic_energies"][own] if "atomic_energies" in self.properties else None,
                )
            )
        return labels

    def _inputs(self, structures: Sequence[Structure], *, is_periodic: bool) -> dict[str, Any]:
        """Return FeNNol's arrays, filled up with atoms of no element that belong to a last, empty system.

        FeNNol's own filling up is not used: it takes arrays of systems for arrays of atoms where there are as many.
        """
        sizes = [len(structure) for structure in structures]
        n, n_atoms, n_systems = len(sizes), max(_room(sum(sizes)), _SMALL), _room(len(sizes))
        inputs: dict[str, Any] = {
            "species": _filled(np.concatenate([s.numbers for s in structures]), n_atoms, -1).astype(np.int32),
            "coordinates": _filled(np.concatenate([s.positions for s in structures]), n_atoms).astype(self._dtype),
            "batch_index": _filled(np.repeat(np.arange(n), sizes), n_atoms, n_systems - 1).astype(np.int32),
            "natoms": _filled(np.array(sizes), n_systems).astype(np.int32),
            "true_sys": np.arange(n_systems) < n,
        }
        inputs["true_atoms"] = inputs["species"] > 0
        if self._takes_charge:
            inputs["total_charge"] = _filled(np.array([s.charge for s in structures]), n_systems).astype(np.int32)
        if is_periodic:
            cells = np.array([s.cell for s in structures] + [_FAR * np.eye(3)] * (n_systems - n))
            inputs["cells"] = cells.astype(self._dtype)
            inputs["reciprocal_cells"] = np.linalg.inv(cells).astype(self._dtype)
        return inputs

    def _fresh_state(self, n_atoms: int) -> Any:
        """Return FeNNol's sizes of arrays before it has seen anything, with room for what differs between batches."""
        state = self._model.preprocessing.init()
        # Small molecules differ most, and cost least: edges and angles, and the atoms of each element.
        room = {"nblist_mult_size": 2.0 if n_atoms <= _SMALL else 1.3, "add_atoms": max(8, n_atoms // 16)}
        layers = tuple({**layer, **room} for layer in state["layers_state"])
        return {**state, "layers_state": layers}

    def _found_properties(self) -> frozenset[str]:
        """Return what the model gives, found from the shapes of a small evaluation that is not carried out."""
        hydrogen = Structure([1, 1], np.diag([0.0, 0.0, 0.8])[1:])
        inputs = self._inputs([hydrogen], is_periodic=False)
        self._model.preproc_state = self._fresh_state(len(inputs["species"]))
        inputs = self._model.preprocess(**inputs)
        found = self._jax.eval_shape(self._model._total_energy, self._model.variables, inputs)[1]
        # Where a part of the energy belongs to a system as a whole, those of the atoms do not add up to it.
        adds_up = "atomic_energies" in found and "system_energies" not in found
        return frozenset({"energy", "forces", "stress"} | ({"atomic_energies"} if adds_up else set()))

    def _on_device(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = self._jax.default_device(self._device)
        return context


class FeNNolCalculator(PlanCalculator):
    """An ASE calculator of a FeNNol model; its arguments are the settings of :class:`FeNNolPlan`."""

    plan = FeNNolPlan


def _device(jax: Any, name: str) -> Any:
    try:
        return jax.devices(name)[0]
    except RuntimeError as error:
        raise TeacherError(
            f"JAX has no device '{name}' here ({reason(error)}); install `fennol[cuda]` into the teacher's environment "
            "or set `device: cpu`"
        ) from error


def _loaded(fennol: Any, file: str) -> Any:
    path = Path(file).expanduser()
    if not path.is_file():
        raise TeacherError(f"the model {file} is not there; check the path, which counts from the recipe's folder")
    if path.suffix != ".fnx":
        raise TeacherError(f"the model {file} is not an .fnx file; name one, as FeNNol saves it")
    try:
        return fennol.load(path)
    except Exception as error:  # whatever the bytes, or a module that this FeNNol does not know, lead to
        raise TeacherError(
            f"{file} cannot be loaded as a FeNNol model ({reason(error)}); check the file, and whether the model needs "
            "another version of FeNNol"
        ) from error


def _modules(registry: Any, model: Any) -> list[tuple[Any, dict[str, Any]]]:
    """Return the parts of a model: the class of each, and what it was made with."""
    parts: dict[str, dict[str, Any]] = model.to_dict()["modules"]
    names = {name: part.get("FID", part.get("module_name", name)) for name, part in parts.items()}
    return [(registry.MODULES[str(names[name]).upper()], part) for name, part in parts.items()]


def _reads_charge(module: Any, settings: Mapping[str, Any]) -> bool:
    """Return whether a part of a model reads the total charge; some do only if they are told to."""
    if not hasattr(module, "total_charge_key"):
        return False
    return all(settings.get(switch, getattr(module, switch, True)) for switch in _CHARGE_SWITCHES)


def _elements(plan: FeNNolPlan, parts: Iterable[Mapping[str, Any]]) -> frozenset[int]:
    """Return the elements for which every part of a model that has parameters by element has them."""
    found = [set(plan.elements)] if plan.elements else [by for part in parts for by in _by_element(part)]
    symbols = set.intersection(*found) if found else set()
    unknown = symbols - set(SYMBOLS[1:])
    if unknown or not symbols:
        said = f"names {', '.join(sorted(unknown))}, which are no elements" if unknown else "does not say its elements"
        raise TeacherError(f"the model {plan.model} {said}; list the symbols it was made for in the setting `elements`")
    return frozenset(SYMBOLS.index(symbol) for symbol in symbols)


def _by_element(part: Mapping[str, Any]) -> list[set[str]]:
    order = part.get("species_order")
    listed = order.split(",") if isinstance(order, str) else order
    tables = [part[key] for key in ("hidden_neurons", "value") if isinstance(part.get(key), Mapping)]
    return [{str(symbol).strip() for symbol in symbols} for symbols in [listed, *tables] if symbols]


def _room(n: int) -> int:
    """Return the power of two above n, so that there is always a place to fill up."""
    return 1 << n.bit_length()


def _filled(array: NDArray[Any], n: int, value: float = 0) -> NDArray[Any]:
    """Return an array with its first axis filled up to length n."""
    filled = np.full((n, *array.shape[1:]), value, dtype=array.dtype)
    filled[: len(array)] = array
    return filled


def _symmetric(virial: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((virial + virial.T) / 2)
