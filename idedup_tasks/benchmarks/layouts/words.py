"""Words, names and figures at random, in several languages; what they say means nothing."""

from __future__ import annotations

import numpy as np

LANGUAGES = {
    "en": (
        "river meeting report early window market quiet letter number garden house street water "
        "paper winter summer decision account payment delivery customer result average season city "
        "library station engine signal harbour bridge island forest kitchen ticket village evening "
        "morning journey picture question answer reason value change small large green open late "
        "before after while between under against without because perhaps never often"
    ),
    "de": (
        "Fluss Sitzung Bericht Fenster Markt Brief Nummer Garten Haus Straße Wasser Papier Winter "
        "Sommer Entscheidung Konto Zahlung Lieferung Kunde Ergebnis Durchschnitt Stadt Bücherei "
        "Bahnhof Maschine Signal Hafen Brücke Insel Wald Küche Fahrkarte Dorf Abend Morgen Reise "
        "Bild Frage Antwort Grund Wert Änderung klein groß grün offen spät vorher nachher während "
        "zwischen unter gegen ohne weil vielleicht niemals häufig"
    ),
    "fr": (
        "fleuve rapport fenêtre marché lettre numéro jardin maison rue eau papier hiver été "
        "décision compte paiement livraison client résultat moyenne saison ville bibliothèque gare "
        "moteur signal port pont île forêt cuisine billet village soir matin voyage image question "
        "réponse raison valeur changement petit grand vert ouvert tard avant après pendant entre "
        "sous contre sans parce peut-être jamais souvent"
    ),
    "es": (
        "río reunión informe ventana mercado carta número jardín casa calle agua papel invierno "
        "verano decisión cuenta pago entrega cliente resultado promedio estación ciudad biblioteca "
        "tren motor señal puerto puente isla bosque cocina billete pueblo mañana viaje imagen "
        "pregunta respuesta razón valor cambio pequeño grande verde abierto antes después mientras "
        "entre bajo contra sin porque quizás nunca siempre"
    ),
    "ru": (
        "река собрание отчёт окно рынок письмо номер сад дом улица вода бумага зима лето решение "
        "счёт оплата доставка клиент итог среднее сезон город библиотека вокзал машина сигнал порт "
        "мост остров лес кухня билет деревня вечер утро поездка картина вопрос ответ причина цена "
        "перемена малый большой зелёный открытый поздно раньше потом пока между под против без "
        "потому возможно никогда часто"
    ),
    "el": (
        "ποτάμι συνάντηση αναφορά παράθυρο αγορά γράμμα αριθμός κήπος σπίτι δρόμος νερό χαρτί "
        "χειμώνας καλοκαίρι απόφαση λογαριασμός πληρωμή παράδοση πελάτης αποτέλεσμα εποχή πόλη "
        "βιβλιοθήκη σταθμός μηχανή σήμα λιμάνι γέφυρα νησί δάσος κουζίνα εισιτήριο χωριό πρωί "
        "ταξίδι εικόνα ερώτηση απάντηση λόγος αξία αλλαγή μικρό μεγάλο πράσινο ανοιχτό αργά πριν "
        "μετά ανάμεσα κάτω εναντίον χωρίς επειδή ίσως ποτέ συχνά"
    ),
}
_WORDS = {language: text.split() for language, text in LANGUAGES.items()}

_SAID = (
    "Are you home yet?",
    "The train is late again, about twenty minutes.",
    "Could you bring bread and some milk?",
    "I found the keys, they were in the other coat.",
    "Happy birthday!! Hope you have a lovely day.",
    "Shall we say seven at the station?",
    "Mum asks whether you are coming on Sunday.",
    "The parcel came, I put it under the stairs.",
    "What was the name of that film?",
    "No idea, something with a lighthouse.",
    "The plumber can only come on Thursday morning.",
    "I booked the table for four people.",
    "Did you see the snow on the hills?",
    "Running late, start without me.",
    "The cat has been on the roof since noon.",
    "Thanks for yesterday, it was great to see everyone.",
    "My phone is nearly empty, call me on the other one.",
    "The meeting was moved to half past ten.",
    "Can you send me the address once more?",
    "Hafenstrasse 12, second floor, the bell says Meyer.",
    "I think we should take the earlier ferry.",
    "The dentist says it has to come out.",
    "Don't forget to water the tomatoes.",
    "The car needs new tyres before the holiday.",
    "He said maybe, which means no.",
    "Got the job!",
    "We are at the lake, the water is freezing.",
    "Two tickets left, shall I take them?",
    "The neighbours are drilling again.",
    "Send me the picture of the two of us on the bridge.",
    "It rained all day, so we went to the museum.",
    "I'll pay you back on Friday.",
    "There is soup in the fridge.",
    "Which size do you wear, 42 or 43?",
    "The concert was cancelled.",
    "Ok",
    "Sure, no problem.",
    "See you there",
    "That is a long story, I will tell you tonight.",
    "Good night",
)
_GOODS = (
    "Apples 1 kg", "Bread rye", "Butter 250 g", "Candles", "Cheese Gouda", "Chocolate dark",
    "Coffee beans", "Cucumber", "Eggs x10", "Flour 1 kg", "Grapes", "Honey", "Ice cream",
    "Jam plum", "Lemons x4", "Milk 1 l", "Mushrooms", "Napkins", "Oat flakes", "Olive oil",
    "Onions 1 kg", "Oranges 2 kg", "Paper towels", "Pasta penne", "Pepper black", "Rice basmati",
    "Salmon", "Shampoo", "Sparkling water", "Spinach", "Tea green", "Toothpaste", "Tomatoes",
    "Walnuts", "Yoghurt",
)  # fmt: skip
MEASURED = (
    "Visitors", "Orders", "Returns", "Support tickets", "New members", "Energy in MWh",
    "Rainfall in mm", "Page views in thousands", "Downloads", "Deliveries", "Loans",
    "Overnight stays",
)  # fmt: skip
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FIRST = """
    Anna Ben Carla David Elena Farid Greta Hugo Ines Jonas Katya Leo Mira Nils Olga Pablo Rosa
    Samir Tessa Umar Vera Wim Yuki Zoe
"""
_LAST = """
    Adams Becker Costa Dimitriou Eriksen Fischer Garcia Hansen Ivanova Jansen Kowalski Lindgren
    Meyer Novak Okafor Petrov Quist Rossi Sato Tanaka Ueda Vargas Weber Young Zhang
"""


def some(rng: np.random.Generator, language: str, count: int) -> str:
    """So many words."""
    return " ".join(rng.choice(_WORDS[language], count))


def title(rng: np.random.Generator, language: str, low: int = 2, high: int = 5) -> str:
    """A few words that begin with a capital: `low` or more, fewer than `high`."""
    text = some(rng, language, int(rng.integers(low, high)))
    return text[0].upper() + text[1:]


def sentence(rng: np.random.Generator, language: str) -> str:
    """Five to thirteen words with a full stop."""
    return title(rng, language, 5, 14) + "."


def paragraph(rng: np.random.Generator, language: str, sentences: int) -> str:
    """So many sentences."""
    return " ".join(sentence(rng, language) for _ in range(sentences))


def messages(rng: np.random.Generator, language: str, count: int) -> list[str]:
    """What people write to each other, each another one where the language has so many."""
    if language == "en":
        return [_SAID[n] for n in rng.permutation(len(_SAID))[:count]]
    return [title(rng, language, 1, 11) for _ in range(count)]


def goods(rng: np.random.Generator, language: str, count: int) -> list[str]:
    """What a shop sells, each another one where the language has so many."""
    if language == "en":
        return [str(good) for good in rng.choice(_GOODS, count, replace=False)]
    return [title(rng, language, 1, 3) for _ in range(count)]


def name(rng: np.random.Generator) -> str:
    """First and last name."""
    return f"{rng.choice(_FIRST.split())} {rng.choice(_LAST.split())}"


def digits(rng: np.random.Generator, count: int) -> str:
    """So many digits, the first not 0."""
    return str(rng.integers(10 ** (count - 1), 10**count))


def amount(rng: np.random.Generator, low: int = 1, high: int = 2000) -> str:
    """A sum of money without its currency."""
    return f"{rng.integers(low * 100, high * 100) / 100:,.2f}"


def day(rng: np.random.Generator) -> str:
    """A date."""
    return f"{rng.integers(1, 29):02}.{rng.integers(1, 13):02}.{rng.integers(2015, 2026)}"


def hour(rng: np.random.Generator) -> str:
    """A time of day."""
    return f"{rng.integers(6, 23):02}:{rng.integers(60):02}"
