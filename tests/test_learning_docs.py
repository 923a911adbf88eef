"""The Python of docs/learning.md runs as it stands, on a synthetic world."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import HERE
from tests.learning_worlds import covariates, posterior
from tests.test_docs import code


def test_examples_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = covariates(160, 1)
    table.to_parquet("sites.parquet", index=False)
    posterior(table, 1).to_netcdf("posterior.nc")
    covariates(50, 2).drop(columns="site").to_parquet("cells.parquet", index=False)
    blocks = code(HERE.parent / "docs" / "learning.md", "python")
    assert len(blocks) == 2
    exec(compile("\n".join(blocks), "learning.md", "exec"), {})
    assert "nearest_site" in capsys.readouterr().out
    assert not Path("training.npz").exists()
