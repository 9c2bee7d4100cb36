"Have BIQ2021 on disk, checked and indexed: python data_scripts/biq2021.py FOLDER (--help says more)."
import sys
from attiqa.download import run_script

if __name__ == "__main__": sys.exit(run_script("biq2021"))
