"""Where in the original caption each token of a CLIP tokenizer lies."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from ..errors import UserError
from .cleaning import clean


@dataclass(frozen=True)
class TokenSpans:
    """The tokens of one text and the characters they stand for.

    ids        what the model reads: BOS (where the tokenizer has one), tokens, EOT; no padding.
    spans      (start, end) in the original text of each token between BOS and EOT. Spans are in
               order, never overlap, and together cover every non-space character that CLIP saw;
               of the others only those that cleaning deleted inside a token. Where several tokens
               share a character, the first has it and the others are empty.
    owner      for each token the original index of the character in which it starts.
    truncated  True when the model reads fewer tokens than the text has.
    n_full     number of ids, BOS and EOT included, before truncation.
    first      index in `ids` of the first token of the text: 1 after a BOS, else 0.
    """

    ids: list
    spans: list
    owner: list
    truncated: bool
    n_full: int
    first: int = 1


def token_spans(tokenizer, text, context_length=None):
    """Tokenise one text exactly as `tokenizer([text], context_length)` and locate the tokens.

    Takes open_clip's SimpleTokenizer, its wrappers of a fast Hugging Face tokenizer, or such a
    tokenizer itself. A text that spells the end token out ends there, as it does for CLIP.
    Characters that the cleaning deletes (control characters, for instance) are not seen and have
    no span. Raises UserError when the text cannot be tokenised or the tokens not be located.
    """
    if not isinstance(text, str):
        raise UserError(f"a caption must be text, not {type(text).__name__}")
    if getattr(tokenizer, "reduction_fn", None) is not None:
        raise UserError("this tokenizer drops tokens (reduction_mask): its tokens have no place")
    context_length = context_length or getattr(tokenizer, "context_length", None)
    if not context_length:
        raise UserError("pass context_length: this tokenizer does not know its own")
    locate = _simple if hasattr(tokenizer, "bpe_ranks") else _hugging_face
    try:
        return locate(tokenizer, text, context_length)
    except UnicodeError as reason:
        raise UserError(f"the tokenizer cannot read this caption: {reason}") from reason


def encode(tokenizer, text):
    """Ids of a text without BOS and EOT, not truncated."""
    if hasattr(tokenizer, "bpe_ranks"):
        return tokenizer.encode(text)
    fast, cleaned = _fast(tokenizer), clean(text, _clean_fn(tokenizer)).text
    return fast(cleaned, add_special_tokens=False, verbose=False)["input_ids"]


def _simple(tokenizer, text, context_length):
    cleaned = clean(text, _clean_fn(tokenizer))
    ids, ranges, owners = [], [], []
    matches = tokenizer.pat.finditer(cleaned.text)
    for match in matches:
        at = match.start()
        for token, first, last, own in _pieces(tokenizer, match.group()):
            ids.append(token)
            ranges.append((at + first, at + last))
            owners.append(at + own)
        if len(ids) > context_length - 2:
            break
    n_full = len(ids) + 2 + sum(len(_pieces(tokenizer, match.group())) for match in matches)
    kept = _before_end(ids[: context_length - 2], tokenizer.eot_token_id)
    spans, owner = _place(cleaned, ranges[: len(kept)], owners[: len(kept)])
    ids = [tokenizer.sot_token_id, *kept, tokenizer.eot_token_id]
    return TokenSpans(ids, spans, owner, len(ids) < n_full, n_full)


@lru_cache(maxsize=65536)
def _pieces(tokenizer, chunk):
    """BPE pieces (id, first, last, owner) of one pre-token, in characters from its beginning.

    A piece is a run of UTF-8 bytes. It has the characters whose first byte it holds, and its
    owner is the character in which its own first byte lies.
    """
    pieces = tokenizer.bpe("".join(tokenizer.byte_encoder[b] for b in chunk.encode())).split(" ")
    char = [i for i, c in enumerate(chunk) for _ in c.encode()]  # of each byte
    ends = [*accumulate(len(piece) for piece in pieces[:-1]), len(char)]  # the last bears </w>
    found = []
    for piece, start, end in zip(pieces, [0, *ends], ends, strict=False):
        begun = start > 0 and char[start - 1] == char[start]
        first, last = char[start] + begun, char[end - 1] + 1
        found.append((tokenizer.encoder[piece], first, last, char[start]))
    return found


def _before_end(ids, end):
    return ids[: ids.index(end)] if end in ids else ids


def _hugging_face(tokenizer, text, context_length):
    cleaned, fast = clean(text, _clean_fn(tokenizer)), _fast(tokenizer)
    read = _clips if getattr(tokenizer, "tokenizer_mode", "") == "clips" else _standard
    cleaned.text.encode()  # a UnicodeError here, not a TypeError of the tokenizer
    ids, offsets, first, n_full = read(fast, cleaned.text, context_length)
    seen = [_without_space(cleaned.text, *offset) for offset in offsets]
    spans, owner = _place(cleaned, [span for span, _ in seen], [own for _, own in seen])
    if getattr(tokenizer, "strip_sep_token", False):
        ids = [0 if i == fast.sep_token_id else i for i in ids]
    return TokenSpans(ids, spans, owner, len(ids) < n_full, n_full, first)


def _standard(fast, text, context_length):
    """The tokenizer's own BOS, EOT and truncation."""
    row = fast(
        text,
        truncation=True,
        max_length=context_length,
        verbose=False,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    ids, special = row["input_ids"], row["special_tokens_mask"]
    offsets = [o for o, s in zip(row["offset_mapping"], special, strict=True) if not s]
    cut = len(ids) >= context_length
    n_full = len(fast(text, verbose=False)["input_ids"]) if cut else len(ids)
    return ids, offsets, special.index(0) if offsets else len(ids) - 1, n_full


def _clips(fast, text, context_length):
    """open_clip's mode for CLIPS: BOS and EOT by hand, one place kept for a class token."""
    row = fast(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    kept = row["input_ids"][: context_length - 3]
    ids = [fast.bos_token_id, *kept, fast.eos_token_id]
    return ids, row["offset_mapping"][: len(kept)], 1, len(row["input_ids"]) + 2


def _fast(tokenizer):
    fast = getattr(tokenizer, "tokenizer", tokenizer)
    if not getattr(fast, "is_fast", False):
        raise UserError(
            f"{type(fast).__name__} does not tell where its tokens lie: use its fast version"
        )
    return fast


def _clean_fn(tokenizer):
    return getattr(tokenizer, "clean_fn", None)


def _without_space(text, start, end):
    """((start, end) without white space, owner). A token of space alone belongs to what follows,
    since the tokenizer would begin that word with the same token."""
    shown = text[start:end].strip()
    if shown:
        start = text.index(shown, start)
        return (start, start + len(shown)), start
    rest = text[start:].lstrip()
    return (end, end), len(text) - len(rest) if rest else start


def _place(cleaned, ranges, owners):
    """Move character ranges of the cleaned text to the original; of two that meet in one
    original character the first has it."""
    spans, at = [], 0
    for first, last in ranges:
        if first < last:
            start = max(int(cleaned.starts[first]), at)
            at = max(int(cleaned.ends[last - 1]), start)
            spans.append((start, at))
        else:
            spans.append((at, at))
    end = len(cleaned.text) - 1
    return spans, [int(cleaned.starts[min(i, end)]) if end >= 0 else 0 for i in owners]
