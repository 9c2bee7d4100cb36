"Miniature releases in the official layouts: images, tables, and the columns that a reader must give."
import csv
from dataclasses import dataclass, field, replace
from pathlib import Path
import numpy as np
from openpyxl import Workbook
from PIL import Image
from scipy.io import savemat
from attiqa import readers

@dataclass
class Mini:
    "A small release, not yet written."
    images: list # relative paths, in the order of the table
    tables: dict # relative path to rows, (sheet, rows) or MATLAB variables; the first has the scores
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

def expect_images(monkeypatch, key, count):
    "Let a dataset's release have that many images."
    monkeypatch.setitem(readers.RELEASES, key, replace(readers.RELEASES[key], images=count))

def write_whole(monkeypatch, key, folder):
    "A dataset's miniature on disk, which counts as the whole release."
    mini = MINIS[key]()
    expect_images(monkeypatch, key, len(mini.images))
    mini.write(folder)
    return mini

# Files

def write_image(path, number):
    "A file of noise; other bytes for every number."
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)

def write_workbook(path, rows):
    "Rows in a workbook of two sheets: in its first sheet, or in a last sheet of a given name."
    name, rows = rows if isinstance(rows, tuple) else ("Sheet", rows)
    book = Workbook()
    book.active.title = "About"
    sheet = book.create_sheet(name, 0 if name == "Sheet" else None)
    for row in rows: sheet.append(row)
    book.save(path)

def write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file: csv.writer(file).writerows(rows)

def write_text(path, rows):
    "Cells separated by blanks."
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))

WRITERS = {".mat": savemat, ".xlsx": write_workbook, ".csv": write_csv}

def write_table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    WRITERS.get(path.suffix, write_text)(path, rows)

def cells(words):
    "MATLAB's cell array of strings."
    found = np.empty((1, len(words)), object)
    found[0, :] = [np.array([word]) for word in words]
    return found

# Values that several datasets use

N = 8 # images of a miniature
SCORES = [round(1 + .375*i, 4) for i in range(N)] # fits every scale from 0 or 1 to 5 or more
SETS = ["training"]*5 + ["validation", "test", "test"] # as releases call them
SPLIT = ["train"]*5 + ["valid", "test", "test"] # as the tidy table calls them

def inside(folder, names): return [f"{folder}/{name}" for name in names]

def numbered(ending):
    "Names of two originals with four distortions each: I01_01, I01_02, ..."
    return [f"I{1 + i//4:02d}_{1 + i % 4:02d}{ending}" for i in range(N)]

# Photographs

CLIVE_TRAINING = [f"t{i}.bmp" for i in range(1, 8)]
CLIVE_IMAGES = "3.bmp 4.bmp 1000.JPG 20.jpg 21.bmp 22.bmp 23.bmp 24.JPG".split()

def clive():
    mos = np.arange(15)*6.5
    rated = list(mos[7:])
    values = dict(MOS=mos[None], Images=cells(CLIVE_TRAINING + CLIVE_IMAGES).T, StdDev=mos[None]/10)
    variables = {f"All{what}_release": value for what, value in values.items()}
    tables = {f"ChallengeDB_release/Data/{name}.mat": {name: value} for name, value in variables.items()}
    folder = "ChallengeDB_release/Images"
    return Mini(inside(folder, CLIVE_IMAGES), tables, rated, expected=dict(std=list(mos[7:]/10)),
                extra=inside(f"{folder}/trainingImages", CLIVE_TRAINING))

KONIQ_SCORES = ["image_name", "c1", "c2", "c3", "c4", "c5", "c_total", "MOS", "SD", "MOS_zscore"]
KONIQ_INDICATORS = ["image_id", "brightness", "contrast", "colorfulness", "sharpness", "quality_factor"]

def koniq10k():
    names = [f"{1000 + 7*i}.jpg" for i in range(N)]
    zscores, stds = [20 + 9.5*i for i in range(N)], [.5 + .01*i for i in range(N)]
    scores = [[name, 0, 5, 60, 30, 5, 100, *rest] for name, *rest in zip(names, SCORES, stds, zscores)]
    sets = [[name, zscore, .5, part] for name, zscore, part in zip(names, zscores, SETS)]
    indicators = [[Path(name).stem, 3*i, 50 - i, i, i*i, 90] for i, name in enumerate(names)]
    tables = {"koniq10k_scores_and_distributions.csv": [KONIQ_SCORES, *scores],
              "koniq10k_distributions_sets.csv": [["image_name", "MOS", "SD", "set"], *sets],
              "koniq10k_indicators.csv": [KONIQ_INDICATORS, *indicators]}
    sevenths = [i/7 for i in range(N)]
    expected = dict(split=SPLIT, std=[std*99/4 for std in stds], brightness=sevenths,
                    contrast=[1 - i/7 for i in range(N)], noisiness=[np.nan]*N)
    return Mini(inside("1024x768", names), tables, zscores, expected=expected)

SPAQ_COLUMNS = ["Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"]

def spaq():
    names, mos = [f"{i:05d}.jpg" for i in range(1, N + 1)], [10*i + 5 for i in range(N)]
    rows = [[name, score, 20 + i, 30 + i, 40 + i, 50 + i, 60 + i]
            for i, (name, score) in enumerate(zip(names, mos))]
    tables = {"Annotations/MOS and Image attribute scores.xlsx": [SPAQ_COLUMNS, *rows]}
    starts = dict(brightness=20, noisiness=50, sharpness=60)
    expected = {name: [(start + i)/100 for i in range(N)] for name, start in starts.items()}
    return Mini(inside("TestImage", names), tables, mos, column=1, expected=expected)

FLIVE_FOLDERS = ("blur_dataset/motion", "voc_emotic_ava/AVA__")

def flive():
    names = [f"{FLIVE_FOLDERS[i % 2]}{i:04d}.jpg" for i in range(N)]
    mos = [60 + i for i in range(N)]
    padded = [[name, i % 3 == 0] for i, name in enumerate(names[2:])]
    tables = {"database/labels_image.csv": [["name", "mos"], *map(list, zip(names, mos))],
              "database/labels640.csv": [["name_image", "mos_image"], *([name, 1] for name in names[:2])],
              "database/labels=640_padded.csv": [["name_image", "is_valid"], *padded]}
    split = ["test"]*2 + ["valid", "train", "train"]*2
    return Mini(inside("database", names), tables, mos, expected=dict(split=split))

def ava():
    ids, grades = [953619 + 11*i for i in range(N)], np.arange(1, 11)
    votes = np.random.default_rng(0).integers(1, 40, (N, 10))
    mos = votes@grades/votes.sum(1)
    std = [np.std(np.repeat(grades, row)) for row in votes]
    rows = [[i + 1, number, *row, 1, 22, 1396] for i, (number, row) in enumerate(zip(ids, votes))]
    tables = {"AVA.txt": rows, "aesthetics_image_lists/generic_test.jpgl": [[number] for number in ids[:2]]}
    return Mini([f"images/{number}.jpg" for number in ids], tables, list(mos), column=4,
                expected=dict(std=std, split=["test"]*2 + ["train"]*6))

BID_COLUMNS = ["Image Number", "Average Subjective Grade", "std"]

def bid():
    std = [.4 + i/100 for i in range(N)]
    rows = [[i + 1, *rest] for i, rest in enumerate(zip(SCORES, std))]
    names = [f"DatabaseImage{i + 1:04d}.JPG" for i in range(N)]
    tables = {"DatabaseGrades.xlsx": [BID_COLUMNS, *rows]}
    return Mini(inside("ImageDatabase", names), tables, SCORES, column=1, expected=dict(std=std))

CID_COLUMNS = ["Source_ID", "Image set specific MOS", "Realigned MOS"]
CID_SETS = [(1, "I")]*4 + [(2, "II")]*4 # number in folders, in names

def cid2013():
    content, mos = [1 + i//2 % 2 for i in range(N)], [10*i + 3 for i in range(N)]
    groups = [f"IS_{roman}_C{c:02d}" for (_, roman), c in zip(CID_SETS, content)]
    folders = [f"IS{number}/co{c}" for (number, _), c in zip(CID_SETS, content)]
    sources = [f"{group}_D{i:02d}" for i, group in enumerate(groups)]
    rows = [CID_COLUMNS, *([source, 1, score] for source, score in zip(sources, mos))]
    images = [f"{folder}/{source}.jpg" for folder, source in zip(folders, sources)]
    return Mini(images, {"CID2013 data - version 12112014.xlsx": ("CID2013 MOS", rows)}, mos,
                expected=dict(reference=groups))

BIQ_COLUMNS = ["Image Name", "MOS"]

def biq2021():
    names, mos = [f"ss0{1 + i % 3} ({i}).jpg" for i in range(N)], [i/10 for i in range(N)]
    rows = [[name, score] for name, score in zip(names, mos)]
    rows[2][0] = names[2].replace(".jpg", ".JPG") # capitals that differ from the file's, as in the release
    tables = {"Train (Images and MOS).csv": [BIQ_COLUMNS, *rows[:6]],
              "Test (Images and MOS).csv": [BIQ_COLUMNS, *rows[6:]]}
    return Mini(inside("Images", names), tables, mos, expected=dict(split=["train"]*6 + ["test"]*2))

UHD_COLUMNS = ["image_name", "quality_mos", "set", "orig_width"]

def uhdiqa():
    names, mos = [f"{i + 1}.jpg" for i in range(N)], [.3 + i/20 for i in range(N)]
    rows = [[name, score, part, 3840] for name, score, part in zip(names, mos, SETS)]
    images = [f"UHD-IQA-database/{part}/{name}" for part, name in zip(SETS, names)]
    tables = {"UHD-IQA-database/uhd-iqa-metadata.csv": [UHD_COLUMNS, *rows]}
    return Mini(images, tables, mos, column=1, expected=dict(split=SPLIT))

# Distorted originals

KADID_COLUMNS = ["dist_img", "ref_img", "dmos", "var"]

def kadid10k():
    names = numbered("_03.png")
    references = [f"{name[:3]}.png" for name in names]
    rows = [[*row, .25] for row in zip(names, references, SCORES)]
    return Mini(inside("kadid10k/images", names), {"kadid10k/dmos.csv": [KADID_COLUMNS, *rows]}, SCORES,
                column=2, expected=dict(std=[.5]*N, reference=references),
                extra=inside("kadid10k/images", ["I01.png", "I02.png"]))

def tid2013():
    listed, files, std = numbered("_1.bmp"), numbered("_1.bmp"), [.1*i for i in range(N)]
    listed[6] = listed[6].replace("I", "i") # capitals that differ from the file's, as in the release
    files[6] = files[6].upper()
    tables = {"mos_with_names.txt": [[f"{score:.5f}", name] for score, name in zip(SCORES, listed)],
              "mos_std.txt": [[f"{value:.3f}"] for value in std]}
    return Mini(inside("distorted_images", files), tables, SCORES, column=0,
                expected=dict(std=std, reference=["I01"]*4 + ["I02"]*4))

CSIQ_KINDS = {"noise": ("awgn", "AWGN"), "jpeg 2000": ("jpeg2000", "jpeg2000"), # in folders, in names
              "contrast": ("contrast", "contrast"), "blur": ("blur", "BLUR")}
CSIQ_COLUMNS = ["image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"]

def csiq():
    made = [(image, kind, level) for image in (1600, "elk") for level, kind in enumerate(CSIQ_KINDS, 1)]
    margin = [None]*3
    rows = [[*margin, image, 1, kind, level, .1, i/10] for i, (image, kind, level) in enumerate(made)]
    sheet = [["CSIQ"], [], [], [*margin, *CSIQ_COLUMNS], *rows, [None]*9]
    places = [(*CSIQ_KINDS[kind], image, level) for image, kind, level in made]
    names = [f"dst_imgs/{folder}/{image}.{word}.{level}.png" for folder, word, image, level in places]
    return Mini(names, {"csiq.DMOS.xlsx": ("all_by_image", sheet)}, [1 - i/10 for i in range(N)],
                expected=dict(std=[.1]*N, reference=["1600"]*4 + ["elk"]*4))

LIVE_KINDS = dict(jp2k=227, jpeg=233, wn=174, gblur=174, fastfading=174) # number of images

def live():
    names = [f"{kind}/img{i + 1}.bmp" for kind, count in LIVE_KINDS.items() for i in range(count)]
    dmos, references = np.linspace(-2, 110, 982), [f"ref{i % 29}.bmp" for i in range(982)]
    originals = np.zeros(982)
    originals[np.arange(203)*4] = 1
    kept = np.flatnonzero(originals == 0)
    scores = dict(dmos_new=dmos[None], orgs=originals[None])
    tables = {"databaserelease2/dmos_realigned.mat": scores,
              "databaserelease2/refnames_all.mat": dict(refnames_all=cells(references))}
    return Mini([f"databaserelease2/{names[i]}" for i in kept], tables, list(100 - dmos[kept]),
                expected=dict(reference=[references[i] for i in kept]))

# Generated images

AGIQA_COLUMNS = ["name", "prompt", "adj1", "adj2", "style", "mos_quality", "std_quality", "mos_align",
                 "std_align"]
AGIQA_MODELS = ("xl2.2", "sd1.5")

def agiqa3k():
    names = [f"{AGIQA_MODELS[i % 2]}_normal_{i:03d}.jpg" for i in range(N)]
    prompts = [f"a fox, close-up {i//2}" for i in range(N)]
    rows = [[name, prompt, "close-up", "", "", score, .5, 2, .5]
            for name, prompt, score in zip(names, prompts, SCORES)]
    return Mini(inside("AGIQA-3K", names), {"data.csv": [AGIQA_COLUMNS, *rows]}, SCORES, column=5,
                expected=dict(std=[.5]*N, reference=prompts))

MINIS = {make.__name__: make for make in (
    clive, koniq10k, spaq, flive, ava, bid, cid2013, biq2021, uhdiqa, kadid10k, tid2013, csiq, live, agiqa3k)}
