"""Makes the PyTorch checkpoints beside this file. Needs PyTorch; the tests that read them do not.

Writes, about 120 KiB in all:

    unet_zip.pth, unet_legacy.pth  one random network's state dict, in the two formats of torch.save
    unet_parity.npz                an 8-bit image and PyTorch's answer to it, channels last
    kinds_zip.pth                  every admitted storage type and kind of view
    kinds_legacy.pth               the same in the legacy format, at pickle protocol 4
    kinds.npz                      what PyTorch says the tensors in them hold

The network is the official one (TaoHuang2018/Neighbor2Neighbor, arch_unet.py, no blind-spot
option), 4 features wide instead of 48 and with a last stage of 8 instead of 96. Its weights are
He-normal and its biases random, so that each of them matters to the output.

Run from the root of the repository, with PyTorch 2.x: python tests/data/make_torch_fixtures.py
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
CHANNELS, FEATURES, TAIL = 3, 4, 8


class Upsample(nn.Module):
    """A transposed convolution under the name `deconv`, as in the official state dicts."""

    def __init__(self, channels):
        super().__init__()
        # The official code passes a sixth argument, False. That is output_padding, not bias: the
        # layer has a bias. PyTorch 2.13 no longer takes False there, so it is written as 0.
        self.deconv = nn.ConvTranspose2d(channels, channels, 2, 2, 0, 0)

    def forward(self, x, skip):
        return torch.cat([self.deconv(x), skip], dim=1)


class UNet(nn.Module):
    """The official network; its attribute names are the names in the state dict."""

    def __init__(self, channels, features, tail):
        super().__init__()
        width = 2 * features
        self.enc_conv0 = nn.Conv2d(channels, features, 3, 1, 1)
        for level in range(1, 7):
            self.add_module(f"enc_conv{level}", nn.Conv2d(features, features, 3, 1, 1))
        for level in range(5, 0, -1):
            below = features if level == 5 else width
            beside = channels if level == 1 else features
            out = tail if level == 1 else width
            self.add_module(f"up{level}", Upsample(below))
            self.add_module(f"dec_conv{level}a", nn.Conv2d(below + beside, out, 3, 1, 1))
            self.add_module(f"dec_conv{level}b", nn.Conv2d(out, out, 3, 1, 1))
        self.nin_a = nn.Conv2d(tail, tail, 1, 1, 0)
        self.nin_b = nn.Conv2d(tail, tail, 1, 1, 0)
        self.nin_c = nn.Conv2d(tail, channels, 1, 1, 0)

    def forward(self, x):
        def conv(name, x):
            return nn.functional.leaky_relu(getattr(self, name)(x), 0.2)

        skips = [x]
        x = conv("enc_conv0", x)
        for level in range(1, 6):
            x = nn.functional.max_pool2d(conv(f"enc_conv{level}", x), 2)
            skips.append(x)
        x = conv("enc_conv6", x)
        for level in range(5, 0, -1):
            x = getattr(self, f"up{level}")(x, skips[level - 1])
            x = conv(f"dec_conv{level}b", conv(f"dec_conv{level}a", x))
        return self.nin_c(conv("nin_b", conv("nin_a", x)))


def draw_weights(network):
    """Draws weights that keep the spread of the activations, and biases that are not zero."""
    for name, parameter in network.named_parameters():
        if name.endswith(".bias"):
            nn.init.normal_(parameter, std=0.1)
        else:
            nn.init.kaiming_normal_(parameter, a=0.2)


def save_unet():
    """Saves the network twice, and one image with the network's output."""
    network = UNet(CHANNELS, FEATURES, TAIL).eval()
    draw_weights(network)
    torch.save(network.state_dict(), HERE / "unet_zip.pth")
    torch.save(network.state_dict(), HERE / "unet_legacy.pth", _use_new_zipfile_serialization=False)
    noisy = torch.randint(0, 256, (1, CHANNELS, 32, 64), dtype=torch.uint8)
    with torch.no_grad():
        denoised = network(noisy.float() / 255)
    channels_last = (0, 2, 3, 1)
    np.savez_compressed(
        HERE / "unet_parity.npz",
        noisy=noisy.permute(channels_last).numpy(),
        denoised=denoised.permute(channels_last).numpy(),
    )


def save_kinds():
    """Saves one tensor of each storage type, and views of one shared storage."""
    base = torch.arange(24.0) - 5.5
    numbers = torch.tensor([-3.0, 0.0, 1.5, 100.0])
    kinds = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8"]
    state = {kind: numbers.to(getattr(torch, kind)) for kind in kinds}
    state |= {
        "uint8": torch.tensor([0, 7, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(42),
        "empty": torch.zeros(0, 3),
        "shared": base,
        "slice": base[3:20:4],
        "transposed": base.view(2, 3, 4).permute(2, 0, 1),
        "parameter": nn.Parameter(base.view(4, 6)[1:3, 2:5]),
    }
    torch.save(state, HERE / "kinds_zip.pth")
    torch.save(
        state,
        HERE / "kinds_legacy.pth",
        pickle_protocol=4,
        _use_new_zipfile_serialization=False,
    )
    widened = {name: t.float() if t.dtype == torch.bfloat16 else t for name, t in state.items()}
    np.savez_compressed(
        HERE / "kinds.npz", **{name: t.detach().numpy() for name, t in widened.items()}
    )


if __name__ == "__main__":
    torch.manual_seed(20210621)
    save_unet()
    save_kinds()
