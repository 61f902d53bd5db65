"""Where a request may go: the one field of a body that is ours, and that no upstream sees."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, UnsetType


class Constraints(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`prefer_local`: local targets first; the others: no target but of that kind.

    `max_latency_ms`: in which its answers began lately; one of which that is not known may do.
    """

    prefer_local: bool = False
    local_only: bool = False
    force_cloud: bool = False
    max_latency_ms: Annotated[int, Meta(ge=1)] | None = None

    @property
    def words(self) -> list[str]:
        """What is demanded, as it is written in a header."""
        said = {name: getattr(self, name) for name in self.__struct_fields__}
        return [name if it is True else f"{name}={it}" for name, it in said.items() if it]


Said = Constraints | UnsetType | None  # in a body
