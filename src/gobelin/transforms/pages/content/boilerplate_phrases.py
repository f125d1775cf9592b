"""Phrases of boilerplate in the most common languages of the web: headings of link lists, calls to share or subscribe,
headings of comments. All patterns but CREDIT_INSIDE and DATE_OR_BYLINE match at the beginning of a text with folded
white space. All are linear in its length."""

from __future__ import annotations

import re
from collections.abc import Iterable


def _begins(*phrases: str, lead: str = r"\W{0,4}", end: str = "") -> re.Pattern[str]:
    return re.compile(f"{lead}(?:{'|'.join(phrases)}){end}", re.I)


class _ByLetter:
    """Phrases by their first letter. A text is compared only with phrases that may begin with its first letter, which
    is five times as fast."""

    def __init__(self, *phrases: str) -> None:
        groups: dict[str, list[str]] = {}
        for phrase in phrases:
            for letter in _openings(phrase):
                groups.setdefault(letter, []).append(phrase)
        self._patterns = {letter: _begins(*group) for letter, group in groups.items()}

    def match(self, text: str) -> re.Match[str] | None:
        first = next(filter(str.isalnum, text[:5]), "").lower()
        pattern = self._patterns.get(first)
        return None if pattern is None else pattern.match(text)


def _openings(phrase: str) -> set[str]:
    """The first letters that a phrase may have. Its pattern begins with a letter or a group of such phrases, which may
    be optional."""
    if not phrase.startswith("(?:"):
        return {phrase[0]} | (_openings(phrase[2:]) if phrase[1:2] == "?" else set())
    depth, start, options = 0, 3, []
    for index, character in enumerate(phrase):
        depth += (character == "(") - (character == ")")
        if (character == "|" and depth == 1) or (character == ")" and depth == 0):
            options.append(phrase[start:index])
            start = index + 1
        if character == ")" and depth == 0:
            break
    letters = set().union(*map(_openings, options))
    return letters | (_openings(phrase[start + 1 :]) if phrase[start : start + 1] == "?" else set())


def _holds(phrases: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.I)


RELATED = _begins(
    r"related\b(?! (?:work|to\b|concepts?\b|functions?))", r"read (?:more|next|also|this)\b", r"see more\b",
    r"more (?:from|on|stories|news|articles|great|about)\b",
    "(?:you (?:may|might) (?:also )?(?:like|enjoy|be interested)|you.ll also like)", r"recommended\b",
    r"most (?:popular|read|viewed|shared)\b", "popular (?:posts|articles|stories|now)", "don.?t miss", r"trending\b",
    "latest (?:news|stories|articles|posts|from)", "recent (?:posts|articles)", "top stories",
    "editor.?s?.? (?:picks?|choice)", "what to read next", r"next (?:article|post|story)\b",
    r"previous (?:article|post|story)\b", r"up next\b", r"also (?:read|on)\b", "must read", "continue reading",
    "further reading on", "in other news", r"other (?:news|stories|articles|posts)\b",
    r"mehr (?:zum thema|dazu|zu\b|aus|artikel|news|von|infos)", "noch mehr (?:infos|artikel|zum)",
    "lesen sie (?:auch|mehr|hier|dazu)", "das k(?:ö|oe)nnte (?:sie|dich)",
    "weitere (?:aktuelle )?(?:artikel|themen|news|beitr|meldungen|nachrichten|inhalte)", "auch interessant",
    "passend zum thema", "verwandte", "(?:ä|ae)hnliche (?:artikel|beitr)", "top.?themen",
    "meist(?:gelesen|diskutiert|kommentiert|geklickt)", r"zum thema\b", "weiterlesen", "jetzt lesen",
    "neueste (?:artikel|beitr)", "vorheriger", "n(?:ä|ae)chster (?:artikel|beitrag)",
    "(?:à )?lire (?:aussi|(?:é|e)galement)", r"(?:à )?voir aussi\b", "sur le m(?:ê|e)me (?:th(?:è|e)me|sujet)",
    "les plus lus", "articles? (?:li(?:é|e)s|similaires|associ)", "le(?:e|a) (?:tamb|m(?:á|a)s|mais)", "leia",
    "veja (?:tamb|mais)", "ver (?:tamb|m(?:á|a)s)", "te puede interesar", "puede interesarte", "tamb(?:ié|é)n te",
    "m(?:á|a)s (?:noticias|le(?:í|i)d|informaci(?:ó|o)n|sobre)", "mais (?:not(?:í|i)cias|lidas)",
    "noticias relacionadas", "contenido relacionado", "relacionad", "contexto de la noticia", r"mira\b\W",
    "voc(?:ê|e) (?:pode|tamb)", "leggi (?:anche|pure|tutto)", "potrebbe interessar", "ti potrebbe",
    "articoli correlati", "lees (?:ook|meer|verder)", "meer (?:over|nieuws)", "l(?:ä|ae)s (?:mer|ocks(?:å|a)|också)",
    "czytaj", "zobacz (?:te|tak|r(?:ó|o)wnie|wideo)", "dowiedz si", "polecamy", "przeczytaj", "читайте", "по теме",
    "похожие", "смотрите также", "другие (?:новости|статьи)", "самые популярные", "相关(?:文章|阅读|新闻|推荐)",
    "推荐阅读", "延伸阅读", "猜你喜欢", "相關(?:文章|閱讀|新聞|報導)", "推薦閱讀", "延伸閱讀",
    "热门(?:文章|推荐|新闻|资讯)", "更多(?:新闻|新聞|文章|精彩|资讯)", "baca (?:juga|selengkapnya)",
    r"(?:lihat|simak) juga\b", "xem thêm", "tin liên quan", "ilgili haber", "관련 ?(?:기사|뉴스)", "関連ニュース",
    "上一篇", "下一篇", "関連(?:記事|リンク)", "あわせて読みたい", "おすすめ記事",
    lead=r"[\W\d]{0,4}",
)  # fmt: skip
"""Texts that introduce a list of other pages, or name one."""

COMMENTS = _begins(
    "comments?", "responses?", "replies", "leave (?:a|your) (?:reply|comment)", "post (?:a )?comment",
    "add (?:a )?comment", "join the (?:discussion|conversation)", r"thoughts? on\b", "kommentare?",
    "kommentar (?:schreiben|hinterlassen|verfassen)", "schreibe?n? (?:sie )?(?:einen )?kommentar", "diskussion",
    "leserkommentare", "(?:laisser un )?commentaires?", "comentarios?", "coment(?:á|a)rios?",
    "deja (?:un comentario|tu)", "deixe (?:um|seu)", "commenti", "lascia un commento", "reacties?", "komentarze",
    r"комментари\w*", "отзывы", "добавить комментарий", "评论", "发表评论", "コメント",
    lead=r"[\W\d]{0,6}",
    end=r"(?:\b|$)[^.!?]{0,60}$",
)  # fmt: skip
"""Short texts that introduce comments. The whole text must match."""

CALLS = _begins(
    r"advert(?:isement|ising)?s?\b", r"anzeigen?\b", r"werbung\b", r"publicidad\b", r"publicit(?:é|e)\b",
    r"reklama?\b", r"sponsored\b", r"promoted\b", "share (?:this|on|via|your|it|with)", r"share\b\W*$", r"teilen\b",
    "diese[ns]? (?:seite|artikel|beitrag) teilen", "artikel teilen", "compart(?:ir|e|ilh)", "partager", "condividi",
    r"follow (?:us|me|him|her|our|the \w+|@|along|on)\b", "like us on", "folgen sie", "folge uns", "s(?:í|i)guenos",
    "suivez", "siga", "find us on", r"subscribe\b", r"sign up\b", r"newsletter\b", "zum newsletter",
    "jetzt (?:anmelden|abonnieren|newsletter)", "register (?:now|here|for)", "suscr(?:í|i)bete", "abonnez",
    "inscrivez", "click here (?:to (?:get the|subscribe|sign|read|join|follow|view)|for )", r"tap here\b",
    "download (?:our|the) (?:free )?app", "get (?:our|the) (?:free )?(?:app|newsletter)", r"join our\b",
    r"copyright\b", "©", r"\(c\)", "all rights reserved", "alle rechte vorbehalten", "tous droits",
    "todos los derechos", "todos os direitos", "tutti i diritti", r"tags?\b\W", r"tagged\b", "filed under",
    r"posted (?:in|on|by|under)\b", r"published\b", r"updated\b", "last (?:updated|modified)", r"kategorien?\b",
    "schlagw(?:ö|oe)rter", r"categor(?:y|ies)\b\W", "keywords?:", "topics?:", "themen:", r"print\b\W*$",
    r"drucken\b", r"e-?mail\b\W*$", "back to top", r"nach oben\b", "nach oben", "skip to",
    "zur(?:ü|ue)ck (?:zur?|nach)", r"loading\b", "please enable", "view (?:all|comments|gallery)",
    "show (?:more|comments)", "load more", "report (?:this|an? error)", "suggest a correction",
    "we want to hear (?:from|what)", "if you (?:enjoyed|liked) (?:reading )?this", r"support (?:us|our)\b",
    r"donate\b", "buy (?:now|tickets)", "total running time of the script", r"estimated memory usage\b",
    "gallery generated by sphinx",
    "jump to (?:recipe|content|navigation)",
    "this (?:post|article|page|site)(?: may)? contains? (?:affiliate|references)",
    "we may (?:earn|receive|get) ",
    r"(?:on this page|in this article|(?:page|table of) contents|section navigation|edit this page|launch binder)\W*$",
    r"(?:edit|open|view) (?:on|in) (?:github|gitlab|bitbucket|colab|binder)\W*$", r"(?:show|view)(?: page)? source\W*$",
    r"(?:hide|show|toggle|open|close) (?:[a-z]+ ){0,4}(?:sidebar|menu)\W*$",
    "版权(?:所有|声明)", "版權(?:所有|聲明)", "转载请(?:注明|联系)", "免责声明", "分享(?:到|至)", r"广告\b",
    r"(?:更多|广告|廣告|举报|打印|收藏|分享|点赞)\W*$", "扫(?:一扫|码|描)", "無断(?:転載|複製)", "続きを読む",
    "この記事を(?:シェア|保存)", "무단 ?(?:전재|복제)", "저작권자", "поделиться", "подпи(?:саться|шитесь)",
    "udost(?:ę|e)pnij", "iscriviti", "seguici", "abone ol", "haberin devam", "artikel ini telah tayang",
    "dapatkan (?:update|berita)",
)  # fmt: skip
"""Calls to share, subscribe or buy; copyright notices; dates and categories of filing; run times of a generator."""

PLUGS = _ByLetter(
    r"(?:want|need|got|have) (?:more|us|an?|any|something)\b[^.?!]{0,80}\? ?(?:e-?mail|write|contact"
    r"|sign|subscribe|get|let us|drop|send|tell|join|share|follow|check|click)\b",
    r"listen (?:to|on|now|via|wherever)\b[^.!?]{0,90}\b(?:podcasts?|spotify|itunes|sponsor-free)\b",
    r"(?:get|have|receive) [^.!?]{0,80}\b(?:to|in) your inbox\b",
    r"(?:e-?mail|write to) (?:us|the (?:author|reporter|writer))\b",
    r"(?:story|article|video|text) continues (?:below|after)\b", r"skip (?:ad|past)\b",
    r"th(?:is|e) (?:story|article|post|piece|report) (?:originally|first) (?:appeared|ran)\b",
    r"th(?:is|e) (?:story|article|post|piece|report) (?:was|has been|is) (?:originally|first|updated"
    r"|corrected|republished)\b", r"(?:the )?(?:views|opinions)(?: and (?:views|opinions))? expressed\b",
    "media playback is (?:un|not )supported", r"your browser (?:does|can)\b",
    r"th(?:is|e) (?:video|content|audio) (?:is not|can ?not|could not)\b",
    r"(?:read|see) the (?:full|original|whole) (?:story|article|post|interview)\b", r"explore further\W*$",
    r"(?:become|be) an? (?:member|subscriber|patron)\b",
    r"(?:was|is) this (?:article|story|post|page) (?:helpful|useful)\b",
    r"thank(?:s| you) for (?:reading|subscribing|signing)\b", r"watch(?: (?:now|this|more|the video))?\s?:",
    "artikel (?:zum h(?:ö|oe)ren|anh(?:ö|oe)ren|merken|drucken|versenden)",
    "empfohlener (?:redaktioneller|externer) inhalt", "an dieser stelle finden sie", "externer inhalt",
    "fehler (?:gefunden|melden|im (?:text|artikel))", "noch keine bewertung",
    "hat ihnen (?:der|dieser) (?:artikel|beitrag)", "war dieser artikel",
    "(?:cet article est|contenu) r(?:é|e)serv(?:é|e)", "la suite apr(?:è|e)s", "lire la suite",
    "pour aller plus loin", "je m.abonne", "ha(?:z|ga) clic aqu(?:í|i)", "te recomendamos", "no te pierdas",
    "sigue leyendo",
    r"(?:recib|receb)[ae]\b[^.!?]{0,80}\b(?:newsletter|correo|e-?mail|whatsapp|bolet(?:í|i|ines)n?)\b", "clique aqui",
    "inscreva-se", "continua (?:depois|ap(?:ó|o)s) (?:d?a )?publicidade", "saiba mais",
    r"este (?:texto|artigo|conte(?:ú|u)do) n(?:ã|a)o reflete\b", r"texto em que o autor\b", "riproduzione riservata",
    "continua a leggere", "scopri di pi(?:ù|u)", "guarda (?:anche|il video)", "schrijf je in", "meld je aan",
    "tekst (?:gaat|loopt) (?:verder|door)", "de tekst gaat", r"w tym artykule(?: dowiesz| przeczytasz)?\b",
    "zobacz (?:wideo|te(?:ż|z)|tak(?:ż|z)e|r(?:ó|o)wnie(?:ż|z))", "dalsza cz(?:ę|e)(?:ś|s)(?:ć|c)",
    "zapisz si(?:ę|e)", "подпи(?:сывайтесь|шитесь)", "присоединяйтесь", "поделитесь", "нашли (?:опечатку|ошибку)",
    r"lihat foto\W*$", r"video (?:rekomendasi|lainnya|pilihan|terkait)\W*$", r"pilihan untukmu\W*$",
    r"berita (?:terkait|lainnya|terpopuler)\W*$", r"(?:selanjutnya|halaman berikutnya)\s?:", "ikuti (?:kami|saluran)",
    "artikel ini (?:telah|sudah)", "点击(?:查看|下载|进入|这里|关注)", "长按", "关注(?:我们|公众号|微信)",
    "本文(?:来自|转自|转载|仅代表|來自|轉自|轉載|僅代表)", "(?:特别|郑重|版权)?声明[:：]",
    "(?:文章|以上|本文)?观点(?:仅|不)代表", "未经(?:授权|许可|允许).{0,12}(?:转载|复制|使用)",
    "返回(?:搜狐|首页|列表|顶部)",
    "(?:展开|阅读|查看)(?:全文|原文|更多)", "大家都在看", "你可能(?:也|还|會|会)?(?:喜歡|喜欢|感兴趣|感興趣)",
    "看更多", "更多(?:相關|相关)", "下(?:载|載).{0,8}(?:app|客户端|客戶端)", r"目次(?:を(?:開く|見る|閉じる))?\W*$",
    "この記事(?:を(?:書いた|シェア)|が気に入)", "会員登録", "アプリで(?:開く|見る)",
    "(?:フォロー|シェア|ツイート|いいね)(?:する|して)", "人気(?:記事|ランキング)", "네이버에서", "기사 ?제보", "구독",
    "daha fazla (?:oku|haber|bilgi)", "bizi takip", r"(?:theo dõi|chia sẻ|đăng ký)\W*$", "prenumerera", "dela artikeln",
)  # fmt: skip
"""Notes of an article about itself or its site and not its subject: podcasts, newsletters, apps, first publication,
disclaimers, messages of a player that cannot play."""

BUTTONS = _begins(
    "enlarge", "expand", "close", "toggle", "hide", "caption", "zoom", "perbesar", "vergr(?:ö|oe)(?:ß|ss)ern",
    "agrandir", "ampliar",
    r"(?:(?:page|image|photo|slide|seite|bild|foto|p(?:á|a)gina|halaman) )?\d{1,3} ?(?:/|of|von|di|de|dari|sur|из)"
    r" ?\d{1,3}(?: (?:pages?|images?|photos?|slides?|halaman|seiten|bilder))?",
    end=r"(?: (?:image|caption|this|foto))?\W*$",
)  # fmt: skip
"""A whole line beside an image of an article: buttons, or "2 of 7". Not used for manuals, because they describe
buttons."""

SOURCES = _begins(
    r"(?:sources?|quelle|fonte|fuente|źródło|sumber|editor|penulis|provided by)\b", "编辑", "編輯", "来源", "來源",
    "原标题", "转载", "轉載", r".{0,40}(?:责任编辑|責任編輯|查看更多|(?:编辑|編輯|来源|來源)\s?[:：])",
)  # fmt: skip
"""A line below a text that names its source or editor. Chinese phrases for "more" are included."""

CREDIT_INSIDE = _holds((
    "©", "getty ?images", "shutterstock", "istock", "adobe ?stock", "unsplash", "pixabay", "picture.?alliance",
    r"[/(:|–-] ?(?:afp|dpa|reuters|imago)\b", r"\b(?:afp|dpa|reuters|imago)(?: ?[/)]|\W*$)",
    r"\(?\b(?:photo|foto|image|bild|picture)s?\b\s?(?::|by|/|©)",
    r"\bcourtesy of\b",
))  # fmt: skip
"""Found anywhere in a short text below an image. It names the image's creator, so the text is the image's caption."""

FIGURE_NUMBER = re.compile(
    r"(?:figure|fig\.?|abbildung|abb\.|bild|figura|рис(?:унок|\.)|rysunek|图|図)\s{0,3}\d{1,4}(?:[.-]\d{1,4}){0,3}\s?[.:\u2013\u2014]",
    re.I,
)
"""A line below an image that begins with a figure number is the image's caption."""

_ADDRESS = re.compile(r"https?://\S{4,}")


def is_address(text: str) -> bool:
    """Whether a text begins with a web address and consists of web addresses for at least half of its length."""
    return text.startswith("http") and 2 * sum(map(len, _ADDRESS.findall(text))) >= len(text)


DATE_OR_BYLINE = _holds((
    r"\d{1,2}:\d{2}", r"\b(?:19|20)\d\d\b", r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}",
    r"^\W{0,3}(?:by|von|por|par|di|door|av|od|autor\w*|author\w*|redaktion|editorial|published|updated|posted)\b|^\W{0,3}(?-i:By[A-Z])",
    r"^\W{0,3}\w+ min(?:ute)?s?\b",
    r"\b\d+ (?:min|minute|comment|kommentar|view|share|word)", r"^\W*\d{0,6}\W*$", r"\bago\b",
    r"^\W{0,3}(?:阅读|浏览|点击|收藏|点赞|评论|转发|人气|閲覧|views?|reads?|likes?|조회|추천|dilihat|просмотр\w*|aufrufe)"
    r"(?:量|数|數|次数)?\W{0,3}[\d.,kw万]*\W*$",
    r"^\W{0,3}(?:作者|来源|來源|记者|記者|发布|發布|时间|時間|编辑|編輯|日期|出处|文)\s?[:：/／|｜]",
    r"^\W{0,3}版[权權]\W*$",
))  # fmt: skip
"""A date, an author, a reading time, or a count of views."""
