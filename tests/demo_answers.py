"""Right and wrong answers to the demonstration sheet, and notebooks made of them."""

import json
from pathlib import Path

SHEETS = str(Path(__file__).parent / "demo")

STUBS = {
    "q1": 'def softmax(scores):\n    """Weights."""\n    raise NotImplementedError("q1: your code")\n',
    "q2": 'def attention_weights(q, k):\n    raise NotImplementedError("q2")\n',
    "q3": 'def predict_weight():\n    raise NotImplementedError("q3")\n',
    "q4": 'def nearest_key(table, word):\n    raise NotImplementedError("q4")\n',
}
RIGHT = {
    "q1": "import torch\ndef softmax(scores):\n    return torch.softmax(scores, -1)\n",
    "q2": """import numpy as np
def exponentials(scores):
    return np.exp(scores)
def attention_weights(q, k):
    weights = exponentials(q @ k.T / np.sqrt(q.shape[1]))
    return weights / weights.sum(-1, keepdims=True)
""",
    "q3": "def predict_weight():\n    return 0.45\n",
    "q4": """def nearest_key(table, word):
    return min(table, key=lambda key: (abs(len(key) - len(word)), key))
""",
}


def notebook(path: Path, *cells: str, sheet: str | None = "98_lookup", output: str | None = None) -> Path:
    """A notebook of these code cells, each followed by a little prose; its metadata names the sheet."""
    outputs = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
    content = [
        cell
        for source in cells
        for cell in (
            {
                "cell_type": "code",
                "source": source.splitlines(keepends=True),
                "metadata": {},
                "outputs": outputs,
                "execution_count": 1,
            },
            {"cell_type": "markdown", "source": "Prose.", "metadata": {}},
        )
    ]
    path.write_text(
        json.dumps(
            {
                "cells": content,
                "metadata": {"course": {"sheet": sheet}} if sheet else {},
                "nbformat": 4,
                "nbformat_minor": 5,
            }
        )
    )
    return path
