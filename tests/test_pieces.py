"""Which runs are merged: neighbours, in pieces of bounded size, and never the same ones again."""

from hypothesis import given
from hypothesis import strategies as st

from transforms.catalog.packs.pieces import MOST_SMALL, PIECE_BYTES, Weight, all_pieces, piece_of_a_night

SIZES = st.lists(st.one_of(st.integers(0, PIECE_BYTES // 8), st.integers(0, 2 * PIECE_BYTES)), max_size=60)


def test_few_small_runs_are_left_as_they_are() -> None:
    assert not piece_of_a_night([1000] * MOST_SMALL)
    assert piece_of_a_night([1000] * (MOST_SMALL + 1)) == range(MOST_SMALL + 1)


def test_a_large_run_is_not_merged_by_a_night() -> None:
    assert piece_of_a_night([1000] * 5 + [PIECE_BYTES] + [1000] * 20) == range(6, 26)


@given(SIZES)
def test_a_night_merges_the_newest_runs_in_a_bounded_piece(sizes: list[int]) -> None:
    piece = piece_of_a_night(sizes)
    if piece:
        assert piece.stop == len(sizes)
        assert len(piece) > MOST_SMALL
        assert sum(sizes[place] for place in piece) <= PIECE_BYTES


@given(st.lists(st.integers(0, PIECE_BYTES // 40), min_size=1, max_size=500))
def test_the_number_of_folders_does_not_grow_with_the_number_of_nights(nights: list[int]) -> None:
    """Every two packs beside each other hold a piece, so their number grows with the bytes alone."""
    sizes: list[int] = []
    for size in nights:
        piece = piece_of_a_night(sizes)
        if piece:
            sizes[piece.start : piece.stop] = [sum(sizes[place] for place in piece)]
        sizes.append(size)
    assert len(sizes) <= MOST_SMALL + 2 + 2 * sum(nights) / PIECE_BYTES


@given(SIZES)
def test_all_pieces_are_neighbours_of_bounded_size_and_nothing_is_left_to_merge(sizes: list[int]) -> None:
    weights = [Weight(size, 0, 10) for size in sizes]
    pieces = all_pieces(weights)
    places = [place for piece in pieces for place in piece]
    assert places == sorted(set(places))
    assert all(len(piece) > 1 and sum(sizes[place] for place in piece) <= PIECE_BYTES for piece in pieces)
    merged = [sum(sizes[place] for place in piece) for piece in pieces]
    left = [(place, size) for place, size in enumerate(sizes) if place not in places]
    after = sorted([*left, *((piece.start, size) for piece, size in zip(pieces, merged, strict=True))])
    assert not all_pieces([Weight(size, 0, 10) for _, size in after])


def test_a_lone_run_is_written_again_if_many_of_its_rows_are_superseded() -> None:
    assert all_pieces([Weight(PIECE_BYTES, 1, 10)]) == [range(1)]
    assert not all_pieces([Weight(PIECE_BYTES, 1, 100)])
    assert not all_pieces([Weight(PIECE_BYTES, 0, 0)])
