"The benchmark's clock, and that it runs on the user's own photographs."
import time
import pandas as pd
from attiqa.images import package_photograph
from attiqa.speed import interleave, measure_rate, measure_speed, speed_ratios

def test_rate_counts_images():
    calls = []
    def work():
        calls.append(1)
        time.sleep(.01)
        return 7
    assert 0 < measure_rate(work, .05) <= 700 and len(calls) >= 2

def test_rate_runs_once_at_least(): assert measure_rate(lambda: 1, 0.) > 0

def test_ways_take_turns():
    order = []
    table = interleave({name: lambda name=name: order.append(name) or 1 for name in "abc"}, 0., 3)
    assert order == [*"abc"]*4 and table.groupby("way").size().eq(3).all()

def test_ratios_are_formed_within_a_round():
    table = pd.DataFrame(dict(way=["x", "y"]*3, round=[0, 0, 1, 1, 2, 2], rate=[1., 2., 10., 20., 7., 14.]))
    assert speed_ratios(table, "x").y == 2

def test_measures_a_folder(run, tmp_path):
    package_photograph("coffee.png").save(tmp_path/"a.jpg")
    package_photograph("rocket.jpg").save(tmp_path/"b.jpg")
    small = dict(architecture="ViT-S-32", backbone="resnet10t", crop=32, crops=2)
    short = dict(count=2, seconds=.01, rounds=1, batch=2, workers=1)
    table = measure_speed(run=run, source=str(tmp_path), **small, **short)
    assert len(table) == 9 and set(table.part) == {"labelling", "training"} and (table.rate > 0).all()
    assert pd.read_parquet(run/"results/speed.parquet").equals(table)

def test_the_notebook_runs(papermill, run):
    done = papermill("12_speed", run=run)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(pd.read_parquet(run/"results/speed.parquet")) == 9
