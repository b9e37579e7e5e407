"""The ViT against timm's and torchvision's with copied weights, and the course's patch embeddings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from models.network import DropPath, drop_path_rates
from models.vit import PatchEmbedding, ViT


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def copy_blocks(ours: ViT, theirs: nn.Module) -> None:
    """Copy a timm ViT's blocks, norm, patch embedding and head into ours."""
    pairs: list[tuple[nn.Module, Any]] = [(ours.embed, theirs.patch_embed.proj), (ours.norm, theirs.norm)]
    pairs.append((ours.head, theirs.head))
    for mine, other in zip(ours.blocks, theirs.blocks, strict=True):
        pairs += [(mine.norm1, other.norm1), (mine.norm2, other.norm2), (mine.attention.qkv, other.attn.qkv)]
        pairs += [(mine.attention.out, other.attn.proj), (mine.mlp.up, other.mlp.fc1), (mine.mlp.down, other.mlp.fc2)]
    for mine, other in pairs:
        mine.load_state_dict(other.state_dict())


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("attention", ["explicit", "fused"])
def test_logits_are_timms(class_token: bool, attention: Any, randomise: Any) -> None:
    """timm's VisionTransformer with learned positions: float64 to 1e-8 and float32 to 1e-5 at the training size, and
    at two other sizes, where timm resamples in single precision."""
    from timm.models.vision_transformer import VisionTransformer

    theirs = VisionTransformer(
        img_size=16,
        patch_size=2,
        embed_dim=48,
        depth=3,
        num_heads=4,
        num_classes=10,
        class_token=class_token,
        global_pool="token" if class_token else "avg",
        fc_norm=False,
        dynamic_img_size=True,
    )
    randomise(theirs.double())
    ours = models.create_model(
        "vit", image_size=16, in_channels=3, num_classes=10, size="pico", patch_size=2, class_token=class_token
    ).double()
    assert isinstance(ours, ViT)
    copy_blocks(ours, theirs)
    with torch.no_grad():
        rows = theirs.pos_embed[0]
        ours.position.table.copy_(rows[int(class_token) :])
        if class_token:
            ours.position.class_row.copy_(rows[:1])
            ours.class_token.copy_(theirs.cls_token)
    ours.set_attention(attention)
    ours.eval()
    theirs.eval()
    for side, tolerance in ((16, 1e-8), (24, 2e-6), (10, 2e-6)):
        x = images(2, 3, side, side)
        torch.testing.assert_close(ours(x), theirs(x), atol=tolerance, rtol=tolerance)
    x = images(2, 3, 16, 16)
    torch.testing.assert_close(ours.float()(x.float()), theirs.float()(x.float()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("class_token", [False, True])
def test_registers_are_timms(class_token: bool, randomise: Any) -> None:
    """timm's VisionTransformer with `reg_tokens`, at two image sizes: float64 to 1e-8 and 2e-6 (it resamples in single
    precision). Its first tokens have no learned position; ours share a row, here 0."""
    from timm.models.vision_transformer import VisionTransformer

    theirs = VisionTransformer(
        img_size=16, patch_size=4, embed_dim=48, depth=3, num_heads=4, num_classes=10, reg_tokens=4,
        class_token=class_token, no_embed_class=True, global_pool="token" if class_token else "avg", fc_norm=False,
        dynamic_img_size=True,
    )  # fmt: skip
    randomise(theirs.double()).eval()
    ours = models.create_model(
        "vit", image_size=16, in_channels=3, num_classes=10, size="pico", class_token=class_token, registers=4
    )
    ours = ours.double().eval()
    assert isinstance(ours, ViT) and ours.registers is not None
    copy_blocks(ours, theirs)
    with torch.no_grad():
        ours.position.table.copy_(theirs.pos_embed[0])
        ours.position.class_row.zero_()
        ours.registers.copy_(theirs.reg_token)
        if class_token:
            ours.class_token.copy_(theirs.cls_token)  # type: ignore[union-attr]
    for side, tolerance in ((16, 1e-8), (24, 2e-6)):
        x = images(2, 3, side, side)
        torch.testing.assert_close(ours(x), theirs(x), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("initial", models.INITIAL)
@pytest.mark.parametrize("family", ["vit", "conv_stem_vit", "resnet_vit"])
def test_registers_move_no_other_weight(family: str, initial: str) -> None:
    """Reference: the network without. Registers are new, apart from each other, of the backbone, and not decayed."""
    made: dict[str, Any] = {"image_size": 8, "in_channels": 1, "num_classes": 10, "size": "pico", "scale": 8}
    made |= {"class_token": True, "initial": initial}
    plain, more = models.create_model(family, **made), models.create_model(family, registers=4, **made)
    state = plain.state_dict()
    for name, value in more.state_dict().items():
        assert name == "registers" or torch.equal(value, state.pop(name))
    assert not state
    registers = dict(more.named_parameters())["registers"]
    assert registers.shape == (1, 4, more.norm.normalized_shape[0])
    assert 0.015 < registers.std().item() < 0.025 and len(registers[0].unique(dim=0)) == 4
    assert more.part_of("registers") == "backbone" and "registers" in more.no_decay()


def test_logits_are_torchvisions(randomise: Any) -> None:
    """torchvision's VisionTransformer (the class behind vit_b_16), with class token: float64 to 1e-8."""
    from torchvision.models.vision_transformer import VisionTransformer

    theirs = randomise(VisionTransformer(16, 4, 3, 4, 48, 192, num_classes=10).double()).eval()
    ours = models.create_model("vit", image_size=16, in_channels=3, num_classes=10, size="pico", class_token=True)
    ours = ours.double().eval()
    assert isinstance(ours, ViT)
    state = theirs.state_dict()
    with torch.no_grad():
        ours.position.class_row.copy_(state["encoder.pos_embedding"][0, :1])
        ours.position.table.copy_(state["encoder.pos_embedding"][0, 1:])
        ours.class_token.copy_(state["class_token"])
    names = {
        "norm1": "ln_1",
        "attention.qkv": "self_attention.in_proj",
        "attention.out": "self_attention.out_proj",
        "norm2": "ln_2",
        "mlp.up": "mlp.0",
        "mlp.down": "mlp.3",
    }
    own = ours.state_dict()
    for block in range(3):
        for mine, other in names.items():
            for kind in ("weight", "bias"):
                joint = "_" if other.endswith("in_proj") else "."
                own[f"blocks.{block}.{mine}.{kind}"] = state[
                    f"encoder.layers.encoder_layer_{block}.{other}{joint}{kind}"
                ]
    for mine, other in (("embed", "conv_proj"), ("norm", "encoder.ln"), ("head", "heads.head")):
        for kind in ("weight", "bias"):
            own[f"{mine}.{kind}"] = state[f"{other}.{kind}"]
    ours.load_state_dict(own)
    x = images(2, 3, 16, 16)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(
    ("side", "patch", "width", "tokens", "values"),
    [(32, 4, 128, 64, 48), (32, 8, 64, 16, 192), (224, 16, 768, 196, 768)],
)
def test_course_case_1_patch_embedding(side: int, patch: int, width: int, tokens: int, values: int) -> None:
    """Course material: number, width and contents of tokens; one convolution equals a linear map of the cut patches."""
    embed = PatchEmbedding(3, width, patch).double()
    x = images(1, 3, side, side)
    out = embed(x).flatten(2).transpose(1, 2)
    assert out.shape == (1, tokens, width)
    assert embed.weight[0].numel() == values
    n = side // patch
    cut = x.view(3, n, patch, n, patch).permute(1, 3, 0, 2, 4).reshape(n * n, values)
    torch.testing.assert_close(out[0], cut @ embed.weight.flatten(1).T + embed.bias)


def test_refuses_images_its_patches_do_not_divide() -> None:
    """At construction, at a call and when planning, with the nearest sizes."""
    message = "image 30 is not divisible by patch 4: nearest 28, 32"
    network = models.create_model("vit", image_size=32, in_channels=3, num_classes=10)
    with pytest.raises(models.ModelError, match=message):
        network(torch.zeros(1, 3, 30, 30))
    with pytest.raises(models.ModelError, match=message):
        models.create_model("vit", image_size=30, in_channels=3, num_classes=10)
    with pytest.raises(models.ModelError, match=message):
        models.check_resolution("vit", size="nano", options={}, resolution=30, train_resolution=32)
    models.check_resolution("conv_stem_vit", size="nano", options={}, resolution=30, train_resolution=32)


def test_drop_path() -> None:
    """Whole images are dropped at the stated rate and the rest scaled; evaluation changes nothing; rates are linear."""
    drop, ones = DropPath(0.25), torch.ones(4000, 2, 3)
    torch.manual_seed(0)
    out = drop(ones)
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (out == out[:, :1, :1]).all()
    assert abs((out[:, 0, 0] == 0).float().mean().item() - 0.25) < 0.03
    assert drop.eval()(ones) is ones
    assert drop_path_rates(0.2, 5) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert drop_path_rates(0.2, 1) == [0.0]


def test_dropped_branches_follow_the_global_generator() -> None:
    """Reseeding torch's generator repeats a training pass bit for bit; another seed does not."""
    network = models.create_model(
        "vit", image_size=8, in_channels=1, num_classes=10, size="pico", scale=8, drop_path=0.5, initial="torch"
    )
    x, outputs = images(8, 1, 8, 8).float(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(network(x))
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])


def test_layer_scale_starts_small() -> None:
    """With factors of 0.1 a block changes its tokens a tenth as much as without, in its attention branch."""
    make = dict(image_size=8, in_channels=1, num_classes=10, size="pico", scale=8, position="none")
    plain = models.create_model("vit", **make).eval()  # type: ignore[arg-type]
    scaled = models.create_model("vit", layer_scale=0.1, **make).eval()  # type: ignore[arg-type]
    assert isinstance(scaled, ViT) and isinstance(plain, ViT)
    x = images(2, 12, 48).float()
    branch = plain.blocks[0].scale1(x)
    torch.testing.assert_close(scaled.blocks[0].scale1(x), 0.1 * branch)


def test_macs_by_hand() -> None:
    """The pico ViT at 8 px, 16 tokens of width 48, three blocks: counted on paper."""
    network = models.create_model("vit", image_size=8, in_channels=1, num_classes=10, size="pico", scale=8)
    embedding, head = 16 * 4 * 48, 48 * 10
    block = 16 * 12 * 48 * 48 + 2 * 16 * 16 * 48
    assert network.describe(8, 8).macs == embedding + 3 * block + head


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-5)])
def test_size_b16_is_torchvisions_vit_b_16(dtype: torch.dtype, tolerance: float, randomise: Any) -> None:
    """torchvision's VisionTransformer in the shape of its vit_b_16, at 64 px, with copied weights: our size B/16."""
    from torchvision.models.vision_transformer import VisionTransformer

    shape = {"patch_size": 16, "num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072}
    theirs = randomise(VisionTransformer(image_size=64, num_classes=10, **shape)).to(dtype).eval()
    made = {"image_size": 64, "in_channels": 3, "num_classes": 10, "size": "B/16", "class_token": True}
    ours = models.create_model("vit", position="learned_1d", **made).to(dtype).eval()
    assert isinstance(ours, ViT)
    pairs: list[tuple[nn.Module, Any]] = [(ours.embed, theirs.conv_proj), (ours.norm, theirs.encoder.ln)]
    pairs.append((ours.head, theirs.heads.head))
    for mine, other in zip(ours.blocks, theirs.encoder.layers, strict=True):
        pairs += [(mine.norm1, other.ln_1), (mine.norm2, other.ln_2), (mine.mlp.up, other.mlp[0])]
        pairs += [(mine.mlp.down, other.mlp[3]), (mine.attention.out, other.self_attention.out_proj)]
        mine.attention.qkv.load_state_dict(
            {"weight": other.self_attention.in_proj_weight, "bias": other.self_attention.in_proj_bias}
        )
    for mine, other in pairs:
        mine.load_state_dict(other.state_dict())
    with torch.no_grad():
        ours.class_token.copy_(theirs.class_token)  # type: ignore[union-attr]
        ours.position.table.copy_(theirs.encoder.pos_embedding[0, 1:])
        ours.position.class_row.copy_(theirs.encoder.pos_embedding[0, :1])
    batch = images(2, 3, 64, 64).to(dtype)
    with torch.inference_mode():
        torch.testing.assert_close(ours(batch), theirs(batch), atol=tolerance, rtol=tolerance)
