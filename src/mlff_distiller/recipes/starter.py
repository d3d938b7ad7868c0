"""Starter recipes: every setting, with its default and its sentence."""

from pathlib import Path

from mlff_distiller.core.errors import PlanError
from mlff_distiller.core.files import write_text
from mlff_distiller.core.starter import commented_yaml
from mlff_distiller.recipes.recipe import Recipe

_HEADER = """\
# A recipe of MLFF Distiller. Run it with: mlffd run {file} --out {name}
# Units: eV, Angstrom, amu, e; any other unit ends the name of a setting.

"""


def write_starter(path: Path, *, smiles: str, name: str) -> None:
    """Write a starter recipe for one molecule.

    Raises
    ------
    PlanError
        If the file exists already, or the name or SMILES is not usable.
    """
    if path.exists():
        raise PlanError(f"{path} exists already and is left as it is; give another file name")
    settings = {
        "name": name,
        "teacher": {"kind": "xtb"},
        "seeds": [{"kind": "smiles", "smiles": smiles, "name": name}],
        "students": {preset: {"kind": "painn", "preset": preset} for preset in ("tiny", "ultra-tiny")},
    }
    recipe = Recipe.parse(settings, where="mlffd init")
    recipe.seeds[0].build(recipe.seed)  # a SMILES that cannot be built is better said now
    write_text(path, _HEADER.format(file=path.name, name=name) + commented_yaml(recipe))
