"What a scorer takes as an image, from open files to tensors, and what it refuses in one line."
import array, gzip, io, json, lzma, mmap, os, tempfile, zipfile
from collections import OrderedDict
import numpy as np, pandas as pd, pytest, torch
import attiqa
from attiqa import ATTIQA, AttiqaError, Scorer
from attiqa.images import package_photograph, to_tensor
from attiqa.metric import QualityLoss, ScoreNet
from image_files import encoded

PHOTO = package_photograph("chelsea.png").crop((60, 40, 188, 136))
PNG = encoded(PHOTO)
X = to_tensor(PHOTO)[None]

@pytest.fixture(scope="module")
def scorer(): return Scorer(device="cpu")

@pytest.fixture(scope="module")
def net(scorer): return ScoreNet(scorer)

# Files in memory

def written(file):
    "A file whose position is at its end, since it was just written."
    file.write(PNG)
    return file

def read_once():
    file = io.BytesIO(PNG)
    file.read()
    return file

def strided():
    "A view of every second byte."
    spaced = bytearray(2*len(PNG))
    spaced[::2] = PNG
    return memoryview(bytes(spaced))[::2]

def archived():
    "The bytes of a zip archive, without compression."
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out: out.writestr("a.png", PNG)
    return archive.getvalue()

def member(archive): return zipfile.ZipFile(io.BytesIO(archive)).open("a.png")

class Pipe(io.RawIOBase):
    "A stream that cannot go back."
    def __init__(self): self.rest = io.BytesIO(PNG)
    def readable(self): return True
    def readinto(self, into):
        part = self.rest.read(len(into))
        into[:len(part)] = part
        return len(part)

FORMS = dict(
    bytesio=lambda: io.BytesIO(PNG), written=lambda: written(io.BytesIO()), read_once=read_once,
    bytes=lambda: PNG, bytearray=lambda: bytearray(PNG),
    memoryview=lambda: memoryview(PNG), array=lambda: array.array("B", PNG), strided=strided,
    spooled=lambda: written(tempfile.SpooledTemporaryFile()), mapped=lambda: written(mmap.mmap(-1, len(PNG))),
    zipped=lambda: member(archived()), pipe=Pipe)

@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_in_memory_files_are_one_picture(scorer, make):
    assert scorer(make()) == scorer(PHOTO)
    assert scorer([make(), PHOTO]) == [scorer(PHOTO)]*2

@pytest.fixture
def png(tmp_path):
    "The photograph as a file, alone in its folder."
    path = tmp_path/"a.png"
    path.write_bytes(PNG)
    return path

def test_open_files(scorer, png):
    expected = scorer(PHOTO)
    with open(png, "rb") as file:
        assert scorer(file) == scorer(file) == expected
        assert scorer([file]*9) == [expected]*9

def test_files_open_as_text_or_closed_are_refused(scorer, png):
    with open(png, encoding="latin-1") as file:
        with pytest.raises(AttiqaError, match="'rb'"): scorer(file)
    with pytest.raises(AttiqaError, match="'rb'|closed"): scorer(file)

def test_entries_of_a_folder(scorer, png):
    entry, = os.scandir(png.parent)
    assert scorer(entry) == scorer(png)
    assert scorer(entry).path == str(png)

# Streams that break

def truncated_gzip(): return gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(PNG)[:-99]))

def wrong_checksum():
    changed = bytearray(archived())
    changed[200] ^= 255
    return member(bytes(changed))

def damaged_lzma(): return lzma.LZMAFile(io.BytesIO(lzma.compress(PNG)[:99] + bytes(99)))

def released():
    view = memoryview(PNG)
    view.release()
    return view

class Stumbling:
    "A stream of somebody's own."
    def read(self): raise RuntimeError("the line\nis dead")

BROKEN = dict(gzip=truncated_gzip, zip=wrong_checksum, lzma=damaged_lzma, released=released, own=Stumbling)

@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN)
def test_a_stream_that_breaks_is_one_line(scorer, make):
    with pytest.raises(AttiqaError, match="cannot be read") as caught: scorer(make())
    assert "\n" not in str(caught.value)
    first, second = scorer([make(), PHOTO])
    assert "cannot be read" in first.error
    assert second == scorer(PHOTO)

# Tensors and arrays

def test_a_view_with_a_negative_bit_is_its_values(scorer):
    assert scorer(torch._neg_view(-X[0])) == scorer(X[0])

NOT_DENSE = dict(
    meta=lambda: X[0].to("meta"),
    sparse=lambda: X[0].to_sparse(),
    nested=lambda: torch.nested.nested_tensor([X[0], X[0]]))

@pytest.mark.parametrize("kind", NOT_DENSE)
def test_tensors_without_dense_values_are_refused(scorer, net, kind):
    calls = [scorer, QualityLoss(net)]
    if kind != "nested": calls.append(ATTIQA().update) # to the metric it is a batch of several sizes
    for call in calls:
        with pytest.raises(AttiqaError, match="dense tensor"): call(NOT_DENSE[kind]())
    first, second = scorer([NOT_DENSE[kind](), PHOTO])
    assert "dense tensor" in first.error
    assert second == scorer(PHOTO)

HUGE = dict( # without memory of their size
    array=lambda: np.broadcast_to(np.uint8(3), (100_000, 100_000, 3)),
    tensor=lambda: torch.zeros(()).expand(3, 100_000, 100_000))

@pytest.mark.parametrize("make", HUGE.values(), ids=HUGE)
def test_a_picture_beyond_the_limit_is_refused_in_every_form(scorer, make):
    with pytest.raises(AttiqaError, match="100000x100000 pixels, more than the limit"): scorer(make())

@pytest.mark.parametrize("low, high", [(-1e-8, 1.0000001), (-9e-4, 1.0009), (0, 1)])
def test_rounding_is_clipped(scorer, low, high):
    x, metric = X[0].clone(), ATTIQA()
    x[0, 0, :2] = torch.tensor([low, high])
    clipped = x.clamp(0, 1)
    assert scorer(x) == scorer(clipped)
    assert metric([x]) == metric([clipped])
    with_gradient = metric([x.clone().requires_grad_()])
    assert with_gradient.item() == pytest.approx(metric([clipped]).item(), abs=1e-6)

@pytest.mark.parametrize("value", [-.0011, 1.0011, 1.002, -1., 255.])
def test_beyond_rounding_is_refused(scorer, value):
    x = X[0].clone()
    x[0, 0, 0] = value
    with pytest.raises(AttiqaError, match="rescale it, or clip it") as caught: scorer(x)
    assert f"{x[0, 0, 0].item():.9g}" in str(caught.value)

# Collections, and what is no image

SEVERAL = dict(
    tuple=lambda: (PHOTO,),
    values=lambda: {1: PHOTO}.values(),
    iterator=lambda: iter([PHOTO]),
    series=lambda: pd.Series([PHOTO]),
    generator=lambda: (photo for photo in [PHOTO]))

@pytest.mark.parametrize("make", SEVERAL.values(), ids=SEVERAL)
def test_what_holds_pictures(scorer, make):
    assert scorer(make()) == [scorer(PHOTO)]

NO_IMAGES = dict(
    dict=dict(path="a.jpg"), ordered=OrderedDict(a=1), frame=pd.DataFrame(dict(path=["a.jpg"], mos=[1.])),
    json=json.dumps(dict(path="a.jpg")), list_of_json="[1, 2]", indented=json.dumps(dict(a=1), indent=1),
    none=None, number=3, function=len,
    address="https://example.org/a.jpg", inline="data:image/png;base64,iVBORw0KGgo=")

@pytest.mark.parametrize("given", NO_IMAGES.values(), ids=NO_IMAGES)
def test_what_is_no_picture_is_one_error(scorer, given):
    reason = "not an image; give a path"
    for call in (scorer, attiqa.score):
        with pytest.raises(AttiqaError, match=reason) as caught: call(given)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(AttiqaError, match=reason): ATTIQA().update(given)
    assert reason in scorer([PHOTO, given])[1].error
