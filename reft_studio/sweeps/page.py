"""All that a sweep found as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reft_studio.errors import StudioError
from reft_studio.sweeps import filters, overview, stress_matrix
from reft_studio.sweeps import reference as sweep_reference
from reft_studio.sweeps import table as sweep_table
from reft_studio.sweeps.spec import SweepSpec
from reft_studio.workspace import Workspace


def markdown(workspace: Workspace, spec: SweepSpec, found: Sequence[Mapping[str, Any]], *, columns: Sequence[str] | None = None) -> str:
    """The table of a sweep, what its filters remove, and its differences to the variants that it names; of attacks, a matrix.

    `columns`: only these of the values. Lines of which no run was done are left out, and counted.
    """
    every = sweep_table.summarised(found)
    table = [line for line in every if line.seeds or line.failed]
    if stress_matrix.is_stress(spec):
        return stress_matrix.as_markdown(table, spec)
    plain = sweep_reference.plain_of(found)
    parts = [
        sweep_table.as_markdown(table, spec, columns=columns),
        "" if len(table) == len(every) else f"\n{len(every) - len(table):,} of {len(every):,} lines have not been run and are left out.\n",
        stress_matrix.harm_markdown(table, spec),
        overview.as_markdown(table),
        filters.as_markdown(found),
        *(_against(workspace, found, reference) for reference in spec.against or ((plain,) if plain else ())),
    ]
    return "".join(parts)


def _against(workspace: Workspace, found: Sequence[Mapping[str, Any]], reference: str) -> str:
    """The differences, or why there are none: a run may have been deleted, or evaluated in another way, since."""
    try:
        return sweep_reference.as_markdown(sweep_reference.against(workspace, found, reference), reference)
    except StudioError as exc:
        return f"\n## Against {reference}\n\nWithheld: {exc}\n"
