"""The messages of PaiNN and their derivatives, edge by edge, over a list that is sorted by center.

A filter of the distance is not a product of a basis with a matrix but a cubic Hermite spline between grid points.
Nothing of the size "edges times channels" is ever stored: the backward pass evaluates the spline once more, and
gathers at each sender what its receivers hand back. The list holds every pair in both directions, so receivers of an
atom's messages are its own neighbors, no two atoms write the same row, and any range of atoms can be done by itself.

Rows of vectors are [x | y | z], each of C channels. Rows of content and of tables are made of blocks of sixteen
channels, in which what belongs to scalars, to the direction and to vectors stands side by side: few pointers lead to
all that a block of a message needs.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mlff_distiller.core.compiling import compiled
from mlff_distiller.students.kernels.simd import LANES, load, splat, store, total

Array = NDArray[np.floating]
Integers = NDArray[np.integer]


class Edges(NamedTuple):
    """A list of pairs sorted by center, what is prepared of it, and derivatives.

    Parameters
    ----------
    ptr : (N + 1,) int64
        First edge of each center.
    senders : (E,) int64
        Neighbor of each edge.
    vectors : (E, 3)
        From center to neighbor, Angstrom.
    knots : (E,) int32
        Grid point below the distance.
    weights : (E, 6)
        Weights of slope, rise and next slope in the filter, whose value has weight one, then their weights in the
        derivative by the distance.
    directions : (E, 4)
        Unit vector and inverse distance.
    gradient : (E, 3)
        Derivative of the energy by (center - neighbor), as the center sends to the neighbor.
    """

    ptr: Integers
    senders: Integers
    vectors: Array
    knots: Integers
    weights: Array
    directions: Array
    gradient: Array


@compiled
def splines(begin, end, edges, inverse_step, n_points, exact):
    """Prepare the edges of some centers: grid point, weights of a spline and of its slope, direction.

    Parameters
    ----------
    begin, end : int
        Range of centers.
    edges : Edges
        Its vectors are read; knots, weights and directions are written.
    inverse_step : float
        Grid points per Angstrom.
    n_points : int
        Grid points.
    exact : bool
        Whether the table has a row for each edge instead, with the value and the derivative at its distance.
    """
    vectors, knots, weights, directions = edges.vectors, edges.knots, edges.weights, edges.directions
    one = inverse_step / inverse_step
    for e in range(edges.ptr[begin], edges.ptr[end]):
        x, y, z = vectors[e, 0], vectors[e, 1], vectors[e, 2]
        distance = np.sqrt(x * x + y * y + z * z)
        inverse = one / distance
        place = distance * inverse_step
        knot = min(int(place), n_points - 2)
        t = min(place - knot, one)  # beyond the cutoff the last point holds, which is zero
        knots[e] = knot
        weights[e, 0] = t * (one - t) * (one - t)
        weights[e, 1] = t * t * (one + one + one - t - t)
        weights[e, 2] = t * t * (t - one)
        weights[e, 3] = ((t + t + t) - one) * (t - one) * inverse_step
        weights[e, 4] = (one + one) * (t + t + t) * (one - t) * inverse_step
        weights[e, 5] = t * (t + t + t - one - one) * inverse_step
        directions[e, 0], directions[e, 1], directions[e, 2] = x * inverse, y * inverse, z * inverse
        directions[e, 3] = inverse
        if exact:
            knots[e] = e
            weights[e] = 0
            weights[e, 3] = one


_KIND = 3 * LANES  # numbers of one kind of filter in a block of a table


@njit(inline="always")
def _terms(table, here, there):
    """Return what a spline is made of from one grid point, [value, slope, rise], to the next."""
    return load(table, here), load(table, here + LANES), load(table, here + 2 * LANES), load(table, there + LANES)


@njit(inline="always")
def _filter(table, here, there, w0, w1, w2):
    """Return sixteen filters."""
    a0, a1, a2, a3 = _terms(table, here, there)
    return a0 + w0 * a1 + w1 * a2 + w2 * a3


@compiled
def messages(begin, end, edges, table, content, v_in, q, v):
    """Add the messages that some centers receive to their scalars, and give their vectors.

    Parameters
    ----------
    begin, end, edges
        As in :func:`splines`.
    table : (G, C / 16, 3, 3, 16)
        At each grid point, for each kind of filter, its value, its slope and its rise to the next point.
    content : (N, C / 16, 3, 16)
        What atoms send.
    v_in : (N, 3, C)
        Vectors before the message.
    q : (N, C)
        Scalars, added to.
    v : (N, 3, C)
        Written: vectors after the message.
    """
    ptr, senders, knots, weights, directions = edges.ptr, edges.senders, edges.knots, edges.weights, edges.directions
    c = q.shape[1]
    c2, c3, width = 2 * c, 3 * c, 9 * c
    for i in range(begin, end):
        for f in range(0, c3, LANES):
            store(v, i * c3 + f, load(v_in, i * c3 + f))
        for e in range(ptr[i], ptr[i + 1]):
            j, row = senders[e] * c3, np.int64(knots[e]) * width
            w0, w1, w2 = splat(weights[e, 0]), splat(weights[e, 1]), splat(weights[e, 2])
            ux, uy, uz = splat(directions[e, 0]), splat(directions[e, 1]), splat(directions[e, 2])
            for f in range(0, c, LANES):
                x, here = j + 3 * f, row + 9 * f
                there = here + width
                a = _filter(table, here, there, w0, w1, w2) * load(content, x)
                store(q, i * c + f, load(q, i * c + f) + a)
                b = _filter(table, here + _KIND, there + _KIND, w0, w1, w2) * load(content, x + LANES)
                g = _filter(table, here + 2 * _KIND, there + 2 * _KIND, w0, w1, w2) * load(content, x + 2 * LANES)
                k = i * c3 + f
                store(v, k, load(v, k) + ux * b + g * load(v_in, j + f))
                store(v, k + c, load(v, k + c) + uy * b + g * load(v_in, j + c + f))
                store(v, k + c2, load(v, k + c2) + uz * b + g * load(v_in, j + c2 + f))


@compiled
def first_messages(begin, end, edges, species, table, content, q, v):
    """Do the same for the first layer, where content is that of an element and there are no vectors to pass on.

    Parameters
    ----------
    species : (N,)
        Index of each atom's element.
    table : (G, C / 16, 2, 3, 16)
        At each grid point, for each kind of filter, its value, its slope and its rise to the next point.
    content : (n_elements, C / 16, 2, 16)
        What elements send.
    begin, end, edges, q, v
        As in :func:`messages`.
    """
    ptr, senders, knots, weights, directions = edges.ptr, edges.senders, edges.knots, edges.weights, edges.directions
    c = q.shape[1]
    c2, c3, width = 2 * c, 3 * c, 6 * c
    zero = splat(q.dtype.type(0))
    for i in range(begin, end):
        for f in range(0, c3, LANES):
            store(v, i * c3 + f, zero)
        for e in range(ptr[i], ptr[i + 1]):
            j, row = np.int64(species[senders[e]]) * c2, np.int64(knots[e]) * width
            w0, w1, w2 = splat(weights[e, 0]), splat(weights[e, 1]), splat(weights[e, 2])
            ux, uy, uz = splat(directions[e, 0]), splat(directions[e, 1]), splat(directions[e, 2])
            for f in range(0, c, LANES):
                x, here = j + 2 * f, row + 6 * f
                there = here + width
                a = _filter(table, here, there, w0, w1, w2) * load(content, x)
                store(q, i * c + f, load(q, i * c + f) + a)
                b = _filter(table, here + _KIND, there + _KIND, w0, w1, w2) * load(content, x + LANES)
                k = i * c3 + f
                store(v, k, load(v, k) + ux * b)
                store(v, k + c, load(v, k + c) + uy * b)
                store(v, k + c2, load(v, k + c2) + uz * b)


@compiled
def messages_backward(begin, end, edges, table, content, v_in, gq, gv, g_content, gv_in):
    """Give the derivatives that some senders get back from their receivers.

    Parameters
    ----------
    begin, end : int
        Range of senders.
    gq, gv : (N, C), (N, 3, C)
        Derivatives of the energy by scalars and vectors after the message.
    g_content : (N, C / 16, 3, 16)
        Written: derivative by content.
    gv_in : (N, 3, C)
        Written: derivative by vectors before the message.
    edges, table, content, v_in
        As in :func:`messages`; here ``senders`` are read as receivers, and the gradient of the edges is added to.
    """
    ptr, senders, knots, weights, directions = edges.ptr, edges.senders, edges.knots, edges.weights, edges.directions
    c = gq.shape[1]
    c2, c3, width = 2 * c, 3 * c, 9 * c
    zero = splat(gq.dtype.type(0))
    for j in range(begin, end):
        for f in range(0, c3, LANES):
            store(g_content, j * c3 + f, zero)
            store(gv_in, j * c3 + f, load(gv, j * c3 + f))
        for e in range(ptr[j], ptr[j + 1]):
            i, row = np.int64(senders[e]), np.int64(knots[e]) * width
            w0, w1, w2 = splat(weights[e, 0]), splat(weights[e, 1]), splat(weights[e, 2])
            ux, uy, uz = splat(-directions[e, 0]), splat(-directions[e, 1]), splat(-directions[e, 2])
            gx, gy, gz = zero, zero, zero
            s0, s1, s2 = zero, zero, zero  # the sum over filters of each of their three terms
            for f in range(0, c, LANES):
                k, r, x, here = j * c3 + f, i * c3 + f, j * c3 + 3 * f, row + 9 * f
                there = here + width
                v0, v1, v2 = load(gv, r), load(gv, r + c), load(gv, r + c2)
                # scalars
                a0, a1, a2, a3 = _terms(table, here, there)
                back = load(gq, i * c + f)
                store(g_content, x, load(g_content, x) + (a0 + w0 * a1 + w1 * a2 + w2 * a3) * back)
                back = back * load(content, x)
                s0, s1, s2 = s0 + back * a1, s1 + back * a2, s2 + back * a3
                # along the direction
                a0, a1, a2, a3 = _terms(table, here + _KIND, there + _KIND)
                own, back = load(content, x + LANES), ux * v0 + uy * v1 + uz * v2
                w = a0 + w0 * a1 + w1 * a2 + w2 * a3
                store(g_content, x + LANES, load(g_content, x + LANES) + w * back)
                back, w = back * own, w * own
                s0, s1, s2 = s0 + back * a1, s1 + back * a2, s2 + back * a3
                gx, gy, gz = gx + w * v0, gy + w * v1, gz + w * v2
                # vectors
                a0, a1, a2, a3 = _terms(table, here + 2 * _KIND, there + 2 * _KIND)
                own = load(content, x + 2 * LANES)
                back = load(v_in, k) * v0 + load(v_in, k + c) * v1 + load(v_in, k + c2) * v2
                w = a0 + w0 * a1 + w1 * a2 + w2 * a3
                store(g_content, x + 2 * LANES, load(g_content, x + 2 * LANES) + w * back)
                back, w = back * own, w * own
                s0, s1, s2 = s0 + back * a1, s1 + back * a2, s2 + back * a3
                store(gv_in, k, load(gv_in, k) + w * v0)
                store(gv_in, k + c, load(gv_in, k + c) + w * v1)
                store(gv_in, k + c2, load(gv_in, k + c2) + w * v2)
            by_distance = total(_slope(weights, e, s0, s1, s2))
            _add_edge(edges.gradient, e, directions, by_distance, total(gx), total(gy), total(gz))


@njit(inline="always")
def _add_edge(g_edges, e, directions, by_distance, gx, gy, gz):
    """Add the derivative by the vector (sender - receiver), from those by its length and by its direction."""
    ux, uy, uz, inverse = -directions[e, 0], -directions[e, 1], -directions[e, 2], directions[e, 3]
    along = gx * ux + gy * uy + gz * uz
    g_edges[e, 0] += by_distance * ux + (gx - along * ux) * inverse
    g_edges[e, 1] += by_distance * uy + (gy - along * uy) * inverse
    g_edges[e, 2] += by_distance * uz + (gz - along * uz) * inverse


@compiled
def first_messages_backward(begin, end, edges, species, table, content, gq, gv):
    """Do the same for the first layer, where only the edges have derivatives.

    Parameters
    ----------
    begin, end, edges, species, table, content
        As in :func:`first_messages`.
    gq, gv
        As in :func:`messages_backward`.
    """
    ptr, senders, knots, weights, directions = edges.ptr, edges.senders, edges.knots, edges.weights, edges.directions
    c = gq.shape[1]
    c2, c3, width = 2 * c, 3 * c, 6 * c
    zero = splat(gq.dtype.type(0))
    for j in range(begin, end):
        own_row = np.int64(species[j]) * c2
        for e in range(ptr[j], ptr[j + 1]):
            i, row = np.int64(senders[e]), np.int64(knots[e]) * width
            w0, w1, w2 = splat(weights[e, 0]), splat(weights[e, 1]), splat(weights[e, 2])
            ux, uy, uz = splat(-directions[e, 0]), splat(-directions[e, 1]), splat(-directions[e, 2])
            gx, gy, gz = zero, zero, zero
            s0, s1, s2 = zero, zero, zero
            for f in range(0, c, LANES):
                r, x, here = i * c3 + f, own_row + 2 * f, row + 6 * f
                there = here + width
                v0, v1, v2 = load(gv, r), load(gv, r + c), load(gv, r + c2)
                a0, a1, a2, a3 = _terms(table, here, there)
                back = load(gq, i * c + f) * load(content, x)
                s0, s1, s2 = s0 + back * a1, s1 + back * a2, s2 + back * a3
                a0, a1, a2, a3 = _terms(table, here + _KIND, there + _KIND)
                own = load(content, x + LANES)
                w = (a0 + w0 * a1 + w1 * a2 + w2 * a3) * own
                back = (ux * v0 + uy * v1 + uz * v2) * own
                s0, s1, s2 = s0 + back * a1, s1 + back * a2, s2 + back * a3
                gx, gy, gz = gx + w * v0, gy + w * v1, gz + w * v2
            by_distance = total(_slope(weights, e, s0, s1, s2))
            _add_edge(edges.gradient, e, directions, by_distance, total(gx), total(gy), total(gz))


@njit(inline="always")
def _slope(weights, e, s0, s1, s2):
    """Return the derivative by the distance from the sums over filters of what the spline is made of."""
    return splat(weights[e, 3]) * s0 + splat(weights[e, 4]) * s1 + splat(weights[e, 5]) * s2
