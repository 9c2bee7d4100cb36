"The same pictures from every kind of source: the same scores, under the source's keys."
import csv, io, os, subprocess, sys, tarfile
from pathlib import Path
import numpy as np, pandas as pd, pyarrow as pa, pyarrow.parquet, pytest
from attiqa.cli import main
from attiqa.core import AttiqaError
from attiqa.images import open_source, package_photograph
from attiqa.score import RECORD_FIELDS

PHOTOS = [package_photograph("chelsea.png").crop((10*i, 5*i, 10*i + 120, 5*i + 90)) for i in range(5)]

@pytest.fixture(scope="module")
def album(tmp_path_factory):
    "Five pictures, in every form that a source may have; one is broken."
    import datasets
    folder = tmp_path_factory.mktemp("album")
    (folder/"photos").mkdir()
    for i, photo in enumerate(PHOTOS): photo.save(folder/f"photos/{i}.png")
    (folder/"photos/5.png").write_bytes((folder/"photos/0.png").read_bytes()[:99])
    files = sorted((folder/"photos").iterdir())
    names, data = [f"photos/{file.name}" for file in files], [file.read_bytes() for file in files]
    (folder/"list.txt").write_text("\n".join(names))
    pd.DataFrame(dict(path=names, caption="a cat")).to_csv(folder/"paths.csv", index=False)
    pd.DataFrame(dict(path=names)).to_parquet(folder/"paths.parquet")
    pyarrow.parquet.write_table(pa.table(dict(key=names, image=data)), folder/"bytes.parquet", row_group_size=4)
    with tarfile.open(folder/"shard.tar", "w") as tar:
        for file in files: tar.add(file, file.name)
    table = pa.table(dict(image=pa.array([dict(bytes=d, path=n) for n, d in zip(names, data)])))
    datasets.Dataset(table).save_to_disk(folder/"saved")
    datasets.DatasetDict(train=datasets.Dataset(table)).save_to_disk(folder/"splits")
    return folder

def scored(words, capsys):
    assert main(["score", *words, "--csv", "-"]) == 1
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))

SOURCES = ("list.txt", "paths.csv", "paths.parquet", "bytes.parquet", "*.tar", "shard.tar", "saved", "splits", "saved/*.arrow", "b*.parquet")

@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_scores(album, monkeypatch, capsys, source):
    monkeypatch.chdir(album)
    expected, found = scored(["photos"], capsys), scored([source], capsys)
    assert len(found) == 6 and all(tuple(row) == RECORD_FIELDS for row in found)
    assert [list(row.values())[1:] for row in found] == [list(row.values())[1:] for row in expected]
    assert found[5]["error"] and found[5]["quality"] == ""
    ends = [row["path"].rsplit("/")[-1].removesuffix(".png") for row in found]
    assert ends == [str(i) for i in range(6)]

@pytest.mark.parametrize("source", ["bytes.parquet", "saved", "splits"])
def test_the_stages_read_it_too(album, source):
    images = open_source(str(album/source))
    streamed = {key: image for shard in images.shards(2) for unit in shard.units for key, image in images.members(unit)}
    assert list(streamed) == list(images.keys) and isinstance(list(streamed.values())[5], AttiqaError)
    for (key, image), photo in zip(list(streamed.items())[:5], PHOTOS):
        assert np.array_equal(image, photo) and np.array_equal(images.load(key), photo)

@pytest.mark.parametrize("words, end", [(["-"], "\n"), (["--null", "-"], "\0")])
def test_paths_from_standard_input(album, words, end):
    text = end.join(f"photos/{i}.png" for i in range(6)) + end
    code = "import sys; from attiqa.cli import main; sys.exit(main(sys.argv[1:]))"
    run = lambda words, text="": subprocess.run([sys.executable, "-c", code, "score", *words, "--csv", "-"], cwd=album, input=text.encode(), capture_output=True, timeout=300)
    assert run(words, text).stdout == run(["photos"]).stdout

def test_a_source_resumes(album, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(album)
    whole = scored(["bytes.parquet"], capsys)
    assert main(["score", "bytes.parquet", "--csv", str(tmp_path/"s.csv")]) == 1
    text = (tmp_path/"s.csv").read_bytes()
    from attiqa import cli
    kept = []
    monkeypatch.setattr(cli, "write_files", lambda journal, outputs: kept.append(journal.read_bytes()))
    main(["score", "bytes.parquet", "--csv", str(tmp_path/"s.csv")])
    monkeypatch.undo(); monkeypatch.chdir(album)
    (tmp_path/"s.csv.partial").write_bytes(b"".join(kept[0].splitlines(True)[:3]))
    (tmp_path/"s.csv").unlink()
    assert main(["score", "bytes.parquet", "--csv", str(tmp_path/"s.csv"), "--resume"]) == 1
    assert (tmp_path/"s.csv").read_bytes() == text and len(whole) == 6

@pytest.mark.parametrize("words, expected", [(["photos", "--null"], "--null wants"), (["list.txt", "--map", "m"], "--map wants"), (["no.parquet"], "no such file"), (["empty.csv"], "has no column")])
def test_what_does_not_fit_is_one_line(album, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(album)
    Path("empty.csv").write_text("a,b\n1,2\n")
    assert main(["score", *words]) in (1, 2)
    said = capsys.readouterr().err
    os.unlink("empty.csv")
    assert expected in said and len(said.splitlines()) == 1
