"""Small image and text towers of the families of open_clip, with random weights."""

import copy
import json

import open_clip
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig

CAPTIONS = ["a cup of coke", "Two dogs, one cat.", "the dog's café", "many words of a dog, " * 40]
TEXT = {"width": 32, "heads": 4, "layers": 4}
VIT = {"width": 32, "head_width": 8, "layers": 3, "image_size": 64}
POOLER = {"attentional_pool": True, "attn_pooler_heads": 4, "attn_pooler_queries": 8}


def reduced(name, vision, text=None, **more):
    """The registered config of a family with smaller numbers; its flags stay."""
    config = copy.deepcopy(open_clip.get_model_config(name))
    config["vision_cfg"] |= vision
    config["text_cfg"] |= TEXT if text is None else text
    return config | {"embed_dim": 32} | more


def coca():
    decoder = {"width": 32, "heads": 4, "layers": 2, "attn_pooler_heads": 4}
    config = reduced("coca_ViT-B-32", VIT | POOLER)
    config["multimodal_cfg"] |= decoder
    return config


def eva02():
    small = {"timm_model_name": "eva02_tiny_patch14_224"}
    return reduced("EVA02-B-16", small)


def siglip(folder):
    small = {"timm_model_name": "test_vit", "image_size": 160}
    text = TEXT | {"hf_tokenizer_name": sentence_tokenizer(folder, bos=False), "vocab_size": 400}
    return reduced("ViT-B-16-SigLIP", small, text, embed_dim=64)


def sentence_tokenizer(folder, bos):
    """A small SentencePiece-like tokenizer in a folder, since the hub's are out of reach."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(["A photo depicts " + caption for caption in CAPTIONS], trainer)
    frame = "<s> $A </s>" if bos else "$A </s>"
    numbers = [(word, tokenizer.token_to_id(word)) for word in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single=frame, special_tokens=numbers)
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    if not (folder / "config.json").exists():  # the tokenizer's loader asks for a model type
        (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))
    return str(folder)


def resnet():
    return reduced("RN50", {"layers": [1, 1, 1, 1], "width": 16, "image_size": 64})


def xlm_roberta(folder, pooler):
    size = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    size |= {"intermediate_size": 64, "vocab_size": 400, "max_position_embeddings": 90}
    XLMRobertaConfig(**size, pad_token_id=1).save_pretrained(folder)
    name = sentence_tokenizer(folder, bos=True)
    text = {"hf_model_name": name, "hf_tokenizer_name": name, "hf_pooler_type": pooler}
    return reduced("xlm-roberta-base-ViT-B-32", VIT | {"patch_size": 16}, text)


FAMILIES = {
    "ViT-B-32": lambda folder: reduced("ViT-B-32", VIT),
    "ViT-B-32-quickgelu": lambda folder: reduced("ViT-B-32-quickgelu", VIT),
    "CoCa": lambda folder: coca(),
    "EVA02": lambda folder: eva02(),
    "SigLIP": siglip,
    "ResNet": lambda folder: resnet(),
    "XLM-R cls": lambda folder: xlm_roberta(folder, "cls_pooler"),
    "XLM-R mean": lambda folder: xlm_roberta(folder, "mean_pooler"),
}
