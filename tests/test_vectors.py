import math

import pytest
import torch
from torch.nn import functional as F

from tinyllm.vectors import canonical, similarity, sinusoidal_positions


def test_each_similarity_equals_its_formula():
    q, k = torch.randn(2, 4, 3, dtype=torch.float64), torch.randn(2, 5, 3, dtype=torch.float64)
    pairs = q[:, :, None], k[:, None]
    torch.testing.assert_close(similarity(q, k), (pairs[0] * pairs[1]).sum(-1))
    torch.testing.assert_close(similarity(q, k, "cosine"), F.cosine_similarity(*pairs, dim=-1))
    torch.testing.assert_close(similarity(q, k, "distance"), -(pairs[0] - pairs[1]).norm(dim=-1))


def test_a_longer_key_changes_the_dot_product_and_the_distance_but_not_the_cosine():
    q, k = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 1.0]])
    assert similarity(q, 3 * k) == 3 * similarity(q, k)
    torch.testing.assert_close(similarity(q, 3 * k, "cosine"), similarity(q, k, "cosine"))
    assert similarity(q, 3 * k, "distance") < similarity(q, k, "distance")


def test_among_vectors_of_equal_length_all_three_rank_alike():
    q, k = torch.randn(6, 8, dtype=torch.float64), torch.randn(40, 8, dtype=torch.float64)
    k = F.normalize(k, dim=-1)
    orders = [similarity(q, k, by).argsort(dim=-1) for by in ("dot", "cosine", "distance")]
    assert torch.equal(orders[0], orders[1]) and torch.equal(orders[0], orders[2])


def test_the_zero_vector_has_cosine_zero_with_everything():
    assert (similarity(torch.zeros(1, 3), torch.randn(5, 3), "cosine") == 0).all()


def test_vectors_that_cannot_be_compared_are_named():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(5, 4\)"):
        similarity(torch.zeros(2, 3), torch.zeros(5, 4))
    with pytest.raises(ValueError, match=r"queries \(3,\)"):
        similarity(torch.zeros(3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="unknown similarity 'l2'"):
        similarity(torch.zeros(2, 3), torch.zeros(5, 3), "l2")


def test_canonical_embeddings_have_the_products_of_the_centered_logits():
    E, W = torch.randn(6, 3, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    z = E @ W.T
    z = z - z.mean(-1, keepdim=True) - z.mean(0) + z.mean()
    torch.testing.assert_close(canonical(E, W) @ canonical(E, W).T, z @ z.T)


def test_canonical_embeddings_do_not_depend_on_how_the_logits_are_factored():
    E, W = torch.randn(6, 3, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    A = torch.randn(3, 3, dtype=torch.float64)
    other = canonical(E @ A + 3, W @ torch.linalg.inv(A).T + 5)  # and both may be shifted
    torch.testing.assert_close(similarity(other, other), similarity(canonical(E, W), canonical(E, W)))


def test_embeddings_that_make_no_logits_are_named():
    with pytest.raises(ValueError, match=r"E \(6, 3\), W \(9, 4\)"):
        canonical(torch.zeros(6, 3), torch.zeros(9, 4))


def test_positions_equal_the_formula():
    table = sinusoidal_positions(50, 6)
    for t in (0, 1, 49):
        for i in range(3):
            angle = t / 10000 ** (2 * i / 6)
            assert table[t, 2 * i] == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[t, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-5)


def test_every_position_has_the_same_length_and_no_two_are_equal():
    table = sinusoidal_positions(1000, 16)
    torch.testing.assert_close(table.norm(dim=-1), torch.full((1000,), math.sqrt(8)))
    assert (torch.cdist(table, table) + 10 * torch.eye(1000)).min() > 0.1


def test_the_product_of_two_positions_depends_on_their_offset_alone():
    table = sinusoidal_positions(64, 16).double()
    products = table @ table.T
    for offset in range(64):
        diagonal = products.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-4)


def test_one_linear_map_moves_every_position_by_the_same_offset():
    table = sinusoidal_positions(200, 8).double()
    move = torch.linalg.lstsq(table[:100], table[7:107]).solution
    torch.testing.assert_close(table[100:190] @ move, table[107:197], rtol=0, atol=1e-3)


@pytest.mark.parametrize(("T", "C"), [(0, 4), (3, 5), (3, 0)])
def test_positions_need_an_even_number_of_channels(T, C):
    with pytest.raises(ValueError, match=f"got T {T} and C {C}"):
        sinusoidal_positions(T, C)
