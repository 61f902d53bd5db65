"""What a vendor's row fills in where the table of an upstream is silent.

It is laid under the document before that is checked: what is filled in is checked as if it had
been written, and the operator's own words hold. Keys stay references (`env:NAME`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from adapters.providers import PROVIDERS, Provider
from facade.documents import Fault, Key

_NOT_SET: Final = "the key is missing: set {variable} in the environment, or write api_key"


def filled(
    upstreams: Mapping[str, object], environ: Mapping[str, str], sources: dict[Key, str]
) -> dict[str, object]:
    """The tables, those of vendors filled in. `sources` learns which variable set a key.

    Raises Fault for an unknown vendor, a dialect beside one, or a key that must be there.
    """
    done = dict(upstreams)
    for name, table in upstreams.items():
        if isinstance(table, dict) and "vendor" in table:
            key = ("upstreams", str(name))
            row = _row(table, key)
            set_ = [each for each in row.key_variables if environ.get(each, "").strip()]
            variable = set_[0] if set_ else None
            if "api_key" not in table and variable:
                sources[*key, "api_key"] = variable
            done[name] = _filled(table, row, variable, key)
    return done


def _row(table: Mapping[str, object], key: Key) -> Provider:
    vendor = table["vendor"]
    row = PROVIDERS.get(vendor) if isinstance(vendor, str) else None
    if row is None:
        raise Fault(f"there is no such vendor; there are {', '.join(PROVIDERS)}", (*key, "vendor"))
    if "dialect" in table:
        raise Fault("a vendor has its own dialect: leave out one of the two", (*key, "dialect"))
    return row


def _filled(
    table: Mapping[str, object], row: Provider, variable: str | None, key: Key
) -> dict[str, object]:
    full = {"dialect": row.dialect, **table}
    if "base_url" in table:
        full["base_url"] = _address(table["base_url"], row)
    elif row.base_url:
        full["base_url"] = row.base_url
    if "api_key" in table:
        return full
    if variable:
        full["api_key"] = f"env:{variable}"
    elif row.key_variables and "base_url" not in table:
        raise Fault(_NOT_SET.format(variable=" or ".join(row.key_variables)), (*key, "api_key"))
    return full


def _address(given: object, row: Provider) -> object:
    """The address with the path and the query that it lacks; nonsense is left to be refused."""
    try:
        url = urlsplit(given if isinstance(given, str) else "")
    except ValueError:
        return given
    if not url.netloc:
        return given
    path = url.path if url.path.strip("/") else row.path
    return url._replace(path=path, query=url.query or row.query).geturl()
