"""Data URLs as people write them, and types by the first bytes."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats import media
from formats.canonical import Document, Image
from formats.errors import Invalid

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256))).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + b"x" * 20).decode()


def test_a_data_url_gives_its_type_and_its_data():
    assert media.parse_data_url("data:image/png;base64," + PNG) == ("image/png", PNG)


@pytest.mark.parametrize("url", ["https://a/b.png", "http://data:80/", "", "dat", "file:///data:"])
def test_any_other_url_is_none(url):
    assert media.parse_data_url(url) is None


@pytest.mark.parametrize(
    "head",
    ["DATA:image/png;BASE64", "data: Image/PNG ; charset=x ; base64", "data:;base64"],
)
def test_case_blanks_parameters_and_a_missing_type_are_forgiven(head):
    assert media.parse_data_url(f"{head},{PNG}") == ("image/png", PNG)


def test_the_wrong_name_of_jpeg_is_set_right():
    assert media.parse_data_url("data:image/jpg;base64," + JPEG) == ("image/jpeg", JPEG)


def test_white_space_url_safe_letters_missing_padding_and_percent_signs_are_forgiven():
    plain = base64.b64encode(b"\x89PNG\xfb\xef\xff?").decode()
    assert plain.endswith("=")
    assert any(letter in plain for letter in "+/")
    safe = plain.replace("+", "-").replace("/", "_").rstrip("=")
    broken = "\n ".join(safe[i : i + 4] for i in range(0, len(safe), 4))
    quoted = plain.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    for payload in (plain, safe, broken, quoted):
        assert media.parse_data_url("data:image/png;base64," + payload) == ("image/png", plain)


def test_a_data_url_that_is_not_base64_is_made_so():
    assert media.parse_data_url("data:text/plain,a%20b") == ("text/plain", "YSBi")


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:,",
        "data:x;base64,a",
        "data:x;base64,ü",
    ],
)
def test_a_broken_data_url_is_refused_at_its_place(url):
    with pytest.raises(Invalid) as caught:
        media.parse_data_url(url, "messages[0].content")
    assert caught.value.path == "messages[0].content"


@pytest.mark.parametrize(
    ("start", "mime"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe1", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVE", "audio/wav"),
        (b"RIFF\x00\x00\x00\x00AVI ", None),
        (b"%PDF-1.7", "application/pdf"),
        (b"hello", None),
        (b"", None),
    ],
)
def test_the_first_bytes_tell_the_type(start, mime):
    assert media.sniff(base64.b64encode(start).decode()) == mime
    assert media.sniff(base64.b64encode(start + b"x" * 100).decode()) == mime


@given(st.text())
def test_looking_at_anything_never_raises(text):
    media.sniff(text)


def test_the_first_bytes_are_believed_before_the_declared_type():
    assert media.image(PNG, "image/jpeg", detail="low") == Image(
        data=PNG, mime="image/png", detail="low"
    )


def test_the_declared_type_counts_when_the_bytes_tell_nothing():
    data = base64.b64encode(b"whatever").decode()
    assert media.image(data, "image/JPG; q=1").mime == "image/jpeg"
    assert media.image(data).mime == ""


def test_an_image_without_data_or_with_broken_data_is_refused():
    for data in ("", "  ", "not base64!"):
        with pytest.raises(Invalid, match="messages"):
            media.image(data, "image/png", path="messages[0].images[0]")


@given(st.binary(min_size=1))
def test_any_base64_comes_through_clean_base64_unchanged(data):
    text = base64.b64encode(data).decode()
    assert media.clean_base64(text) == text
    assert media.clean_base64(base64.urlsafe_b64encode(data).decode().rstrip("=")) == text


@given(st.text())
def test_clean_base64_gives_base64_or_refuses(text):
    try:
        clean = media.clean_base64(text)
    except Invalid:
        return
    base64.b64decode(clean, validate=True)


def test_a_text_document_is_written_with_its_title():
    document = Document(text="One\nTwo", name='A "b" & c', context="from the shelf")
    assert media.document_text(document) == (
        '<document title="A &quot;b&quot; &amp; c">\nfrom the shelf\nOne\nTwo\n</document>'
    )
    assert media.document_text(Document(text="x")) == "<document>\nx\n</document>"


def test_encoded_text_is_decoded_and_other_documents_have_no_text():
    data = base64.b64encode("ü".encode()).decode()
    assert media.document_text(Document(data=data, mime="text/csv")) == "<document>\nü\n</document>"
    assert media.document_text(Document(data=data, mime="application/pdf")) is None
    assert media.document_text(Document(data="/w==", mime="text/plain")) is None
    assert media.document_text(Document(url="https://a/b.pdf")) is None


def test_a_data_url_is_put_together_again():
    assert media.parse_data_url(media.data_url("image/png", PNG)) == ("image/png", PNG)
