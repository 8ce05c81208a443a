"""Image towers of timm by model_config: a map, or one line that says why there is none.

    python -m tests.campaigns.image_towers              # 44 towers, several minutes
    python -m tests.campaigns.image_towers swin_tiny_patch4_window7_224 levit_128s

The short form is a part of the tests (tests/heatmaps/test_timm_towers.py).
"""

import sys
from collections.abc import Callable, Iterator

import numpy as np
import timm
from PIL import Image

from clip_attribution import attribute, explain, image_attribution, load_clip
from clip_attribution.errors import UserError
from clip_attribution.heatmaps import heatmaps

TOWERS = """
    beit_base_patch16_224 caformer_s18 cait_xxs24_224 coat_lite_tiny convit_tiny convmixer_768_32
    crossvit_tiny_240 cspresnet50 davit_tiny deit_tiny_distilled_patch16_224 densenet121
    edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientnet_b0 efficientvit_b0
    efficientvit_m0 eva02_tiny_patch14_224 fastvit_t8 focalnet_tiny_srf ghostnet_100 hgnet_tiny
    hiera_tiny_224 hrnet_w18_small inception_v3 levit_128s maxvit_nano_rw_256 mixer_s32_224
    mobilenetv3_small_100 mobilevit_xxs mvitv2_tiny nest_tiny nfnet_l0 pit_ti_224 poolformer_s12
    pvt_v2_b0 regnety_002 repvit_m0_9 res2net50_14w_8s resnet18 resnetv2_50 rexnet_100
    swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 tiny_vit_5m_224 tnt_s_legacy_patch16_224
    twins_pcpvt_small vgg11 visformer_tiny vit_small_patch16_dinov3 vit_tiny_patch16_224
    volo_d1_224 xception41 xcit_nano_12_p16_224
""".split()
METHODS = ("gradcam", "gae_image", "rollout", "value_path", "clip4dm_image", "gscorecam")
TEXT = {"context_length": 32, "width": 32, "heads": 2, "layers": 2}
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8))
PAIR = [{"image": PHOTO, "caption": "a dog"}]


def config(name: str) -> dict:
    """A CLIP with this tower of timm and a small text tower."""
    size = timm.get_pretrained_cfg(name)
    size = (size.fixed_input_size and size.input_size[-1]) or (size.input_size[-1] if size else 224)
    token = name.startswith(("cait", "deit", "vit_", "eva", "volo", "xcit", "tnt", "crossvit"))
    pool = {"timm_pool": "token" if token else "", "timm_proj": "linear"}
    vision = {"timm_model_name": name, "image_size": size, **pool}
    return {"embed_dim": 32, "vision_cfg": vision, "text_cfg": TEXT}


def outcomes(name: str, methods=METHODS) -> Iterator[tuple[str, str]]:
    """(call, outcome) of each: "ok", the UserError, or "RAW ..."."""
    kept: dict = {}

    def load():
        kept["clip"] = load_clip("x", model_config=config(name), device="cpu")

    calls: dict[str, Callable] = {"load": load}
    calls["attribute"] = lambda: check(attribute(kept["clip"], PAIR)[0]["attribution"])
    calls["explain"] = lambda: explain(kept["clip"], PHOTO, "a dog")._repr_html_()
    calls["image_attribution"] = lambda: check(image_attribution(kept["clip"], [PHOTO], ["a dog"]))
    for method in methods:
        more = {"k": 4} if method == "gscorecam" else {}
        calls[method] = lambda m=method, o=more: check(
            heatmaps(kept["clip"], [PHOTO], ["a dog"], m, **o)
        )
    for label, call in calls.items():
        outcome = attempt(call)
        yield label, outcome
        if label == "load" and outcome != "ok":
            return


def check(values) -> None:
    """Raise AssertionError for values that are not finite."""
    assert np.isfinite(np.asarray(values, dtype=float)).all(), "not finite"


def attempt(call: Callable) -> str:
    """ "ok", the message of a UserError, or the raw exception."""
    try:
        call()
    except UserError as error:
        one = len(str(error).splitlines()) == 1
        return str(error) if one else f"RAW message of several lines: {error!r}"
    except Exception as error:
        return f"RAW {type(error).__name__}: {error}"[:200]
    return "ok"


def main(names: list[str]) -> int:
    """Try the towers; print every outcome and the number of raw exceptions."""
    raw, maps = 0, 0
    names = names or TOWERS
    for name in names:
        found = dict(outcomes(name))
        raw += sum(outcome.startswith("RAW") for outcome in found.values())
        maps += found.get("gradcam") == "ok"
        print(name, *(f"  {label}: {said[:110]}" for label, said in found.items()), sep="\n")
    print(f"{len(names)} towers, {maps} with a Grad-CAM, {raw} raw exceptions")
    return bool(raw)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
