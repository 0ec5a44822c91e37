"""Scorers of every kind give scores for samples, and come back from their folder as they were."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from scipy.special import expit, logit

from registry.tiny import KINDS, LIMITS, ROOT, song, tiny_network
from stores import write_store
from tagscale.descriptors.baseline import DescriptorTrees
from tagscale.descriptors.describe import describe_recording
from tagscale.models.build import Architecture, build
from tagscale.params.load import load
from tagscale.registry.package import NEEDED, package
from tagscale.registry.scorers import FILE, Heard, Scorer, load_scorer, result_of
from tagscale.registry.scorers.ensemble import EnsembleScorer
from tagscale.registry.scorers.mean import MeanScorer
from tagscale.registry.scorers.network import NetworkScorer
from tagscale.registry.scorers.trees import TreesScorer
from tagscale.registry.tagger import AudioTagger
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json
from tagscale.store.read import Store

GOLDEN = Path(__file__).parent / "golden_version"  # the data of a version
SONGS = {f"t{number}": song(number) for number in range(4)}


@pytest.fixture(scope="module")
def trees() -> TreesScorer:
    """Trees that tell loud songs from quiet ones, for the tags of `tiny_network`."""
    songs = [song(number, seconds=0.6) for number in range(100)]
    features = pd.concat([describe_recording(samples) for samples in songs], ignore_index=True)
    loud = np.array([np.abs(samples.astype(float)).mean() for samples in songs])
    labels = np.stack([loud > np.median(loud), loud <= np.median(loud), loud / loud.max()], axis=1).astype(np.float32)
    params = load(ROOT / "params.yaml").baseline
    return TreesScorer(DescriptorTrees.fit(features, labels, list(KINDS), list(KINDS.values()), params, seed=0))


@pytest.fixture
def scorer(request: pytest.FixtureRequest, trees: TreesScorer) -> Scorer:
    network = tiny_network()
    members: dict[str, Scorer] = {"a network": network, "trees": trees, "another": tiny_network(seed=1)}
    by_kind = [{"classification": 2.0, "regression": 1.0}, {"classification": 1.0}, {"regression": 1.0}]
    mean, ensemble = MeanScorer(members, [2, 1, 1]), EnsembleScorer(members, by_kind)
    return {"network": network, "trees": trees, "mean": mean, "ensemble": ensemble}[request.param]


of_every_kind = pytest.mark.parametrize("scorer", ["network", "trees", "mean", "ensemble"], indirect=True)


@of_every_kind
def test_a_scorer_comes_back_as_it_was(scorer: Scorer, tmp_path: Path) -> None:
    scorer.save(tmp_path)
    loaded = load_scorer(tmp_path)
    assert type(loaded) is type(scorer)
    assert (loaded.tags, loaded.kinds, loaded.seconds) == (scorer.tags, scorer.kinds, scorer.seconds)
    assert loaded.needs == scorer.needs
    for samples in SONGS.values():
        np.testing.assert_array_equal(loaded.scores(samples), scorer.scores(samples))


@pytest.mark.slow
@of_every_kind
def test_tracks_of_a_store_score_as_their_samples(scorer: Scorer, tmp_path: Path) -> None:
    write_store(tmp_path / "store", ((track, samples, {}) for track, samples in SONGS.items()))
    tracks = sorted(SONGS, reverse=True)
    scores = scorer.predict(Store.open(tmp_path / "store"), tracks)
    assert (list(scores.index), list(scores.columns)) == (tracks, list(KINDS))
    expected = np.stack([scorer.scores(SONGS[track]) for track in tracks])
    np.testing.assert_allclose(scores.to_numpy(), expected, atol=1e-6)
    assert np.ptp(expected, axis=0).max() > 0.01, "the songs differ, or nothing is tested"


@of_every_kind
def test_recordings_in_one_batch_score_as_alone(scorer: Scorer) -> None:
    """Of any lengths: shorter than a window, as long as it, with a last window that overlaps."""
    recordings = [song(number, seconds) for number, seconds in enumerate((0.3, 1.5, 2.0, 4.2))]
    scores, embeddings = scorer.hear(recordings, embed=True)
    np.testing.assert_allclose(scores, [scorer.scores(samples) for samples in recordings], atol=1e-6)
    np.testing.assert_allclose(embeddings, [scorer.embed(samples) for samples in recordings], atol=1e-4)
    assert np.asarray(embeddings).shape == (4, scorer.dims)
    assert (scores.dtype, np.asarray(embeddings).dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(scorer.scores_of(recordings), scores)
    assert scorer.hear(recordings)[1] == [None] * 4


@of_every_kind
def test_scores_over_time_are_those_of_excerpts(scorer: Scorer) -> None:
    samples = song(1, seconds=12.3)
    (length, step), (times, scores) = scorer.excerpts, scorer.windows(samples)
    assert scores.shape == (len(times), len(KINDS))
    assert times[0] == length / 2
    assert times[-1] == pytest.approx(12.3 - length / 2, abs=1e-4), "the last one ends where the recording ends"
    assert times[1] - times[0] <= step
    excerpt = samples[round((times[-1] - length / 2) * 16_000) :]
    np.testing.assert_allclose(scores[-1], scorer.scores(excerpt), atol=1e-6)
    if scorer.kind == "network":
        np.testing.assert_allclose(scores.mean(axis=0), scorer.scores(samples), atol=1e-6)
    times, scores = scorer.windows(samples[:800])
    assert (times.tolist(), scores.shape) == ([0.025], (1, len(KINDS)))


@pytest.mark.slow
@of_every_kind
@pytest.mark.parametrize("seconds", [0.3, 22.3])
def test_a_recording_and_its_excerpts_are_heard_at_once(
    scorer: Scorer, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = song(1, seconds)
    spans = [(0, len(samples)), *scorer.spans(len(samples))]
    expected = scorer.hear([samples[begin:end] for begin, end in spans], embed=True)
    turns = list(scorer.listen(samples, spans, embed=True, turn_seconds=2))
    heard = result_of(scorer.listen(samples, spans, embed=True, turn_seconds=2))
    np.testing.assert_allclose(heard[0], expected[0], atol=1e-6)
    np.testing.assert_allclose(np.asarray(heard[1]), np.asarray(expected[1]), atol=1e-4)
    assert len(turns) >= 4 * (seconds > 2)
    assert result_of(scorer.listen(samples, spans))[1] == [None] * len(spans)
    starts = list[int]()
    hear = NetworkScorer.hear

    def counted(self: NetworkScorer, recordings: list[np.ndarray], embed: bool = False) -> Heard:
        address = samples.__array_interface__["data"][0]
        starts.extend((one.__array_interface__["data"][0] - address) // 2 for one in recordings)
        return hear(self, recordings, embed)

    monkeypatch.setattr(NetworkScorer, "hear", counted)
    result_of(scorer.listen(samples, spans))
    if isinstance(scorer, NetworkScorer):
        assert len(starts) == len(set(starts)), "no window is heard twice"
    elif isinstance(scorer, MeanScorer):
        whole, last = (len(tiny_network().spans(count)) for count in (len(samples), 160_000))
        assert len(starts) <= 2 * (whole + last), "but for the last excerpt, whose windows begin elsewhere"


def test_trees_hear_a_long_recording_a_piece_a_turn(trees: TreesScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagscale.descriptors.describe.PIECE_SECONDS", 2)
    samples = song(1, seconds=7.5)
    spans = [(0, len(samples)), (0, 32_000)]
    assert len(list(trees.listen(samples, spans, turn_seconds=1))) == 4 + 1
    scores = result_of(trees.listen(samples, spans, turn_seconds=1))[0]
    np.testing.assert_array_equal(scores, trees.scores_of([samples, samples[:32_000]]))


@pytest.mark.parametrize(
    ("rasters", "expected"),
    [
        ([(3.0, 3.0)], (12.0, 6.0)),
        ([(1.5, 0.5)], (10.0, 5.0)),
        ([(15.0, 15.0)], (15.0, 15.0)),
        ([(3.0, 7.0)], (10.0, 7.0)),
        ([(3.0, 3.0), (2.0, 1.0)], (10.0, 5.0)),
    ],
)
def test_excerpts_of_an_ensemble_begin_where_windows_do(
    trees: TreesScorer, rasters: list[tuple[float, float]], expected: tuple[float, float]
) -> None:
    members: dict[str, Scorer] = {"trees": trees}
    for number, (window, hop) in enumerate(rasters):
        network = tiny_network()
        members[f"{number}"] = NetworkScorer(network.model, network.architecture, hop, window)
    assert MeanScorer(members).excerpts == expected


def test_an_embedding_is_what_the_last_layer_sees(trees: TreesScorer) -> None:
    network = tiny_network()
    wave = torch.from_numpy(SONGS["t1"]).float() / 32768
    windows = wave[:32_000].unfold(0, 24_000, 8_000)
    with torch.inference_mode():
        expected = network.model.encode(windows).mean(dim=0)
    np.testing.assert_allclose(network.embed(SONGS["t1"]), expected, atol=1e-5)

    features = pd.concat([describe_recording(song(number, seconds=0.6)) for number in range(100)])
    of_training = trees.trees.standardised(features)
    np.testing.assert_allclose(of_training.mean(axis=0), 0, atol=1e-3)
    spread = of_training.std(axis=0)
    assert (np.isclose(spread, 1, atol=1e-3) | (spread == 0)).all()


def test_the_cosine_of_a_means_embeddings_is_the_mean_of_its_members_cosines(trees: TreesScorer) -> None:
    network = tiny_network()
    mean = MeanScorer({"network": network, "trees": trees}, [3, 1])
    weights = [dict.fromkeys(("classification", "regression"), weight) for weight in (3, 1)]
    ensemble = EnsembleScorer({"network": network, "trees": trees}, weights)
    first, second = SONGS["t1"], SONGS["t2"]

    def cosine(scorer: Scorer) -> float:
        one, other = scorer.embed(first), scorer.embed(second)
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    expected = 0.75 * cosine(network) + 0.25 * cosine(trees)
    assert cosine(mean) == pytest.approx(cosine(ensemble), abs=1e-6) == pytest.approx(expected, abs=1e-5)
    assert mean.dims == network.dims + trees.dims


def test_trees_of_an_earlier_tagscale_give_no_embedding(trees: TreesScorer, tmp_path: Path) -> None:
    trees.save(tmp_path)
    older = load_scorer(tmp_path)
    assert isinstance(older, TreesScorer)
    older.trees.means = np.zeros(0, np.float32)
    with pytest.raises(TagscaleError, match="gives no embedding: an earlier tagscale trained its trees"):
        older.embed(SONGS["t1"])
    assert older.hear([SONGS["t1"]], embed=True)[1] == [None] == MeanScorer({"a": older}).hear([song(1)], embed=True)[1]
    network = tiny_network()
    mean = MeanScorer({"network": network, "trees": older})
    assert mean.dims == network.dims
    alone, of_mean = network.embed(SONGS["t1"]), mean.embed(SONGS["t1"])
    np.testing.assert_allclose(of_mean / np.linalg.norm(of_mean), alone / np.linalg.norm(alone), atol=1e-6)


def test_a_mean_is_the_weighted_mean_of_its_members(trees: TreesScorer) -> None:
    network = tiny_network()
    mean = MeanScorer({"network": network, "trees": trees}, [3, 1])
    expected = 0.75 * network.scores(SONGS["t1"]) + 0.25 * trees.scores(SONGS["t1"])
    np.testing.assert_allclose(mean.scores(SONGS["t1"]), expected, rtol=1e-6)
    nested = MeanScorer({"mean": mean, "trees": trees})
    expected = 0.375 * network.scores(SONGS["t1"]) + 0.625 * trees.scores(SONGS["t1"])
    np.testing.assert_allclose(nested.scores(SONGS["t1"]), expected, rtol=1e-6)


def test_probes_on_one_encoder_hear_a_song_once(monkeypatch: pytest.MonkeyPatch) -> None:
    described = {"model": "probe", "capacity": {"encoder": "msd_vgg"}, "tags": tuple(KINDS), "patch_seconds": 2.1}
    architecture = Architecture(**described, kinds=tuple(KINDS.values()), sample_rate=16_000)
    torch.manual_seed(0)
    members = {name: NetworkScorer(build(architecture).eval(), architecture, 1.0) for name in ("fold-1", "fold-2")}
    first, second = members.values()
    apart = MeanScorer(members, [3, 1])
    expected = 0.75 * first.scores(SONGS["t1"]) + 0.25 * second.scores(SONGS["t1"])
    np.testing.assert_allclose(apart.scores(SONGS["t1"]), expected, atol=1e-6)

    second.model.encoder.load_state_dict(first.model.encoder.state_dict())
    expected = 0.75 * first.scores(SONGS["t1"]) + 0.25 * second.scores(SONGS["t1"])
    calls = []
    encode = type(first.model.encoder).encode
    monkeypatch.setattr(type(first.model.encoder), "encode", lambda *given: calls.append(1) or encode(*given))
    together = MeanScorer(members, [3, 1]).scores(SONGS["t1"])
    np.testing.assert_allclose(together, expected, atol=1e-6)
    assert len(calls) == 1, "the song is shorter than a batch of windows"


def test_an_ensemble_is_the_weighted_mean_of_its_members_log_odds(trees: TreesScorer) -> None:
    network = tiny_network()
    own = [scorer.scores(SONGS["t1"]).astype(float) for scorer in (network, trees)]
    sure = [scores.clip(1e-6, 1 - 1e-6) for scores in own]
    expected = expit(0.75 * logit(sure[0]) + 0.25 * logit(sure[1]))
    expected[2] = 0.4 * own[0][2] + 0.6 * own[1][2]  # the regression tag
    weights = [{"classification": 3.0, "regression": 2.0}, {"classification": 1.0, "regression": 3.0}]
    scores = EnsembleScorer({"network": network, "trees": trees}, weights).scores(SONGS["t1"])
    assert list(KINDS.values()) == ["classification", "classification", "regression"]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize("regression", [[1.0], [0.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_an_ensemble_refuses_weights_that_mean_nothing(regression: list[float]) -> None:
    weights = [{"classification": 1.0, "regression": one} for one in regression]
    with pytest.raises(
        TagscaleError, match=r"weights of its 2 members for each kind of tags \(classification, regress"
    ):
        EnsembleScorer({"one": tiny_network(), "other": tiny_network(seed=1)}, weights)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_a_mean_refuses_weights_that_mean_nothing(weights: list[float]) -> None:
    with pytest.raises(TagscaleError, match="each with a weight above 0"):
        MeanScorer({"one": tiny_network(), "other": tiny_network(seed=1)}, weights)


def test_a_mean_refuses_members_with_other_tags() -> None:
    with pytest.raises(TagscaleError, match="the same tags in all; other has others"):
        MeanScorer({"one": tiny_network(), "other": tiny_network(tags=("rock", "energy"))})


def test_a_version_scores_as_it_did_when_it_was_packaged(tmp_path: Path) -> None:
    tagger = AudioTagger.load(GOLDEN)
    assert (tagger.tags, tagger.groups, tagger.limits) == (tuple(KINDS), {"rock": "genre", "jazz": "genre"}, LIMITS)
    assert tagger.scorer.facts() == {"hop_seconds": 0.5, "window_seconds": 2.0}
    soundfile.write(tmp_path / "song.wav", song(1, seconds=4), 16_000, subtype="PCM_16")
    then = {"rock": 0.9999931454658508, "jazz": 0.00011632118548732251, "energy": 0.9984648823738098}
    assert tagger.tag(tmp_path / "song.wav").scores == pytest.approx(then, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kind": "pickle"}, r"scorer\.json: format 1 and kind 'pickle', expected format 1 and one of network, trees"),
        ({"format": 2}, r"format 2 .* A newer tagscale wrote it"),
        ({"hop_seconds": None}, r"scorer\.json: missing or damaged"),
    ],
)
def test_a_scorer_of_another_kind_or_format_is_named(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    tiny_network().save(tmp_path)
    facts = read_json(tmp_path / FILE) | change
    write_json(tmp_path / FILE, {key: value for key, value in facts.items() if value is not None})
    with pytest.raises(TagscaleError, match=expected):
        load_scorer(tmp_path)


@pytest.mark.slow
@of_every_kind
def test_a_packaged_model_requires_what_its_kind_needs_and_tags_by_mlflow(scorer: Scorer, tmp_path: Path) -> None:
    tagger = AudioTagger(scorer, {}, LIMITS)
    package(tagger, tmp_path / "model")
    required = [line.split("==")[0] for line in (tmp_path / "model" / "requirements.txt").read_text().split()]
    assert required == [*NEEDED, *scorer.needs]
    assert ("torch" in required) == (scorer.kind != "trees")
    assert ("xgboost-cpu" in required) == (scorer.kind != "network")
    soundfile.write(tmp_path / "song.wav", song(1, seconds=4), 16_000)
    imported = {"trees": "torch", "network": "xgboost", "mean": "", "ensemble": ""}[scorer.kind]
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {[imported, "lightning_fabric", "typer", "kfp"]}:
            raise ImportError(f"not installed on this machine: {{name}}")
sys.meta_path.insert(0, Refuse())
sys.path[:] = [path for path in sys.path if not path.endswith("/src")]  # the checkout
import mlflow.pyfunc, pandas as pd
loaded = mlflow.pyfunc.load_model("model")
print(loaded.predict(pd.DataFrame({{"audio": [open("song.wav", "rb").read()]}})).iloc[0].tolist())
import tagscale
print(tagscale.__file__)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores, code = done.stdout.splitlines()[-2:]
    assert Path(code).is_relative_to(tmp_path / "model")
    ours = [tagger.tag(tmp_path / "song.wav").scores[tag] for tag in tagger.tags]
    assert [float(score) for score in scores.strip("[]").split(",")] == pytest.approx(ours, abs=1e-6)
