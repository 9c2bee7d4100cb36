"Tables: text stays text, also where it looks like a number or like nothing."
import numpy as np, pandas as pd, pytest
from attiqa.core import AttiqaError, read_table, write_parquet
from attiqa.figures import published
from attiqa.generators import rank, read_comparison, write_ranking
from attiqa.images import package_photograph
from attiqa.proxies import read_annotations
from attiqa.readers import read_columns
from attiqa.score import Scorer

WORDS = ["007", "0012", "NA", "nan", "null", "None", "1e5", "True", "-", "1_000", "0x1F", "+1", " a ", "inf",
         "1,5", 'a "b"', "two\nlines", "a\r\nb", "é", "N/A", "#N/A", "2020-01-01", "<b>|"]

def test_a_table_read_back_is_the_table(tmp_path):
    ratings = [str(i) if i % 2 else "" for i in range(len(WORDS))]
    table = pd.DataFrame(dict(image=WORDS, generator=WORDS[::-1], rating=ratings))
    table.to_csv(tmp_path/"t.csv", index=False)
    write_parquet(tmp_path/"t.parquet", table)
    for name in ("t.csv", "t.parquet"):
        assert read_table(tmp_path/name).to_dict("list") == table.to_dict("list"), name
    assert read_table(tmp_path/"t.csv", ["rating"]).rating.tolist()[1::2] == list(range(1, len(WORDS), 2))

@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_prompts_and_generators_of_a_comparison_are_text(tmp_path, suffix):
    table = pd.DataFrame(dict(image=WORDS, generator=WORDS, prompt=WORDS))
    table.to_csv(tmp_path/"t.csv", index=False)
    write_parquet(tmp_path/"t.parquet", table)
    found = read_comparison(tmp_path/f"t.{suffix}")
    assert list(found.prompt) == list(found.generator) == WORDS
    assert list(found.image) == [str(tmp_path/word) for word in WORDS]

def test_a_leaderboard_keeps_generators_named_like_numbers(tmp_path):
    "Numbers with leading zeros, and words that CSV readers take for missing values."
    names, prompts = ["01", "nan", "NA"], ("007", "null", "007")
    rows = [(f"{name}/{prompt}.png", name, prompt) for name, prompt in zip(names, prompts)]
    image = package_photograph("chelsea.png").crop((60, 40, 124, 104))
    for file, name, _ in rows:
        (tmp_path/name).mkdir()
        image.save(tmp_path/file, "PNG")
    pd.DataFrame(rows, columns=["image", "generator", "prompt"]).to_csv(tmp_path/"t.csv", index=False)
    write_ranking(tmp_path/"out", *rank(read_comparison(tmp_path/"t.csv"), Scorer(), draws=20))
    assert sorted(read_table(tmp_path/"out/leaderboard.csv").generator) == sorted(names)
    assert {*pd.read_parquet(tmp_path/"out/images.parquet").prompt} == {"007", "null"}

def test_a_table_of_a_release_keeps_its_cells(tmp_path):
    (tmp_path/"t.csv").write_bytes(b'name,mos\r\n007,1\r\n"a\r\nb",NA\r\n')
    found = read_columns(tmp_path/"t.csv", dict(name="name", mos="mos"))
    assert found.name.tolist() == ["007", "a\r\nb"]
    assert found.mos.tolist() == ["1", "NA"]

def test_an_empty_cell_is_an_error(tmp_path):
    (tmp_path/"t.csv").write_text("image,generator,prompt\na.png,x,y\nb.png,,y\n")
    with pytest.raises(AttiqaError, match="row 1 has no generator"):
        read_comparison(tmp_path/"t.csv")

def test_names_of_annotated_images_are_text(tmp_path):
    (tmp_path/"t.csv").write_text("image,brightness\n007,1\n1e5,\nNA,.5\n")
    found = read_annotations(tmp_path/"t.csv")
    assert list(found.image) == [str(tmp_path/name) for name in ("007", "1e5", "NA")]
    assert np.array_equal(found.brightness, [1, np.nan, .5], equal_nan=True)

PUBLISHED = """protocol,method,train,test,train_fraction,srcc,plcc,source,note
in-domain,007,NA,0012,1,.5,,,
in-domain,1e5,nan,0012,1,,,,
"""

def test_figures_read_methods_and_datasets_as_text(tmp_path, monkeypatch):
    (tmp_path/"p.csv").write_text(PUBLISHED)
    monkeypatch.setattr("attiqa.figures.PUBLISHED_FILES", (tmp_path/"p.csv",))
    found = published("in-domain")
    rows = found[["method", "train", "test"]].to_numpy().tolist()
    assert rows == [["007", "NA", "0012"], ["1e5", "nan", "0012"]]
    assert found.srcc.isna().tolist() == [False, True]
