"""`inv build.matrix`: locks first, then the plans of all ISOs, their tree, and an engine that executes it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.build import iso_build, planning
from synos_tasks.build.iso_build import BuildResult
from synos_tasks.build.matrix.engine import named
from synos_tasks.build.matrix.tree import Iso, Segment, tree_of
from synos_tasks.build.matrix.view import view_for
from synos_tasks.build.view import plan_of
from synos_tasks.errors import SynosError
from synos_tasks.iso import codec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from synos_tasks.build.iso_build import Options
    from synos_tasks.build.matrix.engine import Engine, Result
    from synos_tasks.build.matrix.wanted import Asked
    from synos_tasks.build.planning import Context


@dataclass(frozen=True)
class Matrix:
    """All ISOs of a matrix, planned; those that are there already, and the tree of the others."""

    isos: Sequence[Iso]
    there: Mapping[str, BuildResult]
    tree: Sequence[Segment]


def options_of(one: Asked, options: Options) -> Options:
    """Return the options of `inv build.iso` for one ISO."""
    return dataclasses.replace(options, profile=one.text, release=one.variant == "release")


def outlined(context: Context, asked: Sequence[Asked], options: Options) -> Matrix:
    """Return what a dry run shows: it starts nothing, so that keys are those of the build only where locks fit."""
    plans = [plan_of(context, options_of(one, options))[0] for one in asked]
    isos = [Iso(name=one.name, asked=one.text, plan=plan) for one, plan in zip(asked, plans, strict=True)]
    return Matrix(isos, {}, tree_of(isos))


def planned(context: Context, asked: Sequence[Asked], options: Options) -> Matrix:
    """Write the locks that do not fit, and plan; raises a SynosError where that fails for one ISO."""
    builds = [
        iso_build.begin(named(context, one.name), options_of(one, options), one.profile) for one in asked
    ]
    planning.preflight(context, options.output)
    # a profile starts from the lock of its ancestor, and so shares layers with it
    for profile in sorted((one.profile for one in asked), key=lambda profile: len(profile.ancestors)):
        if planning.fitting_lock(context.settings, profile) is None:
            planning.renew_lock(context, profile, update=False)
    isos, there = [], {}
    for one, build in zip(asked, builds, strict=True):
        lock = planning.required_lock(context.settings, one.profile, "--locked")
        plan = planning.plan_build(context, one.profile, lock, release=build.options.release)
        isos.append(Iso(name=one.name, asked=one.text, plan=plan))
        if result := build.already():
            there[one.name] = result
    return Matrix(isos, there, tree_of([iso for iso in isos if iso.name not in there]))


def build(matrix: Matrix, engine: Engine) -> dict[str, Result]:
    """Make the ISOs that are not there; return how each ended, in the order in which they were asked for."""
    with view_for([iso for iso in matrix.isos if iso.name not in matrix.there]) as view:
        results = {**matrix.there, **engine.run(matrix.tree, view.handle)}
    return {iso.name: results[iso.name] for iso in matrix.isos}


def failure(results: Mapping[str, Result]) -> SynosError | None:
    """Return the error for all ISOs that failed, of the kind of the first; None where none did."""
    failed: dict[SynosError, list[str]] = {}
    for name, result in results.items():
        if isinstance(result, SynosError):
            failed.setdefault(result, []).append(name)
    if not failed:
        return None
    names = [name for group in failed.values() for name in group]
    kind = type(next(iter(failed)))
    error = kind(
        f"{len(names)} of {len(results)} ISOs failed: {', '.join(names)}",
        hint="run the same command again: what was made is in the store",
    )
    error.others = tuple(_of(one, group) for one, group in failed.items())
    return error


def _of(error: SynosError, names: Sequence[str]) -> SynosError:
    parts = {"where": error.where, "why": error.why, "hint": error.hint}
    named = type(error)(f"{', '.join(names)}: {error.what}", **parts)
    named.others = error.others
    return named


def fields_of(matrix: Matrix, results: Mapping[str, Result]) -> dict[str, Any]:
    """Return the JSON of a matrix; ``results`` may be empty, as in a dry run."""
    isos = []
    for iso in matrix.isos:
        profile, result = iso.plan.profile, results.get(iso.name)
        variant = "release" if iso.plan.release else "layers"
        fields: dict[str, Any] = {
            "name": iso.name,
            "profile": profile.name,
            "suite": profile.suite,
            "variant": variant,
        }
        if isinstance(result, BuildResult):
            fields |= codec.to_data(result)
        elif result:
            fields["error"] = result.to_json()
        isos.append(fields)
    segments = [
        {
            "isos": [iso.name for iso in one.isos],
            "after": matrix.tree.index(one.after) if one.after else None,
            "stages": [{"name": stage.name, "key": stage.key} for stage in one.stages],
        }
        for one in matrix.tree
    ]
    return {"isos": isos, "segments": segments}
