"""Training without labels: losses against PyTorch Geometric, planted communities, resuming."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_aptdefect.apt.network.inference import infer
from napari_aptdefect.apt.network.layers import Relation
from napari_aptdefect.apt.network.model import DefectNetwork, to_tensors
from napari_aptdefect.apt.network.objectives import agreement_loss, infomax_loss, modularity_loss
from napari_aptdefect.apt.network.params import NetworkParams
from napari_aptdefect.apt.network.self_supervised import SelfSupervisedParams, pretrain
from napari_aptdefect.apt.network.superpoints import gather, part
from napari_aptdefect.errors import FormatError, ParameterError, ShapeError
from napari_aptdefect.stage import drain

SETS = {"structural": (0, 1), "compositional": (2, 3), "spatial": (4,)}
SMALL = NetworkParams(width=16, n_layers=1, order=2, heads=2, embedding=8)
OBJECTIVES = ("infomax", "dmon", "contrastive")


@pytest.fixture(autouse=True)
def _one_thread():
    """A few small products are not worth a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def halves(seed: int, n: int = 1200):
    """A box whose halves differ in the mean of two features by as much as an ion's own noise."""
    rng = np.random.default_rng(seed)
    xyz = (rng.random((n, 3)) * (12, 4, 4)).astype(np.float32)
    side = (xyz[:, 0] > 6).astype(np.int64)
    features = rng.normal(size=(n, 5)).astype(np.float32)
    features[:, 2:4] += side[:, None] - 0.5
    points = gather(xyz)
    return to_tensors(features, rng.integers(0, 4, n), points), points, side


def short(objective: str, **changes) -> SelfSupervisedParams:
    params = SelfSupervisedParams(objective=objective, epochs=8, steps=4, n_ions=400, n_clusters=2, learning_rate=1e-2)
    return params.model_copy(update=changes)


def clouds(n: int = 1):
    return [halves(seed)[0] for seed in range(n)]


def probed(network: DefectNetwork) -> float:
    """Share of ions of another box whose half a linear classifier reads from the embedding."""
    from sklearn.linear_model import LogisticRegression

    embedded = []
    for seed in (20, 21):
        cloud, points, side = halves(seed)
        embedded.append((drain(infer(network, cloud, points)).embedding, side))
    (x, y), (x_test, y_test) = embedded
    scale = x.std(axis=0) + 1e-6
    return LogisticRegression(max_iter=1000).fit(x / scale, y).score(x_test / scale, y_test)


class TestLosses:
    def test_infomax_is_that_of_pyg(self):
        from torch_geometric.nn import DeepGraphInfomax

        torch.manual_seed(0)
        real, shuffled, bilinear = torch.randn(40, 6), torch.randn(30, 6), torch.randn(6, 6)
        theirs = DeepGraphInfomax(6, torch.nn.Identity(), None, None)
        with torch.no_grad():
            theirs.weight.copy_(bilinear)
            wanted = theirs.loss(real, shuffled, torch.sigmoid(real.mean(dim=0)))
        torch.testing.assert_close(infomax_loss(real, shuffled, bilinear), wanted, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("kept", [1.0, 0.6])
    def test_modularity_is_that_of_pyg_on_the_dense_graph_of_the_held_nodes(self, kept):
        from torch_geometric.nn import DMoNPooling

        rng = np.random.default_rng(0)
        points = gather(rng.random((300, 3)) * 5)
        relations = [Relation.of(graph, scale=1.0) for graph in points.relations[:2]]
        rows = np.flatnonzero(rng.random(len(points)) < kept)
        parts = [Relation.of(graph, scale=1.0) for graph in part(points, rows)[:2]]
        dense = torch.stack([one.matrix.to_dense() for one in parts]).sum(dim=0)
        torch.manual_seed(0)
        theirs = DMoNPooling(4, 3).eval()
        x = torch.randn(len(rows), 4)
        with torch.no_grad():
            found = theirs(x, dense)
            assignment, wanted = found[0][0], found[3] + 0.7 * found[5]
        held = torch.zeros(len(points))
        held[rows] = 1
        share = torch.zeros(len(points), 3)
        share[rows] = assignment
        torch.testing.assert_close(modularity_loss(share, relations, held, 0.7), wanted, rtol=1e-4, atol=1e-5)

    def test_views_agree_where_they_are_equal_and_their_columns_say_different_things(self):
        torch.manual_seed(0)
        x = torch.linalg.qr(torch.randn(200, 7) - torch.randn(200, 7).mean(dim=0))[0]
        x = torch.linalg.qr(x - x.mean(dim=0))[0]
        assert float(agreement_loss(x, 5 * x + 3)) == pytest.approx(0, abs=1e-4)
        assert float(agreement_loss(x, -x)) == pytest.approx(4, abs=1e-2)
        assert float(agreement_loss(x, x.roll(1, dims=1))) == pytest.approx(1 + 1 / 7, abs=1e-2)


class TestPretrain:
    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_it_lowers_its_loss_and_sees_what_an_untrained_network_does_not(self, objective):
        torch.manual_seed(0)
        before = probed(DefectNetwork(SETS, 1, SMALL))
        trained = drain(pretrain(clouds(), SETS, SMALL, short(objective)))
        loss = -trained.history[:, 1]
        assert loss[trained.best_epoch] == loss.min()
        assert loss.min() < loss[0] - 0.05
        assert probed(trained.network) > before + 0.02

    def test_scores_are_clusters_or_nothing(self):
        cloud, points, side = halves(20)
        trained = drain(pretrain(clouds(2), SETS, SMALL, short("dmon", epochs=6)))
        claimed = drain(infer(trained.network, cloud, points)).scores.argmax(axis=1)
        right = float(np.mean(claimed == side))
        assert max(right, 1 - right) > 0.9
        trained = drain(pretrain(clouds(), SETS, SMALL, short("infomax", epochs=1)))
        scores = drain(infer(trained.network, cloud, points)).scores
        assert scores.shape == (len(side), 1)
        assert not scores.any()

    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_all_that_makes_the_embedding_is_trained(self, objective):
        params = short(objective, epochs=1, weight_decay=0.0)
        trained = drain(pretrain(clouds(), SETS, SMALL, params)).network
        with torch.random.fork_rng():
            torch.manual_seed(0)
            start = DefectNetwork(SETS, 2 if objective == "dmon" else 1, SMALL)
        still = [
            name
            for (name, a), b in zip(trained.named_parameters(), start.parameters(), strict=True)
            if torch.equal(a, b) and not name.startswith("head")
        ]
        assert still == []

    def test_one_seed_one_network(self):
        first, second, other = (
            drain(pretrain(clouds(), SETS, SMALL, short("contrastive", epochs=2), seed=seed)) for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(first.history, second.history)
        assert not np.array_equal(first.history, other.history)
        for a, b in zip(first.network.state_dict().values(), second.network.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)

    def test_it_goes_on_where_it_was_cancelled(self, tmp_path):
        params, path = short("contrastive", epochs=2), tmp_path / "checkpoint.pt"
        whole = drain(pretrain(clouds(), SETS, SMALL, params))
        stage = pretrain(clouds(), SETS, SMALL, params, checkpoint=path)
        for _ in range(6):  # into the second epoch of 4 steps
            next(stage)
        stage.close()
        assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
        resumed = drain(pretrain(clouds(), SETS, SMALL, params, checkpoint=path))
        np.testing.assert_array_equal(resumed.history, whole.history)
        for a, b in zip(resumed.network.state_dict().values(), whole.network.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)

    def test_it_stops_when_its_loss_no_longer_falls(self):
        trained = drain(pretrain(clouds(), SETS, SMALL, short("infomax", epochs=40, patience=2, learning_rate=1e-12)))
        assert len(trained.history) == trained.best_epoch + 3

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(7)
        before = torch.get_rng_state()
        drain(pretrain(clouds(), SETS, SMALL, short("contrastive", epochs=1)))
        torch.testing.assert_close(torch.get_rng_state(), before)

    def test_what_it_refuses(self, tmp_path):
        with pytest.raises(ParameterError, match="0 clouds to learn from"):
            drain(pretrain([], SETS))
        with pytest.raises(ShapeError, match="the sets name column 7, the clouds have 5 features"):
            drain(pretrain(clouds(), {"structural": (0, 7)}))
        rng = np.random.default_rng(0)
        points = gather(rng.random((100, 3)))
        narrow = to_tensors(rng.random((100, 3), np.float32), np.zeros(100, np.int64), points)
        with pytest.raises(ShapeError, match="clouds with 3, 5 features"):
            drain(pretrain([*clouds(), narrow], SETS))
        single = gather([[0.0, 0, 0]])
        alone = to_tensors(np.zeros((1, 5), np.float32), np.zeros(1, np.int64), single)
        with pytest.raises(ShapeError, match="cloud 1 holds 1 ions"):
            drain(pretrain([*clouds(), alone], SETS))
        path = tmp_path / "checkpoint.pt"
        drain(pretrain(clouds(), SETS, SMALL, short("infomax", epochs=1), checkpoint=path))
        with pytest.raises(ParameterError, match=r"another training \(seed\)"):
            drain(pretrain(clouds(), SETS, SMALL, short("infomax", epochs=1), seed=1, checkpoint=path))
        path.write_bytes(b"no checkpoint")
        with pytest.raises(FormatError, match="Delete it to start anew"):
            drain(pretrain(clouds(), SETS, SMALL, short("infomax", epochs=1), checkpoint=path))
