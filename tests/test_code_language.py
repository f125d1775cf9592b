"""The language of code, as generators of pages write it, and what is none."""

from __future__ import annotations

import pytest

from gobelin.transforms.pages.tree.find_nodes import PageContent, TextPiece, read_page

PROSE = "<p>" + "The harbour had been busy since the early morning, and the boats lay in rows. " * 5 + "</p>"


def languages_of(block: str) -> list[str | None]:
    page = f"<html><body><main><h1>Boats</h1>{PROSE}{block}{PROSE}</main></body></html>"
    content = read_page(page.encode(), "utf-8", "https://example.org/boats", ())
    assert isinstance(content, PageContent)
    return [piece.code_language for piece in content.pieces if isinstance(piece, TextPiece) and piece.role == "code"]


@pytest.mark.parametrize(
    ("block", "language"),
    [
        ('<pre><code class="language-rust editable">let a = 1;</code></pre>', "rust"),
        ('<pre><code class="hljs language-c++">int a;</code></pre>', "c++"),
        ('<pre><code class="python hljs">a = 1</code></pre>', "python"),
        ('<div class="highlight-python notranslate"><div class="highlight"><pre>a</pre></div></div>', "python"),
        ('<div class="highlight-qml notranslate"><div><pre>I</pre></div></div>', "qml"),
        ('<div class="highlight-default notranslate"><div class="highlight"><pre>a</pre></div></div>', None),
        ('<div class="highlight-rst notranslate"><table class="highlighttable"><tr><td class=linenos><pre>1</pre></td>'
         '<td class="code"><div class="highlight"><pre>a</pre></div></td></tr></table></div>', "rst"),
        ('<div class="highlight highlight-source-shell"><pre>ls</pre></div>', "shell"),
        ('<div class="sourceCode" id="cb1"><pre class="sourceCode numberSource r code-with-copy">'
         '<code class="sourceCode r">x</code></pre></div>', "r"),
        ('<pre class="brush: js; gutter: false">let a</pre>', "js"),
        ('<div class="highlight"><pre tabindex="0"><code data-lang="toml">a = 1</code></pre></div>', "toml"),
        ('<div class="language-jsx codeBlock_x"><div><pre class="prism-code"><code>a</code></pre></div></div>', "jsx"),
        ('<div class="mw-highlight mw-highlight-lang-lua"><pre>a</pre></div>', "lua"),
        ('<pre class="src src-emacs-lisp">(a)</pre>', "emacs-lisp"),
        ('<pre class="code man literal-block">.TH</pre>', "man"),
        ('<pre lang="go">a := 1</pre>', "go"),
        ('<pre lang="de">Haus</pre>', None),
        ('<div class="lang-de"><pre>Haus</pre></div>', None),
        ('<div class="language-switcher"><pre>Haus</pre></div>', None),
        ('<pre class="language-none">a</pre>', None),
        ('<pre><code class="language-' + "x" * 40 + '">a</code></pre>', None),
        ('<pre><code class="language-&lt;script&gt;">a</code></pre>', None),
        ('<section class="language-python"><pre>a</pre></section>', None),
        ("<pre>a</pre>", None),
    ],
)  # fmt: skip
def test_the_language_of_code(block: str, language: str | None) -> None:
    assert languages_of(block) == [language]


@pytest.mark.parametrize(
    "lines",
    [
        "<div><span>a</span><br></div><div><span></span><br></div><div>b<br></div>",  # Docusaurus
        "<div>a</div><br><div>b</div>",
        "a\n\n<div>b</div>",
        "a<div>\n</div><div>b\n</div>",
        "a<br><br>b",
    ],
)
def test_a_line_of_code_in_an_element_of_its_own_is_one_line(lines: str) -> None:
    page = f"<html><body><main><h1>Boats</h1>{PROSE}<pre>{lines}</pre>{PROSE}</main></body></html>"
    content = read_page(page.encode(), "utf-8", "https://example.org/boats", ())
    assert isinstance(content, PageContent)
    assert [piece.text for piece in content.pieces if isinstance(piece, TextPiece)][2] == "a\n\nb"


def test_lines_that_a_book_hides_are_no_code() -> None:
    block = (
        '<pre><pre class="playground"><code class="language-rust"><span class="boring">#![allow(unused)]\n</span>'
        '<span class="boring">fn main() {\n</span>let a = 1;\n<span class="boring">}</span></code></pre></pre>'
    )
    page = f"<html><body><main><h1>Boats</h1>{PROSE}{block}<p class=boring>{PROSE}</p></main></body></html>"
    content = read_page(page.encode(), "utf-8", "https://example.org/boats", ())
    assert isinstance(content, PageContent)
    texts = [piece.text for piece in content.pieces if isinstance(piece, TextPiece)]
    assert texts[2] == "let a = 1;"
    assert len(texts) == 4


def test_signs_that_link_to_a_heading_are_no_words_of_it() -> None:
    links = [
        "<a class=hash-link href=#a>\u200b</a>",
        "<a class=x href=#a>¶</a>",
        "<a href=#a>\xa0#</a>",
    ]
    headings = "".join(f"<h2 id=a>Masts {link}</h2>{PROSE}" for link in links)
    page = f"<html><body><main>{headings}</main></body></html>"
    content = read_page(page.encode(), "utf-8", "https://a.example/", ())
    assert isinstance(content, PageContent)
    found = [piece.text for piece in content.pieces if isinstance(piece, TextPiece) and piece.role == "heading"]
    assert found == ["Masts"] * 3


def test_each_block_has_its_own() -> None:
    assert languages_of('<pre><code class="language-c">a</code></pre><pre>b</pre><pre lang=go>c</pre>') == [
        "c",
        None,
        "go",
    ]
