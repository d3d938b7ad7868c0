"""Ways to evaluate a student: the eager network, compiled forms of it, and our own kernels."""

from mlff_distiller.core.registry import Registry

BACKENDS = Registry(
    "backend",
    {
        "eager": "mlff_distiller.students.backends.backend:Eager",
        "compile": "mlff_distiller.students.backends.compiled:Compiled",
        "package": "mlff_distiller.students.backends.package:Package",
        "kernel": "mlff_distiller.students.backends.kernel:Kernel",
        "triton": "mlff_distiller.students.backends.triton:Triton",
    },
)
"""Backends by the name in ``StudentCalculator(path, backend=name)``."""
