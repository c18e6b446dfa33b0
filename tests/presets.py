"""Tiny keras-hub presets with random weights, one a family, saved as keras-hub saves the published ones."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

SIDE = 32

_TOWER = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "intermediate_dim": 32}
_VISION: dict[str, Any] = {**_TOWER, "patch_size": 8, "image_shape": (SIDE, SIDE, 3)}
_TEXT: dict[str, Any] = {**_TOWER, "embedding_dim": 16, "max_sequence_length": 16}


def save_clip(folder: Path) -> None:
    """A CLIP that knows the letters of dog and cat; embeddings of 8."""
    import keras_hub

    vision = keras_hub.models.CLIPVisionEncoder(**_VISION)
    pieces = ["<|startoftext|>", "<|endoftext|>", *"dogcat", *(f"{letter}</w>" for letter in "dogcat"), "do", "dog</w>"]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    text = keras_hub.models.CLIPTextEncoder(vocabulary_size=len(vocabulary), **_TEXT)
    backbone = keras_hub.models.CLIPBackbone(vision_encoder=vision, text_encoder=text, projection_dim=8)
    preprocessor = keras_hub.models.CLIPPreprocessor(
        tokenizer=keras_hub.models.CLIPTokenizer(vocabulary=vocabulary, merges=["d o", "do g</w>"]),
        image_converter=keras_hub.layers.CLIPImageConverter(image_size=(SIDE, SIDE), scale=1 / 127.5, offset=-1.0),
        sequence_length=16,
    )
    _seed_and_save(folder, backbone, preprocessor)


def save_siglip(folder: Path) -> None:
    """A SigLIP with a vocabulary of a few words; embeddings of 16."""
    import keras_hub

    vision = keras_hub.models.SigLIPVisionEncoder(**_VISION)
    tokenizer = keras_hub.models.SigLIPTokenizer(proto=_sentence_pieces())
    text = keras_hub.models.SigLIPTextEncoder(vocabulary_size=tokenizer.vocabulary_size(), **_TEXT)
    backbone = keras_hub.models.SigLIPBackbone(vision_encoder=vision, text_encoder=text)
    preprocessor = keras_hub.models.SigLIPPreprocessor(
        tokenizer=tokenizer,
        image_converter=keras_hub.layers.SigLIPImageConverter(image_size=(SIDE, SIDE), scale=1 / 127.5, offset=-1.0),
        sequence_length=16,
    )
    _seed_and_save(folder, backbone, preprocessor)


def _sentence_pieces() -> bytes:
    import sentencepiece

    written = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a photo of a dog", "a photo of a cat", "the dog and the cat"]),
        model_writer=written,
        vocab_size=12,
        model_type="WORD",
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        hard_vocab_limit=False,
    )
    return written.getvalue()


def _seed_and_save(folder: Path, *parts: Any) -> None:
    """Give every weight a value of its own, so that no two towers and no two layers are alike, and save."""
    import numpy as np

    for number, weight in enumerate(weight for part in parts for weight in getattr(part, "weights", ())):
        if not weight.path.endswith(("logit_scale", "logit_bias")) and "int" not in str(weight.dtype):
            weight.assign(np.asarray(weight) + np.random.default_rng(number).normal(size=weight.shape) / 20)
    for part in parts:
        part.save_to_preset(str(folder))


def save_vit(folder: Path) -> None:
    """A ViT that gives the logits of 5 classes; embeddings of 16."""
    import keras_hub

    backbone = keras_hub.models.ViTBackbone(
        image_shape=(SIDE, SIDE, 3), patch_size=8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    converter = keras_hub.layers.ViTImageConverter(image_size=(SIDE, SIDE), scale=1 / 127.5, offset=-1.0)
    preprocessor = keras_hub.models.ViTImageClassifierPreprocessor(image_converter=converter)
    _seed_and_save(
        folder, keras_hub.models.ViTImageClassifier(backbone, num_classes=5, preprocessor=preprocessor)
    )  # fmt: skip


def save_efficientnet(folder: Path) -> None:
    """An EfficientNetV2 that gives the scores of 1,000 classes, with a mean and deviation a channel."""
    import keras_hub

    backbone = keras_hub.models.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 1],
        stackwise_input_filters=[8, 8],
        stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 4],
        stackwise_strides=[1, 2],
        stackwise_squeeze_and_excite_ratios=[0, 0.25],
        stackwise_block_types=["fused", "unfused"],
        width_coefficient=1.0,
        depth_coefficient=1.0,
        include_stem_padding=False,
        input_shape=(None, None, 3),
    )
    converter = keras_hub.layers.EfficientNetImageConverter(
        image_size=(SIDE, SIDE),
        scale=[1 / (255 * std) for std in (0.229, 0.224, 0.225)],
        offset=[-mean / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))],
        crop_to_aspect_ratio=False,
    )
    preprocessor = keras_hub.models.EfficientNetImageClassifierPreprocessor(image_converter=converter)
    classifier = keras_hub.models.EfficientNetImageClassifier(
        backbone, num_classes=1000, preprocessor=preprocessor, activation="softmax"
    )
    _seed_and_save(folder, classifier)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "clip_vit_base_patch32": save_clip,
    "siglip_base_patch16_224": save_siglip,
    "vit_base_patch16_224_imagenet": save_vit,
    "efficientnet2_rw_t_ra2_imagenet": save_efficientnet,
}
"""The name of a published preset -> what saves a tiny one of its family."""


def save_deeplab(folder: Path) -> None:
    """A DeepLabV3+ that gives the logits of Pascal VOC's 21 classes at half the size of the input."""
    import keras_hub

    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8, 8],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block",
        use_pre_activation=True,
        image_shape=(None, None, 3),
    )
    backbone = keras_hub.models.DeepLabV3Backbone(
        image_encoder=encoder,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P4",
        dilation_rates=[2, 4],
        upsampling_size=4,
        projection_filters=4,
        image_shape=(SIDE * 2, SIDE * 2, 3),
    )
    converter = keras_hub.layers.DeepLabV3ImageConverter(image_size=(SIDE * 2, SIDE * 2), scale=1 / 127.5, offset=-1.0)
    preprocessor = keras_hub.models.DeepLabV3ImageSegmenterPreprocessor(image_converter=converter)
    _seed_and_save(
        folder, keras_hub.models.DeepLabV3ImageSegmenter(backbone, num_classes=21, preprocessor=preprocessor)
    )  # fmt: skip


def save_segformer(folder: Path) -> None:
    """A SegFormer that gives the logits of ADE20K's 150 classes."""
    import keras_hub

    encoder = keras_hub.models.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=(SIDE * 2, SIDE * 2, 3),
        hidden_dims=[8, 16],
    )
    backbone = keras_hub.models.SegFormerBackbone(image_encoder=encoder, projection_filters=8)
    converter = keras_hub.layers.SegFormerImageConverter(
        image_size=(SIDE * 2, SIDE * 2), scale=[1 / 58.4, 1 / 57.1, 1 / 57.4], offset=[-2.12, -2.04, -1.8]
    )
    preprocessor = keras_hub.models.SegFormerImageSegmenterPreprocessor(image_converter=converter)
    _seed_and_save(
        folder, keras_hub.models.SegFormerImageSegmenter(backbone, num_classes=150, preprocessor=preprocessor)
    )  # fmt: skip


SEGMENTERS: dict[str, Callable[[Path], None]] = {
    "deeplab_v3_plus_resnet50_pascalvoc": save_deeplab,
    "segformer_b0_ade20k_512": save_segformer,
}
"""The name of a published segmentation preset -> what saves a tiny one of its family."""
