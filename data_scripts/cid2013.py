"Have CID2013 on disk, checked and indexed: python data_scripts/cid2013.py FOLDER (--help says more)."
import sys
from attiqa.download import run_script

if __name__ == "__main__": sys.exit(run_script("cid2013"))
