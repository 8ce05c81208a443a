"""Do people rate a description higher that the model scores higher?"""

from ...lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "..roles.findings": "small_print",
        ".figures": "facts_panels table_dots",
        ".findings": "finding_facts finding_people finding_published finding_studies",
        ".tables": "against_facts compared data_facts people published_rows scene_texts"
        " scored_texts small_studies text_facts",
    },
)
