"Stores: stable keys in an order that no file system decides, nothing left out, no list in memory."
import io, os, pickle, random, tarfile
import numpy as np, pyarrow as pa, pyarrow.parquet, pytest
from PIL import Image
from attiqa.cli import main
from attiqa.core import AttiqaError
from attiqa.images import open_source, stored_source, write_list
from attiqa.sources import TarStore, has_image_extension, ordered_names, walk_folder

NAMES = ("a", "a-b", "a.b", "a b", "b", "ab", "é", "Z", "0")

@pytest.fixture
def tree(tmp_path):
    "Nested folders whose paths sort in another order than their names."
    rng, root = random.Random(0), tmp_path/"tree"
    for _ in range(60):
        parts = [rng.choice(NAMES) for _ in range(rng.randint(0, 3))]
        folder = root.joinpath(*(p + "_" for p in parts), *parts)
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(3): (folder/f"{rng.choice(NAMES)}.{rng.choice(('jpg', 'PNG', 'txt'))}").touch()
    return root

def png(colour=0):
    "A PNG file of one colour."
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), colour, np.uint8)).save(file, "PNG")
    return file.getvalue()

def write_tar(path, members):
    "A tar of (name, colour) pairs."
    with tarfile.open(path, "w") as tar:
        for name, colour in members:
            info = tarfile.TarInfo(name)
            info.size = len(png(colour))
            tar.addfile(info, io.BytesIO(png(colour)))

def colour(image): return image.getpixel((0, 0))[0]

@pytest.fixture
def tars(tmp_path):
    "Two tars of three images."
    for shard in range(2): write_tar(tmp_path/f"{shard}.tar", [(f"c/{i}.png", shard*3 + i) for i in range(3)])
    return f"{tmp_path}/*.tar"

def test_walk_is_the_order_of_sorted_paths(tree):
    images = [path for path in tree.rglob("*") if path.is_file() and has_image_extension(path.name)]
    expected = sorted(path.relative_to(tree).as_posix() for path in images)
    assert len(expected) > 50
    assert list(walk_folder(tree)) == expected

@pytest.mark.parametrize("at_once", (1, 2, 3, 7))
def test_names_in_several_passes(tree, at_once):
    for folder, *_ in os.walk(tree):
        assert list(ordered_names(folder, at_once)) == list(ordered_names(folder))

def test_a_walk_reads_one_folder_at_a_time(tree, monkeypatch):
    opened, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(path) or scandir(path))
    walk = walk_folder(tree)
    next(walk)
    assert len(opened) < 6 < sum(1 for _ in os.walk(tree))

def test_tars_stream_what_random_access_gives(tars):
    source = open_source(tars)
    units = [unit for shard in source.shards(99) for unit in shard.units]
    streamed = {key: colour(image) for unit in units for key, image in source.members(unit)}
    assert streamed == {key: colour(source.load(key)) for key in source.keys}
    assert list(streamed.values()) == [*range(6)]
    assert next(iter(streamed)) == "0.tar/c/0.png"

def test_a_tar_is_a_shard(tars):
    assert [shard.units for shard in open_source(tars).shards(1)] == [("0.tar",), ("1.tar",)]

def test_truncated_tars_are_noticed(tars, tmp_path):
    "Wherever a tar is cut, the images before the cut are read and the loss is reported."
    whole = (tmp_path/"0.tar").read_bytes()
    end = len(whole.rstrip(b"\0"))
    for cut in range(600, end + 1, 400):
        (tmp_path/"cut.tar").write_bytes(whole[:cut])
        members = list(TarStore(f"{tmp_path}/cut.tar").members("cut.tar"))
        name, problem = members[-1]
        assert name == "cut.tar" and isinstance(problem, AttiqaError), cut

def test_the_second_member_of_a_name_is_rejected(tmp_path):
    write_tar(tmp_path/"t.tar", [("x.png", 1), ("x.png", 2)])
    source = open_source(f"{tmp_path}/t.tar")
    (_, first), (_, second) = source.members("t.tar")
    assert colour(first) == colour(source.load("t.tar/x.png")) == 1
    assert "twice" in str(second)

@pytest.mark.parametrize("kind", ("folder", "list", "table", "tars", "embedded"))
def test_sources_cross_processes(kind, tars, tmp_path):
    "Under spawn everything is pickled."
    for i in range(2): (tmp_path/f"{i}.png").write_bytes(png(i))
    (tmp_path/"l.txt").write_text("0.png\n1.png\n")
    (tmp_path/"t.csv").write_text("path\n0.png\n1.png\n")
    files = dict(folder=tmp_path, list=tmp_path/"l.txt", table=tmp_path/"t.csv")
    name = (files | dict(tars=tars, embedded="embedded"))[kind]
    source = open_source(str(name), 2 if kind == "embedded" else 0, size=32)
    other = pickle.loads(pickle.dumps(source))
    key = next(iter(other.keys))
    assert np.array_equal(other.load(key), source.load(key))
    assert list(other.shards(1)) == list(source.shards(1))

def test_a_table_wider_than_memory_is_streamed(tmp_path):
    (tmp_path/"t.csv").write_text("id,path\n" + "".join(f"{i},{i:06d}.jpg\n" for i in range(200_000)))
    source = stored_source(tmp_path/"t.csv")
    first = next(source.shards(10))
    assert first.units == tuple(f"{i:06d}.jpg" for i in range(10))
    assert source.keys._list is None

def test_a_replaced_file_is_read_anew(tmp_path):
    "The cached index of a tar and number of row groups are dropped when the file changes."
    def write(colours):
        write_tar(tmp_path/"t.tar", [(f"{colour}.png", colour) for colour in colours])
        table = pa.table(dict(key=[*map(str, colours)], image=[*map(png, colours)]))
        pa.parquet.write_table(table, tmp_path/"t.parquet", row_group_size=1)
    tar_colour = lambda key: colour(open_source(f"{tmp_path}/t.tar").load(key))
    rows = lambda: len(open_source(f"{tmp_path}/t.parquet"))
    write([1, 2])
    assert (tar_colour("t.tar/2.png"), rows()) == (2, 2)
    write([3, 5, 2])
    assert (tar_colour("t.tar/2.png"), tar_colour("t.tar/5.png"), rows()) == (2, 5, 3)

BAD_TABLES = dict(
    ragged="path,x\na.png,1\nb.png\n",
    quote='path,x\n"a.png,1\nb.png,2\n',
    late="path,x\n" + "a.png,1\n"*200_000 + "\xe9.png,2\n")

@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_damaged_table_is_one_line(tmp_path, name, capsys):
    (tmp_path/"t.csv").write_bytes(BAD_TABLES[name].encode("latin-1"))
    problem = "is no table that can be read"
    with pytest.raises(AttiqaError, match=f"t.csv: {problem}") as caught:
        list(open_source(str(tmp_path/"t.csv")).keys)
    assert "\n" not in str(caught.value)
    if name == "late": return # scoring starts before the damage is read
    assert main(["score", str(tmp_path/"t.csv")]) == 2
    assert problem in capsys.readouterr().err

@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_lists_name_any_file(tmp_path, capsys):
    "A list as `find` writes it: a byte order mark, bytes that are no UTF-8, Python's other line breaks."
    names = ["a.png", os.fsdecode(b"b\xff.png"), "c\u2028d.png", "e\x85f.png", "1e5"]
    for number, name in enumerate(names): (tmp_path/name).write_bytes(png(number))
    (tmp_path/"list.txt").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(map(os.fsencode, names)) + b"\n\n")
    source = open_source(str(tmp_path/"list.txt"))
    assert sorted(source.keys) == sorted(names)
    assert [colour(source.load(name)) for name in names] == [*range(len(names))]
    assert main(["score", str(tmp_path/"list.txt")]) == 1
    assert capsys.readouterr().err.count("at least 32 per side") == len(names)
    write_list(tmp_path/"again.txt", open_source(str(tmp_path)))
    again = open_source(str(tmp_path/"again.txt"))
    assert sorted(os.path.basename(key) for key in again.keys) == sorted(names)

def test_a_list_without_names_is_an_error(tmp_path, capsys):
    (tmp_path/"list.txt").write_text("\n \n")
    assert main(["score", str(tmp_path/"list.txt")]) == 2
    assert "names no images" in capsys.readouterr().err

def test_a_name_of_two_lines_fits_in_no_list(tmp_path):
    (tmp_path/"two\nlines.png").write_bytes(png())
    source = open_source(str(tmp_path))
    with pytest.raises(AttiqaError, match="two lines"): write_list(tmp_path/"again.txt", source)
