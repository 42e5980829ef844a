"""`inv build.report`: one build as one HTML file, with nothing fetched from anywhere."""

from __future__ import annotations

import html
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import IsoNotFound, OutputNotWritable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_PACKAGES = 20
# narrower, a bar would not be seen; in percent of a chart's width
LEAST_WIDTH = 0.4

# Colours by role, for light and dark: 4.5:1 at least for text on paper, 3:1 for bars.
STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --panel: #f5f7fa; --ink: #1d2430; --soft: #566171;
        --line: #dde2ea; --made: #2563eb; --stored: #7b8aa1; --size: #0f766e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #12161d; --panel: #1a2029; --ink: #e6eaf0; --soft: #9aa6b5;
          --line: #2e3744; --made: #6ea8fe; --stored: #758298; --size: #2dd4bf; } }
* { box-sizing: border-box; }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 0 auto;
       max-width: 56rem; padding: 2.5rem 1.25rem 2rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { border-bottom: 1px solid var(--line); font-size: 1.15rem; margin: 2.5rem 0 .5rem; padding-bottom: .35rem; }
p, dt, footer { color: var(--soft); margin: .25rem 0; }
dl, dd, ol { list-style: none; margin: 0; padding: 0; }
code { font: .9em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
.tiles { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); margin: 1.5rem 0; }
.tiles div { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .9rem; }
.tiles dt { font-size: .85rem; margin: 0; } .tiles dd { font-size: 1.35rem; font-weight: 600; }
.facts { display: grid; gap: .15rem 1.25rem; grid-template-columns: max-content 1fr; } .facts dt { margin: 0; }
.facts div { display: contents; }
li { align-items: center; column-gap: 1rem; display: grid; font-size: .9rem; min-height: 1.75rem;
     grid-template: "name bar value" / 14rem minmax(0, 1fr) 4.75rem; }
.name { grid-area: name; line-height: 1.25; overflow-wrap: anywhere; padding: .15rem 0; }
.value { color: var(--soft); font-variant-numeric: tabular-nums; grid-area: value; line-height: 1.25;
         text-align: right; }
li svg { grid-area: bar; height: 1.75rem; overflow: visible; width: 100%; }
li line { stroke: var(--line); } li rect { transform: translateY(-7px); }
li text { fill: var(--soft); font-size: .8rem; text-anchor: middle; }
.made { fill: var(--made); } .stored { fill: var(--stored); } .size { fill: var(--size); }
.legend span { margin-right: .75rem; white-space: nowrap; } .legend svg { height: .8em; margin-right: .35em; width: .8em; }
footer { border-top: 1px solid var(--line); font-size: .85rem; margin-top: 2.5rem; padding-top: .75rem; }
@media (max-width: 40rem) {
  body { padding-top: 1.5rem; } .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: .5rem; }
  li { grid-template: "name value" "bar bar" / minmax(0, 1fr) max-content; padding-top: .35rem; }
  li svg { height: 1.4rem; } }
"""


def write(iso: Path, target: Path) -> None:
    """Write the report of the build that made ``iso``, from the manifest beside it.

    Raises IsoNotFound when there is none that can be read, OutputNotWritable when ``target`` cannot be written.
    """
    path = Path(f"{iso}.manifest.json")
    try:
        text = page(json.loads(path.read_text(encoding="utf-8")), iso.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise IsoNotFound(
            f"{iso.name} has no manifest that can be read",
            where=str(path),
            why=f"there is no {error}" if isinstance(error, KeyError) else str(error),
            hint="`inv build.iso` lays one beside each ISO",
        ) from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise OutputNotWritable(
            "the report cannot be written",
            where=str(target),
            why=error.strerror or str(error),
            hint="choose another place with --to",
        ) from error


def page(manifest: Mapping[str, Any], name: str) -> str:
    """Give the HTML of a manifest. Raises what reading a damaged one raises: KeyError, TypeError and the like."""
    stages, packages, sizes = manifest["stages"], manifest["packages"], manifest["bytes"]
    seconds = max((stage["began"] + stage["seconds"] for stage in stages), default=0.0)
    hits = sum(stage["hit"] for stage in stages)
    kind = "release" if manifest["release"] else "layers"
    tiles = {
        "ISO": size(sizes["iso"]),
        "Build time": f"{seconds:.1f} s",
        "Stages in store": f"{hits} of {len(stages)}",
        "Packages": str(len(packages)),
    }
    facts = {
        "File": name,
        "SHA-256": manifest["sha256"],
        "Build": manifest["build_id"],
        "Key": manifest["key"],
    }
    about = " · ".join([manifest["suite"], manifest["architecture"], kind])
    fetched, unpacked = (size(sum(p[key] for p in packages)) for key in ("bytes", "installed_bytes"))
    largest = sorted(packages, key=lambda package: (-package["installed_bytes"], package["name"]))
    parts = [(key, value) for key, value in sizes.items() if key != "iso"]
    rest = sizes["iso"] - sum(value for _, value in parts)
    heading = f"SynOS {html.escape(manifest['profile'])}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}: build {html.escape(manifest["build_id"])}</title><style>{STYLE}</style></head><body>
<header><h1>{heading}</h1><p>{html.escape(about)}</p></header>
<main><dl class="tiles">{_terms(tiles, "{}")}</dl>
<dl class="facts">{_terms(facts, "<code>{}</code>")}</dl>
<h2>Stages</h2>
<p class="legend"><span>Seconds since the start</span> {_key("made", "made")} {_key("stored", "in store")}</p>
{timeline(stages, seconds)}
<h2>What the medium holds</h2>
<p>{size(sizes["iso"])} in all</p>
{bars([*parts, *([("boot loaders and the rest", rest)] if rest > 0 else [])])}
<h2>Largest packages, installed</h2>
<p>{min(MOST_PACKAGES, len(packages))} of {len(packages)} packages, which take {unpacked} unpacked and {fetched}
to fetch</p>
{bars([(p["name"], p["installed_bytes"]) for p in largest[:MOST_PACKAGES]])}
</main><footer>From <code>{html.escape(name)}.manifest.json</code>, by <code>inv build.report</code></footer>
</body></html>
"""


def timeline(stages: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """Give a chart with a bar for each stage, from when it began to when it was done, over an axis in seconds."""
    whole = max(seconds, 0.1)
    marks = ticks(whole)
    rows = []
    for stage in stages:
        begin, end = stage["began"], stage["began"] + stage["seconds"]
        kind, value = ("stored", "in store") if stage["hit"] else ("made", f"{stage['seconds']:.1f} s")
        told = f"{stage['name']}: {value}, from {begin:.1f} s to {end:.1f} s"
        rows.append(_row(stage["name"], value, told, (begin / whole, end / whole), kind, marks))
    labels = "".join(f'<text x="{place:.2f}%" y="65%">{label}</text>' for place, label in marks)
    told = ", ".join(label for _, label in marks)
    axis = f'<svg role="img"><title>Axis: seconds since the start</title><desc>{told}</desc>{labels}</svg>'
    return "\n".join(["<ol>", *rows, f"<li>{axis}</li>", "</ol>"])


def bars(values: Sequence[tuple[str, int]]) -> str:
    """Give a chart with a bar for each name and its size in bytes."""
    most = max([1, *(value for _, value in values)])
    rows = [
        _row(name, size(value), f"{name}: {value} bytes", (0, value / most), "size") for name, value in values
    ]
    return "\n".join(["<ol>", *rows, "</ol>"])


def ticks(whole: float) -> list[tuple[float, str]]:
    """Give up to six round numbers of seconds from 0 to ``whole``: their places in percent, and their labels."""
    power = 10.0 ** math.floor(math.log10(whole / 5))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= whole / 5)
    return [(100 * n * step / whole, f"{n * step:g} s") for n in range(int(whole / step) + 1)]


def size(count: float) -> str:
    """Give a number of bytes as people read it: kB, MB or GB, powers of 1000."""
    power, unit = next((p, u) for p, u in ((9, "GB"), (6, "MB"), (3, "kB")) if count >= 10**p or p == 3)
    return f"{count / 10**power:.1f} {unit}"


def _terms(terms: Mapping[str, str], shape: str) -> str:
    return "".join(
        f"<div><dt>{term}</dt><dd>{shape.format(html.escape(value))}</dd></div>"
        for term, value in terms.items()
    )


def _key(kind: str, told: str) -> str:
    return f'<span><svg aria-hidden="true"><rect class="{kind}" width="100%" height="100%" rx="2"/></svg>{told}</span>'


def _row(
    name: str,
    value: str,
    told: str,
    ends: tuple[float, float],
    kind: str,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Give one line of a chart: name, bar and value; ``ends`` are those of the bar, 0 to 1."""
    first, last = (min(max(0, round(100 * end, 2)), 100) for end in ends)
    first = min(first, 100 - LEAST_WIDTH)
    width = max(last - first, LEAST_WIDTH)
    lines = "".join(f'<line x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="100%"/>' for x, _ in marks)
    bar = f'<rect class="{kind}" x="{first:.2f}%" y="50%" width="{width:.2f}%" height="14" rx="2"/>'
    return (
        f'<li><span class="name">{html.escape(name)}</span>'
        f'<svg role="img"><title>{html.escape(told)}</title>{lines}{bar}</svg>'
        f'<span class="value">{html.escape(value)}</span></li>'
    )
