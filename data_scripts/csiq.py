"Have CSIQ on disk, checked and indexed: python data_scripts/csiq.py FOLDER (--help says more)."
import sys
from attiqa.download import run_script

if __name__ == "__main__": sys.exit(run_script("csiq"))
