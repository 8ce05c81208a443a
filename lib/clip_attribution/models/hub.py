"""Published weights: fetched through open_clip from the hub, or one clear error without waiting."""

import ssl
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import open_clip
from huggingface_hub import constants as hub_constants
from open_clip.pretrained import download_pretrained_from_hf

from ..errors import UserError

PROBE_SECONDS = 5.0


def download_tag(name: str, tag: str, quick_gelu: bool) -> Path:
    """The weights of a published tag, from the hub's cache or the network. Raises UserError."""
    own_name = f"{name}-quickgelu" if quick_gelu and not name.endswith("-quickgelu") else name
    stated = "" if quick_gelu else ", activation='gelu'"
    try:
        with hub_without_waiting():
            path = open_clip.download_pretrained(open_clip.get_pretrained_cfg(name, tag))
            return Path(path)
    except (OSError, RuntimeError, HTTPException) as reason:  # OSError: also every URL error
        raise UserError(
            f"cannot download the weights {tag!r} of {name!r} (no network?): get the file on "
            f"another machine and pass it, load_clip({own_name!r}, 'file.safetensors'{stated})"
        ) from reason


def download_repository(repo: str) -> tuple[Path, Path]:
    """Config and weights of an open_clip repository on the hub. Raises UserError."""
    try:
        with hub_without_waiting():
            config = download_pretrained_from_hf(repo, filename="open_clip_config.json")
            return Path(config), Path(download_pretrained_from_hf(repo))
    except (OSError, RuntimeError, ValueError) as reason:
        raise UserError(
            f"cannot download {repo!r} (no network, or no open_clip model of that name?): get its "
            "files on another machine and pass load_clip(pretrained='file.safetensors', "
            "model_config='open_clip_config.json')"
        ) from reason


@contextmanager
def hub_without_waiting():
    """Inside, an unreachable hub is not retried for a minute: cached files, or an error at once."""
    before = hub_constants.HF_HUB_OFFLINE
    hub_constants.HF_HUB_OFFLINE = before or not _hub_answers()
    try:
        yield
    finally:
        hub_constants.HF_HUB_OFFLINE = before


def _hub_answers() -> bool:
    if hub_constants.HF_HUB_OFFLINE:
        return False
    request = urllib.request.Request(hub_constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return True  # it answered, whatever it said
    except urllib.error.URLError as reason:
        return isinstance(reason.reason, ssl.SSLError)  # the hub's client brings own certificates
    except (OSError, HTTPException):
        return False
    return True
