"""URLs: which spellings of an address meet, which do not, and that nothing a page or archive holds makes them raise."""

from __future__ import annotations

import re
import time
from urllib.parse import urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gobelin.transforms.urls import (
    MAX_URL_CHARS,
    PageAddress,
    ascii_host,
    canonical_url,
    data_url_reference,
    host_of,
    resolve,
    url_key,
    well_formed,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a.example/x", "https://a.example/x"),
        ("HTTP://A.Example/x", "https://a.example/x"),
        ("http://a.example:80/x", "https://a.example:443/x"),
        ("https://a.example", "https://a.example/"),
        ("https://a.example/?", "https://a.example/"),
        ("https://a.example/x#part", "https://a.example/x"),
        ("https://a.example/?b=1&a=2", "https://a.example/?a=2&b=1"),
        ("https://a.example/?a", "https://a.example/?a="),
        ("https://a.example/?q=a+b", "https://a.example/?q=a%20b"),
        ("https://a.example/a b.jpg", "https://a.example/a%20b.jpg"),
        ("https://a.example/%7Eme", "https://a.example/~me"),
        ("https://a.example/a%2fb", "https://a.example/a%2Fb"),
        ("https://a.example/é.jpg", "https://a.example/%C3%A9.jpg"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://a.example/x/../y", "https://a.example/y"),
        ("https://a.example/a\nb\t", "https://a.example/ab"),
        (" https://a.example/x ", "https://a.example/x"),
        ("https://user:password@a.example/x", "https://a.example/x"),
    ],
)
def test_spellings_that_meet(one: str, other: str) -> None:
    assert canonical_url(one) == canonical_url(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.example/x", "https://b.example/x"),
        ("https://a.example/x", "https://www.a.example/x"),
        ("https://a.example/x", "https://a.example/X"),
        ("https://a.example/x", "https://a.example/x/"),
        ("https://a.example:8080/", "https://a.example/"),
        ("https://a.example/?a=1", "https://a.example/?a=2"),
        ("https://a.example/?a=1&a=2", "https://a.example/?a=1"),
        ("https://a.example/a%2Fb", "https://a.example/a/b"),
        ("https://a.example/x;v=1", "https://a.example/x"),
        ("https://a.example/x%FF", "https://a.example/x%C3%BF"),
        ("http://[::1]/", "http://[::2]/"),
        ("https://a.example/", ""),
    ],
)
def test_addresses_that_do_not_meet(one: str, other: str) -> None:
    assert canonical_url(one) != canonical_url(other)


def test_pinned() -> None:
    """Document ids are made of it: it may not change."""
    assert canonical_url("HTTPS://A.example:443/é%7e?b=2&a=1#top") == "//a.example/%C3%A9~?a=1&b=2"


@pytest.mark.parametrize(
    "url", ["", "not a url", "http://[", "http://a.example:99999/", "http://a.example:x/", "//", "?"]
)
def test_what_is_no_url_does_not_raise(url: str) -> None:
    assert isinstance(canonical_url(url), str)
    assert isinstance(host_of(url), str)


_ODD = st.text(alphabet="ab/:?#[]@!$&'()*+,;=%2F.é漢 \\\t\n\x00\ud800\udcff。．", max_size=30)
_URLS = st.builds(
    str.__add__, st.sampled_from(["", "http://", "https://a.example", "https://a.example/?", "//", "data:"]), _ODD
)


@settings(max_examples=500, deadline=None)
@given(_URLS)
def test_canonical_url_never_raises_and_can_be_written(url: str) -> None:
    url = well_formed(url)
    canonical = canonical_url(url)
    canonical.encode("utf-8")
    host_of(url)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from("abcdefgh~é%&=?/ +"), max_size=20).map("".join))
def test_canonical_url_is_canonical(path: str) -> None:
    canonical = canonical_url(f"https://a.example/{path}")
    assert canonical_url(f"https:{canonical}") == canonical


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("x.png", "https://a.example/dir/x.png"),
        ("/x.png", "https://a.example/x.png"),
        ("//b.example/x.png", "https://b.example/x.png"),
        ("http://b.example/x.png", "http://b.example/x.png"),
        ("../../../x.png", "https://a.example/x.png"),
        ("?a=1", "https://a.example/dir/page?a=1"),
        ("#top", "https://a.example/dir/page#top"),
        (" x.png\n", "https://a.example/dir/x.png"),
        ("x y.png", "https://a.example/dir/x%20y.png"),
        ("x\ny\t.png", "https://a.example/dir/xy.png"),
        ("x\\y.png?a\\b", "https://a.example/dir/x/y.png?a\\b"),
        ("../x.png", "https://a.example/x.png"),
        ("./x.png", "https://a.example/dir/x.png"),
        (".x/y.png", "https://a.example/dir/.x/y.png"),
        ("x/../y.png", "https://a.example/dir/y.png"),
        ("x//y.png?a=//b", "https://a.example/dir/x//y.png?a=//b"),
        ("/x/./y.png", "https://a.example/x/y.png"),
        ("é.png", "https://a.example/dir/é.png"),
        ("x.png?", "https://a.example/dir/x.png?"),
        ("HTTPS://B.example", "HTTPS://B.example"),
        ("data:image/png;base64,AA", "data:image/png;base64,AA"),
        ("DATA:image/png;base64,AA", "DATA:image/png;base64,AA"),
        ("", None),
        (" \n ", None),
        ("javascript:alert(1)", None),
        ("mailto:x@a.example", None),
        ("blob:https://a.example/1", None),
        ("ftp://a.example/x", None),
        ("http://[", None),
        ("http://", None),
        ("http:///x.png", None),
        ("{{ url }}", None),
        ("x-${size}.png", None),
        ("a" * MAX_URL_CHARS + "b", None),
    ],
)
def test_resolve(reference: str, expected: str | None) -> None:
    assert resolve("https://a.example/dir/page", reference) == expected


_SLASHES = re.compile("/+")
_BASES = st.sampled_from([
    "https://a.example", "https://a.example/", "http://a.example:8080/dir/page.html", "https://a.example/x/y/z/",
    "https://a.example/x/../y", "https://a.example/a%20b/c?d=/e/f", "https://a.example/x#a/b", "https://a.example/?q=/x",
    "https://a.example/.x/y", "https://a.example/x;y/z",
])  # fmt: skip
_PARTS = st.sampled_from([
    "a", "b.jpg", "../", "./", "/", "//", "?", "x=1", "..", ".", "%20", "&", ".hidden", ":", "@", "a:b", "~", "|", "=",
    "https://b.example", "é", "(1)",
])  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(_BASES, st.lists(_PARTS, min_size=1, max_size=7).map("".join))
def test_the_short_way_leads_where_urljoin_does(base: str, reference: str) -> None:
    found = resolve(base, reference)
    if found is not None:
        # urljoin also takes away an empty query and doubled slashes, which browsers leave.
        assert _SLASHES.sub("/", found.rstrip("?")) == _SLASHES.sub("/", urljoin(base, reference).rstrip("?"))


def test_a_data_url_may_be_long() -> None:
    url = "data:image/png;base64," + "A" * 100_000
    assert resolve("https://a.example/", url) == url


@settings(max_examples=300, deadline=None)
@given(_ODD, _ODD)
def test_resolve_never_raises(base: str, reference: str) -> None:
    found = resolve(f"https://a.example/{well_formed(base)}", reference)
    if found is not None:
        assert found[:5].lower() in ("http:", "https", "data:")
        assert found.isascii() or found.encode("utf-8")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://A.example:8080/x", "a.example"),
        ("https://user@a.example/", "a.example"),
        ("http://[::1]:80/", "::1"),
        ("data:image/png,x", ""),
        ("nonsense", ""),
        ("http://[", ""),
    ],
)
def test_host_of(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("text", "expected"), [("plain é 漢 😀", "plain é 漢 😀"), ("a\ud800b", "a?b"), ("\udcff", "?"), ("", "")]
)
def test_well_formed(text: str, expected: str) -> None:
    assert well_formed(text) == expected


def test_data_url_reference_names_type_and_digest() -> None:
    name = data_url_reference("image/png", b"")
    assert name == "data:image/png;sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert canonical_url(name) == canonical_url(data_url_reference("image/png", b""))
    assert canonical_url(name) != canonical_url(data_url_reference("image/png", b"x"))


@pytest.mark.parametrize(
    "url", ["https://a.example/" + "../" * 30_000, "https://a.example/?" + "a&" * 30_000, "http://" + "a." * 30_000]
)
def test_long_urls_are_no_trouble(url: str) -> None:
    start = time.perf_counter()
    canonical_url(url)
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("straße.de", "xn--strae-oqa.de"),  # not strasse.de: another host
        ("βόλος.com", "xn--nxasmm1c.com"),  # the final sigma counts
        ("نامه\u200cای.com", "xn--mgba3gch31f060k.com"),  # and so does the non-joiner
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("b%C3%BCcher.example", "xn--bcher-kva.example"),
        ("日本語。jp", "xn--wgv71a119e.jp"),
        ("ＡＢＣ.example", "abc.example"),
        ("☃.net", "xn--n3h.net"),  # no letter of IDNA 2008, but browsers go there
        ("ü_b.example", "xn--_b-wka.example"),
        ("a_b.example", "a_b.example"),
        ("xn--strae-oqa.de", "xn--strae-oqa.de"),
        ("strasse.de", "strasse.de"),
        ("a%2Fb.example", "a%2Fb.example"),  # no host at all
        ("1.2.3", "1.2.0.3"),
        ("1.515", "1.0.2.3"),
        ("16909060", "1.2.3.4"),
        ("0x7F.010.1", "127.8.0.1"),  # hexadecimal, octal
        ("１.2.3", "1.2.0.3"),
        ("1.2.3.4.", "1.2.3.4"),
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.256", "1.2.3.256"),  # no address of either kind
        ("256.2.3", "256.2.3"),
        ("1.2.08", "1.2.08"),
        ("1.2.3.4.5", "1.2.3.4.5"),
        ("4294967296", "4294967296"),
        ("1.2.example", "1.2.example"),
        ("v1.2.3", "v1.2.3"),
        ("\ud800.example", "\ud800.example"),
    ],
)
def test_hosts_as_browsers_ask_for_them(host: str, written: str) -> None:
    """The examples are those of UTS 46, section 4 and 7, and of the URL standard."""
    assert ascii_host(host) == written
    if well_formed(host) == host:
        assert canonical_url(f"http://{host}/x") == canonical_url(f"http://{written}/x")


def test_sharp_s_is_another_host() -> None:
    assert url_key("http://straße.de/a.png") != url_key("http://strasse.de/a.png")
    assert host_of("http://user@straße.de:8080/") == "xn--strae-oqa.de"


@pytest.mark.parametrize(
    ("encoding", "reference", "address"),
    [
        ("windows-1252", "i.php?n=Grüße", "i.php?n=Gr%FC%DFe"),
        ("windows-1252", "i.php?n=€", "i.php?n=%80"),
        ("windows-1251", "i.php?n=цвет", "i.php?n=%F6%E2%E5%F2"),
        ("koi8-r", "i.php?n=цвет", "i.php?n=%C3%D7%C5%D4"),
        ("gbk", "i.php?n=图", "i.php?n=%CD%BC"),
        ("shift_jis", "i.php?n=本", "i.php?n=%96{"),
        ("euc-kr", "i.php?n=한", "i.php?n=%C7%D1"),
        ("windows-1252", "i.php?n=図&m=ü", "i.php?n=%26%2322259%3B&m=%FC"),  # what the encoding lacks
        ("windows-1252", "Bücher/ü.jpg", "Bücher/ü.jpg"),  # a path is written in UTF-8
        ("windows-1252", "ü.jpg?v=ü#ü", "ü.jpg?v=%FC#ü"),
        ("windows-1252", "i.php?n=%C3%BC", "i.php?n=%C3%BC"),  # written already
        ("utf-8", "i.php?n=ü", "i.php?n=ü"),
        ("utf-16le", "i.php?n=ü", "i.php?n=ü"),  # such pages write UTF-8
        ("no-such-encoding", "i.php?n=ü", "i.php?n=ü"),
    ],
)
def test_queries_are_written_in_the_encoding_of_the_page(encoding: str, reference: str, address: str) -> None:
    found = resolve(PageAddress("https://a.example/dir/page", encoding), reference)
    assert found == f"https://a.example/dir/{address}"
