"""Captions as CLIP reads them: tokens, words, parts of speech, roles, concepts."""
