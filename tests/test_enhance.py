"Training the enhancer: pairs, rewards, the stage."
import numpy as np, pandas as pd, pytest, torch
from attiqa.edits import EDIT_NAMES, TEST_RECIPES, edit
from attiqa.enhance import load_matching
from attiqa.enhancer import IMAGE_STATISTICS, KnobNetwork, error_decibels, network_inputs, save_enhancer
from attiqa.images import package_photograph
from attiqa.rewards import TILE_GRID, TILE_SIDE, DegradedCrops, Reward, TileEditor, TrainingPairs, cut_tiles
from attiqa.rewards import direct_loss, expected_loss, policy_loss
from attiqa.score import Scorer
from photographs import small_photographs, unsure_network
from stage_cells import run_stage_cells

@pytest.fixture(scope="module")
def photos(): return small_photographs()

def exposure(stops):
    values = torch.zeros(1, len(EDIT_NAMES))
    values[0, EDIT_NAMES.index("exposure")] = stops
    return values

def test_training_resumes_only_from_a_network_with_the_same_card(tmp_path):
    card = dict(source="a", lesson=dict(rounds=2))
    path = save_enhancer(KnobNetwork().eval(), tmp_path/"a.safetensors", card)
    assert load_matching(path, card) is not None and load_matching(path, card | dict(source="b")) is None
    path.write_bytes(path.read_bytes()[:-10])
    assert load_matching(path, card) is None and load_matching(tmp_path/"none.safetensors", card) is None

def test_expected_loss_raises_the_log_odds_of_gains_and_lowers_those_of_losses(photos):
    worse, undo = (photos*.6).clamp(0, 1), torch.zeros(len(photos), 8)
    for edited, sign in ((photos, -1), (photos*.3, 1)):
        odds = torch.zeros(len(photos), requires_grad=True)
        expected_loss((undo, odds, edited), photos, undo, worse).backward()
        assert (odds.grad*sign > 0).all()

def pixels(x): return {tuple(p) for p in x.flatten(1).T.tolist()}

def test_a_pair_repeats_and_its_tiles_come_from_the_photograph(photos):
    photo = (photos[0]*255).byte()
    pair, again = (TrainingPairs([photo], 5, "t")[3] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(pair, again))
    small, statistics, seen, worse, clean, undo = pair
    assert worse.shape == clean.shape == (TILE_GRID**2, 3, TILE_SIDE, TILE_SIDE)
    assert len(statistics) == IMAGE_STATISTICS
    found = pixels((clean*255).round().int().permute(1, 0, 2, 3))
    assert found <= pixels(photo) | pixels(photo.flip(-1))

def test_edited_tiles_equal_tiles_of_the_edited_image(photos):
    net, places = unsure_network(1.), [(10, 20), (60, 90)]
    with torch.no_grad():
        whole = net(photos[:1])[1][0]
        _, _, tiles = TileEditor(net).eval()(*network_inputs(photos[:1]), cut_tiles(photos[0], places)[None])
    inner = (..., slice(4, -4), slice(4, -4)) # filters read four pixels beyond a tile's edge
    assert (tiles[0][inner] - cut_tiles(whole, places)[inner]).abs().max() < 1e-5

def test_policy_gradient_raises_a_black_box(photos):
    "A reward of brightness without a gradient."
    torch.manual_seed(0)
    net, x = KnobNetwork(), photos[:4]
    loss = policy_loss(net, lambda y: y.mean((1, 2, 3)).round(decimals=4), 0.)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        loss(net(x), x, None, x).backward()
        optimizer.step()
    with torch.no_grad(): assert (net(x)[1].mean() - x.mean()) > .03

def test_policy_gradient_is_0_where_all_samples_are_equal(photos):
    torch.manual_seed(0)
    net, x = KnobNetwork(), photos[:4]
    flat = policy_loss(net, lambda y: torch.ones(len(y)), 0., entropy=0.)
    flat(net(x), x, None, x).backward()
    assert all(p.grad is None or not p.grad.any() for p in net.parameters())

def test_reward_prefers_good_photographs(photos):
    reward = Reward(Scorer(device="cpu"), torch.cat([photos, photos.flip(-1), photos*.9 + .05]), views=0)
    def naturalness(x): return reward.parts(x)[1]
    assert (naturalness(photos) <= 0).all()
    for stops in (-2, 2):
        assert naturalness(edit(photos, exposure(stops))).mean() < naturalness(photos).mean()

def test_fidelity_costs_reward(photos):
    predicted, free = (None, photos*.8), lambda y: y.new_zeros(len(y))
    loss = direct_loss(None, free, 2.)(predicted, photos, None, photos)
    assert torch.isclose(loss, 2*(photos*.2).mean())

def test_clean_crops_are_only_stored():
    image = package_photograph("coffee.png").resize((300, 200))
    photo = [torch.from_numpy(np.array(image)).permute(2, 0, 1)]
    for worse, clean, _ in DegradedCrops(photo, 96, 4, "t", fixed=True, clean=1.):
        assert -error_decibels(worse[None], clean[None]) > 28
    pair, again = ([*DegradedCrops(photo, 96, 3, "t", fixed=True)] for _ in range(2))
    assert all(torch.equal(a, b) for p, q in zip(pair, again) for a, b in zip(p, q))

def files(folder): return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

def test_stage_repeats_byte_by_byte(papermill, run, tmp_path):
    done = papermill("09_enhance", run=run)
    assert done.returncode == 0, done.stderr[-3000:]
    run_stage_cells("09_enhance", run=tmp_path/"again")
    first = files(run/"enhance")
    assert first == files(tmp_path/"again"/"enhance")
    assert set(first) >= {"attiqa-enhancer.safetensors", "attiqa-enhancer.json", "curves.csv", "table.csv",
                          "judged.parquet", "sheet.jpg"}
    assert set(pd.read_csv(run/"enhance/table.csv").recipe) == set(TEST_RECIPES)
