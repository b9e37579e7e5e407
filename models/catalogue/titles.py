"""What families, mixers and positional encodings are called in a sentence (torch-free).

What has no title goes by its name.
"""

from __future__ import annotations

from collections.abc import Mapping

FAMILIES: Mapping[str, str] = {
    "vit": "ViT",
    "conv_stem_vit": "conv-stem ViT",
    "resnet": "ResNet",
    "swin": "Swin",
    "cct": "CCT",
    "convnext": "ConvNeXt",
    "simple_cnn": "simple CNN",
    "airbench": "airbench CNN",
    "mixer": "MLP-Mixer",
    "mlp": "MLP",
    "course_vit": "course ViT",
    "convit": "ConViT",
    "conv_attention": "ViT with convolutional projections",
    "resnet_vit": "ResNet-ViT",
    "coatnet": "CoAtNet",
    "attention_mlp": "attention MLP",
    "locally_connected": "locally connected network",
}

MIXERS: Mapping[str, str] = {  # the ladder's
    "identity": "block without a mixer",
    "pool": "block with pooling",
    "depthwise_conv": "block with convolution",
    "gated_conv": "block with gated convolution",
    "local_attention": "block with local attention",
    "window_attention": "block with window attention",
    "attention": "block with attention",
    "locally_connected": "block with locally connected layers",
    "token_mlp": "block with an MLP across tokens",
    "ssd": "block with a state-space model",
}

POSITIONS: Mapping[str, str] = {  # what follows the title of a family
    "none": "without positions",
    "learned_1d": "with learned positions",
    "learned_2d": "with learned row and column positions",
    "sincos_1d": "with sinusoids of the raster index",
    "sincos_2d": "with sinusoidal positions",
    "sincos_2d_sum": "with summed sinusoidal positions",
    "fourier": "with Fourier features of position",
    "relative_1d": "with relative raster positions",
    "relative_2d": "with relative positions",
    "bias_2d": "with relative biases",
    "cpb": "with continuous relative biases",
    "fire": "with FIRE",
    "pape": "with parabolic positions",
    "alibi_2d": "with ALiBi",
    "rope_axial": "with rotary positions",
    "rope_mixed": "with learned rotary positions",
    "conditional": "with conditional positions",
    "lookhere": "with LookHere",
}


def title(model: str) -> str:
    """'resnet' -> 'ResNet'; of the ladder with its mixer: 'ladder pool' -> 'block with pooling'."""
    mixer = model.partition(" ")[2]
    return MIXERS.get(mixer, model) if mixer else FAMILIES.get(model, model)


def article(words: str) -> str:
    """'a' or 'an', by the sound of the first word."""
    return "an" if words.startswith("MLP") or words[:1].lower() in "aeio" else "a"


def position_words(position: str) -> str:
    """'none' -> 'without positions', 'rope_axial' -> 'with rotary positions'."""
    return POSITIONS.get(position, f"with {position} positions")
