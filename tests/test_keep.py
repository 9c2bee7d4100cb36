"Rows of scores keep columns of their source, for every kind of source and output, resumed or not."
import io, json, tarfile
import pandas as pd, pyarrow as pa, pyarrow.parquet, pytest
from attiqa import cli
from attiqa.cli import main
from attiqa.images import package_photograph

CAPTIONS, MARKS = ["a cat, asleep", "ein \"Kätzchen\"", "", "four"], [3, 1, 4, 1]

@pytest.fixture(scope="module")
def album(tmp_path_factory):
    "Four images with a caption and a mark each, in every kind of source that has columns."
    folder, photo = tmp_path_factory.mktemp("album"), package_photograph("chelsea.png")
    for i in range(4): photo.crop((10*i, 5*i, 10*i + 80, 5*i + 70)).save(folder/f"{i}.png")
    names = [f"{i}.png" for i in range(4)]
    write_tables(folder, names)
    write_image_tables(folder, names, [(folder/name).read_bytes() for name in names])
    write_tar(folder, names)
    return folder

def write_tables(folder, names):
    table = pd.DataFrame(dict(path=names, caption=CAPTIONS, mark=MARKS))
    table.to_csv(folder/"t.csv", index=False)
    table.to_parquet(folder/"t.parquet")

def write_image_tables(folder, names, data):
    import datasets
    columns = dict(caption=CAPTIONS, mark=MARKS)
    table = pa.table(dict(key=names, image=data, **columns))
    pyarrow.parquet.write_table(table, folder/"b.parquet", row_group_size=3)
    images = pa.array([dict(bytes=content, path=name) for name, content in zip(names, data)])
    datasets.Dataset(pa.table(dict(image=images, **columns))).save_to_disk(folder/"saved")

def write_tar(folder, names):
    "Each image with its JSON, before the image or behind it."
    with tarfile.open(folder/"s.tar", "w") as tar:
        for i, name in enumerate(names):
            fields = json.dumps(dict(caption=CAPTIONS[i], mark=MARKS[i])).encode()
            members = [(name, (folder/name).read_bytes()), (f"{i}.json", fields)]
            for member, content in members if i % 2 else reversed(members):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))

SOURCES = {"t.csv": str, "t.parquet": int, "b.parquet": int, "saved": int, "s.tar": str} # with a mark's type

@pytest.mark.parametrize("source", SOURCES)
def test_every_output_keeps_the_columns(album, tmp_path, monkeypatch, source):
    monkeypatch.chdir(album)
    files = {name: str(tmp_path/f"s.{name}") for name in ("csv", "json", "parquet")}
    words = [word for name, file in files.items() for word in (f"--{name}", file)]
    assert main(["score", source, "--no-findings", "--keep", "caption,mark", *words]) == 0
    marks = [*map(SOURCES[source], MARKS)]
    found = json.loads((tmp_path/"s.json").read_text())
    assert [(row["caption"], row["mark"]) for row in found] == [*zip(CAPTIONS, marks)]
    table = pd.read_parquet(tmp_path/"s.parquet")
    assert table.caption.tolist() == CAPTIONS and table.mark.tolist() == marks
    table = pd.read_csv(tmp_path/"s.csv", keep_default_na=False)
    assert (table.caption.tolist(), table.mark.tolist()) == (CAPTIONS, MARKS)
    assert list(table.columns)[-2:] == ["caption", "mark"]

@pytest.mark.parametrize("source", SOURCES)
def test_shards_keep_the_columns(album, tmp_path, monkeypatch, source):
    monkeypatch.chdir(album)
    keep = lambda columns: main(["score", source, "--keep", columns, "--out", str(tmp_path/"out"),
                                 "--shard", "3", "--workers", "0"])
    assert keep("caption,mark") == 0
    table = pd.concat(map(pd.read_parquet, sorted((tmp_path/"out/scores").glob("part-*"))))
    assert table.caption.tolist() == CAPTIONS and table.mark.tolist() == [*map(SOURCES[source], MARKS)]
    assert keep("caption") == 2 # another job

WRONG = [*((source, "url", "has no column url to keep") for source in SOURCES),
         ("0.png", "caption", "no columns to keep"), (".", "caption", "no columns to keep"),
         ("t.csv", "quality", "a column of that name"), ("t.csv", ",", "wants names")]

@pytest.mark.parametrize("more", [["--csv", "no.csv"], ["--out", "no"]])
@pytest.mark.parametrize("source, keep, expected", WRONG)
def test_a_missing_column_is_reported_before_an_image_is_scored(
        album, monkeypatch, capsys, source, keep, expected, more):
    monkeypatch.chdir(album)
    monkeypatch.setattr("attiqa.score.Scorer.try_score", lambda *_: pytest.fail("an image was scored"))
    assert main(["score", source, "--keep", keep, *more]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert expected in error or source == "0.png"
    assert not any((album/name).exists() for name in ("no.csv", "no.csv.partial", "no"))

def test_resumes_with_the_columns(album, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(album)
    file, kept = tmp_path/"s.csv", []
    words = ["score", "s.tar", "--no-findings", "--keep", "caption", "--csv", str(file)]
    assert main(words) == 0
    whole = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(cli, "write_files", lambda journal, outputs: kept.append(journal.read_bytes()))
        main(words)
    (tmp_path/"s.csv.partial").write_bytes(b"".join(kept[0].splitlines(True)[:3]))
    capsys.readouterr()
    assert main([word.replace("caption", "mark") for word in words] + ["--resume"]) == 2
    assert "--keep" in capsys.readouterr().err
    file.unlink()
    assert main([*words, "--resume"]) == 0
    assert file.read_bytes() == whole
