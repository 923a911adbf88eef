"""Fits that several models share are made once."""

import numpy as np

from proda.learning import fit_memory
from proda.learning.fit_memory import fitted_once


def test_an_equal_call_is_not_computed_again(monkeypatch):
    calls = []

    def fit(table, seed, settings):
        calls.append(seed)
        return {"mean": table.mean(axis=0) + seed}

    table = np.arange(12.0).reshape(4, 3)
    first = fitted_once(fit, table, 1, {"rate": 0.1})
    first["other"] = np.zeros(1)
    second = fitted_once(fit, table.copy(), 1, {"rate": 0.1})
    assert list(second) == ["mean"]
    assert second["mean"] is first["mean"]
    assert calls == [1]
    for arguments in ((table, 2, {"rate": 0.1}), (table, 2, {"rate": 0.2}), (table + 1, 2, {})):
        fitted_once(fit, *arguments)
    assert calls == [1, 2, 2, 2]
    monkeypatch.setattr(fit_memory, "CAPACITY", 1)
    fitted_once(fit, table, 3, {})
    fitted_once(fit, table, 1, {"rate": 0.1})
    fitted_once(fit, table, 3, {})
    assert calls[-3:] == [3, 1, 3]
