"What a store promises: keys that stay, an order that no file system decides, nothing left out, no list in memory."
import io, os, pickle, random, tarfile
import numpy as np, pytest
from PIL import Image
from attiqa.cli import main
from attiqa.core import AttiqaError
from attiqa.images import open_source, stored_source, write_list
from attiqa.sources import Tars, is_picture, ordered_names, walk_folder

NAMES = ("a", "a-b", "a.b", "a b", "b", "ab", "é", "Z", "0")

@pytest.fixture
def tree(tmp_path):
    "Folders within folders whose names sort otherwise as paths than as names."
    rng, root = random.Random(0), tmp_path/"tree"
    for _ in range(60):
        parts = [rng.choice(NAMES) for _ in range(rng.randint(0, 3))]
        folder = root.joinpath(*(p + "_" for p in parts), *parts)
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(3): (folder/f"{rng.choice(NAMES)}.{rng.choice(('jpg', 'PNG', 'txt'))}").touch()
    return root

def picture(colour=0):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), colour, np.uint8)).save(file, "PNG")
    return file.getvalue()

@pytest.fixture
def tars(tmp_path):
    "Two tars of three pictures."
    for shard in range(2):
        with tarfile.open(tmp_path/f"{shard}.tar", "w") as tar:
            for i in range(3):
                info = tarfile.TarInfo(f"c/{i}.png")
                info.size = len(picture(shard*3 + i))
                tar.addfile(info, io.BytesIO(picture(shard*3 + i)))
    return f"{tmp_path}/*.tar"

def test_walk_is_the_order_of_sorted_paths(tree):
    expected = sorted(p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file() and is_picture(p.name))
    assert len(expected) > 50 and list(walk_folder(tree)) == expected

@pytest.mark.parametrize("at_once", (1, 2, 3, 7))
def test_names_in_several_passes(tree, at_once):
    for folder, *_ in os.walk(tree): assert list(ordered_names(folder, at_once)) == list(ordered_names(folder))

def test_walking_asks_for_one_folder_at_a_time(tree, monkeypatch):
    opened, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(path) or scandir(path))
    walk = walk_folder(tree)
    next(walk)
    assert len(opened) < 6 < sum(1 for _ in os.walk(tree))

def test_tars_stream_what_random_access_gives(tars):
    source = open_source(tars)
    streamed = {key: image.getpixel((0, 0)) for shard in source.shards(99) for unit in shard.units for key, image in source.members(unit)}
    assert streamed == {key: source.load(key).getpixel((0, 0)) for key in source.keys}
    assert [v[0] for v in streamed.values()] == [*range(6)] and next(iter(streamed)) == "0.tar/c/0.png"

def test_a_tar_is_a_shard(tars):
    assert [shard.units for shard in open_source(tars).shards(1)] == [("0.tar",), ("1.tar",)]

def test_cut_tars_are_noticed(tars, tmp_path):
    "Whatever is cut off behind the first member's header, the pictures before it come and the loss is named."
    whole = (tmp_path/"0.tar").read_bytes()
    end = whole.rstrip(b"\0").__len__()
    for cut in range(600, end + 1, 400):
        (tmp_path/"cut.tar").write_bytes(whole[:cut])
        members = list(Tars(f"{tmp_path}/cut.tar").members("cut.tar"))
        assert members[-1][0] == "cut.tar" and isinstance(members[-1][1], AttiqaError), cut

def test_twins_in_a_tar_are_one_picture(tmp_path):
    with tarfile.open(tmp_path/"t.tar", "w") as tar:
        for colour in (1, 2):
            info = tarfile.TarInfo("x.png"); info.size = len(picture(colour))
            tar.addfile(info, io.BytesIO(picture(colour)))
    source = open_source(f"{tmp_path}/t.tar")
    (_, first), (_, second) = source.members("t.tar")
    assert first.getpixel((0, 0)) == source.load("t.tar/x.png").getpixel((0, 0)) == (1, 1, 1)
    assert "twice" in str(second)

@pytest.mark.parametrize("kind", ("folder", "list", "table", "tars", "embedded"))
def test_sources_cross_processes(kind, tars, tmp_path):
    "Under spawn everything is pickled."
    for i in range(2): (tmp_path/f"{i}.png").write_bytes(picture(i))
    (tmp_path/"l.txt").write_text("0.png\n1.png\n"); (tmp_path/"t.csv").write_text("path\n0.png\n1.png\n")
    name = dict(folder=tmp_path, list=tmp_path/"l.txt", table=tmp_path/"t.csv", tars=tars, embedded="embedded")[kind]
    source = open_source(str(name), 2 if kind == "embedded" else 0, size=32)
    other = pickle.loads(pickle.dumps(source))
    key = next(iter(other.keys))
    assert np.array_equal(other.load(key), source.load(key)) and list(other.shards(1)) == list(source.shards(1))

def test_a_table_wider_than_memory_is_streamed(tmp_path):
    (tmp_path/"t.csv").write_text("id,path\n" + "".join(f"{i},{i:06d}.jpg\n" for i in range(200_000)))
    source = stored_source(tmp_path/"t.csv")
    first = next(source.shards(10))
    assert first.units == tuple(f"{i:06d}.jpg" for i in range(10)) and source.keys._list is None

def test_a_replaced_file_is_read_anew(tmp_path):
    "Places in a tar and row groups are kept, but not beyond the file that they are of."
    import pyarrow as pa, pyarrow.parquet
    def write(colours):
        with tarfile.open(tmp_path/"t.tar", "w") as tar:
            for colour in colours:
                info = tarfile.TarInfo(f"{colour}.png"); info.size = len(picture(colour))
                tar.addfile(info, io.BytesIO(picture(colour)))
        pa.parquet.write_table(pa.table(dict(key=[*map(str, colours)], image=[*map(picture, colours)])), tmp_path/"t.parquet", row_group_size=1)
    value = lambda source, key: source.load(key).getpixel((0, 0))[0]
    tars, rows = lambda: open_source(f"{tmp_path}/t.tar"), lambda: open_source(f"{tmp_path}/t.parquet")
    write([1, 2])
    assert value(tars(), "t.tar/2.png") == 2 and len(rows()) == 2
    write([3, 5, 2])
    assert value(tars(), "t.tar/2.png") == 2 and value(tars(), "t.tar/5.png") == 5 and len(rows()) == 3

BAD_TABLES = dict(ragged="path,x\na.png,1\nb.png\n", quote='path,x\n"a.png,1\nb.png,2\n', late="path,x\n" + "a.png,1\n"*200_000 + "\xe9.png,2\n")

@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_damaged_table_is_one_line(tmp_path, name, capsys):
    (tmp_path/"t.csv").write_bytes(BAD_TABLES[name].encode("latin-1"))
    with pytest.raises(AttiqaError, match="t.csv: is no table that can be read") as caught: list(open_source(str(tmp_path/"t.csv")).keys)
    assert "\n" not in str(caught.value)
    if name != "late": assert main(["score", str(tmp_path/"t.csv")]) == 2 and "is no table that can be read" in capsys.readouterr().err

@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_lists_name_any_file(tmp_path, capsys):
    "A list as `find` writes it, with or without a mark of byte order: bytes that are no UTF-8, characters at which Python splits lines."
    names = ["a.png", os.fsdecode(b"b\xff.png"), "c\u2028d.png", "e\x85f.png", "1e5"]
    for number, name in enumerate(names): (tmp_path/name).write_bytes(picture(number))
    (tmp_path/"list.txt").write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(map(os.fsencode, names)) + b"\n\n")
    source = open_source(str(tmp_path/"list.txt"))
    assert sorted(source.keys) == sorted(names) and all(source.load(name).getpixel((0, 0)) == (number,)*3 for number, name in enumerate(names))
    assert main(["score", str(tmp_path/"list.txt")]) == 1
    assert capsys.readouterr().err.count("at least 32 a side") == len(names)
    write_list(tmp_path/"again.txt", open_source(str(tmp_path)))
    assert sorted(os.path.basename(key) for key in open_source(str(tmp_path/"again.txt")).keys) == sorted(names)

def test_a_list_without_names_is_an_error(tmp_path, capsys):
    (tmp_path/"list.txt").write_text("\n \n")
    assert main(["score", str(tmp_path/"list.txt")]) == 2 and "names no images" in capsys.readouterr().err
    (tmp_path/"two\nlines.png").write_bytes(picture())
    with pytest.raises(AttiqaError, match="two lines"): write_list(tmp_path/"again.txt", open_source(str(tmp_path)))
