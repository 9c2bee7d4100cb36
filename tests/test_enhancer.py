"The enhancer: its network, the shipped weights, images, files and folders."
import shutil
import numpy as np, pytest, torch
from PIL import Image, ImageCms
from attiqa import enhancer as e
from attiqa.cli import main
from attiqa.core import AttiqaError, WEIGHTS, generator
from attiqa.edits import TEST_RECIPES, contrast_pivot, degrade, edit, through_jpeg, training_view
from attiqa.images import package_photograph, to_image, to_tensor
from photographs import PHOTO_NAMES, small_photographs, unsure_network

@pytest.fixture(scope="module")
def photos(): return small_photographs()

@pytest.fixture(scope="module")
def shipped(): return e.load_enhancer()

# the network

def test_a_network_never_leaves_the_bounds(photos):
    torch.manual_seed(0)
    net = e.KnobNetwork().eval()
    for p in net.parameters(): p.data.normal_(0, 3)
    with torch.no_grad(): unit, y = net(photos)
    assert unit.abs().max() <= 1 and y.min() >= 0 and y.max() <= 1 and y.isfinite().all()

def test_strips_equal_the_whole(shipped):
    photo = package_photograph("coffee.png")
    done, named = e.enhance_image(photo, shipped)
    inputs = e.image_inputs(photo)
    turned = shipped.values(shipped.decide(*inputs))
    whole = edit(to_tensor(photo)[None], turned, contrast_pivot(inputs[0], turned))[0]
    assert np.abs(np.asarray(done, int) - np.asarray(to_image(whole), int)).max() <= 1
    assert tuple(named) == e.EDIT_NAMES

def test_inputs_of_tensors_and_images_agree(photos):
    for x in photos.split(1):
        (a, b, c), (small, statistics, seen) = e.image_inputs(to_image(x[0])), e.network_inputs(x)
        assert (a - small).abs().mean() < .02 and (b - statistics).abs().mean() < .15
        assert (c - seen).abs().mean() < .02*seen.abs().mean()

@pytest.mark.parametrize("kind", e.ENHANCER_KINDS)
def test_untrained_edits_nothing_and_damaged_files_are_refused(kind, photos, tmp_path):
    net = e.ENHANCER_KINDS[kind]()
    path = e.save_enhancer(net.eval(), tmp_path/"a.safetensors", dict(name="a"))
    with torch.no_grad(): assert (e.load_enhancer(path)(photos)[1] - photos).abs().max() < 2e-4
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(AttiqaError, match="not a whole safetensors"): e.load_enhancer(path)

def test_another_model_is_no_enhancer():
    with pytest.raises(AttiqaError, match="no enhancer of this kit"):
        e.load_enhancer(WEIGHTS/"attiqa-mini.safetensors")

def test_an_unsure_network_leaves_the_image_alone(photos):
    "All or nothing, at the caution; in proportion while training, with a gradient."
    net = unsure_network(1.)
    with torch.no_grad(): edited = net(photos)[1]
    assert ((edited - photos).abs().amax((1, 2, 3)) > .01).all()
    net.settings["caution"] = 1.5
    with torch.no_grad(): unit, edited = net(photos)
    assert not unit.any() and (edited - photos).abs().max() < 2e-4
    whole, odds = net.predict(*e.network_inputs(photos))
    held = net.train().hold(whole, odds)
    assert torch.allclose(held, whole*torch.sigmoid(torch.tensor(-.5*e.TRUST_SLOPE))) and held.requires_grad

class BrightNetwork(e.KnobNetwork):
    "Brightens all images; its log-odds are the brightness."
    def predict(self, small, *seen): return torch.eye(8)[:1].expand(len(small), 8)*.3, 2*small.mean((1, 2, 3))

def test_caution_is_the_least_that_spares_clean_photographs():
    images = [package_photograph(name).resize((160, 128)) for name in PHOTO_NAMES]
    photos = [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images]
    found, odds = e.least_caution(BrightNetwork().eval(), photos, 2), []
    for number in range(3*len(photos)):
        photo = photos[number % len(photos)]
        x = training_view(photo, generator("caution", number)) if number >= len(photos) else photo/255
        odds.append(float(BrightNetwork().predict(*e.network_inputs(through_jpeg(x)[None]))[1]))
    assert np.isclose(found, max(odds)), "an edit of a clean photograph costs decibels, so none may be made"
    assert e.least_caution(e.KnobNetwork().eval(), photos, 1) == 0, "an untrained network does no harm"

def test_shipped_enhancer_improves_and_leaves_alone(photos, shipped):
    won = {}
    for recipe in TEST_RECIPES:
        worse = torch.stack([degrade(x, recipe, i) for i, x in enumerate(photos)])
        with torch.no_grad(): edited = shipped(worse)[1]
        won[recipe] = float(e.psnr_gains(edited, photos, worse).mean())
    assert won["under-exposure"] > 2 and won["low contrast"] > 2 and min(won.values()) > -.1, won

# files

@pytest.fixture
def file(tmp_path):
    "A JPEG with EXIF, rotated by 90 degrees, and a colour profile."
    image = package_photograph("chelsea.png").resize((160, 100))
    exif = Image.Exif()
    exif[0x112], exif[0x10F] = 6, "A camera"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path/"a.jpg", exif=exif, icc_profile=profile, quality=92)
    return tmp_path/"a.jpg"

@pytest.fixture
def loud(tmp_path):
    "A file of a network that is sure of making everything lighter."
    net = e.KnobNetwork().eval()
    net.mind[-1].bias.data[[0, len(e.EDITS)]] = torch.tensor([.3, 5.])
    net.doubt[-1].bias.data.fill_(5.)
    return str(e.save_enhancer(net, tmp_path/"networks/loud.safetensors", {}))

def test_an_unedited_file_is_copied(file, tmp_path, capsys):
    "Even an untrained network must not store a JPEG a second time."
    path = e.save_enhancer(e.KnobNetwork().eval(), tmp_path/"networks/idle.safetensors", {})
    assert main(["enhance", str(file), str(tmp_path/"b.jpg"), "--model", str(path)]) == 0
    assert (tmp_path/"b.jpg").read_bytes() == file.read_bytes()
    assert "left as it is" in capsys.readouterr().out

def test_exif_profile_and_size_are_kept(file, loud, tmp_path, capsys):
    assert main(["enhance", str(file), str(tmp_path/"b.jpg"), "--model", loud]) == 0
    assert str(file) in capsys.readouterr().out
    with Image.open(file) as old, Image.open(tmp_path/"b.jpg") as new:
        assert new.format == "JPEG" and new.size == old.size[::-1] == (100, 160)
        assert new.info["icc_profile"] == old.info["icc_profile"]
        exif = new.getexif()
        assert exif[0x112] == 1 and exif[0x10F] == "A camera"
        assert exif.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"

def test_nothing_is_overwritten(file, tmp_path, capsys):
    out = tmp_path/"b.jpg"
    out.write_bytes(b"mine")
    assert main(["enhance", str(file), str(out)]) == 1 and out.read_bytes() == b"mine"
    assert "--force" in capsys.readouterr().err
    assert main(["enhance", str(file), str(out), "--force"]) == 0 and out.read_bytes() != b"mine"

def test_originals_are_safe(file, tmp_path, capsys):
    before, link = file.read_bytes(), tmp_path/"link.jpg"
    link.symlink_to(file)
    pairs = ((file, file), (file, tmp_path), (file, link), (tmp_path, tmp_path), (tmp_path, tmp_path/"sub"))
    for source, out in pairs:
        assert main(["enhance", str(source), str(out), "--force"]) == 2, (source, out)
        assert capsys.readouterr().err.count("\n") == 1 and file.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "link.jpg"]

def test_a_folder_is_mirrored_and_a_bad_file_does_not_stop_it(file, tmp_path, capsys):
    source, out = tmp_path/"in", tmp_path/"out"
    (source/"sub").mkdir(parents=True)
    shutil.copy(file, source/"sub/z.jpg")
    shutil.copy(file, source/"b.jpg")
    (source/"a.png").write_bytes(b"\x89PNG half")
    assert main(["enhance", str(source), str(out)]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "a.png" in said.err and said.out.count("\n") == 2
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == ["b.jpg", "sub/z.jpg"]

def two_frames(path):
    frames = [Image.new("RGB", (40, 40)) for _ in range(2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])

REFUSED = [("deep.png", lambda p: Image.fromarray(np.full((40, 40), 40000, np.uint16)).save(p), "16 bits"),
           ("two.tiff", two_frames, "2 frames"),
           ("ink.jpg", lambda p: Image.new("CMYK", (40, 40)).save(p), "CMYK"),
           ("p.png", lambda p: Image.new("P", (40, 40)).save(p), "mode P"),
           ("tiny.png", lambda p: Image.new("RGB", (3, 40)).save(p), "at least 8"),
           ("g.gif", lambda p: Image.new("P", (40, 40)).save(p), "is GIF")]

@pytest.mark.parametrize("name, make, reason", REFUSED)
def test_files_that_would_lose_something_are_refused(tmp_path, capsys, name, make, reason):
    make(tmp_path/name)
    assert main(["enhance", str(tmp_path/name), str(tmp_path/f"out{name}")]) == 1
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1 and not (tmp_path/f"out{name}").exists()

def test_transparency_and_grey_are_kept(loud, tmp_path):
    photo = package_photograph("coffee.png").resize((120, 80))
    clear = photo.copy()
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    clear.save(tmp_path/"a.png")
    photo.convert("L").save(tmp_path/"g.png")
    for name in ("a", "g"):
        files = [str(tmp_path/f"{name}.png"), str(tmp_path/f"{name}2.png")]
        assert main(["enhance", *files, "--model", loud]) == 0
    before, after = (np.asarray(Image.open(tmp_path/name)).mean() for name in ("g.png", "g2.png"))
    assert after > before + 5 and Image.open(tmp_path/"g2.png").mode == "L"
    assert np.array_equal(Image.open(tmp_path/"a2.png").getchannel("A"), clear.getchannel("A"))

def test_strength_0_changes_nothing(loud, tmp_path):
    package_photograph("coffee.png").resize((120, 80)).save(tmp_path/"a.png")
    files = [str(tmp_path/"a.png"), str(tmp_path/"b.png")]
    assert main(["enhance", *files, "--strength", "0", "--model", loud]) == 0
    assert np.array_equal(Image.open(tmp_path/"a.png"), Image.open(tmp_path/"b.png"))

def test_another_ending_is_refused(file, tmp_path, capsys):
    assert main(["enhance", str(file), str(tmp_path/"b.png")]) == 1
    assert "named otherwise" in capsys.readouterr().err
    assert main(["enhance", str(tmp_path/"gone.jpg"), str(tmp_path/"b.png")]) == 2

def test_a_loop_of_links_is_one_line(file, tmp_path, capsys):
    "Other files are edited; files that are no images are counted."
    source = tmp_path/"in"
    source.mkdir()
    shutil.copy(file, source/"a.jpg")
    (source/"loop.jpg").symlink_to("loop.jpg")
    (source/"notes.txt").touch()
    assert main(["enhance", str(source), str(tmp_path/"out")]) == 1
    said = capsys.readouterr().err
    assert "loop.jpg: no such file" in said and "left out: no pictures: 1" in said
    assert (tmp_path/"out"/"a.jpg").exists()
