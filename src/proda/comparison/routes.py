"""Comparison of the routes by which profiles constrain models: which findings hold under which."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from proda.comparison.evidence import Evidence
from proda.comparison.finding_rules import FindingVerdict
from proda.comparison.findings import findings_table
from proda.comparison.model_files import AFTER, ROUTES, OpenedModel, routes_of

OF_POSTERIORS = ("preference", "parameters", "fit")
"""Tables without states, which are computed from the posteriors at sites."""
WITHOUT_POSTERIORS = "needs the posteriors of CLM5 and COMPAS at sites"


def findings_by_route(
    tables: Mapping[str, pd.DataFrame], models: Mapping[str, OpenedModel], not_comparable: str = ""
) -> pd.DataFrame:
    """Judge every finding under each route by which profiles constrain the models.

    Parameters
    ----------
    tables
        Tables of a comparison.
    models
        Models, which determine the routes.
    not_comparable
        Reason why models cannot be compared by evidence at sites; empty if they can.

    Returns
    -------
    pandas.DataFrame
        As :func:`~proda.comparison.findings.findings_table`, and the `route` of each row: "end to
        end" or "from posteriors".
    """
    parts = []
    for state in routes_of(models):
        why = not_comparable if state == AFTER else WITHOUT_POSTERIORS
        table = findings_table(Evidence(tables_of_route(tables, state), why))
        table.insert(3, "route", ROUTES[state])
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def tables_of_route(tables: Mapping[str, pd.DataFrame], state: str) -> dict[str, pd.DataFrame]:
    """Return the tables of one route, with its state renamed to "after".

    The rules therefore do not depend on routes.
    """
    others = [s for s in ROUTES if s != state]
    selected = {}
    for name, table in tables.items():
        if "state" in table:
            own = table[~table["state"].isin(others)]
            selected[name] = own.assign(state=own["state"].replace({state: AFTER}))
        elif name not in OF_POSTERIORS or state == AFTER:
            selected[name] = table
    return selected


def side_by_side(findings: pd.DataFrame) -> pd.DataFrame:
    """Return one row per finding, with the result of each route and where it holds.

    Parameters
    ----------
    findings
        Result of :func:`findings_by_route`.

    Returns
    -------
    pandas.DataFrame
        `id`, `section`, `paper`; for each route its verdict (in a column of the route's name) and
        `this run, ROUTE`, the numbers or the reason why it is not judged; `holds`
        (:func:`where_it_holds`) and `rule`.
    """
    first = findings.drop_duplicates("id").set_index("id")
    wide = first[["section", "paper"]].copy()
    for route in findings["route"].unique():
        own = findings[findings["route"] == route].set_index("id").reindex(wide.index)
        wide[route] = own["verdict"]
        says = own["run"].where(own["run"].notna() & (own["run"] != ""), own["reason"])
        wide[f"this run, {route}"] = says
    routes = list(findings["route"].unique())
    wide["holds"] = [
        where_it_holds(dict(zip(routes, row, strict=True)))
        for row in wide[routes].itertuples(index=False, name=None)
    ]
    return wide.assign(rule=first["rule"]).reset_index()


def where_it_holds(verdicts: Mapping[str, str]) -> str:
    """Return under which routes a finding holds.

    Examples
    --------
    >>> where_it_holds({"end to end": "agrees", "from posteriors": "disagrees"})
    'only end to end'
    >>> where_it_holds({"end to end": "cannot be judged", "from posteriors": "agrees"})
    'from posteriors, not judged end to end'
    """
    holds = [route for route, v in verdicts.items() if v == FindingVerdict.AGREES]
    fails = [route for route, v in verdicts.items() if v == FindingVerdict.DISAGREES]
    open_ = [route for route in verdicts if route not in holds and route not in fails]
    if not fails and not holds:
        return "not judged"
    if not open_:
        return f"only {' and '.join(holds)}" if holds and fails else "yes" if holds else "no"
    return f"{' and '.join(holds) or 'not ' + fails[0]}, not judged {' and '.join(open_)}"
