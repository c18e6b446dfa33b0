"""Makes the vectors of texts that the package ships: `python -m models.text.shipped_vectors`.

With them a first search is fast. They are those of the ImageNet classes and concepts with the default text model. They
must be made anew when a text, a concept's phrase or the text model changes; tests notice.
"""

from pathlib import Path
from typing import Any

import numpy as np

from models.text.concepts import CONCEPTS, concepts_key, embed_concepts, imagenet_concepts
from models.text.label_texts import SHIPPED, content_key, embed_labels, imagenet_label_texts
from models.text.registry import open_text_model


def ship(target: Path) -> None:
    """Write the file of vectors."""
    model, texts, concepts = open_text_model(), list(imagenet_label_texts().values()), imagenet_concepts()
    vectors = {"vectors": embed_labels(texts, model), CONCEPTS: embed_concepts(concepts, model)}
    keys = {"vectors": content_key(texts, model), CONCEPTS: concepts_key(concepts, model)}
    stored: dict[str, Any] = {name: array.astype(np.float16) for name, array in vectors.items()}
    stored.update({f"{name}_key": np.array(key) for name, key in keys.items()})
    np.savez(target, **stored)


if __name__ == "__main__":
    ship(Path(__file__).with_name(SHIPPED))
