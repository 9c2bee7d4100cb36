"""Everything of a release that needs no network: \
one version, complete files, wheel and sdist that install and score."""
import json, re, subprocess, sys, tarfile, tempfile, venv, zipfile
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT/"dist"
PHOTO = "skimage/data/coffee.png"
NOT_IN_SDIST = (".github", ".ci", ".gitattributes", ".gitignore")
SCORE = """
import attiqa, sys
file = attiqa.__file__
assert '/site-packages/' in file and sys.prefix in file, file
print(attiqa.score(sys.argv[1]).quality)
"""

# ---- versions

def read_text(name):
    return (ROOT/name).read_text(encoding="utf-8")

def matched(pattern, name):
    "The first group of a pattern's first match in a file."
    return re.search(pattern, read_text(name), re.M)[1]

def json_version(name):
    return json.loads(read_text(name))["version"]

def settings():
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT/"settings.ini", encoding="utf-8")
    return parser["DEFAULT"]

def versions():
    "The version, by each file that states it."
    return {"settings.ini": settings()["version"],
            "attiqa/__init__.py": matched(r'__version__ = "(.*?)"', "attiqa/__init__.py"),
            "CHANGELOG.md": matched(r"^## (\S+)", "CHANGELOG.md"),
            "CITATION.cff": matched(r"^version: (\S+)", "CITATION.cff"),
            "codemeta.json": json_version("codemeta.json"),
            ".zenodo.json": json_version(".zenodo.json")}

# ---- archives

def build():
    "Wheel and sdist in dist/."
    for old in DIST.glob("*"): old.unlink()
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, ROOT]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wheel, = DIST.glob("*.whl")
    sdist, = DIST.glob("*.tar.gz")
    return wheel, sdist

def names_in(archive):
    "Files of an archive, relative to the checkout."
    if archive.suffix == ".whl":
        return set(zipfile.ZipFile(archive).namelist())
    with tarfile.open(archive) as tar:
        return {member.name.partition("/")[2] for member in tar.getmembers()}

def tracked(*folders):
    "Files that git tracks; without folders, all."
    done = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(done.stdout.split("\n")) - {""}

def missing_files(wheel, sdist):
    "Archive to the tracked files that it lacks, ten at most; complete archives are left out."
    missing = dict(wheel=tracked("attiqa") - names_in(wheel),
                   sdist=tracked() - tracked(*NOT_IN_SDIST) - names_in(sdist))
    return {name: sorted(files)[:10] for name, files in missing.items() if files}

# ---- an installed archive

def make_environment(folder):
    "A virtual environment that borrows the packages installed here; its Python, and these packages' folder."
    venv.create(folder, with_pip=True, system_site_packages=False)
    site = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    own = next((Path(folder)/"lib").glob("python*"))/"site-packages"
    (own/"beside.pth").write_text(f"{site}\n")
    return Path(folder)/"bin"/"python", site

def install(python, archive):
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed")
    subprocess.run([python, "-m", "pip", "install", *options, archive], check=True)

def scores(archive):
    "Install an archive and score an image without a network; the image's quality."
    with tempfile.TemporaryDirectory() as folder:
        python, site = make_environment(folder)
        install(python, archive)
        done = subprocess.run([python, "-c", SCORE, site/PHOTO], cwd=folder, check=True, capture_output=True,
                              text=True)
        return float(done.stdout)

def main():
    stated = versions()
    if len(set(stated.values())) > 1: sys.exit(f"versions differ: {stated}")
    wheel, sdist = build()
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", wheel, sdist], check=True)
    if missing := missing_files(wheel, sdist): sys.exit(f"missing files: {missing}")
    found = {archive.name: scores(archive) for archive in (wheel, sdist)}
    if len(set(found.values())) > 1: sys.exit(f"scores differ: {found}")
    quality = min(found.values())
    print(f"{stated['settings.ini']}: {', '.join(found)} complete, installed, quality {quality:.4f}")

if __name__ == "__main__":
    main()
