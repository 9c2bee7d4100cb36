"The command `score` writes through links, and leaves files whole when it is interrupted or cannot write."
import signal, subprocess
from contextlib import suppress
import pytest
from attiqa.cli import main
from score_files import COMMAND, make_album, records

@pytest.fixture
def album(tmp_path, monkeypatch):
    "Images in the current folder."
    monkeypatch.chdir(tmp_path)
    return make_album(tmp_path)

def test_a_link_is_written_through(album):
    (album/"link.csv").symlink_to("real.csv")
    assert main(["score", "a.jpg", "--csv", "link.csv"]) == 0
    assert (album/"link.csv").is_symlink()
    assert len(records((album/"real.csv").read_text())) == 1

def test_interrupted(album):
    "One line, exit code 130, and the file of an earlier run as it was."
    (album/"old.json").write_text("old")
    with subprocess.Popen([COMMAND, "score", *["a.jpg"]*5000, "--csv", "-", "--json", "old.json"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(3): process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert len(said.splitlines()) == 2 and "--resume" in said and said.endswith("attiqa: interrupted\n")
    assert (album/"old.json").read_text() == "old" and not list(album.glob(".*"))

def test_a_reader_that_stops_early(album):
    with subprocess.Popen([COMMAND, "score", *["a.jpg"]*5000, "--csv", "-"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        process.wait(timeout=300)
    assert said == b"" and process.returncode

def test_a_full_disk_is_one_line(album):
    with suppress(FileNotFoundError), open("/dev/full", "wb") as full:
        done = subprocess.run([COMMAND, "score", "a.jpg", "--csv", "-"], stdout=full, stderr=subprocess.PIPE,
                              text=True)
        assert done.returncode == 1
        assert done.stderr.splitlines() == ["attiqa: output: No space left on device"]
