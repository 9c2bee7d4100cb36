"Tables and figures, and the stages of benchmark and figures by papermill."
import json
import nbformat, numpy as np, pandas as pd, pytest
from attiqa.figures import OKABE_ITO, PAPER, CaptionedTable, in_domain_table, published
from attiqa.figures import read_results, save_items
from stage_cells import run_stage_cells

PROTOCOLS = ("in-domain", "cross-dataset", "data-efficiency", "linear-probe", "opinion-unaware")

# Machado, Oliveira, Fernandes 2009, severity 1, in linear RGB
PROTANOPIA = [[.152286, 1.052583, -.204868], [.114503, .786281, .099216], [-.003882, -.048116, 1.051998]]
DEUTERANOPIA = [[.367322, .860646, -.227968], [.280085, .672501, .047413], [-.011820, .042940, .968881]]

def seen_by(colours, matrix):
    "Colours in CIELAB, as eyes with this matrix see them."
    from matplotlib.colors import to_rgb
    from skimage.color import rgb2lab
    rgb = np.array([to_rgb(c) for c in colours])
    linear = np.where(rgb <= .04045, rgb/12.92, ((rgb + .055)/1.055)**2.4) @ np.array(matrix).T
    back = np.where(linear <= .0031308, linear*12.92, 1.055*linear.clip(.0031308)**(1/2.4) - .055).clip(0, 1)
    return rgb2lab(back[None])[0]

@pytest.mark.parametrize("matrix", [PROTANOPIA, DEUTERANOPIA], ids=["protanopia", "deuteranopia"])
def test_colours_differ_for_colour_blind_eyes(matrix):
    lab = seen_by(OKABE_ITO, matrix)
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e3*np.eye(len(lab))
    assert distance.min() > 15

@pytest.mark.parametrize("matrix", [PROTANOPIA, DEUTERANOPIA], ids=["protanopia", "deuteranopia"])
def test_an_olive_and_an_orange_are_confused(matrix):
    gap = lambda eyes: np.linalg.norm(np.subtract(*seen_by(("#9a7d00", "#d94a00"), eyes)))
    assert gap(matrix) < gap(np.eye(3))/2

def test_published_results_have_a_source():
    for protocol in PROTOCOLS:
        table = published(protocol)
        others = table[table.method != PAPER]
        assert len(others)
        assert others.source.notna().all()
        assert others.srcc.between(-1, 1).all()

def test_the_papers_rows_are_empty():
    rows = published("in-domain").query("method == @PAPER")
    assert rows[["srcc", "plcc"]].isna().all(axis=None)
    assert PAPER in set(published("cross-dataset").method)

def test_published_results_are_those_that_were_collected(shared):
    here = pd.concat([published(p) for p in PROTOCOLS])
    theirs = pd.read_csv(shared/"published_results.csv")
    assert len(theirs) == (here.method != PAPER).sum()
    assert theirs.srcc.sum() == pytest.approx(here.srcc.sum())

def test_measured_results_are_whole():
    table = read_results("measured").protocols
    assert table.srcc.between(-1, 1).all()
    probes = table[(table.protocol == "in-domain") & ~table.part.eq("whole network")]
    assert {"CLIVE", "BIQ2021"} <= set(probes.test)
    assert (probes.groupby(["model", "part", "train", "fraction"]).split.nunique() == 10).all()
    assert probes.fraction.nunique() == 6

def test_measured_results_say_what_they_are():
    results = read_results("measured")
    assert "re-encoded" in results.about
    assert "CLIVE" in results.about
    assert "re-encoded" in in_domain_table(results).caption

@pytest.fixture
def toy_table():
    rows = [("published", "x & y"), ("measured here", "100 %")]
    index = pd.MultiIndex.from_tuples(rows, names=["", "method"])
    frame = pd.DataFrame({("A_1", "SRCC"): ["0.5 [0.4, 0.6]", "–"]}, index=index)
    return CaptionedTable("table_toy", "50 % of it", frame)

def test_tables_are_markdown_and_latex(toy_table):
    assert "| x & y" in toy_table.markdown()
    latex = toy_table.latex()
    assert all(part in latex for part in (r"x \& y", r"A\_1", r"\begin{tabular}"))

def test_tables_are_saved(toy_table, tmp_path):
    save_items(tmp_path, [toy_table])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["captions.json", "table_toy.md", "table_toy.tex"]

@pytest.fixture(scope="module")
def stages(papermill, tmp_path_factory):
    "The run, and the executed notebooks of both stages."
    run = tmp_path_factory.mktemp("stages")/"run"
    done = [papermill(stage, run=run) for stage in ("06_benchmark", "07_figures")]
    for one in done: assert one.returncode == 0, one.stderr[-3000:]
    return run, done

def test_benchmark_leaves_its_files(stages):
    run, _ = stages
    table = pd.read_parquet(run/"results"/"benchmark.parquet")
    assert {"in-domain", "opinion-unaware"} <= set(table.protocol)
    assert {"attiqa-mini-unaware", "untrained resnet10t", "BRISQUE"} <= set(table.model)
    assert "whole network" in set(table.part)
    for name in ("results/label_free", "results/selectivity", "splits/surrogate"):
        assert (run/f"{name}.parquet").is_file()
    assert {"benchmark", "figures"} <= set(json.loads((run/"run.json").read_text()))

def stems(folder, ending): return {p.stem for p in folder.glob(f"*.{ending}")}

@pytest.mark.parametrize("which", ["measured", "run"])
def test_figures_leave_their_files(stages, which):
    folder = stages[0]/"figures"/which
    pictures, tables = stems(folder, "pdf"), stems(folder, "md")
    assert pictures == stems(folder, "png")
    assert len(pictures) >= (7 if which == "measured" else 4)
    assert tables == stems(folder, "tex")
    assert set(json.loads((folder/"captions.json").read_text())) == pictures | tables

def test_figures_are_vectors(stages):
    pdf = (stages[0]/"figures"/"measured"/"figure_data_efficiency.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/Subtype /Image" not in pdf
    assert b"/Type /Font" in pdf

def test_figures_shows_tables_and_pictures(stages):
    cells = nbformat.read(stages[1][1].notebook, 4).cells
    outputs = [o.data for c in cells for o in c.get("outputs", []) if "data" in o]
    assert sum("image/png" in data for data in outputs) >= 4
    assert any(PAPER in data.get("text/markdown", "") for data in outputs)

def test_benchmark_repeats_byte_by_byte(stages, tmp_path):
    run_stage_cells("06_benchmark", run=tmp_path/"run")
    for name in ("benchmark", "label_free", "selectivity"):
        first, second = (run/"results"/f"{name}.parquet" for run in (stages[0], tmp_path/"run"))
        assert first.read_bytes() == second.read_bytes()
