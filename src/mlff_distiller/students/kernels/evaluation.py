"""One energy-and-forces call of PaiNN as one function that every thread of a team runs on its own share of the atoms.

Threads meet at barriers, since a message reads what others have written. With one thread a barrier is nothing.
"""

from typing import NamedTuple

import numpy as np

from mlff_distiller.core.compiling import compiled
from mlff_distiller.students.kernels.atomwise import (
    BLOCK,
    activated,
    added,
    gated,
    gated_backward,
    mixed,
    mixed_backward,
    perceptron,
    perceptron_backward,
)
from mlff_distiller.students.kernels.messages import (
    Array,
    first_messages,
    first_messages_backward,
    messages,
    messages_backward,
    splines,
)
from mlff_distiller.students.kernels.threads import wait_for_all


class Weights(NamedTuple):
    """Parameters of L layers of C channels, padded with zeros to whole vectors; ``_t`` marks a transposed copy.

    Layers stand behind each other; what belongs to messages begins at the second layer.
    """

    scalars: Array  # (n_elements, C)
    first_content: Array  # (n_elements, C / 16, 2, 16)
    first_table: Array  # (G, C / 16, 2, 3, 16)
    tables: Array  # (L - 1, G, C / 16, 3, 3, 16)
    content: Array  # (L - 1, C, C)
    content_t: Array
    content_bias: Array  # (L - 1, C)
    content_out: Array  # (L - 1, C, 3 C)
    content_out_t: Array
    content_out_bias: Array  # (L - 1, 3 C)
    mix: Array  # (L, C, 2 C)
    mix_t: Array
    gate: Array  # (L, 2 C, C)
    gate_t: Array
    gate_bias: Array  # (L, C)
    gate_out: Array  # (L, C, 3 C)
    gate_out_t: Array
    gate_out_bias: Array  # (L, 3 C)
    readout: Array  # (C, H)
    readout_t: Array
    readout_bias: Array  # (H,)
    readout_out: Array  # (H,)
    readout_out_bias: Array  # (1,)
    grid: Array  # (1,) grid points per Angstrom
    softening: Array  # (1,)


class Room(NamedTuple):
    """What a call keeps from the forward for the backward pass, and where derivatives go."""

    q: Array  # (N, C)
    v: Array  # (L, N, 3, C)
    content: Array  # (L - 1, N, 3 C)
    content_slopes: Array  # (L - 1, N, C)
    mixing: Array  # (L, N, 3, 2 C)
    joined: Array  # (L, N, 2 C)
    gates: Array  # (L, N, 3 C)
    gate_slopes: Array  # (L, N, C)
    gq: Array  # (N, C)
    gv: Array  # (2, N, 3, C)
    g_rows: Array  # (N, 3 C), of gates or content
    g_mixing: Array  # (N, 3, 2 C)
    g_joined: Array  # (N, 2 C)
    g_scalars: Array  # (N, C)
    hidden: Array  # (n_threads, BLOCK, C)
    back: Array  # (n_threads, 3 BLOCK, C)
    readout: Array  # (n_threads, 2, BLOCK, H)


@compiled
def evaluate(thread, barrier, n_threads, shares, species, edges, weights, room, energies, backward, exact):
    """Give the network's output for atoms and, in ``edges.gradient``, its derivatives by the edge vectors.

    Parameters
    ----------
    thread : int
        Which thread this is.
    barrier : (3 * 8,) int64
        Where they meet; see :func:`~mlff_distiller.students.kernels.threads.wait_for_all`.
    n_threads : int
        Of how many.
    shares : (n_threads + 1,) int64
        First atom of each thread.
    species : (N,)
        Index of each atom's element.
    edges : Edges
        The list of pairs.
    weights : Weights
        Parameters.
    room : Room
        Written.
    energies : (N,) float64
        Written: output of the network.
    backward : bool
        Whether derivatives are wanted.
    exact : bool
        Whether tables hold a row for each edge.
    """
    begin, end = shares[thread], shares[thread + 1]
    n_layers, hidden = weights.mix.shape[0], room.hidden[thread]
    splines(begin, end, edges, weights.grid[0], weights.first_table.shape[0], exact)
    for i in range(begin, end):
        room.q[i] = weights.scalars[species[i]]
    for layer in range(n_layers):
        _message(begin, end, layer, species, edges, weights, room)
        _update(begin, end, layer, weights, room, hidden)
        if layer + 1 < n_layers:
            perceptron(
                begin,
                end,
                room.q,
                weights.content[layer],
                weights.content_bias[layer],
                weights.content_out[layer],
                weights.content_out_bias[layer],
                room.content_slopes[layer],
                room.content[layer],
                hidden,
            )
            wait_for_all(barrier, n_threads)
    _readout(begin, end, weights, room, room.readout[thread], energies)
    if backward:
        edges.gradient[edges.ptr[begin] : edges.ptr[end]] = 0
        for layer in range(n_layers - 1, -1, -1):
            _update_backward(begin, end, layer, weights, room, hidden, room.back[thread])
            wait_for_all(barrier, n_threads)
            _message_backward(begin, end, layer, species, edges, weights, room)
            if layer > 0:
                perceptron_backward(
                    begin,
                    end,
                    room.g_rows,
                    weights.content_t[layer - 1],
                    weights.content_out_t[layer - 1],
                    room.content_slopes[layer - 1],
                    room.g_scalars,
                    hidden,
                )
                wait_for_all(barrier, n_threads)  # others read gq
                added(begin, end, room.gq, room.g_scalars)


@compiled
def _message(begin, end, layer, species, edges, weights, room):
    if layer == 0:
        first_messages(begin, end, edges, species, weights.first_table, weights.first_content, room.q, room.v[0])
    else:
        messages(
            begin,
            end,
            edges,
            weights.tables[layer - 1],
            room.content[layer - 1],
            room.v[layer - 1],
            room.q,
            room.v[layer],
        )


@compiled
def _update(begin, end, layer, weights, room, hidden):
    c = room.q.shape[1]
    v, mixing = room.v[layer], room.mixing[layer]
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        n = 3 * (stop - start)
        np.dot(v[start:stop].reshape(n, c), weights.mix[layer], mixing[start:stop].reshape(n, 2 * c))
        mixed(start, stop, room.q, mixing, weights.softening[0], room.joined[layer])
        perceptron(
            start,
            stop,
            room.joined[layer],
            weights.gate[layer],
            weights.gate_bias[layer],
            weights.gate_out[layer],
            weights.gate_out_bias[layer],
            room.gate_slopes[layer],
            room.gates[layer],
            hidden,
        )
        gated(start, stop, room.gates[layer], mixing, room.q, v)


@compiled
def _readout(begin, end, weights, room, scratch, energies):
    """Give the energies, and the derivative by the scalars and vectors that they are made of."""
    n_hidden = weights.readout_out.shape[0]
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        n = stop - start
        h, slopes = scratch[0, :n], scratch[1, :n]
        np.dot(room.q[start:stop], weights.readout, h)
        activated(h, weights.readout_bias, slopes)
        for i in range(n):
            energy = np.float64(weights.readout_out_bias[0])
            for f in range(n_hidden):
                energy += h[i, f] * weights.readout_out[f]
                slopes[i, f] *= weights.readout_out[f]
            energies[start + i] = energy
        np.dot(slopes, weights.readout_t, room.gq[start:stop])
    room.gv[(weights.mix.shape[0] - 1) % 2, begin:end] = 0


@compiled
def _update_backward(begin, end, layer, weights, room, hidden, back):
    c = room.q.shape[1]
    mixing, gv, g_mixing = room.mixing[layer], room.gv[layer % 2], room.g_mixing
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        n = 3 * (stop - start)
        gated_backward(start, stop, room.gates[layer], mixing, room.gq, gv, room.g_rows, g_mixing)
        perceptron_backward(
            start,
            stop,
            room.g_rows,
            weights.gate_t[layer],
            weights.gate_out_t[layer],
            room.gate_slopes[layer],
            room.g_joined,
            hidden,
        )
        mixed_backward(start, stop, room.g_joined, room.joined[layer], mixing, room.gq, g_mixing)
        np.dot(g_mixing[start:stop].reshape(n, 2 * c), weights.mix_t[layer], back[:n])
        added(0, n, gv[start:stop].reshape(n, c), back)


@compiled
def _message_backward(begin, end, layer, species, edges, weights, room):
    gv = room.gv[layer % 2]
    if layer == 0:
        first_messages_backward(begin, end, edges, species, weights.first_table, weights.first_content, room.gq, gv)
        return
    messages_backward(
        begin,
        end,
        edges,
        weights.tables[layer - 1],
        room.content[layer - 1],
        room.v[layer - 1],
        room.gq,
        gv,
        room.g_rows,
        room.gv[(layer - 1) % 2],
    )
