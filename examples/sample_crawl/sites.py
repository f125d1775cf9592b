"""The six sites of the crawl: their names, the places of their files, and the template of their pages.

All addresses end in ``.example``, which RFC 2606 reserves.
"""

from __future__ import annotations

from examples.sample_crawl.templates import (
    Site,
    render_article,
    render_blog,
    render_divs,
    render_gallery,
    render_manual,
    render_table,
)

SITES = (
    Site(
        "shapes", "shapes.example", "Shape Notes", (52, 92, 128), ("Notes", "Drawers", "People", "Contact"),
        "Copyright 2025 the makers of Shape Notes. All rights reserved.",
        ("Get our letter with new notes every month: leave your address at the desk.",
         "This site uses cookies so that it can remember what you have read."),
        "/notes/{n:04d}/", "https://shapes.example/img/{n:04d}/{k}.png", "root", "figcaption", render_article,
    ),
    Site(
        "gallery", "gallery.example", "The Plain Gallery", (96, 64, 88), ("Visit", "Rooms", "Shop", "Press"),
        "The Plain Gallery is a registered charity and is open from ten to five.",
        ("Tickets are sold at the door and on our site until four in the afternoon.",
         "By using this site you agree to our terms and to our privacy policy."),
        "/rooms/room-{n}.html", "https://img.gallery.example/rooms/{n}/{k}.png", "absolute", "figcaption",
        render_gallery,
    ),
    Site(
        "atlas", "atlas.example", "Atlas of Forms", (70, 96, 72), ("Sheets", "Index", "Order", "Imprint"),
        "Atlas of Forms, published by the Atlas Press, all sheets printed on heavy paper.",
        ("Order the bound edition now and save a tenth of the price of the single sheets.",
         "We keep a small file on your computer to count the visits to our sheets."),
        "/plates/{n}.html", "https://atlas.example/plates/pics/{n}/{k}.png", "relative", "paragraph", render_table,
    ),
    Site(
        "blog", "blog.example", "Rain and Paper", (64, 88, 120), ("Home", "About", "Archive"),
        "Powered by a small program that was written on a train.",
        ("I draw and I write, and you can hire me for one of the two.",
         "All entries may be shared as long as they are shared as a whole."),
        "/2025/entry-{n}/", "https://static.blog.example/uploads/{n}/{k}.png", "scheme", "paragraph", render_blog,
    ),
    Site(
        "docs", "docs.example", "Plotter Manual", (84, 84, 92), ("Guide", "Samples", "Reference", "Changes"),
        "Plotter Manual, built from the sources of release four on the first of the month.",
        ("You are reading the manual of release four, which is the newest one.",
         "Help us to improve this manual and report what is wrong with it."),
        "/release-4/samples/{n}.html", "https://docs.example/release-4/_images/{n}/{k}.png", "relative", "figcaption",
        render_manual,
    ),
    Site(
        "studio", "www.studio.example", "Block Print Studio", (120, 76, 52), ("Start", "Sets", "Prices", "Visit us"),
        "Block Print Studio, the house with the green door, open on weekdays only.",
        ("Our prices are without tax, and we ship within a week of your order.",
         "Site made by hand, best seen with any browser that you like."),
        "/work.php?set={n}", "https://www.studio.example/files/set{n}/{k}.png", "root", "alt", render_divs,
    ),
)  # fmt: skip
