"""The verbs of `inv maint.*`. Each parses, calls one function, and prints."""

from __future__ import annotations

from invoke.collection import Collection

namespace = Collection("maint")
