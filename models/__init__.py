"""Networks only: tensors in, tensors out. Importing this loads no torch; `create_model` does.

model = create_model("vit", image_size=32, in_channels=3, num_classes=10, position="rope_axial")
logits = model(images)                      # B C H W -> B K, at any resolution the model can take
logits, parts = model.forward_parts(images)
model.describe(48, 48).macs
"""

from models.declaration import Family
from models.encodings import Encoding
from models.hints import did_you_mean
from models.options import ModelError, Option, Scalar, parse_way
from models.registry import (
    carry_ways,
    check_resolution,
    create_model,
    family,
    model_names,
    position_names,
    position_summaries,
    resolve_options,
    sources,
)
from models.sizes import SCALES, TIERS

__all__ = [
    "SCALES",
    "TIERS",
    "Encoding",
    "Family",
    "ModelError",
    "Option",
    "Scalar",
    "carry_ways",
    "check_resolution",
    "create_model",
    "did_you_mean",
    "family",
    "model_names",
    "parse_way",
    "position_names",
    "position_summaries",
    "resolve_options",
    "sources",
]
