"The enhancer: its edits, its rewards, the shipped weights, files and folders."
import shutil
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from attiqa import enhance as e
from attiqa.cli import main
from attiqa.core import AttiqaError, WEIGHTS, generator
from attiqa.images import package_photograph, to_image, to_tensor
from attiqa.score import Scorer

NAMES = ("astronaut.png", "chelsea.png", "china.jpg", "coffee.png", "flower.jpg", "motorcycle_left.png")

@pytest.fixture(scope="module")
def photos(): return torch.stack([to_tensor(package_photograph(name).resize((160, 128), Image.Resampling.LANCZOS)) for name in NAMES])

@pytest.fixture(scope="module")
def shipped(): return e.load_enhancer()

def values(**turned): return torch.tensor([[float(turned.get(name, 0)) for name in e.NAMES]])

def knobs(name, amount): return e.to_values(torch.eye(len(e.NAMES))[[e.NAMES.index(name)]]*amount)

def colour(x): return (x.amax(1) - x.amin(1)).mean()

def detail(x): return (x - e._box(x)).abs().mean()

def red(x): return (x[:, 0] - x[:, 2]).mean()

def magenta(x): return (x[:, 0] + x[:, 2] - 2*x[:, 1]).mean()

def test_nothing_turned_is_nothing_done(photos):
    assert (e.edit(photos, torch.zeros(len(photos), 8)) - photos).abs().max() < 2e-4

@pytest.mark.parametrize("name, measure", [("exposure", torch.mean), ("gamma", torch.mean), ("contrast", torch.std), ("saturation", colour), ("warmth", red), ("tint", magenta),
                                           ("sharpen", detail), ("denoise", lambda x: -detail(x))])
def test_each_knob_goes_its_way(photos, name, measure):
    "Up raises what it stands for, down lowers it, more is more; pixels stay in [0, 1]."
    for x in photos.split(1):
        found = [float(measure(e.edit(x, knobs(name, amount)))) for amount in (-1, -.5, 0, .5, 1)]
        low = 2 if e.EDITS[e.NAMES.index(name)].low == 0 else 0
        assert found[low:] == sorted(found[low:]) and found[2] < found[4]
        assert low == 0 or found[0] == found[2], "one-sided knobs have nothing below 0"
        y = e.edit(x, knobs(name, 1)); assert y.min() >= 0 and y.max() <= 1

def test_knobs_keep_their_bounds():
    unit = torch.linspace(-1, 1, 9)[:, None].expand(-1, 8)
    found = e.to_values(unit)
    assert torch.equal(found.amin(0), e.LOW) and torch.equal(found.amax(0), e.HIGH) and not found[4].any()

def test_a_network_never_leaves_the_bounds(photos):
    torch.manual_seed(0)
    net = e.Knobs().eval()
    for p in net.parameters(): p.data.normal_(0, 3)
    with torch.no_grad(): unit, y = net(photos)
    assert unit.abs().max() <= 1 and y.min() >= 0 and y.max() <= 1 and y.isfinite().all()

def test_an_exposure_is_undone_by_its_opposite(photos):
    x = photos*.5 + .1
    back = e.edit(e.edit(x, values(exposure=-.7, warmth=.1)), values(exposure=.7, warmth=-.1))
    assert (back - x).abs().max() < 1e-4

def test_stops_are_stops_of_light(photos):
    "Against sRGB's own curve, on light that neither clips nor is very dark."
    from attiqa.distort import from_linear, to_linear
    x = photos*.4 + .3
    assert (e.edit(x, values(exposure=-1)) - from_linear(to_linear(x)/2)).abs().max() < .02

def test_noise_and_the_knob_that_takes_it_out():
    for std in (0, .005, .02, .06): assert abs(float(e.variance(torch.tensor(e.amount_for(std)))) - std**2) < 1e-6
    assert e.amount_for(1.) == 1

def test_gradients_reach_every_knob(photos):
    turned = torch.zeros(len(photos), 8, requires_grad=True)
    (e.edit(photos, turned)*torch.from_numpy(generator("weights").random(photos.shape, dtype="float32"))).sum().backward()
    assert turned.grad.isfinite().all() and (turned.grad.abs() > 0).all()

def test_gradients_are_those_of_differences(photos):
    x, spot, step = photos[:1].double(), torch.full((1, 8), .1, dtype=torch.float64), 1e-5
    weight = torch.from_numpy(generator("w").random(x.shape))
    f = lambda v: (e.edit(x, v)*weight).sum()
    v = spot.clone().requires_grad_(); f(v).backward()
    slow = [(f(spot + step*d) - f(spot - step*d))/(2*step) for d in torch.eye(8, dtype=torch.float64)]
    assert torch.allclose(v.grad[0], torch.stack(slow), rtol=1e-3)

def test_a_small_copy_of_the_edit_is_the_edit_of_a_small_copy(photos):
    "For edits without neighbours: on the mean, as a power of a mean is not the mean of powers."
    turned = values(exposure=.3, gamma=.2, contrast=.3, saturation=.4, warmth=.1)
    small = lambda x: torch.nn.functional.avg_pool2d(x, 2)
    for x in (photos*.5 + .2).split(1):
        assert (small(e.edit(x, turned)) - e.edit(small(x), turned)).abs().mean() < .004

def test_strips_are_the_whole(shipped):
    photo = package_photograph("coffee.png")
    done, named = e.enhance_image(photo, shipped)
    turned = shipped.values(shipped.decide(*e.look_at(photo)))
    whole = e.edit(to_tensor(photo)[None], turned, e.pivot(e.look_at(photo)[0], turned))[0]
    assert np.abs(np.asarray(done, int) - np.asarray(to_image(whole), int)).max() <= 1 and tuple(named) == e.NAMES

def test_both_ways_of_looking_agree(photos):
    for (a, b, c), x in zip([e.look_at(to_image(x)) for x in photos], photos.split(1)):
        small, numbers, seen = e.look(x)
        assert (a - small).abs().mean() < .02 and (b - numbers).abs().mean() < .15 and (c - seen).abs().mean() < .02*seen.abs().mean()

@pytest.mark.parametrize("kind", e.KINDS)
def test_untrained_edits_nothing_and_files_are_whole(kind, photos, tmp_path):
    net = e.KINDS[kind]()
    path = e.save_enhancer(net.eval(), tmp_path/"a.safetensors", dict(name="a"))
    with torch.no_grad(): assert (e.load_enhancer(path)(photos)[1] - photos).abs().max() < 2e-4
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(AttiqaError, match="not a whole safetensors"): e.load_enhancer(path)

def test_only_a_network_of_the_same_lesson_is_gone_on_from(tmp_path):
    card = dict(source="a", lesson=dict(rounds=2))
    path = e.save_enhancer(e.Knobs().eval(), tmp_path/"a.safetensors", card)
    assert e.left_by(path, card) is not None and e.left_by(path, card | dict(source="b")) is None
    path.write_bytes(path.read_bytes()[:-10])
    assert e.left_by(path, card) is None and e.left_by(tmp_path/"none.safetensors", card) is None

def test_another_model_is_no_enhancer():
    with pytest.raises(AttiqaError, match="no enhancer of this kit"): e.load_enhancer(WEIGHTS/"attiqa-mini.safetensors")

def unsure(photos, odds):
    "A network that turns every knob, and says these log-odds."
    torch.manual_seed(1)
    net = e.Knobs()
    for p in net.mind.parameters(): p.data.normal_(0, .1)
    net.doubt[-1].bias.data.fill_(odds)
    return net.eval()

def test_what_it_is_not_sure_of_it_leaves_alone(photos):
    "All or nothing, at the caution; in training in proportion, with a gradient."
    net = unsure(photos, 1.)
    with torch.no_grad(): edited = net(photos)[1]
    assert ((edited - photos).abs().amax((1, 2, 3)) > .01).all()
    net.settings["caution"] = 1.5
    with torch.no_grad(): unit, edited = net(photos)
    assert not unit.any() and (edited - photos).abs().max() < 2e-4
    whole, sure = net.weigh(*e.look(photos))
    held = net.train().hold(whole, sure)
    assert torch.allclose(held, whole*torch.sigmoid(torch.tensor(-.5*e.STEEP))) and held.requires_grad

def test_caution_is_the_least_that_spares_clean_photographs():
    photos = [torch.from_numpy(np.array(package_photograph(name).resize((160, 128)))).permute(2, 0, 1) for name in NAMES]
    class Loud(e.Knobs):
        "Brightens all, and says how sure it is by how bright the picture is."
        def weigh(self, small, *seen): return torch.eye(8)[:1].expand(len(small), 8)*.3, 2*small.mean((1, 2, 3))
    found = e.least_caution(Loud().eval(), photos, 2)
    odds = []
    for number in range(3*len(photos)):
        photo = photos[number % len(photos)]
        y = e.stored(e.view(photo, generator("caution", number)) if number >= len(photos) else photo/255)
        odds.append(float(Loud().weigh(*e.look(y[None]))[1]))
    assert np.isclose(found, max(odds)), "every edit of a clean photograph costs decibels here, so none may be made"
    assert e.least_caution(e.Knobs().eval(), photos, 1) == 0, "an untrained network harms nobody"

def test_expected_loss_trusts_what_wins_and_learns_to_doubt_what_loses(photos):
    odds = torch.zeros(len(photos), requires_grad=True)
    worse = (photos*.6).clamp(0, 1)
    for edited, sign in ((photos, -1), (photos*.3, 1)):
        odds.grad = None
        e.expected_loss((torch.zeros(len(photos), 8), odds, edited), photos, torch.zeros(len(photos), 8), worse).backward()
        assert (odds.grad*sign > 0).all()

def test_tiles_are_of_the_same_places_and_their_edit_is_the_pictures(photos):
    photo = (photos[0]*255).byte()
    small, numbers, seen, worse, clean, undo = e.Pairs([photo], 5, "t")[3]
    assert worse.shape == clean.shape == (e.GRID**2, 3, e.TILE, e.TILE) and len(numbers) == e.NUMBERS
    again = e.Pairs([photo], 5, "t")[3]
    assert all(torch.equal(a, b) for a, b in zip((small, numbers, seen, worse, clean, undo), again))
    pixels = {tuple(p) for v in (photo, photo.flip(-1)) for p in v.flatten(1).T.tolist()}
    assert {tuple(p) for p in (clean*255).round().int().permute(1, 0, 2, 3).flatten(1).T.tolist()} <= pixels
    net, places = unsure(photos, 1.), [(10, 20), (60, 90)]
    with torch.no_grad():
        whole = net(photos[:1])[1][0]
        unit, _, tiles = e.OnTiles(net).eval()(*e.look(photos[:1]), e.cut(photos[0], places)[None])
    inner = (..., slice(4, -4), slice(4, -4)) # filters read four pixels beyond a tile's edge
    assert (tiles[0][inner] - e.cut(whole, places)[inner]).abs().max() < 1e-5

def test_policy_follows_a_black_box(photos):
    "A reward without a gradient that wants light: the knobs learn to give it, and the baseline leaves nothing where all samples do the same."
    torch.manual_seed(0)
    net, x = e.Knobs(), photos[:4]
    loss = e.policy_loss(net, lambda y: y.mean((1, 2, 3)).round(decimals=4), 0.)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(25): optimizer.zero_grad(); loss(net(x), x, None, x).backward(); optimizer.step()
    with torch.no_grad(): assert (net(x)[1].mean() - x.mean()) > .03
    flat = e.policy_loss(net, lambda y: torch.ones(len(y)), 0., entropy=0.)
    net.zero_grad(); flat(net(x), x, None, x).backward()
    assert all(p.grad is None or not p.grad.any() for p in net.parameters())

def test_reward_prefers_good_photographs(photos):
    reward = e.Reward(Scorer(device="cpu"), torch.cat([photos, photos.flip(-1), photos*.9 + .05]), views=0)
    usual = reward.parts(photos)[1].mean()
    assert all(reward.parts(e.edit(photos, values(exposure=v)))[1].mean() < usual for v in (-2, 2)), "too dark and too bright are both unnatural"
    assert (reward.parts(photos)[1] <= 0).all()

def test_fidelity_is_paid_for(photos):
    predicted, free = (None, photos*.8), lambda y: y.new_zeros(len(y))
    assert torch.isclose(e.direct_loss(None, free, 2.)(predicted, photos, None, photos), 2*(photos*.2).mean())

def test_clean_crops_are_only_stored():
    photo = [torch.from_numpy(np.array(package_photograph("coffee.png").resize((300, 200)))).permute(2, 0, 1)]
    for worse, clean, _ in e.Crops(photo, 96, 4, "t", fixed=True, clean=1.): assert -e.decibels(worse[None], clean[None]) > 28
    pair, again = ([*e.Crops(photo, 96, 3, "t", fixed=True)] for _ in range(2))
    assert all(torch.equal(a, b) for p, q in zip(pair, again) for a, b in zip(p, q))

def test_shipped_enhancer_mends_and_leaves_alone(photos, shipped):
    won = {}
    for recipe in e.RECIPES:
        worse = torch.stack([e.spoil(x, recipe, i) for i, x in enumerate(photos)])
        with torch.no_grad(): won[recipe] = float(e.gain(shipped(worse), photos, None, worse))
    assert won["under-exposure"] > 2 and won["low contrast"] > 2 and min(won.values()) > -.1, won

# files

@pytest.fixture
def file(tmp_path):
    "A JPEG with EXIF, a quarter turned, and a colour profile."
    from PIL import ImageCms
    image = package_photograph("chelsea.png").resize((160, 100))
    exif = Image.Exif(); exif[0x112] = 6; exif[0x10F] = "A camera"; exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path/"a.jpg", exif=exif, icc_profile=profile, quality=92)
    return tmp_path/"a.jpg"

@pytest.fixture
def loud(tmp_path):
    "A file of a network that is sure of making everything lighter."
    net = e.Knobs().eval()
    net.mind[-1].bias.data[[0, len(e.EDITS)]] = torch.tensor([.3, 5.])
    net.doubt[-1].bias.data.fill_(5.)
    return str(e.save_enhancer(net, tmp_path/"networks/loud.safetensors", {}))

def test_what_is_left_alone_is_copied(file, tmp_path, capsys):
    "Even an untrained network must not store a JPEG a second time."
    path = e.save_enhancer(e.Knobs().eval(), tmp_path/"networks/idle.safetensors", {})
    assert main(["enhance", str(file), str(tmp_path/"b.jpg"), "--model", str(path)]) == 0
    assert (tmp_path/"b.jpg").read_bytes() == file.read_bytes() and "left as it is" in capsys.readouterr().out

def test_exif_profile_and_size_are_kept(file, loud, tmp_path, capsys):
    assert main(["enhance", str(file), str(tmp_path/"b.jpg"), "--model", loud]) == 0
    assert str(file) in capsys.readouterr().out
    with Image.open(file) as old, Image.open(tmp_path/"b.jpg") as new:
        assert new.format == "JPEG" and new.size == old.size[::-1] == (100, 160)
        assert new.info["icc_profile"] == old.info["icc_profile"]
        exif = new.getexif()
        assert exif[0x112] == 1 and exif[0x10F] == "A camera" and exif.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"

def test_nothing_is_written_over(file, tmp_path, capsys):
    out = tmp_path/"b.jpg"; out.write_bytes(b"mine")
    assert main(["enhance", str(file), str(out)]) == 1 and out.read_bytes() == b"mine"
    assert "--force" in capsys.readouterr().err
    assert main(["enhance", str(file), str(out), "--force"]) == 0 and out.read_bytes() != b"mine"

def test_originals_are_safe(file, tmp_path, capsys):
    before = file.read_bytes()
    link = tmp_path/"link.jpg"; link.symlink_to(file)
    for source, out in ((file, file), (file, tmp_path), (file, link), (tmp_path, tmp_path), (tmp_path, tmp_path/"sub")):
        assert main(["enhance", str(source), str(out), "--force"]) == 2, (source, out)
        assert capsys.readouterr().err.count("\n") == 1 and file.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "link.jpg"]

def test_a_folder_is_mirrored_and_a_bad_file_ends_nothing(file, tmp_path, capsys):
    source, out = tmp_path/"in", tmp_path/"out"
    (source/"sub").mkdir(parents=True)
    shutil.copy(file, source/"sub/z.jpg"); shutil.copy(file, source/"b.jpg"); (source/"a.png").write_bytes(b"\x89PNG half")
    assert main(["enhance", str(source), str(out)]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "a.png" in said.err and said.out.count("\n") == 2
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == ["b.jpg", "sub/z.jpg"]

@pytest.mark.parametrize("name, make, reason", [
    ("deep.png", lambda p: Image.fromarray(np.full((40, 40), 40000, np.uint16)).save(p), "16 bits"),
    ("two.tiff", lambda p: Image.new("RGB", (40, 40)).save(p, save_all=True, append_images=[Image.new("RGB", (40, 40))]), "2 frames"),
    ("ink.jpg", lambda p: Image.new("CMYK", (40, 40)).save(p), "CMYK"), ("p.png", lambda p: Image.new("P", (40, 40)).save(p), "mode P"),
    ("tiny.png", lambda p: Image.new("RGB", (3, 40)).save(p), "at least 8"), ("g.gif", lambda p: Image.new("P", (40, 40)).save(p), "is GIF")])
def test_what_would_be_lost_is_refused(tmp_path, capsys, name, make, reason):
    make(tmp_path/name)
    assert main(["enhance", str(tmp_path/name), str(tmp_path/f"out{name}")]) == 1
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1 and not (tmp_path/f"out{name}").exists()

def test_transparency_and_grey_are_kept(loud, tmp_path):
    photo = package_photograph("coffee.png").resize((120, 80))
    clear = photo.copy(); clear.putalpha(Image.linear_gradient("L").resize(photo.size)); clear.save(tmp_path/"a.png")
    photo.convert("L").save(tmp_path/"g.png")
    for name in ("a", "g"): assert main(["enhance", str(tmp_path/f"{name}.png"), str(tmp_path/f"{name}2.png"), "--model", loud]) == 0
    assert np.asarray(Image.open(tmp_path/"g2.png")).mean() > np.asarray(Image.open(tmp_path/"g.png")).mean() + 5
    assert np.array_equal(Image.open(tmp_path/"a2.png").getchannel("A"), clear.getchannel("A")) and Image.open(tmp_path/"g2.png").mode == "L"

def test_strength_nothing_changes_nothing(loud, tmp_path):
    package_photograph("coffee.png").resize((120, 80)).save(tmp_path/"a.png")
    assert main(["enhance", str(tmp_path/"a.png"), str(tmp_path/"b.png"), "--strength", "0", "--model", loud]) == 0
    assert np.array_equal(Image.open(tmp_path/"a.png"), Image.open(tmp_path/"b.png"))

def test_another_ending_is_refused(file, tmp_path, capsys):
    assert main(["enhance", str(file), str(tmp_path/"b.png")]) == 1 and "named otherwise" in capsys.readouterr().err
    assert main(["enhance", str(tmp_path/"gone.jpg"), str(tmp_path/"b.png")]) == 2

def test_a_loop_of_links_is_one_line(file, tmp_path, capsys):
    "The others are edited; what a folder holds beside pictures is counted."
    (tmp_path/"in").mkdir(); shutil.copy(file, tmp_path/"in"/"a.jpg"); (tmp_path/"in"/"loop.jpg").symlink_to("loop.jpg"); (tmp_path/"in"/"notes.txt").touch()
    assert main(["enhance", str(tmp_path/"in"), str(tmp_path/"out")]) == 1
    said = capsys.readouterr().err
    assert "loop.jpg: no such file" in said and "left out: no pictures: 1" in said and (tmp_path/"out"/"a.jpg").exists()

def test_stage_repeats_byte_by_byte(papermill, run, tmp_path):
    for place in (run, tmp_path/"again"):
        done = papermill("09_enhance", run=place)
        assert done.returncode == 0, done.stderr[-3000:]
    first, second = ({p.name: p.read_bytes() for p in (place/"enhance").rglob("*") if p.is_file()} for place in (run, tmp_path/"again"))
    assert first == second and set(first) >= {"attiqa-enhancer.safetensors", "attiqa-enhancer.json", "curves.csv", "table.csv", "judged.parquet", "sheet.jpg"}
    assert set(pd.read_csv(run/"enhance/table.csv").recipe) == set(e.RECIPES)
    assert "did you mean 'source'?" in papermill("09_enhance", run=run, sourc="x").stderr
