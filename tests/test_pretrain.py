"Pretraining on a small labelled set: what is learned, what stays, what a run leaves."
import json
import numpy as np, pytest, torch
from safetensors.torch import load_file
from attiqa.core import ATTRIBUTES, AttiqaError, seed_all
from attiqa.distort import MECHANISMS, apply_recipe, recipe_levels
from attiqa.images import crop_center, package_photograph, to_tensor
from attiqa.labelling import labelled_source
from attiqa.model import load_model
from attiqa.pretrain import build_network, training_data
from pretraining import GENTLE, label, train

@pytest.fixture(scope="module")
def labelled(tmp_path_factory): return label(tmp_path_factory.mktemp("labels"))

def start_network(backbone="resnet10t"):
    "The network that a run starts from."
    seed_all("pretrain", 0)
    return build_network(backbone, 4, "")

def same_tensors(one, other): return all(torch.equal(one[name], other[name]) for name in one)

# What learns and what stays

def test_what_is_frozen_stays_and_the_rest_learns(labelled, run):
    options = GENTLE | dict(backbone="efficientnet_lite0", epochs=1)
    after = load_model(train(run, labelled, **options)).state_dict()
    before = start_network("efficientnet_lite0").backbone.state_dict()
    saved = {name: weight.half().float() if weight.ndim > 1 else weight for name, weight in before.items()}
    same = {name for name, weight in saved.items() if torch.equal(after[f"backbone.{name}"], weight)}
    stays = {name for name, weight in saved.items() if weight.ndim < 2 or weight.shape[1:] == (1, 5, 5)}
    assert same == stays

def photograph_crop(name): return to_tensor(crop_center(package_photograph(name), 64))

def test_held_features_move_less(labelled, tmp_path):
    crops = torch.stack([photograph_crop(name) for name in ("coffee.png", "chelsea.png")])
    start = start_network().eval()
    def moved(keep):
        net = load_model(train(tmp_path/str(keep), labelled, **GENTLE | dict(keep=keep)))
        return (net.pooled(crops) - start.pooled(crops)).square().mean().item()
    assert moved(100.) < .5*moved(0.)

def test_an_average_lies_between_the_start_and_what_was_learned(labelled, tmp_path):
    start = start_network().backbone.state_dict()
    averaged = lambda share: load_model(train(tmp_path/str(share), labelled, average=share, **GENTLE))
    plain, mean = averaged(0.), averaged(.75)
    learned = plain.backbone.state_dict()
    for name, weight in mean.backbone.state_dict().items():
        wanted = .75*start[name] + .25*learned[name]
        atol = 2e-3*max(1., wanted.abs().max().item())
        assert torch.allclose(weight.float(), wanted.float(), atol=atol), name
    heads = lambda net: net.heads.state_dict()["0.embed.0.weight"]
    assert not torch.equal(heads(mean), heads(plain)), "the heads learned again"

def largest_change(before, after, part):
    "Of the weights of the backbone or of the heads; weights are saved in 16 bits."
    names = [name for name, weight in before.items() if name.startswith(part) and weight.ndim > 1]
    return max((after[name].float() - before[name].half().float()).abs().max().item() for name in names)

def test_a_backbone_learns_at_its_share_of_the_rate(labelled, tmp_path):
    before = start_network().state_dict()
    def trained(share):
        return load_model(train(tmp_path/str(share), labelled, backbone_lr_ratio=share)).state_dict()
    none, little, full = map(trained, (0., .05, 1.))
    statistics = [name for name in before if name.startswith("backbone") and "running" in name]
    assert all(torch.equal(none[name], before[name]) for name in statistics)
    assert largest_change(before, none, "backbone") == 0
    assert largest_change(before, none, "heads") > 0
    change = largest_change(before, little, "backbone")
    assert 0 < change < largest_change(before, full, "backbone")/3

def test_heads_go_on_from_a_file_of_this_kit(labelled, tmp_path):
    first = train(tmp_path/"first", labelled)
    second = train(tmp_path/"second", labelled, start=str(first), backbone_lr_ratio=0.)
    old, new = (load_model(path).backbone.parameters() for path in (first, second))
    assert all(torch.equal(a, b) for a, b in zip(old, new, strict=True))

# Labels and images

def above(values):
    "Which value of a list is greater than which."
    return values[:, None] > values

def alike(values): return values[:, None] == values

def test_the_order_of_recipes_is_what_was_done(labelled):
    crops, _ = training_data(labelled/"pseudolabels", "embedded", 32, .25, 2., 0, 0, "recipes")
    part = crops["train"]
    done = np.array([recipe_levels(json.loads(part.images.rows[i][2])) for i in part.index])
    for levels, ranks in zip(done.T, part.labels.numpy().T, strict=True):
        assert (above(levels) <= above(ranks)).all()
        assert (alike(levels) == alike(ranks)).all()
    assert done.shape[1] == 5
    assert (done[part.untouched()] == 1).all()

def test_views_of_a_photograph_are_held_out_together(run):
    label(run, labelled_source("embedded", 8, 0, 48, views=3, shrink=2.), views=3, shrink=2.)
    parts, _ = training_data(run/"pseudolabels", "embedded", 32, .25, 2., 0, seed=0)
    keys = {name: [part.images.rows[i][0] for i in part.index] for name, part in parts.items()}
    photographs = {name: {key.split("#")[0] for key in part} for name, part in keys.items()}
    assert photographs["train"]
    assert photographs["whole"]
    assert not photographs["train"] & photographs["whole"]
    assert train(run, "", epochs=1).is_file()

def test_pixels_do_not_depend_on_the_number_of_threads():
    "Labels are made by workers of one thread, pixels made again by a process of any number."
    photo = to_tensor(crop_center(package_photograph("coffee.png"), 224))
    recipes = [[(name, severity)] for name in MECHANISMS for severity in (.1, .3, .5, .7, .9)]
    def made(threads):
        torch.set_num_threads(threads)
        return torch.stack([apply_recipe(photo, recipe, "threads") for recipe in recipes])
    before = torch.get_num_threads()
    try: one, two, three = map(made, (1, 2, 3))
    finally: torch.set_num_threads(before)
    assert torch.equal(one, two)
    assert torch.equal(one, three)

def test_kept_pixels_train_the_same(labelled, tmp_path):
    kept, made_anew = (load_file(train(tmp_path/str(memory), labelled, epochs=1, memory=memory))
                       for memory in (2., 0.))
    assert same_tensors(kept, made_anew)

def test_crops_larger_than_the_image(labelled, run):
    assert train(run, labelled, epochs=1, crop=64).is_file()

# Settings

OPTIONS = dict(logistic=dict(loss="logistic"), fidelity=dict(loss="fidelity", spread=True),
               l1=dict(loss="l1"), mse=dict(loss="mse", weights="sharpness"),
               memory=dict(memory=0.), plain=dict(bf16="no", compiled="no"))

@pytest.mark.parametrize("name", OPTIONS)
def test_every_loss_and_option_trains(labelled, run, name):
    net = load_model(train(run, labelled, epochs=1, **OPTIONS[name]))
    measured = {f"{measure}_{attribute}" for measure in ("agreement", "srcc") for attribute in ATTRIBUTES}
    assert set(net.card["held_out"]) == measured

def test_a_finished_run_is_kept_and_other_settings_are_refused(labelled, run):
    path = train(run, labelled, epochs=1)
    written = path.stat().st_mtime_ns
    again = train(run, labelled, epochs=1, workers=1, checkpoint=3)
    assert again.stat().st_mtime_ns == written
    with pytest.raises(AttiqaError, match="margin was 1.0, is 0.5; rate was 0.002, is 0.01"):
        train(run, labelled, epochs=1, rate=.01, margin=.5)
    path.unlink()
    assert train(run, labelled, epochs=1).is_file()
