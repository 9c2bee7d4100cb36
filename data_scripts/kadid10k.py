"Have KADID-10k on disk, checked and indexed: python data_scripts/kadid10k.py FOLDER (--help says more)."
import sys
from attiqa.download import run_script

if __name__ == "__main__": sys.exit(run_script("kadid10k"))
