"The whole run by one command, at test size: what is skipped, what resumes, and what is compared."
import os, shutil, signal, subprocess, sys, time
import pytest
from attiqa.cli import main
from attiqa.core import AttiqaError, read_json, write_json
from attiqa.reproduce import REFERENCE, differences, file_hashes, read_reference, reproduce, verify
from attiqa.runs import MAIN_STAGES
from conftest import ROOT

WRITES = tuple(pattern for stage in MAIN_STAGES for pattern in stage.writes)

@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "A finished run."
    run = tmp_path_factory.mktemp("whole")/"run"
    assert {state for _, state in reproduce(str(run))} == {"new"}
    return run

def times(run):
    "Path to time of change."
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}

def test_a_second_run_changes_nothing(whole):
    before = times(whole)
    assert [state for _, state in reproduce(str(whole))] == ["up to date"]*4
    assert times(whole) == before

def test_a_parameter_of_03_leaves_02_up_to_date(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path/"run")
    done = reproduce(str(run), last="03", assignments=["03.variants=2"])
    assert done == [("02_prompts", "up to date"), ("03_pseudolabels", "parameters changed")]
    states = [state for _, state in reproduce(str(run), assignments=["03.variants=2"], dry_run=True)]
    assert states == ["up to date"]*2 + ["inputs changed", "follows a changed stage"]
    assert list((run/"superseded").rglob("part-*.parquet"))

def forget_training(run):
    "Remove what stages 04 and 05 left."
    for name in file_hashes(run, MAIN_STAGES[2].writes + MAIN_STAGES[2].logs + MAIN_STAGES[3].writes):
        (run/name).unlink()
    for stage in ("04_pretrain", "05_finetune"):
        (run/"stages"/f"{stage}.json").unlink()

def test_a_run_killed_during_04_resumes(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path/"run")
    forget_training(run)
    code = "import sys; from attiqa.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "reproduce", str(run), "-p", "04.checkpoint=1"]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (run/"pretraining"/"state.safetensors").exists() and process.poll() is None:
        time.sleep(.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run/"pretrained.safetensors").exists()
    assert dict(reproduce(str(run), assignments=["04.checkpoint=1"]))["04_pretrain"] == "interrupted"
    assert file_hashes(run, WRITES) == file_hashes(whole, WRITES)

def test_verify_accepts_a_finished_run(whole):
    assert verify(whole) == []
    assert main(["verify", str(whole)]) == 0

def test_verify_finds_changed_and_missing_files(whole, tmp_path, capsys):
    run = shutil.copytree(whole, tmp_path/"run")
    (run/"prompts.json").write_text("{}")
    (run/"pretrained.json").unlink()
    assert main(["verify", str(run)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "02_prompts: prompts.json differs from what the stage wrote",
        "03_pseudolabels: prompts.json differs from what the stage read",
        "04_pretrain: pretrained.json is missing"]

def test_verify_needs_a_manifest(tmp_path):
    with pytest.raises(AttiqaError, match="no manifest"):
        verify(tmp_path)

def test_a_finished_run_is_compared_with_another(whole, tmp_path, capsys):
    "A finished run is compared at once, and one altered number is found."
    reference = read_reference(whole)
    write_json(tmp_path/"same.json", reference)
    assert main(["reproduce", str(whole), "--like", str(tmp_path/"same.json")]) == 0
    results = reference["04_pretrain"]["results"]
    name = next(key for key, value in results.items() if isinstance(value, float))
    results[name] += .2
    write_json(tmp_path/"other.json", reference)
    capsys.readouterr()
    assert main(["reproduce", str(whole), "--like", str(tmp_path/"other.json")]) == 1
    assert f"04_pretrain: {name} is" in capsys.readouterr().out

def test_the_shipped_reference_has_every_stage():
    reference = read_json(REFERENCE)
    assert list(reference) == [stage.name for stage in MAIN_STAGES]
    assert all(entry["results"] for entry in reference.values())
    assert differences(reference, reference) == []

def test_a_manifest_is_complete(whole):
    names = {"parameters", "inputs", "outputs", "code", "commit", "versions", "hardware",
             "seconds", "peak_memory_MB"}
    for stage in MAIN_STAGES:
        entry = read_json(whole/"stages"/f"{stage.name}.json")
        assert names <= set(entry)
        assert entry["seconds"] > 0
        assert entry["peak_memory_MB"] > 50
        assert "seed" in entry["parameters"]

@pytest.mark.parametrize("words, message", [
    (["--from", "09"], "no stage '09'"),
    (["-p", "variant=2"], "did you mean 'variants'?"),
    (["-p", "x"], "write NAME=VALUE"),
    (["--preset", "nice"], "no preset 'nice'"),
    (["--like", "nowhere"], "no such file")])
def test_wrong_words_are_one_line(tmp_path, capsys, words, message):
    assert main(["reproduce", str(tmp_path/"run"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path/"run").exists()
