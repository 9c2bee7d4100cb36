"Miniature releases in the official layouts: for each dataset its tables, its images, and what a reader must make of them."
import csv
from dataclasses import dataclass, field
from pathlib import Path
import numpy as np
from openpyxl import Workbook
from PIL import Image
from scipy.io import savemat

@dataclass
class Mini:
    "A small release, not yet written."
    images: list # relative paths, in the order of the table
    tables: dict # relative path to rows, or to (sheet, rows), or to MATLAB variables; the first has the scores
    mos: list # as the reader must give them
    column: int = -1 # of the score in the first table
    expected: dict = field(default_factory=dict) # other columns of the tidy table, in the same order
    extra: list = field(default_factory=list) # images that no row names

    def write(self, root):
        for number, name in enumerate([*self.images, *self.extra]): write_image(root/name, number)
        for name, rows in self.tables.items(): write_table(root/name, rows)
        return root

    @property
    def table(self): return next(iter(self.tables))

def write_image(path, number): # pixels of its own, so that no two files are equal
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)).save(path)

def write_table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mat": savemat(path, rows)
    elif path.suffix == ".xlsx":
        sheet, rows = rows if isinstance(rows, tuple) else ("Sheet", rows)
        book = Workbook(); book.active.title = "About"
        page = book.create_sheet(sheet, 0 if sheet == "Sheet" else None)
        for row in rows: page.append(row)
        book.save(path)
    elif path.suffix == ".csv":
        with open(path, "w", newline="", encoding="utf-8") as file: csv.writer(file).writerows(rows)
    else: path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))

def cells(words): # MATLAB's cell array of strings
    found = np.empty((1, len(words)), object)
    found[0, :] = [np.array([word]) for word in words]
    return found

N = 8
SCORES = [round(1 + .375*i, 4) for i in range(N)] # within the scale of every dataset that rates from 0 or 1 to 5 or more

def clive():
    names = [f"t{i}.bmp" for i in range(1, 8)] + ["3.bmp", "4.bmp", "1000.JPG", "20.jpg", "21.bmp", "22.bmp", "23.bmp", "24.JPG"]
    mos = np.arange(15)*6.5
    tables = {f"ChallengeDB_release/Data/All{what}_release.mat": {f"All{what}_release": values}
              for what, values in dict(MOS=mos[None], Images=cells(names).T, StdDev=mos[None]/10).items()}
    return Mini([f"ChallengeDB_release/Images/{n}" for n in names[7:]], tables, list(mos[7:]), expected=dict(std=list(mos[7:]/10)),
                extra=[f"ChallengeDB_release/Images/trainingImages/{n}" for n in names[:7]])

def live():
    kinds = dict(jp2k=227, jpeg=233, wn=174, gblur=174, fastfading=174)
    names = [f"{kind}/img{i + 1}.bmp" for kind, count in kinds.items() for i in range(count)]
    originals = np.zeros(982); originals[np.arange(203)*4] = 1
    dmos, references = np.linspace(-2, 110, 982), [f"ref{i % 29}.bmp" for i in range(982)]
    kept = np.flatnonzero(originals == 0)
    tables = {"databaserelease2/dmos_realigned.mat": dict(dmos_new=dmos[None], orgs=originals[None]),
              "databaserelease2/refnames_all.mat": dict(refnames_all=cells(references))}
    return Mini([f"databaserelease2/{names[i]}" for i in kept], tables, list(100 - dmos[kept]), expected=dict(reference=[references[i] for i in kept]))

def koniq10k():
    names, zscores, sets = [f"{1000 + 7*i}.jpg" for i in range(N)], [20 + 9.5*i for i in range(N)], ["training"]*5 + ["validation", "test", "test"]
    scores = [[n, 0, 5, 60, 30, 5, 100, s, .5 + .01*i, z] for i, (n, s, z) in enumerate(zip(names, SCORES, zscores))]
    four = ["brightness", "contrast", "colorfulness", "sharpness"]
    tables = {"koniq10k_scores_and_distributions.csv": [["image_name", *(f"c{i}" for i in range(1, 6)), "c_total", "MOS", "SD", "MOS_zscore"], *scores],
              "koniq10k_distributions_sets.csv": [["image_name", "MOS", "SD", "set"], *([n, z, .5, s] for n, z, s in zip(names, zscores, sets))],
              "koniq10k_indicators.csv": [["image_id", *four, "quality_factor"], *([Path(n).stem, 3*i, 50 - i, i, i*i, 90] for i, n in enumerate(names))]}
    return Mini([f"1024x768/{n}" for n in names], tables, zscores, expected=dict(split=["train"]*5 + ["valid", "test", "test"],
                std=[(.5 + .01*i)*99/4 for i in range(N)], brightness=[i/7 for i in range(N)], contrast=[1 - i/7 for i in range(N)], noisiness=[np.nan]*N))

def spaq():
    names = [f"{i:05d}.jpg" for i in range(1, N + 1)]
    rows = [[n, 10*i + 5, 20 + i, 30 + i, 40 + i, 50 + i, 60 + i] for i, n in enumerate(names)]
    header = ["Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"]
    return Mini([f"TestImage/{n}" for n in names], {"Annotations/MOS and Image attribute scores.xlsx": [header, *rows]}, [10*i + 5 for i in range(N)], column=1,
                expected=dict(brightness=[(20 + i)/100 for i in range(N)], noisiness=[(50 + i)/100 for i in range(N)], sharpness=[(60 + i)/100 for i in range(N)]))

def flive():
    names = [f"{'voc_emotic_ava/AVA__' if i % 2 else 'blur_dataset/motion'}{i:04d}.jpg" for i in range(N)]
    tables = {"database/labels_image.csv": [["name", "mos"], *([n, 60 + i] for i, n in enumerate(names))],
              "database/labels640.csv": [["name_image", "mos_image"], *([n, 1] for n in names[:2])],
              "database/labels=640_padded.csv": [["name_image", "is_valid"], *([n, i % 3 == 0] for i, n in enumerate(names[2:]))]}
    return Mini([f"database/{n}" for n in names], tables, [60 + i for i in range(N)], expected=dict(split=["test"]*2 + ["valid", "train", "train"]*2))

def ava():
    ids = [953619 + 11*i for i in range(N)]
    votes = np.random.default_rng(0).integers(1, 40, (N, 10))
    mos = votes@np.arange(1, 11)/votes.sum(1)
    std = [np.std(np.repeat(np.arange(1, 11), row)) for row in votes]
    tables = {"AVA.txt": [[i + 1, n, *row, 1, 22, 1396] for i, (n, row) in enumerate(zip(ids, votes))],
              "aesthetics_image_lists/generic_test.jpgl": [[n] for n in ids[:2]]}
    return Mini([f"images/{n}.jpg" for n in ids], tables, list(mos), column=4, expected=dict(std=std, split=["test"]*2 + ["train"]*6))

def bid():
    rows = [[i + 1, s, .4 + i/100] for i, s in enumerate(SCORES)]
    return Mini([f"ImageDatabase/DatabaseImage{i + 1:04d}.JPG" for i in range(N)], {"DatabaseGrades.xlsx": [["Image Number", "Average Subjective Grade", "std"], *rows]},
                SCORES, column=1, expected=dict(std=[.4 + i/100 for i in range(N)]))

def cid2013():
    sources = [f"IS_{'I' if i < 4 else 'II'}_C{1 + i//2 % 2:02d}_D{i:02d}" for i in range(N)]
    folders = [f"IS{1 if i < 4 else 2}/co{1 + i//2 % 2}" for i in range(N)]
    rows = [["Source_ID", "Image set specific MOS", "Realigned MOS"], *([s, 1, 10*i + 3] for i, s in enumerate(sources))]
    return Mini([f"{f}/{s}.jpg" for f, s in zip(folders, sources)], {"CID2013 data - version 12112014.xlsx": ("CID2013 MOS", rows)}, [10*i + 3 for i in range(N)],
                expected=dict(reference=[s.rpartition("_")[0] for s in sources]))

def biq2021():
    names = [f"ss0{1 + i % 3} ({i}).jpg" for i in range(N)]
    rows = [[n.replace(".jpg", ".JPG") if i == 2 else n, i/10] for i, n in enumerate(names)]
    return Mini([f"Images/{n}" for n in names], {"Train (Images and MOS).csv": [["Image Name", "MOS"], *rows[:6]], "Test (Images and MOS).csv": [["Image Name", "MOS"], *rows[6:]]},
                [i/10 for i in range(N)], expected=dict(split=["train"]*6 + ["test"]*2))

def uhdiqa():
    sets = ["training"]*5 + ["validation", "test", "test"]
    rows = [[f"{i + 1}.jpg", .3 + i/20, s, 3840] for i, s in enumerate(sets)]
    return Mini([f"UHD-IQA-database/{s}/{r[0]}" for s, r in zip(sets, rows)], {"UHD-IQA-database/uhd-iqa-metadata.csv": [["image_name", "quality_mos", "set", "orig_width"], *rows]},
                [.3 + i/20 for i in range(N)], column=1, expected=dict(split=["train"]*5 + ["valid", "test", "test"]))

def kadid10k():
    names = [f"I{1 + i//4:02d}_{1 + i % 4:02d}_03.png" for i in range(N)]
    rows = [[n, f"{n[:3]}.png", s, .25] for n, s in zip(names, SCORES)]
    return Mini([f"kadid10k/images/{n}" for n in names], {"kadid10k/dmos.csv": [["dist_img", "ref_img", "dmos", "var"], *rows]}, SCORES, column=2,
                expected=dict(std=[.5]*N, reference=[f"{n[:3]}.png" for n in names]), extra=["kadid10k/images/I01.png", "kadid10k/images/I02.png"])

def tid2013():
    names = [f"{'i' if i == 6 else 'I'}{1 + i//4:02d}_{1 + i % 4:02d}_1.bmp" for i in range(N)]
    tables = {"mos_with_names.txt": [[f"{s:.5f}", n] for s, n in zip(SCORES, names)], "mos_std.txt": [[f"{.1*i:.3f}"] for i in range(N)]}
    return Mini([f"distorted_images/{n.upper() if i == 6 else n}" for i, n in enumerate(names)], tables, SCORES, column=0, # capitals that differ, as in the release
                expected=dict(std=[.1*i for i in range(N)], reference=["I01"]*4 + ["I02"]*4))

def csiq():
    kinds = {"noise": ("awgn", "AWGN"), "jpeg 2000": ("jpeg2000", "jpeg2000"), "contrast": ("contrast", "contrast"), "blur": ("blur", "BLUR")}
    rows = [[None, None, None, image, 1, kind, level, .1, i/10] for i, (image, kind, level) in enumerate((image, kind, 1 + j) for image in (1600, "elk") for j, kind in enumerate(kinds))]
    names = [f"dst_imgs/{kinds[r[5]][0]}/{r[3]}.{kinds[r[5]][1]}.{r[6]}.png" for r in rows]
    sheet = [["CSIQ"], [], [], [None, None, None, "image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"], *rows, [None]*9]
    return Mini(names, {"csiq.DMOS.xlsx": ("all_by_image", sheet)}, [1 - i/10 for i in range(N)], expected=dict(std=[.1]*N, reference=["1600"]*4 + ["elk"]*4))

def agiqa3k():
    names = [f"{'sd1.5' if i % 2 else 'xl2.2'}_normal_{i:03d}.jpg" for i in range(N)]
    rows = [[n, f"a fox, close-up {i//2}", "close-up", "", "", s, .5, 2, .5] for i, (n, s) in enumerate(zip(names, SCORES))]
    return Mini([f"AGIQA-3K/{n}" for n in names], {"data.csv": [["name", "prompt", "adj1", "adj2", "style", "mos_quality", "std_quality", "mos_align", "std_align"], *rows]},
                SCORES, column=5, expected=dict(std=[.5]*N, reference=[f"a fox, close-up {i//2}" for i in range(N)]))

MINIS = dict(clive=clive, koniq10k=koniq10k, spaq=spaq, flive=flive, ava=ava, bid=bid, cid2013=cid2013, biq2021=biq2021, uhdiqa=uhdiqa, kadid10k=kadid10k,
             tid2013=tid2013, csiq=csiq, live=live, agiqa3k=agiqa3k)
