#!/bin/bash
# Web archives of sites that gobelin's main-content extractor was not developed on, for bench/extraction.py --web.
#
#     bench/make_unseen.sh OUT          # Debian 12 with wget and python3; about 100 MB of packages, five minutes
#
# Takes the HTML manuals of Debian packages, serves them on loopback under made-up host names (a plain file server that
# wget is told to use as its proxy) and crawls a sample of each: at most 60 pages that show an image of their own (one
# that at most a twentieth of the site's pages, or three of them, show) and at most 15 that show none, evenly over the
# sorted paths, each with its images and other requisites. Leaves OUT/warc/SITE.warc.gz, one a site, written by wget.
# gold/unseen.yaml says which generator made each site and where its main content is.
set -euo pipefail

[[ $# == 1 ]] || { echo "usage: $0 OUT" >&2; exit 2; }
mkdir -p "$1"/{deb,unpacked,lists,warc}
out=$(cd "$1" && pwd)
port=${PORT:-8765}

# site  package  folder of the package  pages (glob under the folder)
sites="
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

root="$out/root/http:"  # what a proxy is asked for is http://HOST/PATH; a file server looks for that path
rm -rf "$out/root"
mkdir -p "$root"
while read -r site package folder glob; do
    [[ -n $site ]] || continue
    if [[ ! -d $out/unpacked/$package ]]; then
        (cd "$out/deb" && apt-get download -q "$package")
        dpkg-deb -x "$out"/deb/"$package"_*.deb "$out/unpacked/$package"
    fi
    ln -s "$out/unpacked/$package/$folder" "$root/$site.example"
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
        --tries=1 --timeout=10 \
        --page-requisites --domains="$site.example" --input-file="$out/lists/$site" --directory-prefix="$out/mirror" \
        --warc-file="$out/warc/$site" --warc-tempdir="$out" || [[ $? == 8 ]]
    echo "$site: $(wc -l < "$out/lists/$site") pages, $(stat -c %s "$out/warc/$site.warc.gz") bytes"
done <<< "$sites"
rm -rf "$out/mirror" "$out/root"
