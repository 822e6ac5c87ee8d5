"""Laws of the weight transfer: the Keras U-Net answers as PyTorch's, and a misfit is named."""

import re
from pathlib import Path

import numpy as np
import pytest

from n2n_tf.model_files.torch_file import (
    MAX_FEATURES,
    CheckpointError,
    load_unet_weights,
    read_state_dict,
    unet_from_pth,
    unet_shape,
)
from n2n_tf.networks.unet import unet

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def state():
    return read_state_dict(DATA / "unet_zip.pth")


@pytest.fixture(scope="module")
def network():
    return unet(channels=3, features=4, tail_features=8)


def misfit(network, state):
    """Returns the message of the refusal, after a look that no weight has changed."""
    before = network.get_weights()
    with pytest.raises(CheckpointError) as caught:
        load_unet_weights(network, state)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return str(caught.value)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_network_answers_as_pytorch_did(form):
    pair = np.load(DATA / "unet_parity.npz")
    network = unet_from_pth(DATA / f"unet_{form}.pth")
    denoised = network(pair["noisy"].astype(np.float32) / 255).numpy()
    assert pair["denoised"].std() > 0.05  # enough for a wrong weight to show
    np.testing.assert_allclose(denoised, pair["denoised"], rtol=0, atol=1e-5)


def test_every_weight_is_assigned(network, state):
    for weight in network.weights:
        weight.assign(np.full(weight.shape, np.nan, np.float32))
    load_unet_weights(network, state)
    assert network.count_params() == sum(array.size for array in state.values())
    assert all(np.isfinite(weight).all() for weight in network.get_weights())


def test_kernels_turn_round(network, state):
    load_unet_weights(network, state)
    kernel = network.get_layer("dec_conv1a").kernel.numpy()  # height, width, in, out
    assert kernel[0, 2, 10, 7] == state["dec_conv1a.weight"][7, 10, 0, 2]
    kernel = network.get_layer("up4").kernel.numpy()  # height, width, out, in
    assert kernel[1, 0, 3, 6] == state["up4.deconv.weight"][6, 3, 1, 0]
    bias = network.get_layer("up4").bias.numpy()
    np.testing.assert_array_equal(bias, state["up4.deconv.bias"])


def test_half_precision_weights_are_widened(network, state):
    load_unet_weights(network, {name: array.astype(np.float16) for name, array in state.items()})
    kernel = network.get_layer("nin_a").kernel.numpy()[0, 0]
    np.testing.assert_array_equal(kernel, state["nin_a.weight"][:, :, 0, 0].T.astype(np.float16))


def test_missing_extra_and_wrongly_shaped_entries_are_all_named(network, state):
    del state["up3.deconv.bias"], state["enc_conv6.weight"]
    state["discriminator.weight"] = np.zeros(3, np.float32)
    state["nin_a.weight"] = np.zeros((32, 32, 1, 1), np.float32)
    state["nin_b.bias"] = np.zeros(8, np.int64)
    message = misfit(network, state)
    assert "does not fit the network 'unet'" in message
    assert "missing: enc_conv6.weight, up3.deconv.bias" in message
    assert "extra: 'discriminator.weight'" in message
    assert "nin_a.weight has shape (32, 32, 1, 1), not (8, 8, 1, 1)" in message
    assert "nin_b.bias is int64, not floating point" in message
    assert "blindspot=False" in message


def test_a_network_of_another_width_is_refused(state):
    message = misfit(unet(channels=4, features=4, tail_features=8), state)
    assert "enc_conv0.weight has shape (4, 3, 3, 3), not (4, 4, 3, 3)" in message


def test_unet_shape(state):
    assert unet_shape(state) == {"channels": 3, "features": 4, "tail_features": 8}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"enc_conv0.weight": None}, "`enc_conv0.weight` is missing"),
        ({"dec_conv1a.weight": None}, "`dec_conv1a.weight` is missing"),
        ({"enc_conv0.weight": (4, 3, 5, 5)}, "has shape (4, 3, 5, 5), not that of a 3x3"),
        ({"enc_conv0.weight": (4, 0, 3, 3)}, "has shape (4, 0, 3, 3), not that of a 3x3"),
        ({"enc_conv0.weight": (4,)}, "has shape (4,), not that of a 3x3"),
        ({"dec_conv1a.weight": (MAX_FEATURES + 1, 1, 3, 3)}, "over the limit of 512"),
    ],
)
def test_unet_shape_refuses_what_is_no_unet(state, change, reason):
    for name, shape in change.items():
        del state[name]
        if shape is not None:
            state[name] = np.zeros(shape, np.float32)
    with pytest.raises(CheckpointError, match=re.escape(reason)):
        unet_shape(state)


def test_unet_from_pth_names_the_file_that_holds_no_unet():
    path = DATA / "kinds_zip.pth"
    with pytest.raises(CheckpointError) as caught:
        unet_from_pth(path)
    assert str(caught.value).startswith(f"{path} is not a checkpoint of the U-Net: `enc_conv0.")
