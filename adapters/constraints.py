"""Where a request may go: the one field of a body that is ours, and that no upstream sees."""

from __future__ import annotations

from msgspec import Struct, UnsetType


class Constraints(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`prefer_local`: local targets first; the others: no target but of that kind."""

    prefer_local: bool = False
    local_only: bool = False
    force_cloud: bool = False


Said = Constraints | UnsetType | None  # in a body
