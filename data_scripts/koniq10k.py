"Have KonIQ-10k on disk, checked and indexed: python data_scripts/koniq10k.py FOLDER (--help says more)."
import sys
from attiqa.download import main

if __name__ == "__main__": sys.exit(main("koniq10k"))
