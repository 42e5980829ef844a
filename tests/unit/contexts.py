"""A build context that needs no container, and tools that are not run."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from synos_tasks.iso.layers import StageInputs
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.protocol import Event, Events, Warn
from synos_tasks.iso.tools import BuildContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pytest

    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.pool import Pool
    from synos_tasks.iso.store import Entry, Store

EPOCH = 1_700_000_000


class KeptEvents(Events):
    """Keeps events instead of sending them."""

    def __init__(self, log: Path) -> None:
        self.sent: list[Event] = []
        super().__init__(log, self.sent.append)


def sent(context: BuildContext) -> list[Event]:
    """Return the events of a context that build_context() made."""
    assert isinstance(context.events, KeptEvents)
    return context.events.sent


def warnings(context: BuildContext) -> list[str]:
    """Return the texts of its warnings."""
    return [event.text for event in sent(context) if isinstance(event, Warn)]


@contextmanager
def build_context(folder: Path, profile: Profile | None = None) -> Iterator[BuildContext]:
    """Give a build context whose work, output and docker/build are folders in ``folder``."""
    for name in ("work", "output", "docker_build"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    events = KeptEvents(folder / "work/build.log")
    with closing(events._log):
        yield BuildContext(
            profile=profile or Profile(name="x"),
            epoch=EPOCH,
            work=folder / "work",
            docker_build=folder / "docker_build",
            output=folder / "output",
            events=events,
        )


def fake_tools(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[list[str]], list[str] | None] = lambda _: None
) -> list[list[str]]:
    """Let ``act`` stand for every tool that a build context runs; gives what was run."""
    ran: list[list[str]] = []

    def run(_context: BuildContext, _stage: str, argv: Sequence[str], **_: object) -> list[str]:
        ran.append(list(argv))
        return act(list(argv)) or []

    monkeypatch.setattr(BuildContext, "run", run)
    return ran


def put_entry(
    store: Store, key: str, content: Mapping[str, bytes], facts: Mapping[str, Any] = {}, stage: str = "base"
) -> Entry:
    """Put an entry with some files into the store."""
    with store.slot() as slot:
        for name, data in content.items():
            (slot / name).write_bytes(data)
        return store.commit(key, slot, facts, stage)


def files(root: Path, *names: str) -> None:
    """Write files of one byte, with the folders above them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


@dataclass(frozen=True)
class Laid(StageInputs):
    """Inputs whose repository is a folder of the test's."""

    folder: Path | None = None

    @contextmanager
    def repository(self) -> Iterator[tuple[Path, dict[str, int]]]:
        assert self.folder is not None
        yield self.folder, dict.fromkeys((path.stem for path in self.folder.glob("*.deb")), 7)


def inputs_for(context: BuildContext, plan: Plan, name: str, **more: Any) -> Laid:  # noqa: ANN401
    """Return what a stage of a plan works with; nothing may be fetched."""
    return Laid(context, plan, plan.stage(name), cast("Pool", None), more.pop("compiled", ()), **more)
