"""Short stories from a grammar: who was where, what happened, who had what in the end.

A story keeps account of its people and things, so that what its sentences say about places and owners is true.
"""

import random

GIRLS = "Mia Anna Lucy Nora Ella Ruth Clara Ivy Tess Maya Lena Jane Sara Rosa Zoe Alma Hana Kate Edith Nina".split()
BOYS = "Tom Ben Max Leo Sam Jack Paul Finn Omar Ali Hugo Ned Karl Ivan Luke Theo Adam Noah Emil Bo".split()
THINGS = """ball doll kite book cup hat key ring drum lamp map spoon coin shell stone scarf pencil whistle basket letter
clock brush button flute glove mirror rope puzzle marble robot""".split()
COLOURS = "red blue green yellow white black brown purple orange grey silver golden".split()
SIZES = "big small old new little tiny heavy shiny round pretty".split()
HOLDERS = "box bag drawer basket cupboard chest bucket jar suitcase wardrobe".split()
ROOMS = "kitchen garden bedroom cellar attic hall shed barn library bathroom".split()
TRIPS = "park market school river station beach forest museum bakery farm harbour castle".split()
PETS = "dog cat rabbit parrot pony duck hen goat mouse tortoise".split()
KIN = "mother father grandmother grandfather aunt uncle brother sister teacher neighbour".split()
FOODS = "bread soup cake apples cheese rice pancakes beans porridge pears honey eggs".split()

OPENINGS = [
    "It was a {weather} morning.",
    "One {weather} day {A} woke up early.",
    "{A} lived in a {size} house near the {trip}.",
    "Once there was a {kid} called {A}.",
    "{A} and {B} were good friends.",
    "It was {day}, and {A} had nothing to do.",
    "The rain fell on the roof, and {A} looked out of the window.",
    "On {day} {A} went to see {B}.",
    "{A} had a {size} {pet} called {petname}.",
    "Every {day} {A} helped {his} {kin}.",
    "The sun was up and the birds sang.",
    "In {month} the days were {weather}.",
    "{B} knocked at the door of {A}.",
    "After lunch {A} sat under a tree.",
]
MIDDLES = [
    "{A} was {mood}.",
    "{B} was {mood} too.",
    "The {pet} ran after a butterfly.",
    "A cold wind blew from the {trip}.",
    "{His} {kin} was in the {room} and made {food}.",
    '"What a {weather} day!" said {B}.',
    '"Come with me," said {A}.',
    "They counted the clouds: one, two, three, four, five.",
    "They played until the bell rang.",
    "{A} sang a song.",
    "{B} told a story about a king and a fox.",
    "They ate {food} and drank milk.",
    "Nobody was on the road.",
    "{A} thought about it for a long time.",
    "The {pet} slept in front of the fire.",
    "{B} laughed, and {A} laughed too.",
    "They walked to the {trip} and back again.",
    "An old man sold {food} at the corner.",
    "{His} shoes were wet.",
    '"Do not be {mood}," said {his} {kin}.',
    "The clock in the hall struck {hour}.",
    "{A} washed {his} hands.",
    "It began to rain, so they ran into the {room}.",
    "There was a smell of {food} in the {room}.",
]
ENDINGS = [
    "In the evening everybody was tired and {mood}.",
    "Then it was time to go home.",
    "That was a good day.",
    "{A} fell asleep at once.",
    '"Good night," said {his} {kin}.',
    "The moon rose over the {trip}.",
    "{A} never forgot it.",
    "And so they were friends for ever.",
    "The next day was {weather} again.",
    "From then on {A} was more careful.",
    "They promised to meet again on {day}.",
    "{A} wrote it all in {his} diary.",
]
MOODS = "happy sad tired hungry proud afraid angry glad lonely curious surprised calm".split()
WEATHER = "sunny rainy windy cold warm foggy bright grey frosty stormy".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
PET_NAMES = "Rex Spot Coco Fluff Daisy Pip Patch Ginger Bella Snow".split()
HOURS = "one two three four five six seven eight nine ten eleven twelve".split()

PUT = [
    "{A} put the {thing} into the {place}.",
    "{A} hid the {thing} in the {place}.",
    "{A} laid the {thing} in the {place}.",
    "{A} dropped the {thing} into the {place}.",
]
CARRY = [
    "{A} took the {thing} to the {place}.",
    "{A} carried the {thing} into the {place}.",
    "{A} left the {thing} in the {place}.",
    "{A} brought the {thing} to the {place}.",
]
MOVES = {"put": (PUT, HOLDERS), "carry": (CARRY, ROOMS)}
GIVE = [
    "{A} gave the {thing} to {B}.",
    "{A} handed the {thing} to {B}.",
    "{A} lent the {thing} to {B}.",
    "{A} sold the {thing} to {B}.",
]
WENT = ["{A} went to the {place}.", "{A} walked to the {place}.", "{A} ran to the {place}.", "{A} rode to the {place}."]


def frame(rng: random.Random, sentence: str, slots: dict) -> str:
    """A sentence with its slots filled; what ``slots`` does not give is drawn."""
    drawn = {
        "weather": WEATHER,
        "size": SIZES,
        "mood": MOODS,
        "day": DAYS,
        "month": MONTHS,
        "trip": TRIPS,
        "room": ROOMS,
        "kin": KIN,
        "food": FOODS,
        "hour": HOURS,
    }
    return sentence.format(**{name: rng.choice(words) for name, words in drawn.items()} | slots)


def cast(rng: random.Random) -> dict:
    """Two people with different names, and a pet."""
    girl = rng.random() < 0.5
    a = rng.choice(GIRLS if girl else BOYS)
    b = rng.choice([name for name in GIRLS + BOYS if name != a])
    own, kid = ("her", "girl") if girl else ("his", "boy")
    return {
        "A": a,
        "B": b,
        "his": own,
        "His": own.capitalize(),
        "kid": kid,
        "pet": rng.choice(PETS),
        "petname": rng.choice(PET_NAMES),
    }


def scene(rng: random.Random, people: dict) -> tuple[list[str], str, str]:
    """(sentences, question, answer): where a thing or a person ends, who has a thing at last, what colour it has."""
    a, b = people["A"], people["B"]
    thing, colour = rng.choice(THINGS), rng.choice(COLOURS)
    has = f"{a} had a {colour} {thing}."
    kind = rng.choice(["put", "carry", "give", "went", "colour"])
    if kind in MOVES:
        wordings, places = MOVES[kind]
        places = rng.sample(places, 2)
        moves = [rng.choice(wordings).format(A=who, thing=thing, place=place)
                 for who, place in zip((a, b), places, strict=True)]  # fmt: skip
        said = [has, *moves[: rng.choice([1, 2])]]
        return said, f"Where is the {thing}?", "in the " + places[len(said) - 2]
    if kind == "give":
        return [has, rng.choice(GIVE).format(A=a, B=b, thing=thing)], f"Who has the {thing}?", b
    if kind == "went":
        one, two = rng.sample(TRIPS, 2)
        moves = [(a, one), (b, two)]
        rng.shuffle(moves)
        said = [rng.choice(WENT).format(A=who, place=place) for who, place in moves]
        who, place = rng.choice(moves)
        return said, f"Where is {who}?", f"at the {place}"
    other = rng.choice([c for c in COLOURS if c != colour])
    second = rng.choice([t for t in THINGS if t != thing])
    said = [has, f"{b} had a {other} {second}."]
    asked, answer = rng.choice([(thing, colour), (second, other)])
    return said, f"What colour is the {asked}?", answer


def concluded(question: str, answer: str) -> str:
    """A question and its answer as a sentence of a story: 'Where is the ball?', 'in the box'."""
    words = question.rstrip("?").split()
    if words[0] == "Where":
        return f"So {' '.join(words[2:])} was {answer}."
    if words[0] == "Who":
        return f"So {answer} had {' '.join(words[2:])}."
    return f"So {' '.join(words[3:])} was {answer}."


def story(rng: random.Random) -> str:
    """Three to ten sentences."""
    people = cast(rng)
    said = [frame(rng, rng.choice(OPENINGS), people)]
    for _ in range(rng.choice([1, 1, 2])):
        happened, question, answer = scene(rng, people)
        said += happened + [concluded(question, answer)]
        said += [frame(rng, text, people) for text in rng.sample(MIDDLES, rng.choice([0, 1, 1, 2]))]
    if rng.random() < 0.6:
        said.append(frame(rng, rng.choice(ENDINGS), people))
    return " ".join(said)
