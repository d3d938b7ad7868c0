"""What frames an evaluation: rows of a sorted list before it, forces and virials from derivatives by edges after it."""

import numpy as np

from mlff_distiller.core.compiling import compiled


@compiled
def rows(centers, neighbors, ptr):
    """Write the first edge of each center to ptr (N + 1,).

    Returns
    -------
    int
        0; 1 if the centers (E,) are not sorted; 2 if an atom is not as often a neighbor as a center.
    """
    n_edges, i = len(centers), 0
    ptr[0] = 0
    balance = np.zeros(len(ptr) - 1, np.int64)
    for e in range(n_edges):
        if e > 0 and centers[e] < centers[e - 1]:
            return 1
        while i < centers[e]:
            i += 1
            ptr[i] = e
        balance[centers[e]] += 1
        balance[neighbors[e]] -= 1
    while i < len(ptr) - 1:
        i += 1
        ptr[i] = n_edges
    return 2 if balance.any() else 0


@compiled
def shares(ptr, per_atom, limits):
    """Write to limits (T + 1,) the first atom of each of T threads, so that all have as much to do.

    Parameters
    ----------
    ptr : (N + 1,) int64
        First edge of each atom.
    per_atom : int
        What an atom costs, in edges.
    limits : (T + 1,) int64
        Written.
    """
    n_atoms, n_threads = len(ptr) - 1, len(limits) - 1
    whole = ptr[n_atoms] + per_atom * n_atoms
    limits[0], i = 0, 0
    for thread in range(1, n_threads):
        while i < n_atoms and (ptr[i] + per_atom * i) * n_threads < whole * thread:
            i += 1
        limits[thread] = i
    limits[n_threads] = n_atoms


@compiled
def any_within(centers, neighbors, vectors, species, ranges):
    """Return whether any edge is shorter than the range (n_elements, n_elements) of its pair of elements."""
    for e in range(len(centers)):
        x, y, z = vectors[e, 0], vectors[e, 1], vectors[e, 2]
        reach = ranges[species[centers[e]], species[neighbors[e]]]
        if x * x + y * y + z * z < reach * reach:
            return True
    return False


@compiled
def collect_energies(output, species, reference, scale, system, atomic_energies, energy):
    """Give energies of atoms (N,) and structures (S,), eV, from the network's output (N,)."""
    energy[:] = 0
    for i in range(len(system)):
        atomic_energies[i] = reference[species[i]] + scale * output[i]
        energy[system[i]] += atomic_energies[i]


@compiled
def collect_forces(ptr, neighbors, gradient, scale, forces):
    """Give forces (N, 3), eV/Angstrom.

    Parameters
    ----------
    ptr : (N + 1,) int64
        First edge of each atom.
    neighbors : (E,)
        Other atom of each edge.
    gradient : (E, 3)
        Derivative of the network's output by (atom - neighbor), of the message that the neighbor gets from the atom.
    scale : float
        eV.
    forces : (N, 3) float64
        Written.
    """
    forces[:] = 0
    for j in range(len(ptr) - 1):
        x, y, z = 0.0, 0.0, 0.0
        for e in range(ptr[j], ptr[j + 1]):
            gx, gy, gz = scale * gradient[e, 0], scale * gradient[e, 1], scale * gradient[e, 2]
            x, y, z = x + gx, y + gy, z + gz
            i = neighbors[e]
            forces[i, 0] += gx
            forces[i, 1] += gy
            forces[i, 2] += gz
        forces[j, 0] -= x
        forces[j, 1] -= y
        forces[j, 2] -= z


@compiled
def collect_virials(ptr, vectors, gradient, scale, system, virial):
    """Give dE/d(strain) of structures (S, 3, 3), eV, symmetric; arguments are those of :func:`collect_forces`."""
    virial[:] = 0
    for j in range(len(ptr) - 1):
        own = virial[system[j]]
        for e in range(ptr[j], ptr[j + 1]):
            for a in range(3):
                for b in range(3):
                    one, other = vectors[e, a] * gradient[e, b], vectors[e, b] * gradient[e, a]
                    own[a, b] -= scale * 0.5 * (np.float64(one) + np.float64(other))
