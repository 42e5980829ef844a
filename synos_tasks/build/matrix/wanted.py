"""Which ISOs a matrix has: the product of profiles, suites and variants, from options or from docker/build/matrix.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from synos_tasks.build import planning
from synos_tasks.errors import ProfileError, ProfileNotFound, SettingsError, SynosError, raise_all, unknown
from synos_tasks.iso import schema
from synos_tasks.iso.profile import NAME
from synos_tasks.iso.suites import REFUSED_SUITES, SUITES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import Settings

VARIANTS = ("layers", "release")
FILE = "matrix.yaml"
EXAMPLE = "`both: {profiles: [minimal, standard], suites: [bookworm, trixie]}`"
_SET = schema.mapping(
    {
        "profiles": schema.list_of(schema.text(rf"{NAME}(@[a-z]+)?", "a profile, or PROFILE@SUITE")),
        "suites": schema.list_of(schema.choice(*SUITES, refused=REFUSED_SUITES)),
        "variants": schema.list_of(schema.choice(*VARIANTS)),
    },
    required=("profiles",),
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is multiplied. Without suites each profile has its own."""

    profiles: tuple[str, ...]
    suites: tuple[str, ...] = ()
    variants: tuple[str, ...] = VARIANTS[:1]
    where: Mapping[str, str] = field(default_factory=dict)
    """``file:line:column`` of each profile by name."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One ISO, not yet planned."""

    text: str
    """What --profile is for it."""
    profile: Profile
    variant: str

    @property
    def name(self) -> str:
        """Profile and variant."""
        return f"{self.profile.name} {self.variant}"


def set_of(settings: Settings, name: str) -> Wanted:
    """Return a set of matrix.yaml; raises SettingsError with file, line and column."""
    path = settings.project.build_data / FILE
    if not path.exists():
        what = f"there is no set {name!r}: docker/build has no {FILE}"
        raise SettingsError(what, where=str(path), hint=f"write one, as {EXAMPLE}")
    try:
        source = schema.load(path, example=EXAMPLE)
        schema.check(source, schema.mapping(dict.fromkeys(source.entries, _SET)))
    except ProfileError as error:
        raise_all([_setting(one) for one in (error, *error.others)])
    if name not in source.entries:
        raise unknown("set", name, source.entries, path)
    lists = {key: value.items for key, value in source.value(name).entries.items()}
    where = {str(one.data): one.where for one in lists["profiles"]}
    for key, items in lists.items():
        if not items:
            raise SettingsError(f"{name}.{key} is empty", where=source.value(name).value(key).where)
    named = {key: tuple(str(one.data) for one in items) for key, items in lists.items()}
    return Wanted(**named, where=where)


def _setting(error: SynosError) -> SettingsError:
    return SettingsError(error.what, where=error.where, why=error.why, hint=error.hint)


def asked_by(settings: Settings, wanted: Wanted) -> list[Asked]:
    """Return the ISOs of a product; raises what read_profile() raises, or SettingsError for one that is asked twice."""
    found: dict[str, Asked] = {}
    for profile, suite, variant in product(wanted.profiles, wanted.suites or ("",), wanted.variants):
        where = wanted.where.get(profile, "")
        if suite and "@" in profile:
            hint = "leave the suite out of the profile, or the list of suites"
            raise SettingsError(f"{profile} already names a suite", where=where, hint=hint)
        text = f"{profile}@{suite}" if suite else profile
        try:
            one = Asked(text=text, profile=planning.read_profile(settings, text), variant=variant)
        except ProfileNotFound as error:
            raise ProfileNotFound(error.what, where=where or error.where, hint=error.hint) from None
        if one.name in found:
            twice = " and ".join(dict.fromkeys([found[one.name].text, text]))
            what = f"{one.name} is asked for twice"
            raise SettingsError(what, where=where, why=f"by {twice}", hint="leave one of them out")
        found[one.name] = one
    return list(found.values())
