"""The app one would write first, as the peer of the threshold race: the rows in `gr.State`, the figure and the table sent again.

Started by the benchmark as `python -m benchmarks.usual_app WORKSPACE DATASET KEY PORT`; nothing of it is in the product.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reft_studio.data.dataset import open_dataset
from reft_studio.scoring.scores import open_score_set
from reft_studio.workspace import Workspace

BINS, SHOWN = 60, 50


def build(frame: pd.DataFrame) -> gr.Blocks:
    """A slider, a histogram with a line, the counts, and the first flagged rows."""

    def move(threshold: float, rows: pd.DataFrame) -> tuple[Any, str, pd.DataFrame]:
        flagged = rows[rows["score"] >= threshold]
        counts, edges = np.histogram(rows["score"].dropna(), bins=BINS)
        figure = go.Figure(go.Bar(x=(edges[:-1] + edges[1:]) / 2, y=counts))
        figure.add_vline(x=threshold)
        harmful = int(flagged["harmful"].sum())
        text = f"{len(flagged)} of {len(rows)} rows flagged, {harmful} of them harmful"
        return figure, text, flagged.nlargest(SHOWN, "score")

    with gr.Blocks(analytics_enabled=False) as demo:
        state = gr.State(frame)
        slider = gr.Slider(-1, 1, value=0, step=0.001, label="Threshold", elem_id="usual-slider")
        text = gr.Textbox(label="Counts", elem_id="usual-counts")
        figure, table = gr.Plot(), gr.Dataframe()
        slider.release(move, [slider, state], [figure, text, table])
        demo.load(move, [slider, state], [figure, text, table])
    return demo


def main() -> None:
    """Serve the rows of a dataset of a workspace until the process is ended."""
    workspace, (dataset_id, key, port) = Workspace.open(Path(sys.argv[1])), sys.argv[2:5]
    frame = open_dataset(workspace, dataset_id).table(["row_id", "prompt", "known_harmful"]).to_pandas()
    frame["score"] = open_score_set(workspace, dataset_id, key).scores()
    frame = frame.rename(columns={"known_harmful": "harmful"})
    frame["harmful"] = frame["harmful"].astype(bool)
    build(frame).launch(server_name="127.0.0.1", server_port=int(port), share=False, quiet=True)


if __name__ == "__main__":
    main()
