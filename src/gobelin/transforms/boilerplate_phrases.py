"""What boilerplate says: the short texts under which sites list other pages, ask to share or subscribe, or begin their
comments, in the languages that most of the web is written in. All patterns look at the beginning of a folded text and
are linear in its length."""

from __future__ import annotations

import re

RELATED = re.compile(
    r"""[\W\d]{0,4}(?:
    related\b(?!\ (?:work|to\b|concepts?\b|functions?))|read\ (?:more|next|also|this)\b|see\ more\b|more\ (?:from|on|stories|news|articles|great|about)\b
    |(?:you\ (?:may|might)\ (?:also\ )?(?:like|enjoy|be\ interested)|you.ll\ also\ like)|recommended\b|most\ (?:popular|read|viewed|shared)\b
    |popular\ (?:posts|articles|stories|now)|don.?t\ miss|trending\b|latest\ (?:news|stories|articles|posts|from)|recent\ (?:posts|articles)
    |top\ stories|editor.?s?.?\ (?:picks?|choice)|what\ to\ read\ next|next\ (?:article|post|story)\b|previous\ (?:article|post|story)\b|up\ next\b
    |also\ (?:read|on)\b|must\ read|continue\ reading|further\ reading\ on|in\ other\ news|other\ (?:news|stories|articles|posts)\b
    |mehr\ (?:zum\ thema|dazu|zu\b|aus|artikel|news|von|infos)|noch\ mehr\ (?:infos|artikel|zum)|lesen\ sie\ (?:auch|mehr|hier|dazu)|das\ k(?:ö|oe)nnte\ (?:sie|dich)
    |weitere\ (?:aktuelle\ )?(?:artikel|themen|news|beitr|meldungen|nachrichten|inhalte)|auch\ interessant|passend\ zum\ thema|verwandte\ |(?:ä|ae)hnliche\ (?:artikel|beitr)
    |top.?themen|meist(?:gelesen|diskutiert|kommentiert|geklickt)|zum\ thema\b|weiterlesen|jetzt\ lesen|neueste\ (?:artikel|beitr)|vorheriger\ |n(?:ä|ae)chster\ (?:artikel|beitrag)
    |(?:à\ )?lire\ (?:aussi|(?:é|e)galement)|(?:à\ )?voir\ aussi\b|sur\ le\ m(?:ê|e)me\ (?:th(?:è|e)me|sujet)|les\ plus\ lus|articles?\ (?:li(?:é|e)s|similaires|associ)
    |le(?:e|a)\ (?:tamb|m(?:á|a)s|mais)|leia\ |veja\ (?:tamb|mais)|ver\ (?:tamb|m(?:á|a)s)|te\ puede\ interesar|puede\ interesarte|tamb(?:ié|é)n\ te\ |m(?:á|a)s\ (?:noticias|le(?:í|i)d|informaci(?:ó|o)n|sobre)
    |mais\ (?:not(?:í|i)cias|lidas)|noticias\ relacionadas|contenido\ relacionado|relacionad|contexto\ de\ la\ noticia|mira\b\W|voc(?:ê|e)\ (?:pode|tamb)
    |leggi\ (?:anche|pure|tutto)|potrebbe\ interessar|ti\ potrebbe|articoli\ correlati|lees\ (?:ook|meer|verder)|meer\ (?:over|nieuws)|l(?:ä|ae)s\ (?:mer|ocks(?:å|a)|också)
    |czytaj\ |zobacz\ (?:te|tak)|dowiedz\ si|polecamy|przeczytaj|читайте|по\ теме|похожие|смотрите\ также|другие\ (?:новости|статьи)|самые\ популярные
    |相关(?:文章|阅读|新闻|推荐)|推荐阅读|延伸阅读|猜你喜欢|上一篇|下一篇|関連(?:記事|リンク)|あわせて読みたい|おすすめ記事
    )""",
    re.I | re.X,
)

COMMENTS = re.compile(
    r"""[\W\d]{0,6}(?:comments?|responses?|replies|leave\ (?:a|your)\ (?:reply|comment)|post\ (?:a\ )?comment|add\ (?:a\ )?comment|join\ the\ (?:discussion|conversation)
    |thoughts?\ on\b|kommentare?|kommentar\ (?:schreiben|hinterlassen|verfassen)|schreibe?n?\ (?:sie\ )?(?:einen\ )?kommentar|diskussion|leserkommentare
    |(?:laisser\ un\ )?commentaires?|comentarios?|coment(?:á|a)rios?|deja\ (?:un\ comentario|tu)|deixe\ (?:um|seu)|commenti|lascia\ un\ commento|reacties?|komentarze
    |комментари\w*|отзывы|добавить\ комментарий|评论|发表评论|コメント)(?:\b|$)[^.!?]{0,60}$""",
    re.I | re.X,
)

CALLS = re.compile(
    r"""[\W]{0,4}(?:advert(?:isement|ising)?s?\b|anzeigen?\b|werbung\b|publicidad\b|publicit(?:é|e)\b|reklama?\b|sponsored\b|promoted\b
    |share\ (?:this|on|via|your|it|with)|share\b\W*$|teilen\b|diese[ns]?\ (?:seite|artikel|beitrag)\ teilen|artikel\ teilen|compart(?:ir|e|ilh)|partager|condividi
    |follow\ (?:us|me|him|her|our|the\ \w+|@|along|on)\b|like\ us\ on|folgen\ sie|folge\ uns|s(?:í|i)guenos|suivez|siga\ |find\ us\ on
    |subscribe\b|sign\ up\b|newsletter\b|zum\ newsletter|jetzt\ (?:anmelden|abonnieren|newsletter)|register\ (?:now|here|for)|suscr(?:í|i)bete|abonnez|inscrivez
    |click\ here\ (?:to\ (?:get\ the|subscribe|sign|read|join|follow|view)|for\ )|tap\ here\b|download\ (?:our|the)\ (?:free\ )?app|get\ (?:our|the)\ (?:free\ )?(?:app|newsletter)|join\ our\b
    |copyright\b|©|\(c\)\ |all\ rights\ reserved|alle\ rechte\ vorbehalten|tous\ droits|todos\ los\ derechos|todos\ os\ direitos|tutti\ i\ diritti
    |tags?\b\W|tagged\b|filed\ under|posted\ (?:in|on|by|under)\b|published\b|updated\b|last\ (?:updated|modified)|kategorien?\b|schlagw(?:ö|oe)rter|categor(?:y|ies)\b\W|keywords?:|topics?:|themen:
    |print\b\W*$|drucken\b|e-?mail\b\W*$|back\ to\ top|nach\ oben\b|nach\ oben|skip\ to|zur(?:ü|ue)ck\ (?:zur?|nach)|loading\b|please\ enable
    |view\ (?:all|comments|gallery)|show\ (?:more|comments)|load\ more|report\ (?:this|an?\ error)|suggest\ a\ correction|we\ want\ to\ hear\ (?:from|what)
    |if\ you\ (?:enjoyed|liked)\ (?:reading\ )?this|support\ (?:us|our)\b|donate\b|buy\ (?:now|tickets))""",
    re.I | re.X,
)

CREDIT = re.compile(
    r"""[\s(\[|]{0,4}(?:©|\(c\)|photos?\b(?:graph(?:er|y|s)?)?\W{0,3}(?:by|:|credit|courtesy|/)|images?\W{0,3}(?:by|:|credit|courtesy|source|via)|pictures?\W{0,3}(?:by|:)
    |credits?\W{0,3}:|source\W{0,3}:|foto(?:s|graf|credit)?\W{0,3}(?::|by|von|\|)|bild(?:er|nachweis|quelle|rechte)?\W{0,3}:|\(?quelle\W{0,3}:|symbol(?:bild|foto)|illustration\W{0,3}(?:by|:)
    |imagen?\W{0,3}:|cr(?:é|e)dits?\W|fuente\W{0,3}:|fot\.|zdj\.|фото\W{0,3}:|getty\ images|shutterstock|reuters\b|afp\b|file\ photo)""",
    re.I | re.X,
)
"""At the beginning of a short text beside an image: who made it."""

CREDIT_INSIDE = re.compile(
    r"©|getty\ ?images|shutterstock|istock|adobe\ ?stock|unsplash|pixabay|picture.?alliance|\b(?:afp|dpa|reuters|imago)\b|\(?\b(?:photo|foto|image|bild|picture)s?\b\s?(?::|by|/|©)|\bcourtesy\ of\b",
    re.I | re.X,
)
"""Anywhere in a short text below an image: it is the image's caption."""

DATE_OR_BYLINE = re.compile(
    r"""\d{1,2}:\d{2}|\b(?:19|20)\d\d\b|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|^\W{0,3}(?:by|von|por|par|di|door|av|od|autor\w*|author\w*|redaktion|editorial|published|updated|posted|\w+\ min(?:ute)?s?\b)
    |\b\d+\ (?:min|minute|comment|kommentar|view|share|word)|^\W*\d{0,6}\W*$|\bago\b""",
    re.I | re.X,
)
