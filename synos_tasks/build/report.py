"""`inv build.report`: one build as one HTML file, with nothing fetched from anywhere."""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.console import human_bytes
from synos_tasks.errors import IsoNotFound, writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_PACKAGES = 20
# in percent of the chart: a shorter bar would not be seen
LEAST_WIDTH = 0.4
# the browser's own colours for text and paper, light or dark; bars have 3:1 at least on both
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 56rem; padding: 2rem 1rem; }
h1, td { overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8885; font-weight: normal; padding: .2rem .5rem; text-align: left; }
.bar { width: 55%; } .value { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
.bar div { border-radius: 2px; height: .85rem; }
.made { background: #3b74e0; } .stored { background: #7b8aa1; } .size { background: #12837a; }
@media (max-width: 40rem) { .bar { width: 30%; } }
"""


def write(iso: Path, target: Path) -> None:
    """Write the report of the build that made ``iso``, from the manifest next to it.

    Raises IsoNotFound where that cannot be read, OutputNotWritable where ``target`` cannot be written.
    """
    path = Path(f"{iso}.manifest.json")
    try:
        text = page(json.loads(path.read_text(encoding="utf-8")), iso.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise IsoNotFound(
            f"{iso.name} has no manifest that can be read",
            where=str(path),
            why=f"there is no {error}" if isinstance(error, KeyError) else str(error),
            hint="`inv build.iso` writes one next to each ISO",
        ) from error
    with writing("the report cannot be written", target, "choose another place with --to"):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", errors="replace")


def page(manifest: Mapping[str, Any], name: str) -> str:
    """Return the HTML of a manifest. Raises what reading a damaged one raises: KeyError, TypeError and the like."""
    stages, packages, sizes = manifest["stages"], manifest["packages"], manifest["bytes"]
    seconds = max((stage["began"] + stage["seconds"] for stage in stages), default=0.0)
    total = max(seconds, float(manifest.get("seconds", 0)))  # not in manifests of older versions
    if not math.isfinite(total):
        raise ValueError("a stage has no end")
    fetched, unpacked = (human_bytes(sum(p[key] for p in packages)) for key in ("bytes", "installed_bytes"))
    facts = {
        "File": name,
        "SHA-256": manifest["sha256"],
        "Build": manifest["build_id"],
        "Key": manifest["key"],
        "For": f"{manifest['suite']}, {manifest['architecture']}, {'release' if manifest['release'] else 'layers'}",
        "ISO": human_bytes(sizes["iso"]),
        "Build time": f"{total:.1f} s" + (f", of which stages {seconds:.1f} s" if total > seconds else ""),
        "Stages in store": f"{sum(bool(stage['hit']) for stage in stages)} of {len(stages)}",
        "Packages": f"{len(packages)}: {fetched} to fetch, {unpacked} unpacked",
    }
    largest = sorted(packages, key=lambda package: (-package["installed_bytes"], package["name"]))
    parts = [(key, value) for key, value in sizes.items() if key != "iso"]
    rest = sizes["iso"] - sum(value for _, value in parts)
    if rest > 0:
        parts.append(("boot loaders and the rest", rest))
    title = f"SynOS {escape(manifest['profile'])}"
    rows = "".join(f"<tr><th>{term}</th><td>{escape(value)}</td></tr>" for term, value in facts.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: build {escape(manifest["build_id"])}</title><style>{STYLE}</style></head><body>
<h1>{title}</h1>
<table>{rows}</table>
<h2>Stages, from the start to {seconds:.1f} s</h2>
{timeline(stages, seconds)}
<h2>What the medium holds</h2>
{sizes_chart(parts)}
<h2>Largest packages, installed: {min(MOST_PACKAGES, len(packages))} of {len(packages)}</h2>
{sizes_chart((p["name"], p["installed_bytes"]) for p in largest[:MOST_PACKAGES])}
</body></html>
"""


def timeline(stages: Iterable[Mapping[str, Any]], seconds: float) -> str:
    """Return a chart with a bar for each stage, from when it began to when it was done."""
    rows = []
    for stage in stages:
        kind, value = ("stored", "in store") if stage["hit"] else ("made", f"{stage['seconds']:.1f} s")
        begin, end = stage["began"], stage["began"] + stage["seconds"]
        rows.append(_row(stage["name"], value, begin / max(seconds, 0.1), end / max(seconds, 0.1), kind))
    return f"<table>{''.join(rows)}</table>"


def sizes_chart(values: Iterable[tuple[str, int]]) -> str:
    """Return a chart with a bar for each name and its size in bytes."""
    shown = list(values)
    most = max([1, *(value for _, value in shown)])
    rows = [_row(name, human_bytes(value), 0, value / most, "size") for name, value in shown]
    return f"<table>{''.join(rows)}</table>"


def _row(name: str, value: str, begin: float, end: float, kind: str) -> str:
    """Return one line of a chart; the bar's ends are from 0 to 1."""
    first, last = (min(max(0, round(100 * place, 2)), 100) for place in (begin, end))
    first = min(first, 100 - LEAST_WIDTH)
    width = max(last - first, LEAST_WIDTH)
    bar = f'<div class="{kind}" style="margin-left: {first:.2f}%; width: {width:.2f}%"></div>'
    return f'<tr><th>{escape(name)}</th><td class="bar">{bar}</td><td class="value">{escape(value)}</td></tr>'
