"""Words of a page that are written in one way and shown in another: formulas, exponents, buttons, hidden and struck-out
words, components."""

from __future__ import annotations

import time

import pytest

from gobelin.exchange.markdown_text import prose
from gobelin.transforms.pages.tree.find_nodes import PageContent, TextPiece, read_page

PROSE = (
    "The old harbour lies behind the market hall, and on most mornings the boats come in before the sun is up. "
    "People who have lived here for a long time say that the light on the water is never the same on two days."
)


def outline(body: str) -> list[str]:
    """The texts of a page between two paragraphs of prose; images as their file's name in brackets, with caption."""
    html = f"<title>Boats</title><body><article><p>{PROSE}</p>{body}<p>{PROSE} 2</p></article></body>"
    content = read_page(html.encode(), "utf-8", "https://a.example/b/c.html", ())
    assert isinstance(content, PageContent)
    lines = [
        piece.text if isinstance(piece, TextPiece) else f"[{piece.candidates[0].rsplit('/')[-1]}]{piece.caption or ''}"
        for piece in content.pieces
    ]
    assert (lines[0], lines[-1]) == (PROSE, f"{PROSE} 2")
    return lines[1:-1]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("The speed is 3 × 10<sup>8</sup> m/s.", "The speed is 3 × 10^8 m/s."),
        ("A chance of 10<sup>&minus;19</sup> at most.", "A chance of 10^-19 at most."),
        ("A chance of <b>10</b><SUP> -19 </SUP> at most.", "A chance of 10^-19 at most."),
        ("There are 2<sup>n+1</sup> of them.", "There are 2^(n+1) of them."),
        ("There are 2<sup>n</sup> of them, or 2<sup>2<sup>n</sup></sup>.", "There are 2^n of them, or 2^(2^n)."),
        ("Then <i>x</i><sup>2</sup>y is greater than e<sup>−x</sup>.", "Then x^2y is greater than e^(-x)."),
        ("A field of 5 km<sup>2</sup> or 3 m<sup>2</sup>.", "A field of 5 km^2 or 3 m^2."),
        ("At 9.81 m s<sup>−2</sup> and (a + b)<sup>2</sup>.", "At 9.81 m s^-2 and (a + b)^2."),
        ("It costs $19<sup>99</sup> today.", "It costs $19.99 today."),
        ("Take 3<sup>1</sup>/<sub>2</sub> cups.", "Take 3 1/2 cups."),
        ("In 1999<sup><a href=#n3>3</a></sup> they left.", "In 1999[3] they left."),
        ("In binary 101<sub>2</sub> is 5.", "In binary 101_2 is 5."),
        ("The sum of x<sub>i</sub> and a<sub>n+1</sub>.", "The sum of x_i and a_(n+1)."),
        ("A sum of σ<sub><i>n</i></sub><sup>2</sup> or x<sub>1</sub><sup>2</sup>.", "A sum of σ_n^2 or x1^2."),
        ("Here log<sub>2</sub>8 is 3.", "Here log_(2)8 is 3."),
        # What may stay as it is.
        ("Water is H<sub>2</sub>O, sugar C<sub>6</sub>H<sub>12</sub>O<sub>6</sub>.", "Water is H2O, sugar C6H12O6."),
        ("As the paper<sup>[3]</sup> and the book<sup>4</sup> say.", "As the paper[3] and the book4 say."),
        ("The 1<sup>st</sup>, the 21<sup>e</sup>, the 3<sup>rd</sup>.", "The 1st, the 21e, the 3rd."),
        ("A Harbour<sup>TM</sup> product, M<sup>me</sup> Curie.", "A HarbourTM product, Mme Curie."),
        ("The isotope <sup>14</sup>C decays.", "The isotope 14C decays."),
        ("Ca<sup>2+</sup> and K<sup>+</sup>.", "Ca2+ and K+."),
    ],
)
def test_raised_and_lowered_numbers_are_told_from_the_digits_before(html: str, text: str) -> None:
    assert outline(f"<p>{html}</p>") == [text]


def test_raised_numbers_in_tables_headings_captions_and_titles() -> None:
    body = (
        "<h2>The 10<sup>6</sup> steps</h2><table><tr><th>Body<th>Mass<tr><td>Earth<td>6 × 10<sup>24</sup> kg</table>"
        "<figure><img src=a.png><figcaption>About 10<sup>3</sup> boats</figcaption></figure>"
    )
    assert outline(body) == ["The 10^6 steps", "Body | Mass\nEarth | 6 × 10^24 kg", "[a.png]About 10^3 boats"]
    content = read_page(b"<h1>The 10<sup>6</sup> steps</h1><p>Words.</p>", "utf-8", "https://a.example/", ())
    assert isinstance(content, PageContent)
    assert content.title == "The 10^6 steps"


MATHML = "<mfrac><mn>1</mn><mn>2</mn></mfrac><mi>m</mi><msup><mi>v</mi><mn>2</mn></msup>"
TEX = r"\frac{1}{2}mv^{2}"
ANNOTATED = (
    f"<math><semantics><mrow>{MATHML}</mrow><annotation encoding='application/x-tex'>{TEX}</annotation></semantics>"
    "</math>"
)


@pytest.mark.parametrize(
    ("html", "tex"),
    [
        (f"<math><mrow>{MATHML}</mrow></math>", f"${TEX}$"),
        (f"<math alttext='{TEX}'><mi>else</mi></math>", f"${TEX}$"),
        (f"<math alttext='one half of m times the square of v'>{MATHML}</math>", f"${TEX}$"),
        (ANNOTATED, f"${TEX}$"),
        (ANNOTATED.replace("<math", "<math display=block"), f"$${TEX}$$"),
        (f"<mml:math>{MATHML.replace('<m', '<mml:m').replace('</m', '</mml:m')}</mml:math>", f"${TEX}$"),
        (
            f"<span class=katex><span class=katex-mathml>{ANNOTATED}</span>"
            "<span class=katex-html aria-hidden=true><span>2</span><span>1</span>mv2</span></span>",
            f"${TEX}$",
        ),
        (
            f"<span class=katex-display><span class=katex><span class=katex-mathml>{ANNOTATED}</span>"
            "<span class=katex-html>12mv2</span></span></span>",
            f"$${TEX}$$",
        ),
        (
            f"<mjx-container class=MathJax display=true><mjx-math><mjx-c></mjx-c></mjx-math><mjx-assistive-mml>"
            f"<math>{MATHML}</math></mjx-assistive-mml></mjx-container>",
            f"$${TEX}$$",
        ),
        (f"<script type='math/tex'>{TEX}</script>", f"${TEX}$"),
        (f"<script type='math/tex; mode=display'>{TEX}</script>", f"$${TEX}$$"),
        (
            "<span class=MathJax_Preview>half m v 2</span><span class=MathJax id=MathJax-1-Frame><nobr>12mv2</nobr>"
            f"<span class=MJX_Assistive_MathML><math>{MATHML}</math></span></span>"
            f"<script type='math/tex'>{TEX}</script>",
            f"${TEX}$",
        ),
        (f"<script type='math/mml'><math>{MATHML}</math></script>", f"${TEX}$"),
        (
            "<span class=mwe-math-element><span class='mwe-math-mathml-inline' style='display: none'>"
            f"{ANNOTATED.replace(TEX, '{displaystyle ' + TEX + '}').replace('{display', '{' + chr(92) + 'display')}"
            f"</span><img src=/svg/0a1b class=mwe-math-fallback-image-inline alt='{TEX}'></span>",
            f"${TEX}$",
        ),
        (
            "<span class=mwe-math-element><span class='mwe-math-mathml-display' style='display:none'>"
            f"{ANNOTATED}</span><img src=/svg/0a1b class=mwe-math-fallback-image-display alt='{TEX}'></span>",
            f"$${TEX}$$",
        ),
        (f"<img class=latex src=https://s0.wp.example/latex.php?latex=x alt='{TEX}'>", f"${TEX}$"),
        (f"<img src=img7.png alt='${TEX}$'>", f"${TEX}$"),
        (f"<img src=form_0.png alt='\\[{TEX}\\]'>", f"$${TEX}$$"),
        (r"<img src='https://latex.codecogs.com/svg.latex?\frac{1}{2}mv^{2}'>", f"${TEX}$"),
        ("<img src='https://latex.codecogs.com/png.latex?%5Cfrac%7B1%7D%7B2%7Dmv%5E%7B2%7D' alt=''>", f"${TEX}$"),
        ("<img class=tex src=a.png alt=n>", "$n$"),
        (f"{ANNOTATED} <img class=tex src=a.png alt='{TEX}'>", f"${TEX}$"),
    ],
)
def test_a_formula_is_its_tex_once_within_its_sentence(html: str, tex: str) -> None:
    assert outline(f"<p>The energy is {html} for a body of mass m.</p>") == [
        f"The energy is {tex} for a body of mass m."
    ]


MATHJAX = "<script src='https://cdn.example/mathjax@3/tex-mml-chtml.js'></script>"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (r"<p>So <span class='math notranslate nohighlight'>\(a_1 &lt; b\)</span> holds.</p>", "So $a_1 < b$ holds."),
        (r"<p>So <span class='math inline'>\(a\)</span> holds.</p>", "So $a$ holds."),
        (r"<div class='arithmatex'>\[a \\[2pt] b\]</div>", r"$$a \\[2pt] b$$"),
        ("<div class='math'>\\[a % why\n + \\% b\\]</div>", r"$$a + \% b$$"),
        (r"<div class='math' id=e><span class='eqno'>(1)<a class=headerlink href=#e>¶</a></span>\[x\]</div>",
         r"$$x \tag{1}$$"),
        (MATHJAX + r"<p>So \(a\) and \[b\] hold.</p>", "So $a$ and $$b$$ hold."),
        (MATHJAX + r"<p>\begin{align*}a &= b \\ c\end{align*}</p>", r"$$\begin{align*}a &= b \\ c\end{align*}$$"),
        ("<script>window.MathJax = {}</script>" + r"<p>So <em>x \(a\)</em> \(b\).</p>", "So x $a$ $b$."),
        (MATHJAX + r"<p>So <code>\(a\)</code> holds.</p>", r"So \(a\) holds."),
        (MATHJAX + r"<p>So \(a and \) b) and \[c.</p>", r"So $a and$ b) and \[c."),
        (r"<p>The pattern \(a\) is a group.</p>", r"The pattern \(a\) is a group."),
        (r"<p class='mathematics'>The pattern \(a\) is a group.</p>", r"The pattern \(a\) is a group."),
    ],
)  # fmt: skip
def test_formulas_between_delimiters_of_mathjax_have_dollars(html: str, text: str) -> None:
    assert outline(html) == [text]


def test_formulas_stay_formulas_in_markdown() -> None:
    body = MATHJAX + r"<p>So \(a_1\) is</p>\[\begin{aligned}a &= b_1\end{aligned}\]"
    assert [prose(text) for text in outline(body)] == [
        "So $a_1$ is", "$$\n\\begin{aligned}a &= b_1\\end{aligned}\n$$",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mathml", "tex"),
    [
        ("<msqrt><mi>x</mi><mo>+</mo><mn>1</mn></msqrt>", r"\sqrt{x+1}"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", r"\sqrt[3]{x}"),
        ("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>", "x_{i}^{2}"),
        ("<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover>", "∑_{i=1}^{n}"),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", r"\bar{x}"),
        ("<mi>sin</mi><mo>\u2061</mo><mi>x</mi>", r"\sin x"),
        ("<mi>Re</mi><mtext>if it is</mtext>", r"\mathrm{Re}\text{if it is}"),
        (
            "<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr><mtr><mtd><mn>0</mn></mtd><mtd><mn>1</mn>"
            "</mtd></mtr></mtable>",
            r"\begin{matrix} 1 & 0 \\ 0 & 1 \end{matrix}",
        ),
        ("<mfenced open='[' close=')'><mi>a</mi><mi>b</mi></mfenced>", "[a,b)"),
        ("<msup><mrow><mi>a</mi><mo>−</mo><mi>b</mi></mrow><mn>2</mn></msup>", "{a-b}^{2}"),
        ("<mmultiscripts><mi>C</mi><none/><none/><mprescripts/><mn>6</mn><mn>14</mn></mmultiscripts>", "{}_{6}^{14}C"),
        ("<mo>{</mo><mphantom><mi>q</mi></mphantom><mi>a</mi><mo>}</mo>", r"\{a\}"),
        ("<mstrange><mi>a</mi></mstrange>b", "ab"),
    ],
)
def test_mathml_is_told_as_tex(mathml: str, tex: str) -> None:
    assert outline(f"<p>Let <math>{mathml}</math> be.</p>") == [f"Let ${tex}$ be."]


@pytest.mark.parametrize(
    "image",
    [
        "<img class=formula src=x.jpg alt='The law of gravity on a blackboard'>",
        "<img class=math src=x.jpg alt='A lesson in mathematics'>",
        "<img class=latex-gloves src=x.jpg alt='^'>",
        "<img src=/math/x.jpg alt='graph_1'>",
        "<img src=prices.jpg alt='$$$'>".replace("prices", "x"),
        "<img class=equation src=x.jpg alt='equation1.png'>",
        "<img class=equation src=x.jpg>",
    ],
)
def test_a_picture_beside_mathematics_stays_a_picture(image: str) -> None:
    assert outline(f"<p>{PROSE} 3</p>{image}<p>{PROSE} 4</p>") == [f"{PROSE} 3", "[x.jpg]", f"{PROSE} 4"]


def test_formulas_in_tables_headings_and_captions() -> None:
    body = (
        f"<h2>On {ANNOTATED}</h2><table><tr><th>Name<th>Energy<tr><td>Body<td>{ANNOTATED}</table>"
        f"<figure><img src=a.png><figcaption>With {ANNOTATED}</figcaption></figure>"
    )
    assert outline(body) == [f"On ${TEX}$", f"Name | Energy\nBody | ${TEX}$", f"[a.png]With ${TEX}$"]


@pytest.mark.parametrize(
    ("shown", "is_text"),
    [
        (r"\(\newcommand{\R}{\mathbb{R}} \newcommand{\norm}[1]{\left\lVert #1 \right\rVert}\)", False),
        (r"$$\def\half{\frac12}$$", False),
        (r"\[\DeclareMathOperator*{\argmin}{arg\,min}\]", False),
        (r"\( \usepackage{amsmath} \renewcommand{\vec}{\boldsymbol} \)", False),
        (r"\newcommand{\R}{\mathbb{R}} makes a command of your own.", True),
        (r"\(\def\x{1}" + r" + \alpha_{ij} x^{ij}" * 20 + r"\)", True),
        (r"\(\define = 1\)", True),
        (r"$5 and \def$", True),
    ],
)
def test_definitions_that_mathjax_reads_and_does_not_show_are_no_text(shown: str, is_text: bool) -> None:
    assert (shown in outline(f"<div>{shown}</div><p>{PROSE}</p>")) is is_text


def test_definitions_before_two_line_breaks_are_no_text() -> None:
    html = rf"<div>\(\newcommand{{\R}}{{\mathbb{{R}}}}\)<br><br>{PROSE} 3</div>"
    assert outline(html) == [f"{PROSE} 3"]


def test_a_short_page_is_not_filled_with_hidden_definitions() -> None:
    hidden = r"\(" + r"\newcommand{\R}{\mathbb{R}} " * 40 + r"\)"
    assert outline(f"<div style='display:none'>{hidden}</div><h1>A module</h1><p>It makes shapes.</p>") == [
        "A module", "It makes shapes.",
    ]  # fmt: skip


def test_a_renderer_that_was_never_closed_costs_none_of_the_text() -> None:
    assert outline(f"<div class=katex-display>{ANNOTATED}<p>{PROSE} 3</p></div>") == [f"${TEX}$", f"{PROSE} 3"]


@pytest.mark.parametrize(
    ("html", "texts"),
    [
        ("<p>You must <button>never</button> mix <button>bleach</button> and acid.</p>",
         ["You must never mix bleach and acid."]),
        ("<p>Press <b><button type=button>Save</button></b> to store the file.</p>", ["Press Save to store the file."]),
        ("<p><button>Photosynthesis</button> is what leaves do.</p>", ["Photosynthesis is what leaves do."]),
        ("<p>The opposite of hot is <button>cold</button>.</p>", ["The opposite of hot is cold."]),
        (f"<h3><button aria-expanded=false>How long is it?</button></h3><p>{PROSE} 3</p>",
         ["How long is it?", f"{PROSE} 3"]),
        (f"<div role=heading><button>Share prices</button></div><p>{PROSE} 3</p>", ["Share prices", f"{PROSE} 3"]),
        (f"<dl><dt><button>Term</button><dd>{PROSE} 3</dl>", ["Term", f"{PROSE} 3"]),
        (f"<details><summary><button>Term</button></summary><p>{PROSE} 3</p></details>", ["Term", f"{PROSE} 3"]),
        (f"<button class=accordion>The first part</button><div><p>{PROSE} 3</p></div>",
         ["The first part", f"{PROSE} 3"]),
        (f"<button aria-expanded=true>On this page</button><ul><li><a href=#a>{PROSE} 3</a></ul>", [f"{PROSE} 3"]),
        (f"<button class=toggle>Parts</button><div><h2>Hulls</h2><p>{PROSE} 3</p></div>", ["Hulls", f"{PROSE} 3"]),
        ("<table><tr><th><button>City</button><th><button>People</button><tr><td>Oslo<td>700 000</table>",
         ["City | People\nOslo | 700 000"]),
        # Buttons that act.
        ("<table><tr><td>a<td><button>12</button><tr><td>c<td>d</table>", ["a\nc | d"]),
        (f"<h3>How long is it? <button>Copy link</button></h3><p>{PROSE} 3</p>", ["How long is it?", f"{PROSE} 3"]),
        (f"<p>{PROSE} 3 <button>Show more</button></p>", [f"{PROSE} 3"]),
        (f"<p>{PROSE} 3</p><button>Copy</button> <button>Teilen</button><p>{PROSE} 4</p>",
         [f"{PROSE} 3", f"{PROSE} 4"]),
        (f"<p>{PROSE} 3</p><p><button>分享</button> <button>关闭</button></p><p>{PROSE} 4</p>",
         [f"{PROSE} 3", f"{PROSE} 4"]),
        (f"<p>{PROSE} 3</p><form>Your name <input> <button>here</button> please<p>{PROSE} 4</p></form>",
         [f"{PROSE} 3", "Your name please", f"{PROSE} 4"]),
        ("<pre>make <button>all</button> tests</pre>", ["make  tests"]),
        (f"<p>{PROSE} 3</p><div role=toolbar>Make it <button>bold</button> or not</div><p>{PROSE} 4</p>",
         [f"{PROSE} 3", f"{PROSE} 4"]),
        ("<p>Was this helpful? <button>Yes</button> <button>No</button></p>", ["Was this helpful?"]),
    ],
)  # fmt: skip
def test_words_of_sentences_and_headings_in_buttons_stay_and_buttons_that_act_go(html: str, texts: list[str]) -> None:
    assert outline(html) == texts


@pytest.mark.parametrize(
    "hiding",
    ["hidden", "style='display: none'", "style='visibility:hidden'", "style='visibility: collapse'", "class=sr-only",
     "class='u visually-hidden'"],
)  # fmt: skip
def test_hidden_cells_rows_and_words_of_tables_are_left_out(hiding: str) -> None:
    head, row = "<tr><td>a</td><td>b</td></tr>", "<tr><td>c</td><td>d</td></tr>"
    table = f"<table>{head}<tr {hiding}><td>x</td><td>y</td></tr>{row}</table>"
    assert outline(table) == ["a | b\nc | d"]
    assert outline(f"<table><tbody>{head}{row}</tbody><tbody {hiding}>{row}</tbody></table>") == ["a | b\nc | d"]
    cell = f"<td {hiding}>x</td>"
    assert outline(f"<table><tr><td>a</td>{cell}<td>b</td></tr><tr><td>c</td>{cell}<td>d</td></tr></table>") == [
        "a | b\nc | d"
    ]
    assert outline(f"<table><tr><td>a<span {hiding}>00</span></td><td>b</td></tr>{row}</table>") == ["a | b\nc | d"]
    assert outline(f"<table><caption {hiding}>x</caption>{head}{row}</table>") == ["a | b\nc | d"]


@pytest.mark.parametrize(
    "shown", ["hidden=until-found", "style='display:block'", "class=not-hidden", "class=hidden-xs"]
)
def test_what_is_shown_stays_in_tables_and_elsewhere(shown: str) -> None:
    table = f"<table><tr><td>a</td><td>b</td></tr><tr {shown}><td>c</td><td>d</td></tr></table>"
    assert outline(f"{table}<div {shown}><p>{PROSE} 3</p></div>") == ["a | b\nc | d", f"{PROSE} 3"]


def test_hidden_words_of_captions_and_titles_are_left_out() -> None:
    figure = (
        "<figure><img src=a.png><figcaption>Boats<span style='display:none'> (enlarge)</span></figcaption></figure>"
    )
    assert outline(figure) == ["[a.png]Boats"]
    assert outline("<figure><img src=a.png><figcaption hidden>Boats</figcaption></figure>") == ["[a.png]"]
    page = b"<h1><span class=sr-only>Page: </span>Boats</h1><p>Words.</p>"
    content = read_page(page, "utf-8", "https://a.example/", ())
    assert isinstance(content, PageContent)
    assert content.title == "Boats"


def test_what_was_deleted_is_not_the_text_and_what_was_inserted_is() -> None:
    assert outline("<p>It costs <del>$99</del><ins>$79</ins> now.</p>") == ["It costs $79 now."]
    assert outline("<table><tr><td>Boat<td>Price<tr><td>Small<td><DEL>$99</DEL> $79</table>") == [
        "Boat | Price\nSmall | $79"
    ]
    assert outline(f"<del><p>{PROSE} 3</p></del><ins><p>{PROSE} 4</p></ins>") == [f"{PROSE} 4"]


@pytest.mark.parametrize("tag", ["s", "strike"])
def test_what_is_struck_out_goes_where_its_successor_stands_beside_it(tag: str) -> None:
    struck = f"<{tag}>$99</{tag}>"
    assert outline(f"<p>It costs {struck} $79 now.</p>") == ["It costs $79 now."]
    assert outline(f"<p>It costs $79 ({struck}) now.</p>") == ["It costs $79 () now."]
    assert outline(f"<p>The <{tag}>colour</{tag}> <ins>color</ins> red.</p>") == ["The color red."]
    assert outline(f"<p>My <{tag}>friends</{tag}> guests ate it all.</p>") == ["My friends guests ate it all."]
    assert outline(f"<p>The option <{tag}>-quality 92</{tag}> is gone.</p>") == ["The option -quality 92 is gone."]


def test_a_deletion_that_was_never_closed_costs_none_of_the_text() -> None:
    paragraphs = "".join(f"<p>{PROSE} {number}</p>" for number in range(3, 40))
    assert len(outline(f"<div><del>{paragraphs}</div>")) == 37


CARD = (
    "<template shadowrootmode={}><style>p {{}}</style><h2><slot name=title>Untitled</slot></h2><p><slot></slot></p>"
    "</template>"
)


@pytest.mark.parametrize(
    ("html", "texts"),
    [
        (f"<my-card><template shadowrootmode=open><p>{PROSE} 3</p></template></my-card>", [f"{PROSE} 3"]),
        (f"<my-card><template shadowrootmode=CLOSED><p>{PROSE} 3</p></template>unseen</my-card>", [f"{PROSE} 3"]),
        (f"<div><template shadowroot=open><p>{PROSE} 3</p></template></div>", [f"{PROSE} 3"]),
        (f"<my-card>{CARD.format('open')}{PROSE} <b>3</b> and on<b slot=title>Boats</b></my-card>",
         ["Boats", f"{PROSE} 3 and on"]),
        (f"<my-card><b slot=title>Boats</b>{PROSE}{CARD.format('open')}<b slot=other>unseen</b> 3</my-card>",
         ["Boats", f"{PROSE} 3"]),
        (f"<my-card>{CARD.format('open')}<i>{PROSE} 3</i></my-card>", ["Untitled", f"{PROSE} 3"]),
        ("<p>A <my-tag><template shadowrootmode=open><b>new</b></template></my-tag> boat.</p>", ["A new boat."]),
        (f"<my-card><template shadowrootmode=open><p>{PROSE} 3</p><img src=a.png></template></my-card>",
         [f"{PROSE} 3", "[a.png]"]),
        (f"<a-a><template shadowrootmode=open><b-b><template shadowrootmode=open><p><slot></slot></p></template>"
         f"<slot></slot></b-b></template>{PROSE} 3</a-a>", [f"{PROSE} 3"]),
        # Templates that nobody sees.
        (f"<div><template><p>{PROSE} 3</p><img src=a.png></template></div>", []),
        (f"<div><template shadowrootmode=none><p>{PROSE} 3</p></template></div>", []),
        (f"<ul><template shadowrootmode=open><p>{PROSE} 3</p></template></ul>", []),  # no host for one
        (f"<template><my-card><template shadowrootmode=open><p>{PROSE} 3</p></template></my-card></template>", []),
        (f"<my-card><template shadowrootmode=open><p>{PROSE} 3</p></template>"
         f"<template shadowrootmode=open><p>{PROSE} 4</p></template></my-card>", [f"{PROSE} 3"]),
    ],
)  # fmt: skip
def test_a_shadow_root_is_what_its_host_shows(html: str, texts: list[str]) -> None:
    assert outline(html) == texts


@pytest.mark.parametrize(
    "unit",
    [
        "2<sup>", "<button>a ", "<math><msup><mi>x</mi>", "<del>a", "<a-b><template shadowrootmode=open><slot></slot>",
        "<a-b><template shadowrootmode=open><slot></slot></template>", "<img class=tex alt='x^2'>",
        "<span class=katex>",
        "<script type=math/tex>x</script>", "<sup>2</sup>", "<span class=MathJax></span>", r"<span class=math>\(",
        r"<span class=math>\(</span>\(", r"\begin{align}", r"<b class=eqno>1</b>\[",
    ],
)  # fmt: skip
def test_hostile_pages_take_linear_time(unit: str) -> None:
    page = f"<script>MathJax</script><p>{PROSE}</p>{unit * 20_000}".encode()
    start = time.process_time()
    read_page(page, "utf-8", "https://a.example/", ())
    assert time.process_time() - start < 15


MEMBER = (
    "<tr><td class={0}Left align=right>static <a href=f>Flag</a><td class={0}Right><a href=a>sail</a> (int n)</td></tr>"
)
MEMBERS = MEMBER.format("memItem")
TEMPLATES = MEMBER.format("memTemplItem") * 2
SIGNATURE = (
    "<div class=memproto><table class=memname><tr><td class=memname>void sail</td><td>(</td><td class=paramtype>int"
    "</td><td class=paramname><em>n</em>, </td></tr><tr><td class=paramkey></td><td></td><td class=paramtype>int&#160;"
    "</td><td class=paramname><em>m</em></td></tr><tr><td></td><td>)</td><td></td></tr></table></div>"
)
SOURCE = "<dl class=py><dt>sail(n)<a {0}</a></dt><dd>It sails.</dd></dl>"


@pytest.mark.parametrize(
    ("html", "texts"),
    [
        ("<dl><dt><b>n</b><span class=classifier>float</span></dt><dd>Boats.</dd></dl>", ["n : float", "Boats."]),
        ("<dl><dt>n<span class=classifier><a href=f>int</a></span><span class=classifier>optional</span></dl>",
         ["n : int : optional"]),
        ("<dl><dt>n <span class=delimiter>:</span> <span class='x classifier'>int</span></dl>", ["n : int"]),
        ("<p>n<span class=classifier>float</span></p>", ["nfloat"]),
        (f"<table><tr><td colspan=2><h2>Members</h2></td></tr>{MEMBERS}<tr><td class=mdescLeft>&#160;</td>"
         "<td class=mdescRight>It sails.</td></tr></table>", ["Members", "static Flag sail (int n)", "It sails."]),
        (f"<table>{TEMPLATES}</table>", ["static Flag sail (int n)"] * 2),
        (SIGNATURE, ["void sail ( int n, int m )"]),
        (SOURCE.format("class=viewcode-link href=s>[source]"), ["sail(n)", "It sails."]),
        (SOURCE.format("class=x href=s><span class=viewcode-link>[source]</span>"), ["sail(n)", "It sails."]),
        ("<pre><a class=viewcode-back href=a>[docs]</a>def sail(n):\n    pass</pre>", ["def sail(n):\n    pass"]),
        ("<p>See the <a href=s>[source]</a> or the [docs].</p>", ["See the [source] or the [docs]."]),
    ],
)  # fmt: skip
def test_entries_of_reference_manuals_are_lines_as_a_browser_shows_them(html: str, texts: list[str]) -> None:
    assert outline(html) == texts
