"""What a vendor's row fills in where the table of an upstream is silent.

It is laid under the document before that is checked: what is filled in is checked as if it had
been written, and the operator's own words hold. Keys stay references (`env:NAME`).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from adapters.providers import PROVIDERS, Provider
from facade.documents import Fault, Key

Table = Mapping[str, object]


def filled(upstreams: Table, environ: Mapping[str, str], sources: dict[Key, str]) -> Table:
    """The tables, those of vendors filled in. `sources` learns which variable holds a key.

    Raises Fault for an unknown vendor, a dialect beside one, or a key that must be there.
    """
    done = dict(upstreams)
    for name, table in upstreams.items():
        if isinstance(table, dict) and "vendor" in table:
            key = ("upstreams", str(name))
            row = _row(table, key)
            full = {"dialect": row.dialect, **table, **_address(table, row)}
            variable = _key_variable(table, row, environ, key)
            if variable:
                full["api_key"] = f"env:{variable}"
                sources[*key, "api_key"] = variable
            done[name] = full
    return done


def _row(table: Table, key: Key) -> Provider:
    vendor = table["vendor"]
    row = PROVIDERS.get(vendor) if isinstance(vendor, str) else None
    if row is None:
        raise Fault(f"there is no such vendor; there are {', '.join(PROVIDERS)}", (*key, "vendor"))
    if "dialect" in table:
        raise Fault("a vendor has its own dialect: leave out one of the two", (*key, "dialect"))
    return row


def _key_variable(table: Table, row: Provider, environ: Mapping[str, str], key: Key) -> str | None:
    """Which variable holds the key, unless the table has it or none is needed."""
    if "api_key" in table:
        return None
    for variable in row.key_variables:
        if environ.get(variable, "").strip():
            return variable
    if row.key_variables and "base_url" not in table:
        variables = " or ".join(row.key_variables)
        raise Fault(
            f"the key is missing: set {variables} in the environment, or write api_key",
            (*key, "api_key"),
        )
    return None


def _address(table: Table, row: Provider) -> dict[str, object]:
    """The address, with the path and the query that it lacks; nonsense stays, to be refused."""
    if "base_url" not in table:
        return {"base_url": row.base_url} if row.base_url else {}
    given = table["base_url"]
    try:
        url = urlsplit(given if isinstance(given, str) else "")
    except ValueError:
        return {}
    if not url.netloc:
        return {}
    path = url.path if url.path.strip("/") else row.path
    return {"base_url": url._replace(path=path, query=url.query or row.query).geturl()}
