"Splits of releases: official where there are any, saved, and never with one original on both sides."
import shutil
import numpy as np, pytest
from attiqa.core import AttiqaError
from attiqa.readers import READERS, tidy
from attiqa.splits import load_or_make_splits, make_splits, repeated_splits, split_groups
from releases import write_image, write_whole

def assert_apart(groups, splits):
    "No group is on both sides of a split."
    for train, test in splits: assert not set(groups[train]) & set(groups[test])

@pytest.mark.parametrize("key", ["koniq10k", "flive", "ava", "biq2021", "uhdiqa"])
def test_official_splits_are_used_and_saved(tmp_path, monkeypatch, key):
    folder, saved = tmp_path/key, tmp_path/"splits.parquet"
    mini = write_whole(monkeypatch, key, folder)
    (train, test), = load_or_make_splits(saved, READERS[key](folder))
    assert list(test) == [i for i, part in enumerate(mini.expected["split"]) if part == "test"]
    assert sorted([*train, *test]) == list(range(8))
    (again, _), = load_or_make_splits(saved, READERS[key](folder))
    assert list(again) == list(train)

def test_a_copy_across_the_official_split_is_leakage(tmp_path, monkeypatch):
    mini = write_whole(monkeypatch, "koniq10k", tmp_path)
    shutil.copyfile(tmp_path/mini.images[0], tmp_path/mini.images[-1])
    table = READERS["koniq10k"](tmp_path, part=True)
    with pytest.raises(AttiqaError, match="leakage: 1 groups of images lie on both sides"): make_splits(table)
    assert len(make_splits(table, official=False)) == 10

@pytest.mark.parametrize("key", ["kadid10k", "tid2013", "csiq"])
def test_synthetic_sets_are_split_by_original(tmp_path, monkeypatch, key):
    write_whole(monkeypatch, key, tmp_path)
    table = READERS[key](tmp_path)
    splits = make_splits(table, 5)
    for train, test in splits: assert len(train) == len(test) == 4
    assert_apart(table.reference, splits)

def test_copies_stay_together_in_every_split(tmp_path):
    "Of forty images, the first ten are five pairs of equal files."
    files = [tmp_path/f"{i}.png" for i in range(40)]
    for i, file in enumerate(files): write_image(file, i//2 if i < 10 else i)
    table = tidy("pairs", 0, 1, "", image=list(map(str, files)), mos=np.linspace(0, 1, 40))
    groups = split_groups(table)
    assert len(set(groups)) == 35
    splits = list(repeated_splits(table, 20))
    for _, test in splits: assert all((i in test) == (i + 1 in test) for i in range(0, 10, 2))
    assert_apart(groups, splits)

@pytest.mark.parametrize("key", ["clive", "biq2021"])
def test_splits_of_a_real_release(shared, key, tmp_path):
    table = READERS[key](shared/key)
    groups, copies = split_groups(table), sum(len(names) - 1 for names in table.attrs["duplicates"])
    assert len(set(groups)) == len(table) - copies
    splits = load_or_make_splits(tmp_path/"splits.parquet", table)
    assert len(splits) == 10
    for _, test in splits: assert abs(len(test)/len(table) - .2) < .002
    assert_apart(groups, splits)
    again = load_or_make_splits(tmp_path/"splits.parquet", READERS[key](shared/key))
    np.testing.assert_equal(again, splits)
