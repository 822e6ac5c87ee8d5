"""One row of a benchmark, in a process of its own: the paper's U-Net in several engines, and BM3D.

  python benchmarks/rivals.py ROW

Prepares the row and prints "ready"; for every line it is given then, it works once and prints
seconds of wall clock and of processor time. `benchmarks/bench.py` runs rows in turns through this.
A rival that is not installed (requirements-benchmarks.txt) prints "no: " and the reason.
"""

import os
import resource
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
IMAGE = 1, 512, 768, 3
BATCH = 4, 256, 256, 3
SMALL = 16, 64, 64, 3
PICTURE = 128, 192, 3  # BM3D takes minutes for a large one
SIGMA = 25 / 255
FEATURES = 48


class LeftOut(Exception):
    """Why a row says nothing on this machine."""


def noise(shape):
    """Random numbers in [0, 1]."""
    import numpy as np

    return np.random.default_rng(0).random(shape, np.float32)


def noisy_picture():
    """A smooth picture with Gaussian noise, float32 [H, W, 3] about [0, 1]."""
    import numpy as np

    height, width, channels = PICTURE
    y, x, c = np.mgrid[:height, :width, :channels]
    clean = 0.5 + 0.3 * np.sin(x / 23 + c) * np.cos(y / 17)
    return np.float32(clean + np.random.default_rng(0).normal(0, SIGMA, PICTURE))


def our_picture():
    """A picture by the shipped RGB model, its noise told, as BM3D is told it."""
    from n2n_tf.denoising.denoiser import Denoiser
    from n2n_tf.model_files.shipped import DEFAULTS

    denoise, picture = Denoiser.load(DEFAULTS["RGB"]), noisy_picture()
    return lambda: denoise(picture, noise=f"gauss:{SIGMA}")


def bm3d_picture():
    """The same by CBM3D."""
    import bm3d

    picture = noisy_picture()
    return lambda: bm3d.bm3d_rgb(picture, SIGMA)


def keras_network():
    """The Keras network as it is denoised with."""
    import tensorflow as tf

    from n2n_tf.networks.unet import unet

    network, image = unet(channels=3, features=FEATURES, init_scale=1.0), tf.constant(noise(IMAGE))
    run = tf.function(lambda noisy: network(noisy, training=False))
    return lambda: run(image).numpy()


def litert_network(precision="float32"):
    """The same, converted."""
    from n2n_tf.model_files.info import ModelInfo
    from n2n_tf.model_files.litert import open_tflite
    from n2n_tf.model_files.litert_conversion import converted
    from n2n_tf.networks.unet import unet

    info = ModelInfo(channels=3, size_multiple=32, halo=160)
    graph = converted(unet(channels=3, features=FEATURES, init_scale=1.0), info, _ADJUST[precision])
    run, image = open_tflite("the network", info, graph), noise(IMAGE)
    return lambda: run(image)


def _in_8_bits(converter):
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]


_ADJUST = {"float32": None, "dynamic": _in_8_bits}


def torch_network():
    """The same in PyTorch, channels last, as its manual advises for processors."""
    import torch

    torch.set_num_threads(_processors())
    network = _torch_unet().to(memory_format=torch.channels_last).eval()
    image = torch.from_numpy(noise(IMAGE)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        network(image)

    def work():
        with torch.inference_mode():
            network(image)

    return work


def onnx_network():
    """The same in onnxruntime."""
    import io

    import onnxruntime
    import torch

    image, file = torch.from_numpy(noise(IMAGE)).permute(0, 3, 1, 2).contiguous(), io.BytesIO()
    torch.onnx.export(_torch_unet().eval(), (image,), file, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _processors()
    session = onnxruntime.InferenceSession(file.getvalue(), options, ["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: image.numpy()}
    return lambda: session.run(None, given)


def keras_step(precision="float32", batch=BATCH):
    """A step of Neighbor2Neighbor, gamma above 0."""
    import keras
    import tensorflow as tf

    from n2n_tf.method.trainer import Neighbor2Neighbor
    from n2n_tf.networks.unet import unet
    from n2n_tf.pipelines.processors import computes_in_bfloat16
    from n2n_tf.training.fused_adam import FusedAdam

    if precision != "float32" and not computes_in_bfloat16():
        raise LeftOut("this processor does not compute in bfloat16")
    keras.config.set_dtype_policy(precision)
    model = Neighbor2Neighbor(unet(channels=3, features=FEATURES, init_scale=1.0))
    model.compile(optimizer=FusedAdam(1e-4), jit_compile=False)
    model.optimizer.build(model.network.trainable_variables)
    step, noisy = tf.function(model.train_step), tf.constant(noise(batch))
    return lambda: float(step(noisy)["loss"])


def torch_step(batch=BATCH):
    """The same step in PyTorch, with the same sub-sampler for every cell, which is the cheapest."""
    import torch

    torch.set_num_threads(_processors())
    network = _torch_unet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    noisy = torch.from_numpy(noise(batch)).permute(0, 3, 1, 2)

    def work():
        with torch.no_grad():
            denoised = network(noisy)
        first, second = noisy[..., ::2, ::2], noisy[..., ::2, 1::2]
        output = network(first.contiguous(memory_format=torch.channels_last))
        difference = output - second
        shift = denoised[..., ::2, ::2] - denoised[..., ::2, 1::2]
        loss = (difference**2).mean() + 2 * ((difference - shift) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return work


def _torch_unet():
    """The official arch_unet.py in short, with random weights."""
    import torch
    from torch import nn

    def conv(given, made, size=3):
        return nn.Sequential(nn.Conv2d(given, made, size, padding=size // 2), nn.LeakyReLU(0.2))

    class UNet(nn.Module):
        def __init__(self, n=FEATURES):
            super().__init__()
            self.first = conv(3, n)
            self.down = nn.ModuleList(conv(n, n) for _ in range(5))
            self.middle = conv(n, n)
            width = [n, *[2 * n] * 4]
            skips = [n] * 4 + [3]
            self.up = nn.ModuleList(nn.ConvTranspose2d(w, w, 2, 2) for w in width)
            self.a = nn.ModuleList(conv(w + s, 2 * n) for w, s in zip(width, skips, strict=True))
            self.b = nn.ModuleList(conv(2 * n, 2 * n) for _ in range(5))
            self.tail = nn.Sequential(
                conv(2 * n, 2 * n, 1), conv(2 * n, 2 * n, 1), nn.Conv2d(2 * n, 3, 1)
            )

        def forward(self, noisy):
            x, skips = self.first(noisy), [noisy]
            for layer in self.down:
                x = nn.functional.max_pool2d(layer(x), 2)
                skips.append(x)
            x = self.middle(x)
            for up, a, b, skip in zip(self.up, self.a, self.b, skips[-2::-1], strict=True):
                x = b(a(torch.cat([up(x), skip], 1)))
            return self.tail(x)

    return UNet()


def _processors():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


ROWS = {
    "picture, n2n_tf": our_picture,
    "picture, BM3D": bm3d_picture,
    "network, LiteRT": litert_network,
    "network, LiteRT dynamic": lambda: litert_network("dynamic"),
    "network, Keras": keras_network,
    "network, PyTorch": torch_network,
    "network, onnxruntime": onnx_network,
    "step, float32": keras_step,
    "step, float32, no oneDNN": keras_step,
    "step, bfloat16": lambda: keras_step("mixed_bfloat16"),
    "step, PyTorch": torch_step,
    "small step, float32": lambda: keras_step(batch=SMALL),
    "small step, bfloat16": lambda: keras_step("mixed_bfloat16", SMALL),
    "small step, PyTorch": lambda: torch_step(SMALL),
}
ENVIRONMENT = {"step, float32, no oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"}}


def main(row):
    """Prepares the row, then works once for each line."""
    os.environ.update(ENVIRONMENT.get(row, {}))
    try:
        work = ROWS[row]()
    except ImportError as error:
        print(f"no: {error.name} is not installed", flush=True)
        return
    except LeftOut as reason:
        print(f"no: {reason}", flush=True)
        return
    work()  # what compiles and allocates does not count
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, before = time.perf_counter(), _seconds()
        work()
        print(time.perf_counter() - wall, _seconds() - before, flush=True)


def _seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1])
