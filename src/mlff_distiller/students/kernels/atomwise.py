"""What PaiNN does within atoms: its small networks by BLAS, the rest vector by vector, forward and backward.

All functions work on a range of atoms in blocks that stay in the processor's cache, and write into arrays that are
made once. Products call BLAS, whose library must be told to use one thread: threads share the atoms instead.
"""

import numpy as np

from mlff_distiller.core.compiling import compiled
from mlff_distiller.students.kernels.simd import LANES, exponential, load, root, splat, store

BLOCK = 64
"""Atoms done together."""


@compiled
def activated(h, bias, slopes):
    """Replace h (n, C) by silu(h + bias) and write its derivative (n, C)."""
    n, c = h.shape
    one = splat(h.dtype.type(1))
    zero = splat(h.dtype.type(0))
    for i in range(n):
        for f in range(0, c, LANES):
            k = i * c + f
            x = load(h, k) + load(bias, f)
            s = one / (one + exponential(zero - x, h.dtype.type))
            store(h, k, x * s)
            store(slopes, k, s * (one + x * (one - s)))


@compiled
def multiplied(a, b):
    """Multiply a (n, C) by b (n, C) in place."""
    for k in range(0, a.size, LANES):
        store(a, k, load(a, k) * load(b, k))


@compiled
def biased(a, bias):
    """Add bias (C,) to the rows of a (n, C) in place."""
    n, c = a.shape
    for i in range(n):
        for f in range(0, c, LANES):
            store(a, i * c + f, load(a, i * c + f) + load(bias, f))


@compiled
def perceptron(begin, end, x, first, bias, second, second_bias, slopes, out, hidden):
    """Apply a network of two layers to the rows of x (N, A): out (N, B) = silu(x first + bias) second + second_bias.

    Parameters
    ----------
    slopes : (N, H)
        Written: derivatives of the activation, for :func:`perceptron_backward`.
    hidden : (BLOCK, H)
        Room for the layer between.
    """
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        h = hidden[: stop - start]
        np.dot(x[start:stop], first, h)
        activated(h, bias, slopes[start:stop])
        np.dot(h, second, out[start:stop])
        biased(out[start:stop], second_bias)


@compiled
def perceptron_backward(begin, end, g_out, first_t, second_t, slopes, g_x, hidden):
    """Give the derivative by the rows of x (N, A) from that by the network's output (N, B); matrices are transposed."""
    for start in range(begin, end, BLOCK):
        stop = min(start + BLOCK, end)
        h = hidden[: stop - start]
        np.dot(g_out[start:stop], second_t, h)
        multiplied(h, slopes[start:stop])
        np.dot(h, first_t, g_x[start:stop])


@compiled
def mixed(begin, end, q, mixing, softening, joined):
    """From left and right vectors (N, 3, 2 C) and scalars make the input of the gates (N, 2 C): scalars and norms."""
    c = q.shape[1]
    c2 = 2 * c
    for i in range(begin, end):
        for f in range(0, c, LANES):
            k = i * 6 * c + c + f
            x, y, z = load(mixing, k), load(mixing, k + c2), load(mixing, k + 2 * c2)
            store(joined, i * c2 + f, load(q, i * c + f))
            store(joined, i * c2 + c + f, root(x * x + y * y + z * z + splat(softening)))


@compiled
def gated(begin, end, gates, mixing, q, v):
    """Add to scalars and vectors what the gates (N, 3 C) let through."""
    c = q.shape[1]
    c2, width = 2 * c, 3 * c
    for i in range(begin, end):
        for f in range(0, c, LANES):
            k, g = i * 6 * c + f, i * width + f
            lx, ly, lz = load(mixing, k), load(mixing, k + c2), load(mixing, k + 2 * c2)
            dot = lx * load(mixing, k + c) + ly * load(mixing, k + c2 + c) + lz * load(mixing, k + 2 * c2 + c)
            store(q, i * c + f, load(q, i * c + f) + load(gates, g) + load(gates, g + c) * dot)
            gate = load(gates, g + c2)
            store(v, g, load(v, g) + gate * lx)
            store(v, g + c, load(v, g + c) + gate * ly)
            store(v, g + c2, load(v, g + c2) + gate * lz)


@compiled
def gated_backward(begin, end, gates, mixing, gq, gv, g_gates, g_mixing):
    """Give the derivatives by gates and, as far as the gates do it, by left and right vectors."""
    c = gq.shape[1]
    c2, width = 2 * c, 3 * c
    for i in range(begin, end):
        for f in range(0, c, LANES):
            k, g = i * 6 * c + f, i * width + f
            lx, ly, lz = load(mixing, k), load(mixing, k + c2), load(mixing, k + 2 * c2)
            rx, ry, rz = load(mixing, k + c), load(mixing, k + c2 + c), load(mixing, k + 2 * c2 + c)
            back = load(gq, i * c + f)
            store(g_gates, g, back)
            store(g_gates, g + c, back * (lx * rx + ly * ry + lz * rz))
            dot, gate = back * load(gates, g + c), load(gates, g + c2)
            x, y, z = load(gv, g), load(gv, g + c), load(gv, g + c2)
            store(g_gates, g + c2, x * lx + y * ly + z * lz)
            store(g_mixing, k, dot * rx + gate * x)
            store(g_mixing, k + c2, dot * ry + gate * y)
            store(g_mixing, k + 2 * c2, dot * rz + gate * z)
            store(g_mixing, k + c, dot * lx)
            store(g_mixing, k + c2 + c, dot * ly)
            store(g_mixing, k + 2 * c2 + c, dot * lz)


@compiled
def mixed_backward(begin, end, g_joined, joined, mixing, gq, g_mixing):
    """Add the derivatives that come back through the input of the gates: to scalars and, by the norm, to vectors."""
    c = gq.shape[1]
    c2 = 2 * c
    for i in range(begin, end):
        for f in range(0, c, LANES):
            k = i * 6 * c + c + f
            store(gq, i * c + f, load(gq, i * c + f) + load(g_joined, i * c2 + f))
            ratio = load(g_joined, i * c2 + c + f) / load(joined, i * c2 + c + f)
            for axis in range(3):
                r = k + axis * c2
                store(g_mixing, r, load(g_mixing, r) + ratio * load(mixing, r))


@compiled
def added(begin, end, a, b):
    """Add the rows of b (N, A) to those of a (N, A)."""
    c = a.shape[1]
    for k in range(begin * c, end * c, LANES):
        store(a, k, load(a, k) + load(b, k))
