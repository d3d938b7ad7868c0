"""Seeds: hydrogens, charges and spins, names, and one sentence for everything that cannot be built."""

from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest
from ase.data import covalent_radii

from mlff_distiller.core.errors import PlanError, StructureError
from mlff_distiller.core.plan import Plan, kinds
from mlff_distiller.sampling.file import FileSeed
from mlff_distiller.sampling.molecule import MoleculeSeed
from mlff_distiller.sampling.seeds import SEEDS, build_seeds
from mlff_distiller.sampling.smiles import SmilesSeed
from mlff_distiller.teachers.xtb import XTBPlan


@pytest.mark.parametrize(
    ("smiles", "formula", "charge", "spin"),
    [
        ("CCO", "C2H6O", 0, 1),
        ("c1ccccc1", "C6H6", 0, 1),
        ("CC(N)C(=O)O", "C3H7NO2", 0, 1),
        ("[NH3+]CC(=O)[O-]", "C2H5NO2", 0, 1),
        ("CC(=O)[O-]", "C2H3O2", -1, 1),
        ("C[N+](C)(C)C", "C4H12N", 1, 1),
        ("[CH3]", "CH3", 0, 2),
        ("[O][O]", "O2", 0, 3),
        ("[Na+]", "Na", 1, 1),
        ("[H][H]", "H2", 0, 1),
        ("O.O.CO", "CH8O3", 0, 1),
        ("OB(O)O", "BH3O3", 0, 1),  # MMFF94 has no boron: UFF
    ],
)
def test_smiles(smiles: str, formula: str, charge: int, spin: int) -> None:
    [structure] = SmilesSeed(smiles=smiles).build(seed=1)
    assert (structure.formula, structure.charge, structure.spin) == (formula, charge, spin)
    XTBPlan().build().check([structure], ["energy"])
    distances = np.linalg.norm(structure.positions[:, None] - structure.positions, axis=-1)
    radii = covalent_radii[structure.numbers]
    assert (distances + np.eye(len(structure)) * 9 > 0.7 * (radii[:, None] + radii)).all()


def test_smiles_are_seeded_and_conformers_differ() -> None:
    plan = SmilesSeed(smiles="CCCCO", n_conformers=3)
    first, again, other = plan.build(1), plan.build(1), plan.build(2)
    assert [s.info["conformer"] for s in first] == [0, 1, 2]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.positions, two.positions)
    assert not np.allclose(first[0].positions, other[0].positions)
    assert not np.allclose(first[0].positions, first[1].positions)


@pytest.mark.parametrize(
    ("smiles", "said"),
    [
        ("C1CC", "rejects the SMILES 'C1CC' .*unclosed ring"),
        ("C(C)(C)(C)(C)C", "Explicit valence for atom # 0 C, 5, is greater than permitted"),
        ("ethanol", "rejects the SMILES 'ethanol' .*syntax error"),
        ("C*", "placeholder"),
        (" ", "rejects the SMILES ' '"),
        ("F[P-](F)(F)(F)(F)F", r"not bonded; give the structure in a file"),
        ("ClP(Cl)(Cl)(Cl)Cl", r"only 1\.\d\d Angstrom apart"),
    ],
)
def test_bad_smiles_are_one_sentence(smiles: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StructureError, match=said) as caught:
        SmilesSeed(smiles=smiles).build(seed=1)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_rdkits_log_is_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    from rdkit import Chem, rdBase

    before = rdBase.LogStatus()
    with pytest.raises(StructureError):
        SmilesSeed(smiles="C1CC").build(seed=1)
    assert rdBase.LogStatus() == before
    Chem.MolFromSmiles("C1CC")
    assert "unclosed ring" in capfd.readouterr().err


@pytest.mark.parametrize(("name", "spin"), [("H2O", 1), ("O2", 3), ("CH3", 2), ("NO", 2), ("C60", 1), ("N", 4)])
def test_molecules_of_ase(name: str, spin: int) -> None:
    [structure] = MoleculeSeed(molecule=name).build(seed=1)
    assert structure.spin == spin
    np.testing.assert_array_equal(structure.positions, ase.build.molecule(name).positions)
    XTBPlan().build().check([structure], ["energy"])


def test_every_molecule_of_ase_has_a_possible_spin() -> None:
    from ase.collections import g2

    XTBPlan().build().check([MoleculeSeed(molecule=name).build(1)[0] for name in g2.names], ["energy"])


def test_unknown_molecule() -> None:
    with pytest.raises(StructureError, match=r"no molecule 'CH3CH2OHH' \(did you mean 'CH3CH2OH'\?\).*kind: smiles"):
        MoleculeSeed(molecule="CH3CH2OHH").build(seed=1)


def test_files(tmp_path: Path) -> None:
    water, methane = ase.build.molecule("H2O"), ase.build.molecule("CH4")
    moved = water.copy()
    moved.rattle(0.1, seed=1)
    ase.io.write(tmp_path / "two kinds.xyz", [water, methane, moved])
    built = FileSeed(path=tmp_path / "two kinds.xyz").build(seed=1)
    assert [(s.formula, s.info) for s in built] == [
        ("H2O", {"seed": "two_kinds-1", "conformer": 0}),
        ("H2O", {"seed": "two_kinds-1", "conformer": 1}),
        ("CH4", {"seed": "two_kinds-2", "conformer": 0}),
    ]
    [last] = FileSeed(path=tmp_path / "two kinds.xyz", index="-1", name="w").build(seed=1)
    assert last.info == {"seed": "w", "conformer": 0}


@pytest.mark.parametrize(("content", "said"), [(None, "does not exist"), ("3\nnot a file of atoms", "cannot be read")])
def test_files_that_are_none(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "seed.xyz"
    if content:
        file.write_text(content)
    with pytest.raises(StructureError, match=f"seed.xyz.*{said}"):
        FileSeed(path=file).build(seed=1)


def test_fingerprint_follows_the_content_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    ase.build.molecule("H2O").write(tmp_path / "seed.xyz")
    ase.build.molecule("H2O").write(tmp_path / "a" / "seed.xyz")
    here = FileSeed(path=Path("seed.xyz")).located(tmp_path)
    there = FileSeed(path=Path("a/seed.xyz")).located(tmp_path)
    assert here.path == (tmp_path / "seed.xyz").resolve()
    assert here.fingerprint() == there.fingerprint()
    ase.build.molecule("NH3").write(tmp_path / "seed.xyz")
    assert here.fingerprint() != there.fingerprint()
    with pytest.raises(StructureError, match="cannot be read"):
        FileSeed(path=tmp_path / "absent.xyz").fingerprint()
    assert SmilesSeed(smiles="CCO").fingerprint() != SmilesSeed(smiles="CCO", n_conformers=2).fingerprint()
    absolute = FileSeed(path=tmp_path / "seed.xyz")
    assert absolute.located(Path("/elsewhere")).path == (tmp_path / "seed.xyz").resolve()


def test_all_seeds_together() -> None:
    built = build_seeds([SmilesSeed(smiles="CCO", name="ethanol", n_conformers=2), MoleculeSeed(molecule="H2O")], 1)
    assert [s.info["seed"] for s in built] == ["ethanol", "ethanol", "H2O"]
    with pytest.raises(PlanError, match="2 seeds are called 'H2O'"):
        build_seeds([MoleculeSeed(molecule="H2O"), SmilesSeed(smiles="O", name="H2O")], 1)
    with pytest.raises(PlanError, match="no seeds"):
        build_seeds([], 1)


def test_seeds_in_a_recipe() -> None:
    class Recipe(Plan):
        seeds: list[kinds(SEEDS)]

    recipe = Recipe.parse({"seeds": [{"kind": "smiles", "smiles": "NO"}, {"kind": "file", "path": "x.cif"}]}, where="r")
    assert [seed.title for seed in recipe.seeds] == ["NO", "x"]
    with pytest.raises(PlanError, match=r"seeds.0.*unknown kind 'smile' \(did you mean 'smiles'\?\)"):
        Recipe.parse({"seeds": [{"kind": "smile"}]}, where="r")
    with pytest.raises(PlanError, match="name"):
        Recipe.parse({"seeds": [{"kind": "smiles", "smiles": "C", "name": "a/b"}]}, where="r")


@pytest.mark.parametrize("smiles", ["[Na+].[Cl-]", "CC(=O)[O-].[Na+]", "[Li+].[F-]"])
def test_ions_may_touch(smiles: str) -> None:
    [structure] = SmilesSeed(smiles=smiles).build(seed=1)
    assert structure.charge == 0


@pytest.mark.parametrize("charge", ["foo", 0.5, float("nan"), np.array([1, 2])])
def test_a_charge_that_is_not_whole_is_refused(tmp_path: Path, charge: object) -> None:
    water = ase.build.molecule("H2O")
    water.info["charge"] = charge
    ase.io.write(tmp_path / "water.extxyz", water)
    with pytest.raises(StructureError, match=r"H2O: the charge must be a whole number"):
        FileSeed(path=tmp_path / "water.extxyz").build(seed=1)


def test_models_of_a_pdb(tmp_path: Path) -> None:
    """ASE reads the END behind the last MODEL as a frame without atoms."""
    atom = "HETATM{0:5d}  {1}   HOH A   1    {2:8.3f}{3:8.3f}{4:8.3f}  1.00  0.00           {1}\n"
    water = ase.build.molecule("H2O")
    lines = [
        atom.format(i, symbol, *position)
        for i, (symbol, position) in enumerate(zip(water.symbols, water.positions, strict=True), 1)
    ]
    models = [f"MODEL {k:8d}\n{''.join(lines)}ENDMDL\n" for k in (1, 2)]
    (tmp_path / "water.pdb").write_text("".join([*models, "END\n"]))
    assert [len(s) for s in FileSeed(path=tmp_path / "water.pdb").build(seed=1)] == [3, 3]


@pytest.mark.parametrize("index", ["foo", "1.5", "::0x2", ""])
def test_an_index_that_is_none(index: str) -> None:
    with pytest.raises(PlanError, match="index"):
        FileSeed.parse({"path": "water.xyz", "index": index}, where="test")


def test_a_frame_that_is_not_there(tmp_path: Path) -> None:
    ase.build.molecule("H2O").write(tmp_path / "water.xyz")
    with pytest.raises(StructureError, match=r"water.xyz has no frame '7'"):
        FileSeed(path=tmp_path / "water.xyz", index="7").build(seed=1)
