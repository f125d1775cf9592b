"""The programming language of a block of code, as its page names it.

    <code class="language-python">      HTML, section 4.5.15; CommonMark, Prism, highlight.js, mdBook, Docusaurus
    <div class="highlight-python">      Sphinx; highlight-source-python on GitHub
    <pre class="brush: python">         SyntaxHighlighter, MediaWiki's mw-highlight-lang-python, Org's src-python
    <code data-lang="python">           Hugo, Jekyll; data-language, data-enlighter-language
    <pre class="code python literal-block">     docutils
    <pre class="sourceCode python">     Pandoc, Quarto; hljs, prettyprint: a bare word that is the name of a language

The name is kept as written, in lower case, so one language may have several names. Words for an unknown language
(``default``, ``none``) are ignored.
"""

from __future__ import annotations

import re
from itertools import islice

from lxml.etree import _Element

from gobelin.data.model import LANGUAGE

_UNKNOWN = frozenset((
    "default", "none", "nohighlight", "no-highlight", "undefined", "null", "unknown", "auto", "guess", "plain",
    "highlight", "en", "ltr", "rtl",
))  # fmt: skip
_ATTRIBUTES = ("data-lang", "data-language", "data-code-language", "data-enlighter-language", "data-syntax")
_NAMED = re.compile(
    r"(?:^|[\s;])(?:language-|lang(?:uage)?[-:]|highlight-(?:source-|text-)?|brush:\s{0,4}|mw-highlight-lang-|src-"
    r"|code-lang(?:uage)?-|hljs-lang-|syntax-|code\s(?=\S{1,60}\sliteral-block))\{?\.?(?P<name>[\w#+.-]{1,60})",
    re.I,
)
_BARE = re.compile(
    r"(?:^|\s)(?:sourceCode|hljs|prettyprint|programlisting|rust|codehilite|code|src|prism-code)(?:\s|$)"
)
_MAX_LEVELS = 8
_MAX_INSIDE = 3
_MAX_CLASS_CHARS = 200
_AROUND = frozenset(("div", "figure", "td", "tr", "tbody", "table", "span", "code-block", "clipboard-copy"))
"""Elements that may stand between code and the element that names its language."""

_LANGUAGES = frozenset((
    "abap", "actionscript", "ada", "adoc", "apache", "apacheconf", "applescript", "arduino", "asciidoc", "asm",
    "assembly", "autohotkey", "awk", "bash", "basic", "bat", "batch", "bibtex", "c", "c#", "c++", "clojure", "cmake",
    "cmd", "cobol", "coffee", "coffeescript", "common-lisp", "conf", "console", "coq", "cpp", "cs", "csharp", "css",
    "csv", "cuda", "cython", "d", "dart", "delphi", "diff", "django", "docker", "dockerfile", "dos", "dot", "elisp",
    "elixir", "elm", "emacs-lisp", "erb", "erlang", "f#", "fish", "fortran", "fsharp", "gherkin", "git", "glsl",
    "gnuplot", "go", "golang", "gradle", "graphql", "groovy", "haml", "handlebars", "haskell", "hcl", "html", "http",
    "idris", "ini", "ipython", "ipython3", "java", "javascript", "jinja", "jinja2", "jl", "js", "json", "json5",
    "jsonc", "jsx", "julia", "kotlin", "kt", "latex", "less", "lisp", "llvm", "log", "lua", "make", "makefile",
    "markdown", "mathematica", "matlab", "md", "mermaid", "meson", "nasm", "nginx", "nim", "nix", "objc",
    "objective-c", "objectivec", "ocaml", "octave", "pascal", "perl", "php", "plaintext", "postgresql", "powershell",
    "prolog", "properties", "proto", "protobuf", "ps1", "puppet", "py", "py3", "pycon", "pytb", "python", "python2",
    "python3", "qml", "r", "racket", "raku", "rb", "reason", "rego", "rest", "rst", "ruby", "rust", "sas", "sass",
    "scala", "scheme", "scss", "sed", "sh", "shell", "shell-session", "smalltalk", "solidity", "sparql", "sql",
    "ssh-config", "stan", "svelte", "swift", "systemd", "systemverilog", "tcl", "terraform", "tex", "text", "toml",
    "ts", "tsx", "turtle", "twig", "txt", "typescript", "v", "vala", "vb", "vbnet", "verilog", "vhdl", "vim", "viml",
    "vue", "wasm", "xml", "xquery", "xslt", "yaml", "yml", "zig", "zsh",
))  # fmt: skip
"""Names that count even if only the word itself suggests a language: bare words of a class, ``lang``, and names on an
element around the code, where ``lang-de`` may be a natural language."""


def code_language(code: _Element) -> str | None:
    """The language that an element of code, its first descendants or its ancestors name, in lower case; None if none
    does.

    Args:
        code: a <pre> or a similar element.
    """
    inside = [part for part in islice(code.iterdescendants(), _MAX_INSIDE) if part.tag in ("code", "samp", "kbd")]
    for element in (code, *inside):
        name = _stated(element, is_code=True)
        if name is not None:
            return name
    for around in islice(code.iterancestors(), _MAX_LEVELS):
        if around.tag not in _AROUND:
            return None
        name = _stated(around, is_code=False)
        if name is not None:
            return name
    return None


def _stated(element: _Element, is_code: bool) -> str | None:
    if not len(element.attrib):
        return None
    for attribute in _ATTRIBUTES:
        name = _named(element.get(attribute))
        if name is not None:
            return name
    classes = (element.get("class") or "")[:_MAX_CLASS_CHARS]
    for found in _NAMED.finditer(classes):
        name = _named(found["name"])
        if name is not None and (is_code or name in _LANGUAGES or "notranslate" in classes):
            return name
    words = [element.get("lang") or ""] if is_code else []
    if _BARE.search(classes):
        words += classes.split()
    return next((word.lower() for word in words if word.lower() in _LANGUAGES and word != "code"), None)


def _named(word: str | None) -> str | None:
    name = (word or "").strip().lower()
    return name if LANGUAGE.fullmatch(name) and name not in _UNKNOWN else None
