"""Tables of ``mlffd teacher``: what teachers say of themselves, for people."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from rich.table import Table

from mlff_distiller.atoms.elements import names
from mlff_distiller.core.console import titled_table
from mlff_distiller.core.errors import TeacherError
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.foreign import reason
from mlff_distiller.potentials.plan import PotentialPlan
from mlff_distiller.potentials.worker.environment import INSTALLED, interpreter_in, is_unfinished, place_of
from mlff_distiller.teachers import TEACHERS
from mlff_distiller.teachers.installed import installed
from mlff_distiller.teachers.installing import kind_of, libraries

_MOST_DIGITS = 12


def kinds_table() -> Table:
    """Return all kinds of teachers; no library of theirs is loaded for it."""
    table = titled_table("Teachers", "kind", "what it is", "library", "environment")
    for kind in TEACHERS.names():
        try:
            plan = TEACHERS.get(kind)
            table.add_row(kind, _first_line(plan), _library(plan), _environment(plan))
        except Exception as error:  # a package that adds a teacher may be broken; the others are still there
            table.add_row(kind, f"cannot be used: {reason(error.__cause__ or error)}", "", "")
    table.caption = (
        "library: whether it is in the environment of mlffd.\n"
        "environment: whether the teacher has one of its own; `mlffd teacher install KIND` makes it."
    )
    return table


def kind_tables(plan: type[PotentialPlan]) -> Iterator[Table]:
    """Yield what a kind of teacher needs, what is installed of it, and its settings."""
    kind = kind_of(plan)
    folder = place_of(INSTALLED, kind)
    table = titled_table(f"{kind}: {_first_line(plan)}", "", "")
    table.show_header = False
    table.add_row("needs", ", ".join(plan.requirements) or "nothing that mlffd does not have")
    table.add_row("library", _library(plan))
    table.add_row("environment", _environment(plan))
    found = installed(folder)
    if found is not None or plan.requirements:
        table.add_row("folder", str(folder))
    if found is not None:
        table.add_row("versions", ", ".join([f"Python {found.python}", *found.versions(found.requirements)]))
    yield table
    settings = titled_table("Settings", "setting", "default", "meaning")
    own = [name for name in plan.model_fields if name not in PotentialPlan.model_fields and name != "kind"]
    for name in (*own, *PotentialPlan.model_fields):  # what all teachers have comes last
        field = plan.model_fields[name]
        settings.add_row(name, _default(field), f"{field.description or ''}{_choices(field)}")
    yield settings


def potential_table(title: str, potential: Potential) -> Table:
    """Return what a potential says of itself."""
    identity = potential.identity
    table = titled_table(f"The teacher of {title}", "", "")
    table.show_header = False
    table.add_row("kind", identity.kind)
    table.add_row("version", identity.version)
    table.add_row("weights", f"{identity.weights[:_MOST_DIGITS]} (digest of weights and settings)")
    table.add_row("precision", identity.precision or "not known")
    table.add_row("device", identity.device or "not known")
    table.add_row("elements", names(potential.elements))
    charges = potential.charges
    table.add_row("charges", "any" if charges is None else ", ".join(f"{c:+d}" if c else "0" for c in sorted(charges)))
    table.add_row("cutoff", "not local" if potential.cutoff is None else f"{potential.cutoff:g} Angstrom")
    table.add_row("properties", ", ".join(sorted(name.replace("_", " ") for name in potential.properties)))
    table.add_row("conservative", "yes" if potential.is_conservative else "no: forces are not the energy's gradient")
    return table


def _library(plan: type[PotentialPlan]) -> str:
    """Say whether a teacher's library is in this environment, without loading it."""
    return "here" if all(_is_here(name.partition(".")[0]) for name in libraries(plan)) else "not here"


def _is_here(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _environment(plan: type[PotentialPlan]) -> str:
    """Say what there is of the environment that a recipe means by "installed"."""
    folder: Path = place_of(INSTALLED, kind_of(plan))
    try:
        found = installed(folder)
    except TeacherError:
        return "damaged"
    if found is not None:
        return f"installed, Python {found.python}"
    if is_unfinished(folder):
        return "not finished"
    if interpreter_in(folder) is not None:
        return "made by hand"
    return "not installed" if plan.requirements else "not needed"


def _first_line(plan: type[PotentialPlan]) -> str:
    return (plan.__doc__ or "").strip().splitlines()[0].rstrip(".") if plan.__doc__ else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value) or "empty"


def _choices(field: FieldInfo) -> str:
    options = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return f" ({', '.join(map(str, options))})" if options else ""
