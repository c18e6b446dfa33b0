"""Words and real clips to judge vocabularies with: what the captioned clips show, written from their captions by hand."""

from collections.abc import Mapping, Sequence

from models.text.label_texts import LabelText

# Each line: name, other names, description, Chinese names. The first words are shown by some clips, the others by none.
PRESENT = (
    ("swan", "waterbird", "a large water bird", "\u5929\u9e45"),
    ("bear", "brown bear", "", "\u718a"),
    ("car", "automobile;jeep", "", "\u6c7d\u8f66;\u8f7f\u8f66"),
    ("bicycle", "bike", "", "\u81ea\u884c\u8f66"),
    ("cow", "cattle;bull", "", "\u725b;\u5976\u725b"),
    ("dog", "puppy", "", "\u72d7;\u5c0f\u72d7"),
    ("horse", "pony", "", "\u9a6c"),
    ("lion", "", "", "\u72ee\u5b50"),
    ("rabbit", "bunny;hare", "", "\u5154\u5b50"),
    ("surfing", "surfboard;surfer", "", "\u51b2\u6d6a"),
    ("skateboard", "skateboarding", "", "\u6ed1\u677f"),
    ("person running", "runner;jogger", "", "\u8dd1\u6b65\u7684\u4eba"),
    ("cooking", "preparing food;kitchen", "", "\u505a\u996d;\u70f9\u996a"),
    ("frying pan", "skillet;wok", "", "\u5e73\u5e95\u9505"),
    ("rice", "", "cooked or raw rice", "\u7c73\u996d;\u5927\u7c73"),
    ("shrimp", "prawn", "", "\u867e"),
    ("tortilla", "flatbread;burrito", "", "\u7389\u7c73\u997c"),
    ("baby", "infant;toddler", "", "\u5a74\u513f"),
    ("cat", "kitten;tabby cat", "", "\u732b"),
    ("television", "tv set", "", "\u7535\u89c6"),
    ("piano", "keyboard instrument", "", "\u94a2\u7434"),
    ("motorcycle", "motorbike", "", "\u6469\u6258\u8f66"),
    ("truck", "pickup truck", "", "\u5361\u8f66"),
    ("panda", "giant panda", "", "\u718a\u732b"),
)

ABSENT = (
    ("penguin", "", "", "\u4f01\u9e45"),
    ("elephant", "", "", "\u5927\u8c61"),
    ("castle", "", "", "\u57ce\u5821"),
    ("volcano", "", "", "\u706b\u5c71"),
    ("accordion", "", "", "\u624b\u98ce\u7434"),
    ("goldfish", "", "", "\u91d1\u9c7c"),
    ("strawberry", "", "", "\u8349\u8393"),
    ("airliner", "airplane;passenger jet", "", "\u5ba2\u673a;\u98de\u673a"),
    ("church", "", "", "\u6559\u5802"),
    ("umbrella", "", "", "\u96e8\u4f1e"),
    ("spider", "", "", "\u8718\u86db"),
    ("steam locomotive", "train", "", "\u84b8\u6c7d\u673a\u8f66;\u706b\u8f66"),
    ("lighthouse", "", "", "\u706f\u5854"),
    ("chess", "chessboard", "", "\u56fd\u9645\u8c61\u68cb"),
    ("microscope", "", "", "\u663e\u5fae\u955c"),
    ("wedding dress", "bride", "", "\u5a5a\u7eb1"),
    ("sailing boat", "sailboat;yacht", "", "\u5e06\u8239"),
    ("butterfly", "", "", "\u8774\u8776"),
    ("fire engine", "", "", "\u6d88\u9632\u8f66"),
    ("hot air balloon", "", "", "\u70ed\u6c14\u7403"),
    ("violin", "", "", "\u5c0f\u63d0\u7434"),
    ("dolphin", "", "", "\u6d77\u8c5a"),
    ("sunflower", "", "", "\u5411\u65e5\u8475"),
    ("parrot", "", "", "\u9e66\u9e49"),
)
"""Things of `tests.retrieval_clips.ABSENT`, which was written before any score was seen."""

SUBJECTS: dict[str, tuple[str, ...]] = {
    "0lh_UWF9ZP4_62_69.avi": ("cooking", "rice", "dog"),
    "3qqEKTPxLNs_1_15.avi": ("baby",),
    "5HAf_INrFy0_3_25.gif": ("cat", "television"),
    "778mkceE0UQ_40_46.avi": ("car",),
    "Je3V7U5Ctj4_569_576.gif": ("cooking", "tortilla"),
    "PeUHy0A1GF0_114_121.avi": ("cooking", "shrimp"),
    "TZ860P4iTaM_15_28.avi": ("cat", "piano"),
    "UXs3eq68ZjE_250_255.avi": ("cooking", "rice"),
    "WTf5EgVY5uU_124_128.avi": ("cooking", "frying pan"),
    "j2Dhf-xFUxU_13_20.avi": ("cooking", "tortilla"),
    "klteYv1Uv9A_27_33.avi": ("motorcycle",),
    "qvg9eM4Hmzk_4_10.avi": ("truck", "car"),
    "ufFT2BWh3BQ_0_8.avi": ("panda",),
    "black-swan.mp4": ("swan",),
    "brown-bear.mp4": ("bear",),
    "car-moving.mp4": ("car",),
    "car-turn.mp4": ("car",),
    "child-riding.mp4": ("bicycle",),
    "cow-walking.mp4": ("cow",),
    "dog-walking.mp4": ("dog",),
    "horse-running.mp4": ("horse",),
    "lion-roaring.mp4": ("lion",),
    "man-running.mp4": ("person running",),
    "man-surfing.mp4": ("surfing",),
    "rabbit-watermelon.mp4": ("rabbit",),
    "skateboard-dog.avi": ("skateboard", "dog"),
    "skateboard-man.mp4": ("skateboard",),
}
"""Which of the words each captioned clip shows."""

ACTIONS = (
    ("box", "boxing;punching", "a person punches with the fists", ""),
    ("clap", "clapping hands", "a person claps the hands", ""),
    ("wave", "waving", "a person waves with both arms", ""),
    ("walk", "walking", "a person walks", ""),
    ("jog", "jogging", "a person jogs", ""),
    ("run", "running", "a person runs fast", ""),
)
"""The drawn actions of `tests.action_videos`."""

KINDS = (
    ("animal", "", "a wild or domestic animal", "\u52a8\u7269"),
    ("cooking", "food;kitchen", "preparing food in a kitchen", "\u505a\u996d"),
    ("vehicle", "car;truck;motorcycle", "", "\u8f66\u8f86"),
    ("person", "man;woman;child", "", "\u4eba"),
)

CLIPS_OF_KINDS: dict[str, tuple[str, ...]] = {
    "animal": (
        "black-swan.mp4", "brown-bear.mp4", "cow-walking.mp4", "dog-walking.mp4", "horse-running.mp4",
        "lion-roaring.mp4", "rabbit-watermelon.mp4", "5HAf_INrFy0_3_25.gif", "TZ860P4iTaM_15_28.avi",
        "ufFT2BWh3BQ_0_8.avi", "imageio_cockatoo.mp4",
    ),
    "cooking": (
        "0lh_UWF9ZP4_62_69.avi", "Je3V7U5Ctj4_569_576.gif", "PeUHy0A1GF0_114_121.avi", "UXs3eq68ZjE_250_255.avi",
        "WTf5EgVY5uU_124_128.avi", "j2Dhf-xFUxU_13_20.avi", "decord_flipping_a_pancake.mkv",
    ),
    "vehicle": (
        "car-moving.mp4", "car-turn.mp4", "778mkceE0UQ_40_46.avi", "qvg9eM4Hmzk_4_10.avi", "klteYv1Uv9A_27_33.avi",
        "car-detection.mp4",
    ),
    "person": (
        "child-riding.mp4", "man-running.mp4", "man-surfing.mp4", "skateboard-man.mp4", "3qqEKTPxLNs_1_15.avi",
        "one-by-one-person-detection.mp4",
    ),
}  # fmt: skip
"""Clips of ../shared/data whose main subject is of one kind."""

TANK = (
    ("no_action", "wagon;tank car", "a railway tank wagon stands still", ""),
    ("bridge_up", "raised bridge", "a bridge is raised from a wagon", ""),
    ("bridge_down", "lowered bridge", "a bridge lies on a wagon", ""),
    ("train_in_out", "moving train", "a train comes in or goes out", ""),
)

Rows = Sequence[tuple[str, str, str, str]]


def texts_of_rows(rows: Rows) -> tuple[LabelText, ...]:
    """The texts of rows, as a vocabulary."""
    return tuple(LabelText(name, _many(others), about, _many(chinese)) for name, others, about, chinese in rows)


def csv_of_rows(rows: Rows) -> str:
    """The rows as a table with a header."""
    return "name,other_names,description,zh\n" + "".join(",".join(row) + "\n" for row in rows)


def shown(words: Sequence[str], subjects: Mapping[str, Sequence[str]] = SUBJECTS) -> list[list[bool]]:
    """For each clip, which of the words it shows."""
    return [[word in subjects[clip] for word in words] for clip in subjects]


def _many(cell: str) -> tuple[str, ...]:
    return tuple(part for part in cell.split(";") if part)
