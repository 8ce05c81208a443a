"""The questions of the notebooks: what each computes, draws and concludes."""

from ..lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        ".captions": "",
        ".composition": "",
        ".descriptions": "",
        ".finetuning": "",
        ".foils": "",
        ".grounding": "",
        ".heatmaps": "",
        ".mediated": "",
        ".misalignment": "",
        ".pos": "",
        ".ratings": "",
        ".roles": "",
        ".truth": "",
    },
)
