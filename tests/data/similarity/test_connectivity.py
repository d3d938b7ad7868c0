"""Molecules: conformers share a key, isomers do not, and no choice of the cell matters."""

import re
from collections import Counter

import ase.build
import ase.io
import numpy as np
import pytest
from ase.collections import g2
from scipy.spatial.transform import Rotation

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.data.columns import pack
from mlff_distiller.data.similarity.connectivity import find_bonds, find_molecules, molecule_keys


def keys(*structures):
    return molecule_keys(pack(range(len(structures)), structures)).tolist()


def molecule(name):
    return from_ase(ase.build.molecule(name))


def in_box(atoms, length, n=(1, 1, 1)):
    atoms = atoms.copy()
    atoms.set_cell([length] * 3)
    atoms.pbc = True
    atoms = atoms.repeat(n)
    return from_ase(atoms)


def test_order_rotation_and_hot_vibrations_change_nothing():
    rng = np.random.default_rng(0)
    start = molecule("CH3CH2OH")
    copies = []
    for _ in range(50):
        order = rng.permutation(len(start))
        positions = (start.positions + rng.normal(0, 0.05, start.positions.shape)) @ Rotation.random(
            rng=rng
        ).as_matrix()
        copies.append(Structure(start.numbers[order], positions[order]))
    assert len(set(keys(start, *copies))) == 1


def test_conformers_are_one_molecule_and_isomers_are_not():
    trans, gauche = molecule("trans-butane"), ase.build.molecule("trans-butane")
    carbons = [k for k, z in enumerate(gauche.numbers) if z == 6]
    ends = [k for k in carbons if sum(gauche.get_distance(k, c) < 1.7 for c in carbons) == 2]
    inner = [k for k in carbons if k not in ends]
    first = next(k for k in ends if gauche.get_distance(k, inner[0]) < 1.7)
    last = next(k for k in ends if k != first)
    moved = [k for k in range(len(gauche)) if gauche.get_distance(k, inner[1]) < gauche.get_distance(k, inner[0])]
    gauche.set_dihedral(first, inner[0], inner[1], last, 65, indices=[k for k in moved if k != inner[1]])
    found = keys(trans, from_ase(gauche), molecule("isobutane"))
    assert found[0] == found[1] != found[2]


def test_molecules_of_different_formula_and_known_isomers_have_different_keys():
    names = g2.names
    found = dict(zip(names, keys(*map(molecule, names)), strict=True))
    formulas = {name: molecule(name).formula for name in names if len(molecule(name)) > 1}
    for key in set(found.values()):
        assert len({formulas[name] for name in formulas if found[name] == key}) <= 1
    for isomers in (("C3H4_C3v", "C3H4_C2v", "C3H4_D2d"), ("CH3CH2OH", "CH3OCH3"), ("CH3O", "H2COH"), ("HCN", "CN")):
        assert len({found[name] for name in isomers}) == len(isomers)


def test_clusters_boxes_and_supercells_of_the_same_molecules_share_a_key():
    water = ase.build.molecule("H2O")
    pair = water.copy()
    pair.extend(ase.Atoms(water.symbols, water.positions + np.array([0, 0, 4.0])))
    box, larger = in_box(water, 5.0), in_box(water, 5.0, (2, 1, 3))
    shifted = Structure(box.numbers, box.positions + 2.4, cell=box.cell, pbc=True)
    wrapped = Structure(
        box.numbers, (shifted.positions @ np.linalg.inv(box.cell) % 1) @ box.cell, cell=box.cell, pbc=True
    )
    assert len(set(keys(molecule("H2O"), from_ase(pair), box, larger, shifted, wrapped))) == 1
    assert keys(molecule("H2O"))[0] != keys(molecule("H2O2"))[0]


def test_networks_count_by_the_ratio_of_their_elements():
    diamond, quartz = ase.build.bulk("C", "diamond", 3.57), ase.build.bulk("SiC", "zincblende", 4.36)
    found = keys(from_ase(diamond), from_ase(diamond.repeat((2, 1, 2))), from_ase(quartz), from_ase(quartz.repeat(2)))
    assert found[0] == found[1] != found[2] == found[3]
    columns = pack([0, 1], [from_ase(diamond), in_box(ase.build.molecule("C60"), 14.0)])
    assert find_molecules(columns, find_bonds(columns))[1].tolist() == [True, False]


def test_metals_have_no_bonds_that_come_and_go():
    rng = np.random.default_rng(0)
    copper = ase.build.bulk("Cu", cubic=True).repeat(2)
    hot = [copper.copy() for _ in range(5)]
    for atoms in hot:
        atoms.positions += rng.normal(0, 0.2, atoms.positions.shape)
    assert len(set(keys(*map(from_ase, [copper, *hot])))) == 1


@pytest.mark.parametrize("name", ["ethanol", "aspirin", "benzene"])
def test_frames_of_real_dynamics_are_one_molecule(shared, name):
    frames = np.load(shared / "data" / "rmd17" / f"rmd17_{name}_train_01.npz")
    structures = [Structure(frames["nuclear_charges"], x) for x in frames["coords"][:300]]
    assert len(set(keys(*structures))) == 1


def test_solvent_clusters_are_told_apart_by_their_molecules(shared):
    frames = [a for a in ase.io.read(shared / "data" / "liquids" / "solvent_test.xyz", ":") if len(a) > 1]
    named = [frozenset(re.findall(r"([A-Z]+)\(", a.info["Comp"])) for a in frames]  # "EMC(1):VC(1)"
    by_name = {}
    for name, key in zip(named, keys(*map(from_ase, frames)), strict=True):
        by_name.setdefault(name, Counter())[key] += 1
    usual = {name: found.most_common(1)[0] for name, found in by_name.items()}
    assert len({key for key, _ in usual.values()}) == len(usual) == 30
    assert sum(n for _, n in usual.values()) >= 0.95 * len(frames)  # in a few hot frames bonds are broken
