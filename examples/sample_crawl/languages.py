"""Pages in German, French, Spanish and Chinese: true words about scenes. A rule for English should drop them."""

from __future__ import annotations

import dataclasses

from numpy.random import Generator

from examples.sample_crawl.model import Scene


@dataclasses.dataclass(frozen=True, slots=True)
class Language:
    """The templates and words of one language. ``{a}`` is the shape with its colour and article."""

    name: str
    code: str  # ISO 639-1
    charset: str
    title: str
    introductions: tuple[str, ...]
    captions: tuple[str, ...]
    sentences: tuple[str, ...]
    shapes: dict[str, tuple[str, str]]  # kind -> (template with {c}, gender)
    colors: dict[str, dict[str, str]]  # color -> gender -> form
    backgrounds: dict[str, str]


def _genders(forms: str, genders: str) -> dict[str, str]:
    """ "rouge rouge", "mf" -> {"m": "rouge", "f": "rouge"}."""
    return dict(zip(genders, forms.split()))


GERMAN = Language(
    "german", "de", "iso-8859-1", "Zeichnungen aus dem Heft",
    (
        "Auf dieser Seite zeigen wir einige Zeichnungen, die in den letzten Wochen für unser Heft entstanden sind.",
        "Jede von ihnen hat nur eine einzige Form, und daneben steht, was man sehen kann.",
        "Wer möchte, kann die Bilder ausdrucken und über den Schreibtisch hängen.",
        "Die Farben haben wir so gelassen, wie sie aus der Dose kamen, und größer geht es leider nicht.",
    ),
    ("Das ist {a}.", "Hier sieht man {A4} auf {b} Grund.", "Ein Bild: {a}."),
    (
        "Auf diesem Blatt ist nur {a} zu sehen, und der Hintergrund ist {b0}.",
        "Wir haben hier {A4} gezeichnet, weil uns das schon lange gefehlt hat.",
        "Was man hier findet, ist {a}, und sonst gibt es auf dem Blatt nichts.",
        "Außer der Form selbst ist alles {b0} geblieben, so wie wir es haben wollten.",
        "Man braucht nicht lange zu raten: Es ist {a}.",
    ),
    {"circle": ("Kreis", "m"), "square": ("Quadrat", "n"), "triangle": ("Dreieck", "n"), "cross": ("Kreuz", "n")},
    {
        "red": _genders("roter rotes", "mn"), "green": _genders("grüner grünes", "mn"),
        "blue": _genders("blauer blaues", "mn"), "yellow": _genders("gelber gelbes", "mn"),
        "purple": _genders("violetter violettes", "mn"), "orange": _genders("orangefarbener orangefarbenes", "mn"),
    },
    {"white": "weiß", "black": "schwarz", "gray": "grau"},
)  # fmt: skip

FRENCH = Language(
    "french", "fr", "utf-8", "Dessins du carnet",
    (
        "Sur cette page nous montrons quelques dessins que nous avons faits ces dernières semaines pour le carnet.",
        "Chacun d'eux ne porte qu'une seule forme, et le texte à côté dit ce que l'on voit.",
        "Vous pouvez les imprimer et les accrocher au mur si cela vous plaît.",
        "Les couleurs sont restées telles qu'elles étaient, et nous n'y avons rien ajouté.",
    ),
    ("C'est {a}.", "On voit ici {a} sur un fond {b0}.", "Une image : {a}."),
    (
        "Sur cette feuille il n'y a qu'{a}, et le fond est {b0}.",
        "Nous avons dessiné {a} parce que cela nous manquait depuis longtemps.",
        "Ce que vous trouvez ici, c'est {a}, et rien d'autre ne se cache sur la feuille.",
        "En dehors de la forme elle-même, tout est resté {b0}, comme nous le voulions.",
        "Il ne faut pas chercher longtemps : c'est {a}.",
    ),
    {"circle": ("cercle", "m"), "square": ("carré", "m"), "triangle": ("triangle", "m"), "cross": ("croix", "f")},
    {
        "red": _genders("rouge rouge", "mf"), "green": _genders("vert verte", "mf"),
        "blue": _genders("bleu bleue", "mf"), "yellow": _genders("jaune jaune", "mf"),
        "purple": _genders("violet violette", "mf"), "orange": _genders("orange orange", "mf"),
    },
    {"white": "blanc", "black": "noir", "gray": "gris"},
)  # fmt: skip

SPANISH = Language(
    "spanish", "es", "utf-8", "Dibujos del cuaderno",
    (
        "En esta página mostramos algunos dibujos que hicimos durante las últimas semanas para nuestro cuaderno.",
        "Cada uno de ellos tiene una sola forma, y el texto de al lado dice lo que se ve.",
        "Quien quiera puede imprimirlos y colgarlos en la pared de su casa.",
        "Los colores se quedaron como estaban, y no les hemos añadido nada más.",
    ),
    ("Esto es {a}.", "Aquí se ve {a} sobre un fondo {b0}.", "Una imagen: {a}."),
    (
        "En esta hoja solo hay {a}, y el fondo es {b0}.",
        "Hemos dibujado {a} porque hacía mucho tiempo que nos faltaba.",
        "Lo que se encuentra aquí es {a}, y no hay nada más en la hoja.",
        "Aparte de la forma misma, todo se quedó {b0}, tal como lo queríamos.",
        "No hace falta buscar mucho: es {a}.",
    ),
    {"circle": ("círculo", "m"), "square": ("cuadrado", "m"), "triangle": ("triángulo", "m"), "cross": ("cruz", "f")},
    {
        "red": _genders("rojo roja", "mf"), "green": _genders("verde verde", "mf"),
        "blue": _genders("azul azul", "mf"), "yellow": _genders("amarillo amarilla", "mf"),
        "purple": _genders("morado morada", "mf"), "orange": _genders("anaranjado anaranjada", "mf"),
    },
    {"white": "blanco", "black": "negro", "gray": "gris"},
)  # fmt: skip

CHINESE = Language(
    "chinese", "zh", "utf-8", "画册里的图画",
    (
        "这一页展示了我们最近几个星期为画册画的一些图画。",
        "每一幅图画里只有一个形状，旁边的文字说明了图上有什么。",
        "如果您喜欢，可以把它们打印出来挂在墙上。",
        "颜色保持了原来的样子，我们没有再添加别的东西。",
    ),
    ("这是{a}。", "这里可以看到{b0}背景上的{a}。", "一幅图画：{a}。"),
    (
        "这张纸上只有{a}，背景是{b0}的。",
        "我们画了{a}，因为画册里一直缺少这样的图。",
        "您在这里看到的是{a}，纸上没有其他东西。",
        "除了形状本身以外，其余的地方都是{b0}的。",
        "不用猜很久，这就是{a}。",
    ),
    {"circle": ("圆形", "n"), "square": ("正方形", "n"), "triangle": ("三角形", "n"), "cross": ("十字形", "n")},
    {
        "red": {"n": "红色"}, "green": {"n": "绿色"}, "blue": {"n": "蓝色"}, "yellow": {"n": "黄色"},
        "purple": {"n": "紫色"}, "orange": {"n": "橙色"},
    },
    {"white": "白色", "black": "黑色", "gray": "灰色"},
)  # fmt: skip

LANGUAGES = {language.name: language for language in (GERMAN, FRENCH, SPANISH, CHINESE)}


def _noun_phrases(language: Language, scene: Scene) -> dict[str, str]:
    noun, gender = language.shapes[scene.kind]
    color = language.colors[scene.color][gender]
    background = language.backgrounds[scene.background]
    match language.code:
        case "de":
            accusative = f"einen {color[:-1]}n {noun}" if gender == "m" else f"ein {color} {noun}"
            return {"a": f"ein {color} {noun}", "A4": accusative, "b": f"{background}em", "b0": background}
        case "zh":
            return {"a": f"一个{color}的{noun}", "b0": background}
        case _:
            article = {"fr": {"m": "un", "f": "une"}, "es": {"m": "un", "f": "una"}}[language.code][gender]
            return {"a": f"{article} {noun} {color}", "b0": background}


def foreign_caption(language: Language, scene: Scene, rng: Generator) -> str:
    options = language.captions
    return options[int(rng.integers(len(options)))].format_map(_noun_phrases(language, scene))


def foreign_paragraph(language: Language, scene: Scene, rng: Generator) -> str:
    """Two sentences about a level-6 scene."""
    picked = rng.permutation(len(language.sentences))[:2].tolist()
    separator = "" if language.code == "zh" else " "
    return separator.join(language.sentences[i].format_map(_noun_phrases(language, scene)) for i in picked)
