"""The models in PyTorch: modules by hand, transformers' where its users would take those, PyG's graph layers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .. import cases
from ..cases import CLASSES


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden0, self.hidden1 = nn.Linear(64, 128), nn.Linear(128, 128)
        self.logits = nn.Linear(128, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(F.relu(self.hidden1(F.relu(self.hidden0(x)))))


def norm(channels: int, momentum: float = 0.99, epsilon: float = 1e-3) -> nn.Module:
    return nn.BatchNorm2d(channels, epsilon, 1 - momentum)


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for i, (a, b) in enumerate(((3, 16), (16, 32), (32, 32))):
            setattr(self, f"conv{i}", nn.Conv2d(a, b, 3, padding=1))
            setattr(self, f"norm{i}", norm(b))
        self.logits = nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i in range(3):
            x = F.relu(getattr(self, f"norm{i}")(getattr(self, f"conv{i}")(x)))
            x = F.max_pool2d(x, 2) if i < 2 else x
        return self.logits(x.mean((2, 3)))


def conv(a: int, b: int, kernel: int, strides: int = 1, **options: Any) -> nn.Module:
    """Without bias, padded by half the kernel unless told otherwise."""
    options = {"padding": kernel // 2, "bias": False, **options}
    return nn.Conv2d(a, b, kernel, strides, **options)


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv1_bn = conv(3, 32, 3, 2, padding=0), norm(32)
        a, self.halves = 32, (2, 4, 6, 12)
        channels = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
        for i, b in enumerate(channels, start=1):
            how = dict(strides=2, padding=0) if i in self.halves else {}
            setattr(self, f"conv_dw_{i}", conv(a, a, 3, groups=a, **how))
            setattr(self, f"conv_dw_{i}_bn", norm(a))
            setattr(self, f"conv_pw_{i}", conv(a, b, 1))
            setattr(self, f"conv_pw_{i}_bn", norm(b))
            a = b
        self.conv_preds = conv(1024, 1000, 1, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def normed(name: str, x: torch.Tensor) -> torch.Tensor:
            return F.relu6(getattr(self, f"{name}_bn")(getattr(self, name)(x)))

        x = normed("conv1", F.pad(x, (0, 1, 0, 1)))
        for i in range(1, 14):
            x = F.pad(x, (0, 1, 0, 1)) if i in self.halves else x
            x = normed(f"conv_pw_{i}", normed(f"conv_dw_{i}", x))
        return self.conv_preds(x.mean((2, 3), keepdim=True)).flatten(1)


class Separable(nn.Module):
    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.depthwise, self.pointwise = conv(a, a, 3, groups=a), conv(a, b, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(self.depthwise(x))


class Xception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block1_conv1, self.block1_conv1_bn = conv(3, 32, 3, 2, padding=0), norm(32)
        self.block1_conv2, self.block1_conv2_bn = conv(32, 64, 3, padding=0), norm(64)
        shrinking = {
            2: (64, 128, 128),
            3: (128, 256, 256),
            4: (256, 728, 728),
            13: (728, 728, 1024),
        }
        for block, (a, b, c) in shrinking.items():
            self.separable(f"block{block}_sepconv1", a, b)
            self.separable(f"block{block}_sepconv2", b, c)
            setattr(self, f"block{block}_shortcut", conv(a, c, 1, 2))
            setattr(self, f"block{block}_shortcut_bn", norm(c))
        for block in range(5, 13):
            for i in (1, 2, 3):
                self.separable(f"block{block}_sepconv{i}", 728, 728)
        self.separable("block14_sepconv1", 1024, 1536)
        self.separable("block14_sepconv2", 1536, 2048)
        self.predictions = nn.Linear(2048, 1000)

    def separable(self, name: str, a: int, b: int) -> None:
        setattr(self, name, Separable(a, b))
        setattr(self, f"{name}_bn", norm(b))

    def normed(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return getattr(self, f"{name}_bn")(getattr(self, name)(x))

    def shrunk(self, block: int, x: torch.Tensor) -> torch.Tensor:
        y = x if block == 2 else F.relu(x)
        y = self.normed(f"block{block}_sepconv1", y)
        y = self.normed(f"block{block}_sepconv2", F.relu(y))
        more = 1 - y.shape[-1] % 2  # "same" padding of an even length by stride 2: at the end
        y = (
            F.pad(y, (0, 1, 0, 1), value=-torch.inf)
            if more
            else F.pad(y, (1,) * 4, value=-torch.inf)
        )
        return F.max_pool2d(y, 3, 2) + self.normed(f"block{block}_shortcut", x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.normed("block1_conv1", x))
        x = F.relu(self.normed("block1_conv2", x))
        for block in (2, 3, 4):
            x = self.shrunk(block, x)
        for block in range(5, 13):
            y = x
            for i in (1, 2, 3):
                y = self.normed(f"block{block}_sepconv{i}", F.relu(y))
            x = x + y
        x = self.shrunk(13, x)
        for i in (1, 2):
            x = F.relu(self.normed(f"block14_sepconv{i}", x))
        return self.predictions(x.mean((2, 3)))


class Unit(nn.Module):
    def __init__(self, a: int, b: int, kernel: int, strides: int = 1) -> None:
        super().__init__()
        self.conv, self.norm = conv(a, b, kernel, strides), norm(b, 0.9, 1e-5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


class Bottleneck(nn.Module):
    def __init__(self, a: int, b: int, strides: int) -> None:
        super().__init__()
        self.layer1, self.layer2 = Unit(a, b // 4, 1), Unit(b // 4, b // 4, 3, strides)
        self.layer3 = Unit(b // 4, b, 1)
        if a != b:
            self.shortcut = Unit(a, b, 1, strides)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer3(F.relu(self.layer2(F.relu(self.layer1(x)))))
        return F.relu(y + (self.shortcut(x) if hasattr(self, "shortcut") else x))


class ResNet50(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, a = Unit(3, 64, 7, 2), 64
        for stage, (blocks, b) in enumerate(zip((3, 4, 6, 3), (256, 512, 1024, 2048)), start=1):
            made = nn.Module()
            for i in range(1, blocks + 1):
                strides = 2 if stage > 1 and i == 1 else 1
                made.add_module(f"block{i}", Bottleneck(a, b, strides))
                a = b
            self.add_module(f"stage{stage}", made)
        self.logits = nn.Linear(2048, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)
        for stage in (self.stage1, self.stage2, self.stage3, self.stage4):
            for block in stage.children():
                x = block(x)
        return self.logits(x.mean((2, 3)))


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        units = cases.LSTM["units"]
        self.lstm = nn.LSTM(cases.LSTM["features"], units, cases.LSTM["layers"], batch_first=True)
        for name, bias in self.lstm.named_parameters():
            if name.startswith("bias_hh"):  # a second bias, which other frameworks have not
                nn.init.zeros_(bias).requires_grad_(False)
        self.logits = nn.Linear(units, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(self.lstm(x)[0][:, -1])


def gnn() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        from torch_geometric.nn import GraphConv

    class Gnn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            hidden = cases.GRAPH["hidden"]
            self.conv0 = GraphConv(cases.GRAPH["features"], hidden)
            self.conv1 = GraphConv(hidden, CLASSES)

        def forward(self, graph: dict[str, torch.Tensor]) -> torch.Tensor:
            x, edges = graph["x"], graph["edges"]
            return self.conv1(F.relu(self.conv0(x, edges)), edges)

    return Gnn()


def transformers_config(kind: str, sizes: dict[str, int], **more: Any) -> Any:
    import transformers

    return getattr(transformers, kind)(
        hidden_size=sizes["features"], num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"], intermediate_size=sizes["hidden"], num_labels=CLASSES,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **more,
    )  # fmt: skip


def bert() -> nn.Module:
    from transformers import BertForSequenceClassification

    return BertForSequenceClassification(transformers_config("BertConfig", cases.BERT))


def vit() -> nn.Module:
    from transformers import ViTForImageClassification

    config = transformers_config("ViTConfig", cases.VIT, image_size=160)
    return ViTForImageClassification(config)


def gpt() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = cases.GPT
    config = GPT2Config(
        vocab_size=sizes["vocabulary"], n_positions=sizes["context"], n_embd=sizes["features"],
        n_layer=sizes["layers"], n_head=sizes["heads"], bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": Mlp, "cnn": Cnn, "mobilenet": MobileNet, "xception": Xception, "resnet50": ResNet50,
    "vit": vit, "bert": bert, "gpt": gpt, "lstm": Lstm, "gnn": gnn,
}  # fmt: skip
PUBLISHED = {
    "bert": "BertForSequenceClassification", "vit": "ViTForImageClassification", "gpt": "GPT2LMHeadModel",
}  # fmt: skip
"""Models of transformers, whose names of variables the zoo knows."""
