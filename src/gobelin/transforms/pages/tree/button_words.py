"""Words on buttons that perform an action, in the most common languages of the web."""

from __future__ import annotations

import re

_MAX_CHARS = 40

_ACTS = re.compile(
    "|".join((
        # whole
        r"(?:copy|copied|share|tweet|search|menu|close|open|send|go|ok(?:ay)?|yes|no|x|more|less|edit|delete|remove|reply"
        r"|report|like|dislike|vote|upvote|downvote|play|pause|listen|mute|unmute|next|previous|prev|back|submit|cancel"
        r"|reset|clear|refresh|reload|retry|save|print|download|upload|accept|agree|reject|decline|dismiss|hide|show"
        r"|expand|collapse|toggle|filter|sort|apply|buy|order|checkout|follow|following|unfollow|subscribe|donate|join"
        r"|translate|infos?|contents|details|options|run|start|stop|select|choose|login|logout|register|email|e-mail|facebook|twitter|whatsapp|linkedin"
        r"|pinterest|reddit|telegram|settings|feedback|help|zoom|fullscreen|skip|continue|bookmark|pin|star|watch|fork)",
        # beginnings
        r"(?:copy|share|search|close|open|show|hide|see|view|load|read|learn|expand|collapse|toggle|add to|sign|log|get"
        r"|skip|jump|scroll|back|go|try|buy|order|subscribe|follow|contact|leave|post|write|report|download|print|save|send"
        r"|accept|reject|manage|allow|deny|click|tap|press|play|listen|watch|start|join|register|create|edit|enable|reload|refresh"
        r"|disable|switch|change|select|choose|zoom|enlarge)\b.{0,30}",
        r"(?:on this page|in this article|table of contents)",
        # German
        r"(?:inhalt(?:sverzeichnis)?|auf dieser seite|kopieren"
        r"|teilen|suchen?|men(?:ü|u)|schlie(?:ß|ss)en|abonnieren|anmelden|abmelden|registrieren|drucken"
        r"|speichern|bearbeiten|antworten|melden|weiter|zur(?:ü|ue)ck|abbrechen|akzeptieren|zustimmen|ablehnen|absenden"
        r"|senden|herunterladen|folgen|merken|kaufen|(?:mehr|weniger|alle)\b.{0,20}|.{1,20} (?:anzeigen|laden|teilen"
        r"|kopieren|lesen|(?:ö|oe)ffnen|schlie(?:ß|ss)en|ausblenden|einblenden))",
        # French
        r"(?:sommaire|copier|partager|rechercher|fermer|ouvrir|s.abonner|connexion|imprimer|enregistrer|modifier|r(?:é|e)pondre"
        r"|suivre|suivant|pr(?:é|e)c(?:é|e)dent|retour|envoyer|annuler|(?:tout )?accepter|(?:tout )?refuser"
        r"|t(?:é|e)l(?:é|e)charger|acheter|(?:lire|voir|afficher|charger|masquer|en savoir)\b.{0,25})",
        # Spanish, Portuguese, Italian
        r"(?:copiar|compartir|compartilhar|partilhar|buscar|pesquisar|men(?:ú|u)|cerrar|fechar|abrir|suscribirse|imprimir"
        r"|guardar|salvar|editar|responder|seguir|siguiente|pr(?:ó|o)ximo|anterior|volver|voltar|enviar|cancelar|aceptar"
        r"|aceitar|rechazar|rejeitar|descargar|baixar|comprar|(?:leer|ver|mostrar|cargar|ler|carregar|iniciar)\b.{0,25}"
        r"|copia|condividi|cerca|chiudi|apri|iscriviti|accedi|stampa|salva|modifica|rispondi|segui|avanti|indietro|invia"
        r"|annulla|accetta|rifiuta|scarica|acquista|(?:leggi|mostra|carica|vedi)\b.{0,25})",
        # Dutch, Swedish, Polish
        r"(?:kopi(?:ë|e)ren|delen|zoeken|sluiten|abonneren|inloggen|afdrukken|opslaan|volgende|vorige|verzenden|annuleren"
        r"|dela|s(?:ö|o)k|st(?:ä|a)ng|skriv ut|n(?:ä|a)sta|skicka|avbryt|kopiuj|udost(?:ę|e)pnij|szukaj|zamknij|drukuj"
        r"|zapisz|dalej|wstecz|wy(?:ś|s)lij|anuluj|(?:meer|lees|visa|l(?:ä|a)s|poka(?:ż|z)|czytaj)\b.{0,25})",
        # Russian
        r"(?:к?копировать|скопировать|поделиться|поиск|искать|найти|меню|закрыть|открыть|подписаться|войти|вход|печать"
        r"|сохранить|редактировать|ответить|далее|вперед|назад|отправить|отмена|принять|скачать|купить"
        r"|(?:показать|читать|загрузить|скрыть|развернуть|свернуть)\b.{0,25})",
        # Chinese, Japanese, Korean
        r"(?:目录|目錄|阅读|閱讀|复制|複製|分享|搜索|搜尋|菜单|選單|关闭|關閉|打开|订阅|訂閱|登录|登入|注册|註冊|更多|展开|展開|收起|保存|打印|下载"
        r"|下載|编辑|編輯|回复|回覆|举报|点赞|收藏|关注|關注|上一页|下一页|返回|提交|取消|确定|確定|同意|拒绝|购买).{0,6}",
        r"(?:コピー|共有|シェア|検索|メニュー|閉じる|開く|購読|ログイン|登録|もっと見る|続きを読む|印刷|保存|編集|返信|次へ|前へ|戻る"
        r"|送信|キャンセル|同意する|ダウンロード|購入).{0,6}",
        r"(?:복사|공유|검색|메뉴|닫기|열기|구독|로그인|더 ?보기|인쇄|저장|수정|답글|다음|이전|전송|취소|동의|다운로드)"
        r".{0,6}",
    )),
    re.I,
)  # fmt: skip


def names_action(words: str) -> bool:
    """Whether the words of a button name an action: "Copy", "Show all answers", "Schließen", "关闭"."""
    text = " ".join(words.split()).strip(" .!…×✕+-▼▾▲›»‹«→←")
    return len(text) <= _MAX_CHARS and _ACTS.fullmatch(text) is not None
