"""Rules by which BuildKit drops build cache: read, put in words, and those that we propose. Pure.

The engine goes through its rules in order, at most once a minute, after builds. Each compares its limit with all of
the build cache, whatever kinds the rule itself is about; layers that images have do not count. A rule without a
limit drops at any size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOUNT = "exec.cachemount"
KINDS = {
    MOUNT: "cache mounts",
    "regular": "layers of build steps",
    "source.local": "copies of build contexts",
    "source.git.checkout": "git checkouts",
    "frontend": "frontends",
    "internal": "records of its own",
}
FOUR_WEEKS = 4 * 7 * 24 * 60
TWO_DAYS = 2 * 24 * 60
LEAST_GIB, MOST_GIB = 2, 50
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"([0-9.]+)(h|ms|m|s|µs|us|ns)")
_FIELDS = {"Keep Bytes": "keep", "Reserved Space": "keep", "Max Used Space": "most", "Min Free Space": "free"}
"""What buildx calls a limit, before and since BuildKit 0.17."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. Sizes as the engine writes them, as 25GiB; '' for no such limit."""

    filters: tuple[str, ...] = ()
    """A record that any of these fits is meant, all records where there is none; commas in one mean 'and'."""
    everything: bool = False
    """What BuildKit keeps for itself, too."""
    unused_minutes: int = 0
    keep: str = ""
    """What the rule leaves of the whole cache."""
    most: str = ""
    """What the whole cache may take before the rule does anything; ``keep``, where this is ''."""
    free: str = ""
    """What must be free on the disk."""

    @property
    def drops_mounts(self) -> bool:
        """Tell whether a cache mount may go by this rule."""
        return not self.filters or any(_fits_mounts(one) for one in self.filters)

    @property
    def words(self) -> str:
        """Say what the rule does."""
        kinds = self._kinds()
        if not kinds:
            return "does nothing: no record is of several kinds at once, as it asks"
        age = f" unused for {_age(self.unused_minutes)}" if self.unused_minutes else ""
        return f"drops {kinds}{age}, {self._limit()}"

    def _kinds(self) -> str:
        if not self.filters:
            return "everything" if self.everything else "all but BuildKit's own records"
        return ", ".join(_name(one) for one in self.filters if len(_types(one)) <= 1)

    def _limit(self) -> str:
        if not (self.keep or self.most or self.free):
            return "whatever the size of the cache"
        least = f", but never below {self.keep}" if self.keep and (self.most or self.free) else ""
        size = f"once the whole cache is above {self.most or self.keep}"
        free = f"less than {self.free} of the disk is free"
        if not self.free:
            return f"{size}{least}"
        return f"{size} or {free}{least}" if self.most else f"once {free}{least}"

    def to_json(self) -> dict[str, Any]:
        """Give it as a verb's JSON object has it."""
        return {
            **self.__dict__,
            "filters": list(self.filters),
            "says": self.words,
            "drops_cache_mounts": self.drops_mounts,
        }


def parse(told: str) -> list[Rule]:
    """Read the rules in what `docker buildx inspect` prints; none where garbage collection is off."""
    found: list[dict[str, Any]] = []
    for line in told.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key.startswith("GC Policy rule#"):
            found.append({})
        elif found and key == "Filters":
            found[-1]["filters"] = tuple(value.split())
        elif found and key == "All":
            found[-1]["everything"] = value == "true"
        elif found and key == "Keep Duration":
            found[-1]["unused_minutes"] = round(_seconds(value) / 60)
        elif found and key in _FIELDS:
            found[-1][_FIELDS[key]] = value
    return [Rule(**fields) for fields in found]


def limit_gib(disk_bytes: int) -> int:
    """Give the size in GiB that the proposal goes by: a tenth of the disk, 2 at least and 50 at most."""
    return max(LEAST_GIB, min(MOST_GIB, disk_bytes // 10 // 2**30))


def proposal(limit: int, unit: str = "GiB") -> list[Rule]:
    """Give the rules that we propose.

    Mounts that nobody uses go first, so that they do not take the room of layers; those in use go last of all.
    New layers get twice the room, so that mounts above the limit do not make each build begin anew.
    """
    one, two, three = (f"{times * limit}{unit}" for times in (1, 2, 3))
    others = ("source.local", "source.git.checkout", "regular")
    return [
        Rule(filters=(f"type=={MOUNT}",), unused_minutes=FOUR_WEEKS, keep=one),
        *(Rule(filters=(f"type=={kind}",), unused_minutes=TWO_DAYS, keep=one) for kind in others),
        Rule(filters=("type==regular",), keep=two),
        Rule(everything=True, keep=three),
    ]


def to_config(rules: Sequence[Rule]) -> dict[str, Any]:
    """Give ``builder.gc`` of a daemon.json for rules like those of proposal().

    daemon.json takes one kind a rule, and writes == as =. Engines from 28 read keepStorage as reservedSpace,
    which means the same where it stands alone.
    """
    return {"enabled": True, "policy": [_to_config(rule) for rule in rules]}


def _to_config(rule: Rule) -> dict[str, Any]:
    words = [one.replace("==", "=") for one in rule.filters]
    if rule.unused_minutes:
        words.append(f"unused-for={rule.unused_minutes // 60}h")
    return {
        "keepStorage": rule.keep,
        **({"filter": words} if words else {}),
        **({"all": True} if rule.everything else {}),
    }


def _name(one: str) -> str:
    kind = "".join(_types(one))
    marks = " and ".join(part for part in _parts(one) if part and not part.startswith("type=="))
    return f"{KINDS.get(kind, kind or 'records')}{f' with {marks}' if marks else ''}"


def _types(one: str) -> set[str]:
    return {part.removeprefix("type==") for part in _parts(one) if part.startswith("type==")}


def _parts(one: str) -> Iterable[str]:
    return (part.strip() for part in one.split(","))


def _fits_mounts(one: str) -> bool:
    """Tell whether a filter may fit a cache mount: what it says besides the kind may or may not."""
    return _types(one) <= {MOUNT}


def _age(minutes: int) -> str:
    if minutes % 1440 == 0:
        return f"{minutes // 1440} days"
    return f"{minutes // 60} hours" if minutes % 60 == 0 else f"{minutes} minutes"


def _seconds(text: str) -> float:
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
