"""The jet-image network: a plain convolutional classifier of about 150 million multiplications per jet."""

from __future__ import annotations

import torch
from torch import nn

# Pixels are pT shares that sum to 255 and span five decades; the logarithm lets soft radiation count.
LOG_GAIN = 4.0
LOG_SCALE = 0.25

CHANNELS = ((24,), (64, 64), (128, 128), (160, 160))
HIDDEN = 128


class TopTagNet(nn.Module):
    """Top or not, from one jet image.

    Input: `image`, float32 [n, pixels, pixels, 1], pixels sum to 255.
    Output of `forward`: logits, float32 [n, 2], index 0 is top.
    """

    def __init__(self, pixels: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels_in = 1
        for block, widths in enumerate(CHANNELS):
            for width in widths:
                kernel = 5 if block == 0 else 3
                layers += [
                    nn.Conv2d(channels_in, width, kernel, padding="same", bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels_in = width
            layers.append(nn.MaxPool2d(2))
        side = pixels >> len(CHANNELS)
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(channels_in * side * side, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
            nn.Linear(HIDDEN, 2),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [n, 2], of images, float32 [n, pixels, pixels, 1]."""
        # One channel: NHWC and NCHW hold the same bytes, so a reshape is enough.
        one_channel_first = image.reshape(-1, 1, image.shape[1], image.shape[2])
        logarithm = torch.log1p(one_channel_first * LOG_GAIN) * LOG_SCALE
        logits: torch.Tensor = self.head(self.features(logarithm))
        return logits


class Probability(nn.Module):
    """`TopTagNet` with the softmax that the shipped graph ends in."""

    def __init__(self, network: TopTagNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Probabilities, float32 [n, 2], of images, float32 [n, pixels, pixels, 1]."""
        return torch.softmax(self.network(image), dim=1)
