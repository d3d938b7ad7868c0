"""Missing hydrogens are found, and nothing that is whole is accused."""

import ase.build
import ase.io
import numpy as np
import pytest
from ase.collections import g2

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.data.columns import pack
from mlff_distiller.data.sanity.plan import SanityPlan
from mlff_distiller.data.sanity.valence import excess_bonds, missing_hydrogens
from mlff_distiller.data.similarity.pairs import find_pairs

BOUND = SanityPlan().max_missing_hydrogens


def measured(measure, *structures):
    columns = pack(range(len(structures)), structures)
    return measure(columns, find_pairs(columns, 5.0))


def lacking(*structures):
    return measured(missing_hydrogens, *structures) > BOUND


def molecule(name):
    atoms = ase.build.molecule(name)
    return from_ase(atoms), 1 + round(abs(atoms.get_initial_magnetic_moments().sum()))


def without_hydrogens(structure):
    kept = structure.numbers != 1
    return Structure(structure.numbers[kept], structure.positions[kept], cell=structure.cell, pbc=structure.pbc)


def test_none_of_the_g2_molecules_and_radicals_is_accused():
    structures = []
    for name in g2.names:
        structure, spin = molecule(name)
        structures.append(Structure(structure.numbers, structure.positions, spin=spin))
    assert not lacking(*structures).any()
    assert not (measured(excess_bonds, *structures) > 0).any()


@pytest.mark.parametrize(
    "name",
    [
        "CH3CH2OH",
        "CH3OCH3",
        "CH3COOH",
        "CH3CONH2",
        "trans-butane",
        "C2H6",
        "H3CNH2",
        "C5H8",
        "C5H5N",
        "C4H4NH",
        "CH3SH",
    ],
)
def test_molecules_without_their_hydrogens_are_found(name):
    structure, _ = molecule(name)
    assert lacking(without_hydrogens(structure))[0]


@pytest.mark.parametrize(
    "name", ["CO2", "CO", "HCN", "C2H2", "CF4", "COF2", "CS2", "OCS", "C2F4", "C60", "CCl4", "C2N2"]
)
def test_molecules_that_are_whole_with_few_or_no_hydrogens(name):
    known = {
        "COF2": Structure([6, 8, 9, 9], [[0, 0, 0], [0, 0, 1.17], [1.06, 0, -0.63], [-1.06, 0, -0.63]]),
        "C2N2": Structure([7, 6, 6, 7], [[0, 0, -1.85], [0, 0, -0.69], [0, 0, 0.69], [0, 0, 1.85]]),
    }
    structure = known[name] if name in known else from_ase(ase.build.molecule(name))
    assert not lacking(structure)[0]


def test_flakes_of_graphene_with_and_without_hydrogens_on_the_edge():
    ribbons = [
        ase.build.graphene_nanoribbon(n, 4, type=kind, saturated=saturated, C_C=1.42)
        for n in (2, 4)
        for kind in ("zigzag", "armchair")
        for saturated in (True, False)
    ]
    assert not lacking(*(Structure(a.numbers, a.positions) for a in ribbons)).any()


def test_charge_and_spin_explain_free_valences():
    carbonate = Structure([6, 8, 8, 8], [[0, 0, 0], [1.29, 0, 0], [-0.645, 1.117, 0], [-0.645, -1.117, 0]], charge=-2)
    cation = [[0, 0, 0], [1.09, 0, 0], [-0.545, 0.944, 0], [-0.545, -0.944, 0]]
    assert not lacking(
        carbonate, Structure([6, 1, 1, 1], cation, charge=1), Structure([6, 1, 1, 1], cation, spin=2)
    ).any()
    methylidyne = [[0, 0, 0], [0, 0, 1.12]]
    assert lacking(Structure([6, 1], methylidyne), Structure([6, 1], methylidyne, spin=2)).tolist() == [True, False]


def test_a_broken_bond_is_no_missing_hydrogen():
    methane, _ = molecule("CH4")
    far = methane.positions.copy()
    far[1:] *= np.array([[4.0], [4.0], [1.0], [1.0]])
    assert not lacking(methane.moved(far))[0]


def test_crystals_metals_and_inorganic_molecules_make_no_claim():
    structures = [
        from_ase(ase.build.bulk("C", "diamond", 3.57)),
        from_ase(ase.build.graphene(vacuum=8)),
        from_ase(ase.build.bulk("TiC", "rocksalt", 4.33)),
        from_ase(ase.build.molecule("SiH4")),
        from_ase(ase.build.molecule("H2O")),
        Structure([6], [[0, 0, 0]]),
    ]
    assert np.isnan(measured(missing_hydrogens, *structures)).all()


def test_a_molecule_in_a_box_is_still_a_molecule():
    atoms = ase.build.molecule("CH3CH2OH")
    box = Structure(atoms.numbers, atoms.positions + 6.9, cell=7 * np.eye(3), pbc=True)
    wrapped = Structure(box.numbers, box.positions % 7, cell=box.cell, pbc=True)
    assert lacking(box, wrapped, without_hydrogens(box), without_hydrogens(wrapped)).tolist() == [
        False,
        False,
        True,
        True,
    ]


def test_five_bonds_of_carbon_are_impossible_unless_it_is_an_ion():
    methane, _ = molecule("CH4")
    positions = np.concatenate([methane.positions, [[0.8, 0.8, -0.2]]])
    numbers = [6, 1, 1, 1, 1, 1]
    found = measured(excess_bonds, Structure(numbers, positions), Structure(numbers, positions, charge=1), methane)
    assert found.tolist() == [1, 0, 0]


@pytest.mark.parametrize("name", ["ethanol", "aspirin"])
def test_hot_frames_of_real_dynamics(shared, name):
    file = np.load(shared / "data" / "rmd17" / f"rmd17_{name}_train_01.npz")
    frames = [Structure(file["nuclear_charges"], x) for x in file["coords"][:200]]
    assert not lacking(*frames).any()
    assert not (measured(excess_bonds, *frames) > 0).any()
    assert lacking(*map(without_hydrogens, frames)).mean() > 0.8


@pytest.mark.parametrize(
    "file", ["geometries/torchmd-net/chignolin.derived.xyz", "geometries/torchmd-net/alanine_dipeptide.derived.xyz"]
)
def test_a_protein_with_and_without_hydrogens(shared, file):
    protein = from_ase(ase.io.read(shared / "data" / file))
    assert lacking(protein, without_hydrogens(protein)).tolist() == [False, True]


@pytest.mark.parametrize("name", ["qm9_reduced_100", "qm7x_reduced_100", "carbon_reduced_100"])
def test_real_molecules_and_carbon_are_not_accused(shared, name):
    frames = ase.io.read(shared / "data" / "formats" / "metatrain" / f"{name}.xyz", ":")
    assert not lacking(*map(from_ase, frames)).any()
