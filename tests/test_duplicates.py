"Near-duplicates: what the hashes of images group, and what it costs."
import tracemalloc
import numpy as np, pytest
from PIL import Image, ImageEnhance
from attiqa.findings import near_duplicate_groups, image_fingerprint
from attiqa.images import package_photograph

def flip(text, *bits):
    "A hash with some bits flipped."
    return f"{int(text, 16) ^ sum(1 << int(bit) for bit in bits):016x}"

def groups_of(hashes):
    "Groups as sets of positions."
    found = near_duplicate_groups(hashes)
    return {frozenset(i for i, g in enumerate(found) if g == group) for group in {*found} - {-1}}

DRAWN = np.random.default_rng(0).integers(0, 2**64, 20_000, np.uint64)
HASHES = dict(equal=["f"*16]*20_000, frames=[f"{(i*7) % 64:016x}" for i in range(20_000)],
              others=[f"{value:016x}" for value in DRAWN])

@pytest.mark.parametrize("kind, groups, alone", [("equal", 1, 0), ("frames", 1, 0), ("others", 0, 20_000)])
def test_memory_is_linear(kind, groups, alone):
    "20,000 hashes: equal, of 64 similar frames, or different. Storing all pairs would take over 3 GB."
    tracemalloc.start()
    try:
        found = near_duplicate_groups(HASHES[kind])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len({*found} - {-1}), found.count(-1)) == (groups, alone)
    assert peak < 20e6

def test_all_near_hashes_are_found():
    "Groups without chains, in random order."
    rng, hashes, expected = np.random.default_rng(0), [], set()
    for center in rng.integers(0, 2**64, 40, np.uint64):
        size = int(rng.integers(1, 5))
        if size > 1: expected.add(frozenset(range(len(hashes), len(hashes) + size)))
        for _ in range(size):
            bits = rng.choice(64, int(rng.integers(0, 4)), replace=False)
            hashes.append(flip(f"{int(center):016x}", *bits))
    order = rng.permutation(len(hashes))
    found = groups_of([hashes[i] for i in order])
    assert {frozenset(int(order[i]) for i in group) for group in found} == expected

def test_a_chain_does_not_join_different_images():
    chain = [flip("0"*16, *range(6*i)) for i in range(11)]
    for group in groups_of(chain):
        first = int(chain[min(group)], 16)
        assert max((first ^ int(chain[i], 16)).bit_count() for i in group) <= 12

def test_plain_images_of_different_colours_are_no_duplicates():
    colours = ["black", "white", "red", "blue", "lime", "gold", "grey"]
    hashes = [image_fingerprint(Image.new("RGB", (64, 48), colour)) for colour in colours]
    assert near_duplicate_groups(hashes) == [-1]*len(colours)

def test_edited_copies_are_duplicates():
    photo = package_photograph("coffee.png")
    copies = [photo, photo.resize((300, 200)), ImageEnhance.Brightness(photo).enhance(.8),
              ImageEnhance.Color(photo).enhance(1.2), photo.convert("RGB").rotate(0)]
    others = [package_photograph(name) for name in ("astronaut.png", "chelsea.png", "rocket.jpg")]
    others.append(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert near_duplicate_groups([image_fingerprint(image) for image in (*copies, *others)]) == [0]*5 + [-1]*4
