"""What the published encoders compute, by TensorFlow and librosa: the reference of tests/models/test_encoders.py.

It runs the graph that the authors saved beside each checkpoint, fed by TensorFlow's own reader of checkpoints. So it
shares no code with tagscale, and needs an environment of its own. In the project's environment, write the excerpts,
then compute in the other one:

    python -m benchmarks.tensorflow_encoders excerpts FOLDER_OF_SONGS excerpts.npz
    python3 -m venv tf && tf/bin/pip install tensorflow-cpu librosa
    tf/bin/python benchmarks/tensorflow_encoders.py compute UNPACKED_WHEEL excerpts.npz tests/models/encoders.npz
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

SECONDS, RATE, FRAMES = 3, 16_000, 187
AT = 2  # seconds into each song
KEPT = "librosa_Hungarian_Dance"  # in the public domain: its excerpt is kept, of the others the results alone
BANDS = slice(0, None, 8)  # of the VGG's first maps, which are large

# Layer -> tensor of the saved graph, and the order of its axes that tagscale has.
MUSICNN = {
    "timbral": (["model/Squeeze:0", "model/Squeeze_1:0"], "concat"),
    "temporal": (["model/Squeeze_2:0", "model/Squeeze_3:0", "model/Squeeze_4:0"], "concat"),
    "cnn1": (["model/transpose:0"], "map"),
    "cnn2": (["model/Add:0"], "map"),
    "cnn3": (["model/Add_1:0"], "map"),
    "max_pool": (["model/Max:0"], "flat"),
    "mean_pool": (["model/moments/Squeeze:0"], "flat"),
    "penultimate": (["model/batch_normalization_10/batchnorm/add_1:0"], "flat"),
    "logits": (["model/dense_1/BiasAdd:0"], "flat"),
}
POOLS = ["", "_1", "_2", "_3", "_4"]
VGG = {f"pool{n + 1}": ([f"model/max_pooling2d{end}/MaxPool:0"], "image") for n, end in enumerate(POOLS)} | {
    "logits": (["model/dense/BiasAdd:0"], "flat")
}
ENCODERS = {"msd_musicnn": MUSICNN, "mtt_musicnn": MUSICNN, "msd_vgg": VGG, "mtt_vgg": VGG}


def generated() -> np.ndarray:
    """3 s of three triangle waves that fade, and noise, in whole numbers: the same int16 on every machine."""
    time = np.arange(SECONDS * RATE)
    tones = sum(np.abs(time % period - period // 2) * (40_000 // period) for period in (36, 48, 122))
    fade = RATE - time % RATE
    noise = np.empty(len(time), np.int64)
    state = 1
    for n in range(len(time)):
        state = (state * 1_103_515_245 + 12_345) % (1 << 31)
        noise[n] = (state >> 16) % 2048 - 1024
    return ((tones - tones.mean().astype(np.int64)) * fade // RATE // 3 + noise).astype(np.int16)


def excerpts(folder: Path, target: Path) -> None:
    """Write 3 s of every song, as tagscale decodes it, and of `generated`."""
    from tagscale.decoding.decode import decode

    waves = {"generated": generated()}
    for song in sorted(folder.glob("librosa_*")):
        waves[song.stem] = decode(song).samples[AT * RATE : (AT + SECONDS) * RATE]
    np.savez(target, **waves)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """(frames, bands) as the package computes them, of float32; its librosa pads by reflection."""
    import librosa

    wave = samples.astype(np.float32) / 32_768
    mel = librosa.feature.melspectrogram(
        y=wave, sr=RATE, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect", center=True, power=2.0
    )
    return np.log10(10_000 * mel.T[:FRAMES] + 1)


def compute(wheel: Path, source: Path, target: Path) -> None:
    """Write the excerpts that may be kept, every layer of those, and the logits of all."""
    import librosa
    import tensorflow as tf

    waves = dict(np.load(source))
    mels = {name: log_mel(wave) for name, wave in waves.items()}
    kept = ["generated", next(name for name in waves if name.startswith(KEPT))]
    results: dict[str, Any] = {"versions": f"tensorflow {tf.__version__}, librosa {librosa.__version__}"}
    results |= {f"{name}/wave": waves[name] for name in kept[1:]}  # the other one is made again
    results |= {f"{name}/log_mel": mels[name][::16].T for name in kept}
    for encoder, layers in ENCODERS.items():
        family, kind = encoder.split("_")
        session, reader = _session(tf, wheel / "musicnn" / f"{family.upper()}_{kind}")
        for name, mel in mels.items():
            found = _run(session, reader, layers, mel)
            wanted = layers if name in kept else ["logits"]
            results |= {f"{name}/{encoder}/{layer}": found[layer] for layer in wanted}
    np.savez_compressed(target, **results)


def _session(tf: Any, folder: Path) -> tuple[Any, Any]:
    """The saved graph without what only its training needed, and the reader of its weights."""
    meta = tf.compat.v1.MetaGraphDef()
    meta.ParseFromString((folder / ".meta").read_bytes())
    ends = [name for names, _ in (VGG if "vgg" in folder.name else MUSICNN).values() for name in names]
    forward = tf.compat.v1.graph_util.extract_sub_graph(meta.graph_def, [name.split(":")[0] for name in ends])
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(forward, name="")
    return tf.compat.v1.Session(graph=graph), tf.compat.v1.train.NewCheckpointReader(f"{folder}/")


def _run(session: Any, reader: Any, layers: dict[str, Any], mel: np.ndarray) -> dict[str, np.ndarray]:
    graph = session.graph
    variables = [node.name for node in graph.as_graph_def().node if node.op in ("VariableV2", "Variable")]
    feed: dict[str, Any] = {f"{name}/read:0": reader.get_tensor(name) for name in variables}
    for node in graph.as_graph_def().node:
        if node.op == "Placeholder":
            feed[f"{node.name}:0"] = False if node.attr["dtype"].type == 10 else mel[None]
    found = session.run({layer: names for layer, (names, _) in layers.items()}, feed)
    return {layer: _excerpt(found[layer], kind) for layer, (_, kind) in layers.items()}


def _excerpt(values: list[np.ndarray], kind: str) -> np.ndarray:
    """A layer's values of the patch with tagscale's axes; of maps the first, the middle and the last frame."""
    if kind == "flat":
        return values[0].reshape(-1)
    if kind == "image":  # (1, frames, bands, filters) -> (filters, bands, frames)
        image = values[0][0].transpose(2, 1, 0)
        return image[:, BANDS, three(image)]
    maps = np.concatenate(values, axis=2)[0]  # (frames, filters), with a last axis of 1 or without
    maps = maps.reshape(len(maps), -1).T
    return maps[:, three(maps)]


def three(maps: np.ndarray) -> list[int]:
    frames = maps.shape[-1]
    return [0, frames // 2, frames - 1]


def bundle(folder: Path) -> None:
    """Write the small checkpoint of tests/fetch/test_bundle.py."""
    import tensorflow as tf

    v1 = tf.compat.v1
    v1.disable_eager_execution()
    for n in range(40):
        v1.get_variable(f"layer_{n}/kernel", initializer=np.arange(n, n + 6, dtype=np.float32).reshape(2, 3) / 4)
    v1.get_variable("scalar", initializer=np.float32(0.5))
    v1.get_variable("step", initializer=np.int64(3))
    session = v1.Session()
    session.run(v1.global_variables_initializer())
    v1.train.Saver().save(session, str(folder / "tiny"), write_meta_graph=False, write_state=False)


if __name__ == "__main__":
    command, *paths = sys.argv[1:]
    {"excerpts": excerpts, "compute": compute, "bundle": bundle}[command](*map(Path, paths))
