"Have CSIQ on disk, checked and indexed: python data_scripts/csiq.py FOLDER (--help says more)."
import sys
from attiqa.download import main

if __name__ == "__main__": sys.exit(main("csiq"))
