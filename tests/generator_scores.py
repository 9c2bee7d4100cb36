"Made-up scores of generators, for the tests of ranking."
import pandas as pd
from attiqa.core import ATTRIBUTES

def score_table(columns):
    "As `score_comparison` gives it. `columns`: generator to its quality per prompt, None without an image."
    rows = [dict(image=f"{name}/{i}", generator=name, prompt=f"p{i:03d}", quality=value, error="",
                 content=f"{name}{i}")
            for name, values in columns.items() for i, value in enumerate(values) if value is not None]
    return pd.DataFrame(rows).assign(**dict.fromkeys(ATTRIBUTES, .5))
