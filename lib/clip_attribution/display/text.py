"""The text form of an explanation, and the sentences that its displays and figures share.

Everything is computed from the numbers; nothing is claimed that they do not say.
"""

import unicodedata

from ..plots.colours import layers_in_words, number

BAR = 24  # characters: the longest bar, on each side


def text_form(explanation) -> str:
    """Aligned lines for a terminal: value, signed bar, word (last, as its width is unknown)."""
    facts, limit = explanation.facts, explanation.limit
    lines = [
        explanation.decision(),
        f"caption: {caption_line(explanation)}",
        explanation.scores(),
        f"{facts['model']}, {facts['method']}, {layers_in_words(facts['layers'])}, template "
        f"“{printable(facts['template'])}”, scale ±{limit:.3g} {facts['unit']}",
    ]
    lines += [word_line(row, limit) for row in explanation.words.itertuples() if row.seen]
    unseen = list(explanation.words.loc[~explanation.words["seen"], "word"])
    if unseen:
        why = "beyond the context" if explanation.truncated else "part of the word before"
        lines.append(f"not seen ({why}): {shortened(unseen)}")
    if explanation.heatmap is None:
        lines.append(f"no heat map: {explanation.no_heatmap}")
    if explanation.no_interactions not in (None, explanation.no_heatmap):
        lines.append(f"no regions of words: {explanation.no_interactions}")
    return "\n".join(lines)


def word_line(row, limit: float) -> str:
    """One seen word: "-0.0102     ------|        coke  <- rejected"."""
    length = round(BAR * abs(row.attribution) / limit)
    left = ("-" * length if row.attribution < 0 else "").rjust(BAR)
    right = ("+" * length if row.attribution > 0 else "").ljust(BAR)
    mark = "  <- rejected" if row.misaligned else ""
    return f"{number(row.attribution, limit)} {left}|{right} {printable(row.word)}{mark}"


def decision(explanation) -> str:
    """The decision in words: "rejects: coke"."""
    facts, names = explanation.facts, ", ".join(map(printable, explanation.misaligned))
    if not facts["signed"]:
        return f"no decision: the method {facts['method']} cannot be negative"
    verb = "least believed" if facts["decision"] == "most_negative" else "rejects"
    return f"{verb}: {names or 'no word'}"


def finding(explanation) -> str:
    """What stands out: the rejected words, or that there is none, with the values."""
    words, limit = explanation.words.dropna(subset="attribution"), explanation.limit
    if words.empty:
        return "CLIP has seen no word of this caption"
    low = words[words["misaligned"]].sort_values("attribution", kind="stable")
    if len(low):
        threshold = explanation.facts["decision"] == "threshold"
        more = f" and {len(low) - 3} more" if len(low) > 3 else ""
        names = ", ".join(named(row, limit) for row in low[:3].itertuples())
        return f"CLIP rejects {names}{more}" if threshold else f"CLIP believes {names} least"
    top = words.iloc[words["attribution"].argmax()]
    if not explanation.facts["signed"]:
        return f"CLIP reads {named(top, limit)} most"
    return f"CLIP rejects no word; it believes {named(top, limit)} most"


def scores(explanation) -> str:
    """Cosine, CLIPScore and F-CLIPScore in one line."""
    value = explanation.f_clip_score
    against = f"{value:.3g}" if value == value else "undefined"
    return (
        f"cosine {explanation.cosine:.3f}, CLIPScore {explanation.clip_score:.3f}, "
        f"F-CLIPScore {against}"
    )


def summary(explanation) -> str:
    """Three lines: how many words raise and lower the score, the finding, the scores."""
    values = explanation.words["attribution"].dropna()
    count = f"{(values > 0).sum()} of {len(values)} words raise the score, "
    count += f"{(values < 0).sum()} lower it"
    first = f"“{caption_line(explanation)}”: {count}"
    return "\n".join([first, explanation.finding(), explanation.scores()])


def contrast(true, foil) -> str:
    """What became of the replaced words, and which word of the foil is lowest; a line each."""
    limit = max(true.limit, foil.limit)
    pairs = zip(true.words.itertuples(), foil.words.itertuples(), strict=True)
    lines = [
        f"{named(old, limit)} became {named(new, limit)}: a change of "
        f"{number(new.attribution - old.attribution, limit)}"
        for old, new in pairs
        if old.word != new.word
    ]
    lowest = foil.words.sort_values("attribution", kind="stable").iloc[:1]
    lines += [f"lowest word of the foil: {named(row, limit)}" for row in lowest.itertuples()]
    return "\n".join([*lines, f"cosine: {true.cosine:.3f} became {foil.cosine:.3f}"])


def named(row, limit: float) -> str:
    """A word and its attribution: “coke” (-0.012)."""
    return f"“{printable(row.word)}” ({number(row.attribution, limit)})"


def caption_line(explanation, most: int = 300) -> str:
    """The caption on one line, the end of a very long one left out."""
    caption = explanation.caption
    return printable(caption[:most]) + (" ..." if len(caption) > most else "")


def shortened(words: list[str], most: int = 12) -> str:
    """The first words of a long list, and how many more there are."""
    more = f" ... and {len(words) - most} more" if len(words) > most else ""
    return " ".join(map(printable, words[:most])) + more


def printable(text: str) -> str:
    """The text on one line: controls, line breaks and direction marks written as escapes."""
    return "".join(c if c.isprintable() or joins(c) else repr(c)[1:-1] for c in text)


def joins(character: str) -> bool:
    """Whether a character joins or marks others: an emoji's parts, a letter's accent."""
    return character in "\u200c\u200d" or unicodedata.category(character) == "Mn"
