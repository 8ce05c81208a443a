"""The facts of the embedded world and the words for them.

Every image is made of symbol glyphs of the DejaVu Sans font that matplotlib carries, so the
world needs no file of its own. A *kind* names the sort of fact that a word states; foils replace
a word by another of the same kind.
"""

KINDS = ("noun", "colour", "size", "count", "position", "state", "ground", "name")

# noun: (code point, drawn as an outline glyph?). Outline glyphs are filled with the colour and
# keep dark lines; solid ones are painted in the colour and their holes stay pale.
NOUNS = {
    "sun": (0x2600, False),
    "cloud": (0x2601, False),
    "umbrella": (0x2602, False),
    "snowman": (0x2603, True),
    "star": (0x2605, False),
    "telephone": (0x260E, False),
    "cup": (0x2615, True),
    "clover": (0x2618, False),
    "skull": (0x2620, False),
    "wheel": (0x2638, False),
    "moon": (0x263E, True),
    "crown": (0x265B, False),
    "castle": (0x265C, False),
    "horse": (0x265E, False),
    "pawn": (0x265F, False),
    "heart": (0x2665, False),
    "diamond": (0x2666, False),
    "note": (0x266B, False),
    "flag": (0x2691, False),
    "hammer": (0x2692, False),
    "anchor": (0x2693, False),
    "gear": (0x2699, False),
    "airplane": (0x2708, False),
    "envelope": (0x2709, True),
    "hand": (0x261B, False),
    "pencil": (0x270F, False),
    "snowflake": (0x2744, False),
    "flower": (0x273F, False),
    "house": (0x2302, True),
    "arrow": (0x279C, False),
    "mouse": (0x1F42D, True),
    "cow": (0x1F42E, True),
    "cat": (0x1F431, True),
    "monkey": (0x1F435, True),
}
IRREGULAR_PLURALS = {"snowman": "snowmen", "mouse": "mice"}
# These look to one side, so they can face something; -1: the glyph looks to the left.
DIRECTIONS = {"horse": -1, "airplane": 1, "hand": 1, "arrow": 1, "pencil": 1}

COLOURS = {
    "red": (214, 39, 40),
    "yellow": (250, 215, 30),
    "green": (20, 130, 50),
    "blue": (35, 80, 205),
    "purple": (135, 50, 160),
    "pink": (250, 130, 190),
    "black": (25, 25, 25),
    "white": (252, 252, 252),
}
SIZES = {"small": 14, "large": 22}  # glyph extent in sixty-fourths of the image's side
COUNTS = {"two": 2, "three": 3, "four": 4}
MEMBER_SIZE, PITCH = 10, 12  # extent of each glyph of a group and their distance, same unit

POSITIONS = ("left", "right", "above", "below")
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
STATES = ("touching", "overlapping", "facing")

# The mean colour of each ground; its texture is drawn in `render`.
GROUNDS = {
    "grass": (150, 190, 110),
    "sand": (222, 203, 150),
    "water": (150, 195, 225),
    "snow": (225, 230, 238),
    "brick": (190, 130, 112),
    "wood": (176, 142, 100),
    "tile": (186, 186, 180),
    "gravel": (148, 146, 150),
}
NAMES = (
    "Oslo",
    "Lima",
    "Rome",
    "Cairo",
    "Paris",
    "Tokyo",
    "Quito",
    "Delhi",
    "Accra",
    "Miami",
    "Berlin",
    "Dublin",
)

# What an image is about: the second text register speaks of these, never of what is seen.
THEMES = {
    "sailing": ("anchor", "wheel", "flag"),
    "weather": ("sun", "cloud", "umbrella"),
    "winter": ("snowman", "snowflake"),
    "chess": ("castle", "horse", "pawn", "crown"),
    "gambling": ("heart", "diamond", "clover"),
    "office work": ("telephone", "envelope", "pencil"),
    "travel": ("airplane", "arrow"),
    "music": ("note",),
    "gardening": ("flower",),
    "farming": ("cow", "mouse"),
    "pets": ("cat", "monkey"),
    "engineering": ("hammer", "gear"),
    "home life": ("house", "cup"),
    "astronomy": ("star", "moon"),
    "pirates": ("skull", "hand"),
}
THEME_OF = {noun: theme for theme, nouns in THEMES.items() for noun in nouns}


def plural(noun: str) -> str:
    """The plural form of one of `NOUNS`."""
    return IRREGULAR_PLURALS.get(noun, noun + "s")


def is_held_out(noun: str, colour: str) -> bool:
    """True for the tenth of all (noun, colour) pairs that no training image ever shows."""
    return (7 * list(COLOURS).index(colour) + 3 * list(NOUNS).index(noun)) % 10 == 0
