"""Numbers on the command line are written in digits 0-9 and finite; others are refused."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from proda.cli import app
from proda.cli.assimilate import _options
from proda.cli.numbers import number, whole_number
from proda.cli.stopping import seconds
from proda.errors import ProdaError

WRONG = ["1_0", "١", "nan", "inf", "-inf", "1e400", "0x10", "", "1,5", "１"]


@pytest.mark.parametrize("text", WRONG)
def test_slips_are_refused(text):
    for parse in (number, whole_number):
        with pytest.raises(ValueError, match="is not a"):
            parse(text)
    for call in (lambda: _options([f"kept={text}"]), lambda: seconds(f"{text}h")):
        with pytest.raises(ProdaError):
            call()


def test_numbers_as_people_write_them_are_taken():
    assert [number(t) for t in ("1", "-2.5", "+.5", "3.", "1e-3", "1E5")] == [
        1.0,
        -2.5,
        0.5,
        3.0,
        1e-3,
        1e5,
    ]
    assert [whole_number(t) for t in ("0", "-7", "007")] == [0, -7, 7]
    assert _options(["kept=100", "adapt=true"]) == {"kept": 100, "adapt": True}
    assert seconds("11.5h") == 41400.0


@pytest.mark.parametrize(
    "arguments",
    [
        ["diagnose", "x", "--max-rhat"],
        ["export", "posterior", "x", "-o", "y", "--thin"],
        ["train", "a", "b", "c", "--seed"],
    ],
)
def test_every_option_of_a_command_is_strict(arguments):
    for text in ("1_0", "١", "1e400"):
        done = CliRunner().invoke(app, [*arguments, text])
        assert done.exit_code == 2
        assert "is not a" in done.output
    right = CliRunner().invoke(app, [*arguments, "2"])  # goes on to the file, which is not there
    assert isinstance(right.exception, ProdaError)
