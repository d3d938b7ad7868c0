"""Frames: what goes in comes out, and nothing that is damaged does any harm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_distiller.atoms.labels import PREDICTED, Labels, shape
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.worker.protocol import (
    VERSION,
    Buffer,
    Message,
    ProtocolError,
    pack_labels,
    pack_structures,
    unpack_labels,
    unpack_structures,
)


def received(data: bytes, piece: int = 1 << 20) -> Message:
    parts = [data[k : k + piece] for k in range(0, len(data), piece)]
    buffer = Buffer()
    return Message.read(lambda n: buffer.take(n, lambda: parts.pop(0) if parts else b""))


def some(seed: int, n: int) -> list[Structure]:
    rng = generator(seed, "protocol")
    sizes = rng.integers(1, 6, size=n)
    return [
        Structure(
            rng.integers(1, 100, size=size),
            rng.normal(size=(size, 3)),
            cell=np.diag(rng.uniform(3, 9, size=3)),
            pbc=rng.integers(0, 2, size=3).astype(bool),
            charge=int(rng.integers(-2, 3)),
            spin=int(rng.integers(1, 4)),
        )
        for size in sizes
    ]


@given(st.integers(0, 1000), st.integers(0, 5), st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_structures_and_labels_arrive_to_the_last_bit(seed: int, n: int, piece: int) -> None:
    structures, rng = some(seed, n), generator(seed, "labels")
    sizes = [len(structure) for structure in structures]
    labels = []
    for size in sizes:
        names = [name for name in PREDICTED if rng.random() < 0.6]
        arrays = {name: rng.normal(size=shape(name, size, {"D": 3})) for name in names}
        labels.append(Labels(**{name: array if array.shape else float(array) for name, array in arrays.items()}))
    arrays = pack_structures(structures) | pack_labels(labels, sizes)
    message = received(Message("predict", {"a": [1, None, "ä"]}, arrays).to_bytes(), piece)
    assert (message.kind, message.facts) == ("predict", {"a": [1, None, "ä"]})
    for one, other in zip(structures, unpack_structures(message.arrays), strict=True):
        for name in ("numbers", "positions", "cell", "pbc"):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
        assert (one.charge, one.spin) == (other.charge, other.spin)
    for one, other in zip(labels, unpack_labels(message.arrays, sizes), strict=True):
        assert one.present == other.present
        for name in one.present:
            assert np.asarray(getattr(one, name)).tobytes() == np.asarray(getattr(other, name)).tobytes()


def test_other_byte_orders_and_layouts_arrive_as_the_same_numbers() -> None:
    numbers = np.arange(12.0).reshape(3, 4)
    arrays = {"big": numbers.astype(">f8"), "turned": numbers.T, "every": numbers[:, ::2], "flags": numbers > 3}
    for name, array in received(Message("x", {}, arrays).to_bytes()).arrays.items():
        np.testing.assert_array_equal(array, arrays[name])


def test_two_frames_in_one_piece_are_two_frames() -> None:
    data, buffer = Message("one").to_bytes() + Message("two").to_bytes(), Buffer()
    parts = [data]
    for kind in ("one", "two"):
        message = Message.read(lambda n: buffer.take(n, lambda: parts.pop(0)))
        assert message.kind == kind


@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_a_damaged_frame_is_refused_or_differs_in_numbers_only(place: int, flip: int) -> None:
    data = bytearray(Message("labels", {"a": 1}, {"x": np.arange(4.0), "n": np.arange(3)}).to_bytes())
    data[place % len(data)] ^= flip
    try:
        message = received(bytes(data))
    except (ProtocolError, EOFError, MemoryError, OverflowError):
        return
    assert set(message.arrays) <= {name for name in message.arrays if message.arrays[name].dtype.kind in "biuf"}


def test_another_version_is_said() -> None:
    data = bytearray(Message("x").to_bytes())
    data[4] = VERSION + 1
    with pytest.raises(ProtocolError, match=f"speaks version {VERSION + 1} of the protocol, not {VERSION}"):
        received(bytes(data))


@pytest.mark.parametrize("dtype", ["|O", "|S4", "<U4", "<M8[ns]"])
def test_only_numbers_are_read(dtype: str) -> None:
    data = Message("x", {}, {"a": np.zeros(2)}).to_bytes().replace(b'"<f8"', f'"{dtype}"'.encode())
    data = data[:6] + (len(data) - 18 - 16).to_bytes(4, "little") + data[10:]
    with pytest.raises(ProtocolError, match="damaged frame"):
        received(data)
