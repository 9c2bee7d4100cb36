"Have CID2013 on disk, checked and indexed: python data_scripts/cid2013.py FOLDER (--help says more)."
import sys
from attiqa.download import main

if __name__ == "__main__": sys.exit(main("cid2013"))
