"""The diversity report against counts by hand, and in blocks as at once."""

import json

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.data import blocks as blocks_module
from mlff_distiller.data.columns import pack
from mlff_distiller.data.curation import diversity
from mlff_distiller.data.curation.diversity import DISTANCE_EDGES, FORCE_EDGES, coverage, describe_content, redundancy

WATER = from_ase(ase.build.molecule("H2O"))
METHANE = from_ase(ase.build.molecule("CH4"))
SILICON = from_ase(ase.build.bulk("Si"))


def columns():
    forces = [np.full((3, 3), 1.0), np.full((5, 3), 1e6), None, None]
    return pack(range(4), [WATER, METHANE, SILICON, WATER], [Labels(forces=f) for f in forces])


def test_counts_are_those_by_hand():
    found = describe_content(columns())
    assert found["elements"] == {
        "H": {"n_atoms": 8, "n_structures": 3},
        "C": {"n_atoms": 1, "n_structures": 1},
        "O": {"n_atoms": 2, "n_structures": 2},
        "Si": {"n_atoms": 2, "n_structures": 1},
    }
    assert (found["n_structures"], found["n_atoms"], found["n_periodic"], found["n_formulas"]) == (4, 13, 1, 3)
    assert found["formulas"] == {"H2O": 2, "CH4": 1, "Si2": 1}
    assert (found["sizes"]["min"], found["sizes"]["max"]) == (2, 5)
    json.dumps(found, allow_nan=False)


def test_histograms_of_forces_and_distances():
    found = describe_content(columns())
    forces = np.array(found["forces"]["counts"])
    assert forces.sum() == 8
    assert forces[np.searchsorted(FORCE_EDGES, np.sqrt(3)) - 1] == 3
    assert forces[-1] == 5  # beyond the last edge
    distances = {name: np.array(counts) for name, counts in found["distances"]["counts"].items()}
    assert {name: int(counts.sum()) for name, counts in distances.items() if name != "Si-Si"} == {
        "C-H": 4,
        "H-H": 8,
        "H-O": 4,
    }
    length = np.linalg.norm(WATER.positions[0] - WATER.positions[1])
    assert distances["H-O"][int(length / DISTANCE_EDGES[1])] == 4
    first = int(5.43 * np.sqrt(3) / 4 / DISTANCE_EDGES[1])
    assert distances["Si-Si"][first] == 4  # two atoms with four neighbors each, every bond once
    assert distances["Si-Si"][:first].sum() == 0


def test_blocks_add_up(monkeypatch):
    whole = describe_content(columns())
    monkeypatch.setattr(
        diversity, "blocks", lambda source: blocks_module.blocks(source, max_atoms=1)
    )  # the size of a block is no setting
    assert describe_content(columns()) == whole


def test_structures_without_forces_count_no_forces():
    found = describe_content(pack([0], [WATER]))
    assert sum(found["forces"]["counts"]) == 0


def test_redundancy_sees_copies_and_coverage_what_is_left_out():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(500, 3)).astype(np.float32)
    assert redundancy(points)["nearest_distance"]["min"] > 0
    doubled = np.concatenate([points, points])
    assert redundancy(doubled)["nearest_distance"]["max"] == 0
    left = np.flatnonzero(points[:, 0] < 0)
    found = coverage(points, left)
    assert found["distance_to_subset"]["min"] == 0
    assert found["distance_to_subset"]["max"] > found["distance_to_random_subset"]["max"]
    assert coverage(points, np.arange(500))["distance_to_subset"]["max"] == 0


@pytest.mark.parametrize("n", [1, 2])
def test_one_structure_has_no_nearest(n):
    found = redundancy(np.zeros((n, 2), np.float32))
    assert (found["nearest_distance"] is None) == (n == 1)
