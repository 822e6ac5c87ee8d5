"""Neighbor2Neighbor as a Keras model: a network plus the self-supervised training of it."""

from typing import Any

import keras
import tensorflow as tf

from n2n_tf.method.losses import balancing_weights, n2n_loss
from n2n_tf.method.replicas import ReplicatedMean, overflow_everywhere, several_workers
from n2n_tf.method.step_record import StepRecord
from n2n_tf.method.subsamplers import DRAW, pairs_along_edges, take_pixels
from n2n_tf.networks.checks import check_network, size_multiple_of
from n2n_tf.networks.padding import reflect_pad_batch


@keras.saving.register_keras_serializable("n2n_tf")
class Neighbor2Neighbor(keras.Model):
    """Trains any denoising network from noisy images alone (Huang et al., CVPR 2021).

    `fit` takes batches of noisy images, float in nominal range [0, 1]; `evaluate` pairs (noisy,
    clean), or noisy images alone, of which it tells the training's own loss; `predict` and calling
    take noisy images of any size. Losses that the network itself adds, such as regularizers of its
    weights, count. Ship `network`, not this trainer. Built in the scope of a
    `tf.distribute` strategy, N replicas that share a batch evenly take the step that one replica
    takes with the whole batch.

    Args:
        network: functional `keras.Model`, [batch, height, width, channels] -> the same shape.
        gamma: weight of the regularisation (equation 7). Held in the variable `gamma`, which
            `n2n_tf.method.schedules.PaperSchedule` raises epoch by epoch. While it is 0, the pass
            over the whole image is left out, and a step costs well under half.
        subsampler: "random" (neighbours, section 4.1), "fixed" (appendix B) or "edges" (neighbours
                along edges, `n2n_tf.method.subsamplers.pairs_along_edges`).
        k: side of the sub-sampler's cells in pixels.
        seed: int; with `optimizer.iterations` it decides every sub-sampler drawn. (A step that
            loss scaling skips is not counted there, and its sub-sampler is the next step's.)
        balance: whether each image's loss is divided by its energy, so that weakly noisy
            images count as much as strongly noisy ones: `n2n_tf.method.losses.balancing_weights`.
        size_multiple: int, sides of images are mirror-padded to multiples of this before the
            network and cropped after it. Default: the network's own, read from its layers.

    Raises:
        ValueError: for an unknown `subsampler`, a network that does not return images of the
            channels it takes, or one whose layers do not tell `size_multiple`; from `compile`, for
            a loss or metrics; from `fit`, for targets, sample weights or integer images.

    Example:
        model = Neighbor2Neighbor(unet(channels=3), gamma=2.0)
        model.compile(optimizer=keras.optimizers.Adam(3e-4))
        model.fit(noisy_batches, epochs=100)
    """

    batch_parts = "noisy"  # see `n2n_tf.pipelines.training.batches.training_batches`

    def __init__(
        self,
        network: keras.Model,
        gamma: float = 2.0,
        subsampler: str = "random",
        k: int = 2,
        seed: int = 0,
        balance: bool = False,
        size_multiple: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if subsampler not in DRAW:
            raise ValueError(f"`subsampler` must be one of {list(DRAW)}. Received: {subsampler!r}.")
        check_network(network)
        self.network = network
        # Lower precision begins inside the network: noise of a base ISO is finer than bfloat16.
        self.autocast = False
        self.subsampler, self.k, self.seed, self.balance = subsampler, k, seed, balance
        self.size_multiple = size_multiple or size_multiple_of(network)
        # A variable, since a Python number read in train_step is frozen at its first trace.
        self.gamma = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(gamma), trainable=False, name="gamma"
        )
        names = ("loss", "reconstruction", "regularisation", "psnr", "ssim")
        self.means = {name: ReplicatedMean(name=name) for name in names}
        self.record = StepRecord()
        self.built = True

    def call(self, noisy: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Denoises float images [batch, height, width, channels] of any height and width."""
        height, width = tf.shape(noisy)[1], tf.shape(noisy)[2]
        padded = reflect_pad_batch(noisy, self.size_multiple)
        return self.network(padded, training=training)[:, :height, :width]

    def train_step(self, data: tf.Tensor | tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        """One step of the paper's Algorithm 1 on noisy images [batch, height, width, channels]."""
        noisy = _noisy_alone(data)
        replica = tf.distribute.get_replica_context()
        step = tf.cast(self.optimizer.iterations, tf.int64)
        g1, g2 = self._draw(noisy, step, replica)  # a random neighbor sub-sampler G
        sub_input, sub_target = take_pixels(noisy, g1, self.k), take_pixels(noisy, g2, self.k)

        weights = balancing_weights(sub_input, sub_target) if self.balance else None

        # f(y) with no gradients, sampled by the same G.
        denoised = tf.stop_gradient(self._denoised_if_needed(noisy))
        denoised_pair = take_pixels(denoised, g1, self.k), take_pixels(denoised, g2, self.k)

        with tf.GradientTape() as tape:
            sub_output = self(sub_input, training=True)
            total, rec, reg = n2n_loss(sub_output, sub_target, *denoised_pair, self.gamma, weights)
            total = self.with_own_losses(total)
            # Keras sums gradients over replicas; the loss is a mean over the global batch.
            scaled = self.optimizer.scale_loss(total / replica.num_replicas_in_sync)
        taken = self.descend(tape, scaled, replica)
        reg = tf.where(self.gamma > 0, reg, 0.0)  # of f(y) left out it would mean nothing
        self.note_step(taken, loss=total, reconstruction=rec, regularisation=reg)
        return self._results("loss", "reconstruction", "regularisation", gamma=self.gamma)

    def with_own_losses(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss and what the network adds to it by itself, which most do not."""
        return tf.add_n([loss, *self.network.losses]) if self.network.losses else loss

    def descend(
        self, tape: tf.GradientTape, scaled_loss: tf.Tensor, replica: tf.distribute.ReplicaContext
    ) -> tf.Tensor:
        """Applies the gradients of a loss that `optimizer.scale_loss` gave, over all replicas.

        Returns:
            bool scalar, False if loss scaling skipped the step.
        """
        variables = self.network.trainable_variables
        gradients = tape.gradient(scaled_loss, variables)
        scales = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        if scales:
            gradients = overflow_everywhere(gradients, replica)
        before = tf.convert_to_tensor(self.optimizer.iterations)
        with tf.control_dependencies([scaled_loss]):  # not even a count changes without a batch
            self.optimizer.apply(gradients, variables)
        return self.optimizer.iterations > before if scales else tf.constant(True)

    def note_step(self, taken: tf.Tensor, **losses: tf.Tensor) -> None:
        """Ends a step: its losses go into the running means, and into `record` how it went.

        Args:
            taken: what `descend` returned. Losses that are NaN or infinite because of the overflow
                for which a step was skipped are left out of the means.
            **losses: scalars of this replica, "loss" among them.
        """
        replica = tf.distribute.get_replica_context()
        means = replica.all_reduce("MEAN", tf.stack(list(losses.values())))
        of_all = dict(zip(losses, tf.unstack(means), strict=True))
        count = tf.cast(taken | tf.math.is_finite(of_all["loss"]), tf.float32)
        with tf.control_dependencies([means]):
            for name, value in of_all.items():
                value = tf.math.divide_no_nan(value, count)
                self.means[name].update_state(value, sample_weight=count)
            weights = [weight.value for weight in self.network.trainable_variables]
            self.record.note(of_all["loss"], taken, weights)

    def _denoised_if_needed(self, noisy):
        """f(y); zeros while gamma is 0, since the regularisation then plays no part."""
        return tf.cond(
            self.gamma > 0,
            lambda: tf.cast(self(noisy, training=True), tf.float32),
            lambda: tf.zeros_like(noisy, tf.float32),
        )

    def _draw(self, noisy, step, replica):
        """The sub-sampler of the global batch, and of it this replica's part."""
        batch, height, width = tf.unstack(tf.shape(noisy)[:3])
        seed = tf.stack([tf.constant(self.seed, tf.int64), step])
        draw = DRAW[self.subsampler]
        maps = draw(batch * replica.num_replicas_in_sync, height, width, seed, self.k)
        start = batch * replica.replica_id_in_sync_group
        maps = [positions[start : start + batch] for positions in maps]
        return pairs_along_edges(noisy, *maps) if self.subsampler == "edges" else maps

    def test_step(self, data: tf.Tensor | tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        """PSNR in dB and SSIM of the denoised image, clipped to [0, 1], on pairs (noisy, clean).

        Of noisy images alone: the loss of Algorithm 1, always with the same sub-sampler.
        """
        noisy, clean, _ = keras.utils.unpack_x_y_sample_weight(data)
        if clean is None:
            return self._test_alone(_noisy_alone(data))
        denoised = tf.clip_by_value(tf.cast(self(noisy, training=False), tf.float32), 0.0, 1.0)
        clean = tf.cast(clean, tf.float32)
        psnr = tf.reduce_sum(tf.image.psnr(clean, denoised, max_val=1.0))
        ssim = tf.reduce_sum(tf.image.ssim(clean, denoised, max_val=1.0))
        self._update(tf.shape(noisy)[0], psnr=psnr, ssim=ssim)
        return self._results("psnr", "ssim")

    def _test_alone(self, noisy):
        replica = tf.distribute.get_replica_context()
        g1, g2 = self._draw(noisy, tf.constant(-1, tf.int64), replica)
        denoised = tf.cast(self(noisy, training=False), tf.float32)
        pair = take_pixels(denoised, g1, self.k), take_pixels(denoised, g2, self.k)
        sub_input, sub_target = take_pixels(noisy, g1, self.k), take_pixels(noisy, g2, self.k)
        weights = balancing_weights(sub_input, sub_target) if self.balance else None
        output = tf.cast(self(sub_input, training=False), tf.float32)
        total, rec, reg = n2n_loss(output, sub_target, *pair, self.gamma, weights)
        count = tf.cast(tf.shape(noisy)[0], tf.float32)
        self._update(
            count, loss=count * total, reconstruction=count * rec, regularisation=count * reg
        )
        return self._results("loss", "reconstruction", "regularisation")

    def compile(self, optimizer: str | keras.optimizers.Optimizer = "rmsprop", **more: Any) -> None:
        """As Keras's, without a loss and metrics: the method brings its own.

        Raises:
            ValueError: for a loss or metrics.
        """
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            if more.pop(name, None):
                raise ValueError(
                    f"`{name}` cannot be given: {type(self).__name__} brings its own loss, and "
                    "PSNR and SSIM come from `evaluate(noisy, clean)`."
                )
        super().compile(optimizer=optimizer, **more)

    def compile_from_config(self, config: dict) -> None:
        """Compiles a loaded trainer as it was, its optimizer ready for the saved state."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, x: Any = None, y: Any = None, **more: Any) -> keras.callbacks.History:
        """As Keras's, without weights of samples or classes, which Keras would drop silently.

        Raises:
            ValueError: for such weights.
        """
        for name in ("sample_weight", "class_weight"):
            if more.get(name) is not None:
                raise ValueError(f"`{name}` cannot be given: {type(self).__name__} knows no such.")
        return super().fit(x, y, **more)

    def _update(self, count, **sums):
        """Adds sums of `count` values each to the running means, over all replicas."""
        replica = tf.distribute.get_replica_context()
        values = tf.stack([*sums.values(), tf.cast(count, tf.float32)])
        *sums_of_all, count = tf.unstack(replica.all_reduce("MEAN", values))
        for name, value in zip(sums, sums_of_all, strict=True):
            self.means[name].update_state(value / count, sample_weight=count)

    def _results(self, *names, **more):
        results = {name: self.means[name].result() for name in names} | more
        # Over several workers Keras reduces results along an axis, which scalars do not have.
        shape = [1] if several_workers(self.distribute_strategy) else []
        return {name: tf.reshape(value, shape) for name, value in results.items()}

    def get_config(self) -> dict[str, Any]:
        """Everything needed to build an equal model; gamma is a weight and is saved as one."""
        return super().get_config() | {
            "network": keras.saving.serialize_keras_object(self.network),
            "subsampler": self.subsampler,
            "k": self.k,
            "seed": self.seed,
            "balance": self.balance,
            "size_multiple": self.size_multiple,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Neighbor2Neighbor":
        """Builds the model that `get_config` described."""
        network = keras.saving.deserialize_keras_object(config.pop("network"))
        return cls(network, **config)


def _noisy_alone(data):
    """The images of a batch that must hold nothing else."""
    noisy, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
    for name, value in {"targets": targets, "sample weights": weights}.items():
        if value is not None:
            raise ValueError(f"This method learns from noisy images alone. Received: {name} too.")
    if not noisy.dtype.is_floating:
        raise ValueError(
            "Images must be float in nominal range [0, 1]: divide uint8 ones by 255, uint16 ones "
            f"by 65535. Received: {noisy.dtype.name}."
        )
    return noisy
