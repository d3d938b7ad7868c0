"""The embedding of a student: invariant, size-intensive, and the student is left as it was."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PropertyError, UnsupportedStructureError
from mlff_distiller.data.columns import pack
from mlff_distiller.data.similarity.descriptors import FromStructures, embed
from mlff_distiller.students.embedding import embedding
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student

WATER = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


@pytest.fixture
def student():
    return Student(PaiNNPlan(preset="ultra-tiny"), {1: -10.7, 8: -102.0}, seed=3).to(torch.float64)


def test_invariant_and_size_intensive(student):
    matrix = Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    order = [2, 0, 1]
    other = Structure(WATER.numbers[order], (WATER.positions @ matrix + 3)[order])
    far = Structure([*WATER.numbers] * 2, [*WATER.positions, *(WATER.positions + 50)])
    bent = WATER.moved(WATER.positions * [[1, 1, 1], [1, 1, 1], [-1, 1, 1]])
    found = embedding(student, [WATER, other, far, bent])
    np.testing.assert_allclose(found[1:3], np.broadcast_to(found[0], (2, found.shape[1])), atol=1e-6)
    assert np.abs(found[3] - found[0]).max() > 1e-4


def test_batches_do_not_matter_and_nothing_is_left_behind(student):
    structures = [WATER.moved(WATER.positions * (1 + 0.01 * k)) for k in range(7)]
    found = embedding(student, structures, batch_size=3)
    np.testing.assert_allclose(found, embedding(student, structures, batch_size=7), atol=1e-6)
    assert not student.network.readout._forward_pre_hooks
    columns = pack(range(7), structures)
    np.testing.assert_allclose(embed(columns, FromStructures(lambda some: embedding(student, some))), found, atol=1e-6)


def test_unknown_elements_are_one_sentence(student):
    with pytest.raises(UnsupportedStructureError, match="the student does not cover C; use another descriptor"):
        embedding(student, [Structure([6, 1], [[0, 0, 0], [0, 0, 1.1]])])


def test_a_network_without_a_readout_is_said(student):
    student.network.readout, student.network.head = torch.nn.Identity(), student.network.readout
    student.network.forward = lambda species, graph: student.network.head(student.network.scalars(species)).squeeze(1)
    with pytest.raises(PropertyError, match="students of kind 'painn' give no features of atoms: their network needs"):
        embedding(student, [WATER])
    del student.network.readout
    with pytest.raises(PropertyError, match="a part called 'readout' that is called once"):
        embedding(student, [WATER])
