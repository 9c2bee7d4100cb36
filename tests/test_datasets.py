"Readers give the tidy table of a whole release, and name what is wrong in a damaged one."
import shutil
from pathlib import Path
import numpy as np, pandas as pd, pytest
from attiqa.core import AttiqaError
from attiqa.images import open_image
from attiqa.readers import READERS, RELEASES, RELEASE_COLUMNS, ReleaseError, check_release
from attiqa.splits import make_splits
from releases import MINIS, expect_images, write_table, write_whole

KEYS = list(MINIS)
TABLES = [key for key in KEYS if key not in ("clive", "live")] # those with rows; the others are MATLAB files
TEXT_TABLES = [key for key in TABLES if Path(MINIS[key]().table).suffix != ".xlsx"]
NO_HEADER = ("ava", "tid2013") # text separated by blanks

def every(keys): return pytest.mark.parametrize("release", keys, indirect=True)

@pytest.fixture
def release(request, tmp_path, monkeypatch):
    "(key, miniature, folder) of a whole release on disk."
    folder = tmp_path/"data"
    return request.param, write_whole(monkeypatch, request.param, folder), folder

# Whole releases

def test_every_release_has_a_reader_and_a_miniature():
    assert set(READERS) == set(RELEASES) == set(MINIS)
    assert len(READERS) >= 14

@every(KEYS)
def test_reader(release):
    key, mini, folder = release
    table = READERS[key](folder)
    assert list(table) == list(RELEASE_COLUMNS)
    assert len(table) == len(mini.images)
    files = [Path(file) for file in table.image]
    assert all(file.is_absolute() for file in files)
    assert [file.resolve() for file in files] == [(folder/name).resolve() for name in mini.images]
    assert open_image(files[-1]).size == (8, 6)
    np.testing.assert_allclose(table.mos, mini.mos, atol=1e-4)

@every(KEYS)
def test_reader_gives_the_other_columns(release):
    key, mini, folder = release
    table = READERS[key](folder)
    for name, values in mini.expected.items():
        if name in ("reference", "split"): assert list(table[name]) == values
        else: np.testing.assert_allclose(table[name].astype(float), values, atol=1e-9)
    for name in {"std", "reference", "split"} - set(mini.expected): assert table[name].isna().all()

@every(KEYS)
def test_a_table_describes_its_release(release):
    key, mini, folder = release
    table, facts = READERS[key](folder), RELEASES[key]
    attrs = table.attrs
    assert (attrs["name"], attrs["low"], attrs["high"]) == (facts.name, facts.low, facts.high)
    assert attrs["re-encoded"] == 0
    assert attrs["missing"] == []
    assert attrs["duplicates"] == []
    assert len(attrs["citation"]) > 20
    assert not len(check_release(table))

@every(KEYS)
def test_table_does_not_depend_on_place_or_dates(release, tmp_path):
    key, mini, folder = release
    other = tmp_path/"elsewhere"/"again"
    shutil.copytree(folder, other)
    here, there = (READERS[key](place).drop(columns="image") for place in (folder, other))
    pd.testing.assert_frame_equal(here, there)

# Damaged images

def stems(names): return [Path(name).stem for name in names]

@every(KEYS)
def test_missing_image_is_named(release):
    key, mini, folder = release
    gone, count = [mini.images[1], mini.images[-1]], len(mini.images)
    for name in gone: (folder/name).unlink()
    with pytest.raises(ReleaseError, match=f"2 of {count} images are missing: ") as found:
        READERS[key](folder)
    lowercase = lambda names: sorted(stem.lower() for stem in stems(names)) # TID2013 differs in capitals
    assert lowercase(found.value.files) == lowercase(gone)
    assert "\n" not in str(found.value)
    left = READERS[key](folder, part=True)
    assert len(left) == count - 2
    assert len(left.attrs["missing"]) == 2

@every(KEYS)
def test_many_copies_are_named(release):
    key, mini, folder = release
    count = max(1, len(mini.images)//50)
    first, *others = mini.images
    for name in others[:count]: shutil.copyfile(folder/first, folder/name)
    with pytest.raises(ReleaseError, match="are copies of others, byte for byte") as found:
        READERS[key](folder)
    assert set(stems(found.value.files)) <= set(stems(others))
    assert len(found.value.files) >= count
    table = READERS[key](folder, part=True)
    assert len(table.attrs["duplicates"]) == 1
    assert len(check_release(table)) == len(found.value.files)

# Damaged tables

def rows_of(mini):
    "Rows of the table with the scores."
    rows = mini.tables[mini.table]
    return rows[1] if isinstance(rows, tuple) else rows

def rewrite(mini, folder, change):
    "Write the table with the scores again, its rows changed."
    rows = mini.tables[mini.table]
    changed = change([list(row) for row in rows_of(mini)])
    write_table(folder/mini.table, (rows[0], changed) if isinstance(rows, tuple) else changed)

def last(rows):
    "Position of the last row with cells."
    return max(i for i, row in enumerate(rows) if any(cell is not None for cell in row))

def with_cell(row, position, value):
    "A copy of a row with another cell."
    return [value if i == position else cell for i, cell in enumerate(row)]

@every(KEYS)
def test_fewer_rows_than_the_release_has(release, monkeypatch):
    key, mini, folder = release
    count = len(mini.images)
    expect_images(monkeypatch, key, count + 1)
    words = f"the table has {count} images, {RELEASES[key].name} has {count + 1}"
    with pytest.raises(ReleaseError, match=words): READERS[key](folder)
    assert len(READERS[key](folder, part=True)) == count

@every(TABLES)
def test_table_cut_between_rows(release):
    key, mini, folder = release
    rewrite(mini, folder, lambda rows: rows[:last(rows)])
    with pytest.raises(ReleaseError, match="it is cut short or of another release"): READERS[key](folder)

def cuts(key, content):
    "Sizes of a table whose download stopped; in a text, the last one is just before the last cell."
    if key not in TABLES: return {0, len(content)//3}
    last_cell = max(content.rstrip().rfind(mark) for mark in (b",", b" "))
    return {0, 1, len(content)//3, len(content)//2, last_cell}

@every(KEYS)
def test_table_cut_anywhere(release):
    "It is one line, never a table that is quietly shorter. A cut within the last number cannot be seen."
    key, mini, folder = release
    table = folder/mini.table
    content = table.read_bytes()
    for size in cuts(key, content):
        table.write_bytes(content[:size])
        with pytest.raises(AttiqaError) as found: READERS[key](folder)
        assert "\n" not in str(found.value)
        assert str(folder) in str(found.value)

WRONG_WIDTHS = dict(more=lambda row: [*row, 7], fewer=lambda row: row[:-1])

@every(TEXT_TABLES)
@pytest.mark.parametrize("width", WRONG_WIDTHS)
def test_wrong_number_of_columns(release, width):
    key, mini, folder = release
    rewrite(mini, folder, lambda rows: [*rows[:-2], WRONG_WIDTHS[width](rows[-2]), rows[-1]])
    with pytest.raises(ReleaseError, match=r"1 rows have not \d+ cells \(line \d\)"): READERS[key](folder)

@every([key for key in TABLES if key not in NO_HEADER])
def test_missing_column_is_named(release):
    key, mini, folder = release
    rows = rows_of(mini)
    header = next(i for i, row in enumerate(rows) if len(list(filter(None, row))) > 1)
    name = rows[header][mini.column]
    renamed = [f"{cell} (new)" if cell == name else cell for cell in rows[header]]
    rewrite(mini, folder, lambda rows: with_cell(rows, header, renamed))
    with pytest.raises(ReleaseError, match=f"no column '{name}'"): READERS[key](folder)

IMPOSSIBLE_VOTES = {1e6: [0]*10, -1e6: [-5]*9 + [3]} # AVA has votes in place of a score

def misrated(key, mini, row, score):
    "A copy of a row with another score."
    if key in NO_HEADER and not score: score = "-" # there are no empty cells
    if key == "ava" and score in IMPOSSIBLE_VOTES: return [*row[:2], *IMPOSSIBLE_VOTES[score], *row[12:]]
    return with_cell(row, mini.column % len(row), score)

@pytest.mark.parametrize("score", [1e6, -1e6, "", "good"])
@every(TABLES)
def test_score_outside_its_scale_is_named(release, score):
    key, mini, folder = release
    change = lambda rows: with_cell(rows, last(rows), misrated(key, mini, rows[last(rows)], score))
    rewrite(mini, folder, change)
    with pytest.raises(ReleaseError, match=f"1 of {len(mini.images)} MOS are outside") as found:
        READERS[key](folder)
    assert len(found.value.files) == 1

NAME_COLUMNS = dict(koniq10k=0, kadid10k=0, agiqa3k=0, tid2013=1, biq2021=0)

@pytest.mark.parametrize("name", ["../out.jpg", "/etc/passwd", "a/../../b.jpg", "C:\\x.jpg"])
@every(list(NAME_COLUMNS))
def test_names_stay_in_the_folder(release, name):
    key, mini, folder = release
    change = lambda rows: [*rows[:-1], with_cell(rows[-1], NAME_COLUMNS[key], f"../../{name}")]
    rewrite(mini, folder, change)
    with pytest.raises(ReleaseError, match="leads out of the folder"): READERS[key](folder)

@pytest.mark.parametrize("key", KEYS)
def test_wrong_folder(tmp_path, key):
    (tmp_path/"empty").mkdir()
    read = READERS[key]
    with pytest.raises(AttiqaError, match="no such folder; give the folder of"): read(tmp_path/"nowhere")
    with pytest.raises(AttiqaError, match="holds no .*; give the folder of"): read(tmp_path/"empty")

# Forms of one release

def parents(table): return [Path(file).parent.name for file in table.image]

def test_clive_has_training_images(tmp_path, monkeypatch):
    write_whole(monkeypatch, "clive", tmp_path)
    table = READERS["clive"](tmp_path, training=True)
    assert list(table.split.notna()) == [True]*7 + [False]*8
    assert parents(table)[0] == "trainingImages"

def test_clive_with_images_encoded_anew(tmp_path, monkeypatch):
    "Their names tell it; their scores are checked like all others."
    write_whole(monkeypatch, "clive", tmp_path)
    top = tmp_path/"ChallengeDB_release"
    for file in (top/"Images").glob("*.bmp"): file.rename(file.with_name(f"{file.name}.jpg"))
    assert READERS["clive"](tmp_path).attrs["re-encoded"] == 5
    scores = dict(AllMOS_release=np.full((1, 15), 101.))
    write_table(top/"Data"/"AllMOS_release.mat", scores)
    with pytest.raises(ReleaseError, match="8 of 8 MOS are outside"): READERS["clive"](tmp_path)

def test_spaq_noisiness_is_turned_round_where_it_falls_with_quality(tmp_path, monkeypatch):
    mini = write_whole(monkeypatch, "spaq", tmp_path)
    turned = lambda row: with_cell(row, 5, 100 - row[5])
    rewrite(mini, tmp_path, lambda rows: [rows[0], *map(turned, rows[1:])])
    np.testing.assert_allclose(READERS["spaq"](tmp_path).noisiness, mini.expected["noisiness"])

def test_koniq_without_the_optional_files_and_at_half_size(tmp_path, monkeypatch):
    mini = write_whole(monkeypatch, "koniq10k", tmp_path)
    (tmp_path/"1024x768").rename(tmp_path/"512x384")
    for name in list(mini.tables)[1:]: (tmp_path/name).unlink()
    table = READERS["koniq10k"](tmp_path)
    assert table.split.isna().all()
    assert table.sharpness.isna().all()
    assert parents(table)[0] == "512x384"

def test_biq2021_in_one_table_has_no_split_and_no_count(tmp_path):
    mini = MINIS["biq2021"]()
    rows = [row for table in mini.tables.values() for row in table[1:]]
    mini.tables = {"Images and MOS.csv": [["Image Name", "MOS"], *rows]}
    table = READERS["biq2021"](mini.write(tmp_path))
    assert len(table) == 8
    assert table.split.isna().all()
    assert len(make_splits(table)) == 10

# Real releases

REAL_IMAGES = dict(clive=1162, biq2021=2000)

@pytest.mark.parametrize("key", REAL_IMAGES)
def test_the_real_thing(shared, key):
    table, images = READERS[key](shared/key), REAL_IMAGES[key]
    assert len(table) == images
    assert table.image.is_unique
    assert table.mos.nunique() > .4*images
    assert table.mos.std() > .1*(table.attrs["high"] - table.attrs["low"])

def test_clive_has_one_photograph_twice(shared):
    duplicates = READERS["clive"](shared/"clive").attrs["duplicates"]
    assert [[Path(name).name.split(".")[0] for name in names] for names in duplicates] == [["246", "333"]]
