"""The NLI judge with a tiny seeded model of its own, saved to a folder and read back."""

import sys

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")
from huggingface_hub import constants
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from clip_attribution.errors import UserError
from clip_attribution.models.nli import load_nli

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"a blue red cat dog sits on the mat ,".split()]
NAMED = {"contradiction": 0, "neutral": 1, "entailment": 2}


def save(folder, label2id=None, num_labels=3):
    """Save a tiny classifier with random weights and its tokenizer."""
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(VOCABULARY)}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )
    labels = {"num_labels": num_labels}
    if label2id:
        labels = {"label2id": label2id, "id2label": {i: name for name, i in label2id.items()}}
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        initializer_range=0.8,
        **labels,
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, tokenizer


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nli")
    return folder, *save(folder, NAMED)


PREMISES = ["a blue cat", "the dog sits on the mat", "red dog", "a red cat sits"]
HYPOTHESES = ["cat", "a dog , the mat", "", "blue"]


def expected(model, tokenizer, premise, hypothesis, against=0, entails=2):
    """P(entailment) of one pair alone, without padding, written out."""
    with torch.no_grad():
        logits = model(**tokenizer(premise, hypothesis, return_tensors="pt")).logits[0].double()
    return float(torch.exp(logits[entails]) / torch.exp(logits[[against, entails]]).sum())


def test_the_probability_is_over_contradiction_and_entailment_alone(judge):
    folder, model, tokenizer = judge
    found = load_nli(folder, "cpu")(PREMISES, HYPOTHESES)
    assert found.dtype == np.float64 and found[2] == 0
    for row in (0, 1, 3):
        value = expected(model, tokenizer, PREMISES[row], HYPOTHESES[row])
        assert found[row] == pytest.approx(value, abs=1e-5)
    assert np.ptp(found[[0, 1, 3]]) > 1e-3


def test_batches_and_padding_change_nothing_and_nothing_is_nothing(judge):
    one = load_nli(judge[0], "cpu", batch_size=1)
    many = load_nli(judge[0])
    premises, hypotheses = PREMISES * 5, [*HYPOTHESES, "  ", "red"] * 3 + ["a", "cat"]
    np.testing.assert_allclose(one(premises, hypotheses), many(premises, hypotheses), atol=1e-6)
    assert many([], []).shape == (0,) and many(["a"], [" \n"]).tolist() == [0]


def test_labels_are_found_by_name_in_any_order_or_else_as_in_bart(tmp_path):
    swapped = {"ENTAILMENT": 0, "NEUTRAL": 1, "CONTRADICTION": 2}
    model, tokenizer = save(tmp_path / "swapped", swapped)
    value = expected(model, tokenizer, "a cat", "a dog", against=2, entails=0)
    assert load_nli(tmp_path / "swapped")(["a cat"], ["a dog"]) == pytest.approx(value, abs=1e-5)
    model, tokenizer = save(tmp_path / "unnamed")
    value = expected(model, tokenizer, "a cat", "a dog")
    assert load_nli(tmp_path / "unnamed")(["a cat"], ["a dog"]) == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("labels", [{"not_entailment": 0, "entailment": 1}, {"good": 0, "bad": 1}])
def test_a_model_that_is_no_nli_classifier_is_refused(tmp_path, labels):
    save(tmp_path, labels)
    with pytest.raises(UserError, match="its labels are"):
        load_nli(tmp_path)


def test_a_text_beyond_the_models_window_is_cut(judge):
    found = load_nli(judge[0])(["cat " * 100, "cat " * 90], ["dog", "dog"])
    assert found[0] == found[1] > 0


def test_a_folder_without_a_model_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="cannot load the NLI model") as error:
        load_nli(tmp_path)
    assert "\n" not in str(error.value)


def test_without_network_there_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="'nobody/no-such-model' .no network"):
        load_nli("nobody/no-such-model")


def test_without_transformers_the_error_says_what_to_install(monkeypatch, judge):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install clip-attribution\[hf\]"):
        load_nli(judge[0])
