"The same images from every kind of source get the same scores, under the keys of the source."
import csv, io, os, subprocess, sys, tarfile
from pathlib import Path
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.parquet, pytest
from attiqa import cli
from attiqa.cli import main
from attiqa.core import AttiqaError
from attiqa.images import open_source, package_photograph
from attiqa.score import RECORD_FIELDS

PHOTOS = [package_photograph("chelsea.png").crop((10*i, 5*i, 10*i + 120, 5*i + 90)) for i in range(5)]

@pytest.fixture(scope="module")
def album(tmp_path_factory):
    "Five images and a broken one, in every kind of source."
    folder = tmp_path_factory.mktemp("album")
    (folder/"photos").mkdir()
    for i, photo in enumerate(PHOTOS): photo.save(folder/f"photos/{i}.png")
    (folder/"photos/5.png").write_bytes((folder/"photos/0.png").read_bytes()[:99])
    files = sorted((folder/"photos").iterdir())
    names = [f"photos/{file.name}" for file in files]
    (folder/"list.txt").write_text("\n".join(names))
    pd.DataFrame(dict(path=names, caption="a cat")).to_csv(folder/"paths.csv", index=False)
    pd.DataFrame(dict(path=names)).to_parquet(folder/"paths.parquet")
    with tarfile.open(folder/"shard.tar", "w") as tar:
        for file in files: tar.add(file, file.name)
    write_image_tables(folder, names, [file.read_bytes() for file in files])
    return folder

def write_image_tables(folder, names, data):
    import datasets
    table = pa.table(dict(key=names, image=data))
    pyarrow.parquet.write_table(table, folder/"bytes.parquet", row_group_size=4)
    images = pa.array([dict(bytes=content, path=name) for name, content in zip(names, data)])
    dataset = datasets.Dataset(pa.table(dict(image=images)))
    dataset.save_to_disk(folder/"saved")
    datasets.DatasetDict(train=dataset).save_to_disk(folder/"splits")

def scored(words, capsys):
    assert main(["score", *words, "--csv", "-"]) == 1
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))

SOURCES = ("list.txt", "paths.csv", "paths.parquet", "bytes.parquet", "*.tar", "shard.tar", "saved", "splits",
           "saved/*.arrow", "b*.parquet")

@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_scores(album, monkeypatch, capsys, source):
    monkeypatch.chdir(album)
    expected, found = scored(["photos"], capsys), scored([source], capsys)
    assert len(found) == 6
    assert all(tuple(row) == RECORD_FIELDS for row in found)
    assert [list(row.values())[1:] for row in found] == [list(row.values())[1:] for row in expected]
    assert found[5]["error"]
    assert found[5]["quality"] == ""
    ends = [row["path"].rsplit("/")[-1].removesuffix(".png") for row in found]
    assert ends == [str(i) for i in range(6)]

@pytest.mark.parametrize("source", ["bytes.parquet", "saved", "splits"])
def test_stages_read_the_same_images(album, source):
    images = open_source(str(album/source))
    units = [unit for shard in images.shards(2) for unit in shard.units]
    streamed = {key: image for unit in units for key, image in images.members(unit)}
    assert list(streamed) == list(images.keys)
    assert isinstance(list(streamed.values())[5], AttiqaError)
    for (key, image), photo in zip(list(streamed.items())[:5], PHOTOS):
        assert np.array_equal(image, photo)
        assert np.array_equal(images.load(key), photo)

@pytest.mark.parametrize("words, end", [(["-"], "\n"), (["--null", "-"], "\0")])
def test_paths_from_standard_input(album, words, end):
    text = end.join(f"photos/{i}.png" for i in range(6)) + end
    code = "import sys; from attiqa.cli import main; sys.exit(main(sys.argv[1:]))"
    def run(words, text=""):
        command = [sys.executable, "-c", code, "score", *words, "--csv", "-"]
        return subprocess.run(command, cwd=album, input=text.encode(), capture_output=True, timeout=300)
    assert run(words, text).stdout == run(["photos"]).stdout

def test_a_source_resumes(album, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(album)
    whole = scored(["bytes.parquet"], capsys)
    assert main(["score", "bytes.parquet", "--csv", str(tmp_path/"s.csv")]) == 1
    text = (tmp_path/"s.csv").read_bytes()
    kept = []
    with monkeypatch.context() as patch:
        patch.setattr(cli, "write_files", lambda journal, outputs: kept.append(journal.read_bytes()))
        main(["score", "bytes.parquet", "--csv", str(tmp_path/"s.csv")])
    (tmp_path/"s.csv.partial").write_bytes(b"".join(kept[0].splitlines(True)[:3]))
    (tmp_path/"s.csv").unlink()
    assert main(["score", "bytes.parquet", "--csv", str(tmp_path/"s.csv"), "--resume"]) == 1
    assert (tmp_path/"s.csv").read_bytes() == text
    assert len(whole) == 6

REFUSED = [(["photos", "--null"], "--null wants"), (["list.txt", "--map", "m"], "--map wants"),
           (["no.parquet"], "no such file"), (["empty.csv"], "has no column")]

@pytest.mark.parametrize("words, expected", REFUSED)
def test_a_refused_source_is_one_line(album, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(album)
    Path("empty.csv").write_text("a,b\n1,2\n")
    assert main(["score", *words]) in (1, 2)
    error = capsys.readouterr().err
    os.unlink("empty.csv")
    assert expected in error
    assert len(error.splitlines()) == 1
