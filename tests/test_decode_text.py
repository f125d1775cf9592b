"""Which encoding a page is in: what declares it, what it reads like, and what is read in none."""

from __future__ import annotations

import time

import brotli
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gobelin.transforms.pages.images.image_references import ImageReference
from gobelin.transforms.pages.tree.decode_text import decode
from gobelin.transforms.pages.tree.find_nodes import PageContent, PageProblem, TextPiece, read_page
from gobelin.transforms.pages.tree.meta_charset import find_declaration
from gobelin.transforms.pages.tree.readable_text import is_readable
from gobelin.transforms.pages.tree.text_quality import measure_quality

TEXTS = {
    "ru": (
        "Паром отходит в девять часов, а вечером возвращается с рыбой и новостями. На берегу его ждут дети и собаки."
    ),
    "uk": (
        "Пором відходить о дев’ятій годині, а ввечері повертається з рибою і новинами. На березі його чекають діти."
    ),
    "pl": (
        "Prom odpływa o dziewiątej, a wieczorem wraca z rybami i wieściami. Na brzegu czekają na niego dzieci i źrebię."
    ),
    "cs": (
        "Přívoz odjíždí v devět hodin a večer se vrací s rybami a novinkami. Na břehu na něj čekají děti a štěňata."
    ),
    "tr": (
        "Vapur saat dokuzda kalkar, akşam balıkla geri döner. Kıyıda çocuklar, köpekler ve yaşlı ağaçlar onu bekler."
    ),
    "de": (
        "Die Fähre legt um neun Uhr ab und kehrt abends mit Fischen zurück. Am Ufer warten Mädchen und größere Hunde."
    ),
    "fr": (
        "Le bac part à neuf heures et revient le soir, chargé de poissons. Sur la grève l’attendent déjà les élèves."
    ),
    "el": ("Το φέρι φεύγει στις εννέα και το βράδυ γυρίζει με ψάρια και νέα. Στην ακτή το περιμένουν τα παιδιά."),
    "ja": (
        "渡し船は九時に出て、夕方には魚と知らせを持って戻ってくる。岸では子どもたちと犬が待っている。とても静かな村だ。"
    ),
    "zh": ("渡船九点出发，傍晚带着鱼和消息回来。孩子们和狗在岸边等着它，这是一个很安静的村子，人们都互相认识。"),
    "tw": ("渡船九點出發，傍晚帶著魚和消息回來。孩子們和狗在岸邊等著它，這是一個很安靜的村子，人們都互相認識。"),
    "ko": ("나룻배는 아홉 시에 떠나 저녁에 물고기와 소식을 싣고 돌아온다. 강가에서는 아이들과 개가 기다린다."),
}
ENCODINGS = {
    "ru": ["windows-1251", "koi8-r", "iso-8859-5", "cp866"],
    "uk": ["windows-1251"],
    "pl": ["windows-1250", "iso-8859-2"],
    "cs": ["windows-1250"],
    "tr": ["windows-1254"],
    "de": ["windows-1252"],
    "fr": ["windows-1252"],
    "el": ["windows-1253"],
    "ja": ["shift_jis", "euc-jp", "iso-2022-jp", "utf-16-le"],
    "zh": ["gb2312", "gb18030", "utf-16-be", "hz"],
    "tw": ["big5"],
    "ko": ["euc-kr", "iso2022_kr"],
}
DECLARED = [None, "utf-8", "iso-8859-1", "windows-1251", "koi8-r", "gb2312", "shift_jis", "big5", "euc-kr"]


def page(text: str, head: str = "") -> str:
    return f"<html><head>{head}<title>x</title></head><body><p>{text}</p></body></html>"


@pytest.mark.parametrize(
    ("language", "encoding"), [(language, each) for language, names in ENCODINGS.items() for each in names]
)
def test_a_page_is_read_right_whatever_is_declared(language: str, encoding: str) -> None:
    payload = page(TEXTS[language] + " " + TEXTS[language]).encode(encoding, "replace")
    text = payload.decode(encoding)
    assert {declared: decode(payload, declared)[0] == text for declared in DECLARED} == dict.fromkeys(DECLARED, True)


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("damage", [b"\xff", b"\xe9", b"\xe2\x80", b"\xd0"], ids=["stray", "latin", "cut", "half"])
def test_one_bad_byte_leaves_a_page_utf8(language: str, damage: bytes) -> None:
    """It costs one character, not the page; whatever the page declares."""
    text = TEXTS[language]
    before, behind = text[: len(text) // 2], text[len(text) // 2 :]
    payload = page(before).encode()[:-18] + damage + b" " + (behind + "</p>").encode()
    for declared in DECLARED:
        found, encoding = decode(payload, declared)
        assert (encoding, found.count("\ufffd")) == ("utf-8", 1)
        assert behind in found


def test_one_bad_byte_leaves_a_page_in_an_encoding_that_shifts() -> None:
    payload = page(TEXTS["ja"] * 2).encode("iso-2022-jp") + b"<p>\xff</p>"
    assert decode(payload, None) == (page(TEXTS["ja"] * 2) + "<p>\ufffd</p>", "iso-2022-jp")
    assert decode(b"<p>caf\xc3\xa9 for \x1b$5 and ~{2} more</p>", None)[1] == "utf-8"


def test_a_declared_encoding_is_believed_where_it_reads_well() -> None:
    for text, encoding in (
        ("Über uns", "iso-8859-1"),
        ("会社案内", "shift_jis"),
        ("О нас", "koi8-r"),
        ("Gęś", "iso-8859-2"),
    ):
        assert decode(page(text).encode(encoding), encoding)[0] == page(text)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("<meta charset=koi8-r>", "koi8-r"),
        ("<META CharSet = 'GBK' >", "gbk"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=big5">', "big5"),
        ('<meta content="text/html;charset=euc-jp" http-equiv=CONTENT-TYPE>', "euc-jp"),
        # What only looks like one.
        ("<!-- was: <meta charset=gbk> --><meta charset=koi8-r>", "koi8-r"),
        ("<!--><meta charset=koi8-r>", "koi8-r"),
        ("<script>t = '<meta charset=gbk>'</script><meta charset=koi8-r>", "koi8-r"),
        ("<style>/* <meta charset=gbk> */</style><meta charset=koi8-r>", "koi8-r"),
        ("<title>How to write <meta charset=gbk></title><meta charset=koi8-r>", "koi8-r"),
        ("<meta name=description content='on charset=gbk'><meta charset=koi8-r>", "koi8-r"),
        ("<meta http-equiv=refresh content='0; url=?charset=gbk'><meta charset=koi8-r>", "koi8-r"),
        ("<meta content='text/html; charset=gbk'>", None),
        ("<meta data-charset=gbk>", None),
        ("<metadata charset=gbk>", None),
        ("</meta charset=gbk>", None),
        ("<link title='<meta charset=gbk>'><meta charset=koi8-r>", "koi8-r"),
        ("<? <meta charset=gbk ?><meta charset=koi8-r>", "koi8-r"),
        # Names that are none, and those that a page which can be read so far cannot mean.
        ("<meta charset=no-such><meta charset=koi8-r>", "koi8-r"),
        ("<meta charset=utf-16>", "utf-8"),
        ("<meta charset=x-user-defined>", "windows-1252"),
        ("<meta charset=''>", None),
        # How far.
        ("<link rel=x>" * 200 + "<meta charset=koi8-r>", "koi8-r"),
        ("<p>text</p>" * 200 + "<meta charset=koi8-r>", None),
        ("<p>text</p>" * 50 + "<meta charset=koi8-r>", "koi8-r"),
        ("<?xml version='1.0' encoding='koi8-r'?><html>", "koi8-r"),
        ("<?xml version='1.0' encoding='gbk'?><meta charset=koi8-r>", "koi8-r"),
        ("<meta charset=koi8-r", "koi8-r"),
        ("", None),
    ],
)
def test_declarations_as_browsers_find_them(head: str, expected: str | None) -> None:
    assert find_declaration(head.encode()) == expected


@pytest.mark.parametrize(
    "piece",
    ["<", "<a ", "<a =", '<a "', "<!--", "<script>", "<meta charset", '<meta content="', "<a b = ", "<title ", "<? "],
)
def test_declarations_are_sought_in_linear_time(piece: str) -> None:
    start = time.process_time()
    find_declaration((piece * 100_000).encode())
    assert time.process_time() - start < 1


def test_the_header_comes_before_the_page_where_both_read_well() -> None:
    payload = page("Ä Ö Ü", "<meta charset=windows-1250>").encode("windows-1252")
    assert decode(payload, "windows-1252")[1] == "windows-1252"
    assert decode(payload, None)[1] == "windows-1250"
    russian = page(TEXTS["ru"], "<meta charset=windows-1251>").encode("windows-1251")
    assert decode(russian, "koi8-r")[1] == "windows-1251"


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("Привет, мир", "оПХБЕР, ЛХП"),
        ("Привет, мир, как дела", "Ïðèâåò, ìèð, êàê äåëà"),
        ("żółte gęsi", "¿ó³te gêœi wa¿ne za¿ó³cenie"),
        ("le café noir", "le cafй noir"),
        ("渡し船が出る時間", "渡しだ垢仇慌が囁龜韵"),
        ("天气很好", "澶╂皵寰堝ソ"),
    ],
)
def test_rubbish_costs_more_than_text(good: str, bad: str) -> None:
    assert measure_quality(good).cost < 0.03 < measure_quality(bad).cost


NOISE = np.random.default_rng(3).bytes(6000)
PROSE = "The ferry leaves at nine and comes back in the evening with fish and news. "
BINARY = {
    "noise": NOISE,
    "a few bytes": NOISE[:50],
    "brotli": brotli.compress(PROSE.encode() * 20 + NOISE[:2000].hex().encode()),
    "bytes above 127": bytes(byte | 128 for byte in NOISE),
    "no control characters": bytes(byte for byte in NOISE if byte > 31),
    "seven bits": bytes(byte & 127 for byte in NOISE),
    "a font": b"wOF2\0\1\0\0" + NOISE,
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("charset", [None, "utf-8", "iso-8859-1", "windows-1251", "gb2312", "shift_jis"])
def test_what_is_no_text_is_a_decision(name: str, charset: str | None) -> None:
    found = read_page(BINARY[name], charset, "https://a.example/", ())
    assert isinstance(found, PageProblem)
    assert found.rule in ("unreadable_text", "empty_page")


@pytest.mark.parametrize("name", BINARY)
def test_bytes_inside_a_page_become_no_node(name: str) -> None:
    source = f"<h1>The ferry</h1><p>{PROSE * 30}</p>".encode()
    payload = b"<article>" + source + b"<p>" + BINARY[name][:500] + b"</p><p>" + PROSE.encode() + b"</p></article>"
    content = read_page(payload, "utf-8", "https://a.example/", ())
    assert isinstance(content, PageContent)
    texts = [piece.text for piece in content.pieces if isinstance(piece, TextPiece)]
    assert texts[0] == "The ferry"
    assert (PROSE * 30).strip() in texts
    assert all(is_readable(text) for text in texts)


def test_words_of_a_picture_are_no_rubbish_either() -> None:
    image = "<img src=a.png alt='\ufffd\ufffd\ufffd' title='A \ufffderry'>"
    source = f"<title>\ufffd\ufffd</title><body><article><p>{PROSE * 9}</p>{image}<p>{PROSE}</p></article>"
    content = read_page(source.encode(), None, "https://a.example/", ())
    assert isinstance(content, PageContent)
    (image,) = [piece for piece in content.pieces if isinstance(piece, ImageReference)]
    assert (image.alt, image.title, content.title) == (None, "A \ufffderry", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a plain text", True),
        (
            "D\ufffdj\ufffd vu \ufffd l\ufffd\ufffdt\ufffd dernier, dit-il",
            True,
        ),  # a page in French with its accents lost
        ("\ufffd\ufffd\ufffd\ufffd \ufffd\ufffd", False),
        ("one\x0btab", True),
        ("\x00\x01\x02\x03abc", False),
        ("\x80\x81\x82 a", False),
        ("", True),
    ],
)
def test_is_readable(text: str, expected: bool) -> None:
    assert is_readable(text) is expected


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=400), st.sampled_from(DECLARED), st.sampled_from([b"", b"<html><p>", b"<meta charset=big5>"]))
def test_any_bytes_are_read(payload: bytes, charset: str | None, head: bytes) -> None:
    text, _ = decode(head + payload, charset)
    text.encode("utf-8")
    found = read_page(head + payload, charset, "https://a.example/", ())
    if isinstance(found, PageContent):
        assert all(is_readable(piece.text) for piece in found.pieces if isinstance(piece, TextPiece))
