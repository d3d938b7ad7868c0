"""Duplicates: exact ones by rounding, near ones in any place, order and cell; and labels that contradict."""

import ase.build
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.data.columns import pack
from mlff_distiller.data.similarity.duplicates import DuplicatesPlan, find_conflicts, find_duplicates, merged
from mlff_distiller.data.similarity.fingerprints import coarse_fingerprints, distance_changes


def columns_of(structures, labels=None):
    return pack(range(len(structures)), structures, labels)


def rattled(n, seed=0, amplitude=0.15):
    start, rng = from_ase(ase.build.molecule("CH3CH2OH")), np.random.default_rng(seed)
    return [start.moved(start.positions + rng.normal(0, amplitude, start.positions.shape)) for _ in range(n)]


def disguised(structure, seed, noise=0.0):
    """Return the same molecule turned, moved, mirrored and relabeled."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(structure))
    matrix = Rotation.random(rng=rng).as_matrix() * rng.choice([-1, 1])
    positions = structure.positions + noise * rng.normal(size=structure.positions.shape)
    return Structure(structure.numbers[order], (positions @ matrix + rng.normal(size=3))[order])


def test_disguised_copies_are_found_and_nothing_else():
    originals = rattled(60)
    copies = [disguised(s, seed, noise=0.002) for seed, s in enumerate(originals[::3])]
    found = find_duplicates(columns_of([*originals, *copies]))
    expected = [*range(60), *range(0, 60, 3)]
    assert found.groups.tolist() == expected
    assert (found.n_exact, found.n_near) == (0, 20)
    assert found.first_rows.tolist() == list(range(60))
    assert (found.changes < 0.01).all()


def test_exact_duplicates_agree_to_rounding_and_in_everything_physical():
    s = rattled(1)[0]
    shifted = s.positions + np.where(s.positions > 0, 1e-9, -1e-9)
    others = [
        s,
        Structure(s.numbers, shifted, info={"from": "elsewhere"}),
        Structure(s.numbers, s.positions, charge=1),
        Structure(s.numbers, s.positions, spin=3),
        Structure(s.numbers, s.positions, cell=30 * np.eye(3), pbc=True),
        Structure(s.numbers, s.positions, cell=30 * np.eye(3)),
    ]
    found = find_duplicates(columns_of(others), DuplicatesPlan(tolerance=0))
    assert found.exact.tolist() == [0, 0, 2, 3, 4, 0]
    near = find_duplicates(columns_of(others))
    assert near.groups.tolist() == [0, 0, 2, 3, 0, 0]  # a molecule alone in a large box is the molecule


def test_periodic_copies_by_another_choice_of_the_cell():
    rng = np.random.default_rng(0)
    cell = np.array([[3.9, 0.1, 0.0], [0.7, 4.1, 0.0], [-0.4, 0.9, 4.8]])
    crystals = []
    for _ in range(12):
        positions = rng.uniform(0, 1, (5, 3)) @ cell
        crystals.append(Structure([14, 8, 8, 1, 1], positions, cell=cell, pbc=True))
    moves = rng.integers(-2, 3, (5, 3)) @ cell
    sheared = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]) @ cell
    same = Structure(crystals[4].numbers, crystals[4].positions + moves + 0.3, cell=sheared, pbc=True)
    found = find_duplicates(columns_of([*crystals, same]))
    assert found.groups.tolist() == [*range(12), 4]
    assert found.changes == pytest.approx(0, abs=1e-9)


def brute_force(structures, tolerance, cutoff):
    def lists(s):
        d = {}
        for i in range(len(s)):
            for j in range(i):
                r = float(np.linalg.norm(s.positions[i] - s.positions[j]))
                if r < cutoff:
                    d.setdefault(tuple(sorted((int(s.numbers[i]), int(s.numbers[j])))), []).append(r)
        return {k: sorted(v) for k, v in d.items()}

    every = [lists(s) for s in structures]
    pairs = set()
    for i in range(len(every)):
        for j in range(i + 1, len(every)):
            squares = []
            for kind in {*every[i], *every[j]}:
                a, b = every[i].get(kind, []), every[j].get(kind, [])
                n = max(len(a), len(b))
                a, b = a + [cutoff] * (n - len(a)), b + [cutoff] * (n - len(b))
                squares += [(x - y) ** 2 for x, y in zip(a, b, strict=True)]
            if np.sqrt(np.mean(squares)) <= tolerance:
                pairs.add((i, j))
    return pairs


@pytest.mark.parametrize("tolerance", [0.02, 0.06, 0.09])
@pytest.mark.parametrize("cutoff", [2.5, 6.0])
def test_the_search_finds_what_all_comparisons_find(tolerance, cutoff):
    structures = rattled(17, amplitude=0.06)  # few enough that the nearest 16 are all
    expected = brute_force(structures, tolerance, cutoff)
    plan = DuplicatesPlan(tolerance=tolerance, cutoff=cutoff)
    found = find_duplicates(columns_of(structures), plan)
    pairs = {tuple(pair) for pair in found.pairs.tolist()}
    assert pairs == expected


def test_coarse_fingerprints_are_never_further_apart_than_the_lists():
    columns = columns_of(rattled(30))
    coarse, counts = coarse_fingerprints(columns, np.arange(30), 6.0)
    pairs = np.array([(i, j) for i in range(30) for j in range(i)])
    changes = distance_changes(columns, pairs, 6.0)
    apart = np.linalg.norm(coarse[pairs[:, 0]] - coarse[pairs[:, 1]], axis=1)
    assert counts.tolist() == [36] * 30
    assert (apart <= changes * np.sqrt(36) * (1 + 1e-5)).all()
    assert np.median(apart / changes / np.sqrt(36)) > 0.6  # and tell most of it


def test_everything_the_same_stays_cheap_and_is_one_group():
    start = rattled(1)[0]
    rng = np.random.default_rng(0)
    copies = [start.moved(start.positions + rng.normal(0, 1e-3, start.positions.shape)) for _ in range(400)]
    found = find_duplicates(columns_of(copies))
    assert not found.groups.any()
    assert len(found.pairs) <= 400 * 16


def test_single_atoms_and_different_charges():
    atoms = [Structure([1], [[k, 0, 0]]) for k in range(3)] + [Structure([1], [[0, 0, 0]], charge=1, spin=2)]
    found = find_duplicates(columns_of(atoms))
    assert found.groups.tolist() == [0, 0, 0, 3]


def test_labels_that_contradict_are_found():
    s = rattled(3)
    forces = np.zeros((9, 3))
    labels = [
        Labels(energy=-90.0, forces=forces),
        Labels(energy=-90.0 + 1e-4),
        Labels(energy=-90.5, forces=forces + 0.2),
        Labels(),
        Labels(energy=-50.0),
        Labels(energy=-50.0),
    ]
    columns = columns_of([s[0]] * 4 + [s[1]] * 2, labels)
    [conflict] = find_conflicts(columns, find_duplicates(columns))
    assert conflict.rows == (0, 2)
    assert conflict.energy_change == pytest.approx(0.5 / 9)
    assert conflict.force_change == pytest.approx(0.2)


def test_merging_follows_chains():
    assert merged(np.arange(6), np.array([[4, 5], [1, 2], [2, 4]])).tolist() == [0, 1, 1, 3, 1, 1]
    assert merged(np.arange(3), np.zeros((0, 2), np.int64)).tolist() == [0, 1, 2]


def test_near_duplicates_of_real_dynamics_are_consecutive_frames(shared):
    files = [np.load(shared / "data" / "rmd17" / f"rmd17_aspirin_{part}_01.npz") for part in ("train", "test")]
    positions = np.concatenate([file["coords"] for file in files])
    times = np.concatenate([file["old_indices"] for file in files])
    found = find_duplicates(columns_of([Structure(files[0]["nuclear_charges"], x) for x in positions]))
    gaps = np.abs(np.diff(times[found.pairs], axis=1)).ravel()
    assert len(gaps) > 5
    assert gaps.max() == 1  # of 100,000 frames


def test_no_structures_have_no_duplicates():
    found = find_duplicates(columns_of([]))
    assert (len(found.groups), found.n_exact, found.n_near) == (0, 0, 0)
