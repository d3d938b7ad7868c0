"""Compiled functions where nothing can be kept."""

import numba
import numpy as np

from mlff_distiller.core.compiling import compiled


def double(x):
    for k in range(len(x)):
        x[k] *= 2


def test_nothing_need_be_writable(monkeypatch):
    real = numba.njit

    def njit(*functions, **settings):
        if settings.get("cache"):
            raise RuntimeError("cannot cache function 'double': no locator available for file")
        return real(*functions, **settings)

    monkeypatch.setattr(numba, "njit", njit)
    values = np.arange(3.0)
    compiled(double)(values)
    assert values.tolist() == [0, 2, 4]
