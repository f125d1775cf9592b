#!/bin/bash
# Web archives of sites that gobelin's main-content extractor was not developed on, for bench/extraction.py --web.
#
#     bench/make_unseen.sh OUT          # the first set: Debian 12 with wget and python3; 100 MB of packages, five minutes
#     bench/make_unseen.sh OUT second   # the second set: npm, maven and pip besides; 120 MB and the packages of a builder
#
# Takes HTML manuals out of packages, serves them on loopback under made-up host names (a plain file server that
# wget is told to use as its proxy) and crawls a sample of each: at most 60 pages that show an image of their own (one
# that at most a twentieth of the site's pages, or three of them, show) and at most 15 that show none, evenly over the
# sorted paths, each with its images and other requisites. Leaves OUT/warc/SITE.warc.gz, one a site, written by wget.
# gold/unseen.yaml and gold/unseen2.yaml say which generator made each site and where its main content is.
set -euo pipefail

[[ $# == 1 || ($# == 2 && $2 == second) ]] || { echo "usage: $0 OUT [second]" >&2; exit 2; }
mkdir -p "$1"/{deb,unpacked,lists,warc}
out=$(cd "$1" && pwd)
port=${PORT:-8765}

# site  package  folder of the package  pages (glob under the folder)
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
sites=$first
[[ $# == 1 ]] || sites=$second

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
for path in sorted(folder.glob(glob)):
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
