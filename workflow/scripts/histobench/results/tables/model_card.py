"""The card of an exported model as a table: its headings and their sentences."""

import pandas as pd

from histobench.core.runs import read_json
from histobench.results import model_card
from histobench.results.columns import RUNS, text
from histobench.results.inputs import Inputs
from histobench.results.printing import Table

COLUMNS = [text("about"), text("in_words", "In words"), RUNS]


def model_card_table(inputs: Inputs) -> Table:
    """Return the card of the exported model of the data set."""
    model = read_json(inputs.files["model"][0])
    rows = [(part.heading, " ".join(part.sentences), model["run"]) for part in model_card.parts(model)]
    frame = pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
    title = f"{model['model_name']}, exported from {inputs.dataset}"
    return Table(title, frame, COLUMNS, inputs.announcements())
