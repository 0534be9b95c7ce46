"""The graph network: superpoints, filters, tiles, training, and its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_aptdefect.apt.network.inference import InferenceParams, infer
from napari_aptdefect.apt.network.layers import Relation, SpeciesChebyshev
from napari_aptdefect.apt.network.model import DefectNetwork, to_tensors
from napari_aptdefect.apt.network.params import NetworkParams, TrainingParams
from napari_aptdefect.apt.network.superpoints import RELATIONS, SuperpointParams, gather, part
from napari_aptdefect.apt.network.tiles import labeled_tiles, tile_rows
from napari_aptdefect.apt.network.training import class_weights, labeled, loss_of, train
from napari_aptdefect.data.graph import NeighborGraph
from napari_aptdefect.errors import EmptySelectionError, FormatError, ParameterError, ShapeError
from napari_aptdefect.stage import Stage, drain

SETS = {"structural": (0, 1), "compositional": (2, 3, 4), "spatial": (5,)}
SMALL = NetworkParams(width=16, n_layers=2, order=2, heads=2, embedding=8)


def cloud(n: int = 4000, seed: int = 0, size: tuple[float, float, float] = (12.0, 12.0, 8.0)):
    """A random cloud with a ball in which the third feature is higher."""
    rng = np.random.default_rng(seed)
    xyz = (rng.random((n, 3)) * size).astype(np.float32)
    center = 0.25 * np.array(size) + 0.5 * rng.random(3) * size
    label = (np.linalg.norm(xyz - center, axis=1) < 2.2).astype(np.int64)
    features = rng.normal(size=(n, 6)).astype(np.float32)
    features[:, 2] += 1.5 * label
    kind = rng.integers(0, 4, n)
    points = gather(xyz)
    return xyz, features, kind, label, points


class TestSuperpoints:
    def test_every_link_goes_both_ways_and_has_the_length_of_its_step(self):
        *_, points = cloud()
        edges = SuperpointParams().edges_nm
        for graph, steps in zip(points.relations, RELATIONS.values(), strict=True):
            source = np.repeat(np.arange(len(points)), graph.degree)
            step = points.cell[graph.indices] - points.cell[source]
            assert {tuple(s) for s in step.tolist()} <= set(steps)
            np.testing.assert_allclose(np.linalg.norm(step * edges, axis=1), graph.lengths_nm, rtol=1e-6)
            pairs = set(zip(source.tolist(), graph.indices.tolist(), strict=True))
            assert all((b, a) in pairs for a, b in pairs)
            assert len(pairs) == len(source)

    def test_a_linear_field_of_the_centers_is_interpolated_exactly_inside(self):
        rng = np.random.default_rng(1)
        xyz = rng.random((20_000, 3)) * 6  # every cell holds ions
        points = gather(xyz)
        edges = SuperpointParams().edges_nm
        center = xyz.min(axis=0) + (points.cell + 0.5) * edges
        slope = np.array([1.0, -2.0, 3.0])
        found = ((center @ slope)[points.corner] * points.weight).sum(axis=1)
        inside = ((xyz > 1) & (xyz < 5)).all(axis=1)
        np.testing.assert_allclose(found[inside], (xyz @ slope)[inside], atol=2e-5)
        np.testing.assert_allclose(points.weight.sum(axis=1), 1, rtol=1e-5)

    def test_lonely_ions_get_their_own_cell(self):
        points = gather([[0.0, 0, 0], [50.0, 50, 50]])
        assert (points.corner == points.member[:, None]).all()
        assert all(len(graph.indices) == 0 for graph in points.relations)

    def test_means_are_those_of_the_members(self):
        _, features, *_, points = cloud(500)
        mean = points.mean(features)
        for row in (0, len(points) // 2, len(points) - 1):
            np.testing.assert_allclose(mean[row], features[points.member == row].mean(axis=0), rtol=1e-5, atol=1e-6)
        with pytest.raises(ShapeError, match="499 ions"):
            points.mean(features[1:])

    def test_a_part_keeps_the_links_within(self):
        *_, points = cloud(1000)
        rows = np.arange(5, len(points), 3)
        for whole, some in zip(points.relations, part(points, rows), strict=True):
            np.testing.assert_array_equal(
                some.matrix(some.lengths_nm).toarray(), whole.matrix(whole.lengths_nm).toarray()[np.ix_(rows, rows)]
            )

    def test_nothing_to_gather(self):
        with pytest.raises(EmptySelectionError, match="no ion"):
            gather(np.zeros((0, 3)))


class TestChebyshev:
    def graph(self, n: int = 30, seed: int = 0) -> NeighborGraph:
        rng = np.random.default_rng(seed)
        dense = np.triu(rng.random((n, n)) < 0.2, 1)
        length = np.where(dense, rng.uniform(0.5, 2.0, (n, n)), 0)
        length = (length + length.T).astype(np.float32)
        indptr = np.concatenate([[0], np.cumsum((length > 0).sum(axis=1))])
        row, column = np.nonzero(length)
        return NeighborGraph(indptr.astype(np.int64), column.astype(np.int32), length[row, column])

    def test_it_is_the_filter_of_pyg_where_the_species_say_nothing(self):
        """Oracle: ChebConv of PyTorch Geometric with lambda_max = 2 and the same edge weights."""
        from torch_geometric.nn import ChebConv

        graph = self.graph()
        relation = Relation.of(graph)
        torch.manual_seed(0)
        mine, theirs = SpeciesChebyshev(5, 3, 1, order=4), ChebConv(5, 5, K=4)
        with torch.no_grad():
            theta = theirs.state_dict()
            mine.mix.weight.copy_(torch.cat([theta[f"lins.{k}.weight"] for k in range(4)], dim=1))  # codespell:ignore
            mine.mix.bias.copy_(theirs.bias)
        x, species = torch.randn(30, 5), torch.full((30, 3), 1 / 3)
        weight = torch.exp(-(relation.length**2) / 2)
        wanted = theirs(x, relation.edge_index, weight, lambda_max=torch.tensor(2.0))
        torch.testing.assert_close(mine(x, species, [relation]), wanted, rtol=1e-4, atol=1e-5)

    def test_edges_are_weighted_by_the_factor_of_their_species(self):
        """Against a dense Laplacian with the pair factor written out."""
        graph, relation = self.graph(), Relation.of(self.graph())
        torch.manual_seed(1)
        layer = SpeciesChebyshev(4, 2, 1, order=3, rank=2)
        with torch.no_grad():
            layer.affinity.normal_()
        species = torch.softmax(torch.randn(30, 2), dim=1)
        x = torch.randn(30, 4)
        distance = torch.from_numpy(graph.matrix(np.exp(-(relation.length.numpy() ** 2) / 2)).toarray()).float()
        weight = distance * (species @ layer.pair_factor()[0] @ species.T)
        root = torch.rsqrt(weight.sum(dim=1).clamp_min(1e-12)) * (weight.sum(dim=1) > 0)
        scaled = -root[:, None] * weight * root[None, :]
        terms = torch.cat([x, scaled @ x, 2 * scaled @ scaled @ x - x], dim=1)
        torch.testing.assert_close(layer(x, species, [relation]), layer.mix(terms), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(layer.pair_factor()[0], torch.ones(2, 2), atol=0.1)

    def test_gradients_reach_the_species_factor(self):
        relation = Relation.of(self.graph(12))
        torch.manual_seed(2)
        layer = SpeciesChebyshev(3, 2, 1, order=3).double()
        relation = Relation(relation.matrix.double(), relation.edge_index, relation.length.double())
        species, x = torch.rand(12, 2).double(), torch.randn(12, 3).double()
        layer(x, species, [relation]).square().sum().backward()
        step = 1e-5
        with torch.no_grad():
            layer.affinity[0, 0, 1] += step
            above = layer(x, species, [relation]).square().sum()
            layer.affinity[0, 0, 1] -= 2 * step
            below = layer(x, species, [relation]).square().sum()
        assert layer.affinity.grad is not None
        assert float(layer.affinity.grad[0, 0, 1]) == pytest.approx(float(above - below) / (2 * step), rel=1e-5)


class TestNetwork:
    @pytest.mark.parametrize("fusion", ["sum", "concatenate"])
    def test_tiles_give_what_the_whole_gives(self, fusion):
        _, features, kind, _, points = cloud(6000, size=(40.0, 8.0, 8.0))
        torch.manual_seed(0)
        network = DefectNetwork(SETS, 3, SMALL.model_copy(update={"fusion": fusion}))
        tensors = to_tensors(features, kind, points)
        whole = drain(infer(network, tensors, points))
        tiled = drain(infer(network, tensors, points, InferenceParams(tile_cells=400)))
        assert len(tile_rows(points, 400)) > 4
        np.testing.assert_allclose(tiled.scores, whole.scores, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(tiled.embedding, whole.embedding, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(tiled.attention, whole.attention, rtol=1e-4, atol=1e-5)
        assert whole.scores.std() > 1e-3

    def test_training_in_tiles_is_training_on_the_whole(self):
        _, features, kind, label, points = cloud(6000, size=(40.0, 8.0, 8.0))
        torch.manual_seed(0)
        network = DefectNetwork(SETS, 2, SMALL).eval()
        ions = np.arange(0, 6000, 3)
        whole = labeled(to_tensors(features, kind, points), label[ions], ions)
        parts = labeled_tiles(network, whole, points, ions, most=400)
        assert len(parts) > 4
        assert sum(len(one.label) for one in parts) == len(ions)
        assert max(len(one.tensors.pooled) for one in parts) < len(points)
        slopes, losses = [], []
        for clouds in ([whole], parts):
            network.zero_grad()
            total = torch.zeros(())
            for one in clouds:
                scores = network(one.float(), torch.arange(len(one.label)))
                total = total + torch.nn.functional.cross_entropy(scores, one.label, reduction="sum")
            total.backward()
            losses.append(float(total.detach()))
            slopes.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
        torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-3, atol=1e-3 * float(slopes[0].abs().max()))
        with pytest.raises(ShapeError, match="2 ions for 2000 labels"):
            labeled_tiles(network, whole, points, ions[:2])

    def test_the_halo_is_no_wider_than_needed_by_much(self):
        """Without the halo tiles differ: the test above can fail."""
        _, features, kind, _, points = cloud(6000, size=(40.0, 8.0, 8.0))
        torch.manual_seed(0)
        network = DefectNetwork(SETS, 3, SMALL)
        tensors = to_tensors(features, kind, points)
        whole = drain(infer(network, tensors, points))
        blind = type("Blind", (DefectNetwork,), {"reach_cells": property(lambda _: (0, 0))})(SETS, 3, SMALL)
        blind.load_state_dict(network.state_dict())
        tiled = drain(infer(blind, tensors, points, InferenceParams(tile_cells=400)))
        assert np.abs(tiled.scores - whole.scores).max() > 1e-3

    def test_the_order_of_the_ions_does_not_matter(self):
        xyz, features, kind, _, points = cloud(2000)
        torch.manual_seed(0)
        network = DefectNetwork(SETS, 3, SMALL)
        first = drain(infer(network, to_tensors(features, kind, points), points))
        order = np.random.default_rng(5).permutation(len(xyz))
        again = gather(xyz[order])
        second = drain(infer(network, to_tensors(features[order], kind[order], again), again))
        np.testing.assert_allclose(second.scores, first.scores[order], rtol=1e-4, atol=1e-5)

    def test_weights_of_the_sets_sum_to_one(self):
        network = DefectNetwork(SETS, 3, SMALL)
        assert network.weights.tolist() == pytest.approx([1 / 3] * 3)
        with torch.no_grad():
            network.log_weights.copy_(torch.tensor([5.0, 0.0, -5.0]))
        assert float(network.weights.detach().sum()) == pytest.approx(1)
        features = torch.randn(4, 6)
        alone = network.projections[0](features[:, [0, 1]])
        torch.testing.assert_close(network.fuse(features), alone, rtol=0.1, atol=0.1)

    def test_what_it_refuses(self):
        with pytest.raises(ParameterError, match="without columns: spatial"):
            DefectNetwork({"structural": (0,), "spatial": ()}, 3)
        with pytest.raises(ParameterError, match="no multiple of 3 heads"):
            DefectNetwork(SETS, 3, NetworkParams(width=16, heads=3))
        _, features, kind, _, points = cloud(100)
        with pytest.raises(ShapeError, match="features of 99"):
            to_tensors(features[1:], kind, points)


def lessons(seeds: range):
    out = []
    for seed in seeds:
        _, features, kind, label, points = cloud(3000, seed, size=(9.0, 9.0, 6.0))
        out.append(labeled(to_tensors(features, kind, points), label, np.arange(len(label))))
    return out


class TestTraining:
    @pytest.fixture(autouse=True)
    def _one_thread(self):
        """A few small products are not worth a second thread."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)

    PARAMS = TrainingParams(epochs=12, matrix_ions=800, defect_ions=800, learning_rate=1e-2)

    def course(self, checkpoint: Path | None = None, seed: int = 0, **changes) -> Stage:
        return train(
            lessons(range(4)),
            lessons(range(10, 12)),
            SETS,
            2,
            SMALL,
            self.PARAMS.model_copy(update=changes),
            seed=seed,
            checkpoint=checkpoint,
        )

    def test_it_learns_what_one_ion_alone_does_not_tell(self):
        """A threshold on the noisy feature is worth less than the network, which sees the surroundings."""
        trained = drain(self.course())
        hits = total = best = 0.0
        for seed in (20, 21):
            _, features, kind, label, points = cloud(3000, seed, size=(9.0, 9.0, 6.0))
            found = drain(infer(trained.network, to_tensors(features, kind, points), points)).scores.argmax(axis=1)
            hits += 2 * np.count_nonzero((found == 1) & (label == 1))
            total += np.count_nonzero(found == 1) + np.count_nonzero(label == 1)
            best = max(
                best,
                max(
                    2
                    * np.count_nonzero((features[:, 2] > t) & (label == 1))
                    / (np.count_nonzero(features[:, 2] > t) + np.count_nonzero(label == 1))
                    for t in np.linspace(-1, 3, 41)
                ),
            )
        assert hits / total > best + 0.1

    def test_one_seed_one_network(self):
        first, second, other = (drain(self.course(epochs=2, seed=seed)) for seed in (0, 0, 1))
        for a, b, c in zip(*(one.network.state_dict().values() for one in (first, second, other)), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
            assert a.dtype == torch.int64 or not torch.equal(a, c) or a.numel() <= 16
        np.testing.assert_array_equal(first.history, second.history)

    def test_a_training_goes_on_where_it_was_cancelled(self, tmp_path):
        whole = drain(self.course(epochs=4))
        path = tmp_path / "checkpoint.pt"
        course = self.course(path, epochs=4)
        for _ in range(10):  # into the third epoch
            next(course)
        course.close()
        assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
        resumed = drain(self.course(path, epochs=4))
        np.testing.assert_array_equal(resumed.history, whole.history)
        for a, b in zip(resumed.network.state_dict().values(), whole.network.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)

    def test_it_stops_when_nothing_gets_better(self):
        trained = drain(self.course(epochs=40, patience=2, learning_rate=1e-9, balance=0.0))
        assert len(trained.history) == trained.best_epoch + 3

    def test_a_checkpoint_of_another_training_is_refused(self, tmp_path):
        path = tmp_path / "checkpoint.pt"
        drain(self.course(path, epochs=1))
        with pytest.raises(ParameterError, match=r"another training \(seed\)"):
            drain(self.course(path, epochs=1, seed=3))
        path.write_bytes(b"no checkpoint")
        with pytest.raises(FormatError, match="Delete it to start anew"):
            drain(self.course(path, epochs=1))

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(7)
        before = torch.get_rng_state()
        drain(self.course(epochs=1))
        torch.testing.assert_close(torch.get_rng_state(), before)

    def test_nothing_to_learn_from(self):
        with pytest.raises(ParameterError, match="0 clouds to learn from"):
            drain(train([], lessons(range(1)), SETS, 2))

    def test_class_weights(self):
        label = torch.tensor([0] * 16 + [2] * 4)
        assert class_weights(label, torch.ones(len(label)), 3, 0.5).tolist() == [1.0, 0.0, 2.0]

    def test_a_perfect_answer_costs_nothing(self):
        label = torch.tensor([0, 0, 1])
        scores = 100.0 * torch.nn.functional.one_hot(label, 2).float()
        ones = torch.ones(3)
        assert float(loss_of(scores, label, ones, torch.ones(2), 1.0)) == pytest.approx(0, abs=1e-6)
        assert float(loss_of(-scores, label, ones, torch.ones(2), 1.0)) > 50
