"load_vlm gives what open_clip computes, for models with random weights; wrong weights are refused."
import json, os, subprocess, sys
import numpy as np, open_clip, pytest, torch, torch.nn.functional as F
from open_clip.pretrained import _PRETRAINED
from safetensors.torch import save_file
from attiqa.core import AttiqaError
from attiqa.images import package_photograph
from attiqa.vlm import check_activation, load_vlm, pair_scores

TEXT = dict(context_length=77, vocab_size=49408, width=32, heads=2, layers=2)
VIT = dict(image_size=64, layers=2, width=32, patch_size=16, head_width=16)
RESNET = dict(image_size=64, layers=[1, 1, 1, 1], width=16, patch_size=None)
TIMM = dict(timm_model_name="resnet10t", timm_pool="avg", timm_proj="linear", image_size=64)
CONFIGS = {"tiny-vit": dict(embed_dim=24, vision_cfg=VIT, text_cfg=TEXT),
           "tiny-vit-quickgelu": dict(embed_dim=24, quick_gelu=True, vision_cfg=VIT, text_cfg=TEXT),
           "tiny-resnet": dict(embed_dim=24, vision_cfg=RESNET, text_cfg=TEXT),
           "tiny-timm": dict(embed_dim=24, vision_cfg=TIMM, text_cfg=TEXT),
           "tiny-sigmoid": dict(embed_dim=24, init_logit_bias=-10, custom_text=True, vision_cfg=VIT,
                                text_cfg=TEXT)}
SENTENCES = ["a sharp photo", "a blurry photo", "été, a colourful one", "x"]
PHOTOS = [package_photograph(name) for name in ("coffee.png", "chelsea.png")]

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTIQA_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"

@pytest.fixture(scope="session", autouse=True)
def architectures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configs")
    for name, config in CONFIGS.items(): (folder/f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)

def bare(architecture, seed=0):
    "open_clip's own model with random weights and another temperature and bias, and its preprocessing."
    torch.manual_seed(seed)
    model, _, preprocess = open_clip.create_model_and_transforms(architecture)
    with torch.no_grad():
        for parameter in model.parameters(): parameter.add_(.02*torch.randn_like(parameter))
        model.logit_scale.fill_(3.)
    return model.eval(), preprocess

def weights(model): return {k: v.contiguous() for k, v in model.state_dict().items() if k != "attn_mask"}

def as_safetensors(model, folder):
    save_file(weights(model), folder/"w.safetensors")
    return folder/"w.safetensors"

def as_torch(model, folder):
    torch.save(weights(model), folder/"w.pt")
    return folder/"w.pt"

def as_checkpoint(model, folder):
    state = {f"module.{name}": value for name, value in weights(model).items()}
    torch.save(dict(epoch=3, state_dict=state), folder/"w.pt")
    return folder/"w.pt"

def as_folder(model, folder, architecture, **preprocess):
    "A model folder in open_clip's format."
    folder.mkdir(parents=True, exist_ok=True)
    pixels = dict(size=[64, 64], mean=[.5]*3, std=[.25]*3, interpolation="bicubic", resize_mode="squash")
    config = dict(model_cfg=CONFIGS[architecture], preprocess_cfg=pixels | preprocess)
    (folder/"open_clip_config.json").write_text(json.dumps(config))
    save_file(weights(model), folder/"open_clip_model.safetensors")
    return folder

def near(found, wanted, atol=1e-5): torch.testing.assert_close(found, wanted, atol=atol, rtol=0)

@torch.no_grad()
def same_as(vlm, model, preprocess):
    "Pixels equal; embeddings, temperature and pair scores within 1e-5 of open_clip's own."
    tokens = vlm.tokenizer(SENTENCES)
    pixels = torch.stack([preprocess(photo) for photo in PHOTOS])
    assert all(torch.equal(vlm.preprocess(photo), x) for photo, x in zip(PHOTOS, pixels))
    images, texts = vlm.embed_images(PHOTOS), vlm.embed_texts(SENTENCES)
    logits, _ = model.get_logits(pixels, tokens)
    near(images, F.normalize(model.encode_image(pixels), dim=-1))
    near(texts, F.normalize(model.encode_text(tokens), dim=-1))
    near(vlm.temperature*images @ texts.T + vlm.bias, logits, atol=1e-4)
    near(pair_scores(images, texts[:1], texts[1:2], vlm.temperature), logits[:, :2].softmax(1)[:, :1])

@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("save", [as_safetensors, as_torch, as_checkpoint])
def test_file_equals_open_clip(architecture, save, tmp_path):
    model, preprocess = bare(architecture)
    same_as(load_vlm(f"{architecture}/{save(model, tmp_path)}"), model, preprocess)

@pytest.mark.parametrize("architecture", CONFIGS)
def test_folder_equals_open_clip(architecture, tmp_path):
    model, _ = bare(architecture)
    folder = as_folder(model, tmp_path/"model", architecture)
    _, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    same_as(load_vlm(str(folder)), model, preprocess)

def test_a_bias_cancels(tmp_path):
    vlm = load_vlm(f"tiny-sigmoid/{as_safetensors(bare('tiny-sigmoid')[0], tmp_path)}")
    assert vlm.bias != 0
    texts = vlm.embed_texts(SENTENCES[:2])
    logits = vlm.temperature*vlm.embed_images(PHOTOS) @ texts.T
    torch.testing.assert_close((logits + vlm.bias).softmax(1), logits.softmax(1))

# --- QuickGELU

@pytest.fixture
def quick_model(tmp_path, monkeypatch):
    "A model of QuickGELU, registered as the weights `mine` of tiny-vit."
    model, _ = bare("tiny-vit-quickgelu")
    tag = dict(file=str(as_safetensors(model, tmp_path)), quick_gelu=True, mean=[.5]*3, std=[.5]*3,
               interpolation="bicubic", resize_mode="shortest")
    for name in ("tiny-vit", "tiny-vit-quickgelu"): monkeypatch.setitem(_PRETRAINED, name, dict(mine=tag))
    return model

@pytest.mark.parametrize("name", ["tiny-vit/mine", "tiny-vit-quickgelu/mine"])
def test_a_tag_has_its_activation(name, quick_model):
    vlm = load_vlm(name)
    pixels = torch.stack([vlm.preprocess(photo) for photo in PHOTOS])
    with torch.no_grad(): direct = F.normalize(quick_model.encode_image(pixels), dim=-1)
    near(vlm.embed_images(PHOTOS), direct)

def test_the_wrong_activation_gives_other_embeddings(quick_model, tmp_path):
    right, wrong = load_vlm("tiny-vit/mine"), load_vlm(f"tiny-vit/{tmp_path/'w.safetensors'}")
    assert (wrong.embed_texts(SENTENCES) - right.embed_texts(SENTENCES)).abs().max() > 1e-3

def test_tag_without_quickgelu_is_refused_with_it(tmp_path, monkeypatch):
    file = as_safetensors(bare("tiny-vit")[0], tmp_path)
    monkeypatch.setitem(_PRETRAINED, "tiny-vit", dict(mine=dict(file=str(file), mean=[.5]*3, std=[.5]*3)))
    with pytest.raises(AttiqaError, match="trained without QuickGELU; ask for tiny-vit/mine"):
        load_vlm("tiny-vit-quickgelu/mine")

BOTH = ("tiny-vit", "tiny-vit-quickgelu")

@pytest.mark.parametrize("trained, asked", [BOTH, BOTH[::-1]])
def test_a_file_is_compared_with_the_configuration_beside_it(trained, asked, tmp_path):
    folder = as_folder(bare(trained)[0], tmp_path/"model", trained)
    file = folder/"open_clip_model.safetensors"
    with pytest.raises(AttiqaError, match=f"ask for {trained}/") as error: load_vlm(f"{asked}/{file}")
    assert "\n" not in str(error.value)
    load_vlm(f"{trained}/{file}")

def test_openai_names_ask_for_quickgelu():
    names = ("RN50", "RN50x64", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336")
    assert all(check_activation(name, "openai") for name in names)

def test_every_tag_gets_the_activation_of_its_training():
    tags = [(a, t) for a, t in open_clip.list_pretrained() if not a.endswith("-quickgelu")]
    assert len(tags) > 50
    for architecture, tag in tags:
        configs = open_clip.get_pretrained_cfg(architecture, tag), open_clip.get_model_config(architecture)
        assert check_activation(architecture, tag) == any(config.get("quick_gelu") for config in configs)

# --- CLIP-IQA's variant

def test_native_resnet(tmp_path):
    model, _ = bare("tiny-resnet")
    vlm = load_vlm(f"tiny-resnet/{as_safetensors(model, tmp_path)}@native")
    sizes = [(64, 64), (96, 64), (96, 64), (80, 112)]
    crops = [package_photograph("coffee.png").crop((0, 0, *size)) for size in sizes]
    together = vlm.embed_images(crops)
    assert [tuple(vlm.preprocess(c).shape[1:]) for c in crops] == [(h, w) for w, h in sizes]
    near(together, torch.cat([vlm.embed_images([crop]) for crop in crops]))
    with torch.no_grad():
        model.visual.attnpool.positional_embedding.zero_()
        direct = F.normalize(model.encode_image(vlm.preprocess(crops[0])[None]), dim=-1)
    near(together[:1], direct)

@pytest.mark.parametrize("architecture", ["tiny-vit", "tiny-timm"])
def test_native_is_for_resnets(architecture, tmp_path):
    file = as_safetensors(bare(architecture)[0], tmp_path)
    with pytest.raises(AttiqaError, match="@native is for the ResNets"):
        load_vlm(f"{architecture}/{file}@native")

# --- wrong weights

class Harm:
    def __reduce__(self): return (os.mkdir, (Harm.target,))

def test_nothing_is_unpickled(tmp_path):
    Harm.target = str(tmp_path/"harm")
    torch.save(dict(state_dict=Harm()), tmp_path/"w.pt")
    with pytest.raises(AttiqaError, match="could not be loaded") as error:
        load_vlm(f"tiny-vit/{tmp_path/'w.pt'}")
    assert "\n" not in str(error.value) and not (tmp_path/"harm").exists()

@pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b"", lambda b: b"\0"*5000])
def test_damaged_file(tmp_path, damage):
    file = as_safetensors(bare("tiny-vit")[0], tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(AttiqaError, match="could not be loaded") as error: load_vlm(f"tiny-vit/{file}")
    assert "\n" not in str(error.value)

def test_weights_of_another_architecture(tmp_path):
    file = as_safetensors(bare("tiny-resnet")[0], tmp_path)
    with pytest.raises(AttiqaError, match="could not be loaded"): load_vlm(f"tiny-vit/{file}")

def test_folder_without_weights_is_not_random(tmp_path):
    folder = as_folder(bare("tiny-vit")[0], tmp_path/"model", "tiny-vit")
    (folder/"open_clip_model.safetensors").unlink()
    with pytest.raises(AttiqaError, match="could not be loaded"): load_vlm(str(folder))

# --- the Hugging Face cache

SCRIPT = """
import sys
from attiqa.core import AttiqaError
from attiqa.images import package_photograph
from attiqa.vlm import load_vlm
for name in sys.argv[1:]:
    try: print(load_vlm(name).embed_images([package_photograph("coffee.png")])[0].tolist())
    except AttiqaError as error: print("refused:", error)
"""

def test_hugging_face_cache_without_network(tmp_path):
    "In a process with one model in its cache and no network: that model, a missing one, and a tag."
    repository = tmp_path/"hub"/"models--someone--tiny"
    folder = as_folder(bare("tiny-vit")[0], repository/"snapshots"/"0123abc", "tiny-vit")
    (repository/"refs").mkdir()
    (repository/"refs"/"main").write_text("0123abc")
    names = ["hf-hub:someone/tiny", "hf-hub:someone/other", "ViT-B-32/laion2b_s34b_b79k"]
    env = os.environ | dict(HF_HUB_CACHE=str(tmp_path/"hub"), HF_HUB_OFFLINE="1")
    command = [sys.executable, "-c", SCRIPT, *names]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    found, *refused = done.stdout.splitlines()
    wanted = load_vlm(str(folder)).embed_images(PHOTOS[:1])[0]
    np.testing.assert_allclose(json.loads(found), wanted, atol=1e-6)
    for name, line in zip(names[1:], refused, strict=True):
        assert name in line, done.stderr
        assert "fetch it once with a network, or give a folder or a file" in line

# --- the cache of sentences

@pytest.fixture
def tiny(tmp_path):
    "Load the same tiny model again, or a changed one."
    def load(architecture="tiny-vit", change=lambda model: None):
        model, _ = bare("tiny-vit")
        with torch.no_grad(): change(model)
        folder = tmp_path/str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return load_vlm(f"{architecture}/{as_safetensors(model, folder)}")
    return load

def count_batches(vlm):
    "Batch sizes of the sentences that a model embeds from now on."
    counts, encode = [], vlm.model.encode_text
    def counted(tokens, **options):
        counts.append(len(tokens))
        return encode(tokens, **options)
    vlm.model.encode_text = counted
    return counts

def test_a_sentence_is_embedded_once(tiny):
    first = tiny().embed_texts(SENTENCES)
    again = tiny()
    again.fingerprint
    batches = count_batches(again)
    assert torch.equal(again.embed_texts(SENTENCES[::-1]), first.flip(0)) and not batches
    again.embed_texts([*SENTENCES, "one more", "one more"])
    assert len(batches) == 1

def test_other_sentences_of_a_batch_do_not_matter(tiny, cache):
    many = [f"photo {i} of {'very '*(i % 7)}much" for i in range(75)]
    together = tiny().embed_texts(many)
    for file in cache.rglob("*.safetensors"): file.unlink()
    assert torch.equal(tiny().embed_texts(many[40:43]), together[40:43])

@pytest.mark.parametrize("damage", [b"", b"not safetensors", None])
def test_a_damaged_cache_is_written_again(tiny, cache, damage):
    first = tiny().embed_texts(SENTENCES)
    file, = cache.rglob("*.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[:-20] if damage is None else damage)
    assert torch.equal(tiny().embed_texts(SENTENCES), first) and file.read_bytes() == content

def test_another_text_tower_has_another_cache(tiny):
    def one_token(model): model.token_embedding.weight[30000] += 1
    def image_tower(model): next(model.visual.parameters()).add_(1)
    prints = [tiny().fingerprint, tiny(change=one_token).fingerprint, tiny("tiny-vit-quickgelu").fingerprint]
    assert len(set(prints)) == 3 and tiny(change=image_tower).fingerprint == tiny().fingerprint == prints[0]

def test_a_cache_that_cannot_be_written(tiny, tmp_path, monkeypatch):
    first = tiny().embed_texts(SENTENCES)
    (tmp_path/"file").write_text("")
    monkeypatch.setenv("ATTIQA_CACHE", str(tmp_path/"file"/"below"))
    assert torch.equal(tiny().embed_texts(SENTENCES), first)
