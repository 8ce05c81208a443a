"""The one tiny CLIP of the tests: its config, a part of which a test may choose."""


def config(
    image_layers: int = 2,
    text_layers: int = 2,
    *,
    side: int = 32,
    patch: int = 8,
    context: int = 32,
    width: int = 32,
    embed: int = 32,
    **more,
) -> dict:
    """A config for `load_clip(model_config=...)`; heads are 16 wide. more: quick_gelu."""
    return {
        "embed_dim": embed,
        "vision_cfg": {
            "image_size": side,
            "layers": image_layers,
            "width": width,
            "patch_size": patch,
            "head_width": 16,
        },
        "text_cfg": {
            "context_length": context,
            "vocab_size": 49408,
            "width": width,
            "heads": width // 16,
            "layers": text_layers,
        },
        **more,
    }
