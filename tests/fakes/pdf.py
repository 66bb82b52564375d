"""PDF documents made by hand, sound ones and hostile ones."""

import zlib


def document(objects: list[bytes], trailer: bytes = b"") -> bytes:
    """A file of these objects, the first of them its catalogue."""
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    end = b"trailer << /Size %d /Root 1 0 R %b>>\nstartxref\n%d\n%%%%EOF\n" % (
        *(size, trailer, len(out)),
    )
    return out + b"xref\n0 %d\n0000000000 65535 f \n%b" % (size, table) + end


def stream(data: bytes, extra: bytes = b"") -> bytes:
    return b"<< /Length %d %b>>\nstream\n%b\nendstream" % (len(data), extra, data)


def shown(text: str) -> bytes:
    """The content of a page with one line, or with none."""
    return b"BT /F1 24 Tf 72 700 Td (%b) Tj ET" % text.encode("latin-1") if text else b""


def pages(*contents: bytes) -> bytes:
    """One page for each content stream, which is an object's whole body."""
    first, font = 3, 3 + 2 * len(contents)
    kids = b" ".join(b"%d 0 R" % (first + 2 * at) for at in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, len(contents)),
    ]
    for at, content in enumerate(contents):
        page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
        fonts = b"/Resources << /Font << /F1 %d 0 R >> >> >>"
        objects += [(page + fonts) % (first + 2 * at + 1, font), content]
    return document([*objects, b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"])


def pdf(*texts: str) -> bytes:
    """A page with each of these lines; an empty one is a page without text."""
    return pages(*(stream(shown(text)) for text in texts))


def bomb(megabytes: int) -> bytes:
    """A page whose content is small as it comes, and spaces without end once it is unpacked."""
    packed = zlib.compress(b" " * (megabytes * 1024 * 1024), 9)
    return pages(stream(packed, b"/Filter /FlateDecode "))


def endless(operators: int) -> bytes:
    """A page that is painted by very many operators."""
    packed = zlib.compress(b"BT /F1 9 Tf " + b"(x) Tj " * operators + b"ET", 9)
    return pages(stream(packed, b"/Filter /FlateDecode "))


def circular() -> bytes:
    """Pages that are their own children."""
    catalogue = b"<< /Type /Catalog /Pages 2 0 R >>"
    return document([catalogue, b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 >>"])


def encrypted() -> bytes:
    """With a password that nobody knows."""
    keys = b"/Filter /Standard /V 1 /R 2 /P -1 /O <%b> /U <%b>" % (b"41" * 32, b"42" * 32)
    catalogue = b"<< /Type /Catalog /Pages 2 0 R >>"
    nothing = b"<< /Type /Pages /Kids [] /Count 0 >>"
    trailer = b"/Encrypt 3 0 R /ID [<41> <41>] "
    return document([catalogue, nothing, b"<< %b >>" % keys], trailer)
