"Rows of scores keep columns of their source: every kind of source, every output, resumed or not."
import io, json, tarfile
import pandas as pd, pyarrow as pa, pyarrow.parquet, pytest
from attiqa import cli
from attiqa.cli import main
from attiqa.images import package_photograph

CAPTIONS, MARKS = ["a cat, asleep", "ein \"Kätzchen\"", "", "four"], [3, 1, 4, 1]

@pytest.fixture(scope="module")
def album(tmp_path_factory):
    "Four images with a caption and a mark each, in every kind of source that has columns."
    import datasets
    folder = tmp_path_factory.mktemp("album")
    for i in range(4): package_photograph("chelsea.png").crop((10*i, 5*i, 10*i + 80, 5*i + 70)).save(folder/f"{i}.png")
    names = [f"{i}.png" for i in range(4)]
    data = [(folder/name).read_bytes() for name in names]
    columns = dict(caption=CAPTIONS, mark=MARKS)
    pd.DataFrame(dict(path=names, **columns)).to_csv(folder/"t.csv", index=False)
    pd.DataFrame(dict(path=names, **columns)).to_parquet(folder/"t.parquet")
    pyarrow.parquet.write_table(pa.table(dict(key=names, image=data, **columns)), folder/"b.parquet", row_group_size=3)
    datasets.Dataset(pa.table(dict(image=pa.array([dict(bytes=d, path=n) for n, d in zip(names, data)]), **columns))).save_to_disk(folder/"saved")
    with tarfile.open(folder/"s.tar", "w") as tar:
        for i, (name, image) in enumerate(zip(names, data)):
            files = {name: image, f"{i}.json": json.dumps(dict(caption=CAPTIONS[i], mark=MARKS[i])).encode()}
            for member, content in list(files.items())[::1 if i % 2 else -1]: # before the image, or behind it
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return folder

SOURCES = {"t.csv": str, "t.parquet": int, "b.parquet": int, "saved": int, "s.tar": str} # and what a mark is there

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
    assert table.caption.tolist() == CAPTIONS and table.mark.tolist() == MARKS and list(table.columns)[-2:] == ["caption", "mark"]

@pytest.mark.parametrize("source", SOURCES)
def test_shards_keep_the_columns(album, tmp_path, monkeypatch, source):
    monkeypatch.chdir(album)
    assert main(["score", source, "--keep", "caption,mark", "--out", str(tmp_path/"out"), "--shard", "3", "--workers", "0"]) == 0
    table = pd.concat(map(pd.read_parquet, sorted((tmp_path/"out/scores").glob("part-*"))))
    assert table.caption.tolist() == CAPTIONS and table.mark.tolist() == [*map(SOURCES[source], MARKS)]
    assert main(["score", source, "--keep", "caption", "--out", str(tmp_path/"out"), "--shard", "3", "--workers", "0"]) == 2 # another job

WRONG = [(source, "url", "has no column url to keep") for source in SOURCES] + [("0.png", "caption", "no columns to keep"), (".", "caption", "no columns to keep"),
         ("t.csv", "quality", "a column of that name"), ("t.csv", ",", "wants names")]

@pytest.mark.parametrize("more", [["--csv", "no.csv"], ["--out", "no"]])
@pytest.mark.parametrize("source, keep, expected", WRONG)
def test_a_missing_column_is_one_line_before_anything_is_scored(album, monkeypatch, capsys, source, keep, expected, more):
    monkeypatch.chdir(album)
    monkeypatch.setattr("attiqa.score.Scorer.try_score", lambda *_: pytest.fail("an image was scored"))
    assert main(["score", source, "--keep", keep, *more]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and (expected in said or source == "0.png")
    assert not (album/"no.csv").exists() and not (album/"no.csv.partial").exists() and not (album/"no").exists()

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
    assert main([word.replace("caption", "mark") for word in words] + ["--resume"]) == 2 and "--keep" in capsys.readouterr().err
    file.unlink()
    assert main([*words, "--resume"]) == 0 and file.read_bytes() == whole
