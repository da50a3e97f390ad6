"""Which projection a radiograph shows, from the spellings of NIH, CheXpert, MIMIC-CXR, PadChest and DICOM.

Also the fixed vocabularies of the values that are read from DICOM tags.
"""

from __future__ import annotations

import re
import unicodedata

FRONTAL, LATERAL = "frontal", "lateral"

# A spelling is accepted if all its words are in the list, and at least one names the projection.
WORDS = {
    FRONTAL: frozenset({"pa", "ap", "frontal", "antero", "postero", "anterior", "posterior", "anteroposterior",
                        "posteroanterior"}),
    LATERAL: frozenset({"l", "ll", "rl", "lat", "llat", "rlat", "lateral", "laterolateral", "latero"}),
}  # fmt: skip
PATIENT_POSITION = frozenset(
    {"supine", "erect", "semi", "semierect", "semisupine", "upright", "semiupright", "standing", "sitting", "seated",
     "portable", "mobile", "bedside", "horizontal", "inspiration", "expiration", "chest", "cxr", "thorax", "torax",
     "lung", "lungs", "xray", "radiograph", "view", "projection"}
)  # fmt: skip
SIDES = frozenset({"left", "right", "cross", "table", "xtable"})  # of lateral views only
CODES = {  # CID 4010, DX View: SNOMED CT, and SNOMED RT as older files write it
    **dict.fromkeys(("399348003", "272479007", "399033003", "R-10206", "R-40888", "R-10214", "R-10202"), FRONTAL),
    **dict.fromkeys(("399067008", "399173006", "399198007", "R-102CD", "R-10236", "R-10232"), LATERAL),
}
BODY_PARTS = {  # PS3.16 annex L, and spellings of manufacturers: the part they name
    **dict.fromkeys(("CHEST", "THORAX", "LUNG", "LUNGS", "PORT CHEST", "CHEST PORT", "CHEST PA", "CHEST AP",
                     "CHEST LAT", "CHEST LATERAL", "PA CHEST", "AP CHEST", "TORAX", "BRUSTKORB"), "CHEST"),
    **dict.fromkeys(("ABDOMEN", "KUB", "ABDOMENPELVIS"), "ABDOMEN"),
    **dict.fromkeys(("CSPINE", "C SPINE", "CERVICAL SPINE", "TSPINE", "T SPINE", "LSPINE", "L SPINE", "SPINE", "SSPINE",
                     "LUMBAR SPINE", "THORACIC SPINE", "COCCYX"), "SPINE"),
    **dict.fromkeys(("HIP", "PELVIS"), "PELVIS"),
    **dict.fromkeys(("SKULL", "HEAD", "JAW", "SINUS", "ORBIT", "ZYGOMA"), "HEAD"),
    **{part: part for part in ("ANKLE", "ARM", "BREAST", "CALCANEUS", "CLAVICLE", "ELBOW", "FEMUR", "FINGER", "FOOT",
                               "FOREARM", "HAND", "HUMERUS", "KNEE", "LEG", "NECK", "PATELLA", "RIB", "SCAPULA",
                               "SHOULDER", "STERNUM", "THIGH", "THUMB", "TIBIA FIBULA", "TOE", "WRIST", "WHOLEBODY")},
}  # fmt: skip
LATERALITIES = ("L", "R", "B", "U")
OTHER_VIEW = "OTHER"
VIEWS = (
    "PA", "AP", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAT", "LATERAL", "LEFT LATERAL", "RIGHT LATERAL", "L",
    "XTABLE LATERAL", "CROSS TABLE LATERAL", "LPO", "RPO", "LAO", "RAO", "SWIMMERS", "OBLIQUE", "AXIAL", "LORDOTIC",
    "AP AXIAL", "AP LORDOTIC", "DECUBITUS", "LATERAL DECUBITUS", "AP SUPINE", "AP ERECT", "AP PORTABLE", "PA ERECT",
    "PA LATERAL", "TANGENTIAL", "STENVERS", "TOWNE", "CALDWELL", "WATERS", OTHER_VIEW,
)  # fmt: skip
MANUFACTURERS = (
    "AGFA", "CANON", "CARESTREAM", "DRTECH", "FUJI", "GE", "HOLOGIC", "KODAK", "KONICA", "PHILIPS", "SAMSUNG",
    "SHIMADZU", "SIEMENS", "SWISSRAY", "TOSHIBA", "VIEWORKS",
)  # fmt: skip


def projection(view: str) -> str:
    """Returns `frontal`, `lateral`, or "" if the spelling is in neither list.

    Oblique, axial, lordotic and decubitus views are in neither list.

    Example:
        >>> projection("AP semi-erect"), projection("left lateral"), projection("RAO")
        ('frontal', 'lateral', '')
    """
    text = unicodedata.normalize("NFKC", view).replace(".", "").strip()
    text = re.sub(r"\b([ap])[ -]([ap])\b", r"\1\2", text, flags=re.IGNORECASE)  # A-P, P A
    if text.upper() in CODES:
        return CODES[text.upper()]
    words = frozenset(re.findall(r"[^\W_]+", text.casefold()))
    if words & WORDS[FRONTAL] and words <= WORDS[FRONTAL] | PATIENT_POSITION:
        return FRONTAL
    is_lateral = words & WORDS[LATERAL] and words <= WORDS[LATERAL] | PATIENT_POSITION | SIDES
    return LATERAL if is_lateral else ""
