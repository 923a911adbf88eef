"""The errors a user can meet. Each says what is wrong, where, and what to do."""

from __future__ import annotations

import unicodedata

_KEPT = "\n\t"
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: control, format (which turns the direction of text), lone surrogates, line
and paragraph separators."""


def printable(text: str) -> str:
    """Return text with "?" for each character that would command a terminal, not show on it.

    Escape sequences in a file's name or attributes could otherwise clear the screen, change colours
    or the title, or show one name in place of another.
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(c if c in _KEPT or unicodedata.category(c) not in _UNSAFE else "?" for c in text)


class ProdaError(ValueError):
    """Base of every error raised for bad input; the command line prints it and exits 2."""


class ForcingError(ProdaError):
    """A forcing data set lacks a variable, or one has a wrong unit, shape or value."""


class ParameterError(ProdaError):
    """A parameter is unknown, missing, of the wrong shape, or outside its bounds."""


class ModelError(ProdaError):
    """A model or one of its variants is not known."""


class FileError(ProdaError):
    """A file cannot be read or written."""


class ObservationError(ProdaError):
    """A table of soil profiles lacks a column, or its settings or values make no sense."""


class SiteError(ProdaError):
    """A table of sites lacks a column, or holds a site twice."""


class CovariateError(ProdaError):
    """A grid of covariates lacks a variable or a class, or holds one that it does not explain."""


class DownloadError(ProdaError):
    """A data set is not in the catalogue, or could not be downloaded whole."""


class DiagnosticsError(ProdaError):
    """Posterior draws or observations have shapes or values that a diagnostic cannot judge."""


class AssimilationError(ProdaError):
    """Settings of a data assimilation make no sense, or a run cannot be continued."""


class ExecutorError(ProdaError):
    """Work cannot be spread over processes or a cluster, or one of its workers died."""


class MapError(ProdaError):
    """A map lacks a variable, or lies on another grid than what it is compared with."""


class LearningError(ProdaError):
    """Training data, settings or a trained network do not fit together."""


class StudyError(ProdaError):
    """The settings of a study are not valid, or its folder cannot be resumed."""


class ComparisonError(ProdaError):
    """Models, maps or sites that are to be compared do not fit together."""
