"""Make the HGQ2 models of the tests and what HGQ2 itself answers; needs ``keras``, ``jax`` and ``HGQ2``.

Run in this folder: ``KERAS_BACKEND=jax python make_hgq2.py``.
"""

import keras
import numpy as np
from hgq.config import LayerConfigScope, QuantizerConfigScope
from hgq.layers import QAdd, QConv1D, QConv2D, QDense
from hgq.utils import trace_minmax

ROWS = 400


def mlp():
    x = first = keras.layers.Input((10,), name="features")
    x = skip = QDense(8, activation="relu", name="fc1")(x)
    x = QDense(8, activation="relu", name="fc2")(x)
    x = QAdd(name="sum")([x, skip])
    return keras.Model(first, QDense(3, name="fc3", enable_oq=True)(x))


def cnn():
    return keras.Sequential(
        [
            keras.layers.Input((8, 7, 2), name="image"),
            QConv2D(4, 3, activation="relu", padding="same", strides=2, name="conv1"),
            keras.layers.MaxPooling2D(2, name="pool"),
            QConv2D(3, 2, activation="relu", name="conv2"),
            keras.layers.Flatten(name="flat"),
            QDense(4, activation="relu", name="fc1"),
            keras.layers.Reshape((4, 1), name="again"),
            QConv1D(2, 2, name="conv3", use_bias=False),
            keras.layers.Flatten(name="last"),
        ]
    )


def make(name, build, shape):
    keras.utils.set_random_seed(4)
    random = np.random.default_rng(9)
    weights = {"place": "weight", "default_q_type": "kbi", "overflow_mode": "SAT_SYM", "round_mode": "RND_CONV"}
    values = {"place": "datalane", "default_q_type": "kif", "round_mode": "RND"}
    values |= {"overflow_mode": "WRAP" if name == "mlp" else "SAT"}
    with QuantizerConfigScope(**weights), QuantizerConfigScope(**values), LayerConfigScope(beta0=1e-4):
        model = build()
    rows = random.normal(size=(2000, *shape)).astype(np.float32)
    target = model(rows[:2]).shape[1]
    wished = np.tanh(rows.reshape(len(rows), -1)[:, :target] * 2 + rows.reshape(len(rows), -1)[:, 1 : target + 1])
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    model.fit(rows, wished, epochs=12, batch_size=50, verbose=0)
    trace_minmax(model, rows, verbose=0)
    model.compiled, model.optimizer = False, None
    model.save(f"hgq2_{name}.keras")
    given = random.normal(size=(ROWS, *shape), scale=2).astype(np.float32)  # beyond what was traced, too
    np.savez_compressed(f"hgq2_{name}.npz", rows=given, answers=np.asarray(model(given)))


if __name__ == "__main__":
    make("mlp", mlp, (10,))
    make("cnn", cnn, (8, 7, 2))
