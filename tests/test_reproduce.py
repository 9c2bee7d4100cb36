"The whole run by one command, at test size: what is skipped, what is resumed, what is compared."
import os, shutil, signal, subprocess, sys, time
import pytest
from attiqa.cli import main
from attiqa.core import AttiqaError, read_json, write_json
from attiqa.reproduce import REFERENCE, STAGES, differences, files, reference_of, reproduce, verify
from conftest import ROOT

WRITES = tuple(pattern for stage in STAGES for pattern in stage.writes)

@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole")/"run"
    assert {how for _, how in reproduce(str(run))} == {"new"}
    return run

def standing(*words): return [how for _, how in reproduce(*map(str, words), dry=True)]

def test_the_second_time_nothing_runs(whole):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()}
    assert [how for _, how in reproduce(str(whole))] == ["up to date"]*4
    assert {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.is_file()} == before

def test_a_parameter_of_03_leaves_02_as_it_is(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path/"run")
    done = reproduce(str(run), last="03", words=["03.variants=2"])
    assert done == [("02_prompts", "up to date"), ("03_pseudolabels", "parameters changed")]
    assert [how for _, how in reproduce(str(run), words=["03.variants=2"], dry=True)] == ["up to date"]*2 + ["inputs changed", "after what changes before it"]
    assert list((run/"superseded").rglob("part-*.parquet"))

def test_killed_in_the_middle_of_04(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path/"run")
    for name in files(run, STAGES[2].writes + STAGES[2].logs + STAGES[3].writes): (run/name).unlink()
    for stage in ("04_pretrain", "05_finetune"): (run/"stages"/f"{stage}.json").unlink()
    command = [sys.executable, "-c", "import sys; from attiqa.cli import main; sys.exit(main())", "reproduce", str(run), "-p", "04.checkpoint=1"]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (run/"pretraining"/"state.safetensors").exists() and process.poll() is None: time.sleep(.01)
    os.killpg(process.pid, signal.SIGKILL); process.wait()
    assert not (run/"pretrained.safetensors").exists()
    assert dict(reproduce(str(run), words=["04.checkpoint=1"]))["04_pretrain"] == "interrupted"
    assert files(run, WRITES) == files(whole, WRITES)

def test_verify(whole, tmp_path, capsys):
    assert verify(whole) == [] and main(["verify", str(whole)]) == 0
    run = shutil.copytree(whole, tmp_path/"run")
    (run/"prompts.json").write_text("{}"); (run/"pretrained.json").unlink()
    assert main(["verify", str(run)]) == 1
    assert capsys.readouterr().out.splitlines() == ["02_prompts: prompts.json has other bytes than those it wrote",
        "03_pseudolabels: prompts.json has other bytes than those it read", "04_pretrain: pretrained.json is missing"]
    with pytest.raises(AttiqaError, match="no manifest"): verify(tmp_path)

def test_like_another_run(whole, tmp_path, capsys):
    "A finished run is compared at once; one altered number is found."
    reference = reference_of(whole)
    write_json(tmp_path/"same.json", reference)
    assert main(["reproduce", str(whole), "--like", str(tmp_path/"same.json")]) == 0
    results = reference["04_pretrain"]["results"]
    name = next(k for k, v in results.items() if isinstance(v, float))
    results[name] += .2
    write_json(tmp_path/"other.json", reference)
    capsys.readouterr()
    assert main(["reproduce", str(whole), "--like", str(tmp_path/"other.json")]) == 1
    assert f"04_pretrain: {name} is" in capsys.readouterr().out

def test_the_shipped_reference_is_of_the_stages():
    reference = read_json(REFERENCE)
    assert list(reference) == [stage.name for stage in STAGES] and all(entry["results"] for entry in reference.values())
    assert differences(reference, reference) == []

def test_a_manifest_says_what_and_where(whole):
    for stage in STAGES:
        entry = read_json(whole/"stages"/f"{stage.name}.json")
        assert {"parameters", "inputs", "outputs", "code", "commit", "versions", "hardware", "seconds", "peak_memory_MB"} <= set(entry)
        assert entry["seconds"] > 0 and entry["peak_memory_MB"] > 50 and "seed" in entry["parameters"]

@pytest.mark.parametrize("words, said", [(["--from", "09"], "no stage '09'"), (["-p", "variant=2"], "did you mean 'variants'?"), (["-p", "x"], "write NAME=VALUE"),
                                         (["--preset", "nice"], "no preset 'nice'"), (["--like", "nowhere"], "no such file")])
def test_wrong_words(tmp_path, capsys, words, said):
    assert main(["reproduce", str(tmp_path/"run"), *words]) == 2
    assert said in (err := capsys.readouterr().err) and err.count("\n") == 1 and not (tmp_path/"run").exists()
