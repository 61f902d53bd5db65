"""Media in a request: every spelling of base64 is read, and nothing else."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import media
from adapters.errors import InvalidRequest

CONTENT = st.binary(min_size=1, max_size=60)
SPACES = st.lists(st.sampled_from(" \t\r\n"), max_size=6)


def spelled(content: bytes, *, url_safe: bool, padded: bool, spaces: list[str]) -> str:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    text = encode(content).decode()
    text = text if padded else text.rstrip("=")
    for place, space in enumerate(spaces):
        at = 7 * place % (len(text) + 1)
        text = text[:at] + space + text[at:]
    return text


@given(CONTENT, st.booleans(), st.booleans(), SPACES, st.sampled_from(["", "image/png", "a/b"]))
def test_every_spelling_is_the_same_content(
    content: bytes, url_safe: bool, padded: bool, spaces: list[str], kind: str
) -> None:
    text = spelled(content, url_safe=url_safe, padded=padded, spaces=spaces)
    standard = base64.b64encode(content).decode()
    assert media.Media("", standard) == media.read(text, "p")
    assert media.Media(kind, standard) == media.read(f"data:{kind};base64,{text}", "p")


@given(st.text())
def test_any_text_is_media_or_refused(text: str) -> None:
    try:
        found = media.read(text, "p")
    except InvalidRequest as error:
        code = error.code
    else:
        code = None
        assert base64.b64decode(found.base64, validate=True)
    assert code in {None, "invalid_image", "image_url_unsupported"}


@given(st.binary(min_size=1))
def test_text_is_read_whatever_its_bytes(content: bytes) -> None:
    found = media.Media("text/plain", base64.b64encode(content).decode())
    assert content.decode("utf-8", "replace") == found.text()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("data:IMAGE/PNG;Charset=UTF-8;BASE64,aGVs", "image/png"),
        (" data: image/gif ; base64 ,aGVs ", "image/gif"),
        ("data:;base64,aGVs", ""),
        ("Data:base64;base64,aGVs", "base64"),
    ],
)
def test_types_are_in_lower_case_without_parameters(url: str, kind: str) -> None:
    assert media.Media(kind, "aGVs") == media.read(url, "p")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://localhost/a.png", "image_url_unsupported"),
        (" HTTPS://example.com/a.png", "image_url_unsupported"),
        ("file:///etc/hostname", "image_url_unsupported"),
        ("data:image/png;base64", "image_url_unsupported"),
        ("data:image/png,aGVs", "invalid_image"),
        ("data:base64,aGVs", "invalid_image"),
        ("data:image/png;base64,", "invalid_image"),
        ("data:image/png;base64,====", "invalid_image"),
        ("data:image/png;base64,aGVsb", "invalid_image"),
        ("data:image/png;base64,aG=Vs", "invalid_image"),
        ("data:image/png;base64,aGVs\u00e9", "invalid_image"),
        ("data:image/png;base64,aGV%73", "invalid_image"),
        ("", "invalid_image"),
        ("\x00", "invalid_image"),
    ],
)
def test_what_is_not_base64_is_refused(url: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        media.read(url, "messages[0]")
    assert ("messages[0]", code) == (caught.value.param, caught.value.code)


def test_an_error_says_what_it_should_have_been() -> None:
    with pytest.raises(InvalidRequest, match="the audio is not valid base64") as caught:
        media.read("*", "p", "audio")
    assert "invalid_audio" == caught.value.code
