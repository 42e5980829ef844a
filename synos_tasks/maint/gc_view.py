"""What a person sees of garbage collection's rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from synos_tasks import console

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.maint.gc_policy import Change, Policy
    from synos_tasks.maint.gc_rules import Rule

OFF = "garbage collection is off: no build cache is ever dropped, until the disk is full"

TURNS_ON = "garbage collection on, for every project's build cache on this machine"


def show(policy: Policy) -> None:
    """Show the rules in force, what daemon.json says, what that means for our cache mounts, and the proposal."""
    if policy.in_force:
        _rules(f"rules in force, engine {policy.daemon.version}", policy.in_force)
    else:
        console.say(f"engine {policy.daemon.version}: {OFF}")
    written = policy.file.gc
    told = "nothing of garbage collection" if written is None else json.dumps(written)
    console.say(f"{policy.file.path} says {told}")
    console.say(_verdict(policy))
    if policy.is_in_force and policy.is_written:
        return
    size = console.human_bytes(policy.disk_bytes)
    _rules(f"proposed, for a disk of {size}", policy.proposed)
    if policy.turns_on:
        console.say(f"writing the proposal turns {TURNS_ON}")


def question(policy: Policy) -> str:
    """Say what a person is asked before it is written."""
    if policy.turns_on:
        return f"This turns {TURNS_ON}. Write it into {policy.file.path}?"
    return f"Write this into {policy.file.path}?"


def show_state(policy: Policy, *, asked: bool) -> None:
    """Say what is left to do, where nothing is written; ``asked``: that somebody wants it written."""
    if policy.is_written and not policy.is_in_force:
        _restart(policy)
    elif policy.is_written:
        console.say("nothing to do: the engine goes by the proposed rules")
    elif not asked:
        console.say("`inv maint.gc-policy --write` writes the proposal, after asking")


def show_change(change: Change) -> None:
    """Show the lines that differ."""
    console.say("\n".join(change.diff))


def show_written(policy: Policy, copy: Path | None) -> None:
    """Say what was written, and what is left to do."""
    kept = f"; the file of before is {copy.name} beside it" if copy else ""
    console.say(f"written: {policy.file.path}{kept}")
    _restart(policy)


def _restart(policy: Policy) -> None:
    console.say("the engine reads it when it starts; when it suits you:")
    console.say(f"  {policy.daemon.restart_hint()}")


def _verdict(policy: Policy) -> str:
    ours = f"our {len(policy.mounts)} cache mounts ({', '.join(policy.mounts)})"
    if policy.is_in_force:
        return f"{ours} are kept: only {_numbers(policy.dropping)} may drop them"
    if policy.dropping:
        return f"{ours} may be dropped, by {_numbers(policy.dropping)}"
    return f"{ours} are not dropped by any rule"


def _numbers(numbers: Sequence[int]) -> str:
    return f"rule{'s' if len(numbers) > 1 else ''} {' and '.join(map(str, numbers))}"


def _rules(title: str, rules: Sequence[Rule]) -> None:
    rows = [
        [str(number), rule.words, "may go" if rule.drops_mounts else "stay"]
        for number, rule in enumerate(rules)
    ]
    console.table(title, ["rule", "what it does", "cache mounts"], rows)
