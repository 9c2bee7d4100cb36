"Readers on miniature releases in the official layouts, whole and broken in every way; splits that keep copies together."
import dataclasses, shutil
from pathlib import Path
import numpy as np, pandas as pd, pytest
from releases import MINIS, write_image, write_table
from attiqa import readers
from attiqa.core import ATTRIBUTES, AttiqaError
from attiqa.datasets import READERS, RELEASES, check_release, kept_splits, make_splits, repeated_splits, split_groups
from attiqa.images import open_image
from attiqa.readers import COLUMNS, ReleaseError

KEYS = list(MINIS)
TABLES = [key for key in KEYS if key not in ("clive", "live")] # those with rows; the others hold MATLAB variables

@pytest.fixture
def whole(monkeypatch):
    "Let the miniature be the whole release: its count is what the release is said to have."
    def agree(key, mini): monkeypatch.setitem(readers.RELEASES, key, dataclasses.replace(RELEASES[key], images=len(mini.images)))
    return agree

@pytest.fixture
def release(request, tmp_path, whole):
    "(key, miniature, folder) of a whole release on disk."
    mini = MINIS[request.param]()
    whole(request.param, mini)
    return request.param, mini, mini.write(tmp_path/"data")

def rows_of(mini): # of the table with the scores
    rows = mini.tables[mini.table]
    return rows[1] if isinstance(rows, tuple) else rows

def rewrite(mini, folder, change): # the table with the scores, its rows changed
    rows = mini.tables[mini.table]
    changed = change([list(row) for row in rows_of(mini)])
    write_table(folder/mini.table, (rows[0], changed) if isinstance(rows, tuple) else changed)

def last(rows): # position of the last row with cells
    return max(i for i, row in enumerate(rows) if any(cell is not None for cell in row))

def test_every_release_has_a_reader_and_a_miniature():
    assert set(READERS) == set(RELEASES) == set(MINIS) and len(READERS) >= 14

@pytest.mark.parametrize("release", KEYS, indirect=True)
def test_reader(release):
    key, mini, folder = release
    table = READERS[key](folder)
    assert list(table) == list(COLUMNS) and len(table) == len(mini.images)
    assert [Path(f).resolve() for f in table.image] == [(folder/n).resolve() for n in mini.images] and all(Path(f).is_absolute() for f in table.image)
    np.testing.assert_allclose(table.mos, mini.mos, atol=1e-4)
    for name, values in mini.expected.items():
        if name in ("reference", "split"): assert list(table[name]) == values
        else: np.testing.assert_allclose(table[name].astype(float), values, atol=1e-9)
    for name in {"std", "reference", "split", *ATTRIBUTES} - set(mini.expected): assert table[name].isna().all() or name in ATTRIBUTES
    attrs = table.attrs
    assert (attrs["name"], attrs["low"], attrs["high"]) == (RELEASES[key].name, RELEASES[key].low, RELEASES[key].high)
    assert attrs["re-encoded"] == 0 and attrs["missing"] == [] and attrs["duplicates"] == [] and len(attrs["citation"]) > 20
    assert open_image(table.image.iloc[-1]).size == (8, 6)
    assert not len(check_release(table))

@pytest.mark.parametrize("release", KEYS, indirect=True)
def test_table_does_not_depend_on_place_or_dates(release, tmp_path):
    key, mini, folder = release
    shutil.copytree(folder, tmp_path/"elsewhere"/"again")
    here, there = READERS[key](folder), READERS[key](tmp_path/"elsewhere"/"again")
    pd.testing.assert_frame_equal(here.drop(columns="image"), there.drop(columns="image"))

@pytest.mark.parametrize("release", KEYS, indirect=True)
def test_missing_image_is_named(release):
    key, mini, folder = release
    gone = [mini.images[1], mini.images[-1]]
    for name in gone: (folder/name).unlink()
    with pytest.raises(ReleaseError, match=f"2 of {len(mini.images)} images are missing: ") as found: READERS[key](folder)
    assert sorted(Path(name).stem.lower() for name in found.value.files) == sorted(Path(name).stem.lower() for name in gone)
    assert "\n" not in str(found.value)
    left = READERS[key](folder, part=True)
    assert len(left) == len(mini.images) - 2 and len(left.attrs["missing"]) == 2

@pytest.mark.parametrize("release", KEYS, indirect=True)
def test_many_copies_are_named(release):
    key, mini, folder = release
    count = max(1, len(mini.images)//50)
    for name in mini.images[1:count + 1]: shutil.copyfile(folder/mini.images[0], folder/name)
    if key == "live": # eight in eight hundred are just within one in a hundred
        for name in mini.images[1:10]: shutil.copyfile(folder/mini.images[0], folder/name)
    with pytest.raises(ReleaseError, match="are copies of others, byte for byte") as found: READERS[key](folder)
    assert {Path(name).stem for name in found.value.files} <= {Path(name).stem for name in mini.images[1:]} and len(found.value.files) >= count
    table = READERS[key](folder, part=True)
    assert len(table.attrs["duplicates"]) == 1 and len(check_release(table)) == len(found.value.files)

@pytest.mark.parametrize("release", KEYS, indirect=True)
def test_fewer_rows_than_the_release_has(release, monkeypatch):
    key, mini, folder = release
    monkeypatch.setitem(readers.RELEASES, key, dataclasses.replace(RELEASES[key], images=len(mini.images) + 1))
    with pytest.raises(ReleaseError, match=f"the table has {len(mini.images)} images, {RELEASES[key].name} has {len(mini.images) + 1}"): READERS[key](folder)
    assert len(READERS[key](folder, part=True)) == len(mini.images)

@pytest.mark.parametrize("release", TABLES, indirect=True)
def test_table_cut_between_rows(release):
    key, mini, folder = release
    rewrite(mini, folder, lambda rows: rows[:last(rows)])
    with pytest.raises(ReleaseError, match="it is cut short or of another release"): READERS[key](folder)

@pytest.mark.parametrize("release", KEYS, indirect=True)
def test_table_cut_anywhere(release):
    "Wherever a download stopped before the last cell: one line, and never a table that is quietly shorter. (A cut within the last number cannot be seen.)"
    key, mini, folder = release
    table = folder/mini.table
    content = table.read_bytes()
    sizes = {0, 1, len(content)//3, len(content)//2, max(content.rstrip().rfind(mark) for mark in (b",", b" "))} if key in TABLES else {0, len(content)//3}
    for size in sizes:
        table.write_bytes(content[:size])
        with pytest.raises(AttiqaError) as found: READERS[key](folder)
        assert "\n" not in str(found.value) and str(folder) in str(found.value)

@pytest.mark.parametrize("release", [key for key in TABLES if Path(MINIS[key]().table).suffix != ".xlsx"], indirect=True)
@pytest.mark.parametrize("change", [lambda row: [*row, 7], lambda row: row[:-1]], ids=["more", "fewer"])
def test_wrong_number_of_columns(release, change):
    key, mini, folder = release
    rewrite(mini, folder, lambda rows: [*rows[:-2], change(rows[-2]), rows[-1]])
    with pytest.raises(ReleaseError, match=r"1 rows have not \d+ cells \(line \d\)"): READERS[key](folder)

@pytest.mark.parametrize("release", [key for key in TABLES if key not in ("ava", "tid2013")], indirect=True)
def test_missing_column_is_named(release):
    key, mini, folder = release
    header = next(i for i, row in enumerate(rows_of(mini)) if len([c for c in row if c]) > 1)
    name = rows_of(mini)[header][mini.column]
    rewrite(mini, folder, lambda rows: [[f"{c} (new)" if c == name else c for c in row] if i == header else row for i, row in enumerate(rows)])
    with pytest.raises(ReleaseError, match=f"no column '{name}'"): READERS[key](folder)

@pytest.mark.parametrize("score", [1e6, -1e6, "", "good"])
@pytest.mark.parametrize("release", TABLES, indirect=True)
def test_score_outside_its_scale_is_named(release, score):
    key, mini, folder = release
    if key == "ava" and score == "": score = "-" # text parted by blanks has no empty cells
    if key == "tid2013" and score == "": score = "-"
    spoil = lambda row: [score if i == mini.column % len(row) else c for i, c in enumerate(row)]
    if key == "ava" and isinstance(score, float): spoil = lambda row: [*row[:2], *[-5 if score < 0 else 0]*9, 3 if score < 0 else 0, *row[12:]] # votes that no one cast
    rewrite(mini, folder, lambda rows: [spoil(row) if i == last(rows) else row for i, row in enumerate(rows)])
    with pytest.raises(ReleaseError, match=f"1 of {len(mini.images)} MOS are outside") as found: READERS[key](folder)
    assert len(found.value.files) == 1

@pytest.mark.parametrize("name", ["../out.jpg", "/etc/passwd", "a/../../b.jpg", "C:\\x.jpg"])
@pytest.mark.parametrize("release", ["koniq10k", "kadid10k", "agiqa3k", "tid2013", "biq2021"], indirect=True)
def test_names_stay_in_the_folder(release, name):
    key, mini, folder = release
    place = dict(tid2013=1).get(key, 0)
    rewrite(mini, folder, lambda rows: [*rows[:-1], [f"../../{name}" if i == place else c for i, c in enumerate(rows[-1])]])
    with pytest.raises(ReleaseError, match="leads out of the folder"): READERS[key](folder)

def test_wrong_folder(tmp_path):
    (tmp_path/"empty").mkdir()
    for key, read in READERS.items():
        with pytest.raises(AttiqaError, match="no such folder; give the folder of"): read(tmp_path/"nowhere")
        with pytest.raises(AttiqaError, match="holds no .*; give the folder of"): read(tmp_path/"empty")

def test_clive_training_images_and_copies(tmp_path, whole):
    mini = MINIS["clive"](); whole("clive", mini)
    folder = mini.write(tmp_path)
    table = READERS["clive"](folder, training=True)
    assert list(table.split.notna()) == [True]*7 + [False]*8 and Path(table.image[0]).parent.name == "trainingImages"
    for file in (folder/"ChallengeDB_release"/"Images").glob("*.bmp"): file.rename(file.with_name(f"{file.name}.jpg"))
    assert READERS["clive"](folder).attrs["re-encoded"] == 5
    write_table(folder/"ChallengeDB_release"/"Data"/"AllMOS_release.mat", dict(AllMOS_release=np.full((1, 15), 101.)))
    with pytest.raises(ReleaseError, match="8 of 8 MOS are outside"): READERS["clive"](folder)

def test_spaq_noisiness_is_turned_round_where_it_falls_with_quality(tmp_path, whole):
    mini = MINIS["spaq"](); whole("spaq", mini)
    folder = mini.write(tmp_path)
    rewrite(mini, folder, lambda rows: [rows[0], *([*row[:5], 100 - row[5], row[6]] for row in rows[1:])])
    np.testing.assert_allclose(READERS["spaq"](folder).noisiness, mini.expected["noisiness"])

def test_koniq_without_the_optional_files_and_at_half_size(tmp_path, whole):
    mini = MINIS["koniq10k"](); whole("koniq10k", mini)
    folder = mini.write(tmp_path)
    (folder/"1024x768").rename(folder/"512x384")
    for name in list(mini.tables)[1:]: (folder/name).unlink()
    table = READERS["koniq10k"](folder)
    assert table.split.isna().all() and table.sharpness.isna().all() and Path(table.image[0]).parent.name == "512x384"

def test_biq2021_in_one_table_has_no_split_and_no_count(tmp_path):
    mini = MINIS["biq2021"]()
    rows = [row for table in mini.tables.values() for row in table[1:]]
    mini.tables = {"Images and MOS.csv": [["Image Name", "MOS"], *rows]}
    table = READERS["biq2021"](mini.write(tmp_path))
    assert len(table) == 8 and table.split.isna().all() and len(make_splits(table)) == 10

def test_official_splits_are_used_and_saved(tmp_path, whole):
    for key in ("koniq10k", "flive", "ava", "biq2021", "uhdiqa"):
        mini = MINIS[key](); whole(key, mini)
        table = READERS[key](mini.write(tmp_path/key))
        (train, test), = kept_splits(tmp_path/f"{key}.parquet", table)
        assert list(test) == [i for i, part in enumerate(mini.expected["split"]) if part == "test"] and sorted([*train, *test]) == list(range(8))
        (again, _), = kept_splits(tmp_path/f"{key}.parquet", READERS[key](tmp_path/key))
        assert list(again) == list(train)

def test_a_copy_across_the_official_split_is_leakage(tmp_path, whole):
    mini = MINIS["koniq10k"](); whole("koniq10k", mini)
    folder = mini.write(tmp_path)
    shutil.copyfile(folder/mini.images[0], folder/mini.images[-1])
    table = READERS["koniq10k"](folder, part=True)
    with pytest.raises(AttiqaError, match="leakage: 1 groups of images lie on both sides"): make_splits(table)
    assert len(make_splits(table, official=False)) == 10

def test_synthetic_sets_are_split_by_original(tmp_path, whole):
    for key in ("kadid10k", "tid2013", "csiq"):
        mini = MINIS[key](); whole(key, mini)
        table = READERS[key](mini.write(tmp_path/key))
        for train, test in make_splits(table, 5): assert len(train) == len(test) == 4 and not set(table.reference[train]) & set(table.reference[test])

def test_copies_stay_together_in_every_split(tmp_path):
    for i in range(40): write_image(tmp_path/f"{i}.png", i//2 if i < 10 else i) # five pairs of equal files
    table = readers.tidy("pairs", 0, 1, "", image=[str(tmp_path/f"{i}.png") for i in range(40)], mos=np.linspace(0, 1, 40))
    groups = split_groups(table)
    assert len(set(groups)) == 35
    for train, test in repeated_splits(table, 20): assert all((2*i in test) == (2*i + 1 in test) for i in range(5)) and not set(groups[train]) & set(groups[test])

@pytest.mark.parametrize("key, images", [("clive", 1162), ("biq2021", 2000)])
def test_the_real_thing(shared, key, images, tmp_path):
    table = READERS[key](shared/key)
    assert len(table) == images and table.image.is_unique and table.mos.nunique() > .4*images and table.mos.std() > .1*(table.attrs["high"] - table.attrs["low"])
    groups = split_groups(table)
    assert len(set(groups)) == images - sum(len(names) - 1 for names in table.attrs["duplicates"])
    splits = kept_splits(tmp_path/"splits.parquet", table)
    assert len(splits) == 10
    for train, test in splits: assert abs(len(test)/images - .2) < .002 and not set(groups[train]) & set(groups[test])
    assert all(np.array_equal(a, b) for one, two in zip(splits, kept_splits(tmp_path/"splits.parquet", READERS[key](shared/key))) for a, b in zip(one, two))

def test_clive_has_one_photograph_twice(shared):
    assert [[Path(name).stem.split(".")[0] for name in names] for names in READERS["clive"](shared/"clive").attrs["duplicates"]] == [["246", "333"]]
