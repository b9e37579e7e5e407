"""Networks only: tensors in, tensors out. Importing this loads no torch; `create_model` does.

model = create_model("vit", image_size=32, in_channels=3, num_classes=10, position="rope_axial")
logits = model(images)                      # B C H W -> B K, at any resolution the model can take
logits, parts = model.forward_parts(images)
model.describe(48, 48).macs
"""

from models.catalogue.abilities import Abilities, abilities, own_way
from models.catalogue.declaration import Family
from models.catalogue.plugins import Plugin, load_plugin, loaded_plugins, plugin_source, plugins_behind, read_plugin
from models.catalogue.ready_made import check_head, keep_classes, shown_as_published
from models.catalogue.registry import (
    INITIAL,
    PARTS,
    carry_ways,
    check_resolution,
    create_model,
    default_size,
    family,
    fills_maps,
    following_options,
    initial_source,
    model_names,
    position_names,
    position_summaries,
    possible_options,
    resizes_input,
    resolve_options,
    sources,
    unknown,
    usual_options,
)
from models.catalogue.sizes import SCALES, TIERS
from models.grids import check_patch
from models.hints import did_you_mean
from models.options import CombinationError, ModelError, Option, OptionError, Scalar, parse_way
from models.positions.encodings import Encoding

__all__ = [
    "INITIAL",
    "PARTS",
    "SCALES",
    "TIERS",
    "Abilities",
    "CombinationError",
    "Encoding",
    "Family",
    "ModelError",
    "Option",
    "OptionError",
    "Plugin",
    "Scalar",
    "abilities",
    "carry_ways",
    "check_head",
    "check_patch",
    "check_resolution",
    "create_model",
    "default_size",
    "did_you_mean",
    "family",
    "fills_maps",
    "following_options",
    "initial_source",
    "keep_classes",
    "load_plugin",
    "loaded_plugins",
    "model_names",
    "own_way",
    "parse_way",
    "plugin_source",
    "plugins_behind",
    "position_names",
    "position_summaries",
    "possible_options",
    "read_plugin",
    "resizes_input",
    "resolve_options",
    "shown_as_published",
    "sources",
    "unknown",
    "usual_options",
]
