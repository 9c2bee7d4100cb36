"Everything about the package is in settings.ini, where nbdev reads it too."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

root = Path(__file__).parent
parser = ConfigParser(delimiters=["="])
parser.read(root/"settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]

name = cfg["lib_name"]
extras = {key.removesuffix("_requirements"): cfg[key].split() for key in cfg if key.endswith("_requirements")}

setup(
    name=name,
    version=cfg["version"],
    description=cfg["description"],
    keywords=cfg["keywords"],
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    license="Apache-2.0",
    long_description=(root/"README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points=dict(console_scripts=cfg["console_scripts"].split(), nbdev=[f"{name}={name}._modidx:d"]),
    packages=find_packages(include=["attiqa", "attiqa.*"]),
    package_data=dict(attiqa=["*.json", "data/**/*", "weights/**/*"]),
    zip_safe=False,
)
