"""TorchANI: the ANI models in PyTorch, by name or from a folder in the form of NeuroChem."""

import math
import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import TeacherError
from mlff_distiller.core.provenance import digest
from mlff_distiller.core.registry import nearest
from mlff_distiller.core.units import HARTREE
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.calculator import PlanCalculator
from mlff_distiller.potentials.foreign import ForeignPotential, library, reason, state_digest, versions
from mlff_distiller.potentials.memory import Memory
from mlff_distiller.potentials.plan import PotentialPlan

_SMALL: Final = (
    32  # atoms; molecules up to here share a batch, larger ones only with their like: all pairs are looked at
)
_NO_ATOM: Final = -1


class TorchANIPlan(PotentialPlan):
    """TorchANI: ANI-1x, ANI-1ccx, ANI-2x and others.

    Source: doi:10.1021/acs.jcim.0c00451.

    Examples
    --------
    >>> TorchANIPlan(member=0).model
    'ANI2x'
    """

    requirements: ClassVar = ("torch", "torchani>=2.9")
    files: ClassVar = ("model",)

    kind: Literal["torchani"] = Field("torchani", description="An ANI model of the library TorchANI.")
    model: str = Field(
        "ANI2x",
        min_length=1,
        description="Name (ANI1x, ANI1ccx, ANI2x, ANI2xr, ANI2dr, ...), downloaded by TorchANI when first used, or a "
        "folder or .info file in the form of NeuroChem, which may run code, so it must be trusted.",
    )
    member: int | None = Field(
        None, ge=0, description="Which network of the ensemble, counted from 0; none: the mean of all."
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
        return TorchANI(self)


class TorchANI(ForeignPotential):
    """The potential behind :class:`TorchANIPlan`.

    Molecules are evaluated together, periodic cells one by one: a batch of cells gets neighbors for its first cell
    only (TorchANI 2.9.0).

    Parameters
    ----------
    plan : TorchANIPlan
        Settings.
    """

    charges = frozenset({0})
    spins = frozenset({1})
    boundaries = frozenset({0, 3})  # TorchANI wraps others wrongly in a tilted cell
    properties = frozenset({"energy", "forces", "stress", "atomic_energies"})
    is_conservative = True

    def __init__(self, plan: TorchANIPlan) -> None:
        super().__init__()
        with self.isolation.inside():
            os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")
            self._torch = library("torch", kind="torchani")
            _check_device(self._torch, plan.device)
            self._dtype = getattr(self._torch, plan.precision)
            self._model = _loaded(plan).to(device=plan.device, dtype=self._dtype).requires_grad_(False)
        self.batching = Batching(plan.batch_atoms, memory=Memory(plan.device, limit_GB=plan.memory_limit_GB))
        self._device = plan.device
        self.elements = frozenset(self._model.atomic_numbers.tolist())
        self.cutoff = float(self._model.cutoff) if math.isfinite(self._model.cutoff) else None
        if self.cutoff is None:
            self.boundaries = frozenset({0})
        part = "" if plan.member is None else f", member {plan.member}"
        version = f"{Path(plan.model).stem}{part}, {versions('torchani', 'torch')}"
        weights = digest([plan.fingerprint(), state_digest(self._model)])
        self.identity = Identity("torchani", version, weights, plan.precision, plan.device)

    def evaluate(self, structures: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        """Return labels of one batch; see :meth:`ForeignPotential.evaluate`."""
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, structure in enumerate(structures):
            like = max(_SMALL, 1 << (len(structure) - 1).bit_length())
            groups[(1, index) if structure.is_periodic else (0, like)].append(index)
        labels: dict[int, Labels] = {}
        with self._torch.inference_mode(False), self._torch.enable_grad():
            for indices in groups.values():
                found = self._labels([structures[k] for k in indices])
                labels.update(zip(indices, found, strict=True))
        return [labels[k] for k in range(len(structures))]

    def _labels(self, structures: Sequence[Structure]) -> list[Labels]:
        """Return the labels of molecules, or of one cell."""
        cell = structures[0].cell if structures[0].is_periodic else None
        numbers, positions = _filled(structures)
        coordinates = self._tensor(positions).requires_grad_(True)
        strain = self._tensor(np.zeros((3, 3))).requires_grad_(True)
        placed, strained, pbc = coordinates, None, None
        if cell is not None:
            deformation = self._tensor(np.eye(3)) + (strain + strain.T) / 2
            placed, strained = coordinates @ deformation, self._tensor(cell) @ deformation
            pbc = self._torch.ones(3, dtype=self._torch.bool, device=self._device)
        species = self._torch.as_tensor(numbers, device=self._device)
        atomic = self._model((species, placed), strained, pbc, atomic=True).energies
        sought = [coordinates, strain] if cell is not None else [coordinates]
        gradient, *virial = (
            HARTREE * found.double().cpu().numpy() for found in self._torch.autograd.grad(atomic.sum(), sought)
        )
        energies = HARTREE * atomic.detach().double().cpu().numpy()
        return [
            Labels(
                energy=float(energies[k, : len(one)].sum()),
                forces=-gradient[k, : len(one)],
                stress=virial[0] / one.volume if virial else None,
                atomic_energies=energies[k, : len(one)],
            )
            for k, one in enumerate(structures)
        ]

    def _tensor(self, array: Any) -> Any:
        return self._torch.tensor(array, dtype=self._dtype, device=self._device)


class TorchANICalculator(PlanCalculator):
    """An ASE calculator of an ANI model; its arguments are the settings of :class:`TorchANIPlan`."""

    plan = TorchANIPlan


def _filled(structures: Sequence[Structure]) -> tuple[Any, Any]:
    """Return atomic numbers (S, N) and positions (S, N, 3), filled up with places where no atom is."""
    most = max(len(structure) for structure in structures)
    numbers = np.full((len(structures), most), _NO_ATOM)
    positions = np.zeros((len(structures), most, 3))
    for row, structure in enumerate(structures):
        numbers[row, : len(structure)] = structure.numbers
        positions[row, : len(structure)] = structure.positions
    return numbers, positions


def _check_device(torch: Any, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise TeacherError("PyTorch sees no CUDA device here; set `device: cpu`, or install PyTorch for CUDA")


def _loaded(plan: TorchANIPlan) -> Any:
    path = Path(plan.model).expanduser()
    models = library("torchani.models", kind="torchani")
    names = [name for name, made in vars(models).items() if getattr(made, "__module__", "") == models.__name__]
    known = sorted(name for name in names if not name.startswith("_"))
    if plan.model in known:
        return _downloaded(getattr(models, plan.model), plan)
    if path.exists():
        return _from_neurochem(path, plan)
    raise TeacherError(
        f"the model {plan.model} is neither there as a folder nor known to TorchANI{nearest(plan.model, known)}; "
        f"known: {', '.join(known)}"
    )


def _downloaded(make: Any, plan: TorchANIPlan) -> Any:
    try:
        return make(model_index=plan.member)
    except (OSError, EOFError, RuntimeError) as error:
        raise TeacherError(
            f"TorchANI cannot get the parameters of {plan.model} ({reason(error)}); connect to the internet once, or "
            "copy the folder ~/.local/share/Torchani from a machine where they are"
        ) from error
    except IndexError as error:
        raise TeacherError(f"{plan.model} has no member {plan.member}; they are counted from 0") from error


def _from_neurochem(path: Path, plan: TorchANIPlan) -> Any:
    """Return a model from files; TorchANI's own way would take them from one folder, named in the environment."""
    neurochem = library("torchani.neurochem", kind="torchani")
    ani = library("torchani.arch", kind="torchani").ANI
    try:
        constants, self_energies, networks, size = _info(path)
        _check_member(networks, size, plan)
        computer, symbols = neurochem.load_aev_computer_and_symbols(constants)
        if plan.member is None:
            ensemble = neurochem.load_ensemble(symbols, networks, size)
        else:
            ensemble = neurochem.load_member(symbols, networks.with_name(f"{networks.name}{plan.member}") / "networks")
        return ani(symbols, computer, ensemble, neurochem.load_sae(self_energies))
    except TeacherError:
        raise
    except Exception as error:  # damaged files lead to all sorts of errors
        raise TeacherError(
            f"{plan.model} cannot be read as an ANI model in the form of NeuroChem ({reason(error)}); check its files"
        ) from error


def _info(path: Path) -> tuple[Path, Path, Path, int]:
    """Return what an .info file names: constants, self energies, the beginning of the networks' path, their number."""
    files = sorted(path.glob("*.info")) if path.is_dir() else [path]
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise TeacherError(f"{path} must hold one .info file, or one must be named; it holds {names}")
    lines = [line.strip() for line in files[0].read_text(encoding="utf-8").splitlines()]
    folder = files[0].parent
    return folder / lines[0], folder / lines[1], folder / lines[2], int(lines[3])


def _check_member(networks: Path, size: int, plan: TorchANIPlan) -> None:
    wanted = range(size) if plan.member is None else [plan.member]
    there = [k for k in range(size) if networks.with_name(f"{networks.name}{k}").is_dir()]
    missing = sorted(set(wanted) - set(there))
    if missing:
        raise TeacherError(
            f"{plan.model} does not hold member {missing[0]} of the ensemble; it holds "
            f"{', '.join(map(str, there)) or 'none'}: name one of them in the setting `member`"
        )
